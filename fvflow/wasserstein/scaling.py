"""Scaling of a sparse matrix to given row and column sums, by sweeps and a multiplicative aggregation multigrid.

Find p, q > 0 such that p_i K_ij q_j has the row sums a and the column sums b (Sinkhorn 1967). Sweeps remove errors
within a few cells; smooth errors are corrected by the same problem for sums over blocks of 2^d rows and columns of the
current p_i K_ij q_j, whose scalings P, Q multiply p and q.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fvflow.mesh import Array
from fvflow.wasserstein import sinkhorn_kernels as kernels
from fvflow.wasserstein.legendre import Indices

_COARSEST = 60  # rows, from which sweeps alone solve the problem
_COARSEST_SWEEPS, _SWEEPS = 40, 3
_RELAXATION, _CORRECTION = 1.3, 1.9  # exponents of a sweep and of a coarse correction


@dataclass(frozen=True)
class SparseRows:
    """Entries of a matrix in compressed rows: start (row + 1,), column and value (entry,)."""

    start: Indices
    column: Indices
    value: Array


class ScalingMultigrid:
    """The hierarchy of one matrix; `rows` and `columns` (row, 3), (column, 3) are the places on a grid."""

    def __init__(self, matrix: SparseRows, a: Array, b: Array, rows: Indices, columns: Indices) -> None:
        self.matrix, self.a, self.b = matrix, a, b
        self._sums = np.empty(len(b))
        self._coarse: ScalingMultigrid | None = None
        if len(a) <= _COARSEST:
            return
        (self._row, child, child_start, big_rows), (self._column, _, _, big_columns) = _blocks(rows), _blocks(columns)
        if len(big_rows) == len(a) and len(big_columns) == len(b):  # one block
            return
        entries = len(matrix.column)
        column, self._entry = np.empty(entries, np.int32), np.empty(entries, np.int32)
        start = kernels.merge_support(
            matrix.start, matrix.column, child, child_start, self._column, np.full(len(big_columns), -1), column,
            self._entry,
        )  # fmt: skip
        column = column[: start[-1]].copy()
        coarse = SparseRows(start, column, np.empty(len(column)))
        big_a, big_b = (np.asarray(np.bincount(*pair), float) for pair in ((self._row, a), (self._column, b)))
        self._coarse = ScalingMultigrid(coarse, big_a, big_b, big_rows, big_columns)

    def cycle(self, p: Array, q: Array, damped: bool = False) -> float:
        """One V-cycle on the scalings (row,) and (column,) in place; returns sum |row - a| before its last sweep.

        `damped`: without overrelaxation, which oscillates on some supports of few entries.
        """
        relaxation, power = (1.0, 1.0) if damped else (_RELAXATION, _CORRECTION)
        if self._coarse is None:
            return self._sweeps(p, q, _COARSEST_SWEEPS, relaxation)
        self._sweeps(p, q, _SWEEPS, relaxation)
        coarse, matrix = self._coarse, self.matrix
        kernels.block_sums(matrix.start, matrix.column, matrix.value, p, q, self._entry, coarse.matrix.value)
        big_p, big_q = np.ones(len(coarse.a)), np.ones(len(coarse.b))
        coarse.cycle(big_p, big_q, damped)
        kernels.correct(p, self._row, big_p, power)
        kernels.correct(q, self._column, big_q, power)
        return self._sweeps(p, q, _SWEEPS, relaxation)

    def _sweeps(self, p: Array, q: Array, count: int, relaxation: float) -> float:
        error, matrix = np.inf, self.matrix
        for _ in range(count):
            error = kernels.sweep(
                matrix.start, matrix.column, matrix.value, self.a, self.b, p, q, self._sums, relaxation
            )
        return error


def _blocks(places: Indices) -> tuple[Indices, Indices, Indices, Indices]:
    """The block of 2^d places of each, the places sorted by block, where each block begins there, and its own place."""
    half = places >> 1
    shape = tuple(int(n) + 1 for n in half.max(axis=0))
    key = np.ravel_multi_index(tuple(half.T), shape)
    occupied = np.zeros(int(np.prod(shape)), bool)
    occupied[key] = True
    number = np.cumsum(occupied, dtype=np.int32) - np.int32(1)
    parent = number[key]
    child = np.argsort(parent, kind="stable").astype(np.int32)
    start = np.concatenate([[0], np.cumsum(np.bincount(parent))])
    where = np.stack(np.unravel_index(np.flatnonzero(occupied), shape), axis=1).astype(np.int32)
    return parent, child, start, where
