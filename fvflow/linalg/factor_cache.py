"""Factorisations kept from step to step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

import numpy as np

from fvflow.linalg.matrix import FaceMatrix
from fvflow.mesh import Array

T = TypeVar("T")
_Key = tuple[float, Array, Array]


class FactorCache(Generic[T]):
    """Keeps what was prepared for the last `keep` matrices diag(|K|) + scale A, and reuses it while they recur.

    Two serve a method that alternates between a full and a half step. A matrix is identified by its scale and the
    coefficients (down, up) of A, compared entry by entry, so the matrix itself is assembled only when it is new.
    """

    def __init__(self, prepare: Callable[[FaceMatrix], T], keep: int = 1) -> None:
        self._prepare, self._keep = prepare, keep
        self._recent: list[tuple[_Key, T]] = []

    def __call__(self, scale: float, down: Array, up: Array, matrix: Callable[[], FaceMatrix]) -> T:
        """What was prepared for these coefficients (face,); `matrix()` assembles the matrix if it is new."""
        key = (scale, down, up)
        for known, prepared in self._recent:
            if _same(known, key):
                return prepared
        while len(self._recent) >= self._keep:  # before the new one takes memory
            self._recent.pop(0)
        prepared = self._prepare(matrix())
        self._recent.append((key, prepared))
        return prepared


def _same(one: _Key, other: _Key) -> bool:
    return one[0] == other[0] and all(a is b or np.array_equal(a, b) for a, b in zip(one[1:], other[1:], strict=True))
