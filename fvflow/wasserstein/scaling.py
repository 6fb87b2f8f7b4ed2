"""Scaling of a sparse matrix to given row and column sums, by sweeps and a multiplicative aggregation multigrid.

Find p, q > 0 such that p_i K_ij q_j has the row sums a and the column sums b (Sinkhorn 1967). Sweeps remove errors
within a few cells; smooth errors are corrected by the same problem for sums over blocks of 2^d rows and columns of the
current p_i K_ij q_j, whose scalings P, Q multiply p and q. Cycles are accelerated by mixing what they give, log p and
log q, with what those before gave, so that the changes would cancel to first order: Walker and Ni, Anderson
acceleration for fixed-point iterations, SIAM J. Numer. Anal. 49 (2011), equation (2.2).
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
_MIXED, _LARGEST_MIX = 4, 3.0  # cycles that are mixed; how far from the last one, in log p and log q
_PATIENCE, _SLOW = 3, 0.5  # cycles in which the error has to fall to this part, or the support is to blame


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

    def scale(self, p: Array, q: Array, goal: float, cycles: int) -> float:
        """Mixed V-cycles on the scalings (row,) and (column,) in place; returns sum |row - a| before the last sweep.

        They end where that is below the `goal`, or hardly falls.
        """
        mixing, errors = _Mixing(np.sqrt(np.concatenate([self.a, self.b]))), [np.inf] * _PATIENCE
        for count in range(cycles):
            before = np.log(np.concatenate([p, q]))
            errors.append(self.cycle(p, q))
            if errors[-1] < goal or count + 1 == cycles or errors[-1] > _SLOW * errors[-1 - _PATIENCE]:
                break
            mixed = np.exp(mixing.next(before, np.log(np.concatenate([p, q]))))
            p[:], q[:] = mixed[: len(p)], mixed[len(p) :]
        return errors[-1]

    def cycle(self, p: Array, q: Array) -> float:
        """One V-cycle on the scalings (row,) and (column,) in place; returns sum |row - a| before its last sweep."""
        if self._coarse is None:
            return self._sweeps(p, q, _COARSEST_SWEEPS)
        self._sweeps(p, q, _SWEEPS)
        coarse, matrix = self._coarse, self.matrix
        kernels.block_sums(matrix.start, matrix.column, matrix.value, p, q, self._entry, coarse.matrix.value)
        big_p, big_q = np.ones(len(coarse.a)), np.ones(len(coarse.b))
        coarse.cycle(big_p, big_q)
        kernels.correct(p, self._row, big_p, _CORRECTION)
        kernels.correct(q, self._column, big_q, _CORRECTION)
        return self._sweeps(p, q, _SWEEPS)

    def _sweeps(self, p: Array, q: Array, count: int) -> float:
        error, matrix = np.inf, self.matrix
        for _ in range(count):
            error = kernels.sweep(
                matrix.start, matrix.column, matrix.value, self.a, self.b, p, q, self._sums, _RELAXATION
            )
        return error


class _Mixing:
    """Anderson's mixing of a fixed-point iteration, with weights (entry,) in the norm of the changes."""

    def __init__(self, weight: Array) -> None:
        self._weight = weight
        self._values: list[Array] = []
        self._changes: list[Array] = []

    def next(self, before: Array, after: Array) -> Array:
        """From where to go on, after a step from `before` to `after`."""
        self._values = [*self._values[-_MIXED:], after]
        self._changes = [*self._changes[-_MIXED:], (after - before) * self._weight]
        if len(self._values) == 1:
            return after
        now = self._changes[-1]
        differences = np.stack([now - change for change in self._changes[:-1]])
        normal = differences @ differences.T
        normal += 1e-10 * max(float(np.trace(normal)), 1e-300) * np.eye(len(normal))
        mixed = after.copy()
        for part, value in zip(np.linalg.solve(normal, differences @ now), self._values, strict=False):
            mixed -= part * (after - value)
        return np.clip(mixed, after - _LARGEST_MIX, after + _LARGEST_MIX)


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
