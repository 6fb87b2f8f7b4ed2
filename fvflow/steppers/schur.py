"""The Schur complement of a JKO step's Newton system in phi, and how it is solved."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fvflow.errors import NumericsError
from fvflow.linalg import LARGEST_DIRECT, Auto, Direct, Multigrid, ReusedAMG, elimination_order, factorise
from fvflow.mesh import Array, Extent, Index, Mesh

NewtonSolver = Auto | Direct | Multigrid
Map = Callable[[Array], Array]

_FELT = 1e-18  # couplings below it, beside a diagonal of 1, only make factors of denormal numbers, ten times slower
_SHIFT = 1e-14  # of the scaled Schur complement's diagonal
_FACTORISED = {1: 2**31, 2: 6400, 3: 1000}  # cells up to which `auto` factorises, by dimension
_FAR = 1.0  # residuals beyond it: transport dominates, which takes multigrid hundreds of iterations
_NEAR, _ROUGH, _FINE = 1e-2, 1e-5, 1e-3  # residuals below the first: tolerance the third, above: the second
_EXACT = 1e-10  # tolerance inside the iteration of an interaction
_PATIENCE = 10  # times the iterations, where nothing else can solve the system


def newton_solver(solver: NewtonSolver, extent: Extent) -> Direct | Multigrid:
    """The solver itself, or what `auto` picks: direct on lines and small meshes, multigrid beyond."""
    if isinstance(solver, Auto):
        return Direct() if extent.cells <= _FACTORISED[extent.dimension] else Multigrid()
    return solver


class Pattern:
    """What of the Schur complement depends on the mesh alone, and its solver, which remembers the last one."""

    def __init__(self, mesh: Mesh, solver: NewtonSolver = Auto()) -> None:
        made = newton_solver(solver, mesh.extent)
        self.first, self.second, self.between = _pairs(mesh)
        self._order = elimination_order(mesh)
        self._place = None if self._order is None else np.argsort(self._order).astype(np.int32)
        self._multigrid = ReusedAMG() if isinstance(made, Multigrid) else None
        self._most = made.iterations if isinstance(made, Multigrid) else 0
        self._factorable = mesh.dimension < 3 or mesh.cells <= LARGEST_DIRECT

    def inverse(
        self, rows: Index, columns: Index, values: Array, diagonal: Array, far: float = 0.0, exact: bool = True
    ) -> Map:
        """x -> M^-1 x for a symmetric M, of whose entries off the diagonal each pair is given once.

        M is scaled to a unit diagonal. `far` is how far the Newton iteration still has to go; near its end, and if not
        `exact`, multigrid solves loosely. Raises NumericsError where M is singular or not finite.
        """
        size = 1.0 / np.sqrt(diagonal)
        values = values * size[rows] * size[columns]
        if not np.isfinite(values.sum() + size.sum() + far):
            raise NumericsError("the Newton matrix overflowed")
        felt = np.abs(values) > _FELT
        entries = rows[felt], columns[felt], values[felt]
        if self._multigrid is None or (self._factorable and far > _FAR):
            return self._factors(*entries, size)
        multigrid, matrix = self._multigrid, _symmetric(*entries, len(size)).tocsr()
        tolerance = _EXACT if exact else _FINE if far < _NEAR else _ROUGH
        most = self._most if self._factorable else _PATIENCE * self._most

        def solve(x: Array) -> Array:
            try:
                return size * multigrid.solve(matrix, size * x, tolerance, most)
            except NumericsError:
                if not self._factorable:
                    raise
            return self._factors(*entries, size)(x)

        return solve

    def _factors(self, rows: Index, columns: Index, values: Array, size: Array) -> Map:
        order, place = self._order, self._place
        if order is None or place is None:
            factors = factorise(_symmetric(rows, columns, values, len(size)).tocsc())
            return lambda x: np.asarray(size * factors.solve(size * x))
        factors = factorise(_symmetric(place[rows], place[columns], values, len(size)).tocsc(), ordered=True)
        return lambda x: np.asarray(size * factors.solve((size * x)[order])[place])


def _symmetric(rows: Index, columns: Index, values: Array, cells: int) -> Any:
    from scipy.sparse import coo_array

    own = np.arange(cells, dtype=np.int32)
    entries = np.concatenate([np.full(cells, 1.0 + _SHIFT), values, values])
    places = (np.concatenate([own, rows, columns]), np.concatenate([own, columns, rows]))
    return coo_array((entries, places), shape=(cells, cells))


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

    def inverse(self, far: float, exact: bool) -> Map:
        """x -> S^-1 x, see `Pattern.inverse`."""
        source, target, weight, speed, flow = self._source, self._target, self._weight, self._speed, self._flow
        fed = weight[source]
        diagonal = weight * self._own**2
        diagonal += np.bincount(source, flow, self._cells) + np.bincount(target, flow + fed * speed**2, self._cells)
        diagonal[diagonal == 0.0] = 1.0
        p = self._pattern
        both = (source[p.first] == p.between) & (source[p.second] == p.between)
        first, second = p.first[both], p.second[both]
        rows = np.concatenate([source, target[first]])
        columns = np.concatenate([target, target[second]])
        coupling = -(flow + fed * self._own[source] * speed)
        values = np.concatenate([coupling, weight[p.between[both]] * speed[first] * speed[second]])
        return p.inverse(rows, columns, values, diagonal, far, exact)
