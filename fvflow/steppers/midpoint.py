"""The discrete-gradient midpoint rule: second order, with the exact energy balance."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated, Literal, NamedTuple, Protocol

import numpy as np
from annotated_types import Ge, Gt, Lt

from fvflow.errors import NumericsError
from fvflow.linalg import NeighbourSystem, UpwindTriangular, divergence, inner, solve_second_kind, total_variation
from fvflow.linalg.reused import Map
from fvflow.mesh import Array, Mesh
from fvflow.problems import GradientFlow, State
from fvflow.problems.gradient_flow import FaceDensity
from fvflow.steppers.base import GradientStepperBase, Step
from fvflow.steppers.fallible import (
    NO_CONVERGENCE,
    FallibleStep,
    Negative,
    in_halves,
    transported_density,
    with_fallback,
)
from fvflow.steppers.jko import LJKO
from fvflow.steppers.mobility import UpstreamRatio, face_mean
from fvflow.steppers.newton import round_off
from fvflow.steppers.predictor import Predictor
from fvflow.steppers.step_energy import grounded
from fvflow.steppers.upwind_newton import step_length

_LEAST_DAMPED, _MOST_DAMPED = 2, 4  # first steps that are damped where data are rough
_EXCESS = 0.01  # largest excess of total variation over that of a damped step from smooth data, relative to that,
_EXCESS_OF_GROWTH = 0.5  # and relative to its growth in the damped step, of which the two see different parts
_PREDICTED = 1e-8  # residual of the prediction, as a fraction of the mass
_LARGEST_WEIGHT = 2.0  # of the density within a step over that at its end; reached if two thirds leave a cell
_MAX_DECREASE = 0.1  # smallest ratio of a cell's new density to its old one in a Newton step


@dataclass(frozen=True)
class Midpoint(GradientStepperBase):
    """|K| (rho - rho^n) + tau sum_s T_s m_s D_s = 0 with the discrete gradient of the energy: second order.

    phi_K = (e(rho_K) - e(rho^n_K))/(rho_K - rho^n_K) and D_s = phi_K - phi_L. Multiplying by phi and summing gives

        E(rho) - E(rho^n) = -tau sum_s T_s m_s D_s^2

    exactly, at any step length (Gonzalez, Time integration and discrete Hamiltonian systems, J. Nonlinear Sci. 6
    (1996); McLachlan, Quispel, Robidoux, Geometric integration using discrete gradients, Phil. Trans. A 357 (1999)).
    The density m_s on a face is

        limited   theta_s (r_K/rho*_K) rho_K of the upstream cell K, with a prediction rho* of rho, r = (rho^n + rho*)/2
                  and theta_s of r (`UpstreamRatio`): the limited reconstruction in the middle of the step. rho stays
                  >= 0 at any step, since what leaves a cell is in proportion to what is in it (Burchard, Deleersnijder,
                  Meister, A high-order conservative Patankar-type discretisation, Appl. Numer. Math. 47, 2003)
        centred   the mean of the densities of the two cells before and after the step

    `limited` falls to first order at maxima, where the limiter switches, and in cells that lose more than two thirds of
    their mass in a step. The rule damps the fastest modes hardly at all, so that rough data would ring, or keep what
    should vanish. The first step is therefore taken twice: if the total variation after it is above that after two
    halves by `ljko`, these are kept, and so in two to four steps, until the two agree (Rannacher, Finite element
    solution of diffusion problems with irregular data, Numer. Math. 43, 1984). That it grows is no criterion: it may
    fall too little, as from a saw-tooth, or grow from smooth data in a well, where both steps have most of the growth.
    A later step that does not converge, or would be negative, is taken by `ljko` and counted as a fallback.
    """

    mobility: Literal["limited", "centred"] = "limited"  # type: ignore[misc]
    """The density on a face: `limited`, positive, or `centred`, without numerical diffusion."""
    warmup: Annotated[int, Ge(0)] | None = None
    """Number of first steps that are damped; by default as many as rough data need, up to four."""
    tolerance: Annotated[float, Gt(0), Lt(1e-3)] = 1e-13
    """Residual of Newton's method, as a fraction of the mass."""
    iterations: Annotated[int, Ge(1)] = 40
    """Most Newton iterations."""
    kind: Literal["midpoint"] = "midpoint"
    tells_crossing = True
    order = order_in_space = 2

    def positive_step(self, problem: GradientFlow) -> float:
        """Infinite: a step that would be negative is taken by `ljko`."""
        return math.inf

    def face_density(self, mesh: Mesh) -> FaceDensity:
        """`limited`: theta_s rho_K; `centred`: the mean of both cells."""
        return face_mean(mesh) if self.mobility == "centred" else UpstreamRatio(mesh, "limited").density

    def start(self, problem: GradientFlow) -> Step:
        """The step as a function."""
        midpoint, robust = self._start_fallible(problem), LJKO().start(problem)
        safe = with_fallback(midpoint, robust)

        def step(state: State, length: float) -> State:
            if self.warmup is not None:
                return damped(state, length) if state.step < self.warmup else safe(state, length)
            starting = state.step == 0 or (state.damped and state.step < _MOST_DAMPED)
            if not starting:
                return safe(state, length)
            if 0 < state.step < _LEAST_DAMPED:
                return damped(state, length)
            try:
                after = midpoint(state, length)
            except Negative:
                return damped(state, length)
            except NumericsError as failure:
                return replace(robust(state, length), fallback=str(failure))
            calm = damped(state, length)
            return calm if _is_rough(*map(variation, (state, calm, after))) else after

        def variation(state: State) -> float:
            return total_variation(problem.mesh, state.density)

        def damped(state: State, length: float) -> State:
            return replace(in_halves(robust, state, length), damped=int(self.warmup is None))

        return step

    def _start_fallible(self, problem: GradientFlow) -> FallibleStep:
        mesh = problem.mesh
        solve, triangular = self._solver(grounded(problem)[0]), UpwindTriangular(mesh)

        def step(state: State, length: float) -> State:
            with np.errstate(all="ignore"):  # an overflow shows in the residual
                solution = solve(state, length)
            moved = transported_density(mesh, triangular, state, solution.flux, solution.phi, self.tolerance)
            if moved is None:
                raise Negative
            density, crossed = moved
            return state.advanced(
                length,
                density,
                iterations=solution.iterations,
                residual=solution.residual,
                dissipated=solution.dissipated,
                crossed=None if state.crossed is None else crossed,
            )

        return step

    def _solver(self, problem: GradientFlow) -> Callable[[State, float], _Solution]:
        """(state, length of the step) -> the solution of the step, or NumericsError."""
        mesh, system = problem.mesh, NeighbourSystem(problem.mesh)

        def centred(state: State, length: float) -> _Solution:
            mobility = _Centred(mesh, state.density)
            return self._newton(problem, state, length, system, mobility, state.density, self.tolerance)

        if self.mobility == "centred":
            return centred
        ratio, predict = UpstreamRatio(mesh, "limited"), Predictor(problem, self.solver)

        def from_prediction(state: State, length: float, predicted: Array, tolerance: float) -> _Solution:
            mean = 0.5 * (state.density + predicted)
            weight = np.minimum(mean / predicted, _LARGEST_WEIGHT)
            forward, backward = ratio(mean)
            mobility = _Limited(mesh, forward * weight[mesh.owner], backward * weight[mesh.neighbour])
            return self._newton(problem, state, length, system, mobility, predicted, tolerance)

        def limited(state: State, length: float) -> _Solution:
            """Twice: the linear prediction alone would leave an error of order tau h^2."""
            predicted = np.maximum(predict(state, length), np.finfo(float).tiny)
            first = from_prediction(state, length, predicted, max(self.tolerance, _PREDICTED))
            second = from_prediction(state, length, first.density, self.tolerance)
            return second._replace(iterations=first.iterations + second.iterations)

        return limited

    def _newton(
        self,
        problem: GradientFlow,
        state: State,
        tau: float,
        system: NeighbourSystem,
        mobility: _Mobility,
        density: Array,
        tolerance: float,
    ) -> _Solution:
        """The solution of the nonlinear system. Raises NumericsError if Newton's method does not converge.

        The system has a kink where a flux turns, as that of `UpwindNewton`, and cycles about one are left as there.
        """
        mesh, before = problem.mesh, state.density
        conductance = tau * problem.conductance
        errors: list[float] = []
        for iteration in range(self.iterations):
            phi = problem.total.secant(before, density)
            drop = phi[mesh.owner] - phi[mesh.neighbour]
            flow = conductance * mobility.density(density, drop)
            flux = flow * drop
            residual = mesh.volume * (density - before) + divergence(mesh, flux)
            error = float(np.abs(residual).sum()) / state.mass
            if error <= max(tolerance, round_off(mesh, flow, phi, state.mass) / state.mass):
                return _Solution(density, flux, phi, inner(flux, drop), iteration, error)
            if not np.isfinite(error):
                break
            errors.append(error)
            slope = problem.total.secant_slope(before, density)
            by_owner, by_neighbour = (conductance * part * drop for part in mobility.partials(drop))
            down = flow * slope[mesh.owner] + by_owner  # d flux/d rho_K
            up = flow * slope[mesh.neighbour] - by_neighbour  # -d flux/d rho_L
            change = step_length(errors) * _newton_step(problem, down, up, flow, residual, system)
            density = np.maximum(density - change, _MAX_DECREASE * density)
        raise NumericsError(NO_CONVERGENCE)


