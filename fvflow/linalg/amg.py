"""Conjugate gradients with an algebraic multigrid hierarchy that is reused from matrix to matrix."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Literal

import numpy as np
from annotated_types import Ge

from fvflow.errors import NumericsError
from fvflow.linalg.base import symmetric_factor_memory
from fvflow.linalg.direct.factorisation import factorise
from fvflow.linalg.reused import Map, ReusedPreconditioner, conjugate_gradients
from fvflow.mesh import Array, Extent

_WORN_OUT = 10  # iterations beyond which the hierarchy is rebuilt for the next matrix
_COARSEST = 200


@dataclass(frozen=True)
class Multigrid:
    """CG preconditioned by classical algebraic multigrid (pyamg), its hierarchy reused from matrix to matrix."""

    iterations: Annotated[int, Ge(1)] = 40
    """Largest number of CG iterations of one solve; a solve that needs more fails."""
    kind: Literal["multigrid"] = "multigrid"

    def resolve_symmetric(self, extent: Extent) -> Multigrid:
        """The solver itself."""
        return self

    def cg_iterations(self) -> int:
        """Largest number of CG iterations of one solve."""
        return self.iterations

    def symmetric_memory(self, extent: Extent) -> int:
        """Estimated bytes of a run; in 1D and 2D a system that CG does not solve is factorised."""
        if extent.dimension == 3:
            return 1000 * extent.dimension * extent.cells
        return symmetric_factor_memory(extent)


class ReusedAMG(ReusedPreconditioner):
    """Solves a sequence of symmetric positive definite systems, each close to the one before, by reused hierarchies.

    Ruge, Stueben, Algebraic multigrid, 1987. The hierarchy of an earlier matrix preconditions later ones until a
    solve takes more than 10 iterations.
    """

    kept = 2

    def make(self, matrix: Any) -> Map:
        """The hierarchy of a matrix."""
        cycle: Map = hierarchy(matrix, regular=True)
        return cycle

    def solve(self, matrix: Any, right: Array, tolerance: float, most: int) -> Array:
        """x with |M x - b|_2 <= tolerance |b|_2, M in CSR; raises NumericsError if it stalls."""
        fresh = self.matrix is None or self.last > _WORN_OUT
        if fresh:
            self.renew(matrix)
        x, count = conjugate_gradients(matrix, right, self.apply, tolerance, most)
        if x is None and not fresh:
            fresh = True
            self.renew(matrix)
            x, count = conjugate_gradients(matrix, right, self.apply, tolerance, most)
        self.last = min(count, _WORN_OUT) if fresh else count  # a new hierarchy is kept for at least one more solve
        if x is None:
            self.forget()
            raise NumericsError(f"conjugate gradients stopped after {count} iterations")
        return x


def hierarchy(matrix: Any, regular: bool = False) -> Any:
    """b -> one V-cycle for M x = b; raises NumericsError if the matrix has no hierarchy.

    The coarsest system is solved by its pseudoinverse, or, if the matrix is `regular`, by factors, which are made in a
    tenth of the time: a small shift is enough. Where a pivot is 0 it is the pseudoinverse all the same.
    """
    import pyamg
    from scipy.sparse import csr_matrix

    parts = matrix.data, matrix.indices.astype(np.int32), matrix.indptr.astype(np.int32)
    try:
        levels = pyamg.ruge_stuben_solver(
            csr_matrix(parts, shape=matrix.shape),
            presmoother=("gauss_seidel", {"sweep": "forward"}),
            postsmoother=("gauss_seidel", {"sweep": "backward"}),
            max_coarse=_COARSEST,
        )
        solve: Map = partial(levels.coarse_solver, levels.levels[-1].A)
        if regular:
            with suppress(NumericsError):
                solve = factorise(levels.levels[-1].A.tocsc()).solve
        return lambda right: _cycle(levels.levels, solve, right)
    except (ValueError, np.linalg.LinAlgError) as error:
        raise NumericsError(f"no multigrid hierarchy of this matrix ({error})") from None


def _cycle(levels: list[Any], coarsest: Map, right: Array) -> Array:
    """One V-cycle from 0; that of pyamg computes two more residuals, which CG does not use."""
    level, *coarser = levels
    if not coarser:
        return np.asarray(coarsest(right))
    x = np.zeros_like(right)
    level.presmoother(level.A, x, right)
    x += level.P @ _cycle(coarser, coarsest, level.R @ (right - level.A @ x))
    level.postsmoother(level.A, x, right)
    return x
