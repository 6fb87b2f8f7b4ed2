"""The arrays that meshes are made of."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fvflow.errors import CaseError

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


def real_numbers(name: str, values: ArrayLike) -> Array:
    """What was given, as doubles of the same shape (...); raises CaseError, with its name, for what is no number."""
    try:
        given = np.asarray(values)
        if given.dtype.kind in "biufO":
            return np.asarray(given, np.float64)
        told = f"of type {given.dtype.name}"
    except (TypeError, ValueError):
        told = "no array of numbers"
    raise CaseError(f"{name}: {' '.join(repr(values).split())[:60]} is {told}; give real numbers")


def real_number(name: str, value: ArrayLike) -> float:
    """What was given as one number; raises CaseError, with its name, if it is none."""
    found = real_numbers(name, value)
    if found.ndim:
        raise CaseError(f"{name}: is an array {found.shape}; give one number")
    return float(found)


def within(points: Array, lower: Array, upper: Array) -> bool:
    """Whether all points (point, dim) are between two corners (dim,); axis by axis, which is fast for few axes."""
    return all(
        low <= x.min(initial=high) and x.max(initial=low) <= high
        for x, low, high in zip(points.T, lower, upper, strict=True)
    )
