"""The extrapolated variational BDF2 scheme: second-order minimising movements."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge, Gt, Lt

from fvflow.errors import NumericsError
from fvflow.linalg import divergence, factorise
from fvflow.mesh import Array, Mesh
from fvflow.problems import GradientFlow, State
from fvflow.steppers.base import GradientStepperBase, Step
from fvflow.steppers.jko import JKO, LJKO
from fvflow.steppers.newton import sparse
from fvflow.steppers.schur import Pattern

_Attempt = Callable[[State, float], State | None]

_VACUUM = 1e-14  # faces with less than this part of the mean density transport nothing beyond the last density


@dataclass(frozen=True)
class EVBDF2(GradientStepperBase):
    """A JKO step from where the geodesic through the last two densities leads: second order in time and space.

    With steps t' before and t now, r = t/t', the density of the last step goes on along its geodesic for the time
    s = t' r^2/(1 + 2r), and a centred JKO step of length t (1 + r)/(1 + 2r) starts from there (t/3 and 2t/3 for equal
    steps). The geodesic: its potential in the middle of the last step is that of

        |K| (rho^n_K - rho^{n-1}_K) + t' sum_s T_s m_s D_s = 0,   m_s the mean of the four densities beside s,

    it reaches the middle of the extrapolation freely, phi* = phi + (t' + s)/2 |grad phi|^2/2, where it carries rho^n on
    by a midpoint rule. Gallouet, Natale, Todeschi, From geodesic extrapolation to a variational BDF2 scheme for
    Wasserstein gradient flows, 2022. The first step is a JKO step. A step whose extrapolation or end would be negative,
    or that does not converge, is left to ljko and counted as a fallback.
    """

    tolerance: Annotated[float, Gt(0), Lt(1e-3)] = 1e-12
    iterations: Annotated[int, Ge(1)] = 40
    kind: Literal["evbdf2"] = "evbdf2"
    order = 2
    order_in_space = 2
    growth = 1.5  # from one adaptive step to the next: the extrapolation over a step twice as long is a poor one

    def start(self, problem: GradientFlow) -> Step:
        """The step as a function."""
        mesh, pattern, robust = problem.mesh, Pattern(problem.mesh), LJKO().start(problem)
        minimised = JKO(tolerance=self.tolerance, iterations=self.iterations).attempt(problem)

        def step(state: State, length: float) -> State:
            after = self._step(mesh, pattern, minimised, state, length)
            if after is None:
                after = replace(robust(state, length), fallbacks=1)
            return replace(after, previous=state.density, length=length)

        return step

    def _step(self, mesh: Mesh, pattern: Pattern, minimised: _Attempt, state: State, length: float) -> State | None:
        if state.previous is None:
            return minimised(state, length)
        ratio = length / state.length
        start = _extrapolated(mesh, pattern, state, state.length * ratio**2 / (1.0 + 2.0 * ratio))
        if start is None:
            return None
        after = minimised(replace(state, density=start), length * (1.0 + ratio) / (1.0 + 2.0 * ratio))
        return None if after is None else replace(after, time=state.time + length, dissipated=0.0)


def _extrapolated(mesh: Mesh, pattern: Pattern, state: State, beyond: float) -> Array | None:
    """The density where the geodesic of the last step leads in the time `beyond`; None where it is not positive."""
    assert state.previous is not None
    before, now, last = state.previous, state.density, state.length
    owner, neighbour = mesh.owner, mesh.neighbour
    both = 0.25 * (before + now)
    mean = both[owner] + both[neighbour]
    inside = mean > _VACUUM * state.mass / float(mesh.volume.sum())
    conductance = np.where(inside, mesh.transmissibility, 0.0)
    try:
        with np.errstate(all="ignore"):
            flow = last * conductance * mean
            total = np.bincount(owner, flow, mesh.cells) + np.bincount(neighbour, flow, mesh.cells)
            diagonal: Array = np.where(total > 0, total, 1.0)
            phi = pattern.inverse(owner, neighbour, -flow, diagonal)(mesh.volume * (before - now))
            drop = phi[owner] - phi[neighbour]
            square = conductance * drop**2
            kinetic = (np.bincount(owner, square, mesh.cells) + np.bincount(neighbour, square, mesh.cells)) / (
                4.0 * mesh.volume
            )
            phi = phi + 0.5 * (last + beyond) * kinetic
            speed = 0.25 * beyond * conductance * (phi[owner] - phi[neighbour])
            cells = np.arange(mesh.cells, dtype=np.int32)
            own = mesh.volume + divergence(mesh, speed)
            matrix = sparse([own, speed, -speed], [cells, owner, neighbour], [cells, neighbour, owner]).tocsc()
            moved = factorise(matrix).solve(mesh.volume * now - divergence(mesh, speed * (now[owner] + now[neighbour])))
            whole = moved + now
            moved = now - divergence(mesh, speed * (whole[owner] + whole[neighbour])) / mesh.volume
    except NumericsError:
        return None
    return moved if moved.min() >= 0 else None
