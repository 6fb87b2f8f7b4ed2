"""Discrete Legendre transforms on a product grid, axis by axis, in linear time.

    u(x) = max_y (x.y - v(y)) = max_{y1} ( x1 y1 + max_{y2} ( x2 y2 - v(y1, y2) ) )   and so on,

each maximum over one coordinate being a transform of lines: the lower convex hull of (y_j, v_j), then a merge of its
slopes with the sorted x_i (Lucet, Faster than the fast Legendre transform, 1997).

On a torus c(x, y) = min_k |x - y - k|^2/2 over the periods k: with v = |y|^2/2 - g, g periodic, the transform is that
of v on all images of the y_j, and those within half a period of some x_i are enough. The origin is in the middle of the
box.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fvflow.mesh import Array

Indices = NDArray[np.integer[Any]]
Periods = tuple[float, ...] | None
"""The periods (axis,), infinite between walls; None if no axis is periodic."""

_GHOSTS = 8  # images of points on either side of which splines make use
_WHOLE = 1.0 - 1e-9  # of a period: points from one end to the other, which are one point


def legendre(value: Array, source: Sequence[Array], target: Sequence[Array], periods: Periods = None) -> Array:
    """max_j (x_i . y_j - value_j) for y_j in the product of `source` and x_i in that of `target`.

    `value` is (source point, ...), one dimension per axis; the result is (target point, ...). Nodes of
    infinite value are ignored; at least one value must be finite. With `periods` the maximum is over all images of the
    y_j, at which |y|^2/2 - value is what it is at y_j.
    """
    return _transform(value, source, target, periods, want_nodes=False)[0]


def legendre_nodes(
    value: Array, source: Sequence[Array], target: Sequence[Array], periods: Periods = None
) -> tuple[Array, tuple[Indices, ...]]:
    """The transform (target point, ...) and, for each axis, the index of a maximising y_j, of the same shape."""
    return _transform(value, source, target, periods, want_nodes=True)


def _transform(
    value: Array, source: Sequence[Array], target: Sequence[Array], periods: Periods, want_nodes: bool
) -> tuple[Array, tuple[Indices, ...]]:
    from fvflow.wasserstein.kernels import lines as transform

    current = -value
    nodes: list[Indices] = []
    for axis in reversed(range(value.ndim)):
        lines = np.ascontiguousarray(np.moveaxis(-current, axis, -1))
        places, base = source[axis], None
        if periods is not None and np.isfinite(periods[axis]):
            lines, places, base = _unfolded(lines, places, periods[axis], periods[axis])
        shape = (*lines.shape[:-1], len(target[axis]))
        out, arg = np.empty(shape), np.empty(shape, np.int64)
        transform(
            lines.reshape(-1, lines.shape[-1]), places, target[axis],
            out.reshape(-1, shape[-1]), arg.reshape(-1, shape[-1]),
        )  # fmt: skip
        current = np.moveaxis(out, -1, axis)
        if want_nodes:
            arg = arg if base is None else base[arg]
            chosen = np.moveaxis(arg, -1, axis)
            nodes = [chosen, *(np.take_along_axis(later, chosen, axis) for later in nodes)]
    return np.ascontiguousarray(current), tuple(nodes)


def _unfolded(values: Array, places: Array, period: float, reach: float) -> tuple[Array, Array, Indices]:
    """v (..., point), its places and the points whose images they are, up to the first image beyond -reach and reach.

    v(y + k) = v(y) + k y + k^2/2, as |y|^2/2 - v is periodic. Of points at both ends of a period, which are one, the
    lesser value counts.
    """
    if len(places) > 1 and places[-1] - places[0] > _WHOLE * period:
        values = np.concatenate([np.minimum(values[..., :1], values[..., -1:]), values[..., 1:-1]], axis=-1)
        places = places[:-1]
    turns = int(np.ceil(reach / period - 0.5)) + 1
    turn = np.arange(-turns, turns + 1).repeat(len(places)) * period
    base = np.tile(np.arange(len(places)), 2 * turns + 1)
    far = places[base] + turn
    start, end = np.searchsorted(far, -reach, "right") - 1, np.searchsorted(far, reach, "left") + 1
    base, turn = base[start:end], turn[start:end]
    return values.take(base, -1) + (turn * places[base] + 0.5 * turn**2), far[start:end], base


def half_square(points: Sequence[Array]) -> Array:
    """|x|^2/2 on a product grid (point, ...), one dimension per axis."""
    grids = np.ix_(*(0.5 * p**2 for p in points))
    return np.asarray(sum(grids, np.zeros([len(p) for p in points])))


def interpolated(
    values: Array, centres: Sequence[Array], points: Sequence[Array], degree: int = 3, periods: Periods = None
) -> Array:
    """Values (centre, ...) on a product grid at the product of `points`, (point, ...), by splines of a degree.

    Points beyond the outermost centres are extrapolated; along axes with periods |y|^2/2 - values is periodic.
    """
    from scipy.interpolate import make_interp_spline

    for axis, (x, p) in enumerate(zip(centres, points, strict=True)):
        n = values.shape[axis]
        if periods is not None and x is not p and np.isfinite(periods[axis]):
            reach = (0.5 + min(_GHOSTS / n, 1.0)) * periods[axis]
            far, x, _ = _unfolded(np.moveaxis(values, axis, -1), x, periods[axis], reach)
            values, n = np.moveaxis(far, -1, axis), len(x)
        if n == 1:
            values = values.repeat(len(p), axis)
        elif x is not p:
            values = make_interp_spline(x, values, k=min(degree, n - 1), axis=axis)(p)
    return np.asarray(values)
