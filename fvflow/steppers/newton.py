"""The Newton system of a linearised JKO step: iterate, residuals and Schur complement, face by face."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fvflow.energies import Sum
from fvflow.errors import NumericsError
from fvflow.linalg import divergence, elimination_order, factorise, perturbed
from fvflow.mesh import Array, Index, Mesh
from fvflow.problems import GradientFlow, State

_FELT = 1e-18  # couplings below it, beside a diagonal of 1, only make factors of denormal numbers, ten times slower
_SHIFT = 1e-14  # of the scaled Schur complement's diagonal
_VACUUM = 1e-14  # cells whose predicted density is below this part of the mean take no part, where E'(0) is infinite
_FLOOR = 1e-6  # of the mean: the least density of the first iterate, where E'(0) is finite
_SHRINK = 0.1  # a Newton step may empty a cell down to this part of its content, never beyond
_GROW = 3.0  # nor fill it to more than this multiple, unless it stays below the mean


_Map = Callable[[Array], Array]


class Pattern:
    """What of the Schur complement depends on the mesh alone."""

    def __init__(self, mesh: Mesh) -> None:
        self.order = elimination_order(mesh)
        self.place = self.order if self.order is None else np.argsort(self.order).astype(np.int32)
        self.first, self.second, self.between = _pairs(mesh)

    def inverse(self, matrix: Any, size: Array) -> Callable[[Array], Array]:
        """x -> Z (Z M Z + shift)^-1 Z x, a symmetric sparse M scaled by Z = diag(size); raises NumericsError."""
        from scipy.sparse import diags_array

        shift = diags_array(np.full(len(size), _SHIFT))
        scaled = (diags_array(size) @ matrix @ diags_array(size) + shift).tocsc()
        if not np.isfinite(scaled.data).all():
            raise NumericsError("the Newton matrix overflowed")
        if self.order is None:
            return _scaled(factorise(scaled), size)
        return _scaled(factorise(scaled[self.order][:, self.order].tocsc(), ordered=True), size, self.order)


def _scaled(factors: Any, size: Array, order: Index | None = None) -> Callable[[Array], Array]:
    """x -> Z F^-1 Z x, the factors F in another order of the cells."""
    if order is None:
        return lambda x: np.asarray(size * factors.solve(size * x))

    def solve(x: Array) -> Array:
        y = np.empty_like(x)
        y[order] = factors.solve((size * x)[order])
        return size * y

    return solve


def _pairs(mesh: Mesh) -> tuple[Index, Index, Index]:
    """All pairs of faces that share a cell, and that cell."""
    cell = np.concatenate([mesh.owner, mesh.neighbour])
    face = np.tile(np.arange(mesh.faces, dtype=np.int32), 2)
    by_cell = np.argsort(cell, kind="stable")
    cell, face = cell[by_cell], face[by_cell]
    found = [np.empty((3, 0), np.int32)]
    for gap in range(1, int(np.bincount(cell, minlength=1).max())):
        near = np.flatnonzero(cell[gap:] == cell[:-gap])
        found.append(np.stack([face[near], face[near + gap], cell[near]]))
    first, second, between = np.concatenate(found, axis=1)
    return first, second, between


class Schur:
    """S = A + B diag(w) B' of one iterate, with its products.

    A is the Laplacian with the flow tau T rho_s as conductance; column u of B holds volume_u + sum g_s in its own row
    and -g_s in the row of each cell d that u feeds through a face s, g_s = tau T_s |D_s|. So each cell u adds
    w_u b_u b_u', which couples it with the cells it feeds and these among each other.
    """

    def __init__(
        self, pattern: Pattern, volume: Array, source: Index, target: Index, speed: Array, flow: Array, weight: Array
    ) -> None:
        self._pattern, self._source, self._target, self._speed, self._weight = pattern, source, target, speed, weight
        self._flow, self._cells = flow, len(volume)
        self._own = volume + np.bincount(source, speed, self._cells)

    def spread(self, x: Array) -> Array:
        """B x (cell,)."""
        return self._own * x - np.bincount(self._target, self._speed * x[self._source], self._cells)

    def gather(self, y: Array) -> Array:
        """B' y (cell,)."""
        return self._own * y - np.bincount(self._source, self._speed * y[self._target], self._cells)

    def inverse(self) -> Callable[[Array], Array]:
        """x -> S^-1 x; raises NumericsError where S is singular or not finite."""
        source, target, weight, speed, flow = self._source, self._target, self._weight, self._speed, self._flow
        fed = weight[source]
        diagonal = weight * self._own**2
        diagonal += np.bincount(source, flow, self._cells) + np.bincount(target, flow + fed * speed**2, self._cells)
        diagonal[diagonal == 0.0] = 1.0
        size = 1.0 / np.sqrt(diagonal)
        coupling = -(flow + fed * self._own[source] * speed)
        p = self._pattern
        both = (source[p.first] == p.between) & (source[p.second] == p.between)
        first, second = p.first[both], p.second[both]
        rows = np.concatenate([source, target[first]])
        columns = np.concatenate([target, target[second]])
        values = np.concatenate([coupling, weight[p.between[both]] * speed[first] * speed[second]])
        values *= size[rows] * size[columns]
        if not np.isfinite(values.sum() + size.sum()):
            raise NumericsError("the Newton matrix overflowed")
        felt = np.abs(values) > _FELT
        return _scaled(self._factors(rows[felt], columns[felt], values[felt]), size, p.order)

    def _factors(self, rows: Index, columns: Index, values: Array) -> Any:
        from scipy.sparse import coo_array

        order, place = self._pattern.order, self._pattern.place
        if place is not None:
            rows, columns = place[rows], place[columns]
        cells = np.arange(self._cells, dtype=np.int32)
        entries = np.concatenate([np.full(self._cells, 1.0 + _SHIFT), values, values])
        places = (np.concatenate([cells, rows, columns]), np.concatenate([cells, columns, rows]))
        matrix = coo_array((entries, places), shape=(self._cells, self._cells)).tocsc()
        return factorise(matrix, ordered=order is not None)


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
            self.density *= state.mass / float(mesh.volume @ self.density)
            self._vacuum = np.zeros(len(start), dtype=bool)
        else:
            self.density = np.maximum(start, np.finfo(float).tiny)
            self._vacuum = self.density <= _VACUUM * mean
        self._inner = np.where(self._vacuum, 0.0, mesh.volume)
        beside = self._vacuum[mesh.owner] | self._vacuum[mesh.neighbour]
        self._conductance = np.where(beside, 0.0, tau * mesh.transmissibility)
        self.phi = total.first(self.density)
        self._scale = total.spread(np.maximum(self.density, _VACUUM * mean)) + _stiffness(total, mean, len(start))
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
        lost = max(float(np.abs(continuity).sum()) - round_off(self, self.flow(), self.phi), 0.0) / self._mass
        off = float(np.abs(optimality / self.volume).max()) / self._scale
        return (lost, off) if np.isfinite(lost + off) else (np.inf, np.inf)

    def advance(self, continuity: Array, optimality: Array) -> None:
        """One Newton step: full in phi; a cell at most triples and keeps at least a tenth. Raises NumericsError."""
        weight = np.where(self._vacuum, 0.0, 1.0 / (self.volume * self._total.second(self.density)))
        schur = Schur(self._pattern, self._inner, self._source, self._target, self._speed, self.flow(), weight)
        self._solve(schur.inverse(), schur.spread, schur.gather, weight, continuity, optimality)

    def _solve(
        self, inverse: _Map, spread: _Map, gather: _Map, weight: Array, continuity: Array, optimality: Array
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
            optimality = optimality - perturbed(lambda z: self._distant(both(0.0, z)[1]), first)
        self._move(*both(continuity, optimality))

    def _distant(self, change: Array) -> Array:
        """How an interaction changes |K| times the variation in the step: half of it, see `Sum.stable`."""
        return 0.5 * self.volume * self._total.distant(change)

    def _variation(self) -> Array:
        """E' as the step takes it (cell,)."""
        return self._total.stable(self._before, self.density)

    def _move(self, step: Array, change: Array) -> None:
        self.phi = self.phi + step
        most = np.maximum(_GROW * self.density, self._mean)
        self.density = np.clip(self.density + change, _SHRINK * self.density, most)
        self._leave()


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
        weight = np.where(self._vacuum, 0.0, 1.0 / (self.volume * self._total.second(self.density)))
        owner, neighbour, cells = self.owner, self.neighbour, np.arange(len(self.volume), dtype=np.int32)
        speed, flow = 0.25 * self._conductance * self._drop, self.flow()
        inner = self._inner + divergence(self, speed)
        coupling = _sparse([inner, speed, -speed], [cells, owner, neighbour], [cells, neighbour, owner])
        lost = np.bincount(owner, flow, len(cells)) + np.bincount(neighbour, flow, len(cells)) + 1.0 * self._vacuum
        laplacian = _sparse([lost, -flow, -flow], [cells, owner, neighbour], [cells, neighbour, owner])
        schur = laplacian + (coupling * weight) @ coupling.T
        inverse = self._pattern.inverse(schur, 1.0 / np.sqrt(schur.diagonal()))
        self._solve(inverse, coupling.dot, coupling.T.dot, weight, continuity, optimality)

    def _distant(self, change: Array) -> Array:
        return self.volume * self._total.distant(change)

    def _variation(self) -> Array:
        """E'(rho), the variation of the step's minimum."""
        return self._total.first(self.density)


def _sparse(values: list[Array], rows: list[Index], columns: list[Index]) -> Any:
    from scipy.sparse import coo_array

    count = len(values[0])
    places = (np.concatenate(rows), np.concatenate(columns))
    return coo_array((np.concatenate(values), places), shape=(count, count)).tocsr()


def round_off(mesh: Any, flow: Array, phi: Array) -> float:
    """What round-off leaves of the fluxes flow_s (phi_K - phi_L), added up over the cells."""
    size = np.abs(phi)
    return float(4 * np.finfo(float).eps * (flow @ (size[mesh.owner] + size[mesh.neighbour])))


def _stiffness(total: Sum, mean: float, cells: int) -> float:
    """rho E''(rho) at the mean density: the scale of E' where its range is nothing, at equilibrium."""
    density = np.full(cells, mean)
    return float((density * total.second(density)).max())