class _Solution(NamedTuple):
    """Solution of the midpoint rule: rho (cell,), mass through each face (face,), phi (cell,), and statistics."""

    density: Array
    flux: Array
    phi: Array
    dissipated: float
    iterations: int
    residual: float


class _Mobility(Protocol):
    """The density m_s on a face."""

    def density(self, density: Array, drop: Array) -> Array:
        """m_s (face,)."""

    def partials(self, drop: Array) -> tuple[Array | float, Array | float]:
        """dm_s/drho_K and dm_s/drho_L of each face (face,), K its owner."""


@dataclass(frozen=True, eq=False)
class _Centred:
    """The mean of four densities."""

    mesh: Mesh
    before: Array

    def density(self, density: Array, drop: Array) -> Array:
        total = self.before + density
        return 0.25 * (total[self.mesh.owner] + total[self.mesh.neighbour])

    def partials(self, drop: Array) -> tuple[float, float]:
        return 0.25, 0.25


@dataclass(frozen=True, eq=False)
class _Limited:
    """theta times the density of the upstream cell."""

    mesh: Mesh
    forward: Array  # theta (face,) for mass that leaves the owner
    backward: Array  # theta (face,) for mass that leaves the neighbour

    def density(self, density: Array, drop: Array) -> Array:
        own, other = density[self.mesh.owner], density[self.mesh.neighbour]
        return np.where(drop > 0, self.forward * own, self.backward * other)

    def partials(self, drop: Array) -> tuple[Array, Array]:
        return np.where(drop > 0, self.forward, 0.0), np.where(drop > 0, 0.0, self.backward)


