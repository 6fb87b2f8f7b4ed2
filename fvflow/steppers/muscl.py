"""Explicit steps with limited slopes: second order, and positive, where the drift dominates."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Annotated, Literal

import numpy as np
from annotated_types import Gt, Lt

from fvflow.errors import NumericsError
from fvflow.fields import BaseDrift
from fvflow.fluxes import Flux
from fvflow.linalg import Krylov, divergence
from fvflow.mesh import Array, Extent, Mesh
from fvflow.problems import FokkerPlanck, State
from fvflow.steppers.base import Attempt, LinearStepperBase, Step
from fvflow.steppers.reconstruction import Limiter, Reconstruction, reconstruction

_MOST = 10**7  # substeps in one step


@dataclass(frozen=True, eq=False)
class Reconstructed(FokkerPlanck):
    """The Fokker-Planck equation with the flux of `Muscl` instead of a two-point flux.

        F = max(q, 0) r_K + min(q, 0) r_L + eps T (rho_K - rho_L),   q = T w = int_s v.n

    with the values r_K and r_L on both sides of the face. Raises CaseError where the mesh has no such values.
    """

    limiter: Limiter = "monotonised-central"
    _flows: dict[float, tuple[Array, float]] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._sides  # noqa: B018  # now, so that a mesh that does not fit is found before the run

    @cached_property
    def _sides(self) -> Reconstruction:
        return reconstruction(self.mesh, self.limiter)

    @cached_property
    def _diffusive(self) -> Array:
        return self.epsilon * self.mesh.transmissibility

    def flux(self, density: Array, time: float) -> Array:
        """F of each face (face,)."""
        owner, neighbour = density[self.mesh.owner], density[self.mesh.neighbour]
        own, other = self._sides.rises(density)
        flow = self.flow(time)[0]
        flux = np.where(flow > 0, owner + own, neighbour + other)
        flux *= flow
        if self.epsilon > 0:
            flux += self._diffusive * (owner - neighbour)
        return flux

    def flow(self, time: float) -> tuple[Array, float]:
        """q (face,), and the largest 1/tau of the steps tau of forward Euler that `Muscl` proves positive."""
        time = self._moment(time)
        if time not in self._flows:
            while len(self._flows) >= 3:  # of the stages of one substep
                self._flows.pop(next(iter(self._flows)))
            flow = self.mesh.transmissibility * self.drift.potential_drop(self.mesh, time)
            self._flows[time] = flow, self._rate(flow)
        return self._flows[time]

    def numerical_diffusion(self) -> None:
        """None: nothing is upwinded at first order."""

    def _rate(self, flow: Array) -> float:
        """max_K (c_K + eps sum_s T_s)/|K|."""
        mesh = self.mesh
        both = np.bincount(mesh.owner, self._diffusive, mesh.cells)
        both += np.bincount(mesh.neighbour, self._diffusive, mesh.cells)
        return float(((self._sides.leaving(flow) + both) / mesh.volume).max())


@dataclass(frozen=True)
class Muscl(LinearStepperBase):
    """Upwind fluxes of limited linear reconstructions and explicit substeps: second order, rho >= 0, for large drifts.

    Each step is cut into substeps of SSPRK(4,3), four stages of forward Euler each half a substep long (Kraaijevanger,
    Contractivity of Runge-Kutta methods, BIT 31, 1991), as many as `cfl` asks for; their number is `iterations`. It is
    third order in time while no limiter switches, at least second when some do. `cfl` is the length of a stage, 1/2
    standing for the bound below: on even grids without diffusion the Courant number, sum over the axes of |v| tau/h.

    Adaptive steps are single substeps, as long as the error allows and at most as `cfl` does. Of two half steps and a
    whole one the error would tell little: beyond the bound of `cfl` both are cut into the same substeps. It is
    |rho' - rho~|_1 instead, rho~ = (rho + 2 u)/3 of second order from the state u after three stages, which is there
    already: no work beyond that of substeps that are given (Fekete, Conde, Shadid, Embedded pairs for optimal explicit
    strong stability preserving Runge-Kutta methods, J. Comput. Appl. Math. 412, 2022).

    Positive: with r >= 0 and sum_s max(q_s, 0) r_s <= c_K rho_K (`Reconstruction`), forward Euler gives

        |K| rho_K' >= (|K| - tau c_K - tau eps sum_s T_s) rho_K + tau sum_s (max(-q_s, 0) r_L + eps T_s rho_L),

    all of it >= 0 if tau (c_K + eps sum_s T_s) <= |K|; every stage is a convex combination of such steps (Zhang, Shu,
    On maximum-principle-satisfying high order schemes for scalar conservation laws, J. Comput. Phys. 229, 2010; Shu,
    Osher, Efficient implementation of essentially non-oscillatory shock-capturing schemes, J. Comput. Phys. 77, 1988).
    Bounded: where sum_s q_s = 0 in each cell, as with a stream function that is constant on the walls, the same holds
    of M - rho, whose values on the faces are M - r with r and 2 rho_K - r <= M: no maximum grows, and constants stay
    constant. Where the drift moves, the bound holds at the times of all stages. Nothing is clipped.

    Diffusion is explicit too. Linear methods that are positive at any step are of first order (Bolley, Crouzeix,
    Conservation de la positivite lors de la discretisation des problemes d'evolution paraboliques, RAIRO Anal. Numer.
    12, 1978): split by Strang at the advective substeps, Crank-Nicolson and tr-bdf2 went to -21 and -1 from a spike in
    400 cells (eps 0.8), and implicit Euler was no better than first order. Where the Peclet number |w|/eps of the faces
    is below 2, tr-bdf2 with Scharfetter-Gummel fluxes is as good and cheaper; and unlike with these exp(-V/eps) is not
    stationary here, but kept to second order. Slopes are 0 in the cells at walls and at extrema: second order in L1.
    """

    limiter: Limiter = "monotonised-central"
    cfl: Annotated[float, Gt(0), Lt(0.5)] = 0.4
    kind: Literal["muscl"] = "muscl"
    order = 2
    work_grows_with_step = True
    uses_flux = False

    def discretise(self, mesh: Mesh, drift: BaseDrift, epsilon: float, flux: Flux) -> FokkerPlanck:
        """The equation with limited slopes; raises CaseError if the mesh admits none."""
        return Reconstructed(mesh, drift, epsilon, flux, limiter=self.limiter)

    def describe(self, extent: Extent, flux: str, steady: bool) -> str:
        """A sentence on the scheme."""
        return f"{self._with_order()}, {self.limiter} slopes (order 2 in space), substeps at cfl {self.cfl:g}"

    def memory(self, extent: Extent, steady: bool) -> int:
        """Estimated bytes of a run: those of an iteration without factors."""
        return Krylov().memory(extent)

    def positive_step(self, problem: FokkerPlanck) -> float:
        """The longest step that keeps rho >= 0 whatever rho is: any, the substeps see to it."""
        return math.inf

    def start(self, problem: FokkerPlanck) -> Step:
        """The step as a function; raises NumericsError where it would take more than 1e7 substeps."""
        assert isinstance(problem, Reconstructed)

        def step(state: State, length: float) -> State:
            density, time, end, count = state.density, state.time, state.time + length, 0
            left = 1
            while left > 0:
                left = self._substeps(problem, time, end - time)
                tau = (end - time) / left
                density, _ = _substep(problem, density, time, tau)
                time, left, count = time + tau, left - 1, count + 1
            return replace(state, time=end, step=state.step + 1, density=density, iterations=count, correction=0.0)

        return step

    def embedded(self, problem: FokkerPlanck) -> Attempt:
        """One substep as a function: as long as it is asked for, or the longest part of that which `cfl` allows."""
        assert isinstance(problem, Reconstructed)

        def attempt(state: State, length: float) -> tuple[tuple[State, ...], float]:
            tau = length / self._substeps(problem, state.time, length)
            density, lower = _substep(problem, state.density, state.time, tau)
            error = float(problem.mesh.volume @ np.abs(density - lower)) / state.mass
            at = state.time + tau
            if at == state.time:
                raise NumericsError(f"cfl allows steps of {tau:.3g} at t = {at:g}, beneath round-off; use larger cells")
            after = replace(state, time=at, step=state.step + 1, density=density, iterations=1, correction=0.0)
            return (after,), error

        return attempt

    def _substeps(self, problem: Reconstructed, time: float, length: float) -> int:
        """The least number of equal substeps to go whose first keeps the bound at all of its stages."""
        rate, count, needed = problem.flow(time)[1], 0, 1
        while count < needed:
            if not length * rate < _MOST:
                raise NumericsError(
                    f"cells empty at the rate {rate:.3g}: a step of {length:.3g} needs more than {_MOST:.0e} substeps; "
                    "use an implicit stepper or larger cells"
                )
            count = max(1, math.ceil(length * rate / (4.0 * self.cfl)))
            rate = max(rate, *(problem.flow(time + part * length / count)[1] for part in (0.5, 1.0)))
            needed = math.ceil(length * rate / (4.0 * self.cfl))
        return count


def _substep(problem: Reconstructed, density: Array, time: float, tau: float) -> tuple[Array, Array]:
    """SSPRK(4,3), and what its first three stages give to second order.

    The combination of thirds is written as a change, so that round-off has no bias.
    """
    half, scale = 0.5 * tau, 0.5 * tau / problem.mesh.volume

    def euler(start: Array, at: float) -> Array:
        after: Array = start - scale * divergence(problem.mesh, problem.flux(start, at))
        return after

    second = euler(euler(density, time), time + half)
    change = (euler(second, time + tau) - density) / 3.0
    third = density + change
    return euler(third, time + half), third + change
