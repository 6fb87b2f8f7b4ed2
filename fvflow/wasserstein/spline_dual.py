"""A lower bound of W2 between two densities on a box by duality, with a smooth potential.

For any p, W2^2/2 >= int Q dnu - int p dmu with Q(y) = inf_x p(x) + |x - y|^2/2, x in the box. p is the biquadratic
(triquadratic) spline with continuous gradient, sum_K c_K B((x - x_K)/h), knots at the faces of the cells, reflected at
the walls; its integrals over cells are exact.

Curvature. Within a cell p_xx is a convex combination of second differences of c, p_xy of mixed ones; with a_i the least
of the p_ii and b_ij the largest of |p_ij| over a cell, D^2 p >= lowest eigenvalue of (a_i on the diagonal, -b_ij off
it) =: -lambda_K, as xi.A xi >= sum a_i xi_i^2 - sum b_ij |xi_i| |xi_j|.

Conjugate. Let D^2 p >= -l in the box, l < 1, so that G(x) = p(x) + |x - y|^2/2 is convex, and D^2 p >= -lambda within
the distance R of x0, where g = grad p(x0) + x0 - y. Along a ray from x0, f(t) = G(x0 + t e) has f(t) >= G(x0) - |g| t +
(1 - lambda) t^2/2 for t <= R and f'(t) >= -|g| + (1 - lambda) R beyond. If |g| <= (1 - lambda) R it therefore does not
fall beyond R, and everywhere

    Q(y) >= p(x0) + |x0 - y|^2/2 - |g|^2/(2 (1 - lambda)),

which holds with lambda = l without the condition on g. Any x0(y) may be taken: here it maps each cell affinely onto a
box, so that the right side is piecewise polynomial in y, of degree 4 in each coordinate between the knots, and three
Gauss points on each piece integrate it exactly. On a piece each component of g is of degree 2 in each coordinate, so it
is at most (7/3)^d times the largest of its values at these points (the Lebesgue constant of three Gauss points).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from fvflow.mesh import Array

_MOST, _LEAST = 12, 0.05  # cells along the box onto which a cell is mapped
_RADII = (1, 3, 8)  # cells, within which the curvature is looked up


@dataclass(frozen=True)
class SplinePotential:
    """p with coefficients c (cell, ...), one dimension per axis."""

    coefficient: Array
    spacing: tuple[float, ...]

    @staticmethod
    def through(values: Array, spacing: Sequence[float]) -> SplinePotential:
        """The spline with these values at the cell centres."""
        from scipy.fft import dctn, idctn

        symbol = (0.75 + 0.25 * np.cos(np.pi * np.arange(n) / n) if n > 1 else np.ones(1) for n in values.shape)
        product: Array = np.ones(values.shape)
        for factor in np.ix_(*symbol):
            product = product * factor
        c = np.asarray(idctn(dctn(values) / product))
        return SplinePotential(c - 0.5 * (c.max() + c.min()), tuple(spacing))

    def plus(self, other: SplinePotential, factor: float) -> SplinePotential:
        """p + factor q."""
        return SplinePotential(self.coefficient + factor * other.coefficient, self.spacing)

    @property
    def shape3(self) -> tuple[int, int, int]:
        """The shape with axes of one cell in front, which the kernels want."""
        shape = self.coefficient.shape
        return (1,) * (3 - len(shape)) + shape  # type: ignore[return-value]

    @property
    def spacing3(self) -> Array:
        """The cell widths (3,), 1 for the axes in front."""
        return np.array((1.0,) * (3 - len(self.spacing)) + self.spacing)

    @cached_property
    def padded(self) -> Array:
        """The coefficients (cell, cell, cell) with one more on either side of an axis, reflected."""
        c = self.coefficient.reshape(self.shape3)
        return np.pad(c, [(1, 1) if n > 1 else (0, 0) for n in self.shape3], mode="symmetric")

    @cached_property
    def means(self) -> Array:
        """The means of p over the cells (cell, ...)."""
        p = self.coefficient
        for axis, n in enumerate(p.shape):
            if n > 1:
                left, right = _neighbours(p, axis)
                p = (left + 4.0 * p + right) / 6.0
        return p

    @cached_property
    def hessian(self) -> Array:
        """D^2 p at the cell centres (cell, ..., axis, axis)."""
        c, h = self.coefficient, self.spacing
        result = np.zeros((*c.shape, c.ndim, c.ndim))
        for a in range(c.ndim):
            for b in range(a, c.ndim):
                part = c
                for axis in range(c.ndim):
                    left, right = _neighbours(part, axis)
                    if axis == a == b:
                        part = (left - 2.0 * part + right) / h[a] ** 2
                    elif axis in (a, b):
                        part = (right - left) / (2.0 * h[axis])
                    else:
                        part = (left + 6.0 * part + right) / 8.0
                result[..., a, b] = result[..., b, a] = part
        return result

    @cached_property
    def gradient(self) -> Array:
        """grad p at the cell centres (cell, ..., axis)."""
        result = np.zeros((*self.coefficient.shape, self.coefficient.ndim))
        for a, h in enumerate(self.spacing):
            part = self.coefficient
            for axis in range(part.ndim):
                left, right = _neighbours(part, axis)
                part = (right - left) / (2.0 * h) if axis == a else (left + 6.0 * part + right) / 8.0
            result[..., a] = part
        return result

    def at(self, place: Array) -> Array:
        """p (point, ...) at places in units of cells (3, point, ...), z first."""
        from scipy.ndimage import map_coordinates

        coefficient = self.coefficient.reshape(self.shape3)
        return np.asarray(map_coordinates(coefficient, place - 0.5, order=2, prefilter=False, mode="reflect"))

    @cached_property
    def curvature(self) -> Array:
        """lambda_K with D^2 p >= -lambda_K in the cell (cell, ...)."""
        c, h = self.coefficient, self.spacing
        lowest = np.zeros((*c.shape, c.ndim, c.ndim))
        axes = [axis for axis, n in enumerate(c.shape) if n > 1]
        for a in axes:
            left, right = _neighbours(c, a)
            second = (left - 2.0 * c + right) / h[a] ** 2
            for b in axes:
                if b != a:
                    second = np.minimum(second, np.minimum(*_neighbours(second, b)))
            lowest[..., a, a] = second
            for b in axes[axes.index(a) + 1 :]:
                mixed = np.abs(_differences(_differences(c, a), b)) / (h[a] * h[b])
                for axis in (a, b):  # the largest at the two ends of the cell
                    mixed = np.maximum(*(np.moveaxis(mixed, axis, 0)[s] for s in (slice(1, None), slice(None, -1))))
                    mixed = np.moveaxis(mixed, 0, axis)
                for other in axes:
                    if other not in (a, b):
                        mixed = np.maximum(mixed, np.maximum(*_neighbours(mixed, other)))
                lowest[..., a, b] = lowest[..., b, a] = -mixed
        largest = np.abs(lowest).sum(axis=(-1, -2))
        result: Array = 1e-14 * largest - _lowest_eigenvalues(lowest)
        return result


@dataclass(frozen=True)
class Boxes:
    """The images of the cells under an approximation of y -> x(y), in units of cells (3, cell, cell, cell)."""

    low: Array
    high: Array

    def towards(self, part: float) -> Boxes:
        """(1 - part) of the way back from the images to the cells."""
        cells = _cell_boxes(self.low.shape[1:])
        return Boxes(*(cell + part * (end - cell) for cell, end in zip(cells, (self.low, self.high), strict=True)))

    def deposited(self, mass: Array, edges: Sequence[Array] | None = None) -> Array:
        """The mass of each cell spread over its box, as masses of cells of the same shape, or between the edges.

        Spread evenly between the edges of each axis, which by default are equally far from each other.
        """
        from fvflow.wasserstein.spline_kernels import deposit

        shape = self.low.shape[1:]
        given = [np.arange(n + 1.0) for n in shape]
        if edges is not None:
            given[3 - len(edges) :] = list(edges)
        out = np.zeros([len(edge) - 1 for edge in given])
        deposit(mass.reshape(shape), *given, self.low, self.high, out)
        return out.reshape(out.shape[3 - mass.ndim :])


def tiles(
    place: Sequence[Array], least: float = _LEAST, most: float = _MOST, rings: Collection[int] = ()
) -> Boxes:
    """Boxes about images of the centres, an array (cell, ...) for each axis, in units of cells.

    They reach half way to the images of the neighbours along each axis, but are of `least` to `most` cells, inside.
    Along periodic axes, `rings`, they may be beyond the ends, and the neighbour's image is the nearest one.
    """
    shape = (1,) * (3 - len(place)) + place[0].shape
    x = np.full((3, *shape), 0.5)
    x[3 - len(place) :] = [coordinate.reshape(shape) for coordinate in place]
    low, high = np.empty_like(x), np.empty_like(x)
    for axis, n in enumerate(shape):
        centre, below, above = (np.moveaxis(field[axis], axis, 0) for field in (x, low, high))
        if axis - 3 + len(place) in rings:
            ahead = np.roll(centre, -1, 0) - centre
            ahead -= n * np.rint(ahead / n)
            before, after = -0.5 * np.roll(ahead, 1, 0), 0.5 * ahead
            size = np.clip(after - before, least, min(most, n))
            below[:] = np.where(after - before == size, centre + before, centre - 0.5 * size)
            above[:] = below + size
            continue
        middle = 0.5 * (centre[1:] + centre[:-1])
        below[0], below[1:], above[-1], above[:-1] = 0.0, middle, n, middle
        size = np.clip(above - below, least, min(most, n))
        below[:] = np.clip(np.where(above - below == size, below, centre - 0.5 * size), 0.0, n - size)
        above[:] = np.minimum(below + size, n)
    return Boxes(low, high)


def images(p: SplinePotential, place: Array | None = None, steps: int = 8) -> tuple[Boxes, Array]:
    """Boxes about the minimisers x(y) of p(x) + |x - y|^2/2, y the centres, and these (3, cell, cell, cell)."""
    from fvflow.wasserstein.spline_kernels import nearest

    shape = p.shape3
    x = np.stack(np.meshgrid(*(np.arange(n) + 0.5 for n in shape), indexing="ij")) if place is None else place.copy()
    nearest(p.padded, np.array(shape), p.spacing3, x, steps)
    return tiles(list(x)), x


def spline_bound(p: SplinePotential, boxes: Boxes, mu: Array, nu: Array) -> float:
    """A lower bound of W2^2 of two arrays of cell masses, each divided by its sum; may be negative."""
    from scipy.ndimage import maximum_filter

    from fvflow.wasserstein.spline_kernels import conjugate

    whole = float(p.curvature.max())
    if not whole < 1.0:
        return -np.inf
    shape, dimension = p.shape3, sum(n > 1 for n in p.shape3)
    value, square, slope = out = np.empty((3, *shape))
    conjugate(p.padded, np.array(shape), p.spacing3, boxes.low, boxes.high, _MOST, out)
    steepest = (7.0 / 3.0) ** dimension * (1.0 + 1e-12) * slope
    lowest = np.full(shape, whole)
    local = np.maximum(p.curvature.reshape(shape), -1.0)
    for radius in _RADII:
        near = maximum_filter(local, [2 * radius + 1 if n > 1 else 1 for n in shape], mode="nearest")
        near = _largest_in(near, boxes)
        reach = radius * min(h for h, n in zip(p.spacing3, shape, strict=True) if n > 1)
        holds = steepest <= (1.0 - near) * reach
        lowest = np.where(holds, np.minimum(lowest, near), lowest)
    conjugates = value - (1.0 + 1e-12) * square / (2.0 * (1.0 - lowest))
    a, b = mu.reshape(shape), nu.reshape(shape)
    total = float((b * conjugates - a * p.means.reshape(shape)).sum())
    size = float(np.abs(p.coefficient).max()) + float((b * np.abs(conjugates)).sum())
    return 2.0 * total - 128.0 * float(np.finfo(float).eps) * max(shape) * size


def _largest_in(field: Array, boxes: Boxes) -> Array:
    """The largest value of a field in the cells that the box of each cell meets (cell, cell, cell)."""
    shape = field.shape
    first = [np.clip(low.astype(np.int64), 0, n - 1) for low, n in zip(boxes.low, shape, strict=True)]
    last = [np.clip(high.astype(np.int64), 0, n - 1) for high, n in zip(boxes.high, shape, strict=True)]
    extent = [int((t - f).max()) for f, t in zip(first, last, strict=True)]
    result = np.full(shape, -np.inf)
    for offset in np.ndindex(*(e + 1 for e in extent)):
        index = tuple(np.minimum(f + o, t) for f, t, o in zip(first, last, offset, strict=True))
        result = np.maximum(result, field[index])
    return result


def _lowest_eigenvalues(matrices: Array) -> Array:
    """Of symmetric matrices (..., axis, axis), up to a few roundings of their largest entries."""
    if matrices.shape[-1] != 2:
        return np.asarray(np.linalg.eigvalsh(matrices)[..., 0])
    a, b, c = matrices[..., 0, 0], matrices[..., 0, 1], matrices[..., 1, 1]
    return np.asarray(0.5 * (a + c) - np.hypot(0.5 * (a - c), b))


def _cell_boxes(shape: tuple[int, ...]) -> tuple[Array, Array]:
    low = np.stack(np.meshgrid(*(np.arange(n, dtype=float) for n in shape), indexing="ij"))
    return low, low + 1.0


def _neighbours(field: Array, axis: int) -> tuple[Array, Array]:
    """The values of the two neighbours along an axis, reflected at the walls."""
    lines = np.moveaxis(_reflected(field, axis), axis, 0)
    return np.moveaxis(lines[:-2], 0, axis), np.moveaxis(lines[2:], 0, axis)


def _differences(field: Array, axis: int) -> Array:
    """Differences over the faces along an axis (cell + 1), 0 at the walls."""
    return np.diff(_reflected(field, axis), axis=axis)


def _reflected(field: Array, axis: int) -> Array:
    """With one more value on either side along an axis."""
    return np.pad(field, [(1, 1) if a == axis else (0, 0) for a in range(field.ndim)], mode="symmetric")
