"""The arrays that meshes are made of."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Index = NDArray[np.int32]
EVERY = slice(None)
Subset = Index | slice
"""A subset of the cells or faces."""


def freeze(values: ArrayLike) -> Array:
    """The values as a read-only contiguous array of doubles, of the same shape."""
    array = np.ascontiguousarray(values, np.float64)
    array.flags.writeable = False
    return array


def freeze_index(values: ArrayLike) -> Index:
    """The values as a read-only contiguous array of 32-bit integers, the widest that VTK reads."""
    array = np.ascontiguousarray(values, np.int32)
    array.flags.writeable = False
    return array


def within(points: Array, lower: Array, upper: Array) -> bool:
    """Whether all points (point, dim) are between two corners (dim,); axis by axis, which is fast for few axes."""
    return all(
        low <= x.min(initial=high) and x.max(initial=low) <= high
        for x, low, high in zip(points.T, lower, upper, strict=True)
    )
