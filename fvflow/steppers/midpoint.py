"""The discrete-gradient midpoint rule: second order, with the exact energy balance."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple

import numpy as np
from annotated_types import Ge, Gt, Lt

from fvflow.errors import NumericsError
from fvflow.linalg import UpwindTriangular, divergence, elimination_order, factorise, solve_second_kind
from fvflow.mesh import Array, Index
from fvflow.problems import GradientFlow, State
from fvflow.steppers.base import GradientStepperBase, Step
from fvflow.steppers.jko import FallibleStep, transported_density, with_fallback
from fvflow.steppers.newton import round_off
from fvflow.steppers.schur import Map

_MAX_DECREASE = 0.1  # smallest ratio of a cell's new density to its old one in a Newton step


@dataclass(frozen=True)
class Midpoint(GradientStepperBase):
    """|K| (rho - rho^n) + tau sum_s T_s m_s D_s = 0 with the discrete gradient of the energy: second order.

    phi_K = (e(rho_K) - e(rho^n_K))/(rho_K - rho^n_K), D_s = phi_K - phi_L, and m_s is the mean of the densities of the
    two cells of s before and after the step. Multiplying by phi and summing gives

        E(rho) - E(rho^n) = -tau sum_s T_s m_s D_s^2

    exactly, at any step length (Gonzalez, Time integration and discrete Hamiltonian systems, J. Nonlinear Sci. 6
    (1996); McLachlan, Quispel, Robidoux, Geometric integration using discrete gradients, Phil. Trans. A 357 (1999)). A
    step that does not converge, or whose density would be negative, is taken by `ljko` instead and counted as a
    fallback.
    """

    warmup: Annotated[int, Ge(0)] = 0
    """Number of first steps taken by `ljko`, for rough initial data; each adds an upwind error of order tau h."""
    tolerance: Annotated[float, Gt(0), Lt(1e-3)] = 1e-13
    """Residual of Newton's method, as a fraction of the mass."""
    iterations: Annotated[int, Ge(1)] = 20
    """Largest number of Newton iterations; a step that needs more is taken by `ljko`."""
    kind: Literal["midpoint"] = "midpoint"
    order = 2
    order_in_space = 2

    def positive_step(self, problem: GradientFlow) -> float:
        """Infinite: a step that would be negative is taken by `ljko`."""
        return math.inf

    def start(self, problem: GradientFlow) -> Step:
        """The step as a function."""
        return with_fallback(self._start_fallible(problem), problem)

    def _start_fallible(self, problem: GradientFlow) -> FallibleStep:
        order, triangular = elimination_order(problem.mesh), UpwindTriangular(problem.mesh)

        def step(state: State, length: float) -> State | None:
            if state.step < self.warmup:
                return None
            try:
                with np.errstate(all="ignore"):  # an overflow shows in the residual
                    solution = self._newton(problem, state, length, order)
            except NumericsError:
                return None
            density = transported_density(problem.mesh, triangular, state, solution.flux, solution.phi, self.tolerance)
            if density is None:
                return None
            return state.advanced(
                length,
                density,
                iterations=solution.iterations,
                residual=solution.residual,
                dissipated=solution.dissipated,
            )

        return step

    def _newton(self, problem: GradientFlow, state: State, tau: float, order: Index | None) -> _Solution:
        """The solution of the nonlinear system. Raises NumericsError if Newton's method does not converge."""
        mesh, density = problem.mesh, state.density
        for iteration in range(self.iterations):
            flow, phi = _flow(problem, state.density, density, tau)
            drop = phi[mesh.owner] - phi[mesh.neighbour]
            flux = flow * drop
            residual = mesh.volume * (density - state.density) + divergence(mesh, flux)
            error = float(np.abs(residual).sum()) / state.mass
            if error <= max(self.tolerance, round_off(mesh, flow, phi) / state.mass):
                return _Solution(flux, phi, float(flux @ drop), iteration, error)
            if not np.isfinite(error):
                break
            change = _newton_step(problem, state.density, density, tau, residual, order)
            density = np.maximum(density - change, _MAX_DECREASE * density)
        raise NumericsError("Newton's method did not converge")


class _Solution(NamedTuple):
    """Solution of the midpoint rule: mass through each face in the step (face,), phi (cell,), and statistics."""

    flux: Array
    phi: Array
    dissipated: float
    iterations: int
    residual: float


def _flow(problem: GradientFlow, before: Array, after: Array, tau: float) -> tuple[Array, Array]:
    """tau T m (face,) and phi (cell,)."""
    mesh, total = problem.mesh, before + after
    flow = 0.25 * tau * mesh.transmissibility * (total[mesh.owner] + total[mesh.neighbour])
    return flow, problem.total.secant(before, after)


def _newton_step(
    problem: GradientFlow, before: Array, after: Array, tau: float, residual: Array, order: Index | None
) -> Array:
    """(dR/d rho)^-1 R; raises NumericsError if the matrix is singular or not finite."""
    from scipy.sparse import coo_array

    mesh = problem.mesh
    owner, neighbour, conductance = mesh.owner, mesh.neighbour, tau * mesh.transmissibility
    phi, slope = problem.total.secant(before, after), problem.total.secant_slope(before, after)
    mobility = 0.25 * (before + after)
    mean, drop = mobility[owner] + mobility[neighbour], 0.25 * (phi[owner] - phi[neighbour])
    down = conductance * (mean * slope[owner] + drop)  # d flux/d rho_K
    up = conductance * (mean * slope[neighbour] - drop)  # -d flux/d rho_L
    cells = np.arange(mesh.cells, dtype=np.int32)
    diagonal = mesh.volume + np.bincount(owner, down, mesh.cells) + np.bincount(neighbour, up, mesh.cells)
    rows, columns = np.concatenate([cells, owner, neighbour]), np.concatenate([cells, neighbour, owner])
    values = np.concatenate([diagonal, -up, -down])
    if not np.isfinite(values.sum()):
        raise NumericsError("the Newton matrix overflowed")
    place = cells if order is None else np.argsort(order)
    matrix = coo_array((values, (place[rows], place[columns])), shape=(mesh.cells, mesh.cells)).tocsc()
    factors = factorise(matrix, ordered=order is not None)

    def inverse(right: Array) -> Array:
        return np.asarray(factors.solve(right if order is None else right[order])[place])

    local = inverse(residual)
    return _with_interaction(problem, inverse, local, conductance * mean) if problem.total.interacting else local


def _with_interaction(problem: GradientFlow, inverse: Map, local: Array, flow: Array) -> Array:
    """The Newton step including an interaction, from the step and the inverse matrix without it.

    The unknown of the linear system is the change of the potential, which is smooth, so that the thin tails of the
    density keep their relative accuracy.
    """
    mesh, hessian = problem.mesh, problem.total.offdiagonal_hessian_product

    def response(potential: Array) -> Array:
        return inverse(divergence(mesh, flow * (potential[mesh.owner] - potential[mesh.neighbour])))

    return local - response(solve_second_kind(lambda z: 0.5 * hessian(response(z)), 0.5 * hessian(local)))
