"""Solvers of PETSc, for systems too large for one process or for the solvers of fvflow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge, Gt, Lt

from fvflow.errors import CaseError
from fvflow.linalg.base import LinearSolver, mesh_memory
from fvflow.linalg.column_scaled import ColumnScaled
from fvflow.linalg.matrix import FaceMatrix, Solution, Solve
from fvflow.mesh import Array, Extent
from fvflow.parallel.petsc import PetscSystem, missing_petsc

_RESTARTS = 8
_REDUCTION = 1e-8  # of the residual between restarts
_ENTRY = 12  # bytes of an entry of a sparse matrix


@dataclass(frozen=True)
class Petsc(LinearSolver):
    """Krylov iteration of PETSc on M, on any mesh; several ranks share the rows, and each holds all else.

    It restarts from the true residual until |b - M x|_1 <= tolerance |b|_1 or round-off. What closes a solve is that of
    `krylov`: sign and mass are exact (`ColumnScaled.finished`). Newton systems of gradient flows keep their solvers,
    whose hierarchies serve many matrices. Balay et al., PETSc/TAO users manual, ANL-21/39, 2022; Falgout, Yang, hypre:
    a library of high performance preconditioners, Computational Science, ICCS 2002.
    """

    method: Literal["bcgs", "cg"] = "bcgs"
    """BiCGStab, or for matrices that are symmetric, those without a drift, conjugate gradients."""
    preconditioner: Literal["hypre", "gamg", "jacobi"] = "hypre"
    """BoomerAMG of hypre, the algebraic multigrid of PETSc, or the diagonal."""
    tolerance: Annotated[float, Gt(0), Lt(1e-4)] = 1e-12
    """Relative 1-norm of the residual at which a solve stops."""
    iterations: Annotated[int, Ge(1)] = 2000
    """Largest number of iterations of one solve; a solve that needs more fails."""
    kind: Literal["petsc"] = "petsc"
    shares_rows = True

    @property
    def missing(self) -> str:
        """A sentence if petsc4py is not installed."""
        return missing_petsc()

    def memory(self, extent: Extent) -> int:
        """Estimated bytes of a run: the mesh, and three copies of the matrix, one of them the coarse levels."""
        entries = 2 * extent.dimension + 1 if extent.grid else 2 * extent.dimension + 8 * (extent.dimension - 1)
        return mesh_memory(extent) + 3 * _ENTRY * entries * extent.cells

    def prepare(self, matrix: FaceMatrix) -> Solve:
        """Give the matrix to PETSc; raises CaseError if `cg` gets one that is not symmetric."""
        if self.method == "cg" and not np.array_equal(matrix.down, matrix.up):
            raise CaseError(
                "method cg of solver petsc is for symmetric matrices, those without a drift; use method: bcgs"
            )
        scaled = ColumnScaled(matrix, self.tolerance, self.kind)
        system = PetscSystem(matrix.sparse(), self.method, self.preconditioner)

        def solve(right: Array, total: float) -> Solution:
            if not right.any():
                return Solution(np.zeros_like(right))
            y, count = self._iterate(scaled, system, right)
            return scaled.finished(right, y, total, count)

        return solve

    def _iterate(self, scaled: ColumnScaled, system: PetscSystem, right: Array) -> tuple[Array, int]:
        """y = D x with M x = b, and the iterations."""
        diagonal, count = scaled.diagonal, 0
        y = diagonal / scaled.matrix.volume * right
        for _ in range(_RESTARTS):
            residual = right - scaled.apply(y, out=np.empty_like(y))
            if float(np.abs(residual).sum()) <= scaled.bound(right, y):
                return y, count
            if count >= self.iterations:
                break
            correction, taken = system.solve(residual, _REDUCTION, self.iterations - count)
            y += diagonal * correction
            count += taken
        scaled.require(right, y, count)
        return y, count
