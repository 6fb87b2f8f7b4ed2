"""Krylov iteration, for matrices too large to factorise."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge, Gt, Lt

from fvflow.errors import NumericsError
from fvflow.linalg.amg import hierarchy
from fvflow.linalg.base import LinearSolver
from fvflow.linalg.bicgstab import Operator, bicgstab
from fvflow.linalg.column_scaled import ColumnScaled
from fvflow.linalg.grid.matrix_free import MatrixFreeSolver
from fvflow.linalg.matrix import FaceMatrix, Solution, Solve
from fvflow.mesh import Array, Extent

_RESTARTS = 8
_REDUCTION = 1e-8  # of the residual between restarts
_UNPRECONDITIONED = 300  # iterations that cost as much as setting up and using a multigrid hierarchy


@dataclass(frozen=True)
class Krylov(LinearSolver):
    """Matrix-free iteration on a grid (`MatrixFreeSolver`); on other meshes BiCGStab on M D^-1, D the diagonal.

    The iteration restarts from the true residual until |r|_1 <= tolerance |b|_1 or the residual is round-off. A solve
    off grids that has taken 300 iterations goes on with a V-cycle of algebraic multigrid as preconditioner (Ruge,
    Stueben, Algebraic multigrid, 1987), if M has a hierarchy. The next solve begins without: it must not depend on
    earlier ones, or a run that goes on from a checkpoint would differ from one that was never stopped.

    A negative iterate gets one Jacobi sweep, and every one its mass (`ColumnScaled.finished`).
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
        system = ColumnScaled(matrix, self.tolerance, self.kind)
        multigrid = _DeferredMultigrid(matrix, system.diagonal)

        def solve(right: Array, total: float) -> Solution:
            if not right.any():
                return Solution(np.zeros_like(right))
            y, count = self._iterate(system, right, system.diagonal / matrix.volume * right, multigrid)
            return system.finished(right, y, total, count)

        return solve

    def _iterate(
        self, system: ColumnScaled, right: Array, y: Array, multigrid: _DeferredMultigrid
    ) -> tuple[Array, int]:
        """y with M D^-1 y = b, from a first guess, and the iterations."""
        ones, count = np.ones_like(y), 0
        cycle: Operator | None = None
        for _ in range(_RESTARTS):
            residual = right - system.apply(y, out=np.empty_like(y))
            norm = float(np.abs(residual).sum())
            if norm <= system.bound(right, y):
                return y, count
            if count >= self.iterations:
                break
            left = self.iterations - count
            slow = count >= _UNPRECONDITIONED
            cycle = multigrid.cycle if slow else None
            count += bicgstab(
                system.apply,
                y,
                residual,
                goal=_REDUCTION * norm,
                most=left if slow else min(left, _UNPRECONDITIONED - count),
                weight=ones,
                precondition=cycle,
            )[0]
        system.require(right, y, count)
        return y, count


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
