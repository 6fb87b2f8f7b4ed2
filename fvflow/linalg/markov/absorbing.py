"""Markov chains that end: solutions of their backward and forward equations without any subtraction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fvflow.errors import NumericsError
from fvflow.interruptible import interruptible
from fvflow.jit import kernel
from fvflow.linalg.markov.gth import UNDERFLOW, ChainFactors, factorise_chain
from fvflow.linalg.matrix import FaceMatrix
from fvflow.mesh import Array
from fvflow.sums import inner

LEAST_RATE = 1e-290  # smaller sums of rates have lost digits
_ROUND_OFF = float(np.finfo(float).eps)


class EndingChain:
    """The chain of a `FaceMatrix` with a leak: its equations A' x = f and A x = f, and what follows from them."""

    matrix: FaceMatrix

    @property
    def accuracy(self) -> float:
        """Relative error of the solutions."""
        return _ROUND_OFF

    def backward(self, source: Array) -> Array:
        """The expectation (cell,) of int f/|K| dt until the chain ends, for f (cell,) >= 0: A' x = f."""
        raise NotImplementedError

    def forward(self, source: Array) -> Array:
        """The density (cell,) that stays if f (cell,) >= 0 is supplied per unit time: A x = f."""
        raise NotImplementedError

    def end_rate(self, density: Array) -> float:
        """What ends per unit time, of a density (cell,) of mass 1 that decays without changing its shape."""
        assert self.matrix.leak is not None
        return inner(self.matrix.leak, density)

    def variance(self, mean: Array) -> Array:
        """The variance (cell,) of the time until the end, from its mean tau (cell,).

        It solves A' x = sum_i s_ij (tau_i - tau_j)^2 + leak_j tau_j^2 (the carre du champ), and it is m - tau^2 with
        A' m = 2 |K| tau. The first keeps digits where the time hardly varies, the second where it varies as much as an
        exponential law, so that round-off of tau exceeds its differences. Each cell takes that with the smaller bound
        on its round-off.
        """
        matrix, volume = self.matrix, self.matrix.volume
        assert matrix.leak is not None
        with np.errstate(over="ignore", invalid="ignore"):
            difference = np.abs(mean[matrix.owner] - mean[matrix.neighbour])
            blur = self.accuracy * np.maximum(mean[matrix.owner], mean[matrix.neighbour])
            ends = matrix.leak * mean**2
            by_squares = self.backward(self._leaving(difference**2) + ends)
            moment = self.backward(2.0 * volume * mean)
            bound = self.backward(self._leaving((2.0 * difference + blur) * blur) + self.accuracy * ends)
            by_moments = moment - mean**2
            chosen = np.where(bound <= self.accuracy * moment, by_squares, by_moments)
        if not np.isfinite(chosen).all():
            raise NumericsError(
                f"the variance of a time of {mean.max():.1e} is too large for doubles; use moments: 1, or another unit"
            )
        return chosen

    def _leaving(self, values: Array) -> Array:
        """The sum (cell,) over its faces of the rate out of a cell times the values (face,)."""
        matrix, cells = self.matrix, len(self.matrix.volume)
        down, up = matrix.down * values, matrix.up * values
        return np.asarray(np.bincount(matrix.owner, down, cells) + np.bincount(matrix.neighbour, up, cells))

    def residual(self, x: Array, source: Array) -> float:
        """max |A' x - f| over the sum of its terms, each cell by itself."""
        matrix, cells = self.matrix, len(self.matrix.volume)
        assert matrix.leak is not None
        here = x * (self._leaving(np.ones_like(matrix.down)) + matrix.leak)
        there = np.bincount(matrix.owner, matrix.down * x[matrix.neighbour], cells)
        there += np.bincount(matrix.neighbour, matrix.up * x[matrix.owner], cells)
        size = np.maximum(here + there + source, np.finfo(float).tiny)
        return float((np.abs(here - there - source) / size).max())


