"""Compiled loops over plans: marginals, costs, repair, sums in twice the precision."""

from __future__ import annotations

from typing import Any

import numpy as np

from fvflow.jit import kernel
from fvflow.wasserstein.torus_kernels import apart, image


@kernel()
def dot2(x: Any, y: Any) -> float:
    """sum x_i y_i as if computed in twice the working precision (Ogita, Rump, Oishi 2005, algorithm 5.3)."""
    total, rest = 0.0, 0.0
    for i in range(x.size):
        product = x[i] * y[i]
        big = 134217729.0 * x[i]
        x_high = big - (big - x[i])
        x_low = x[i] - x_high
        big = 134217729.0 * y[i]
        y_high = big - (big - y[i])
        y_low = y[i] - y_high
        error = x_low * y_low - (((product - x_high * y_high) - x_low * y_high) - x_high * y_low)
        new = total + product
        z = new - total
        rest += ((total - (new - z)) + (product - z)) + error
        total = new
    return total + rest


@kernel()
def cut_down(start: Any, column: Any, value: Any, a: Any, b: Any, p: Any, q: Any, row: Any, col: Any) -> None:
    """Lower p, then q, until no row sum of p_i value_ij q_j exceeds a and no column sum b; returns both sums."""
    col[:] = 0.0
    for i in range(a.size):
        s = 0.0
        for k in range(start[i], start[i + 1]):
            s += value[k] * q[column[k]]
        if p[i] * s > a[i]:
            p[i] = a[i] / s
        for k in range(start[i], start[i + 1]):
            col[column[k]] += value[k] * p[i]
    for j in range(b.size):
        if col[j] * q[j] > b[j]:
            q[j] = b[j] / col[j]
    col[:] = 0.0
    for i in range(a.size):
        s = 0.0
        for k in range(start[i], start[i + 1]):
            mass = p[i] * value[k] * q[column[k]]
            s += mass
            col[column[k]] += mass
        row[i] = s


@kernel()
def plan_cost(
    start: Any,
    column: Any,
    value: Any,
    p: Any,
    q: Any,
    x: Any,
    y: Any,
    s: Any,
    t: Any,
    periods: Any,
    to: Any,
    back: Any,
) -> float:
    """sum pi_ij (|x_i - y_j|^2 + |s_i - t_j|^2); adds sum_j pi_ij y_j to `to` (row, 3), sum_i pi_ij x_i to `back`.

    With `periods` (3,) y_j is the image next to x_i, and x_i that next to y_j.
    """
    total = 0.0
    for i in range(start.size - 1):
        x0, x1, x2 = x[i, 0], x[i, 1], x[i, 2]
        part, m0, m1, m2 = 0.0, 0.0, 0.0, 0.0
        for k in range(start[i], start[i + 1]):
            j = column[k]
            mass = p[i] * value[k] * q[j]
            y0, y1, y2 = image(y[j, 0], x0, periods, 0), image(y[j, 1], x1, periods, 1), image(y[j, 2], x2, periods, 2)
            square = (x0 - y0) ** 2 + (x1 - y1) ** 2 + (x2 - y2) ** 2
            square += (s[i, 0] - t[j, 0]) ** 2 + (s[i, 1] - t[j, 1]) ** 2 + (s[i, 2] - t[j, 2]) ** 2
            part += mass * square
            m0 += mass * y0
            m1 += mass * y1
            m2 += mass * y2
            back[j, 0] += mass * image(x0, y[j, 0], periods, 0)
            back[j, 1] += mass * image(x1, y[j, 1], periods, 1)
            back[j, 2] += mass * image(x2, y[j, 2], periods, 2)
        total += part
        to[i, 0] += m0
        to[i, 1] += m1
        to[i, 2] += m2
    return total


@kernel()
def match(
    key_a: Any, key_b: Any, left_a: Any, left_b: Any, shift: int, most: int, source: Any, target: Any, mass: Any
) -> Any:
    """Match what is left in blocks of 1, 2^shift, 4^shift, ... keys by two pointers; returns the number of pairs.

    Keys increase; left_a, left_b are used up. `source`, `target`, `mass` take at most len(a) + len(b) pairs.
    """
    rows, columns = np.arange(key_a.size), np.arange(key_b.size)
    n, m, count, bits = key_a.size, key_b.size, 0, 0
    while n > 0 and m > 0:
        s, t, kept_s, kept_t = 0, 0, 0, 0
        while s < n or t < m:
            i, j = rows[min(s, n - 1)], columns[min(t, m - 1)]
            block_a, block_b = key_a[i] >> bits, key_b[j] >> bits
            if t == m or (s < n and block_a < block_b):
                rows[kept_s] = i
                kept_s += 1
                s += 1
            elif s == n or block_b < block_a:
                columns[kept_t] = j
                kept_t += 1
                t += 1
            else:
                amount = min(left_a[i], left_b[j])
                source[count], target[count], mass[count] = i, j, amount
                count += 1
                if left_a[i] <= left_b[j]:
                    left_b[j] -= amount
                    left_a[i] = 0.0
                    s += 1
                else:
                    left_a[i] -= amount
                    left_b[j] = 0.0
                    t += 1
        n, m = kept_s, kept_t
        if bits >= most:
            break
        bits += shift
    return count


