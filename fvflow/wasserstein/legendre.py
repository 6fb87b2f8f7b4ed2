"""Discrete Legendre transforms on a product grid, axis by axis, in linear time.

    u(x) = max_y (x.y - v(y)) = max_{y1} ( x1 y1 + max_{y2} ( x2 y2 - v(y1, y2) ) )   and so on,

each maximum over one coordinate being a transform of lines: the lower convex hull of (y_j, v_j), then a merge of its
slopes with the sorted x_i (Lucet, Faster than the fast Legendre transform, 1997).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fvflow.mesh import Array

Indices = NDArray[np.integer[Any]]


def legendre(value: Array, source: Sequence[Array], target: Sequence[Array]) -> Array:
    """max_j (x_i . y_j - value_j) for y_j in the product of `source` and x_i in that of `target`.

    `value` is (source point, ...), one dimension per axis; the result is (target point, ...). Nodes of
    infinite value are ignored; at least one value must be finite.
    """
    return _transform(value, source, target, want_nodes=False)[0]


def legendre_nodes(value: Array, source: Sequence[Array], target: Sequence[Array]) -> tuple[Array, tuple[Indices, ...]]:
    """The transform (target point, ...) and, for each axis, the index of a maximising y_j, of the same shape."""
    return _transform(value, source, target, want_nodes=True)


def _transform(
    value: Array, source: Sequence[Array], target: Sequence[Array], want_nodes: bool
) -> tuple[Array, tuple[Indices, ...]]:
    from fvflow.wasserstein.kernels import lines as transform

    current = -value
    nodes: list[Indices] = []
    for axis in reversed(range(value.ndim)):
        lines = np.ascontiguousarray(np.moveaxis(-current, axis, -1))
        shape = (*lines.shape[:-1], len(target[axis]))
        out, arg = np.empty(shape), np.empty(shape, np.int64)
        transform(
            lines.reshape(-1, lines.shape[-1]), source[axis], target[axis],
            out.reshape(-1, shape[-1]), arg.reshape(-1, shape[-1]),
        )  # fmt: skip
        current = np.moveaxis(out, -1, axis)
        if want_nodes:
            chosen = np.moveaxis(arg, -1, axis)
            nodes = [chosen, *(np.take_along_axis(later, chosen, axis) for later in nodes)]
    return np.ascontiguousarray(current), tuple(nodes)


def half_square(points: Sequence[Array]) -> Array:
    """|x|^2/2 on a product grid (point, ...), one dimension per axis."""
    grids = np.ix_(*(0.5 * p**2 for p in points))
    return np.asarray(sum(grids, np.zeros([len(p) for p in points])))


def interpolated(values: Array, centres: Sequence[Array], points: Sequence[Array], degree: int = 3) -> Array:
    """Values (centre, ...) on a product grid at the product of `points`, (point, ...), by splines of a degree.

    Points beyond the outermost centres are extrapolated.
    """
    from scipy.interpolate import make_interp_spline

    for axis, (x, p) in enumerate(zip(centres, points, strict=True)):
        n = values.shape[axis]
        if n == 1:
            values = values.repeat(len(p), axis)
        elif x is not p:
            values = make_interp_spline(x, values, k=min(degree, n - 1), axis=axis)(p)
    return np.asarray(values)
