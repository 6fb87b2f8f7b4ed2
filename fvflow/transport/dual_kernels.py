"""Fused kernels of the primal-dual solver for its dual half: K and the projection on the paraboloid.

The layout is that of `fvflow.transport.kernels`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fvflow.transport.kernels import neighbour_rows, vectorised


@vectorised
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


@vectorised
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


@vectorised
def ascend_cell(
    alpha: Any, beta: Any, w_rho: Any, w_m: Any, sigma: Any, relaxation: Any, ny: Any, joined: Any
) -> float:
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
            if joined[0]:
                b_row[0, 0] += half * w_m[0, k, r, nx - 1]
            for x in range(1, nx):
                b_row[0, x] = beta[0, k, r, x] + half * (w_m[0, k, r, x] + w_m[0, k, r, x - 1])
            for a in range(1, axes):
                q, _, _ = neighbour_rows(r, a, ny, rows, joined)
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


@vectorised
def ascend_face(
    alpha: Any, beta: Any, w_rho: Any, w_m: Any, sigma: Any, relaxation: Any, ny: Any, joined: Any
) -> float:
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
                    if joined[0]:
                        x = nx - 1
                        width = nx
                        total = w_rho[k, r, x] + w_rho[k + 1, r, x] + w_rho[k, r, 0] + w_rho[k + 1, r, 0]
                        a_row[x] = alpha[a, k, r, x] + quarter * total
                else:
                    _, above, wall = neighbour_rows(r, a, ny, rows, joined)
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
