"""Krylov iteration, for matrices too large to factorise."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Literal

import numpy as np
from annotated_types import Ge, Gt, Lt

from fvflow.errors import NumericsError
from fvflow.linalg.amg import hierarchy
from fvflow.linalg.base import LinearSolver
from fvflow.linalg.bicgstab import Operator, bicgstab
from fvflow.linalg.grid.matrix_free import CURE, MatrixFreeSolver
from fvflow.linalg.matrix import FaceMatrix, Solution, Solve, rescale_to_mass
from fvflow.mesh import Array, Extent

_RESTARTS = 8
_REDUCTION = 1e-8  # of the residual between restarts
_UNPRECONDITIONED = 300  # iterations that cost as much as setting up and using a multigrid hierarchy
_ROUND_OFF = 16 * np.finfo(float).eps


@dataclass(frozen=True)
class Krylov(LinearSolver):
    """Matrix-free iteration on a grid (`MatrixFreeSolver`); on other meshes BiCGStab on M D^-1, D the diagonal.

    The iteration restarts from the true residual until |r|_1 <= tolerance |b|_1 or the residual is round-off. A solve
    off grids that has taken 300 iterations goes on with a V-cycle of algebraic multigrid as preconditioner (Ruge,
    Stueben, Algebraic multigrid, 1987), if M has a hierarchy. The next solve begins without: it must not depend on
    earlier ones, or a run that goes on from a checkpoint would differ from one that was never stopped.

    The iterate is exact only to tolerance max rho, so it may be negative in the tails. One Jacobi sweep
    D^-1(b + (D - M) x) from its non-negative part, a regular splitting, then makes it non-negative (Varga, Matrix
    Iterative Analysis, 1962).
    """

    tolerance: Annotated[float, Gt(0), Lt(1e-4)] = 1e-12
    """Relative 1-norm of the residual at which a solve stops."""
    iterations: Annotated[int, Ge(1)] = 2000
    """Largest number of iterations of one solve; a solve that needs more fails."""
    kind: Literal["krylov"] = "krylov"
    divided = True

    def memory(self, extent: Extent) -> int:
        """Estimated bytes of a run; on grids 220 per cell and dimension, without a matrix (measured: 1024^2, 128^3)."""
        return 220 * extent.dimension * extent.cells if extent.grid else super().memory(extent)

    def prepare(self, matrix: FaceMatrix) -> Solve:
        """Set up the sweeps of a grid, or scale the columns of M."""
        if matrix.shape is not None:
            solver, volume = MatrixFreeSolver(matrix, self.tolerance, self.iterations), matrix.volume
            return lambda right, total: solver(right / volume, total)
        diagonal = matrix.diagonal()
        transition = _transition(matrix, diagonal)
        multigrid = _DeferredMultigrid(matrix, diagonal)

        def solve(right: Array, total: float) -> Solution:
            if not right.any():
                return Solution(np.zeros_like(right))
            y, count = self._iterate(transition, right, diagonal / matrix.volume * right, multigrid)
            if matrix.monotone and right.min() >= 0 and y.min() < 0:
                y = right + transition @ np.maximum(y, 0.0)
                self._require(transition, right, y, count)
            allowed = self._bound(right, y) / abs(total)
            return rescale_to_mass(matrix, y / diagonal, total, count, allowed, CURE)

        return solve

    def _iterate(self, transition: Any, right: Array, y: Array, multigrid: _DeferredMultigrid) -> tuple[Array, int]:
        """y with M D^-1 y = b, from a first guess, and the iterations."""
        ones, count = np.ones_like(y), 0
        cycle: Operator | None = None

        def scaled(vector: Array, /, *, out: Array) -> Array:
            return np.asarray(np.subtract(vector, transition @ vector, out=out))

        for _ in range(_RESTARTS):
            residual = right - scaled(y, out=np.empty_like(y))
            norm = float(np.abs(residual).sum())
            if norm <= self._bound(right, y):
                return y, count
            if count >= self.iterations:
                break
            left = self.iterations - count
            slow = count >= _UNPRECONDITIONED
            cycle = multigrid.cycle if slow else None
            count += bicgstab(
                scaled,
                y,
                residual,
                goal=_REDUCTION * norm,
                most=left if slow else min(left, _UNPRECONDITIONED - count),
                weight=ones,
                precondition=cycle,
            )[0]
        self._require(transition, right, y, count)
        return y, count

    def _bound(self, right: Array, y: Array) -> float:
        """Largest 1-norm of the residual accepted: the tolerance, or the round-off in computing it if larger."""
        return float(max(self.tolerance * np.abs(right).sum(), _ROUND_OFF * np.abs(y).sum()))

    def _require(self, transition: Any, right: Array, y: Array, count: int) -> None:
        left = np.abs(right - (y - transition @ y)).sum()
        if not left <= self._bound(right, y):
            raise NumericsError(
                f"solver krylov stopped after {count} iterations at the residual {left / np.abs(right).sum():.1e} "
                f"(allowed: {self.tolerance:.1e}); {CURE}"
            )


class _DeferredMultigrid:
    """A multigrid preconditioner of M D^-1, set up once an iteration turns out to need one."""

    def __init__(self, matrix: FaceMatrix, diagonal: Array) -> None:
        self._matrix, self._diagonal = matrix, diagonal

    @cached_property
    def cycle(self) -> Operator | None:
        """D times a V-cycle for M; None if M has no hierarchy."""
        try:
            cycle, diagonal = hierarchy(self._matrix.sparse().tocsr()), self._diagonal
        except NumericsError:
            return None
        return lambda vector, /, *, out: np.multiply(diagonal, cycle(vector), out=out)


def _transition(matrix: FaceMatrix, diagonal: Array) -> Any:
    """I - M D^-1 as a scipy CSR array: the transfer of mass between cells; no negative entry if M is an M-matrix."""
    from scipy.sparse import coo_array

    rows = np.concatenate([matrix.owner, matrix.neighbour])
    columns = np.concatenate([matrix.neighbour, matrix.owner])
    values = np.concatenate([matrix.up, matrix.down]) / diagonal[columns]
    return coo_array((values, (rows, columns)), shape=(len(diagonal), len(diagonal))).tocsr()
