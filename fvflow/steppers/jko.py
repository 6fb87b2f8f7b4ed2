"""Minimising-movement steps: rho^{n+1} minimises E(rho) + W2^2(rho^n, rho)/(2 tau), with a discrete W2."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

import numpy as np
from annotated_types import Ge, Gt, Le, Lt

from fvflow.errors import NumericsError
from fvflow.fluxes import ScharfetterGummel
from fvflow.linalg import Auto, FaceMatrix, Solution, Solver, chosen, divergence, factorise
from fvflow.mesh import Array, Index
from fvflow.problems import GradientFlow, State
from fvflow.steppers.linear import Step

_VACUUM = 1e-14  # cells whose predicted density is below this part of the mean take no part in Newton
_SHRINK = 0.1  # a Newton step may empty a cell down to this part of its content, never beyond
_SHIFT = 1e-14  # of the scaled Schur complement's diagonal


@dataclass(frozen=True)
class LJKO:
    """The linearised JKO step with upwind mobility: first order, rho > 0 stays, E falls at any step.

    With phi the potential at the end of the step, D_s = phi_K - phi_L and rho_s the density on the side that the mass
    leaves, the step solves

        |K| (rho_K - rho^n_K) + tau sum_s T_s rho_s D_s = 0                                     (continuity)
        |K| (phi_K - E'(rho)_K) + (tau/2) sum_{s leaving K} T_s D_s^2 = 0                       (Hamilton-Jacobi)

    the optimality conditions of min E(rho) + (tau/2) sum_s T_s rho_s D_s^2, so that E(rho^{n+1}) plus that cost is at
    most E(rho^n). Cances, Gallouet, Todeschi, A variational finite volume scheme for Wasserstein gradient flows, Numer.
    Math. 146 (2020), equations (22)-(23); notes, equations (140)-(146).

    Newton on both, its Schur complement in phi factorised directly. It starts from one implicit Euler step of the
    linear equation with the same entropy and potential, whose tails decay like those of the solution: 2 to 5
    iterations where a start from rho^n takes 9 to 30. Cells that stay below 1e-14 of the mean keep that start. The
    density is then carried once more along phi, an M-matrix, which makes it conservative and non-negative to
    round-off. If Newton does not converge the step is halved.
    """

    tolerance: Annotated[float, Gt(0), Lt(1e-3)] = 1e-10
    iterations: Annotated[int, Ge(1)] = 40
    halvings: Annotated[int, Ge(0), Le(60)] = 24
    solver: Solver = Auto()
    kind: Literal["ljko"] = "ljko"
    order = 1

    def start(self, problem: GradientFlow) -> Step:
        """The step as a function."""
        return lambda state, length: self._step(problem, state, length, self.halvings)

    def _step(self, problem: GradientFlow, state: State, length: float, halvings: int) -> State:
        try:
            return self._attempt(problem, state, length)
        except _Unconverged as failure:
            if halvings == 0:
                raise NumericsError(
                    f"ljko did not converge at t = {state.time:g} even with a step of {length:.3g} after "
                    f"{self.halvings} halvings ({failure}); use a smaller step, a finer mesh or a looser tolerance"
                ) from None
        half = self._step(problem, state, 0.5 * length, halvings - 1)
        end = self._step(problem, half, 0.5 * length, halvings - 1)
        return replace(
            end,
            step=state.step + 1,
            iterations=half.iterations + end.iterations + self.iterations,
            correction=max(half.correction, end.correction),
            halvings=half.halvings + end.halvings + 1,
        )

    def _attempt(self, problem: GradientFlow, state: State, length: float) -> State:
        solver = chosen(self.solver, problem.mesh.extent)
        start = solver.prepare(_predictor(problem, length))(problem.mesh.volume * state.density, state.mass)
        with np.errstate(all="ignore"):  # a Newton step that overflows is caught by its residual and halved
            phi, iterations = self._newton(problem, state, start.density, length)
        carried = solver.prepare(_carrier(problem, phi, length))(problem.mesh.volume * state.density, state.mass)
        return _after(state, length, phi, iterations, start, carried)

    def _newton(self, problem: GradientFlow, state: State, start: Array, tau: float) -> tuple[Array, int]:
        """phi at the end of the step, and the iterations it took."""
        system = _System(problem, state, start, tau)
        scale = problem.total.spread(np.maximum(start, system.floor)) or 1.0
        for iteration in range(self.iterations + 1):
            continuity, optimality = system.residuals()
            lost = np.abs(continuity).sum() / state.mass
            off = np.abs(optimality / problem.mesh.volume).max() / scale
            if lost <= self.tolerance and off <= 100 * self.tolerance:
                return system.phi, iteration
            if not np.isfinite(lost + off) or iteration == self.iterations:
                break
            system.advance(continuity, optimality)
        raise _Unconverged(f"residuals {lost:.1e} of the mass and {off:.1e} of the potential")


class _Unconverged(Exception):
    """Newton stopped without an answer."""


def _after(state: State, tau: float, phi: Array, iterations: int, start: Solution, carried: Solution) -> State:
    return replace(
        state,
        time=state.time + tau,
        step=state.step + 1,
        density=carried.density,
        potential=phi,
        iterations=iterations,
        correction=max(start.correction, carried.correction),
        halvings=0,
    )


def _predictor(problem: GradientFlow, tau: float) -> FaceMatrix:
    """Implicit Euler with Scharfetter-Gummel fluxes for the linear part of E', the entropy linearised to its eps."""
    mesh = problem.mesh
    epsilon, potential = problem.total.linear_part()
    w = potential[mesh.owner] - potential[mesh.neighbour]
    weight, conductance = ScharfetterGummel().weight, tau * mesh.transmissibility
    down, up = conductance * weight(-w, epsilon), conductance * weight(w, epsilon)
    return FaceMatrix(mesh.volume, mesh.owner, mesh.neighbour, down, up)


def _carrier(problem: GradientFlow, phi: Array, tau: float) -> FaceMatrix:
    """The continuity equation with phi given: implicit upwind transport, an M-matrix."""
    mesh = problem.mesh
    drop = tau * mesh.transmissibility * (phi[mesh.owner] - phi[mesh.neighbour])
    return FaceMatrix(mesh.volume, mesh.owner, mesh.neighbour, np.maximum(drop, 0.0), np.maximum(-drop, 0.0))


class _System:
    """One Newton iteration after the other for (phi, rho) on the cells that are not vacuum."""

    def __init__(self, problem: GradientFlow, state: State, start: Array, tau: float) -> None:
        mesh = problem.mesh
        self.floor = _VACUUM * state.mass / mesh.volume.sum()
        self.volume, self.total, self.before, self.tau = mesh.volume, problem.total, state.density, tau
        self.density = np.maximum(start, np.finfo(float).tiny)
        self.phi = problem.total.first(self.density)
        self.vacuum = self.density <= self.floor
        inner = ~(self.vacuum[mesh.owner] | self.vacuum[mesh.neighbour])
        self.owner: Index = mesh.owner[inner]
        self.neighbour: Index = mesh.neighbour[inner]
        self.conductance = tau * mesh.transmissibility[inner]
        self._leave()

    def _leave(self) -> None:
        """The drop of phi over each face and the cell that the mass leaves."""
        self.drop = self.phi[self.owner] - self.phi[self.neighbour]
        self.upstream = np.where(self.drop > 0, self.owner, self.neighbour)

    def residuals(self) -> tuple[Array, Array]:
        """What continuity and Hamilton-Jacobi are off by (cell,), zero in vacuum."""
        flux = self.conductance * self.density[self.upstream] * self.drop
        continuity = self.volume * (self.density - self.before) + divergence(self, flux)
        kinetic = np.bincount(self.upstream, 0.5 * self.conductance * self.drop**2, len(self.volume))
        optimality = self.volume * (self.phi - self.total.first(self.density)) + kinetic
        continuity[self.vacuum] = 0.0
        optimality[self.vacuum] = 0.0
        return continuity, optimality

    def advance(self, continuity: Array, optimality: Array) -> None:
        """One Newton step: full in phi; no cell loses more than 9/10 of its content."""
        weight = np.where(self.vacuum, 0.0, 1.0 / (self.volume * self.total.second(self.density)))
        coupling = self._coupling()
        schur = self._laplacian() + (coupling * weight) @ coupling.T
        size = 1.0 / np.sqrt(schur.diagonal())
        right = -size * (continuity + coupling @ (weight * optimality))
        step = size * _solve(schur, size, right)
        change = weight * (optimality + coupling.T @ step)
        self.phi = self.phi + step
        self.density = np.maximum(self.density + change, _SHRINK * self.density)
        self._leave()

    def _coupling(self) -> Any:
        """d continuity/d rho (cell, cell); its transpose is -d optimality/d phi's dual, as for any saddle point."""
        cells = np.arange(len(self.volume), dtype=np.int32)
        speed = self.conductance * self.drop
        rows = np.concatenate([cells, self.owner, self.neighbour])
        columns = np.concatenate([cells, self.upstream, self.upstream])
        values = np.concatenate([np.where(self.vacuum, 0.0, self.volume), speed, -speed])
        return _sparse(values, rows, columns, len(cells))

    def _laplacian(self) -> Any:
        """d continuity/d phi (cell, cell), with ones on the diagonal in vacuum."""
        cells = np.arange(len(self.volume), dtype=np.int32)
        flow = self.conductance * self.density[self.upstream]
        rows = np.concatenate([cells, self.owner, self.neighbour, self.owner, self.neighbour])
        columns = np.concatenate([cells, self.owner, self.neighbour, self.neighbour, self.owner])
        values = np.concatenate([self.vacuum.astype(float), flow, flow, -flow, -flow])
        return _sparse(values, rows, columns, len(cells))


def _sparse(values: Array, rows: Array, columns: Array, count: int) -> Any:
    from scipy.sparse import coo_array

    return coo_array((values, (rows, columns)), shape=(count, count)).tocsc()


def _solve(schur: Any, size: Array, right: Array) -> Array:
    """The scaled Schur complement's solution; raises _Unconverged when it is singular or not finite."""
    from scipy.sparse import diags_array

    scaled = (diags_array(size) @ schur @ diags_array(size) + diags_array(np.full(len(size), _SHIFT))).tocsc()
    if not np.isfinite(scaled.data).all():
        raise _Unconverged("the Newton matrix overflowed")
    try:
        return np.asarray(factorise(scaled).solve(right))
    except NumericsError as error:
        raise _Unconverged(str(error)) from None


GradientStepper = LJKO
