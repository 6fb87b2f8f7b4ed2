"""The face graph: what a finite-volume scheme needs to know of a mesh."""

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

# Corners of the reference line, square and cube [-1, 1]^d in VTK's order.
_SQUARE = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], dtype=float)
REFERENCE_CORNERS = {
    0: np.zeros((1, 0)),
    1: np.array([[-1.0], [1.0]]),
    2: _SQUARE,
    3: np.concatenate([np.column_stack([_SQUARE, np.full(4, z)]) for z in (-1.0, 1.0)]),
}
# Solids by their number of corners, each as a cube some of whose corners coincide.
_AS_CUBE = {
    4: [0, 1, 2, 2, 3, 3, 3, 3],
    5: [0, 1, 2, 3, 4, 4, 4, 4],
    6: [0, 1, 2, 2, 3, 4, 5, 5],
    8: list(range(8)),
}
EVERY = slice(None)
Subset = Index | slice  # a subset of the cells or faces


class Extent(NamedTuple):
    """The size of a mesh, which may be known before the mesh is built."""

    dimension: int
    """Number of space dimensions."""
    cells: int
    """Number of cells."""
    grid: bool = False
    """Whether the mesh is a tensor-product grid."""

    @staticmethod
    def of(counts: Sequence[int]) -> Extent:
        """The extent of a grid with `counts` cells along each axis."""
        return Extent(len(counts), math.prod(counts), grid=True)


@dataclass(frozen=True, eq=False, repr=False)
class Mesh:
    """A partition of the domain into control volumes K, seen as a graph whose edges are the interior faces s = K|L.

    The line between the centres of K and L is orthogonal to s (Eymard, Gallouet, Herbin, Finite Volume Methods, 2000),
    so that (rho_L - rho_K)/distance is a consistent normal derivative. Only interior faces are stored: the flux through
    the walls is zero by construction.

    Cells of a grid are numbered with x fastest, faces by axis and then by owner. Lengths have the unit of the nodes.
    """

    centre: Array
    """Points x_K that two-point fluxes join (cell, dim): circumcentres, centroids or Voronoi sites."""
    volume: Array
    """Measures |K| (cell,)."""
    owner: Index
    """Cell K that the normal of each face leaves (face,)."""
    neighbour: Index
    """Cell L that the normal of each face enters (face,); owner < neighbour."""
    area: Array
    """Measures |s| (face,); 1 in one dimension."""
    distance: Array
    """Distances (x_L - x_K) . n (face,) of the centres along the normal."""
    normal: Array
    """Unit normals n of s from K to L (face, dim)."""
    points: Array
    """Nodes (node, dim)."""
    cell_points: Index
    """Nodes of each cell (cell, corner), in VTK's order; rows of fewer corners end with -1."""
    face_points: Index
    """Nodes of each interior face (face, corner), in VTK's order, padded as `cell_points`."""
    wall_points: Index
    """Nodes of each wall face, a face of one cell only (wall, corner), padded as `cell_points`."""
    edges: tuple[Array, ...] | None = None
    """Cell boundaries of a grid along x, y, z, each (cells along the axis + 1,); None if the mesh is not a grid."""
    regions: Mapping[str, Array] = field(default_factory=dict)
    """Volume fraction of each cell inside each named region (cell,)."""
    boundaries: Mapping[str, Index] = field(default_factory=dict)
    """Rows of `wall_points` that belong to each named boundary (wall,)."""

    @property
    def plot_cells(self) -> Index:
        """Nodes of the cells that plots show (part, corner), as `cell_points`; of a dual mesh the primal elements."""
        return self.cell_points

    @property
    def point_data(self) -> bool:
        """Whether values belong to the nodes of `plot_cells` rather than to the cells."""
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
        """Largest deviation of the edges from uniform spacing, in cell widths; infinite if the mesh is not a grid."""
        if self.edges is None:
            return np.inf
        ideal = (np.linspace(edge[0], edge[-1], len(edge)) for edge in self.edges)
        deviations = (
            np.abs(edge - even).max() / (even[1] - even[0]) for edge, even in zip(self.edges, ideal, strict=True)
        )
        return float(max(deviations))

    @property
    def extent(self) -> Extent:
        """Dimension, number of cells, and whether the mesh is a grid."""
        return Extent(self.dimension, self.cells, self.edges is not None)

    @cached_property
    def transmissibility(self) -> Array:
        """T = |s|/d of each face (face,)."""
        return self.area / self.distance

    @cached_property
    def walls(self) -> tuple[Array, Array]:
        """Centres and outward unit normals of the wall faces, each (wall, dim)."""
        outward = outward_normals(self.points, self.wall_points)
        rule = list(gauss(self.points, self.wall_points, self.dimension - 1, 1))
        centre = np.empty_like(outward)
        for position, _, part in rule:
            centre[part] = position
        return centre, outward

    @cached_property
    def components(self) -> Index:
        """Number of the connected component of each cell (cell,), from 0."""
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        pairs = np.ones(self.faces, np.int8), (self.owner, self.neighbour)
        return freeze_index(connected_components(coo_array(pairs, shape=(self.cells, self.cells)), directed=False)[1])

    def quadrature(self, count: int) -> Iterator[tuple[Array, Array, Subset]]:
        """Gauss points, `count` per axis, in batches: positions (point, dim), weights (point,) and the cell of each.

        A slice over all cells stands for one point in each cell. The weights of a cell add up to its volume.
        """
        yield from gauss(self.points, self.cell_points, self.dimension, count)

    def face_quadrature(self, count: int) -> Iterator[tuple[Array, Array, Subset]]:
        """Gauss points of the interior faces, as `quadrature`; the weights of a face add up to its area."""
        yield from gauss(self.points, self.face_points, self.dimension - 1, count)

    @cached_property
    def face_centre(self) -> Array:
        """The centroid of each face (face, dim)."""
        axes = [self.face_integral(along(axis), 2) for axis in range(self.dimension)]
        return freeze(np.stack(axes, axis=1) / self.area[:, None])

    def integral(self, function: Callable[[Array, Subset], Array], count: int) -> Array:
        """int_K f dx of each cell (cell,), by `count` Gauss points per axis; f takes positions and their cells."""
        return integrated(self.quadrature(count), function, self.cells)

    def face_integral(self, function: Callable[[Array, Subset], Array], count: int) -> Array:
        """int_s f ds of each interior face (face,), as `integral`."""
        return integrated(self.face_quadrature(count), function, self.faces)


