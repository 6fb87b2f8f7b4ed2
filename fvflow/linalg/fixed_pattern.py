"""Sparse matrices whose entries are at the same places."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fvflow.mesh import Array, Index


class FixedPattern:
    """Makes matrices of entries at the same places, which may coincide and are added, without sorting them again."""

    def __init__(self, rows: Sequence[Index], columns: Sequence[Index], size: int) -> None:
        key = np.concatenate(columns).astype(np.int64) * size + np.concatenate(rows)
        places, self._entry = np.unique(key, return_inverse=True)
        self._rows = (places % size).astype(np.int32)
        self._starts = np.searchsorted(places, size * np.arange(size + 1)).astype(np.int32)
        self._size = size

    def matrix(self, values: Sequence[Array], scale: Array | None = None) -> Any:
        """m_ij = s_i s_j v_ij, v_ij being the values in the order of the places and s 1 by default, in CSC."""
        from scipy.sparse import csc_array

        sums = np.bincount(self._entry, np.concatenate(values), len(self._rows))
        data = sums if scale is None else sums * scale[self._rows] * np.repeat(scale, np.diff(self._starts))
        return csc_array((data, self._rows, self._starts), shape=(self._size, self._size))
