"""Sums over cells in one order: compiled or not, on one process or several, they agree to the last bit.

A sum is made of sums of blocks of 4096 cells, added from the first to the last.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fvflow.jit import kernel
from fvflow.parallel import BLOCK, world

Array = NDArray[np.float64]

LANES = 32  # running sums side by side
_MANY = 2**17  # cells from which waiting for the compiler costs less than several passes over the memory


@kernel()
def _block_product(a: Any, b: Any, first: Any, last: Any, lanes: Any) -> Any:
    """sum_K a_K b_K over the cells first to last, by 32 running sums that are added in halves."""
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
    return lanes[0]


@kernel()
def compiled_inner(a: Any, b: Any) -> Any:
    """sum_K a_K b_K, compiled; other kernels call it."""
    lanes, total = np.empty(LANES), 0.0
    for first in range(0, len(a), BLOCK):
        total += _block_product(a, b, first, min(first + BLOCK, len(a)), lanes)
    return total


@kernel()
def compiled_sum(values: Any) -> float:
    """The sum of a few hundred values (n,), by eight running sums; other kernels call it."""
    whole = len(values) - len(values) % 8
    a, b, c, d, e, f, g, h = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for i in range(0, whole, 8):
        a, b, c, d = a + values[i], b + values[i + 1], c + values[i + 2], d + values[i + 3]
        e, f, g, h = e + values[i + 4], f + values[i + 5], g + values[i + 6], h + values[i + 7]
    for i in range(whole, len(values)):
        a += values[i]
    return float(((a + e) + (c + g)) + ((b + f) + (d + h)))


@kernel()
def _compiled_products(a: Any, b: Any, sums: Any) -> None:
    """The sum of a_K b_K over each block (block,)."""
    lanes = np.empty(LANES)
    for block in range(len(sums)):
        sums[block] = _block_product(a, b, block * BLOCK, min((block + 1) * BLOCK, len(a)), lanes)


def inner(a: Array, b: Array) -> float:
    """sum_K a_K b_K: with a the volumes and b a density, the total mass.

    Blocks round less than one long sum. BLAS is not used, since its threads stay busy for a while after each long
    product and so take cores from the parallel loops of fvflow.
    """
    comm = world()
    if comm.holds_all and (compiled_inner.ready or len(a) >= _MANY):
        return float(compiled_inner(a, b))
    if comm.holds_all and len(a) < BLOCK:
        return _of_cut_block(a * b)
    return comm.total(_products, a, b)


def total(values: Array) -> float:
    """sum_K values_K."""
    comm = world()
    if comm.holds_all and len(values) < BLOCK:  # a single sum
        return float(np.add.reduce(values))
    return comm.total(_sums, values)


@kernel()
def _compiled_moments(weight: Any, columns: Any, mean: Any, covariance: Any) -> None:
    """The mean (axis,) and the covariance (axis, axis) of columns (axis, cell), as by `inner`."""
    offset, weighted = np.empty_like(columns), np.empty(len(weight))
    for axis in range(len(mean)):
        mean[axis] = compiled_inner(weight, columns[axis])
        for cell in range(len(weight)):
            offset[axis, cell] = columns[axis, cell] - mean[axis]
    for axis in range(len(mean)):
        for cell in range(len(weight)):
            weighted[cell] = weight[cell] * offset[axis, cell]
        for other in range(axis + 1):
            covariance[axis, other] = covariance[other, axis] = compiled_inner(weighted, offset[other])


def mean_and_covariance(weight: Array, columns: Array) -> tuple[Array, Array]:
    """The mean (axis,) and the covariance (axis, axis) of columns (axis, cell), for weights (cell,) of sum 1."""
    mean, covariance = np.empty(len(columns)), np.empty((len(columns), len(columns)))
    if world().holds_all and _compiled_moments.ready:
        _compiled_moments(weight, columns, mean, covariance)
        return mean, covariance
    mean[:] = [inner(weight, column) for column in columns]
    offsets = columns - mean[:, None]
    for axis, offset in enumerate(offsets):
        weighted = weight * offset
        covariance[axis, : axis + 1] = [inner(weighted, each) for each in offsets[: axis + 1]]
        covariance[: axis + 1, axis] = covariance[axis, : axis + 1]
    return mean, covariance


def _products(a: Any, b: Any) -> Array:
    """The sum of a_K b_K over each block (block,), of which the last may be cut short."""
    if not (_compiled_products.ready or len(a) >= _MANY):
        return _with_numpy(a * b)
    sums = np.empty(-(-len(a) // BLOCK))
    _compiled_products(a, b, sums)
    return sums


def _with_numpy(products: Array) -> Array:
    """The sums of `_products`, from the products (cell,)."""
    blocks = len(products) // BLOCK
    lanes = np.add.reduce(products[: blocks * BLOCK].reshape(blocks, BLOCK // LANES, LANES), axis=1)
    width = LANES
    while width > 1:
        width //= 2
        lanes = lanes[:, :width] + lanes[:, width:]
    if len(rest := products[blocks * BLOCK :]):
        return np.append(lanes, _of_cut_block(rest))
    return np.asarray(lanes[:, 0])


def _of_cut_block(products: Any) -> float:
    """The sum of `_with_numpy` over fewer cells than a block has, in the fewest calls."""
    whole = len(products) - len(products) % LANES
    lanes = np.add.reduce(products[:whole].reshape(-1, LANES), axis=0)
    if whole < len(products):
        lanes[: len(products) - whole] += products[whole:]
    lanes = lanes[:16] + lanes[16:]
    a, b, c, d, e, f, g, h = (lanes[:8] + lanes[8:]).tolist()
    return float(((a + e) + (c + g)) + ((b + f) + (d + h)))


def _sums(values: Any) -> Array:
    """The sum over each block (block,), of which the last may be cut short."""
    if len(values) < BLOCK:
        return np.asarray(values.sum(keepdims=True))
    whole = len(values) - len(values) % BLOCK
    blocks = np.asarray(values[:whole].reshape(-1, BLOCK).sum(axis=1))
    return blocks if whole == len(values) else np.append(blocks, values[whole:].sum())
