"""Systems that couple a cell with its neighbours, factorised one after the other."""

from __future__ import annotations

import numpy as np

from fvflow.linalg.direct.chain import LEAST_TRIDIAGONAL, invert_tridiagonal
from fvflow.linalg.direct.factorisation import factorise, least_degree_order
from fvflow.linalg.direct.nested_dissection import elimination_order
from fvflow.linalg.fixed_pattern import FixedPattern
from fvflow.linalg.matrix import is_chain
from fvflow.linalg.reused import Map
from fvflow.mesh import Array, Mesh


class NeighbourSystem:
    """Factorises matrices with the pattern of a mesh, whose order of elimination is found once.

    The cells of a grid are eliminated by nested dissection, others by least degree; a chain of cells in its own order.
    """

    def __init__(self, mesh: Mesh) -> None:
        self._chain = mesh.cells >= LEAST_TRIDIAGONAL and is_chain(mesh)
        if self._chain:
            return
        owner, neighbour, cells = mesh.owner, mesh.neighbour, np.arange(mesh.cells, dtype=np.int32)
        rows, columns = (cells, owner, neighbour), (cells, neighbour, owner)
        order = elimination_order(mesh)
        if order is None:
            ones = np.ones(len(owner))
            diagonal = np.bincount(owner, ones, mesh.cells) + np.bincount(neighbour, ones, mesh.cells) + 1.0
            values: tuple[Array, ...] = (np.asarray(diagonal, float), -ones, -ones)
            order = least_degree_order(FixedPattern(rows, columns, mesh.cells).matrix(values))
        self._order, self._place = order, np.argsort(order).astype(np.int32)
        self._pattern = FixedPattern([self._place[i] for i in rows], [self._place[i] for i in columns], mesh.cells)

    def inverse(self, diagonal: Array, upper: Array, lower: Array) -> Map:
        """b -> M^-1 b for M_KK (cell,), and M_KL and M_LK (face,) of the owner K and the neighbour L of each face.

        Raises NumericsError if M is singular.
        """
        if self._chain:
            return invert_tridiagonal(diagonal, upper, lower)
        factors = factorise(self._pattern.matrix((diagonal, upper, lower)), ordered=True)
        return lambda right: np.asarray(factors.solve(right[self._order])[self._place])
