"""Sums over the cells of a mesh in an order that does not depend on who holds which of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fvflow.parallel.blocks import BLOCK
from fvflow.parallel.launched import world

Array = NDArray[np.float64]


def inner(a: Array, b: Array) -> float:
    """sum_K a_K b_K by blocks: with a the volumes and b a density, the total mass.

    Blocks round less than one long sum. They also avoid the threads of BLAS, which stay busy for a while after each
    long product and so take cores from the parallel loops of fvflow.
    """
    return world().total(_products, a, b)


def total(values: Array) -> float:
    """sum_K values_K by blocks."""
    return world().total(_sums, values)


def _products(a: Any, b: Any) -> Array:
    """The sum of a_K b_K over each block (block,), of which the last may be cut short."""
    whole = len(a) - len(a) % BLOCK
    blocks = np.vecdot(a[:whole].reshape(-1, BLOCK), b[:whole].reshape(-1, BLOCK))
    return blocks if whole == len(a) else np.append(blocks, a[whole:] @ b[whole:])


def _sums(values: Any) -> Array:
    """The sum over each block (block,), of which the last may be cut short."""
    whole = len(values) - len(values) % BLOCK
    blocks = values[:whole].reshape(-1, BLOCK).sum(axis=1)
    return blocks if whole == len(values) else np.append(blocks, values[whole:].sum())