def _as_cubes(corners: Index, dimension: int, plane: bool) -> Iterator[tuple[Subset, Index]]:
    """Lines, quadrilaterals or hexahedra, some of whose corners coincide, that make up cells or faces, in batches."""
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


def _as_triangles(corners: Index) -> Iterator[tuple[Subset, Index]]:
    """The triangles of polygons about their first corner, each as a quadrilateral with a repeated corner."""
    for second in range(1, corners.shape[1] - 1):
        part = freeze_index(np.flatnonzero(corners[:, second + 1] >= 0))
        fan = corners[part][:, [0, second, second + 1, second + 1]]
        yield (EVERY if len(part) == len(corners) else part), fan


def freeze(values: ArrayLike) -> Array:
    """The values as a read-only contiguous array of doubles, of the same shape."""
    array = np.ascontiguousarray(values, np.float64)
    array.flags.writeable = False
    return array


def freeze_index(values: ArrayLike) -> Index:
    """The values as a read-only contiguous array of 32-bit integers, the widest that VTK reads."""
    array = np.ascontiguousarray(values, np.int32)
    array.flags.writeable = False
    return array


def gauss(points: Array, corners: Index, dimension: int, count: int) -> Iterator[tuple[Array, Array, Subset]]:
    """Gauss points of lines, polygons or solids (part, corner), in batches as `Mesh.quadrature`.

    The multilinear map of the reference line, square or cube, whose corners may coincide, carries a tensor rule to each
    part. It is exact for polynomials of degree 2 count - dimension on cells with straight sides.
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
    """Unit normals (face, dim) of faces (face, corner): to the right in the plane, by the right-hand rule in space."""
    first, second = points[corners[:, 0]], points[corners[:, 1]]
    if points.shape[1] == 2:
        ahead = second - first
        normal = np.stack([ahead[:, 1], -ahead[:, 0]], axis=1)
    else:
        third = points[corners[:, 2]]
        fourth = points[np.where(corners[:, -1] < 0, corners[:, 2], corners[:, -1])]
        normal = np.cross(third - first, fourth - second)  # of a triangle, the cross product of two sides
    return np.asarray(normal / np.linalg.norm(normal, axis=1)[:, None])


def along(axis: int) -> Callable[[Array, Subset], Array]:
    """The coordinate along an axis, as an integrand."""
    return lambda at, part: at[:, axis]


def integrated(
    rule: Iterator[tuple[Array, Array, Subset]], function: Callable[[Array, Subset], Array], size: int
) -> Array:
    """The integrals (size,) of a function over each part, by the quadrature that `gauss` yields."""
    total = np.zeros(size)
    for position, weight, part in rule:
        if isinstance(part, slice):
            total[part] += weight * function(position, part)
        else:
            total += np.bincount(part, weight * function(position, part), size)
    return total


def _combine(points: Array, corners: Index, factor: Array) -> Array:
    """Weighted sum of the corners (cell, dim), without a (cell, corner, dim) array."""
    total: Array = factor[0] * points[corners[:, 0]]
    for corner in range(1, len(factor)):
        total += factor[corner] * points[corners[:, corner]]
    return total


def _measure(tangents: list[Array], count: int) -> Array:
    """The measure of the parallelotope that the tangents span, signed if they span the whole space.

    The sign makes the integral over a non-convex polygon correct: a triangle of its fan may be inverted.
    """
    if not tangents:
        return np.ones(count)
    if len(tangents) == 1:
        return np.asarray(np.linalg.norm(tangents[0], axis=1))
    if len(tangents) == 2 and tangents[0].shape[1] == 3:
        return np.asarray(np.linalg.norm(np.cross(tangents[0], tangents[1]), axis=1))
    return np.asarray(np.linalg.det(np.stack(tangents, axis=1)))
