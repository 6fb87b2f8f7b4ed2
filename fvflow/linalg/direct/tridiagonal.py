"""Subtraction-free elimination for chains of cells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from fvflow.errors import CaseError
from fvflow.jit import INTERPRETER_BUDGET, kernel
from fvflow.linalg.base import LinearSolver
from fvflow.linalg.matrix import FaceMatrix, Solution, Solve, TransposedSolve, rescale_to_mass
from fvflow.mesh import Array, Extent

_ONE_DIMENSION = "solver tridiagonal works in one space dimension; use direct, krylov or auto"


@dataclass(frozen=True)
class Tridiagonal(LinearSolver):
    """Subtraction-free elimination on a chain of cells (one space dimension).

        c_0 = s_0,  p_i = c_i + down_i,  c_{i+1} = s_{i+1} + up_i c_i/p_i;
        y_{i+1} = b_{i+1} + (down_i/p_i) y_i;  x_i = (y_i + up_i x_{i+1})/p_i

    s being the column sums of M. Every entry of the solution is accurate to a few ulp times the number of cells, at any
    step size. On a ring of cells, a periodic axis, cell i also exchanges q_i and r_i with the last one,

        p_i = c_i + down_i + q_i,  q_{i+1} = up_i q_i/p_i,  r_{i+1} = down_i r_i/p_i,

    q_0 and r_0 being up and down of the face that closes the ring; the last cell is solved for last. Grassmann, Taksar,
    Heyman, Regenerative analysis and steady state distributions for Markov chains, Oper. Res. 33 (1985). With a centred
    flux beyond its Peclet number M is not an M-matrix; the recursion still solves it, without that guarantee.
    """

    kind: Literal["tridiagonal"] = "tridiagonal"

    def fits(self, extent: Extent) -> None:
        """Raises CaseError in more than one dimension."""
        if extent.dimension != 1:
            raise CaseError(_ONE_DIMENSION)

    def prepare(self, matrix: FaceMatrix) -> Solve:
        """Eliminate; raises CaseError if the cells do not form a chain."""
        if not matrix.tridiagonal and matrix.ring:
            return _prepare_ring(matrix)
        pivot = self._pivots(matrix)

        def solve(right: Array, total: float) -> Solution:
            return rescale_to_mass(matrix, substitute(pivot, matrix.down, matrix.up, right), total)

        return solve

    def resolve_transpose(self, extent: Extent) -> Tridiagonal:
        """The solver itself."""
        return self

    def prepare_transpose(self, matrix: FaceMatrix) -> TransposedSolve:
        """Eliminate; the transposed system is solved with the same pivots, without subtraction too.

        z_i = (b_i + up_{i-1} z_{i-1})/p_i;  x_i = z_i + (down_i/p_i) x_{i+1}
        """
        if not matrix.tridiagonal and matrix.ring:
            factors = eliminate_ring(matrix.column_sums, matrix.down, matrix.up)
            return lambda right: substitute_ring_transposed(*factors, matrix.down, matrix.up, right)
        pivot = self._pivots(matrix)
        return lambda right: substitute_transposed(pivot, matrix.down, matrix.up, right)

    def _pivots(self, matrix: FaceMatrix) -> Array:
        if not matrix.tridiagonal:
            raise CaseError(_ONE_DIMENSION)
        pivots: Array = eliminate(matrix.column_sums, matrix.down, matrix.up)
        return pivots


def _prepare_ring(matrix: FaceMatrix) -> Solve:
    """The solver on a ring of cells."""
    factors = eliminate_ring(matrix.column_sums, matrix.down, matrix.up)

    def solve(right: Array, total: float) -> Solution:
        return rescale_to_mass(matrix, substitute_ring(*factors, matrix.down, matrix.up, right), total)

    return solve


@kernel(budget=INTERPRETER_BUDGET)
def eliminate(sums: Any, down: Any, up: Any) -> Any:
    """The pivots p (cell,)."""
    pivot, carried = sums.copy(), sums[0]
    for i in range(len(down)):
        pivot[i] = carried + down[i]
        carried = sums[i + 1] + up[i] * (carried / pivot[i])
    pivot[-1] = carried
    return pivot


@kernel(budget=INTERPRETER_BUDGET)
def substitute(pivot: Any, down: Any, up: Any, right: Any) -> Any:
    """The solution (cell,)."""
    x = right.copy()
    for i in range(len(down)):
        x[i + 1] += down[i] / pivot[i] * x[i]
    x[-1] /= pivot[-1]
    for i in range(len(down) - 1, -1, -1):
        x[i] = (x[i] + up[i] * x[i + 1]) / pivot[i]
    return x


@kernel(budget=INTERPRETER_BUDGET)
def substitute_transposed(pivot: Any, down: Any, up: Any, right: Any) -> Any:
    """The solution (cell,) of the transposed system."""
    x = right.copy()
    x[0] /= pivot[0]
    for i in range(len(down)):
        x[i + 1] = (x[i + 1] + up[i] * x[i]) / pivot[i + 1]
    for i in range(len(down) - 1, -1, -1):
        x[i] += down[i] / pivot[i] * x[i + 1]
    return x


@kernel(budget=INTERPRETER_BUDGET)
def eliminate_ring(sums: Any, down: Any, up: Any) -> Any:
    """The pivots p (cell,) of a ring, and the rates q to the last cell and r from it (cell - 1,)."""
    last = len(sums) - 1
    pivot, to, back = sums.copy(), up[:-1].copy(), down[:-1].copy()
    carried, closing = sums[0], sums[last]
    to[0], back[0] = up[last], down[last]
    for i in range(last):
        pivot[i] = carried + down[i] + to[i]
        part = carried / pivot[i]
        closing += back[i] * part
        if i + 1 < last:
            carried = sums[i + 1] + up[i] * part
            to[i + 1] = up[i] * (to[i] / pivot[i])
            back[i + 1] = back[i] * (down[i] / pivot[i])
        else:
            closing += up[i] * part
    pivot[last] = closing
    return pivot, to, back


@kernel(budget=INTERPRETER_BUDGET)
def substitute_ring(pivot: Any, to: Any, back: Any, down: Any, up: Any, right: Any) -> Any:
    """The solution on a ring (cell,)."""
    x, last = right.copy(), len(right) - 1
    for i in range(last):
        share = x[i] / pivot[i]
        x[last] += to[i] * share
        x[i + 1] += down[i] * share
    x[last] /= pivot[last]
    for i in range(last - 1, -1, -1):
        x[i] = (x[i] + up[i] * x[i + 1] + back[i] * x[last]) / pivot[i]
    return x


@kernel(budget=INTERPRETER_BUDGET)
def substitute_ring_transposed(pivot: Any, to: Any, back: Any, down: Any, up: Any, right: Any) -> Any:
    """The solution (cell,) of the transposed system on a ring."""
    x, last = right.copy(), len(right) - 1
    for i in range(last):
        x[i] /= pivot[i]
        x[i + 1] += up[i] * x[i]
        x[last] += back[i] * x[i]
    x[last] /= pivot[last]
    for i in range(last - 1, -1, -1):
        x[i] += (down[i] * x[i + 1] + to[i] * x[last]) / pivot[i]
    return x
