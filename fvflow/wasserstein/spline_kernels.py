"""Compiled loops over the cells of a box for `spline_dual`; three axes always, of one cell where there are fewer.

Places are in units of cells, coefficients have one more on either side of each axis of more than one cell.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fvflow.jit import kernel

GAUSS_PLACE = np.array([0.5 - np.sqrt(0.15), 0.5, 0.5 + np.sqrt(0.15)])  # exact for degree 5
GAUSS_WEIGHT = np.array([5.0, 8.0, 5.0]) / 18.0


@kernel()
def _weights(part: float, count: int, weight: Any) -> None:
    """The quadratic B-splines, their first and second derivatives (3, 3) at a part of a cell, per cell width."""
    weight[:] = 0.0
    if count == 1:
        weight[0, 0] = 1.0
        return
    weight[0, 0] = 0.5 * (1.0 - part) * (1.0 - part)
    weight[0, 1] = 0.5 + part * (1.0 - part)
    weight[0, 2] = 0.5 * part * part
    weight[1, 0] = part - 1.0
    weight[1, 1] = 1.0 - 2.0 * part
    weight[1, 2] = part
    weight[2, 0] = 1.0
    weight[2, 1] = -2.0
    weight[2, 2] = 1.0


@kernel()
def nearest(coefficient: Any, shape: Any, start: Any, spacing: Any, place: Any, steps: int) -> None:
    """Newton steps for x + grad p(x) = y at each centre y, from and into place (3, cell, cell, cell), inside the box.

    The box has the given shape, and the first of the cells of y is that at `start` (3,).

    Where the Hessian is not positive definite the step goes along the gradient.
    """
    weight = np.empty((3, 3, 3))
    base = np.empty(3, np.int64)
    width = np.where(shape > 1, 3, 1)
    x, centre, slope, gradient = np.empty(3), np.empty(3), np.empty(3), np.empty(3)
    hess = np.empty((3, 3))
    for i in range(place.shape[1]):
        for j in range(place.shape[2]):
            for k in range(place.shape[3]):
                centre[0], centre[1], centre[2] = start[0] + i + 0.5, start[1] + j + 0.5, start[2] + k + 0.5
                for a in range(3):
                    x[a] = place[a, i, j, k]
                for _ in range(steps):
                    for a in range(3):
                        base[a] = min(max(int(x[a]), 0), shape[a] - 1)
                        _weights(x[a] - base[a], shape[a], weight[a])
                    slope[:] = 0.0
                    hess[:] = 0.0
                    for p in range(width[0]):
                        for q in range(width[1]):
                            for r in range(width[2]):
                                c = coefficient[base[0] + p, base[1] + q, base[2] + r]
                                w0, w1, w2 = weight[0, :, p], weight[1, :, q], weight[2, :, r]
                                slope[0] += c * w0[1] * w1[0] * w2[0]
                                slope[1] += c * w0[0] * w1[1] * w2[0]
                                slope[2] += c * w0[0] * w1[0] * w2[1]
                                hess[0, 0] += c * w0[2] * w1[0] * w2[0]
                                hess[1, 1] += c * w0[0] * w1[2] * w2[0]
                                hess[2, 2] += c * w0[0] * w1[0] * w2[2]
                                hess[0, 1] += c * w0[1] * w1[1] * w2[0]
                                hess[0, 2] += c * w0[1] * w1[0] * w2[1]
                                hess[1, 2] += c * w0[0] * w1[1] * w2[1]
                    for a in range(3):
                        gradient[a] = slope[a] / spacing[a] + (x[a] - centre[a]) * spacing[a]
                        for b in range(a, 3):
                            hess[a, b] /= spacing[a] * spacing[b]
                        hess[a, a] += 1.0
                    largest = _solve(hess, gradient, slope)
                    change = 0.0
                    for a in range(3):
                        if shape[a] > 1:
                            step = slope[a] if largest == 0.0 else gradient[a] / largest
                            new = min(max(x[a] - step / spacing[a], 0.0), 1.0 * shape[a])
                            change = max(change, abs(new - x[a]))
                            x[a] = new
                    if change < 1e-9:
                        break
                for a in range(3):
                    place[a, i, j, k] = x[a]


@kernel()
def _solve(hess: Any, right: Any, out: Any) -> Any:
    """out = hess^-1 right by Cholesky, of the upper triangle, and 0; or, if a pivot is small, a bound of |hess|."""
    d0 = hess[0, 0]
    l1, l2 = hess[0, 1] / d0, hess[0, 2] / d0
    d1 = hess[1, 1] - l1 * hess[0, 1]
    l3 = (hess[1, 2] - l1 * hess[0, 2]) / d1
    d2 = hess[2, 2] - l2 * hess[0, 2] - l3 * (hess[1, 2] - l1 * hess[0, 2])
    if not (d0 > 1e-3 and d1 > 1e-3 and d2 > 1e-3):
        return 1.0 + abs(d0) + abs(hess[1, 1]) + abs(hess[2, 2])
    y1 = right[1] - l1 * right[0]
    y2 = right[2] - l2 * right[0] - l3 * y1
    out[2] = y2 / d2
    out[1] = y1 / d1 - l3 * out[2]
    out[0] = right[0] / d0 - l1 * out[1] - l2 * out[2]
    return 0.0


@kernel()
def _points(low: float, high: float, count: int, index: Any, part: Any, place: Any, mass: Any) -> int:
    """Gauss points of a box along one axis, cut at the faces of cells: cell, part of it, part of the box, weight."""
    if count == 1:
        index[0], part[0], place[0], mass[0] = 0, 0.5, 0.5, 1.0
        return 1
    number, begin = 0, low
    cell = min(max(int(low), 0), count - 1)
    while True:
        end = min(high, cell + 1.0) if cell + 1 < count else high
        if end > begin:
            for g in range(3):
                x = begin + (end - begin) * GAUSS_PLACE[g]
                index[number], part[number] = cell, x - cell
                place[number] = (x - low) / (high - low)
                mass[number] = GAUSS_WEIGHT[g] * (end - begin) / (high - low)
                number += 1
        if end >= high:
            return number
        begin = end
        cell += 1


@kernel()
def conjugate(coefficient: Any, shape: Any, start: Any, spacing: Any, low: Any, high: Any, most: int, out: Any) -> None:
    """Means over each cell of p(x) + |x - y|^2/2 and of |g|^2, g = grad p(x) + x - y, and the largest |g_a| at points.

    y runs over the cell, x = x(y) affinely over the box from low to high (3, cell, cell, cell), which has at most
    `most` cells along each axis; out (3, cell, cell, cell). The first of the cells of y is that at `start` (3,).
    """
    index, part = np.empty((3, 3 * most + 6), np.int64), np.empty((3, 3 * most + 6))
    place, mass = np.empty((3, 3 * most + 6)), np.empty((3, 3 * most + 6))
    number, base = np.empty(3, np.int64), np.empty(3, np.int64)
    w0, w1, w2 = np.empty((3, 3)), np.empty((3, 3)), np.empty((3, 3, 3 * most + 6))
    row = np.empty((3, most + 4))
    scratch = np.empty((3, 3))
    n0, n1, n2 = (3 if shape[0] > 1 else 1), (3 if shape[1] > 1 else 1), (3 if shape[2] > 1 else 1)
    h0, h1, h2 = spacing[0], spacing[1], spacing[2]
    for i in range(low.shape[1]):
        for j in range(low.shape[2]):
            for k in range(low.shape[3]):
                base[0], base[1], base[2] = start[0] + i, start[1] + j, start[2] + k
                for a in range(3):
                    number[a] = _points(
                        low[a, i, j, k], high[a, i, j, k], shape[a], index[a], part[a], place[a], mass[a]
                    )
                first, last = index[2, 0], index[2, number[2] - 1] + n2
                for r in range(number[2]):
                    _weights(part[2, r], shape[2], scratch)
                    for t in range(n2):
                        w2[0, t, r], w2[1, t, r] = scratch[0, t], scratch[1, t]
                value, square, big0, big1, big2 = 0.0, 0.0, 0.0, 0.0, 0.0
                for p in range(number[0]):
                    _weights(part[0, p], shape[0], w0)
                    z0 = h0 * (low[0, i, j, k] + (high[0, i, j, k] - low[0, i, j, k] - 1.0) * place[0, p] - base[0])
                    for q in range(number[1]):
                        _weights(part[1, q], shape[1], w1)
                        z1 = h1 * (low[1, i, j, k] + (high[1, i, j, k] - low[1, i, j, k] - 1.0) * place[1, q] - base[1])
                        for t in range(first, last):
                            s, d0, d1 = 0.0, 0.0, 0.0
                            for u in range(n0):
                                for v in range(n1):
                                    c = coefficient[index[0, p] + u, index[1, q] + v, t]
                                    s += c * w0[0, u] * w1[0, v]
                                    d0 += c * w0[1, u] * w1[0, v]
                                    d1 += c * w0[0, u] * w1[1, v]
                            row[0, t - first], row[1, t - first], row[2, t - first] = s, d0, d1
                        for r in range(number[2]):
                            z2 = h2 * (
                                low[2, i, j, k] + (high[2, i, j, k] - low[2, i, j, k] - 1.0) * place[2, r] - base[2]
                            )
                            s, g0, g1, g2 = 0.0, 0.0, 0.0, 0.0
                            for t in range(n2):
                                at = index[2, r] - first + t
                                s += w2[0, t, r] * row[0, at]
                                g0 += w2[0, t, r] * row[1, at]
                                g1 += w2[0, t, r] * row[2, at]
                                g2 += w2[1, t, r] * row[0, at]
                            g0, g1, g2 = g0 / h0 + z0, g1 / h1 + z1, g2 / h2 + z2
                            weight = mass[0, p] * mass[1, q] * mass[2, r]
                            value += weight * (s + 0.5 * (z0 * z0 + z1 * z1 + z2 * z2))
                            square += weight * (g0 * g0 + g1 * g1 + g2 * g2)
                            big0, big1, big2 = max(big0, abs(g0)), max(big1, abs(g1)), max(big2, abs(g2))
                out[0, i, j, k], out[1, i, j, k] = value, square
                out[2, i, j, k] = np.sqrt(big0 * big0 + big1 * big1 + big2 * big2)


@kernel()
def deposit(mass: Any, edges0: Any, edges1: Any, edges2: Any, low: Any, high: Any, out: Any) -> None:
    """out += the mass of each cell, spread evenly over its box from low to high (3, cell, cell, cell).

    Evenly in space: a box begins and ends at parts of cells between the edges of each axis.
    """
    n0, n1, n2 = out.shape
    for i in range(mass.shape[0]):
        for j in range(mass.shape[1]):
            for k in range(mass.shape[2]):
                if mass[i, j, k] == 0.0:
                    continue
                a0, a1, a2 = low[0, i, j, k], low[1, i, j, k], low[2, i, j, k]
                b0, b1, b2 = high[0, i, j, k], high[1, i, j, k], high[2, i, j, k]
                size = _between(edges0, a0, b0) * _between(edges1, a1, b1) * _between(edges2, a2, b2)
                density = mass[i, j, k] / size
                for p in range(int(a0), min(int(b0) + 1, n0)):
                    d0 = density * _between(edges0, max(a0, 1.0 * p), min(b0, p + 1.0))
                    for q in range(int(a1), min(int(b1) + 1, n1)):
                        d1 = d0 * _between(edges1, max(a1, 1.0 * q), min(b1, q + 1.0))
                        for r in range(int(a2), min(int(b2) + 1, n2)):
                            out[p, q, r] += d1 * _between(edges2, max(a2, 1.0 * r), min(b2, r + 1.0))


@kernel()
def _between(edges: Any, a: float, b: float) -> Any:
    """The length between two places in units of cells; 0 if b < a."""
    if b <= a:
        return 0.0
    last = len(edges) - 2
    i, j = min(int(a), last), min(int(b), last)
    return edges[j] + (b - j) * (edges[j + 1] - edges[j]) - edges[i] - (a - i) * (edges[i + 1] - edges[i])
