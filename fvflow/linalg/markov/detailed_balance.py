"""Markov chains in detailed balance: at equilibrium the net flux through every face is zero."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fvflow.jit import kernel
from fvflow.linalg.matrix import FaceMatrix
from fvflow.mesh import Array

_NET_FLUX = 1e-10  # of the one-way flux through a face: a smaller net flux is round-off
_SMALLEST = 1e-290  # smaller roots lose digits


def detailed_balance_root(matrix: FaceMatrix) -> Array | None:
    """The square root of pi (cell,), down pi_K = up pi_L on every face, with maximum 1; None if there is no such pi.

    On a connected graph pi is the product of down/up along any path, if all paths give the same (Kolmogorov's
    criterion). This holds for the Scharfetter-Gummel flux of a potential, and for any flux on a chain. The factors are
    multiplied along a spanning tree with exponents stored apart, so that the root is accurate to a few ulp times the
    length of a path, whatever its range; it is 0 only where pi < 1e-600.
    """
    if not ((matrix.down > 0).all() and (matrix.up > 0).all()):
        return None
    order, before, ratio = _tree(matrix)
    root = tree_products(order, before, ratio)
    down, up = np.sqrt(matrix.down), np.sqrt(matrix.up)
    forward, backward = down * root[matrix.owner], up * root[matrix.neighbour]
    scale = np.maximum(forward, backward) + _SMALLEST * (down + up)
    return root if (np.abs(forward - backward) <= _NET_FLUX * scale).all() else None


def in_balance(matrix: FaceMatrix, steady: Array) -> bool:
    """Whether the net flux of a steady density (cell,) through every face is round-off."""
    forward, backward = matrix.down * steady[matrix.owner], matrix.up * steady[matrix.neighbour]
    scale = np.maximum(forward, backward) + _SMALLEST * float(steady.max()) * (matrix.down + matrix.up) / _NET_FLUX
    return bool((np.abs(forward - backward) <= _NET_FLUX * scale).all())


def _tree(matrix: FaceMatrix) -> tuple[Any, Any, Array]:
    """A breadth-first tree: cells in order, the predecessor of each, and the ratio of their roots (cell,)."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import breadth_first_order

    cells, (owner, neighbour) = len(matrix.volume), (matrix.owner.astype(np.int64), matrix.neighbour)
    graph = coo_array((np.ones(len(owner)), (owner, neighbour)), shape=(cells, cells)).tocsr()
    order, before = breadth_first_order(graph, 0, directed=False)
    here = order[1:].astype(np.int64)
    there = before[here].astype(np.int64)
    keys = np.minimum(owner, neighbour) * cells + np.maximum(owner, neighbour)
    sort = np.argsort(keys)
    face = sort[np.searchsorted(keys, np.minimum(here, there) * cells + np.maximum(here, there), sorter=sort)]
    down, up = np.sqrt(matrix.down[face]), np.sqrt(matrix.up[face])
    ratio = np.ones(cells)
    ratio[here] = np.where(owner[face] == there, down / up, up / down)
    return order, before, ratio


@kernel()
def tree_products(order: Any, before: Any, ratio: Any) -> Any:
    """The products of the ratios along the tree (cell,), scaled to maximum 1."""
    count = len(order)
    mantissa, exponent = np.ones(count), np.zeros(count, np.int64)
    for t in range(1, count):
        cell = order[t]
        mantissa[cell], power = math.frexp(mantissa[before[cell]] * ratio[cell])
        exponent[cell] = exponent[before[cell]] + power
    top = exponent.max()
    for cell in range(count):
        mantissa[cell] = math.ldexp(mantissa[cell], int(max(exponent[cell] - top, -1100)))
    return mantissa / mantissa.max()