@dataclass(frozen=True, eq=False)
class AbsorbingChain(EndingChain):
    """The chain of a `FaceMatrix` with a leak, factorised; A rho is the net outflow through faces and leak.

    Cells are eliminated one after the other, and the openings, where the chain ends, stand behind the last cell:

        p_j = leak_j + sum_{i>j} s_ij,   s_ik += s_ij s_jk/p_j,   leak_k += leak_j s_jk/p_j,

    s_ij being the rate from j to i. So the factors, and the solutions of A x = b and A' x = b with b >= 0, are sums,
    products and quotients of positive numbers: every entry is accurate to a few ulp times the length of a path, however
    rarely the chain ends. See `fvflow.linalg.markov.gth`; Alfa, Xue, Ye, Accurate computation of the smallest
    eigenvalue of a diagonally dominant M-matrix, Math. Comp. 71 (2002).
    """

    matrix: FaceMatrix
    """The rates; every cell has to be able to reach an opening."""
    factors: ChainFactors
    """L and U."""

    @staticmethod
    def of(matrix: FaceMatrix) -> AbsorbingChain:
        """Factorise; raises NumericsError if rates underflow."""
        assert matrix.leak is not None
        factors = factorise_chain(matrix, matrix.leak)
        if not (factors.pivot > LEAST_RATE).all():
            raise NumericsError(UNDERFLOW)
        return AbsorbingChain(matrix, factors)

    def backward(self, source: Array) -> Array:
        """The expectation (cell,) of int f/|K| dt until the chain ends, for f (cell,): A' x = f.

        sum_i s_ij (x_j - x_i) + leak_j x_j = f_j for each cell j: with f = |K| the mean time until the end, with the
        leak through some of the openings the probability to end there.
        """
        return self._solved(transposed_solve, source)

    def forward(self, source: Array) -> Array:
        """The density (cell,) that stays if f (cell,) is supplied per unit time: A x = f."""
        return self._solved(solve, source)

    def _solved(self, substitute: Any, source: Array) -> Array:
        factors, x = self.factors, np.empty_like(source)
        x[factors.order] = interruptible(
            substitute,
            factors.pivot,
            factors.start,
            factors.below,
            factors.lower,
            factors.column,
            factors.reach,
            factors.upper,
            source[factors.order],
        )
        return x


def reaches_opening(matrix: FaceMatrix) -> Any:
    """Whether the chain can end from each cell (cell,), directly or through others."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import breadth_first_order

    assert matrix.leak is not None
    cells, ending = len(matrix.volume), np.flatnonzero(matrix.leak > 0)
    down, up = matrix.down > 0, matrix.up > 0
    end = np.concatenate([matrix.neighbour[down], matrix.owner[up], np.full(len(ending), cells)])
    start = np.concatenate([matrix.owner[down], matrix.neighbour[up], ending])
    backward = coo_array((np.ones(len(start)), (end, start)), shape=(cells + 1, cells + 1)).tocsr()
    reached = np.zeros(cells + 1, bool)
    reached[breadth_first_order(backward, cells, return_predecessors=False)] = True
    return reached[:cells]


def classes(matrix: FaceMatrix) -> int:
    """The number of strongly connected classes: sets of cells each of which can be reached from every other."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    cells, down, up = len(matrix.volume), matrix.down > 0, matrix.up > 0
    start = np.concatenate([matrix.owner[down], matrix.neighbour[up]])
    end = np.concatenate([matrix.neighbour[down], matrix.owner[up]])
    graph = coo_array((np.ones(len(start)), (start, end)), shape=(cells, cells))
    return int(connected_components(graph, directed=True, connection="strong")[0])


@kernel()
def transposed_solve(
    pivot: Any, start: Any, below: Any, lower: Any, column: Any, reach: Any, upper: Any, right: Any
) -> Any:
    """x with (L U)' x = right."""
    count = len(pivot)
    x = right.copy()
    for j in range(count):
        for p in range(column[j], column[j + 1]):
            x[j] += upper[p] * x[reach[p]]
        x[j] /= pivot[j]
    for j in range(count - 1, -1, -1):
        for p in range(start[j], start[j + 1]):
            x[j] += lower[p] * x[below[p]]
    return x


@kernel()
def solve(pivot: Any, start: Any, below: Any, lower: Any, column: Any, reach: Any, upper: Any, right: Any) -> Any:
    """x with L U x = right."""
    count = len(pivot)
    x = right.copy()
    for j in range(count):
        for p in range(start[j], start[j + 1]):
            x[below[p]] += lower[p] * x[j]
    for j in range(count - 1, -1, -1):
        x[j] /= pivot[j]
        for p in range(column[j], column[j + 1]):
            x[reach[p]] += upper[p] * x[j]
    return x
