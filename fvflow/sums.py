"""Sums over cells in one order, compiled or not, so that they agree to the last bit wherever a mass is summed."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fvflow.jit import kernel

Array = NDArray[np.float64]

LANES = 32  # running sums side by side
BLOCK = 4096  # cells of a partial sum: blocks round less than one long sum
_MANY = 2**17  # cells from which waiting for the compiler costs less than several passes over the memory


@kernel()
def compiled_inner(a: Any, b: Any) -> Any:
    """sum_K a_K b_K, compiled; other kernels call it."""
    lanes, total = np.empty(LANES), 0.0
    for first in range(0, len(a), BLOCK):
        last = min(first + BLOCK, len(a))
        whole = last - (last - first) % LANES
        lanes[:] = 0.0
        for i in range(first, whole, LANES):
            for k in range(LANES):
                lanes[k] += a[i + k] * b[i + k]
        for k in range(last - whole):
            lanes[k] += a[whole + k] * b[whole + k]
        width = LANES // 2
        while width > 0:
            for k in range(width):
                lanes[k] += lanes[k + width]
            width //= 2
        total += lanes[0]
    return total


def inner(a: Array, b: Array) -> float:
    """sum_K a_K b_K: with a the volumes and b a density, the total mass.

    By blocks of 4096, each by 32 running sums that are added in halves: the same bits with numba and before it is
    loaded. BLAS is not used, since its threads stay busy for a while after each long product and so take cores from
    the parallel loops of fvflow.
    """
    if compiled_inner.ready or len(a) >= _MANY:
        return float(compiled_inner(a, b))
    return _with_numpy(a * b)


def _with_numpy(products: Array) -> float:
    """The sum of `inner`, from the products (cell,)."""
    total, blocks = 0.0, len(products) // BLOCK
    sums = [*products[: blocks * BLOCK].reshape(blocks, BLOCK // LANES, LANES).sum(axis=1)]
    if len(rest := products[blocks * BLOCK :]):
        whole = len(rest) - len(rest) % LANES
        sums.append(rest[:whole].reshape(-1, LANES).sum(axis=0))
        sums[-1][: len(rest) - whole] += rest[whole:]
    for lanes in sums:
        width = LANES
        while width > 1:
            width //= 2
            lanes = lanes[:width] + lanes[width:]
        total += float(lanes[0])
    return total
