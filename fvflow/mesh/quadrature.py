"""Gauss quadrature on lines, polygons and solids."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product

import numpy as np

from fvflow.mesh.arrays import EVERY, Array, Index, Subset, freeze_index

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


def difference_along(points: Array, values: Array, start: Index, end: Index, normal: Array) -> Array:
    """The values (point,) at the end less those at the start of lines (line,), along their normals turned left."""
    tangent = np.stack([-normal[:, 1], normal[:, 0]], axis=1)
    ahead = ((points[end] - points[start]) * tangent).sum(axis=1)
    return np.asarray(np.sign(ahead) * (values[end] - values[start]))


def along(axis: int) -> Callable[[Array, Subset], Array]:
    """The coordinate along an axis, as an integrand."""
    return lambda at, part: at[:, axis]


def integrated(
    rule: Iterator[tuple[Array, Array, Subset]], function: Callable[[Array, Subset], Array], size: int
) -> Array:
    """The integrals (size,) of a function over each part, by the quadrature that `gauss` yields."""
    total = np.zeros(size)
    for position, weight, part in rule:
        accumulate(total, weight * function(position, part), part)
    return total


def accumulate(total: Array, values: Array, part: Subset) -> None:
    """Add to the totals (size,), in place, the values of some parts, which may be named more than once."""
    if isinstance(part, slice):
        total[part] += values
    else:
        total += np.bincount(part, values, len(total))


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
