"""Steps that may fail: how they say so, what takes them instead, and steps in two halves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from fvflow.errors import NumericsError
from fvflow.linalg import UpwindTriangular
from fvflow.mesh import Array, Mesh
from fvflow.problems import State
from fvflow.steppers.base import Step

FallibleStep = Callable[[State, float], State]
"""(state, length of the step) -> the state after the step; raises NumericsError with the reason if it fails."""

NO_CONVERGENCE = "no convergence"


class Negative(NumericsError):
    """A step whose density would be negative."""

    def __init__(self) -> None:
        super().__init__("a density would be negative")


def with_fallback(step: FallibleStep, fallback: Step) -> Step:
    """The step as a function in which `fallback` takes the steps that fail, and the reason is kept."""

    def safe_step(state: State, length: float) -> State:
        try:
            return step(state, length)
        except NumericsError as failure:
            return replace(fallback(state, length), fallback=str(failure))

    return safe_step


def in_halves(step: Step, state: State, length: float) -> State:
    """The state after two steps of half the length, counted as one."""
    half = step(state, 0.5 * length)
    end = step(half, 0.5 * length)
    return replace(
        end,
        step=state.step + 1,
        iterations=half.iterations + end.iterations,
        correction=max(half.correction, end.correction),
        dissipated=half.dissipated + end.dissipated,
        crossed=None if half.crossed is None or end.crossed is None else half.crossed + end.crossed,
        optimality=max(half.optimality, end.optimality),
        gap=float(np.fmax(half.gap, end.gap)),
        residual=max(half.residual, end.residual),
        reduced=max(half.reduced, end.reduced),
        switches=half.switches + end.switches,
        fallback=half.fallback or end.fallback,
        halvings=half.halvings + end.halvings,
    )


def transported_density(
    mesh: Mesh, triangular: UpwindTriangular, state: State, flux: Array, phi: Array, tolerance: float
) -> tuple[Array, Array] | None:
    """The density (cell,) after the mass `flux` (face,) has crossed each face, and what has; None if it were negative.

    In vacuum the fluxes of a converged Newton iterate may remove 1e-40 too much from an empty cell: a total outflow of
    at most `tolerance` of the mass is held back.
    """
    masses, limited, held_back = triangular.limit_outflow(flux, phi, mesh.volume * state.density)
    return (masses / mesh.volume, limited) if held_back <= tolerance * state.mass else None
