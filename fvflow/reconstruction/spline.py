"""Tensor splines on grids: cubic along each axis, from values at the cell centres and slopes at the walls."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from fvflow.jit import parallel_for
from fvflow.mesh import Array, Index, Mesh
from fvflow.mesh.arrays import freeze_index
from fvflow.reconstruction.axis import SplineAxis
from fvflow.reconstruction.base import Derivatives, Slopes
from fvflow.reconstruction.kernels import spline_values, weighted_sum

_ROUND_OFF = 1e-12  # distance beyond a wall, relative to the length of the axis, that counts as none
_LOWEST = -12.0  # of (g^2 + c), where a density falls off on both sides faster than any that cells resolve
_PASSES = 32  # of a fixed point, each of which leaves less than a third
_COLUMNS = {0: 1, 1: 4, 2: 10}
_SECOND = np.array([[4, 7, 8], [7, 5, 9], [8, 9, 6]])  # columns of the second derivatives


class GridSpline:
    """Cubic B-splines on a grid, equal or graded, periodic or not: order 4 in values, 3 in slopes, 2 in curvatures.

    de Boor, A Practical Guide to Splines, 2001, chapters IX and XVII.
    """

    order = "order 4, its gradient of order 3"

    def __init__(self, mesh: Mesh) -> None:
        assert mesh.edges is not None
        self.mesh = mesh
        self.axes = tuple(SplineAxis(edge, axis in mesh.periodic) for axis, edge in enumerate(mesh.edges))

    def coefficients(self, fields: list[Array], slopes: list[Slopes]) -> Array:
        """Coefficients (z, y, x, field), of length 1 along axes that there are not; slopes are those of each field."""
        parts = np.stack([np.reshape(field, self.mesh.shape) for field in fields])
        ends = {axis: self._ends(axis, slopes) for axis in range(len(self.axes)) if axis not in self.mesh.periodic}
        for number, axis in enumerate(self.axes):
            place = -1 - number
            parts = _along(axis, parts, place, ends.get(number))
            for later in range(number + 1, len(self.axes)):
                if later in ends:
                    ends[later] = tuple([_along(axis, each, place, None) for each in ends[later]])
        padded = parts.reshape((len(fields), *(1,) * (4 - parts.ndim), *parts.shape[1:]))
        return np.ascontiguousarray(np.moveaxis(padded, 0, -1))

    def _ends(self, axis: int, slopes: list[Slopes]) -> Any:
        """The slopes of all fields at both walls of an axis, of the shape of the cells with that axis of length 1."""
        shape = list(self.mesh.shape)
        shape[-1 - axis] = 1
        unknown = np.full(shape, np.nan)
        given = [part.get(axis, (unknown, unknown)) for part in slopes]
        return tuple(np.stack([np.reshape(part[side], shape) for part in given]) for side in (0, 1))

    @cached_property
    def _tables(self) -> tuple[tuple[Array, Array, Any], Array]:
        """What the kernel needs of the axes."""
        numbers, piece, bucket = np.zeros((3, 6)), 0, 0
        for number, axis in enumerate(self.axes):
            first, inverse = axis.buckets
            numbers[number] = piece, len(axis.breaks) - 1, bucket, len(first), inverse, axis.period
            piece, bucket = piece + len(axis.breaks) - 1, bucket + len(first)
        breaks, pieces, buckets = zip(*((a.breaks, a.pieces, a.buckets[0]) for a in self.axes), strict=True)
        return (np.concatenate(breaks), np.concatenate(pieces), np.concatenate(buckets)), numbers

    def at(self, coefficients: Array, weights: Array, points: Array, order: int) -> Derivatives:
        """As `SpaceInterpolant.at`; outside of the walls the first and the last piece go on."""
        tables, axes = self._tables
        out = np.empty((len(points), _COLUMNS[order]))
        cells, dimension = coefficients[..., 0].size, len(self.axes)
        if len(weights) == 1 < weights.shape[1] and cells < 4**dimension * len(points):  # the fewer sums
            summed = np.empty((*coefficients.shape[:-1], 1))
            weighted_sum(coefficients.reshape(cells, -1), summed.reshape(cells, 1), weights[0])
            coefficients, weights = summed, np.ones((1, 1))

        def task(begin: int, end: int) -> None:
            spline_values(points, out, begin, end, order, coefficients, weights, tables, axes)

        parallel_for(task, len(points), len(points))
        second = _SECOND[:dimension, :dimension] if order > 1 else np.empty((0, 0), int)
        return Derivatives(out[:, 0], out[:, 1 : 1 + dimension], out[:, second])

    def outside(self, points: Array) -> Any:
        """Whether each point is behind a wall (point,)."""
        beyond = np.zeros(len(points), bool)
        for axis, x in zip(self.axes, points.T, strict=True):
            if not axis.periodic:
                margin = _ROUND_OFF * (axis.edges[-1] - axis.edges[0])
                beyond |= (x < axis.edges[0] - margin) | (x > axis.edges[-1] + margin)
        return beyond

    def point_values(self, logarithm: Array) -> Array:
        """l - log(1 + (l'^2 + l'') h^2/24) along each axis: that at the centres (cell,), if l is that of means.

        To order h^4; (l'^2 + l'') h^2 counts as -12 where it is below. Along a radius l - log(1 + a l' + b (l'^2 +
        l'')/2), with the means a and b of r - c and (r - c)^2 over a shell about its midpoint c. In the middle of a
        ball these are of the size of h and h^2, so that l' and l'' are those at the centres, by a fixed point, as long
        as it comes nearer with each pass.
        """
        values = logarithm.reshape(self.mesh.shape)
        found = values.copy()
        for number, axis in enumerate(self.axes):
            lines = np.moveaxis(values, -1 - number, 0)
            offset, square = np.zeros(axis.count), np.diff(axis.edges) ** 2 / 12.0
            passes = 1
            if number == 0 and self.mesh.revolution is not None:
                (offset, square), passes = self.mesh.revolution.offsets(axis.edges), _PASSES
            given, change = lines.reshape(axis.count, -1), np.inf
            more = np.zeros_like(given)
            for _ in range(passes):
                first, second = axis.derivatives(given - more)
                excess = offset[:, None] * first + 0.5 * square[:, None] * (first**2 + second)
                before, more = more, np.log1p(np.maximum(excess, _LOWEST / 24.0))
                last, change = change, float(np.abs(more - before).max())
                if not change < last:
                    more = before
                    break
            found -= np.moveaxis(more.reshape(lines.shape), 0, -1 - number)
        return found.ravel()


class GridLinear:
    """Multilinear interpolation between the cell centres, with positive weights: order 2.

    Beyond the outermost centres, half a cell from a wall, it is constant, of order 1.
    """

    order = "order 2, its gradient of order 1"

    def __init__(self, mesh: Mesh) -> None:
        self._spline = GridSpline(mesh)
        self.mesh = mesh
        self.outside, self.point_values = self._spline.outside, self._spline.point_values

    def coefficients(self, fields: list[Array], slopes: list[Slopes]) -> Array:
        """The values (cell, field); slopes do not matter."""
        return np.stack(fields, axis=1)

    def at(self, coefficients: Array, weights: Array, points: Array, order: int) -> Derivatives:
        """As `SpaceInterpolant.at`; second derivatives are 0."""
        count, dimension = points.shape
        value, gradient = np.zeros(count), np.zeros((count, dimension))
        lower, shares, widths, steps, stride = np.zeros(count, np.int64), [], [], [], 1
        for axis, x in zip(self._spline.axes, points.T, strict=True):
            j, share, width = _between(axis, x)
            lower += stride * j
            steps.append(stride * ((j + 1) % axis.count - j))
            shares.append(share)
            widths.append(width)
            stride *= axis.count
        for corner in np.ndindex(*(2,) * dimension):
            factors = [share if upper else 1.0 - share for upper, share in zip(corner, shares, strict=True)]
            near = lower + np.sum([step * upper for upper, step in zip(corner, steps, strict=True)], axis=0)
            field = (coefficients[near] * weights).sum(axis=1)
            value += np.prod(factors, axis=0) * field
            for number in range(dimension if order > 0 else 0):
                others = np.prod([*factors[:number], *factors[number + 1 :], np.ones(count)], axis=0)
                gradient[:, number] += (1.0 if corner[number] else -1.0) / widths[number] * others * field
        zeros = np.zeros((count, dimension, dimension) if order > 1 else (count, 0, 0))
        return Derivatives(value, gradient if order > 0 else gradient[:, :0], zeros)


def _between(axis: SplineAxis, x: Array) -> tuple[Index, Array, Array]:
    """The centre before each x, how far it is on the way to the next one, and the distance of both.

    Beyond the outermost centres the distance is infinite.
    """
    centres = axis.centres
    if axis.periodic:
        x, centres = centres[0] + np.mod(x - centres[0], axis.period), np.append(centres, centres[0] + axis.period)
    j = np.clip(np.searchsorted(centres, x, side="right") - 1, 0, max(len(centres) - 2, 0))
    ahead = np.minimum(j + 1, len(centres) - 1)
    width = np.where(ahead > j, centres[ahead] - centres[j], np.inf)
    share = (x - centres[j]) / width
    inside = (share >= 0.0) & (share <= 1.0)
    return freeze_index(j), np.clip(share, 0.0, 1.0), np.where(inside, width, np.inf)


def _along(axis: SplineAxis, parts: Array, place: int, ends: Any) -> Array:
    """Coefficients along an axis of arrays, with slopes at its walls of the same shape but for a length of 1."""
    lines = np.moveaxis(parts, place, 0)
    slopes = None if ends is None else tuple(np.moveaxis(each, place, 0).reshape(-1) for each in ends)
    found = axis.coefficients(lines.reshape(axis.count, -1), slopes)
    return np.moveaxis(found.reshape(axis.size, *lines.shape[1:]), 0, place)
