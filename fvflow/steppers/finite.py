"""Densities that are not finite, found in the step where they appear and traced to a term of the equation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np

from fvflow.energies import TotalEnergy
from fvflow.errors import NumericsError
from fvflow.mesh import Array, Mesh
from fvflow.problems import State

FiniteCheck = Callable[[State, State], None]


class Terms(Protocol):
    """What a problem tells about the terms of its equation."""

    @property
    def mesh(self) -> Mesh:
        """The mesh."""

    def energy(self, time: float) -> TotalEnergy | None:
        """The energy at this time."""

    def flux(self, density: Array, time: float) -> Array:
        """Mass through each face per unit time (face,)."""


def finite_check(problem: Terms | None = None) -> FiniteCheck:
    """A function of the states before and after a step that raises NumericsError if the density is not finite.

    With a problem it says where in space, and at which term.
    """

    def check(before: State, after: State) -> None:
        with np.errstate(all="ignore"):
            if np.isfinite(after.density.sum()):
                return
        finite = np.isfinite(after.density)
        if finite.all():  # each value is finite and their sum is not
            cell, became = int(np.argmax(np.abs(after.density))), "too large for a sum over the cells"
        else:
            cell = int(np.argmin(finite))
            became = f"{after.density[cell]}"
        place = term = ""
        if problem is not None:
            at = zip("xyz", problem.mesh.centre[cell], strict=False)
            place = f" ({', '.join(f'{axis} = {part:.6g}' for axis, part in at)})"
            term = f": {_culprit(problem, before, after.time)}"
        raise NumericsError(
            f"the density became {became} in cell {cell}{place} at t = {after.time:g}, step {after.step}{term}; use a "
            "shorter step or an implicit method"
        )

    return check


def _culprit(problem: Terms, before: State, time: float) -> str:
    """The first term that is not finite at the density before the step."""
    with np.errstate(all="ignore"):
        for name, evaluate in _terms(problem, before.density, time):
            bad = ~np.isfinite(evaluate())
            if bad.any():
                return f"{name} is not finite before the step"
    return f"all terms are finite before the step, the largest density of which is {before.density.max():.3g}"


def _terms(problem: Terms, density: Array, time: float) -> Iterator[tuple[str, Callable[[], Array]]]:
    """Name and values of each term: the potentials, the variations of the energies in occupied cells, the fluxes."""
    energy = problem.energy(time)
    occupied = density > 0
    for term in () if energy is None else energy.terms:
        yield term.label, lambda term=term: term.first(density)[occupied]  # type: ignore[misc]
    yield "the flux", lambda: problem.flux(density, time)