@kernel()
def morton(index: Any) -> Any:
    """Keys (point,) that interleave the bits of the indices (point, 3)."""
    out = np.zeros(index.shape[0], np.int64)
    for i in range(index.shape[0]):
        for bit in range(20):
            for axis in range(3):
                out[i] |= ((np.int64(index[i, axis]) >> bit) & 1) << (3 * bit + axis)
    return out


@kernel()
def entry_masses(start: Any, value: Any, column: Any, p: Any, q: Any, row: Any, mass: Any) -> None:
    """The row and the mass p_i value_ij q_j of each entry (entry,)."""
    for i in range(start.size - 1):
        for k in range(start[i], start[i + 1]):
            row[k] = i
            mass[k] = p[i] * value[k] * q[column[k]]


@kernel()
def counting_sort(key: Any, order: Any, count: Any) -> Any:
    """`order` sorted by key[order], stably; `count` (key + 1,) of 0 ends as where each key begins."""
    for k in order:
        count[key[k] + 1] += 1
    for k in range(count.size - 1):
        count[k + 1] += count[k]
    at, out = count[:-1].copy(), np.empty_like(order)
    for k in order:
        out[at[key[k]]] = k
        at[key[k]] += 1
    return out


@kernel()
def cut_boxes(start: Any, order: Any, base: int, mass: Any, partner: Any, index: Any, middle: Any, size: Any) -> None:
    """Cut each unit cell into boxes, one an entry, with volumes in proportion to the masses.

    `order` lists the entries cell by cell, each in increasing order of the place index[partner] (., 3) of its partner.
    Into slabs by the first coordinate of that, each slab by the second, and so on; `middle` and `size` (entry, axis)
    begin with the entry `base`.
    """
    axes = middle.shape[1]
    for cell in range(start.size - 1):
        begin, end = start[cell], start[cell + 1]
        whole = 0.0
        for k in range(begin, end):
            whole += mass[order[k]]
        slab, below = begin, 0.0
        while slab < end:
            stop, part, place = slab, 0.0, index[partner[order[slab]], 0]
            while stop < end and index[partner[order[stop]], 0] == place:
                part += mass[order[stop]]
                stop += 1
            bar, under = slab, 0.0
            while bar < stop:
                last, piece, place = bar, 0.0, index[partner[order[bar]], 1]
                while last < stop and index[partner[order[last]], 1] == place:
                    piece += mass[order[last]]
                    last += 1
                before = 0.0
                for k in range(bar, last):
                    e, at = order[k], order[k] - base
                    middle[at, 0], size[at, 0] = (below + 0.5 * part) / whole - 0.5, part / whole
                    if axes > 1:
                        middle[at, 1], size[at, 1] = (under + 0.5 * piece) / part - 0.5, piece / part
                    if axes > 2:
                        middle[at, 2], size[at, 2] = (before + 0.5 * mass[e]) / piece - 0.5, mass[e] / piece
                        before += mass[e]
                under += piece
                bar = last
            below += part
            slab = stop


@kernel()
def box_cost(
    row: Any,
    column: Any,
    mass: Any,
    x: Any,
    y: Any,
    s: Any,
    t: Any,
    periods: Any,
    x_middle: Any,
    y_middle: Any,
    x_size: Any,
    y_size: Any,
) -> float:
    """sum of mass times the squared distances of boxes onto which each other is mapped affinely.

    Cells have centres x, y and deviations s, t, 1/sqrt(12) of their widths; boxes are given in units of the cells.
    With `periods` (3,) y is the image next to x.
    """
    total, width = 0.0, np.sqrt(12.0)
    for e in range(mass.size):
        i, j = row[e], column[e]
        square = 0.0
        for axis in range(x_middle.shape[1]):
            shift = width * (s[i, axis] * x_middle[e, axis] - t[j, axis] * y_middle[e, axis])
            square += (apart(x[i, axis], y[j, axis], periods, axis) + shift) ** 2
            square += (s[i, axis] * x_size[e, axis] - t[j, axis] * y_size[e, axis]) ** 2
        total += mass[e] * square
    return total


@kernel()
def sums_to_root(order: Any, parent: Any, total: Any) -> None:
    """Add to each value those of all nodes above it in a tree; `order` has each node after its parent, the root first.

    Values that are all positive are sums without cancellation.
    """
    for k in range(order.size - 1, 0, -1):
        total[parent[order[k]]] += total[order[k]]
