"""Functions that are linear on simplices, on meshes that are not grids: values of nodes by least squares."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from fvflow.jit import parallel_for
from fvflow.mesh import Array, Index, Mesh
from fvflow.mesh.arrays import freeze_index
from fvflow.mesh.pieces import simplices
from fvflow.mesh.quadrature import along
from fvflow.reconstruction.base import Derivatives, Slopes
from fvflow.reconstruction.kernels import simplices_at

_NEAREST = {2: 16, 3: 48}  # centres for the 6 or 10 coefficients of a quadratic
_DECAY = 2.0  # weights exp(-2 (d/h)^2), h being the distance of the farthest
_DETERMINED = 1e-6  # singular values below this, relative to the largest, count as 0
_BLOCK = 2**13
_ON_AXIS = 1e-9  # distance from the axis, relative to the largest one, that counts as none


class NodeLeastSquares:
    """Quadratic least squares at the nodes, linear between them: order 2 in values and gradients, 1 in curvatures.

    The quadratic through the 16 nearest centres (48 in space), weighted by exp(-2 (d/h)^2), gives value, gradient and
    second derivatives in each node, each of which is interpolated linearly on triangles or tetrahedra. `cells` are
    those that have values, by default all. Where x is the distance from an axis, images of the centres beyond it take
    part: functions are even in x, or `odd`, as components of vectors along it are.
    """

    order = "order 2, its gradient of order 2"

    def __init__(self, mesh: Mesh, cells: Any = slice(None), odd: bool = False) -> None:
        self.mesh = mesh
        self._cells = cells
        self._centre = mesh.centre[cells]
        self._parity = 0 if mesh.revolution is None else -1 if odd else 1

    @cached_property
    def _cut(self) -> tuple[Array, Index]:
        """Vertices (vertex, dim), and those of each simplex (simplex, dim + 1), that the mesh is cut into.

        Of a mesh of cells about nodes these are the elements, whose nodes are the centres of the cells.
        """
        vertices, corners, _ = simplices(self.mesh.points, self.mesh.plot_cells[self._cells])
        return vertices, corners

    @cached_property
    def _at_vertices(self) -> Any:
        """Value and derivatives at the vertices from values at the centres, a sparse matrix (vertex * -, cell)."""
        return least_squares(self._centre, self._cut[0], parity=self._parity)

    def coefficients(self, fields: list[Array], slopes: list[Slopes]) -> Array:
        """Value and derivatives at the vertices (vertex, entry, field); slopes at walls do not matter."""
        vertices = len(self._cut[0])
        return np.asarray(self._at_vertices @ np.stack(fields, axis=1)).reshape(vertices, -1, len(fields))

    @cached_property
    def _buckets(self) -> tuple[Array, Array, tuple[Any, Any], Array]:
        """What the kernel needs to find simplices."""
        vertices, corners = self._cut
        corner = vertices[corners]
        edges = corner[:, 1:] - corner[:, :1]
        frame = np.zeros_like(edges)
        regular = np.linalg.det(edges) != 0  # a flat simplex contains no point
        frame[regular] = np.linalg.inv(edges[regular])
        low, high = corner.min(axis=1)[regular], corner.max(axis=1)[regular]
        lower, upper = low.min(axis=0), high.max(axis=0)
        margin = 1e-9 * (upper - lower)
        width = np.maximum((high - low).mean(axis=0), margin)
        number = np.maximum(np.floor((upper - lower) / width), 1.0)
        grid = np.stack([lower - margin, number / (upper - lower + 2 * margin), number], axis=1)
        first = np.clip(np.floor((low - margin - grid[:, 0]) * grid[:, 1]), 0, number - 1).astype(np.int64)
        last = np.clip(np.floor((high + margin - grid[:, 0]) * grid[:, 1]), 0, number - 1).astype(np.int64)
        sides = last - first + 1
        counts = sides.prod(axis=1)  # of the buckets that a simplex meets
        members = np.repeat(np.flatnonzero(regular), counts)
        within = np.arange(len(members)) - np.repeat(np.cumsum(counts) - counts, counts)
        bucket, stride = np.zeros(len(members), np.int64), 1
        for begin, side, most in zip(first.T, sides.T, number, strict=True):
            bucket += stride * (np.repeat(begin, counts) + within % np.repeat(side, counts))
            within //= np.repeat(side, counts)
            stride *= int(most)
        order = np.argsort(bucket, kind="stable")
        start = np.searchsorted(bucket[order], np.arange(stride + 1))
        return frame, np.ascontiguousarray(corner[:, 0]), (start, members[order]), grid

    def _located(self, points: Array) -> tuple[Index, Array]:
        """The simplex of each point (point,), -1 outside, and barycentric coordinates (point, dim + 1)."""
        found, share = np.empty(len(points), np.int64), np.zeros((len(points), points.shape[1] + 1))
        frame, origin, lists, grid = self._buckets
        points = self.mesh.inside_period(points)

        def task(begin: int, end: int) -> None:
            simplices_at(points, found, share, begin, end, frame, origin, lists, grid)

        parallel_for(task, len(points), len(points))
        return freeze_index(found), share

    def at(self, coefficients: Array, weights: Array, points: Array, order: int) -> Derivatives:
        """As `SpaceInterpolant.at`."""
        dimension = points.shape[1]
        columns = [1, 1 + dimension, coefficients.shape[1]][order]
        simplex, share = self._located(points)
        corners = self._cut[1][simplex]
        out = np.zeros((len(points), columns))
        for place in range(dimension + 1):
            nodal = coefficients[corners[:, place], :columns]
            combined = nodal @ weights[0] if len(weights) == 1 else np.einsum("pcf,pf->pc", nodal, weights)
            out += share[:, place, None] * combined
        second = np.empty((0, 0), int)
        if order > 1:
            pairs = {pair: 1 + dimension + number for number, pair in enumerate(_pairs(dimension))}
            second = np.array([[pairs[min(i, j), max(i, j)] for j in range(dimension)] for i in range(dimension)])
        return Derivatives(out[:, 0], out[:, 1 : 1 + dimension], out[:, second])

    def outside(self, points: Array) -> Any:
        """Whether each point is in no simplex (point,)."""
        return self._located(points)[0] < 0

    def point_values(self, logarithm: Array) -> Array:
        """Values (cell,) at the centres from averages, taken as values at the centroids: of order 2."""
        mesh = self.mesh
        moments = [mesh.integral(along(axis), 2) for axis in range(mesh.dimension)]
        centroid = (np.stack(moments, axis=1) / mesh.volume[:, None])[self._cells]
        if np.allclose(centroid, self._centre, rtol=0, atol=1e-12 * np.ptp(mesh.points)):
            return logarithm
        return np.asarray(least_squares(centroid, self._centre, value_only=True, parity=self._parity) @ logarithm)


class NodeMeans(NodeLeastSquares):
    """Means of the nearest cells at the nodes, linear between them: order 1, with positive weights."""

    order = "order 1"

    @cached_property
    def _at_vertices(self) -> Any:
        """Means at the vertices of values at the centres, a sparse matrix (vertex, cell) whose rows add up to 1."""
        return least_squares(self._centre, self._cut[0], means=True)


def _pairs(dimension: int) -> list[tuple[int, int]]:
    """The second derivatives, as pairs of axes."""
    return [(i, j) for i in range(dimension) for j in range(i, dimension)]


def least_squares(
    centres: Array, targets: Array, *, value_only: bool = False, means: bool = False, parity: int = 0
) -> Any:
    """Value, gradient and second derivatives (target * -, centre) of a quadratic fitted around each target.

    A sparse matrix on values at the centres. Where the centres do not determine a quadratic, the fit is linear.
    `means`: of a constant, so that all weights are positive; its derivatives are 0 and left out. With the `parity` 1 or
    -1 the function is even or odd in x: the images of the centres at -x have its values, or the opposite ones.
    """
    from scipy.sparse import csr_array
    from scipy.spatial import cKDTree

    cells, (centres, source, sign) = len(centres), _with_images(centres, parity)
    dimension, pairs = centres.shape[1], _pairs(centres.shape[1])
    count = min(_NEAREST[dimension], len(centres))
    found = cKDTree(centres).query(targets, count)
    far, near = (np.reshape(each, (-1, count)) for each in found)
    rows = 1 if value_only or means else 1 + dimension + len(pairs)
    entries = np.empty((len(targets), rows, count))
    for begin in range(0, len(targets), _BLOCK):
        part = slice(begin, begin + _BLOCK)
        scale = far[part].max(axis=1)[:, None, None]
        offset = (centres[near[part]] - targets[part, None]) / scale
        quadratics = np.stack([offset[..., i] * offset[..., j] * (0.5 if i == j else 1.0) for i, j in pairs], axis=-1)
        monomials = np.concatenate([np.ones_like(offset[..., :1]), offset, quadratics], axis=-1)
        monomials = monomials[..., :1] if means else monomials
        weight = np.exp(-_DECAY * (offset**2).sum(axis=-1))[..., None]
        fit = _fits(monomials, weight, 1 if means else 1 + dimension)
        powers = np.repeat([0, 1, 2], [1, dimension, len(pairs)])[None, :rows, None]
        entries[part] = fit[:, :rows] / scale**powers * sign[near[part, None]]
    if parity:  # on the axis what has the other parity is 0, also where one of two images is not among the nearest
        odd_powers = np.array([0, 1, 0, 0, 1, 0])[:rows] == (parity > 0)
        on_axis = targets[:, 0] <= _ON_AXIS * targets[:, 0].max()
        entries[np.ix_(on_axis, odd_powers)] = 0.0
    columns = np.broadcast_to(source[near[:, None]], entries.shape)
    start = count * np.arange(len(targets) * rows + 1)
    return csr_array((entries.ravel(), columns.ravel(), start), (len(targets) * rows, cells))


def _with_images(centres: Array, parity: int) -> tuple[Array, Index, Array]:
    """The centres, with a parity and their images at -x, the centre that each is of (point,), and the sign (point,)."""
    source, sign = np.arange(len(centres)), np.ones(len(centres))
    if parity:
        away = source[centres[:, 0] > _ON_AXIS * centres[:, 0].max()]
        centres = np.concatenate([centres, centres[away] * [-1.0, 1.0]])
        source, sign = np.concatenate([source, away]), np.concatenate([sign, np.full(len(away), float(parity))])
    return centres, freeze_index(source), sign


def _fits(monomials: Array, weight: Array, linear: int) -> Array:
    """The coefficients (part, monomial, centre) of least squares, of the first `linear` monomials where all fail."""
    fit = np.zeros(np.swapaxes(monomials, 1, 2).shape)
    weighted = weight * monomials
    enough = np.linalg.matrix_rank(weighted, rtol=_DETERMINED) == monomials.shape[2]
    for chosen, kept in ((enough, monomials.shape[2]), (~enough, linear)):
        inverse = np.linalg.pinv(weighted[chosen, :, :kept], rcond=_DETERMINED)
        fit[chosen, :kept] = inverse * np.swapaxes(weight[chosen], 1, 2)
    return fit
