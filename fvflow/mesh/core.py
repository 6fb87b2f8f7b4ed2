"""The face graph: all that a finite-volume scheme needs to know of a mesh."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Index = NDArray[np.int32]

# Corners of the reference line, square and cube [-1, 1]^d in the order of VTK.
_SQUARE = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], dtype=float)
REFERENCE_CORNERS = {
    0: np.zeros((1, 0)),
    1: np.array([[-1.0], [1.0]]),
    2: _SQUARE,
    3: np.concatenate([np.column_stack([_SQUARE, np.full(4, z)]) for z in (-1.0, 1.0)]),
}


class Extent(NamedTuple):
    """How large a mesh is, without the mesh."""

    dimension: int
    cells: int


@dataclass(frozen=True, eq=False, repr=False)
class Mesh:
    """A partition of the domain into control volumes K, seen as a graph whose edges are the interior faces s = K|L.

    The line between the centres of K and L is orthogonal to s (Eymard, Gallouet, Herbin, Finite Volume Methods, 2000),
    so that (rho_L - rho_K)/distance is a consistent normal derivative. No wall face is stored: the flux through the
    walls is zero by construction.

    Cells of a grid are counted with x fastest, faces by axis and then by owner.
    """

    centre: Array  # (cell, dim)
    volume: Array  # (cell,) measure of K
    owner: Index  # (face,) K, the cell that the normal leaves
    neighbour: Index  # (face,) L, the cell that the normal enters; owner < neighbour
    area: Array  # (face,) measure of s; 1 in one dimension
    distance: Array  # (face,) between the centres of K and L
    normal: Array  # (face, dim) unit vector from K to L
    points: Array  # (node, dim)
    cell_points: Index  # (cell, corner) nodes of each cell, in VTK's order
    face_points: Index  # (face, corner) nodes of each face, in VTK's order
    edges: tuple[Array, ...] | None = None  # for a grid, the cell boundaries along x, y, z

    @property
    def dimension(self) -> int:
        """Number of space dimensions."""
        return int(self.points.shape[1])

    @property
    def cells(self) -> int:
        """Number of cells."""
        return len(self.volume)

    @property
    def faces(self) -> int:
        """Number of interior faces."""
        return len(self.owner)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of a cell field as it is stored: (z, y, x) for a grid, (cell,) otherwise."""
        if self.edges is None:
            return (self.cells,)
        return tuple(len(edge) - 1 for edge in reversed(self.edges))

    @cached_property
    def unevenness(self) -> float:
        """How far a cell boundary is from where equal cells have it, in cells; infinite where the mesh is no grid."""
        if self.edges is None:
            return np.inf
        ideal = (np.linspace(edge[0], edge[-1], len(edge)) for edge in self.edges)
        off = (np.abs(edge - even).max() / (even[1] - even[0]) for edge, even in zip(self.edges, ideal, strict=True))
        return float(max(off))

    @property
    def extent(self) -> Extent:
        """Its dimension and number of cells."""
        return Extent(self.dimension, self.cells)

    @cached_property
    def transmissibility(self) -> Array:
        """T = area/distance of each face."""
        return self.area / self.distance

    def quadrature(self, count: int) -> Iterator[tuple[Array, Array]]:
        """Gauss points of all cells, one point a cell at a time: positions (cell, dim) and weights (cell,).

        The weights of a cell add up to its volume.
        """
        return _quadrature(self.points, self.cell_points, count)

    def face_quadrature(self, count: int) -> Iterator[tuple[Array, Array]]:
        """Gauss points of all faces, one point a face at a time: positions (face, dim) and weights (face,).

        The weights of a face add up to its area.
        """
        return _quadrature(self.points, self.face_points, count)


def freeze(values: ArrayLike) -> Array:
    """The values as a read-only contiguous array of doubles."""
    array = np.ascontiguousarray(values, np.float64)
    array.flags.writeable = False
    return array


def freeze_index(values: ArrayLike) -> Index:
    """The values as a read-only contiguous array of 32-bit integers, the widest that VTK reads."""
    array = np.ascontiguousarray(values, np.int32)
    array.flags.writeable = False
    return array


def _quadrature(points: Array, corners: Index, count: int) -> Iterator[tuple[Array, Array]]:
    """Tensor Gauss rule carried to each line, quadrilateral or hexahedron by its multilinear map."""
    dimension = int(corners.shape[1]).bit_length() - 1
    node, weight = np.polynomial.legendre.leggauss(count)
    signs = REFERENCE_CORNERS[dimension]
    for choice in product(range(count), repeat=dimension):
        factors = 0.5 * (1.0 + signs * node[list(choice)])  # (corner, axis)
        shape = factors.prod(axis=1)
        position = _combine(points, corners, shape)
        tangents = [
            _combine(points, corners, 0.5 * signs[:, axis] * np.delete(factors, axis, axis=1).prod(axis=1))
            for axis in range(dimension)
        ]
        yield position, weight[list(choice)].prod() * _measure(tangents, len(corners))


def _combine(points: Array, corners: Index, factor: Array) -> Array:
    """Sum of the corners' positions, each times its factor, without a (cell, corner, dim) array."""
    total: Array = factor[0] * points[corners[:, 0]]
    for corner in range(1, len(factor)):
        total += factor[corner] * points[corners[:, corner]]
    return total


def _measure(tangents: list[Array], count: int) -> Array:
    """The volume of the parallelotope that the tangents span, sqrt(det G) with G their Gram matrix."""
    if not tangents:
        return np.ones(count)
    if len(tangents) == 1:
        return np.asarray(np.sqrt((tangents[0] ** 2).sum(axis=1)))
    stacked = np.stack(tangents, axis=1)
    return np.asarray(np.sqrt(np.linalg.det(stacked @ stacked.swapaxes(1, 2))))
