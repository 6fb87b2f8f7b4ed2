"""Steps on a grid without a matrix: corrections by split sweeps, BiCGStab, multigrid."""

from __future__ import annotations

import math
from functools import cached_property

import numpy as np

from fvflow.errors import NumericsError
from fvflow.linalg.bicgstab import WORK, Operator, bicgstab
from fvflow.linalg.grid.geometric_multigrid import GeometricMultigrid
from fvflow.linalg.grid.locally_one_dimensional import Sweeps
from fvflow.linalg.grid.stencil import Stencil
from fvflow.linalg.matrix import FaceMatrix, Solution, inner, rescale_to_mass
from fvflow.mesh import Array

_RESTARTS = 12
_FAST = 0.25  # what a correction leaves of the residual where BiCGStab would not be faster
_TRIAL, _WORTH = 12, 60  # sweeps before their progress is judged; about what a cycle and its iterations cost
_ROUND_OFF = 16 * np.finfo(float).eps


class MatrixFreeSolver:
    """Solves N x = |K|^-1 b, N = |K|^-1 M, by corrections S r, S the split sweep, then by BiCGStab on N S.

    The sweep of a step dt leaves I - N S = O(dt^2): on a density that is smooth a few corrections do, on any grid, with
    no inner product, as many as GMRES would take. Where one leaves more than a quarter of the residual BiCGStab goes on
    (van der Vorst, SIAM J. Sci. Stat. Comput. 13, 1992). For steps far beyond the times of the drift its iterations are
    many, and a cycle of `GeometricMultigrid` takes the place of the sweep for the rest of the solve as soon as, after
    12, 24, ... iterations, the logarithm of the residual is above the line that leads to the tolerance in 60. That is
    where they cost the same: from 256^2 to 48^3 an iteration with sweeps takes 8 to 15 ns a cell, one with cycles 100
    to 130, as much as to make the levels, which is done once, and 4 to 25 of them do. Each solve begins with sweeps,
    for later ones may be easier.

    Where the iterate is negative by what the tolerance leaves, one Jacobi sweep from its non-negative part, a regular
    splitting (Varga, Matrix Iterative Analysis, 1962), makes it positive; if that misses the tolerance the iteration
    goes on.
    """

    def __init__(self, matrix: FaceMatrix, tolerance: float, most: int) -> None:
        self._matrix, self._tolerance, self._most = matrix, tolerance, most
        self._sweep, self._stencil = Sweeps(matrix), Stencil(matrix)
        self._work = np.empty((1 + WORK, len(matrix.volume)))

    def __call__(self, right: Array, total: float) -> Solution:
        """The density, for a right-hand side |K| right of the given total."""
        sharp = self._matrix.monotone and float(right.min()) >= 0.0
        x, scale = np.empty_like(right), inner(self._matrix.volume, right if sharp else np.abs(right))
        residual, left, count = self._corrected(x, right, 0.5 * self._tolerance * scale)
        precondition: Operator = self._sweep
        for _ in range(_RESTARTS):
            bound = self._bound(scale, x, scale if sharp else inner(self._matrix.volume, np.abs(x)))
            if left <= bound and (not sharp or float(x.min()) >= 0.0):
                return rescale_to_mass(self._matrix, x, total, count, bound / abs(total))
            if left <= bound:
                x = self._stencil.relaxed(np.maximum(x, 0.0, out=x), right, np.empty_like(x))
            elif count >= self._most:
                break
            else:
                done, slow = self._iterate(x, residual, 0.5 * bound, self._most - count, precondition)
                count, precondition = count + done, self._cycle if slow else precondition
            residual, left = self._residual(right, x)
        raise NumericsError(
            f"solver krylov stopped after {count} iterations at the residual {left / scale:.1e} "
            f"(allowed: {self._tolerance:.1e}); use a smaller step, a larger tolerance, or solver direct"
        )

    def _corrected(self, x: Array, right: Array, goal: float) -> tuple[Array, float, int]:
        """x = S r + S r_1 + ..., r_1 = r - N S r and so on, while that converges fast: residual, its norm, terms."""
        axes, residual = self._sweep.axes, right
        swept = list(self._work[: len(axes)])
        left, former, count = math.inf, math.inf, 0
        while count == 0 or (goal < left <= _FAST * former and count < self._most):
            source, former = residual, left
            for axis, target in zip(axes, swept, strict=True):
                source = self._sweep(source, (axis,), out=target)
            left = self._stencil.remainder(swept, x, count == 0, swept[0])
            residual, count = swept[0], count + 1
        return residual, left, count

    @cached_property
    def _cycle(self) -> GeometricMultigrid:
        return GeometricMultigrid(self._matrix)

    def _bound(self, scale: float, x: Array, size: float) -> float:
        """What the residual may be: the tolerance, or the round-off of computing it from x where that is larger."""
        rough = _ROUND_OFF * self._matrix.max_relative_diagonal * size
        if rough <= self._tolerance * scale:  # the diagonal would only make it less
            return self._tolerance * scale
        return max(self._tolerance * scale, _ROUND_OFF * inner(self._matrix.diagonal(), np.abs(x)))

    def _residual(self, right: Array, x: Array) -> tuple[Array, float]:
        """right - N x, and its 1-norm."""
        residual = self._stencil.apply(x, self._work[0])
        np.subtract(right, residual, out=residual)
        return residual, inner(self._matrix.volume, np.abs(residual))

    def _iterate(self, x: Array, residual: Array, goal: float, most: int, precondition: Operator) -> tuple[int, bool]:
        """Improve x until the residual's 1-norm is at most the goal, or nothing more can be done.

        Returns the iterations, and whether sweeps are too slow.
        """
        volume = self._matrix.volume
        first = inner(volume, np.abs(residual))

        def too_slow(count: int, norm: float) -> bool:
            return count % _TRIAL == 0 and norm > first * (goal / first) ** (count / _WORTH)

        return bicgstab(
            self._stencil.apply,
            x,
            residual,
            goal=goal,
            most=most,
            weight=volume,
            precondition=precondition,
            work=self._work[1:],
            stalled=too_slow if precondition is self._sweep else None,
        )
