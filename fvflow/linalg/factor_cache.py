"""Cache of factorisations from step to step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

import numpy as np

from fvflow.linalg.matrix import FaceMatrix
from fvflow.mesh import Array
from fvflow.parallel import world

T = TypeVar("T")
_Key = tuple[float, tuple[Array, ...]]


class FactorCache(Generic[T]):
    """Caches what was prepared for the last `keep` matrices diag(|K|) + scale A.

    A method that alternates between a full and a half step keeps two. A matrix is identified by its scale and the
    coefficients of A, compared entry by entry, so the matrix itself is assembled only if it is new.
    """

    def __init__(self, prepare: Callable[[FaceMatrix], T], keep: int = 1) -> None:
        self._prepare, self._keep = prepare, keep
        self._recent: list[tuple[_Key, T]] = []

    def __call__(self, scale: float, coefficients: tuple[Array, ...], matrix: Callable[[], FaceMatrix]) -> T:
        """The prepared object for these coefficients, down, up and leaks; `matrix()` assembles the matrix if new."""
        key = (scale, coefficients)
        for known, prepared in self._recent:
            if _same(known, key):
                return prepared
        while len(self._recent) >= self._keep:  # first free the memory
            self._recent.pop(0)
        prepared = self._prepare(matrix())
        self._recent.append((key, prepared))
        return prepared


def _same(a: _Key, b: _Key) -> bool:
    """Whether two keys are the same, in all processes of the run: a drift may change in the slab of one only."""
    if a[0] != b[0]:
        return False
    pairs = [(x, y) for x, y in zip(a[1], b[1], strict=True) if x is not y]
    return not pairs or world().every(all(np.array_equal(x, y) for x, y in pairs))
