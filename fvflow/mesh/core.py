"""The face graph: all that a finite-volume scheme needs to know of a mesh."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
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
# Cells of three dimensions by their number of corners, each a cube some of whose corners coincide.
_AS_CUBE = {
    4: [0, 1, 2, 2, 3, 3, 3, 3],
    5: [0, 1, 2, 3, 4, 4, 4, 4],
    6: [0, 1, 2, 2, 3, 4, 5, 5],
    8: list(range(8)),
}
EVERY = slice(None)
Part = Index | slice  # some of the cells or faces


class Extent(NamedTuple):
    """How large a mesh is, without the mesh."""

    dimension: int
    cells: int
    grid: bool = False  # whether the cells are boxes in rows along each axis

    @staticmethod
    def of(counts: Sequence[int]) -> Extent:
        """That of a grid with so many cells along each axis."""
        return Extent(len(counts), math.prod(counts), grid=True)


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
    distance: Array  # (face,) between the centres of K and L, along the normal
    normal: Array  # (face, dim) unit normal of s, from K to L
    points: Array  # (node, dim)
    cell_points: Index  # (cell, corner) nodes of each cell, in VTK's order; rows of fewer corners end with -1
    face_points: Index  # (face, corner) nodes of each face, in VTK's order, as cell_points
    wall_points: Index  # (wall, corner) nodes of the cells' faces that no other cell has, as cell_points
    edges: tuple[Array, ...] | None = None  # for a grid, the cell boundaries along x, y, z
    regions: Mapping[str, Array] = field(default_factory=dict)  # (cell,) part of each cell that lies in a named region
    boundaries: Mapping[str, Index] = field(default_factory=dict)  # rows of wall_points that have a name

    @property
    def plot_cells(self) -> Index:
        """What values are drawn on (part, corner), as cell_points: the cells, or the elements about nodes."""
        return self.cell_points

    @property
    def point_data(self) -> bool:
        """Whether values are drawn on the nodes of what is drawn, and not on the whole of each."""
        return False

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
    def nonuniformity(self) -> float:
        """How far a cell boundary is from where equal cells have it, in cells; infinite where the mesh is no grid."""
        if self.edges is None:
            return np.inf
        ideal = (np.linspace(edge[0], edge[-1], len(edge)) for edge in self.edges)
        off = (np.abs(edge - even).max() / (even[1] - even[0]) for edge, even in zip(self.edges, ideal, strict=True))
        return float(max(off))

    @property
    def extent(self) -> Extent:
        """Its dimension and number of cells."""
        return Extent(self.dimension, self.cells, self.edges is not None)

    @cached_property
    def transmissibility(self) -> Array:
        """T = area/distance of each face."""
        return self.area / self.distance

    @cached_property
    def walls(self) -> tuple[Array, Array]:
        """Centres and outward unit normals of the walls (wall, dim)."""
        outward = outward_normals(self.points, self.wall_points)
        rule = list(gauss(self.points, self.wall_points, self.dimension - 1, 1))
        middle = np.empty_like(outward)
        for position, _, part in rule:
            middle[part] = position
        return middle, outward

    @cached_property
    def components(self) -> Index:
        """The connected part of the mesh that each cell belongs to (cell,), counted from 0."""
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        pairs = np.ones(self.faces, np.int8), (self.owner, self.neighbour)
        return freeze_index(connected_components(coo_array(pairs, shape=(self.cells, self.cells)), directed=False)[1])

    def quadrature(self, count: int) -> Iterator[tuple[Array, Array, Part]]:
        """Gauss points, `count` an axis: positions (point, dim), weights (point,) and the cell of each.

        A slice over all cells stands for one point in each. The weights of a cell add up to its volume.
        """
        yield from gauss(self.points, self.cell_points, self.dimension, count)

    def face_quadrature(self, count: int) -> Iterator[tuple[Array, Array, Part]]:
        """Gauss points of the faces, as `quadrature`; the weights of a face add up to its area."""
        yield from gauss(self.points, self.face_points, self.dimension - 1, count)

    @cached_property
    def face_centre(self) -> Array:
        """The centroid of each face (face, dim)."""
        axes = [self.face_integral(along(axis), 2) for axis in range(self.dimension)]
        return freeze(np.stack(axes, axis=1) / self.area[:, None])

    def integral(self, function: Callable[[Array, Part], Array], count: int) -> Array:
        """int_K f of each cell (cell,), by `count` Gauss points an axis; f takes positions and the cells of these."""
        return summed(self.quadrature(count), function, self.cells)

    def face_integral(self, function: Callable[[Array, Part], Array], count: int) -> Array:
        """int_s f of each face (face,), as `integral`."""
        return summed(self.face_quadrature(count), function, self.faces)


def _as_cubes(corners: Index, dimension: int, plane: bool) -> Iterator[tuple[Part, Index]]:
    """Cells or faces as lines, quadrilaterals and hexahedra some of whose corners coincide, group by group."""
    whole = corners.shape[1] == 2**dimension and corners[:, -1:].min(initial=0) >= 0
    if dimension <= 1 or (whole and not plane):
        yield EVERY, corners
    elif dimension == 3:
        sizes = (corners >= 0).sum(axis=1)
        for size in np.unique(sizes):
            part = freeze_index(np.flatnonzero(sizes == size))
            yield (EVERY if len(part) == len(corners) else part), corners[part][:, _AS_CUBE[int(size)]]
    else:
        yield from _as_triangles(corners)


def _as_triangles(corners: Index) -> Iterator[tuple[Part, Index]]:
    """Polygons as fans of triangles about their first corner."""
    for second in range(1, corners.shape[1] - 1):
        part = freeze_index(np.flatnonzero(corners[:, second + 1] >= 0))
        fan = corners[part][:, [0, second, second + 1, second + 1]]
        yield (EVERY if len(part) == len(corners) else part), fan


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


def gauss(points: Array, corners: Index, dimension: int, count: int) -> Iterator[tuple[Array, Array, Part]]:
    """Gauss points of lines, polygons or solids (part, corner), as Mesh.quadrature.

    A tensor rule is carried to each by the multilinear map of the line, square or cube, the corners of which may
    coincide: exact for polynomials of degree 2 count - dimension on cells with straight sides.
    """
    node, weight = np.polynomial.legendre.leggauss(count)
    signs = REFERENCE_CORNERS[dimension]
    for part, cubes in _as_cubes(corners, dimension, plane=points.shape[1] == 2):
        for choice in product(range(count), repeat=dimension):
            factors = 0.5 * (1.0 + signs * node[list(choice)])  # (corner, axis)
            position = _combine(points, cubes, factors.prod(axis=1))
            tangents = [
                _combine(points, cubes, 0.5 * signs[:, axis] * np.delete(factors, axis, axis=1).prod(axis=1))
                for axis in range(dimension)
            ]
            yield position, weight[list(choice)].prod() * _measure(tangents, len(cubes)), part


def outward_normals(points: Array, corners: Index) -> Array:
    """Unit normals (face, dim) of faces in a plane or in space, to the right or outward as the corners go round."""
    first, second = points[corners[:, 0]], points[corners[:, 1]]
    if points.shape[1] == 2:
        ahead = second - first
        normal = np.stack([ahead[:, 1], -ahead[:, 0]], axis=1)
    else:
        third = points[corners[:, 2]]
        fourth = points[np.where(corners[:, -1] < 0, corners[:, 2], corners[:, -1])]
        normal = np.cross(third - first, fourth - second)  # of a triangle, the cross product of two sides
    return np.asarray(normal / np.linalg.norm(normal, axis=1)[:, None])


def along(axis: int) -> Callable[[Array, Part], Array]:
    """The coordinate along an axis, to integrate."""
    return lambda at, part: at[:, axis]


def summed(rule: Iterator[tuple[Array, Array, Part]], function: Callable[[Array, Part], Array], size: int) -> Array:
    """The integrals (size,) of a function by the rule that `gauss` gives."""
    total = np.zeros(size)
    for position, weight, part in rule:
        if isinstance(part, slice):
            total[part] += weight * function(position, part)
        else:
            total += np.bincount(part, weight * function(position, part), size)
    return total


def _combine(points: Array, corners: Index, factor: Array) -> Array:
    """Sum of the corners' positions, each times its factor, without a (cell, corner, dim) array."""
    total: Array = factor[0] * points[corners[:, 0]]
    for corner in range(1, len(factor)):
        total += factor[corner] * points[corners[:, corner]]
    return total


def _measure(tangents: list[Array], count: int) -> Array:
    """The measure of the parallelotope that the tangents span; where they span the space, with their sign.

    So the integral over a polygon is right even where a triangle of its fan is turned over.
    """
    if not tangents:
        return np.ones(count)
    if len(tangents) == 1:
        return np.asarray(np.linalg.norm(tangents[0], axis=1))
    if len(tangents) == 2 and tangents[0].shape[1] == 3:
        return np.asarray(np.linalg.norm(np.cross(tangents[0], tangents[1]), axis=1))
    return np.asarray(np.linalg.det(np.stack(tangents, axis=1)))
