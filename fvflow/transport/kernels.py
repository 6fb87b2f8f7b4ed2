"""Fused kernels of the primal-dual solver for its primal half: K^T, the continuity residual, the relaxed step.

Layout. Space is stored as (row, x): one row of cells along x for each y, or each (z, y); `ny` rows make a plane. The
momentum `m[a]` of a cell is that through its *upper* face along axis a (0: x, 1: y, 2: z). The upper face of the last
cell is a wall, where m and its dual are stored as zeros; the lower face of the first cell wraps around to that zero, so
no kernel has a special case for the lower wall. Along the axes that are `joined` (axis,) that face is the seam instead.
"""

from __future__ import annotations

from typing import Any

from fvflow.jit import kernel

# Sums may be reordered so that the loops vectorise; infinities and NaN keep their meaning.
vectorised = kernel(fastmath={"reassoc", "contract", "nsz", "arcp"}, nogil=False)
"""How these kernels are compiled."""


@vectorised
def neighbour_rows(row: Any, axis: Any, ny: Any, rows: Any, joined: Any) -> tuple[int, int, bool]:
    """The rows below and above along axis 1 (y) or 2 (z), periodically, and whether the upper face is a wall."""
    if axis == 1:
        y = row % ny
        last = y == ny - 1
        wall = last and not joined[axis]
        return (row - 1 if y > 0 else row + ny - 1), (row + 1 if not last else row - ny + 1), wall
    last = row + ny >= rows
    wall = last and not joined[axis]
    return (row - ny if row >= ny else row + rows - ny), (row + ny if not last else row + ny - rows), wall


@vectorised
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
    joined: Any,
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
            if joined[0]:
                x = nx - 1
                w_m[0, k, r, x] = m[0, k, r, x] - tau_m * 0.5 * (beta[0, k, r, x] + beta[0, k, r, 0])
            for a in range(1, axes):
                _, above, wall = neighbour_rows(r, a, ny, rows, joined)
                if not wall:
                    for x in range(nx):
                        w_m[a, k, r, x] = m[a, k, r, x] - tau_m * 0.5 * (beta[a, k, r, x] + beta[a, k, above, x])
        _imbalance(k, rest, w_rho, w_m, dt, h, ny, joined)


@vectorised
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
    joined: Any,
) -> None:
    """As `descend_cell`, for the K that averages rho to faces and interval centres and leaves m unchanged."""
    axes, intervals, rows, nx = m.shape
    for k in range(intervals):
        if k + 1 < intervals:
            for r in range(rows):
                line = w_rho[k + 1, r]
                line[0] = alpha[0, k, r, 0] + alpha[0, k + 1, r, 0]
                if joined[0]:
                    line[0] += alpha[0, k, r, nx - 1] + alpha[0, k + 1, r, nx - 1]
                for x in range(1, nx):
                    line[x] = alpha[0, k, r, x] + alpha[0, k + 1, r, x]
                    line[x] += alpha[0, k, r, x - 1] + alpha[0, k + 1, r, x - 1]
                for a in range(1, axes):
                    q, _, _ = neighbour_rows(r, a, ny, rows, joined)
                    for x in range(nx):
                        line[x] += alpha[a, k, r, x] + alpha[a, k + 1, r, x] + alpha[a, k, q, x] + alpha[a, k + 1, q, x]
                for x in range(nx):
                    line[x] = rho[k + 1, r, x] - tau_rho * (0.25 * line[x] + gamma[k + 1, r, x])
        for a in range(axes):
            for r in range(rows):
                for x in range(nx):
                    w_m[a, k, r, x] = m[a, k, r, x] - tau_m * beta[a, k, r, x]
        _imbalance(k, rest, w_rho, w_m, dt, h, ny, joined)


@vectorised
def _imbalance(k: Any, rest: Any, rho: Any, m: Any, dt: Any, h: Any, ny: Any, joined: Any) -> None:
    """rest^k = (rho^{k+1} - rho^k)/dt + div m^k."""
    axes, _, rows, nx = m.shape
    for r in range(rows):
        line = rest[k, r]
        line[0] = (rho[k + 1, r, 0] - rho[k, r, 0]) / dt + m[0, k, r, 0] / h[0]
        if joined[0]:
            line[0] -= m[0, k, r, nx - 1] / h[0]
        for x in range(1, nx):
            line[x] = (rho[k + 1, r, x] - rho[k, r, x]) / dt + (m[0, k, r, x] - m[0, k, r, x - 1]) / h[0]
        for a in range(1, axes):
            q, _, _ = neighbour_rows(r, a, ny, rows, joined)
            for x in range(nx):
                line[x] += (m[a, k, r, x] - m[a, k, q, x]) / h[a]


@vectorised
def imbalance(rest: Any, rho: Any, m: Any, dt: Any, h: Any, ny: Any, joined: Any) -> None:
    """rest = (rho^{k+1} - rho^k)/dt + div m for every interval."""
    for k in range(m.shape[1]):
        _imbalance(k, rest, rho, m, dt, h, ny, joined)


@vectorised
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
    joined: Any,
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
            if joined[0]:
                x = nx - 1
                step = w_m[0, k, r, x] - tau_m / h[0] * (phi[k, r, x] - phi[k, r, 0]) - m[0, k, r, x]
                w_m[0, k, r, x] = m[0, k, r, x] + 2.0 * step
                m[0, k, r, x] += relaxation * step
                moved_m += step * step
            for a in range(1, axes):
                _, above, wall = neighbour_rows(r, a, ny, rows, joined)
                if not wall:
                    for x in range(nx):
                        step = w_m[a, k, r, x] - tau_m / h[a] * (phi[k, r, x] - phi[k, above, x]) - m[a, k, r, x]
                        w_m[a, k, r, x] = m[a, k, r, x] + 2.0 * step
                        m[a, k, r, x] += relaxation * step
                        moved_m += step * step
    return moved_rho, moved_m


@vectorised
def dot(a: Any, b: Any) -> float:
    """The inner product of two flat arrays, single-threaded."""
    total = 0.0
    for i in range(a.size):
        total += a[i] * b[i]
    return total
