"""Compiled loops that evaluate splines and piecewise linear functions at points."""

from __future__ import annotations

from typing import Any

import numpy as np

from fvflow.jit import kernel


@kernel(fastmath={"contract"})
def _basis(x: float, axis: int, tables: Any, axes: Any, basis: Any) -> Any:
    """The four B-splines that are not 0 at x, with two derivatives, into basis[axis]; returns the first of them."""
    breaks, pieces, buckets = tables
    at, count, bucket, period = int(axes[axis, 0]), int(axes[axis, 1]), int(axes[axis, 2]), axes[axis, 5]
    origin = breaks[at + axis]
    if period > 0.0:
        x -= period * np.floor((x - origin) / period)
    place = int((x - origin) * axes[axis, 4])
    j = buckets[bucket + min(max(place, 0), int(axes[axis, 3]) - 1)]
    while j < count - 1 and x >= breaks[at + axis + j + 1]:
        j += 1
    while j > 0 and x < breaks[at + axis + j]:
        j -= 1
    u = x - breaks[at + axis + j]
    for i in range(4):
        c1, c2, c3 = pieces[at + j, i, 1], pieces[at + j, i, 2], pieces[at + j, i, 3]
        basis[axis, 0, i] = ((c3 * u + c2) * u + c1) * u + pieces[at + j, i, 0]
        basis[axis, 1, i] = (3.0 * c3 * u + 2.0 * c2) * u + c1
        basis[axis, 2, i] = 6.0 * c3 * u + 2.0 * c2
    return j


@kernel(fastmath={"contract"})
def spline_values(
    points: Any, out: Any, begin: int, end: int, order: int, array: Any, weights: Any, tables: Any, axes: Any
) -> None:
    """A tensor spline at points: its value, from order 1 on the gradient, with order 2 also xx, yy, zz, xy, xz, yz.

    `array` (z, y, x, field) holds coefficients, of which the function is the sum with `weights`, (1, field) for all
    points or (point, field). `tables` are breaks, pieces and buckets of x, y, z, one after the other; `axes` (axis, -)
    are for each the place of its tables, number of pieces, buckets, 1/length of a bucket and period. Axes that there
    are not have one coefficient.
    """
    dimension, fields, shared = points.shape[1], array.shape[3], weights.shape[0] == 1
    basis, first = np.zeros((3, 3, 4)), np.zeros(3, np.int64)
    basis[:, 0, 0] = 1.0
    for p in range(begin, end):
        for axis in range(dimension):
            first[axis] = _basis(points[p, axis], axis, tables, axes, basis)
        w = 0 if shared else p
        value = gx = gy = gz = xx = yy = zz = xy = xz = yz = 0.0
        for k in range(4 if dimension > 2 else 1):
            for j in range(4 if dimension > 1 else 1):
                s0 = s1 = s2 = 0.0
                row = array[first[2] + k, first[1] + j, first[0] :]
                for i in range(4):
                    c = weights[w, 0] * row[i, 0]
                    for f in range(1, fields):
                        c += weights[w, f] * row[i, f]
                    s0 += basis[0, 0, i] * c
                    s1 += basis[0, 1, i] * c
                    s2 += basis[0, 2, i] * c
                y0, z0 = basis[1, 0, j], basis[2, 0, k]
                y1, z1 = basis[1, 1, j], basis[2, 1, k]
                value += s0 * y0 * z0
                if order > 0:
                    gx += s1 * y0 * z0
                    gy += s0 * y1 * z0
                    gz += s0 * y0 * z1
                if order > 1:
                    xx += s2 * y0 * z0
                    yy += s0 * basis[1, 2, j] * z0
                    zz += s0 * y0 * basis[2, 2, k]
                    xy += s1 * y1 * z0
                    xz += s1 * y0 * z1
                    yz += s0 * y1 * z1
        out[p, 0] = value
        if order > 0:
            out[p, 1], out[p, 2], out[p, 3] = gx, gy, gz
        if order > 1:
            out[p, 4], out[p, 5], out[p, 6] = xx, yy, zz
            out[p, 7], out[p, 8], out[p, 9] = xy, xz, yz


@kernel(fastmath={"contract"})
def weighted_sum(array: Any, out: Any, weights: Any) -> None:
    """The sum of fields with weights (field,), from `array` (cell, field) into `out` (cell, 1)."""
    for cell in range(array.shape[0]):
        c = 0.0
        for f in range(array.shape[1]):
            c += weights[f] * array[cell, f]
        out[cell, 0] = c


@kernel(fastmath={"contract"})
def simplices_at(
    points: Any, found: Any, share: Any, begin: int, end: int, frame: Any, origin: Any, lists: Any, grid: Any
) -> None:
    """The simplex in which each point lies (point,), -1 for none, and its barycentric coordinates (point, dim + 1).

    `frame` (simplex, dim, dim) is the inverse of the edges from the vertex `origin` (simplex, dim). `lists` are the
    start (bucket + 1,) and the simplices of each bucket; `grid` (axis, 3) is the lower end, 1/width and number of the
    buckets of an axis. Of several simplices a point belongs to the one that it lies deepest in.
    """
    start, members = lists
    dimension = points.shape[1]
    local = np.empty(dimension)
    for p in range(begin, end):
        bucket, stride, inside = 0, 1, True
        for axis in range(dimension):
            place = int(np.floor((points[p, axis] - grid[axis, 0]) * grid[axis, 1]))
            inside = inside and 0 <= place < int(grid[axis, 2])
            bucket += stride * place
            stride *= int(grid[axis, 2])
        found[p] = -1
        if not inside:
            continue
        deepest = -1e-9
        for m in range(start[bucket], start[bucket + 1]):
            s = members[m]
            least, total = np.inf, 0.0
            for j in range(dimension):
                local[j] = 0.0
                for i in range(dimension):
                    local[j] += (points[p, i] - origin[s, i]) * frame[s, i, j]
                least = min(least, local[j])
                total += local[j]
            least = min(least, 1.0 - total)
            if least > deepest:
                deepest, found[p] = least, s
                share[p, 0] = 1.0 - total
                for j in range(dimension):
                    share[p, j + 1] = local[j]


@kernel()
def solve_banded(values: Any, band: Any) -> None:
    """Solve in place a system with two diagonals on either side of the main one for right-hand sides (row, other).

    `band` (row, 5) holds the entries of the columns row - 2 ... row + 2, and is overwritten. There is no pivoting,
    which equations of B-splines do not need: de Boor, Pinkus, Numer. Math. 27 (1977).
    """
    rows, others = values.shape
    for row in range(rows):
        for below in range(row + 1, min(row + 3, rows)):
            place = row - below + 2
            factor = band[below, place] / band[row, 2]
            if factor != 0.0:
                for step in range(1, 3):
                    band[below, place + step] -= factor * band[row, 2 + step]
                for other in range(others):
                    values[below, other] -= factor * values[row, other]
    for row in range(rows - 1, -1, -1):
        for step in range(1, 3):
            if row + step < rows and band[row, 2 + step] != 0.0:
                for other in range(others):
                    values[row, other] -= band[row, 2 + step] * values[row + step, other]
        for other in range(others):
            values[row, other] /= band[row, 2]
