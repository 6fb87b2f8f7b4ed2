"""Chains in detailed balance: no mass flows at equilibrium, not even in circles."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fvflow.jit import kernel
from fvflow.linalg.matrix import FaceMatrix
from fvflow.mesh import Array

_CIRCLING = 1e-10  # of what crosses a face each way: a net flux beneath it is round-off
_LEAST = 1e-290  # roots have fewer digits beneath it


def detailed_balance_root(matrix: FaceMatrix) -> Array | None:
    """The root of pi (cell,), down pi_K = up pi_L on every face, its maximum 1; None where no pi does that.

    On a connected graph pi is the product of down/up along any path, if it is the same along all (Kolmogorov's
    criterion): so with the Scharfetter-Gummel flux of a potential, and for any flux on a chain. Factors are multiplied
    along a spanning tree with exponents kept apart, so that the root is right to a few ulp times the length of a path
    however far it ranges; it is 0 only where pi < 1e-600.
    """
    if not ((matrix.down > 0).all() and (matrix.up > 0).all()):
        return None
    order, before, ratio = _tree(matrix)
    root = multiplied(order, before, ratio)
    down, up = np.sqrt(matrix.down), np.sqrt(matrix.up)
    one, other = down * root[matrix.owner], up * root[matrix.neighbour]
    seen = np.maximum(one, other) + _LEAST * (down + up)
    return root if (np.abs(one - other) <= _CIRCLING * seen).all() else None


def _tree(matrix: FaceMatrix) -> tuple[Any, Any, Array]:
    """Cells by their distance from the first, the one before each on the way there, and the ratio of their roots."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import breadth_first_order

    cells, (owner, neighbour) = len(matrix.volume), (matrix.owner.astype(np.int64), matrix.neighbour)
    graph = coo_array((np.ones(len(owner)), (owner, neighbour)), shape=(cells, cells)).tocsr()
    order, before = breadth_first_order(graph, 0, directed=False)
    here = order[1:].astype(np.int64)
    there = before[here].astype(np.int64)
    keys = owner * cells + neighbour
    sort = np.argsort(keys)
    face = sort[np.searchsorted(keys, np.minimum(here, there) * cells + np.maximum(here, there), sorter=sort)]
    down, up = np.sqrt(matrix.down[face]), np.sqrt(matrix.up[face])
    ratio = np.ones(cells)
    ratio[here] = np.where(there < here, down / up, up / down)
    return order, before, ratio


@kernel()
def multiplied(order: Any, before: Any, ratio: Any) -> Any:
    """The products of the ratios along the tree (cell,), scaled to the maximum 1."""
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
