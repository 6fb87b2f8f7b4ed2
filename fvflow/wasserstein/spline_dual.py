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

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fvflow.mesh import Array
from fvflow.wasserstein.spline_potential import BEYOND, SplinePotential

_MOST, _LEAST = 12, 0.05  # cells along the box onto which a cell is mapped
_RADII = (1, 3, 8)  # cells, within which the curvature is looked up


@dataclass(frozen=True)
class Boxes:
    """The images of the cells under an approximation of y -> x(y), in units of cells (3, cell, cell, cell)."""

    low: Array
    high: Array
    rings: tuple[int, ...] = ()
    """Periodic ones of the three axes, along which boxes may be beyond the ends."""

    def towards(self, part: float) -> Boxes:
        """(1 - part) of the way back from the images to the cells."""
        cells = _cell_boxes(self.low.shape[1:])
        low, high = (cell + part * (end - cell) for cell, end in zip(cells, (self.low, self.high), strict=True))
        return Boxes(low, high, self.rings)

    def deposited(self, mass: Array, edges: Sequence[Array] | None = None) -> Array:
        """The mass of each cell spread over its box, as masses of cells of the same shape.

        Spread evenly between the edges of each axis, which by default are equally far from each other.
        """
        from fvflow.wasserstein.spline_kernels import deposit

        shape = self.low.shape[1:]
        given = [np.arange(n + 1.0) for n in shape]
        if edges is not None:
            given[3 - len(edges) :] = list(edges)
        low, high = (self.low.copy(), self.high.copy()) if self.rings else (self.low, self.high)
        for axis in self.rings:  # whole periods in a row
            n, edge = shape[axis], given[axis]
            start = np.floor(low[axis].min() / n)
            low[axis] -= n * start
            high[axis] -= n * start
            turns = np.arange(int(np.ceil(high[axis].max() / n)))
            last = edge[0] + len(turns) * (edge[-1] - edge[0])
            given[axis] = np.append((edge[:-1] + turns[:, None] * (edge[-1] - edge[0])).ravel(), last)
        out = np.zeros([len(edge) - 1 for edge in given])
        deposit(mass.reshape(shape), *given, low, high, out)
        for axis in self.rings:
            out = out.reshape(*out.shape[:axis], -1, shape[axis], *out.shape[axis + 1 :]).sum(axis=axis)
        return out.reshape(mass.shape)


def tiles(place: Sequence[Array], least: float = _LEAST, most: float = _MOST, rings: tuple[int, ...] = ()) -> Boxes:
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
    return Boxes(low, high, tuple(axis + 3 - len(place) for axis in rings))


def images(p: SplinePotential, place: Array | None = None, steps: int = 8) -> tuple[Boxes, Array]:
    """Boxes about the minimisers x(y) of p(x) + |x - y|^2/2, y the centres, and these (3, cell, cell, cell)."""
    from fvflow.wasserstein.spline_kernels import nearest

    shape, beyond = p.shape3, p.beyond.reshape(3, 1, 1, 1)
    x = np.stack(np.meshgrid(*(np.arange(n) + 0.5 for n in shape), indexing="ij")) if place is None else place.copy()
    x += beyond
    nearest(p.padded, p.extent, p.beyond, p.spacing3, x, steps)
    x -= beyond
    first = 3 - p.coefficient.ndim
    return tiles(list(x), rings=tuple(axis + first for axis in p.rings)), x


def spline_bound(p: SplinePotential, boxes: Boxes, mu: Array, nu: Array) -> float:
    """A lower bound of W2^2 of two arrays of cell masses, each divided by its sum; may be negative.

    Along rings p is taken on cells beyond the ends, to which the boxes, and what is near them, have to keep.
    """
    from scipy.ndimage import maximum_filter

    from fvflow.wasserstein.spline_kernels import conjugate

    whole = float(p.curvature.max())
    if not (whole < 1.0 and _keeps_to(p, boxes)):
        return -np.inf
    shape, dimension = p.shape3, sum(n > 1 for n in p.shape3)
    beyond = p.beyond.reshape(3, 1, 1, 1)
    boxes = Boxes(boxes.low + beyond, boxes.high + beyond)
    value, square, slope = out = np.empty((3, *shape))
    conjugate(p.padded, p.extent, p.beyond, p.spacing3, boxes.low, boxes.high, _MOST, out)
    steepest = (7.0 / 3.0) ** dimension * (1.0 + 1e-12) * slope
    lowest = np.full(shape, whole)
    local = np.maximum(p.wrapped(p.curvature), -1.0)
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


def _keeps_to(p: SplinePotential, boxes: Boxes) -> bool:
    """Whether boxes along rings leave the largest of the radii up to where p ends."""
    most, first = BEYOND - max(_RADII) - 1, 3 - p.coefficient.ndim
    return all(
        boxes.low[axis + first].min() > -most and boxes.high[axis + first].max() < p.coefficient.shape[axis] + most
        for axis in p.rings
    )


def _largest_in(field: Array, boxes: Boxes) -> Array:
    """The largest value of a field in the cells that the box of each cell meets (cell, cell, cell)."""
    shape = field.shape
    first = [np.clip(low.astype(np.int64), 0, n - 1) for low, n in zip(boxes.low, shape, strict=True)]
    last = [np.clip(high.astype(np.int64), 0, n - 1) for high, n in zip(boxes.high, shape, strict=True)]
    extent = [int((t - f).max()) for f, t in zip(first, last, strict=True)]
    result = np.full(first[0].shape, -np.inf)
    for offset in np.ndindex(*(e + 1 for e in extent)):
        index = tuple(np.minimum(f + o, t) for f, t, o in zip(first, last, offset, strict=True))
        result = np.maximum(result, field[index])
    return result


def _cell_boxes(shape: tuple[int, ...]) -> tuple[Array, Array]:
    low = np.stack(np.meshgrid(*(np.arange(n, dtype=float) for n in shape), indexing="ij"))
    return low, low + 1.0
