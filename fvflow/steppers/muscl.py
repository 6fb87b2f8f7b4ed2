"""Explicit steps with limited slopes, for dominant drifts: second order and positive."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Literal

import numpy as np
from annotated_types import Gt, Lt

from fvflow.errors import CaseError, NumericsError
from fvflow.fields import BaseDrift
from fvflow.fluxes import Flux
from fvflow.linalg import Krylov, divergence
from fvflow.mesh import Array, Extent, Mesh
from fvflow.parallel import world
from fvflow.problems import FokkerPlanck, State
from fvflow.steppers.base import EmbeddedStep, LinearStepperBase, Step
from fvflow.steppers.crossing import Crossing
from fvflow.steppers.reconstruction import Limiter, Reconstruction, reconstruction
from fvflow.sums import inner

_MAX_SUBSTEPS = 10**7  # of one step


@dataclass(frozen=True, eq=False)
class Reconstructed(FokkerPlanck):
    """The Fokker-Planck equation with the flux of `Muscl` instead of a two-point flux.

        F = max(q, 0) r_K + min(q, 0) r_L + eps T (rho_K - rho_L),   q = T w = int_s v.n

    with the reconstructed values r_K and r_L on the two sides of the face. Raises CaseError if the mesh does not allow
    the limiter.
    """

    limiter: Limiter = "monotonised-central"
    """The slope limiter."""
    _flows: dict[float, tuple[Array, float, Array]] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._reconstruction  # noqa: B018  # built now, so that an unsuitable mesh is refused before the run

    @cached_property
    def _reconstruction(self) -> Reconstruction:
        return reconstruction(self.mesh, self.limiter)

    @cached_property
    def _uniform_conductance(self) -> Array:
        return self.epsilon * self.mesh.transmissibility

    def flux(self, density: Array, time: float) -> Array:
        """F of each face (face,), positive from owner to neighbour."""
        owner, neighbour = density[self.mesh.owner], density[self.mesh.neighbour]
        owner_rise, neighbour_rise = self._reconstruction.rises(density)
        flow, _, conductance = self.flow(time)
        flux = np.where(flow > 0, owner + owner_rise, neighbour + neighbour_rise)
        flux *= flow
        if self.epsilon > 0:
            flux += conductance * (owner - neighbour)
        return flux

    def flow(self, time: float) -> tuple[Array, float, Array]:
        """Volume flow q of each face (face,), 1/tau for the longest positive step (`Muscl`), and eps T (face,).

        tau is that of a forward Euler step.
        """
        time = self._drift_time(time)
        if time not in self._flows:
            while len(self._flows) >= 3:  # one for each stage time of a substep
                self._flows.pop(next(iter(self._flows)))
            w, eps = self.on_links(time)
            flow = self.mesh.transmissibility * w
            conductance = self._uniform_conductance if self.diffusivity is None else eps * self.mesh.transmissibility
            self._flows[time] = flow, self._euler_rate(flow, conductance), conductance
        return self._flows[time]

    def gibbs_exponent(self, time: float) -> None:
        """None: exp(-V/eps) is stationary to second order only."""

    def numerical_diffusion(self) -> None:
        """None: no flux is upwinded at first order."""

    def _euler_rate(self, flow: Array, conductance: Array) -> float:
        """max_K (c_K + eps sum_s T_s)/|K|."""
        mesh = self.mesh
        diffusive = np.bincount(mesh.owner, conductance, mesh.cells)
        diffusive += np.bincount(mesh.neighbour, conductance, mesh.cells)
        return world().largest((self._reconstruction.outflow_bound(flow) + diffusive) / mesh.volume)


@dataclass(frozen=True)
class Muscl(LinearStepperBase):
    """Upwind fluxes of limited linear reconstructions and explicit substeps: second order, rho >= 0, for large drifts.

    Each step is divided into as many SSPRK(4,3) substeps as `cfl` requires; `iterations` counts them. A substep has
    four forward Euler stages, each half a substep long (Kraaijevanger, Contractivity of Runge-Kutta methods, BIT 31,
    1991). The method is third order in time as long as no limiter switches, and at least second order otherwise. `cfl`
    is the length of a stage, scaled so that 1/2 is the bound below: on uniform grids without diffusion it is the
    Courant number, the sum over the axes of |v| tau/h.

    An adaptive step is a single substep, no longer than the error tolerance and `cfl` allow. Step doubling would
    estimate the error poorly: beyond the bound of `cfl`, the two half steps and the full step consist of the same
    substeps. The estimate is |rho' - rho~|_1 instead, where rho~ = (rho + 2 u)/3 is the second-order solution embedded
    in the method and u is the state after three stages, so it costs no additional work (Fekete, Conde, Shadid, Embedded
    pairs for optimal explicit strong stability preserving Runge-Kutta methods, J. Comput. Appl. Math. 412, 2022).

    Positive: with r >= 0 and sum_s max(q_s, 0) r_s <= c_K rho_K (`Reconstruction`), forward Euler gives

        |K| rho_K' >= (|K| - tau c_K - tau eps sum_s T_s) rho_K + tau sum_s (max(-q_s, 0) r_L + eps T_s rho_L),

    and every term is >= 0 if tau (c_K + eps sum_s T_s) <= |K|; every stage is a convex combination of such steps
    (Zhang, Shu, On maximum-principle-satisfying high order schemes for scalar conservation laws, J. Comput. Phys. 229,
    2010; Shu, Osher, Efficient implementation of essentially non-oscillatory shock-capturing schemes, J. Comput. Phys.
    77, 1988). Bounded: if sum_s q_s = 0 in each cell, as for a stream function that is constant on the walls, the same
    argument applies to M - rho, whose face values are M - r with r and 2 rho_K - r <= M: the maximum does not grow, and
    constants stay constant. If the drift depends on time, the bound holds at all stage times. Nothing is clipped.

    Diffusion is explicit too. Linear methods that are positive at any step are at most first order (Bolley, Crouzeix,
    Conservation de la positivite lors de la discretisation des problemes d'evolution paraboliques, RAIRO Anal. Numer.
    12, 1978). Implicit diffusion was tried, by Strang splitting at the advective substeps: from a spike in 400 cells
    (eps 0.8), Crank-Nicolson and tr-bdf2 reached -21 and -1, and implicit Euler was only first order. If the Peclet
    number |w|/eps of the faces is below 2, tr-bdf2 with Scharfetter-Gummel fluxes is as accurate and cheaper. Unlike
    with those fluxes, exp(-V/eps) is stationary only to second order. Slopes are 0 at extrema and in cells at walls, so
    that the method is second order in L1.
    """

    limiter: Limiter = "monotonised-central"
    """The slope limiter; meshes that are not grids require monotonised-central."""
    cfl: Annotated[float, Gt(0), Lt(0.5)] = 0.4
    """Length of a Runge-Kutta stage; positivity is proved up to 1/2."""
    kind: Literal["muscl"] = "muscl"
    divided = True
    reach = 2
    tells_crossing = True
    along_axes = True
    openings_note = "its limited slopes use the values in cells beyond each face, and a wall has none"
    error_fault = "its substeps are those that cfl allows; compare with a run at half the cfl"
    order = order_in_space = 2
    work_grows_with_step = True
    uses_flux = False

    def discretise(self, mesh: Mesh, drift: BaseDrift, epsilon: float, flux: Flux) -> FokkerPlanck:
        """The equation with limited slopes; raises CaseError if the mesh does not allow the limiter."""
        return Reconstructed(mesh, drift, epsilon, flux, limiter=self.limiter)

    def describe(self, extent: Extent, flux: str, steady: bool) -> str:
        """A sentence on the scheme."""
        return f"{self._kind_and_order()}, {self.limiter} slopes (order 2 in space), substeps at cfl {self.cfl:g}"

    def memory(self, extent: Extent, steady: bool) -> int:
        """Estimated bytes of a run: those of an iterative solver."""
        return Krylov().memory(extent)

    def positive_step(self, problem: FokkerPlanck) -> float:
        """Infinite: the substeps are short enough."""
        return math.inf

    def start(self, problem: FokkerPlanck) -> Step:
        """The step as a function; it raises NumericsError if it would need more than 1e7 substeps."""
        own = _own(problem)

        def step(state: State, length: float) -> State:
            density, time, end, count = state.density, state.time, state.time + length, 0
            remaining, crossing = 1, Crossing(problem, state)
            while remaining > 0:
                remaining = self._substeps(own, time, end - time)
                tau = (end - time) / remaining
                density, _ = _substep(own, density, time, tau, crossing)
                time, remaining, count = time + tau, remaining - 1, count + 1
            return state.advanced(length, density, iterations=count, crossed=crossing.total)

        return step

    def embedded(self, problem: FokkerPlanck) -> EmbeddedStep:
        """One substep as a function: of the length asked for, or of its largest integer fraction that `cfl` allows."""
        own = _own(problem)

        def substep(state: State, length: float) -> tuple[tuple[State, ...], float]:
            tau, crossing = length / self._substeps(own, state.time, length), Crossing(problem, state)
            density, lower_order = _substep(own, state.density, state.time, tau, crossing)
            error = inner(problem.mesh.volume, np.abs(density - lower_order)) / state.mass
            after = state.advanced(tau, density, iterations=1, crossed=crossing.total)
            if after.time == state.time:
                raise NumericsError(
                    f"cfl allows steps of {tau:.3g} at t = {state.time:g}, below round-off; use larger cells"
                )
            return (after,), error

        return substep

    def _substeps(self, problem: Reconstructed, time: float, length: float) -> int:
        """The least number of equal substeps for this length such that the first satisfies the bound at all stages."""
        rate, count, needed = problem.flow(time)[1], 0, 1
        while count < needed:
            if not length * rate < _MAX_SUBSTEPS:
                raise NumericsError(
                    f"cells empty at a rate of {rate:.3g}: a step of {length:.3g} needs more than "
                    f"{_MAX_SUBSTEPS:.0e} substeps; use an implicit stepper or larger cells"
                )
            count = max(1, math.ceil(length * rate / (4.0 * self.cfl)))
            rate = max(rate, *(problem.flow(time + part * length / count)[1] for part in (0.5, 1.0)))
            needed = math.ceil(length * rate / (4.0 * self.cfl))
        return count


def _own(problem: FokkerPlanck) -> Reconstructed:
    """The problem as `Muscl.discretise` has made it; raises CaseError if another stepper has."""
    if not isinstance(problem, Reconstructed):
        raise CaseError("stepper muscl has a flux of its own; make the problem by its method discretise")
    return problem


def _substep(
    problem: Reconstructed, density: Array, time: float, tau: float, crossing: Crossing
) -> tuple[Array, Array]:
    """The density after one step of SSPRK(4,3), and its embedded second-order solution; adds to `crossing`.

    The combination (2 rho + u)/3 is computed as a change of rho, so that round-off has no bias.
    """
    half, scale = 0.5 * tau, 0.5 * tau / problem.mesh.volume

    def euler(start: Array, at: float, weight: float) -> Array:
        flux = problem.flux(start, at)
        crossing.add_flux(flux, weight * half)
        return world().refresh(start - scale * divergence(problem.mesh, flux))

    third = 1.0 / 3.0
    second = euler(euler(density, time, third), time + half, third)
    change = (euler(second, time + tau, third) - density) / 3.0
    last = density + change
    return euler(last, time + half, 1.0), last + change
