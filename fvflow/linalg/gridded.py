"""BiCGStab on a grid, preconditioned by one split sweep, without a matrix."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from fvflow.errors import NumericsError
from fvflow.linalg.kernels import compiled
from fvflow.linalg.matrix import FaceMatrix, Solution, aggregated, inner
from fvflow.linalg.split import Sweeps
from fvflow.linalg.stencil import Stencil
from fvflow.mesh import Array

_RESTARTS = 12
_PATIENCE = 50  # iterations before the sweep of a shorter step is tried
_ROUND_OFF = 16 * np.finfo(float).eps


class Gridded:
    """Solves N x = |K|^-1 b, N = |K|^-1 M, from x = S b on, S the split sweep, by BiCGStab on N S.

    van der Vorst, Bi-CGSTAB, SIAM J. Sci. Stat. Comput. 13 (1992). The sweep of a step dt leaves N S - I = O(dt^2):
    on a density that is smooth a few iterations do, on any grid. For steps far beyond the times of the drift they are
    many; after 50 a sweep of a shorter step, min(1/5, 8 s^-0.8) of the step with s = max M_KK/|K|, takes its place and
    keeps it: as in alternating-direction iterations (Wachspress, The ADI Model Problem, 2013) that brings slow and
    fast modes nearer to each other. The exponent is a fit to measured optima from s = 20 to 2e7.

    Where the iterate is negative by what the tolerance leaves, one Jacobi sweep from its non-negative part, a regular
    splitting (Varga, Matrix Iterative Analysis, 1962), makes it positive; if that misses the tolerance the iteration
    goes on.
    """

    def __init__(self, matrix: FaceMatrix, tolerance: float, most: int) -> None:
        self._matrix, self._tolerance, self._most = matrix, tolerance, most
        self._sweep, self._stencil, self._short = Sweeps(matrix), Stencil(matrix), False
        self._work = np.empty((6, len(matrix.volume)))

    def __call__(self, right: Array, total: float) -> Solution:
        """The density, for a right-hand side |K| right of the given total."""
        sharp = self._matrix.monotone and float(right.min()) >= 0.0
        x, count = self._sweep(right), 0
        scale = inner(self._matrix.volume, np.abs(right))
        for _ in range(_RESTARTS):
            residual, left = self._residual(right, x)
            bound = self._bound(scale, x)
            if left <= bound and (not sharp or float(x.min()) >= 0.0):
                return aggregated(self._matrix, x, total, count, bound / abs(total))
            if left <= bound:
                x = self._stencil.relaxed(np.maximum(x, 0.0, out=x), right, np.empty_like(x))
            elif count >= self._most:
                break
            elif count >= _PATIENCE and not self._short:
                x = self._shortened()(right)
            else:
                most = self._most if self._short else min(self._most, _PATIENCE)
                count += self._iterate(x, residual, 0.5 * bound, most - count)
        raise NumericsError(
            f"solver krylov stopped after {count} iterations at the residual {left / scale:.1e} "
            f"(allowed: {self._tolerance:.1e}); use a smaller step, a larger tolerance, or solver direct"
        )

    def _shortened(self) -> Sweeps:
        """The sweep of a shorter step, from now on."""
        part = min(0.2, 8.0 * self._matrix.stiffness**-0.8)
        down, up = part * self._matrix.down, part * self._matrix.up
        self._sweep, self._short = Sweeps(replace(self._matrix, down=down, up=up)), True
        return self._sweep

    def _bound(self, scale: float, x: Array) -> float:
        """What the residual may be: the tolerance, or the round-off of computing it where that is larger."""
        rough = _ROUND_OFF * self._matrix.stiffness * inner(self._matrix.volume, np.abs(x))
        if rough <= self._tolerance * scale:  # the diagonal would only make it less
            return self._tolerance * scale
        return max(self._tolerance * scale, _ROUND_OFF * inner(self._matrix.diagonal(), np.abs(x)))

    def _residual(self, right: Array, x: Array) -> tuple[Array, float]:
        """right - N x, and its 1-norm."""
        residual = self._stencil.apply(x, self._work[0])
        np.subtract(right, residual, out=residual)
        return residual, inner(self._matrix.volume, np.abs(residual))

    def _iterate(self, x: Array, residual: Array, goal: float, most: int) -> int:
        """Improve x until the residual's 1-norm is at most the goal, or nothing more can be done; the iterations."""
        shadow, p, v, t, swept = self._work[1:]
        aim, improve = compiled(aimed), compiled(improved)
        shadow[:], p[:], v[:] = residual, 0.0, 0.0
        former = alpha = omega = 1.0
        for count in range(1, most + 1):
            rho = inner(shadow, residual)
            aim(residual, p, v, rho / former * alpha / omega, omega)
            self._stencil.apply(self._sweep(p, out=swept), v)
            alpha = _quotient(rho, inner(shadow, v))
            left = improve(x, residual, alpha, swept, v, self._matrix.volume)
            if left <= goal or alpha == 0.0:
                return count
            self._stencil.apply(self._sweep(residual, out=swept), t)
            omega, former = _quotient(inner(t, residual), inner(t, t)), rho
            left = improve(x, residual, omega, swept, t, self._matrix.volume)
            if left <= goal or omega == 0.0 or rho == 0.0 or not np.isfinite(left):
                return count
        return most


def _quotient(one: float, other: float) -> float:
    return one / other if other != 0.0 else 0.0


def aimed(residual: Any, p: Any, v: Any, beta: Any, omega: Any) -> None:
    """p = r + beta (p - omega v)."""
    for i in range(len(p)):
        p[i] = residual[i] + beta * (p[i] - omega * v[i])


def improved(x: Any, residual: Any, length: Any, step: Any, image: Any, volume: Any) -> Any:
    """x += length step, r -= length image; the 1-norm of r."""
    left = 0.0
    for i in range(len(x)):
        x[i] += length * step[i]
        residual[i] -= length * image[i]
        left += volume[i] * abs(residual[i])
    return left
