"""Transfer to the next coarser and finer space-time grid: restriction of densities, prolongation of iterates."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fvflow.mesh import Array
from fvflow.transport.space_time_grid import PrimalDualIterate, Scheme, SpaceTimeGrid


def restricted(density: Array) -> Array:
    """A density (..., y, x) on cells twice as large along each axis: means of 2^d cells."""
    a = density
    for axis in range(a.ndim):
        a = 0.5 * (np.take(a, range(0, a.shape[axis], 2), axis) + np.take(a, range(1, a.shape[axis], 2), axis))
    return a


def _prolong_cells(a: Array, axis: int, joined: bool = False) -> Array:
    """Linear interpolation from n cell centres to 2n, periodic if `joined`, else constant beyond the outermost."""
    a = np.moveaxis(a, axis, 0)
    first, last = (a[-1:], a[:1]) if joined else (a[:1], a[-1:])
    below, above = np.concatenate([first, a[:-1]]), np.concatenate([a[1:], last])
    fine = np.stack([0.75 * a + 0.25 * below, 0.75 * a + 0.25 * above], axis=1)
    return np.moveaxis(fine.reshape(-1, *a.shape[1:]), 0, axis)


def _prolong_nodes(a: Array, axis: int) -> Array:
    """Linear interpolation from n + 1 nodes to 2n + 1."""
    a = np.moveaxis(a, axis, 0)
    fine = np.empty((2 * len(a) - 1, *a.shape[1:]))
    fine[::2] = a
    fine[1::2] = 0.5 * (a[1:] + a[:-1])
    return np.moveaxis(fine, 0, axis)


def _prolong_faces(a: Array, axis: int, joined: bool) -> Array:
    """Linear interpolation from upper faces to upper faces; the value on the lower wall is zero, unless `joined`."""
    lower = np.take(a, [-1], axis) if joined else np.zeros_like(np.take(a, [0], axis))
    fine = _prolong_nodes(np.concatenate([lower, a], axis), axis)
    return np.take(fine, range(1, fine.shape[axis]), axis)


def prolonged(coarse: PrimalDualIterate, grid: SpaceTimeGrid, scheme: Scheme) -> PrimalDualIterate:
    """The iterate on `grid`, which is twice as fine in space and time."""
    dim = len(grid.shape)
    shape = tuple(n // 2 for n in grid.shape)

    def prolong(a: Array, in_time: Callable[[Array, int], Array], face: int | None = None) -> Array:
        a = in_time(a.reshape(-1, *shape), 0)
        for axis in range(1, dim + 1):
            joined = grid.joined[axis - 1]
            a = _prolong_faces(a, axis, joined) if axis == face else _prolong_cells(a, axis, joined)
        return np.ascontiguousarray(a.reshape(-1, grid.rows, grid.shape[-1]))

    def on_faces(a: Array) -> Array:
        return np.stack([prolong(a[i], _prolong_cells, dim - i) for i in range(dim)])

    def in_cells(a: Array) -> Array:
        return np.stack([prolong(a[i], _prolong_cells) for i in range(dim)])

    if scheme == "face":
        alpha, beta = on_faces(coarse.alpha), on_faces(coarse.beta)
    else:
        alpha, beta = prolong(coarse.alpha, _prolong_cells), in_cells(coarse.beta)
    gamma = prolong(coarse.gamma, _prolong_nodes)
    gamma[0] = gamma[-1] = 0.0
    rho, phi = prolong(coarse.rho, _prolong_nodes), prolong(coarse.phi, _prolong_cells)
    return PrimalDualIterate(rho, on_faces(coarse.m), alpha, beta, gamma, phi)
