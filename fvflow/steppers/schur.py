"""The Schur complement in phi of the Newton system of a JKO step."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from fvflow.jit import kernel
from fvflow.linalg import divergence
from fvflow.linalg.reused import Map
from fvflow.mesh import Array, Index
from fvflow.steppers.mesh_system import MeshSystemSolver


class Schur(Protocol):
    """S = A + B diag(w) B' of one Newton iterate, with its products."""

    def coupling(self, x: Array) -> Array:
        """B x (cell,)."""

    def coupling_transpose(self, y: Array) -> Array:
        """B' y (cell,)."""

    def laplacian(self, x: Array) -> Array:
        """A x (cell,)."""

    def inverse(self, newton_error: float, accurate: bool) -> Map:
        """x -> S^-1 x, see `MeshSystemSolver.inverse`."""


class SchurComplement:
    """S = A + B diag(w) B' of one upwind Newton iterate, with its products.

    A is the Laplacian with the conductances tau T rho_s (`flow`). Column u of B has volume_u + sum g_s in row u and
    -g_s in the row of each cell d downstream of u over a face s, g_s = tau T_s |D_s| (`speed`). So each cell u adds w_u
    b_u b_u', which couples it with its downstream cells and these with each other.
    """

    def __init__(
        self,
        solver: MeshSystemSolver,
        volume: Array,
        source: Index,
        target: Index,
        speed: Array,
        flow: Array,
        weight: Array,
    ) -> None:
        self._solver, self._source, self._target, self._speed, self._weight = solver, source, target, speed, weight
        self._flow, self._cells = flow, len(volume)
        self._own = volume + np.bincount(source, speed, self._cells)

    def coupling(self, x: Array) -> Array:
        """B x (cell,)."""
        return self._own * x - np.bincount(self._target, self._speed * x[self._source], self._cells)

    def coupling_transpose(self, y: Array) -> Array:
        """B' y (cell,)."""
        return self._own * y - np.bincount(self._source, self._speed * y[self._target], self._cells)

    def laplacian(self, x: Array) -> Array:
        """A x (cell,)."""
        flux = self._flow * (x[self._source] - x[self._target])
        return np.asarray(np.bincount(self._source, flux, self._cells) - np.bincount(self._target, flux, self._cells))

    def inverse(self, newton_error: float, accurate: bool) -> Map:
        """x -> S^-1 x, see `MeshSystemSolver.inverse`."""
        source, target, weight, speed, flow = self._source, self._target, self._weight, self._speed, self._flow
        upstream_weight = weight[source]
        diagonal = weight * self._own**2
        inflow = np.bincount(target, flow + upstream_weight * speed**2, self._cells)
        diagonal += np.bincount(source, flow, self._cells) + inflow
        diagonal[diagonal == 0.0] = 1.0
        solver = self._solver
        pairs = solver.first, solver.second, solver.shared_cell
        rows, columns, products = _downstream_pairs(source, target, speed, weight, *pairs)
        direct = -(flow + upstream_weight * self._own[source] * speed)
        rows, columns = np.concatenate([source, rows]), np.concatenate([target, columns])
        values = np.concatenate([direct, products])
        return solver.inverse(rows, columns, values, diagonal, newton_error, accurate)


@kernel()
def _downstream_pairs(
    source: Any, target: Any, speed: Any, weight: Any, first: Any, second: Any, shared_cell: Any
) -> Any:
    """The pairs of cells downstream of one cell u, of all `_face_pairs`, and w_u g_s g_s' of each."""
    rows, columns = np.empty(len(first), np.int32), np.empty(len(first), np.int32)
    products, found = np.empty(len(first)), 0
    for pair in range(len(first)):
        s, other, cell = first[pair], second[pair], shared_cell[pair]
        if source[s] == cell and source[other] == cell:
            rows[found], columns[found] = target[s], target[other]
            products[found] = weight[cell] * speed[s] * speed[other]
            found += 1
    return rows[:found], columns[:found], products[:found]


class CentredSchurComplement:
    """The same for centred mobility, with general sparse matrices.

    A is the Laplacian with the conductances tau T m_s (`flow`); B is diag(volume) plus the divergence of cell values
    transported with the speeds tau T_s D_s/4 (`speed`) out of both cells of a face.
    """

    def __init__(
        self, solver: MeshSystemSolver, mesh: Any, volume: Array, speed: Array, flow: Array, weight: Array
    ) -> None:
        self._solver, self._weight = solver, weight
        cells = np.arange(len(volume), dtype=np.int32)
        rows, columns = [cells, mesh.owner, mesh.neighbour], [cells, mesh.neighbour, mesh.owner]
        self._coupling = sparse([volume + divergence(mesh, speed), speed, -speed], rows, columns)
        total = np.bincount(mesh.owner, flow, len(cells)) + np.bincount(mesh.neighbour, flow, len(cells))
        self._laplacian = sparse([total + 1.0 * (volume == 0), -flow, -flow], rows, columns)

    def coupling(self, x: Array) -> Array:
        """B x (cell,)."""
        return np.asarray(self._coupling.dot(x))

    def coupling_transpose(self, y: Array) -> Array:
        """B' y (cell,)."""
        return np.asarray(self._coupling.T.dot(y))

    def laplacian(self, x: Array) -> Array:
        """A x (cell,)."""
        return np.asarray(self._laplacian.dot(x))

    def inverse(self, newton_error: float, accurate: bool) -> Map:
        """x -> S^-1 x, see `MeshSystemSolver.inverse`."""
        from scipy.sparse import triu

        schur = triu(self._laplacian + (self._coupling * self._weight) @ self._coupling.T)
        diagonal, upper = schur.diagonal(), triu(schur, 1).tocoo()
        return self._solver.inverse(upper.row, upper.col, upper.data, diagonal, newton_error, accurate)


def sparse(values: list[Array], rows: list[Index], columns: list[Index]) -> Any:
    """The matrix with these entries as a scipy CSR array."""
    from scipy.sparse import coo_array

    count = len(values[0])
    places = (np.concatenate(rows), np.concatenate(columns))
    return coo_array((np.concatenate(values), places), shape=(count, count)).tocsr()
