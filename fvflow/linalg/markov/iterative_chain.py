"""Backward equations of Markov chains that end, by iteration, for chains too large to eliminate."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from fvflow.errors import NumericsError
from fvflow.linalg.amg import hierarchy
from fvflow.linalg.bicgstab import bicgstab
from fvflow.linalg.markov.absorbing import BackwardEquations
from fvflow.linalg.matrix import FaceMatrix
from fvflow.mesh import Array
from fvflow.sums import inner

_ROUNDS, _INNER = 12, 60  # rounds from the true residual, and iterations of BiCGStab in each
_REDUCTION = 1e-6  # of the residual in each round
_SUM = 8 * float(np.finfo(float).eps)  # round-off of a residual, relative to the sum of its terms
_GOAL, _ACCEPTED = 1e-10, 1e-6  # proved relative errors at which a solve ends, and beyond which it is refused


@dataclass(frozen=True, eq=False)
class IterativeChain(BackwardEquations):
    """The chain of a `FaceMatrix` with a leak, its backward equations solved by BiCGStab with classical multigrid.

    A' is an M-matrix, so that a residual |r| <= delta |K| in every cell proves |x - x*| <= delta tau, tau being the
    mean time until the end (A' tau = |K|): for x = tau a relative error in every cell, otherwise one relative to the
    largest x. The round-off of the residual is in delta. Where the chain ends so rarely that no error below 1e-6 is
    proved, it is refused.
    """

    matrix: FaceMatrix
    """The rates; every cell has to be able to reach an opening."""

    @property
    def accuracy(self) -> float:
        """The relative error that is proved of the mean time until the end, or, if that is less, the one aimed at."""
        return max(self._mean_time[1], _GOAL)

    @cached_property
    def _transposed(self) -> Any:
        return replace(self.matrix, volume=np.zeros_like(self.matrix.volume)).sparse().T.tocsr()

    @cached_property
    def _cycle(self) -> Any:
        return hierarchy(self._transposed)

    @cached_property
    def _mean_time(self) -> tuple[Array, float]:
        """The mean time until the end (cell,), and the relative error that is proved of it."""
        return self._solved(self.matrix.volume, None)

    def backward(self, source: Array) -> Array:
        """The expectation (cell,) of int f/|K| dt until the chain ends, for f (cell,) >= 0: A' x = f."""
        if not source.any():
            return np.zeros_like(source)
        mean = self._mean_time[0]
        if np.array_equal(source, self.matrix.volume):
            return mean.copy()
        return self._solved(source, float(mean.max()))[0]

    def _solved(self, source: Array, longest: float | None) -> tuple[Array, float]:
        """x with A' x = f and its proved relative error, given the longest mean time unless x is the mean time."""
        x, ones = np.zeros_like(source), np.ones_like(source)
        best, least = x, np.inf
        for _ in range(_ROUNDS):
            residual = source - self._transposed @ x
            proved = self._proved(x, residual, longest)
            if np.isfinite(least) and not proved < 0.5 * least:
                break
            best, least = x.copy(), proved
            if proved <= _GOAL:
                break
            goal = _REDUCTION * inner(ones, np.abs(residual))
            cycle = self._precondition
            bicgstab(self._multiply, x, residual, goal=goal, most=_INNER, weight=ones, precondition=cycle)
        if not least <= _ACCEPTED:
            raise NumericsError(
                f"the iteration proves its solution to {least:.1e} only (allowed: {_ACCEPTED:.0e}), as ends of the "
                "chain are rare; use a mesh small enough for elimination, or a larger epsilon"
            )
        return best, least

    def _proved(self, x: Array, residual: Array, longest: float | None) -> float:
        """The relative error that a residual proves, its round-off included; infinite for x = 0."""
        largest = float(x.max())
        if not largest > 0:
            return np.inf
        terms = self._size @ np.abs(x)
        delta = float(((np.abs(residual) + _SUM * terms) / self.matrix.volume).max())
        return delta if longest is None else delta * longest / largest

    @cached_property
    def _size(self) -> Any:
        return abs(self._transposed)

    def _multiply(self, vector: Array, /, *, out: Array) -> Array:
        out[:] = self._transposed @ vector
        return out

    def _precondition(self, vector: Array, /, *, out: Array) -> Array:
        out[:] = self._cycle(vector)
        return out
