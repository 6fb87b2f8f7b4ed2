"""The discrete-gradient midpoint rule: second order, with the exact energy balance."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge, Gt, Lt

from fvflow.errors import NumericsError
from fvflow.linalg import UpwindTriangular, divergence, elimination_order, factorise, solve_second_kind
from fvflow.mesh import Array, Index
from fvflow.problems import GradientFlow, State
from fvflow.steppers.base import GradientStepperBase, Step
from fvflow.steppers.jko import LJKO, poured
from fvflow.steppers.newton import round_off

_SHRINK = 0.1  # a Newton step may empty a cell down to this part of its content


@dataclass(frozen=True)
class Midpoint(GradientStepperBase):
    """|K| (rho - rho^n) + tau sum_s T_s m_s D_s = 0 with the discrete gradient of the energy: second order.

    phi_K = (e(rho_K) - e(rho^n_K))/(rho_K - rho^n_K), D_s = phi_K - phi_L, and m_s the mean of the four densities
    beside s before and after. Multiplying by phi and summing gives

        E(rho) - E(rho^n) = -tau sum_s T_s m_s D_s^2

    exactly, at any step (Gonzalez, Time integration and discrete Hamiltonian systems, J. Nonlinear Sci. 6 (1996);
    McLachlan, Quispel, Robidoux, Geometric integration using discrete gradients, Phil. Trans. A 357 (1999)). A step
    whose Newton iteration fails or whose density would be negative is left to ljko, and counted as a fallback; so are
    the first `warmup` steps, for rough data (each is upwind and costs an error tau h).
    """

    warmup: Annotated[int, Ge(0)] = 0
    tolerance: Annotated[float, Gt(0), Lt(1e-3)] = 1e-13
    iterations: Annotated[int, Ge(1)] = 20
    kind: Literal["midpoint"] = "midpoint"
    order = 2
    order_in_space = 2

    def start(self, problem: GradientFlow) -> Step:
        """The step as a function."""
        robust = LJKO().start(problem)
        order, downhill = elimination_order(problem.mesh), UpwindTriangular(problem.mesh)

        def step(state: State, length: float) -> State:
            found = None if state.step < self.warmup else self._solved(problem, downhill, state, length, order)
            if found is None:
                return replace(robust(state, length), fallbacks=1)
            density, dissipated, iterations, residual = found
            return replace(
                state,
                time=state.time + length,
                step=state.step + 1,
                density=density,
                potential=None,
                iterations=iterations,
                residual=residual,
                optimality=0.0,
                dissipated=dissipated,
                correction=0.0,
                halvings=0,
                fallbacks=0,
            )

        return step

    def _solved(
        self, problem: GradientFlow, downhill: UpwindTriangular, state: State, tau: float, order: Index | None
    ) -> tuple[Array, float, int, float] | None:
        """Density, dissipated energy, iterations, residual of a step; None where it is left to the fallback."""
        volume, before = problem.mesh.volume, state.density
        density = before
        with np.errstate(all="ignore"):  # what is not finite ends in the fallback
            for iteration in range(self.iterations):
                flow, phi = _flow(problem, before, density, tau)
                drop = phi[problem.mesh.owner] - phi[problem.mesh.neighbour]
                flux = flow * drop
                residual = volume * (density - before) + divergence(problem.mesh, flux)
                lost = float(np.abs(residual).sum()) / state.mass
                if lost <= max(self.tolerance, round_off(problem.mesh, flow, phi) / state.mass):
                    after = poured(problem.mesh, downhill, state, flux, phi, self.tolerance)
                    return None if after is None else (after, float(flux @ drop), iteration, lost)
                if not np.isfinite(lost):
                    return None
                try:
                    change = _newton_step(problem, before, density, tau, residual, order)
                except NumericsError:
                    return None
                density = np.maximum(density - change, _SHRINK * density)
        return None


def _flow(problem: GradientFlow, before: Array, after: Array, tau: float) -> tuple[Array, Array]:
    """tau T m of each face (face,), and phi of each cell (cell,)."""
    mesh, both = problem.mesh, before + after
    flow = 0.25 * tau * mesh.transmissibility * (both[mesh.owner] + both[mesh.neighbour])
    return flow, problem.total.secant(before, after)


def _newton_step(
    problem: GradientFlow, before: Array, after: Array, tau: float, residual: Array, order: Index | None
) -> Array:
    """(dR/d rho)^-1 R; raises NumericsError where the matrix is singular."""
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

    if not problem.total.interacting:
        return inverse(residual)
    flow = conductance * mean

    def moved(potential: Array) -> Array:  # as the potential is smooth, what is solved for keeps its thin tails
        return inverse(divergence(mesh, flow * (potential[owner] - potential[neighbour])))

    local, offdiagonal_hessian_product = inverse(residual), problem.total.offdiagonal_hessian_product
    return local - moved(
        solve_second_kind(
            lambda z: 0.5 * offdiagonal_hessian_product(moved(z)), 0.5 * offdiagonal_hessian_product(local)
        )
    )
