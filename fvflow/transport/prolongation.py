"""Between a space-time grid and one twice as fine."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fvflow.mesh import Array
from fvflow.transport.space_time_grid import Iterate, Scheme, SpaceTimeGrid


def halved(a: Array) -> Array:
    """Means of 2^d cells."""
    for axis in range(a.ndim):
        a = 0.5 * (np.take(a, range(0, a.shape[axis], 2), axis) + np.take(a, range(1, a.shape[axis], 2), axis))
    return a


def _double_cells(a: Array, axis: int) -> Array:
    """Linear interpolation from n cell centres to 2n, constant beyond the last."""
    a = np.moveaxis(a, axis, 0)
    below, above = np.concatenate([a[:1], a[:-1]]), np.concatenate([a[1:], a[-1:]])
    fine = np.stack([0.75 * a + 0.25 * below, 0.75 * a + 0.25 * above], axis=1)
    return np.moveaxis(fine.reshape(-1, *a.shape[1:]), 0, axis)


def _double_nodes(a: Array, axis: int) -> Array:
    """Linear interpolation from n + 1 nodes to 2n + 1."""
    a = np.moveaxis(a, axis, 0)
    fine = np.empty((2 * len(a) - 1, *a.shape[1:]))
    fine[::2] = a
    fine[1::2] = 0.5 * (a[1:] + a[:-1])
    return np.moveaxis(fine, 0, axis)


def _double_faces(a: Array, axis: int) -> Array:
    """Linear interpolation from upper faces to upper faces, the lower wall being zero."""
    zero = np.zeros_like(np.take(a, [0], axis))
    fine = _double_nodes(np.concatenate([zero, a], axis), axis)
    return np.take(fine, range(1, fine.shape[axis]), axis)


def refined(coarse: Iterate, box: SpaceTimeGrid, scheme: Scheme) -> Iterate:
    """The state on a grid twice as fine in space and time."""
    dim = len(box.shape)
    shape = tuple(n // 2 for n in box.shape)

    def double(a: Array, in_time: Callable[[Array, int], Array], face: int | None = None) -> Array:
        a = in_time(a.reshape(-1, *shape), 0)
        for axis in range(1, dim + 1):
            a = _double_faces(a, axis) if axis == face else _double_cells(a, axis)
        return np.ascontiguousarray(a.reshape(-1, box.rows, box.shape[-1]))

    def faces(a: Array) -> Array:
        return np.stack([double(a[i], _double_cells, dim - i) for i in range(dim)])

    def cells(a: Array) -> Array:
        return np.stack([double(a[i], _double_cells) for i in range(dim)])

    if scheme == "face":
        alpha, beta = faces(coarse.alpha), faces(coarse.beta)
    else:
        alpha, beta = double(coarse.alpha, _double_cells), cells(coarse.beta)
    gamma = double(coarse.gamma, _double_nodes)
    gamma[0] = gamma[-1] = 0.0
    return Iterate(
        double(coarse.rho, _double_nodes), faces(coarse.m), alpha, beta, gamma, double(coarse.phi, _double_cells)
    )
