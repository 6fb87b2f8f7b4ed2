"""Matrix-free solution of a step on a grid: corrections by split sweeps, BiCGStab, geometric multigrid."""

from __future__ import annotations

import math
from functools import cached_property

import numpy as np

from fvflow.errors import NumericsError
from fvflow.linalg.bicgstab import WORK, Operator, bicgstab
from fvflow.linalg.grid.geometric_multigrid import GeometricMultigrid
from fvflow.linalg.grid.locally_one_dimensional import SplitSweeps
from fvflow.linalg.grid.ring_stencil import stencil_of
from fvflow.linalg.matrix import FaceMatrix, Solution, rescale_to_mass
from fvflow.mesh import Array
from fvflow.parallel import world
from fvflow.sums import inner

CURE = "use a smaller step, a larger tolerance, or solver direct"
"""What helps where an iteration fails."""

_RESTARTS = 12
_FAST = 0.25  # reduction of the residual by a correction below which BiCGStab would not be faster
_TRIAL, _CYCLE_COST = 12, 60  # iterations with sweeps between judgements of progress; those that multigrid costs
_SHORTER = "use a smaller step, or one rank"
_ROUND_OFF = 16 * np.finfo(float).eps


class MatrixFreeSolver:
    """Solves N x = |K|^-1 b, N = |K|^-1 M, by corrections S r, S the split sweep, then by BiCGStab on N S.

    For a step dt the sweep leaves I - N S = O(dt^2). For a smooth density a few corrections suffice on any grid: as
    many as GMRES would take, without inner products. If one leaves more than a quarter of the residual, BiCGStab takes
    over. Steps far longer than the time scales of the drift take many iterations. After 12, 24, ... of them the
    logarithm of the residual is compared with the line that reaches the tolerance in 60; if it is above, a cycle of
    `GeometricMultigrid` replaces the sweep for the rest of the solve. There the costs are equal: from 256^2 to 48^3 an
    iteration takes 8 to 15 ns per cell with sweeps and 100 to 130 with cycles, of which 4 to 25 are needed; setting up
    the levels, done once, costs as much as one. Each solve begins with sweeps, because later ones may be easier.

    If the iterate is negative within the tolerance, one Jacobi sweep from its non-negative part, a regular splitting
    (Varga, Matrix Iterative Analysis, 1962), makes it non-negative; the iteration continues if that misses the
    tolerance.
    """

    def __init__(self, matrix: FaceMatrix, tolerance: float, most: int) -> None:
        self._matrix, self._tolerance, self._most = matrix, tolerance, most
        self._sweep = SplitSweeps(matrix)
        self._stencil = stencil_of(matrix)
        self._work = np.empty((1 + WORK, len(matrix.volume)))

    def __call__(self, right: Array, total: float) -> Solution:
        """The density, for a right-hand side |K| right of the given total."""
        if not world().some(right):
            return Solution(np.zeros_like(right))
        positive = self._matrix.monotone and world().smallest(right) >= 0.0
        x, scale = np.empty_like(right), inner(self._matrix.volume, right if positive else np.abs(right))
        residual, left, count = self._corrected(x, right, 0.5 * self._tolerance * scale)
        precondition: Operator = self._sweep
        for _ in range(_RESTARTS):
            bound = self._bound(scale, x, scale if positive else inner(self._matrix.volume, np.abs(x)))
            if left <= bound and (not positive or world().smallest(x) >= 0.0):
                return rescale_to_mass(self._matrix, x, total, count, bound / abs(total), CURE)
            if left <= bound:
                x = self._stencil.jacobi(np.maximum(x, 0.0, out=x), right, np.empty_like(x))
            elif count >= self._most:
                break
            else:
                done, slow = self._iterate(x, residual, 0.5 * bound, self._most - count, precondition)
                count, precondition = count + done, self._cycle if slow else precondition
            residual, left = self._residual(right, x)
        raise NumericsError(
            f"solver krylov stopped after {count} iterations at the residual {left / scale:.1e} "
            f"(allowed: {self._tolerance:.1e}); {CURE}"
        )

    def _corrected(self, x: Array, right: Array, goal: float) -> tuple[Array, float, int]:
        """x = S r + S r_1 + ..., r_1 = r - N S r etc., while that converges fast: the residual, its norm, the terms."""
        axes, residual = self._sweep.axes, right
        swept = list(self._work[: len(axes)])
        left, former, count = math.inf, math.inf, 0
        while count == 0 or (goal < left <= _FAST * former and count < self._most):
            source, former = residual, left
            for axis, target in zip(axes, swept, strict=True):
                source = self._sweep(source, (axis,), out=target)
            left = self._stencil.residual_after_sweeps(swept, x, count == 0, swept[0])
            residual, count = swept[0], count + 1
        return residual, left, count

    @cached_property
    def _cycle(self) -> Operator:
        """What takes the place of the sweep; raises NumericsError on several ranks, where there is no multigrid."""
        if world().division is not None:
            raise NumericsError(
                f"solver krylov converges slowly at so long a step, and has no multigrid on several ranks; {_SHORTER}"
            )
        cycle: Operator = GeometricMultigrid(self._matrix)
        return cycle

    def _bound(self, scale: float, x: Array, size: float) -> float:
        """Largest 1-norm of the residual accepted: the tolerance, or the round-off in computing it if larger."""
        estimate = _ROUND_OFF * self._matrix.max_relative_diagonal * size
        if estimate <= self._tolerance * scale:  # the sharper bound below is smaller still
            return self._tolerance * scale
        return max(self._tolerance * scale, _ROUND_OFF * inner(self._matrix.diagonal(), np.abs(x)))

    def _residual(self, right: Array, x: Array) -> tuple[Array, float]:
        """right - N x, and its 1-norm."""
        residual = self._stencil.apply(x, self._work[0])
        np.subtract(right, residual, out=residual)
        return residual, inner(self._matrix.volume, np.abs(residual))

    def _iterate(self, x: Array, residual: Array, goal: float, most: int, precondition: Operator) -> tuple[int, bool]:
        """BiCGStab from x, in place, until the 1-norm of the recursive residual is at most the goal.

        Returns the iterations, and whether it stopped because sweeps converge too slowly.
        """
        volume = self._matrix.volume
        first = inner(volume, np.abs(residual))

        def too_slow(count: int, norm: float) -> bool:
            return count % _TRIAL == 0 and norm > first * (goal / first) ** (count / _CYCLE_COST)

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
            layers=self._matrix.layers,
        )
