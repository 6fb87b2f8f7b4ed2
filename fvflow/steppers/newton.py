"""The Newton iterations of a JKO step: iterate, residuals and step, face by face."""

from __future__ import annotations

from typing import Any

import numpy as np

from fvflow.energies import TotalEnergy
from fvflow.linalg import divergence, inner, solve_second_kind
from fvflow.mesh import Array, Index
from fvflow.problems import GradientFlow, State
from fvflow.steppers.schur import Map, Pattern, Schur

_VACUUM = 1e-14  # cells whose predicted density is below this part of the mean take no part, where E'(0) is infinite
_FLOOR = 1e-6  # of the mean: the least density of the first iterate, where E'(0) is finite
_SHRINK = 0.1  # a Newton step may empty a cell down to this part of its content, never beyond
_GROW = 3.0  # nor fill it to more than this multiple, unless it stays below the mean


class Iterate:
    """phi and rho of a Newton iteration for a step tau on the cells that are not vacuum."""

    def __init__(self, pattern: Pattern, problem: GradientFlow, state: State, start: Array, tau: float) -> None:
        mesh, total = problem.mesh, problem.total
        mean = state.mass / float(mesh.volume.sum())
        self.volume, self.owner, self.neighbour = mesh.volume, mesh.owner, mesh.neighbour
        self._pattern, self._total, self._before = pattern, total, state.density
        self._mass, self._mean = state.mass, mean
        if np.isfinite(total.first(np.zeros_like(start))).all():  # E' is bounded at 0: vacuum is a place like others
            self.density = np.maximum(start, _FLOOR * mean)
            self.density *= state.mass / inner(mesh.volume, self.density)
            self._vacuum = np.zeros(len(start), dtype=bool)
        else:
            self.density = np.maximum(start, np.finfo(float).tiny)
            self._vacuum = self.density <= _VACUUM * mean
        self._inner = np.where(self._vacuum, 0.0, mesh.volume)
        beside = self._vacuum[mesh.owner] | self._vacuum[mesh.neighbour]
        self._conductance = np.where(beside, 0.0, tau * mesh.transmissibility)
        self.phi = total.first(self.density)
        self._scale = total.variation_range(np.maximum(self.density, _VACUUM * mean)) + _stiffness(
            total, mean, len(start)
        )
        self._far = np.inf
        self._leave()

    def _leave(self) -> None:
        """The drop of phi over each face, the cell that the mass leaves and the one that it enters."""
        self._drop = self.phi[self.owner] - self.phi[self.neighbour]
        ahead = self._drop > 0
        self._source = np.where(ahead, self.owner, self.neighbour)
        self._target = np.where(ahead, self.neighbour, self.owner)
        self._speed = self._conductance * np.abs(self._drop)

    def residuals(self) -> tuple[Array, Array]:
        """What continuity and Hamilton-Jacobi are off by (cell,), zero in vacuum."""
        continuity = self.volume * (self.density - self._before) + divergence(self, self.flow() * self._drop)
        kinetic = np.bincount(self._source, 0.5 * self._speed * np.abs(self._drop), len(self.volume))
        optimality = self.volume * (self.phi - self._variation()) + kinetic
        continuity[self._vacuum] = 0.0
        optimality[self._vacuum] = 0.0
        return continuity, optimality

    def flow(self) -> Array:
        """tau T_s rho_s (face,)."""
        return self._conductance * self.density[self._source]

    def errors(self, continuity: Array, optimality: Array) -> tuple[float, float]:
        """The residuals as parts of the mass and of the range of E'; infinite when something is not finite.

        Of the first, what round-off makes of a difference of potentials does not count.
        """
        found = self._measured(continuity, optimality, self.flow(), self.phi)
        self._far = max(found)
        return found

    def _measured(self, continuity: Array, optimality: Array, flow: Array, phi: Array) -> tuple[float, float]:
        lost = max(float(np.abs(continuity).sum()) - round_off(self, flow, phi), 0.0) / self._mass
        off = float(np.abs(optimality / self.volume).max()) / self._scale
        return (lost, off) if np.isfinite(lost + off) else (np.inf, np.inf)

    def advance(self, continuity: Array, optimality: Array) -> None:
        """One Newton step: full in phi; a cell at most triples and keeps at least a tenth. Raises NumericsError."""
        weight = np.where(self._vacuum, 0.0, 1.0 / (self.volume * self._total.second(self.density)))
        schur = Schur(self._pattern, self._inner, self._source, self._target, self._speed, self.flow(), weight)
        inverse = schur.inverse(self._far, self._total.interacting)
        self._solve(inverse, schur.spread, schur.gather, weight, continuity, optimality)

    def _solve(
        self, inverse: Map, spread: Map, gather: Map, weight: Array, continuity: Array, optimality: Array
    ) -> None:
        """The Newton step from S^-1, B and B'.

        An interaction adds z = N change to the second equation, N the part of the Hessian off the diagonal; with
        change = G(z) affine, z + (N (G(0) - G))(z) = N G(0).
        """

        def both(continuity: Array | float, optimality: Array) -> tuple[Array, Array]:
            step = -inverse(continuity + spread(weight * optimality))
            return step, weight * (optimality + gather(step))

        if self._total.interacting:
            first = self._distant(both(continuity, optimality)[1])
            optimality = optimality - solve_second_kind(lambda z: self._distant(both(0.0, z)[1]), first)
        self._move(*both(continuity, optimality))

    def _distant(self, change: Array) -> Array:
        """How an interaction changes |K| times the variation in the step: half of it, see `TotalEnergy`."""
        return 0.5 * self.volume * self._total.offdiagonal_hessian_product(change)

    def _variation(self) -> Array:
        """E' as the step takes it (cell,)."""
        return self._total.convex_splitting_gradient(self._before, self.density)

    def _move(self, step: Array, change: Array) -> None:
        self.phi = self.phi + step
        self.density = self._limited(self.density, change)
        self._leave()

    def _limited(self, density: Array, change: Array) -> Array:
        """The density after a change of at most what a Newton step may do to a cell."""
        most = np.maximum(_GROW * density, self._mean)
        return np.clip(density + change, _SHRINK * density, most)


