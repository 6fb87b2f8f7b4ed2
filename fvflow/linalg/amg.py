"""Conjugate gradients with a multigrid hierarchy that is kept while it serves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from annotated_types import Ge

from fvflow.errors import NumericsError
from fvflow.mesh import Array

_WORN = 10  # iterations after which the hierarchy is built anew for the next matrix
_COARSEST = 200


@dataclass(frozen=True)
class Multigrid:
    """CG preconditioned by classical algebraic multigrid (pyamg), its hierarchy kept from matrix to matrix."""

    iterations: Annotated[int, Ge(1)] = 40
    kind: Literal["multigrid"] = "multigrid"


class ReusedAMG:
    """Solves one symmetric positive definite system after the other, each near the one before.

    Ruge, Stueben, Algebraic multigrid, 1987. The hierarchy of an earlier matrix preconditions the later ones until it
    takes more than 10 iterations.
    """

    def __init__(self) -> None:
        self._precondition: Any = None
        self._last = 0

    def solve(self, matrix: Any, right: Array, tolerance: float, most: int) -> Array:
        """x with |M x - b|_2 <= tolerance |b|_2, M in CSR; raises NumericsError if it stalls."""
        fresh = self._precondition is None or self._last > _WORN
        if fresh:
            self._precondition = hierarchy(matrix)
        x, count = _conjugate(matrix, right, self._precondition, tolerance, most)
        if x is None and not fresh:
            fresh, self._precondition = True, hierarchy(matrix)
            x, count = _conjugate(matrix, right, self._precondition, tolerance, most)
        self._last = min(count, _WORN) if fresh else count  # what is new is not replaced at once
        if x is None:
            self._precondition = None
            raise NumericsError(f"conjugate gradients stopped after {count} iterations")
        return x


def hierarchy(matrix: Any) -> Any:
    """b -> one V-cycle for M x = b; raises NumericsError where the matrix has none."""
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
    """One V-cycle from 0; pyamg's own computes a residual before and one after it, which CG has no use for."""
    level = levels.levels[depth]
    if depth == len(levels.levels) - 1:
        return np.asarray(levels.coarse_solver(level.A, right))
    x = np.zeros_like(right)
    level.presmoother(level.A, x, right)
    x += level.P @ _cycle(levels, level.R @ (right - level.A @ x), depth + 1)
    level.postsmoother(level.A, x, right)
    return x


def _conjugate(matrix: Any, right: Array, precondition: Any, tolerance: float, most: int) -> tuple[Array | None, int]:
    """The solution, or None where it was not found, and the iterations."""
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
