"""Compiled loops of the sparse scaling: supports in compressed rows, sweeps, coarse supports."""

from __future__ import annotations

from typing import Any

import numpy as np

from fvflow.jit import kernel
from fvflow.wasserstein.torus_kernels import apart, between, cells_apart, window


@kernel()
def fill_support(
    fill: bool,
    limit: float,
    reach: Any,
    eps: float,
    periods: Any,
    x: Any,
    y: Any,
    z: Any,
    first: Any,
    second: Any,
    to: Any,
    back: Any,
    f: Any,
    g: Any,
    f_hat: Any,
    g_hat: Any,
    row_of: Any,
    column_of: Any,
    head: Any,
    column: Any,
    value: Any,
) -> None:
    """Count the entries of each row in `head`, or fill them in from there on, and exp((f + g - c)/eps) as values.

    Entries (i, j): j in the window about to[i] with c - f_hat_i - g_j <= limit, and i in the window about back[j] with
    c - f_i - g_hat_j <= limit. f, g, f_hat, g_hat are on all cells, -inf where there are no atoms.
    `periods` (3,), inf between walls, or None: the windows go on through them, and costs are to the nearest image.
    """
    nx, ny, nz = x.size, y.size, z.size
    for i in range(first.shape[0]):
        i0, i1, i2 = first[i, 0], first[i, 1], first[i, 2]
        here = (i0 * ny + i1) * nz + i2
        bound = limit + f_hat[here]
        for k0 in range(*window(to[i, 0], reach[0], nx, periods, 0)):
            j0 = between(k0, nx, periods)
            c0 = 0.5 * apart(x[i0], x[j0], periods, 0) ** 2
            for k1 in range(*window(to[i, 1], reach[1], ny, periods, 1)):
                j1 = between(k1, ny, periods)
                c1 = c0 + 0.5 * apart(y[i1], y[j1], periods, 1) ** 2
                for k2 in range(*window(to[i, 2], reach[2], nz, periods, 2)):
                    j2 = between(k2, nz, periods)
                    cost = c1 + 0.5 * apart(z[i2], z[j2], periods, 2) ** 2
                    there = (j0 * ny + j1) * nz + j2
                    if cost - g[there] <= bound:
                        if fill:
                            at = head[i]
                            column[at] = column_of[there]
                            value[at] = np.exp((f[here] + g[there] - cost) / eps)
                        head[i] += 1
    for j in range(second.shape[0]):
        j0, j1, j2 = second[j, 0], second[j, 1], second[j, 2]
        there = (j0 * ny + j1) * nz + j2
        bound = limit + g_hat[there]
        for k0 in range(*window(back[j, 0], reach[0], nx, periods, 0)):
            i0 = between(k0, nx, periods)
            c0 = 0.5 * apart(x[i0], x[j0], periods, 0) ** 2
            for k1 in range(*window(back[j, 1], reach[1], ny, periods, 1)):
                i1 = between(k1, ny, periods)
                c1 = c0 + 0.5 * apart(y[i1], y[j1], periods, 1) ** 2
                for k2 in range(*window(back[j, 2], reach[2], nz, periods, 2)):
                    i2 = between(k2, nz, periods)
                    cost = c1 + 0.5 * apart(z[i2], z[j2], periods, 2) ** 2
                    here = (i0 * ny + i1) * nz + i2
                    if not cost - f[here] <= bound:
                        continue
                    i = row_of[here]
                    if (
                        cells_apart(j0, to[i, 0], nx, periods, 0) <= reach[0]
                        and cells_apart(j1, to[i, 1], ny, periods, 1) <= reach[1]
                        and cells_apart(j2, to[i, 2], nz, periods, 2) <= reach[2]
                        and cost - g[there] <= limit + f_hat[here]
                    ):
                        continue  # found from i
                    if fill:
                        at = head[i]
                        column[at] = j
                        value[at] = np.exp((f[here] + g[there] - cost) / eps)
                    head[i] += 1


@kernel(fastmath={"reassoc", "contract"})
def sweep(start: Any, column: Any, value: Any, a: Any, b: Any, p: Any, q: Any, sums: Any, relaxation: float) -> float:
    """Scale the rows, then the columns, of p_i value_ij q_j to the sums a and b, with relaxation near them.

    Returns sum |row - a| as it was before. `sums` (column,) is a work array.
    """
    error = 0.0
    sums[:] = 0.0
    for i in range(a.size):
        s = 0.0
        for k in range(start[i], start[i + 1]):
            s += value[k] * q[column[k]]
        error += abs(s * p[i] - a[i])
        if s > 0.0:
            p[i] = _scaled(p[i], s, a[i], relaxation)
        w = p[i]
        for k in range(start[i], start[i + 1]):
            sums[column[k]] += value[k] * w
    for j in range(b.size):
        if sums[j] > 0.0:
            q[j] = _scaled(q[j], sums[j], b[j], relaxation)
    return error


@kernel()
def _scaled(p: float, s: float, a: float, relaxation: float) -> float:
    """The factor that makes p s equal to a, beyond it by the relaxation if it is near."""
    ratio = a / (s * p)
    out = p * ratio**relaxation if 0.5 < ratio < 2.0 else a / s
    return min(max(out, 1e-60), 1e60)


@kernel()
def merge_support(
    start: Any, column: Any, child: Any, child_start: Any, parent: Any, seen: Any, coarse_column: Any, entry: Any
) -> Any:
    """The rows of the coarse support, and for each entry the coarse one that it is part of.

    `child` lists the rows of each coarse row from child_start on; `parent` (column,); `seen` (coarse column,) of -1.
    """
    rows = child_start.size - 1
    coarse_start = np.zeros(rows + 1, np.int64)
    count = 0
    for big in range(rows):
        begin = count
        for at in range(child_start[big], child_start[big + 1]):
            i = child[at]
            for k in range(start[i], start[i + 1]):
                to = parent[column[k]]
                if seen[to] < begin:
                    seen[to] = count
                    coarse_column[count] = to
                    count += 1
                entry[k] = seen[to]
        coarse_start[big + 1] = count
    return coarse_start


@kernel()
def block_sums(start: Any, column: Any, value: Any, p: Any, q: Any, entry: Any, out: Any) -> None:
    """Add up p_i value_ij q_j in the coarse entries."""
    out[:] = 0.0
    for i in range(start.size - 1):
        for k in range(start[i], start[i + 1]):
            out[entry[k]] += p[i] * value[k] * q[column[k]]


@kernel()
def correct(p: Any, parent: Any, coarse: Any, power: float) -> None:
    """p_i <- p_i P_I^power, the factor kept within 1e-3 and 1e3."""
    for i in range(p.size):
        p[i] *= min(max(coarse[parent[i]] ** power, 1e-3), 1e3)
