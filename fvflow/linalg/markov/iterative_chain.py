"""Backward and forward equations of Markov chains that end, by iteration, for chains too large to eliminate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from fvflow.errors import NumericsError
from fvflow.linalg.amg import hierarchy
from fvflow.linalg.bicgstab import bicgstab
from fvflow.linalg.markov.absorbing import EndingChain
from fvflow.linalg.matrix import FaceMatrix
from fvflow.mesh import Array
from fvflow.sums import inner

_ROUNDS, _INNER = 12, 60  # rounds from the true residual, and iterations of BiCGStab in each
_REDUCTION = 1e-6  # of the residual in each round
_SUM = 8 * float(np.finfo(float).eps)  # round-off of a residual, relative to the sum of its terms
_RARE = "as ends of the chain are rare; use a mesh small enough for elimination, or a larger epsilon"
_GOAL, _ACCEPTED = 1e-10, 1e-6  # proved relative errors at which a solve ends, and beyond which it is refused


@dataclass(frozen=True, eq=False)
class IterativeChain(EndingChain):
    """The chain of a `FaceMatrix` with a leak, its equations solved by BiCGStab with classical multigrid.

    A' is an M-matrix, so that a residual |r| <= delta |K| in every cell proves |x - x*| <= delta tau, tau being the
    mean time until the end (A' tau = |K|): for x = tau a relative error in every cell, otherwise one relative to the
    largest x. For A x = f it proves sum |K| |x - x*| <= sum tau |r|, relative to sum |K| |x|. The round-off of the
    residual is in both. Where the chain ends so rarely that no error below 1e-6 is proved, it is refused.

    For f >= 0 solutions are non-negative: one that is negative within the error takes a Jacobi sweep from its
    non-negative part, a regular splitting (Varga, Matrix Iterative Analysis, 1962), before its error is proved.
    """

    matrix: FaceMatrix
    """The rates; every cell has to be able to reach an opening."""

    @property
    def accuracy(self) -> float:
        """The relative error that is proved of the mean time until the end, or, if that is less, the one aimed at."""
        return max(self._mean_time[1], _GOAL)

    @cached_property
    def _mean_time(self) -> tuple[Array, float]:
        """The mean time until the end (cell,), and the relative error that is proved of it."""
        volume = self.matrix.volume
        return _solved(self._there, volume, lambda x, bound: float((bound / volume).max()) if x.max() > 0 else np.inf)

    def backward(self, source: Array) -> Array:
        """The expectation (cell,) of int f/|K| dt until the chain ends, for f (cell,): A' x = f."""
        volume, mean = self.matrix.volume, self._mean_time[0]
        if np.array_equal(source, volume):
            return mean.copy()
        longest = float(mean.max())
        return _solved(self._there, source, lambda x, bound: _over((bound / volume).max() * longest, np.abs(x).max()))[
            0
        ]

    def forward(self, source: Array) -> Array:
        """The density (cell,) that stays if f (cell,) is supplied per unit time: A x = f."""
        volume, (mean, error) = self.matrix.volume, self._mean_time
        later = (1.0 + error) * mean
        return _solved(self._here, source, lambda x, bound: _over(inner(later, bound), inner(volume, np.abs(x))))[0]

    def end_rate(self, density: Array) -> float:
        """The inverse of the mass of A^-1 |K| rho, which is proved; NumericsError unless leak.rho agrees with it."""
        rate = 1.0 / inner(self.matrix.volume, self.forward(self.matrix.volume * density))
        off = abs(super().end_rate(density) / rate - 1.0)
        if not off <= _ACCEPTED:
            raise NumericsError(
                f"the iteration leaves a relative error of {off:.1e} in the rate (allowed: {_ACCEPTED:.0e}), {_RARE}"
            )
        return rate

    @cached_property
    def _here(self) -> _System:
        return _System(replace(self.matrix, volume=np.zeros_like(self.matrix.volume)).sparse().tocsr())

    @cached_property
    def _there(self) -> _System:
        return _System(replace(self.matrix, volume=np.zeros_like(self.matrix.volume)).sparse().T.tocsr())


_Proof = Callable[[Array, Array], float]
"""(x, bounds of its residual in each cell) -> the relative error that they prove; infinite for x = 0."""


@dataclass(frozen=True, eq=False)
class _System:
    """An M-matrix with its multigrid cycle."""

    matrix: Any
    """In CSR."""

    @cached_property
    def _cycle(self) -> Any:
        return hierarchy(self.matrix)

    @cached_property
    def _size(self) -> Any:
        return abs(self.matrix)

    @cached_property
    def _others(self) -> Any:
        """The matrix without its diagonal."""
        others = self.matrix.copy()
        others.setdiag(0.0)
        return others

    def bound(self, x: Array, residual: Array) -> Array:
        """Bounds of the exact residual (cell,), from the one that was computed."""
        return np.asarray(np.abs(residual) + _SUM * (self._size @ np.abs(x)))

    def swept(self, x: Array, source: Array) -> Array:
        """D^-1 (f + (D - A) x) >= 0, D the diagonal, for x >= 0."""
        return np.asarray((source - self._others @ x) / self.matrix.diagonal())

    def multiply(self, vector: Array, /, *, out: Array) -> Array:
        """The matrix times a vector (cell,)."""
        out[:] = self.matrix @ vector
        return out

    def precondition(self, vector: Array, /, *, out: Array) -> Array:
        """About its inverse times a vector (cell,)."""
        out[:] = self._cycle(vector)
        return out


def _solved(system: _System, source: Array, proof: _Proof) -> tuple[Array, float]:
    """x with A x = f, x >= 0 if f >= 0, and its proved relative error; raises NumericsError if that is too large."""
    x, ones, positive = np.zeros_like(source), np.ones_like(source), bool((source >= 0.0).all())
    best, least = x, 0.0 if not source.any() else np.inf
    for _ in range(_ROUNDS if source.any() else 0):
        residual = source - system.matrix @ x
        proved = proof(x, system.bound(x, residual))
        if np.isfinite(least) and not proved < 0.5 * least:
            break
        best, least = x.copy(), proved
        if proved <= _GOAL:
            break
        goal = _REDUCTION * inner(ones, np.abs(residual))
        cycle = system.precondition
        bicgstab(system.multiply, x, residual, goal=goal, most=_INNER, weight=ones, precondition=cycle)
        if positive and (x < 0.0).any():
            x = system.swept(np.maximum(x, 0.0), source)
    if not least <= _ACCEPTED:
        raise NumericsError(
            f"the iteration proves its solution to {least:.1e} only (allowed: {_ACCEPTED:.0e}), {_RARE}"
        )
    return best, least


def _over(error: float, size: float) -> float:
    """The relative error."""
    return float(error / size) if size > 0 else np.inf
