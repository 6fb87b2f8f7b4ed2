"""Factors that are reused from matrix to matrix."""

from __future__ import annotations

from typing import Any

from fvflow.linalg.direct.factorisation import factorise
from fvflow.linalg.reused import Map, ReusedPreconditioner, conjugate_gradients
from fvflow.mesh import Array

_MOST = 12  # iterations, each of which takes a tenth of the time of a factorisation or less
_LONGEST_REST = 31  # systems


class ReusedFactors(ReusedPreconditioner):
    """Solves a sequence of symmetric positive definite systems, each close to the one before, by reused factors.

    The factors of an earlier matrix precondition later ones. Where conjugate gradients with them would take more than
    12 iterations the matrix is factorised, and after the n-th such failure in a row so are the 2^(n-1) - 1 next ones.
    """

    def make(self, matrix: Any) -> Map:
        """The factors of a matrix, whose rows are in their order of elimination."""
        factors = factorise(matrix.T, ordered=True)  # symmetric: its transpose is in CSC
        solve: Map = factors.solve
        return solve

    def solve(self, matrix: Any, right: Array, tolerance: float) -> Array:
        """x (cell,) with |M x - b|_2 <= tolerance |b|_2, M in CSR; raises NumericsError if M is singular."""
        if matrix is not self.matrix:
            if self.matrix is not None and self.resting == 0:
                x, _ = conjugate_gradients(matrix, right, self.apply, tolerance, _MOST, paced=True)
                if x is not None:
                    self.failures = 0
                    return x
                self.failures += 1
                self.resting = min(2 ** (self.failures - 1), _LONGEST_REST + 1)
            self.resting = max(self.resting - 1, 0)
            self.renew(matrix)
        return self.apply(right)