class CentredIterate(Iterate):
    """The same with the mean of the densities beside a face, before and after the step, as its density.

    rho_s = (rho_K + rho_L + rho^n_K + rho^n_L)/4; in Hamilton-Jacobi each side of a face takes (tau/8) T_s D_s^2.
    """

    def _leave(self) -> None:
        self._drop = self.phi[self.owner] - self.phi[self.neighbour]

    def flow(self) -> Array:
        """tau T_s rho_s (face,)."""
        both = self.density + self._before
        return 0.25 * self._conductance * (both[self.owner] + both[self.neighbour])

    def flux(self) -> Array:
        """What crosses each face in the step (face,)."""
        return self.flow() * self._drop

    def cost(self) -> float:
        """(tau/2) sum_s T_s rho_s D_s^2."""
        return 0.5 * float(self.flux() @ self._drop)

    def residuals(self) -> tuple[Array, Array]:
        """What continuity and Hamilton-Jacobi are off by (cell,), zero in vacuum."""
        continuity = self.volume * (self.density - self._before) + divergence(self, self.flux())
        share, cells = 0.125 * self._conductance * self._drop**2, len(self.volume)
        kinetic = np.bincount(self.owner, share, cells) + np.bincount(self.neighbour, share, cells)
        optimality = self.volume * (self.phi - self._variation()) + kinetic
        continuity[self._vacuum] = 0.0
        optimality[self._vacuum] = 0.0
        return continuity, optimality

    def advance(self, continuity: Array, optimality: Array) -> None:
        """One Newton step, limited as that of ljko. Raises NumericsError."""
        from scipy.sparse import triu

        weight = np.where(self._vacuum, 0.0, 1.0 / (self.volume * self._total.second(self.density)))
        owner, neighbour, cells = self.owner, self.neighbour, np.arange(len(self.volume), dtype=np.int32)
        speed, flow = 0.25 * self._conductance * self._drop, self.flow()
        inner = self._inner + divergence(self, speed)
        coupling = sparse([inner, speed, -speed], [cells, owner, neighbour], [cells, neighbour, owner])
        lost = np.bincount(owner, flow, len(cells)) + np.bincount(neighbour, flow, len(cells)) + 1.0 * self._vacuum
        laplacian = sparse([lost, -flow, -flow], [cells, owner, neighbour], [cells, neighbour, owner])
        schur = triu(laplacian + (coupling * weight) @ coupling.T)
        diagonal, upper = schur.diagonal(), triu(schur, 1).tocoo()
        entries = upper.row, upper.col, upper.data
        inverse = self._pattern.inverse(*entries, diagonal, self._far, self._total.interacting)
        self._solve(inverse, coupling.dot, coupling.T.dot, weight, continuity, optimality)

    def _distant(self, change: Array) -> Array:
        return self.volume * self._total.offdiagonal_hessian_product(change)

    def _variation(self) -> Array:
        """E'(rho), the variation of the step's minimum."""
        return self._total.first(self.density)


def sparse(values: list[Array], rows: list[Index], columns: list[Index]) -> Any:
    """The matrix of the entries as a scipy CSR array."""
    from scipy.sparse import coo_array

    count = len(values[0])
    places = (np.concatenate(rows), np.concatenate(columns))
    return coo_array((np.concatenate(values), places), shape=(count, count)).tocsr()


def round_off(mesh: Any, flow: Array, phi: Array) -> float:
    """What round-off leaves of the fluxes flow_s (phi_K - phi_L), added up over the cells."""
    size = np.abs(phi)
    return float(4 * np.finfo(float).eps * (flow @ (size[mesh.owner] + size[mesh.neighbour])))


def _stiffness(total: TotalEnergy, mean: float, cells: int) -> float:
    """rho E''(rho) at the mean density: the scale of E' where its range is nothing, at equilibrium."""
    density = np.full(cells, mean)
    return float((density * total.second(density)).max())
