"""Krylov iteration, where a factorisation does not scale."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from annotated_types import Ge, Gt, Lt

from fvflow.errors import NumericsError
from fvflow.linalg.amg import hierarchy
from fvflow.linalg.base import LinearSolver
from fvflow.linalg.bicgstab import Operator, bicgstab
from fvflow.linalg.grid.matrix_free import MatrixFreeSolver
from fvflow.linalg.matrix import FaceMatrix, Solution, Solve, rescale_to_mass
from fvflow.mesh import Array, Extent

_RESTARTS = 8
_REDUCTION = 1e-8  # of the residual between restarts
_WORTH = 300  # iterations from which on a hierarchy pays for itself
_PATIENCE = 400  # iterations before a restart with one
_ROUND_OFF = 16 * np.finfo(float).eps


@dataclass(frozen=True)
class Krylov(LinearSolver):
    """On a grid without a matrix (`MatrixFreeSolver`); elsewhere BiCGStab on M D^-1 (D the diagonal).

    It is restarted from the true residual until |r|_1 <= tolerance |b|_1 or the residual is round-off. Where a solve
    off grids takes more than 300 iterations, later ones are preconditioned by a V-cycle of algebraic multigrid (Ruge,
    Stueben, Algebraic multigrid, 1987), if M has one.

    Of the iterate only what a positive method may use is kept: where it is negative by round-off (it is exact only
    to tolerance max rho) one Jacobi sweep D^-1(b + (D - M) x) from its non-negative part, a regular splitting, gives
    a positive solution again (Varga, Matrix Iterative Analysis, 1962).
    """

    tolerance: Annotated[float, Gt(0), Lt(1e-4)] = 1e-12
    iterations: Annotated[int, Ge(1)] = 2000
    kind: Literal["krylov"] = "krylov"

    def memory(self, extent: Extent) -> int:
        """Estimated bytes of a run: on grids, without a matrix, 220 per cell and dimension (1024^2, 128^3)."""
        return 220 * extent.dimension * extent.cells if extent.grid else super().memory(extent)

    def prepare(self, matrix: FaceMatrix) -> Solve:
        """Eliminate along the axes of a grid, or scale the columns."""
        if matrix.shape is not None:
            solver, volume = MatrixFreeSolver(matrix, self.tolerance, self.iterations), matrix.volume
            return lambda right, total: solver(right / volume, total)
        diagonal = matrix.diagonal()
        transition = _transition(matrix, diagonal)
        preconditioner = _DeferredMultigrid(matrix, diagonal)

        def solve(right: Array, total: float) -> Solution:
            y, count = self._iterate(transition, right, diagonal / matrix.volume * right, preconditioner)
            if matrix.monotone and right.min() >= 0 and y.min() < 0:
                y = right + transition @ np.maximum(y, 0.0)
                self._require(transition, right, y, count)
            allowed = self._bound(right, y) / abs(total)
            return rescale_to_mass(matrix, y / diagonal, total, count, allowed)

        return solve

    def _iterate(
        self, transition: Any, right: Array, y: Array, preconditioner: _DeferredMultigrid
    ) -> tuple[Array, int]:
        """y with M D^-1 y = b, from a first guess, and the iterations."""
        ones, count = np.ones_like(y), 0

        def scaled(vector: Array, /, *, out: Array) -> Array:
            return np.asarray(np.subtract(vector, transition @ vector, out=out))

        for _ in range(_RESTARTS):
            residual = right - scaled(y, out=np.empty_like(y))
            norm = float(np.abs(residual).sum())
            if norm <= self._bound(right, y):
                preconditioner.update(count)
                return y, count
            if count >= self.iterations:
                break
            left = self.iterations - count
            count += bicgstab(
                scaled,
                y,
                residual,
                goal=_REDUCTION * norm,
                most=left if preconditioner.tried else min(left, _PATIENCE),
                weight=ones,
                precondition=preconditioner.cycle,
            )[0]
            preconditioner.update(count)
        self._require(transition, right, y, count)
        return y, count

    def _bound(self, right: Array, y: Array) -> float:
        """What the residual may be: the tolerance, or the round-off of computing it where that is larger."""
        return float(max(self.tolerance * np.abs(right).sum(), _ROUND_OFF * np.abs(y).sum()))

    def _require(self, transition: Any, right: Array, y: Array, count: int) -> None:
        left = np.abs(right - (y - transition @ y)).sum()
        if not left <= self._bound(right, y):
            raise NumericsError(
                f"solver krylov stopped after {count} iterations at the residual {left / np.abs(right).sum():.1e} "
                f"(allowed: {self.tolerance:.1e}); use a smaller step, a larger tolerance, or solver direct"
            )


class _DeferredMultigrid:
    """A multigrid preconditioner of M D^-1, set up once an iteration turns out to need one."""

    def __init__(self, matrix: FaceMatrix, diagonal: Array) -> None:
        self._matrix, self._diagonal = matrix, diagonal
        self.tried = False
        self.cycle: Operator | None = None

    def update(self, count: int) -> None:
        """Set it up if a solve has taken so many iterations that a V-cycle in each would be cheaper."""
        if count < _WORTH or self.tried:
            return
        self.tried = True
        with contextlib.suppress(NumericsError):  # if M has no hierarchy, go on without
            cycle, diagonal = hierarchy(self._matrix.sparse().tocsr()), self._diagonal
            self.cycle = lambda vector, /, *, out: np.multiply(diagonal, cycle(vector), out=out)


def _transition(matrix: FaceMatrix, diagonal: Array) -> Any:
    """I - M D^-1 as a scipy CSR array: where the mass of each cell goes; no negative entry if M is an M-matrix."""
    from scipy.sparse import coo_array

    rows = np.concatenate([matrix.owner, matrix.neighbour])
    columns = np.concatenate([matrix.neighbour, matrix.owner])
    values = np.concatenate([matrix.up, matrix.down]) / diagonal[columns]
    return coo_array((values, (rows, columns)), shape=(len(diagonal), len(diagonal))).tocsr()
