"""Exponentials of a generator on a grid that acts along each axis alone, in the same way on all lines of cells."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from fvflow.linalg.markov.positive_exponential import poisson_weights
from fvflow.linalg.matrix import FaceMatrix
from fvflow.mesh import Array, Index

LONGEST_LINE = 1024  # cells, above which matrices of a line take longer than products with P
_SAME = 1e-12  # relative difference of the rates of two lines that is round-off
_SHORTEST = 0.5  # jumps of the sum that is squared
_LEAST = 1e-300  # smaller entries have no digits, and cost time


@dataclass(frozen=True, eq=False)
class AxisExponentials:
    """exp(-tL) = the product of exp(-tL_x), exp(-tL_y), ... as matrices of lines, which commute.

    As with `PositiveExponential` no term is negative, so that every entry is accurate, however small: the matrices are
    sums of at most half a jump, squared. An application takes 2 sum_axis n operations for each cell.
    """

    shape: tuple[int, ...]
    """(z, y, x)."""
    lines: tuple[Array, ...]
    """The matrix (n, n) of each axis, in this order."""

    @staticmethod
    def of(matrix: FaceMatrix, time: float) -> AxisExponentials | None:
        """Those of |K| + A for a time; None off grids, for long lines, and if lines differ."""
        if matrix.shape is None or matrix.leak is not None or max(matrix.shape) > LONGEST_LINE:
            return None
        volume, lines = matrix.volume.reshape(matrix.shape), [np.eye(1)] * len(matrix.shape)
        for place, down, up in matrix.along():
            count = matrix.shape[place]
            cells = np.moveaxis(volume, place, 0).reshape(count, -1)
            owner = np.arange(down.shape[place], dtype=np.int32)
            ends = owner, (owner + 1) % count
            rates = [
                np.moveaxis(each, place, 0).reshape(len(owner), cells.shape[1]) / cells[end]
                for each, end in zip((down, up), ends, strict=True)
            ]
            if not all((np.abs(rate - rate[:, :1]) <= _SAME * rate[:, :1]).all() for rate in rates):
                return None
            lines[place] = _exponential(count, ends, (rates[0][:, 0], rates[1][:, 0]), time)
        return AxisExponentials(matrix.shape, tuple(lines))

    def forward(self, masses: Array) -> Array:
        """exp(-tL) m (cell,)."""
        return self._apply(masses, self.lines)

    def backward(self, values: Array) -> Array:
        """exp(-tL*) g (cell,)."""
        return self._apply(values, [line.T for line in self.lines])

    def _apply(self, values: Array, lines: tuple[Array, ...] | list[Array]) -> Array:
        found = values.reshape(self.shape)
        for place, line in enumerate(lines):
            found = np.moveaxis(np.tensordot(line, found, (1, place)), 0, place)
        return np.ascontiguousarray(found).ravel()


def _exponential(count: int, ends: tuple[Index, Index], rates: tuple[Array, Array], time: float) -> Array:
    """exp(t Q) (count, count) of a chain with these rates from the first ends to the second ones, and back."""
    (owner, neighbour), (down, up) = ends, rates
    leaving = np.bincount(owner, down, count) + np.bincount(neighbour, up, count)
    rate = float(leaving.max(initial=0.0))
    if not rate * time > 0.0:
        return np.eye(count)
    squares = max(0, math.ceil(math.log2(rate * time / _SHORTEST)))
    weights = poisson_weights(rate * time / 2**squares)
    stay, ahead, behind = (part[:, None] / rate for part in (rate - leaving, down, up))
    power = np.eye(count)
    total: Array = weights[0] * power
    for weight in weights[1:]:
        after = stay * power
        after[neighbour] += ahead * power[owner]
        after[owner] += behind * power[neighbour]
        power = after
        total += weight * power
    for _ in range(squares):
        total[total < _LEAST] = 0.0
        total = total @ total
    return total