def _newton_step(
    problem: GradientFlow, down: Array, up: Array, flow: Array, residual: Array, system: NeighbourSystem
) -> Array:
    """(dR/d rho)^-1 R from the derivatives of the fluxes; raises NumericsError if the matrix is singular."""
    mesh = problem.mesh
    diagonal = mesh.volume + np.bincount(mesh.owner, down, mesh.cells) + np.bincount(mesh.neighbour, up, mesh.cells)
    if not np.isfinite(diagonal.sum()):
        raise NumericsError("the Newton matrix overflowed")
    inverse = system.inverse(diagonal, -up, -down)
    local = inverse(residual)
    return _with_interaction(problem, inverse, local, flow) if problem.total.interacting else local


def _with_interaction(problem: GradientFlow, inverse: Map, local: Array, flow: Array) -> Array:
    """The Newton step including an interaction, from the step and the inverse matrix without it.

    The unknown is the change of the potential, which is smooth, so that thin tails keep their relative accuracy.
    """
    mesh, hessian = problem.mesh, problem.total.offdiagonal_hessian_product

    def response(potential: Array) -> Array:
        return inverse(divergence(mesh, flow * (potential[mesh.owner] - potential[mesh.neighbour])))

    return local - response(solve_second_kind(lambda z: 0.5 * hessian(response(z)), 0.5 * hessian(local)))


def _is_rough(before: float, damped: float, undamped: float) -> bool:
    """Whether data are rough, from the total variation before a step and after it, damped and not."""
    return undamped - damped > max(_EXCESS * damped, _EXCESS_OF_GROWTH * (damped - before))
