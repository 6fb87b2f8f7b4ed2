"""Conjugate gradients with an algebraic multigrid hierarchy that is reused from matrix to matrix."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from annotated_types import Ge

from fvflow.errors import NumericsError
from fvflow.linalg.base import symmetric_factor_memory
from fvflow.mesh import Array, Extent, Index

_WORN_OUT = 10  # iterations beyond which the hierarchy is rebuilt for the next matrix
_COARSEST = 200
_KEPT = 2  # hierarchies


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


class SolverMemory(NamedTuple):
    """What `ReusedAMG` keeps: the matrix of its hierarchy, in CSR, and the iterations of the last solve."""

    data: Array
    indices: Index
    indptr: Index
    last: int


class ReusedAMG:
    """Solves a sequence of symmetric positive definite systems, each close to the one before.

    Ruge, Stueben, Algebraic multigrid, 1987. The hierarchy of an earlier matrix preconditions later ones until a
    solve takes more than 10 iterations. `memory` and `recall` make a step a function of the state before it, so that
    repeated and continued steps are equal to the last bit: a hierarchy follows from its matrix.
    """

    def __init__(self) -> None:
        self._matrix: Any = None  # of the hierarchy
        self._precondition: Any = None
        self._last = 0
        self._recent: list[tuple[Any, Any]] = []  # matrices and hierarchies, as error control returns to earlier states

    def memory(self) -> SolverMemory | None:
        """What later solves depend on; None if nothing."""
        if self._precondition is None:
            return None
        matrix = self._matrix
        return SolverMemory(matrix.data, matrix.indices, matrix.indptr, self._last)

    def recall(self, memory: SolverMemory | None) -> None:
        """Go on as after the solve that left this memory."""
        if memory is None:
            self._matrix, self._precondition, self._last = None, None, 0
            return
        self._last = memory.last
        if self._matrix is not None and memory.data is self._matrix.data:
            self._recent = self._recent[-1:]  # no earlier state is in use
            return
        for matrix, precondition in self._recent:
            if matrix.data is memory.data:
                self._matrix, self._precondition = matrix, precondition
                return
        from scipy.sparse import csr_array

        cells = len(memory.indptr) - 1
        self._renew(csr_array((memory.data, memory.indices, memory.indptr), shape=(cells, cells)))

    def _renew(self, matrix: Any) -> None:
        """Make the hierarchy of a matrix."""
        self._matrix, self._precondition = matrix, hierarchy(matrix)
        self._recent = [*self._recent[-(_KEPT - 1) :], (self._matrix, self._precondition)]

    def solve(self, matrix: Any, right: Array, tolerance: float, most: int) -> Array:
        """x with |M x - b|_2 <= tolerance |b|_2, M in CSR; raises NumericsError if it stalls."""
        fresh = self._precondition is None or self._last > _WORN_OUT
        if fresh:
            self._renew(matrix)
        x, count = _conjugate_gradients(matrix, right, self._precondition, tolerance, most)
        if x is None and not fresh:
            fresh = True
            self._renew(matrix)
            x, count = _conjugate_gradients(matrix, right, self._precondition, tolerance, most)
        self._last = min(count, _WORN_OUT) if fresh else count  # a new hierarchy is kept for at least one more solve
        if x is None:
            self._matrix = self._precondition = None
            raise NumericsError(f"conjugate gradients stopped after {count} iterations")
        return x


def hierarchy(matrix: Any) -> Any:
    """b -> one V-cycle for M x = b; raises NumericsError if the matrix has no hierarchy."""
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
        return lambda right: _cycle(levels, right, 0)
    except (ValueError, np.linalg.LinAlgError) as error:
        raise NumericsError(f"no multigrid hierarchy of this matrix ({error})") from None


def _cycle(levels: Any, right: Array, depth: int) -> Array:
    """One V-cycle from 0; that of pyamg computes two more residuals, which CG does not use."""
    level = levels.levels[depth]
    if depth == len(levels.levels) - 1:
        return np.asarray(levels.coarse_solver(level.A, right))
    x = np.zeros_like(right)
    level.presmoother(level.A, x, right)
    x += level.P @ _cycle(levels, level.R @ (right - level.A @ x), depth + 1)
    level.postsmoother(level.A, x, right)
    return x


def _conjugate_gradients(
    matrix: Any, right: Array, precondition: Any, tolerance: float, most: int
) -> tuple[Array | None, int]:
    """The solution, or None if CG broke down or did not converge, and the iterations."""
    x, residual = np.zeros_like(right), right.copy()
    goal = tolerance * float(np.linalg.norm(right))
    if float(np.linalg.norm(residual)) <= goal:
        return x, 0
    direction = precondition(residual)
    energy = float(residual @ direction)
    for count in range(1, most + 1):
        image = matrix @ direction
        curvature = float(direction @ image)
        if not curvature > 0:
            return None, count
        x += energy / curvature * direction
        residual -= energy / curvature * image
        if float(np.linalg.norm(residual)) <= goal:
            return x, count
        smoothed = precondition(residual)
        former, energy = energy, float(residual @ smoothed)
        if not energy > 0:
            return None, count
        direction *= energy / former
        direction += smoothed
    return None, most
