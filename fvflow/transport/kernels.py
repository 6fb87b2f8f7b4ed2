"""Fused kernels of the primal-dual solver: K^T, the continuity residual, K and the projection on the paraboloid.

Layout. Space is stored as (row, x): one row of cells along x for each y, or each (z, y); `ny` rows make a plane. The
momentum `m[a]` of a cell is that through its *upper* face along axis a (0: x, 1: y, 2: z). The upper face of the last
cell is a wall, where m and its dual are stored as zeros; the lower face of the first cell wraps around to that zero, so
no kernel has a special case for the lower wall.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fvflow.jit import kernel

# Sums may be reordered so that the loops vectorise; infinities and NaN keep their meaning.
_vectorised = kernel(fastmath={"reassoc", "contract", "nsz", "arcp"}, nogil=False)


@_vectorised
def _neighbour_rows(row: Any, axis: Any, ny: Any, rows: Any) -> tuple[int, int, bool]:
    """The rows below and above along axis 1 (y) or 2 (z), periodically, and whether the upper face is a wall."""
    if axis == 1:
        y = row % ny
        last = y == ny - 1
        return (row - 1 if y > 0 else row + ny - 1), (row + 1 if not last else row - ny + 1), last
    last = row + ny >= rows
    return (row - ny if row >= ny else row + rows - ny), (row + ny if not last else row + ny - rows), last


@_vectorised
def paraboloid(a: Any, b: Any, y: Any) -> None:
    """Project (a, b) on {a + |b|^2/2 <= 0}, in place: a - (y-1), b/y with y >= 1 the root of (y-1-a) y^2 = c.

    c = max(|b|^2/2, -a): for a point of the set the root is y = 1 and the point does not move. Newton's method starts
    from y = 1 + max(a, 0), to the left of the root, where the cubic is increasing and convex: the first iterate lies to
    the right of the root, and from there the iterates decrease.
    """
    n = a.size
    axes = b.shape[0]
    for x in range(n):
        y[x] = 1.0 + max(a[x], 0.0)
    for _ in range(60):
        moving = 0
        for x in range(n):
            c = 0.0
            for i in range(axes):
                c += b[i, x] * b[i, x]
            c = max(0.5 * c, -a[x])
            s = 1.0 + a[x]
            z = y[x]
            step = (c - (z - s) * z * z) / (z * (3.0 * z - 2.0 * s))
            y[x] = z + step
            moving += abs(step) > 1e-8 * z
        if moving == 0:  # the last step was below 1e-8, the next one, its square, is round-off
            break
    for x in range(n):
        a[x] -= y[x] - 1.0
        for i in range(axes):
            b[i, x] /= y[x]


@_vectorised
def descend_cell(
    w_rho: Any,
    w_m: Any,
    rest: Any,
    rho: Any,
    m: Any,
    alpha: Any,
    beta: Any,
    gamma: Any,
    tau_rho: Any,
    tau_m: Any,
    dt: Any,
    h: Any,
    ny: Any,
) -> None:
    """w = u - tau K^T y, rest = (w^{k+1} - w^k)/dt + div w_m; K averages rho and m to cell and interval centres."""
    axes, intervals, rows, nx = m.shape
    for k in range(intervals):
        if k + 1 < intervals:
            for r in range(rows):
                for x in range(nx):
                    slope = 0.5 * (alpha[k, r, x] + alpha[k + 1, r, x]) + gamma[k + 1, r, x]
                    w_rho[k + 1, r, x] = rho[k + 1, r, x] - tau_rho * slope
        for r in range(rows):
            for x in range(nx - 1):
                w_m[0, k, r, x] = m[0, k, r, x] - tau_m * 0.5 * (beta[0, k, r, x] + beta[0, k, r, x + 1])
            for a in range(1, axes):
                _, above, wall = _neighbour_rows(r, a, ny, rows)
                if not wall:
                    for x in range(nx):
                        w_m[a, k, r, x] = m[a, k, r, x] - tau_m * 0.5 * (beta[a, k, r, x] + beta[a, k, above, x])
        _imbalance(k, rest, w_rho, w_m, dt, h, ny)


@_vectorised
def descend_face(
    w_rho: Any,
    w_m: Any,
    rest: Any,
    rho: Any,
    m: Any,
    alpha: Any,
    beta: Any,
    gamma: Any,
    tau_rho: Any,
    tau_m: Any,
    dt: Any,
    h: Any,
    ny: Any,
) -> None:
    """As `descend_cell`, for the K that averages rho to faces and interval centres and leaves m unchanged."""
    axes, intervals, rows, nx = m.shape
    for k in range(intervals):
        if k + 1 < intervals:
            for r in range(rows):
                line = w_rho[k + 1, r]
                line[0] = alpha[0, k, r, 0] + alpha[0, k + 1, r, 0]
                for x in range(1, nx):
                    line[x] = alpha[0, k, r, x] + alpha[0, k + 1, r, x]
                    line[x] += alpha[0, k, r, x - 1] + alpha[0, k + 1, r, x - 1]
                for a in range(1, axes):
                    q, _, _ = _neighbour_rows(r, a, ny, rows)
                    for x in range(nx):
                        line[x] += alpha[a, k, r, x] + alpha[a, k + 1, r, x] + alpha[a, k, q, x] + alpha[a, k + 1, q, x]
                for x in range(nx):
                    line[x] = rho[k + 1, r, x] - tau_rho * (0.25 * line[x] + gamma[k + 1, r, x])
        for a in range(axes):
            for r in range(rows):
                for x in range(nx):
                    w_m[a, k, r, x] = m[a, k, r, x] - tau_m * beta[a, k, r, x]
        _imbalance(k, rest, w_rho, w_m, dt, h, ny)


@_vectorised
def _imbalance(k: Any, rest: Any, rho: Any, m: Any, dt: Any, h: Any, ny: Any) -> None:
    """rest^k = (rho^{k+1} - rho^k)/dt + div m^k."""
    axes, _, rows, nx = m.shape
    for r in range(rows):
        line = rest[k, r]
        line[0] = (rho[k + 1, r, 0] - rho[k, r, 0]) / dt + m[0, k, r, 0] / h[0]
        for x in range(1, nx):
            line[x] = (rho[k + 1, r, x] - rho[k, r, x]) / dt + (m[0, k, r, x] - m[0, k, r, x - 1]) / h[0]
        for a in range(1, axes):
            q, _, _ = _neighbour_rows(r, a, ny, rows)
            for x in range(nx):
                line[x] += (m[a, k, r, x] - m[a, k, q, x]) / h[a]


@_vectorised
def imbalance(rest: Any, rho: Any, m: Any, dt: Any, h: Any, ny: Any) -> None:
    """rest = (rho^{k+1} - rho^k)/dt + div m for every interval."""
    for k in range(m.shape[1]):
        _imbalance(k, rest, rho, m, dt, h, ny)


@_vectorised
def relax(
    rho: Any,
    m: Any,
    w_rho: Any,
    w_m: Any,
    phi: Any,
    tau_rho: Any,
    tau_m: Any,
    relaxation: Any,
    dt: Any,
    h: Any,
    ny: Any,
) -> tuple[float, float]:
    """u~ = w - tau D^T phi; w becomes 2 u~ - u and u becomes u + relaxation (u~ - u).

    D^T phi is (phi^{k-1} - phi^k)/dt at the time nodes and (phi_K - phi_L)/h on the faces. Returns the sums of
    (u~ - u)^2 over the densities and over the momenta.
    """
    axes, intervals, rows, nx = m.shape
    moved_rho, moved_m = 0.0, 0.0
    for k in range(intervals):
        if k > 0:
            for r in range(rows):
                for x in range(nx):
                    step = w_rho[k, r, x] - tau_rho / dt * (phi[k - 1, r, x] - phi[k, r, x]) - rho[k, r, x]
                    w_rho[k, r, x] = rho[k, r, x] + 2.0 * step
                    rho[k, r, x] += relaxation * step
                    moved_rho += step * step
        for r in range(rows):
            for x in range(nx - 1):
                step = w_m[0, k, r, x] - tau_m / h[0] * (phi[k, r, x] - phi[k, r, x + 1]) - m[0, k, r, x]
                w_m[0, k, r, x] = m[0, k, r, x] + 2.0 * step
                m[0, k, r, x] += relaxation * step
                moved_m += step * step
            for a in range(1, axes):
                _, above, wall = _neighbour_rows(r, a, ny, rows)
                if not wall:
                    for x in range(nx):
                        step = w_m[a, k, r, x] - tau_m / h[a] * (phi[k, r, x] - phi[k, above, x]) - m[a, k, r, x]
                        w_m[a, k, r, x] = m[a, k, r, x] + 2.0 * step
                        m[a, k, r, x] += relaxation * step
                        moved_m += step * step
    return moved_rho, moved_m


@_vectorised
def dot(a: Any, b: Any) -> float:
    """The inner product of two flat arrays, single-threaded."""
    total = 0.0
    for i in range(a.size):
        total += a[i] * b[i]
    return total


@_vectorised
def ascend_sign(gamma: Any, w_rho: Any, sigma: Any, relaxation: Any) -> float:
    """gamma~ = min(gamma + sigma w_rho, 0) at the inner time nodes, relaxed; returns the sum of (gamma~ - gamma)^2."""
    nodes, rows, nx = w_rho.shape
    moved = 0.0
    for k in range(1, nodes - 1):
        for r in range(rows):
            for x in range(nx):
                step = min(gamma[k, r, x] + sigma * w_rho[k, r, x], 0.0) - gamma[k, r, x]
                gamma[k, r, x] += relaxation * step
                moved += step * step
    return moved


@_vectorised
def ascend_cell(alpha: Any, beta: Any, w_rho: Any, w_m: Any, sigma: Any, relaxation: Any, ny: Any) -> float:
    """(alpha, beta)~ = projection of (alpha, beta) + sigma K w on the paraboloid, relaxed; the sum of squared steps."""
    axes, intervals, rows, nx = w_m.shape
    a_row, b_row, y = np.empty(nx), np.empty((axes, nx)), np.empty(nx)
    half = 0.5 * sigma
    moved = 0.0
    for k in range(intervals):
        for r in range(rows):
            for x in range(nx):
                a_row[x] = alpha[k, r, x] + half * (w_rho[k, r, x] + w_rho[k + 1, r, x])
            b_row[0, 0] = beta[0, k, r, 0] + half * w_m[0, k, r, 0]
            for x in range(1, nx):
                b_row[0, x] = beta[0, k, r, x] + half * (w_m[0, k, r, x] + w_m[0, k, r, x - 1])
            for a in range(1, axes):
                q, _, _ = _neighbour_rows(r, a, ny, rows)
                for x in range(nx):
                    b_row[a, x] = beta[a, k, r, x] + half * (w_m[a, k, r, x] + w_m[a, k, q, x])
            paraboloid(a_row, b_row, y)
            for x in range(nx):
                step = a_row[x] - alpha[k, r, x]
                alpha[k, r, x] += relaxation * step
                moved += step * step
            for a in range(axes):
                for x in range(nx):
                    step = b_row[a, x] - beta[a, k, r, x]
                    beta[a, k, r, x] += relaxation * step
                    moved += step * step
    return moved


@_vectorised
def ascend_face(alpha: Any, beta: Any, w_rho: Any, w_m: Any, sigma: Any, relaxation: Any, ny: Any) -> float:
    """As `ascend_cell`, with one pair (alpha, beta) for each face and interval."""
    axes, intervals, rows, nx = w_m.shape
    quarter = 0.25 * sigma
    a_row, b_row, y = np.empty(nx), np.empty((1, nx)), np.empty(nx)
    moved = 0.0
    for k in range(intervals):
        for a in range(axes):
            for r in range(rows):
                width = nx
                if a == 0:
                    width = nx - 1
                    for x in range(width):
                        total = w_rho[k, r, x] + w_rho[k + 1, r, x] + w_rho[k, r, x + 1] + w_rho[k + 1, r, x + 1]
                        a_row[x] = alpha[a, k, r, x] + quarter * total
                else:
                    _, above, wall = _neighbour_rows(r, a, ny, rows)
                    if wall:
                        continue
                    for x in range(nx):
                        total = w_rho[k, r, x] + w_rho[k + 1, r, x] + w_rho[k, above, x] + w_rho[k + 1, above, x]
                        a_row[x] = alpha[a, k, r, x] + quarter * total
                for x in range(width):
                    b_row[0, x] = beta[a, k, r, x] + sigma * w_m[a, k, r, x]
                paraboloid(a_row[:width], b_row[:, :width], y[:width])
                for x in range(width):
                    step = a_row[x] - alpha[a, k, r, x]
                    alpha[a, k, r, x] += relaxation * step
                    turn = b_row[0, x] - beta[a, k, r, x]
                    beta[a, k, r, x] += relaxation * turn
                    moved += step * step + turn * turn
    return moved
