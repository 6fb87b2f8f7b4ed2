"""The linear system of an implicit step with its columns scaled, for iterations on meshes of any kind."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from fvflow.errors import NumericsError
from fvflow.linalg.grid.matrix_free import CURE
from fvflow.linalg.matrix import FaceMatrix, Solution, rescale_to_mass
from fvflow.mesh import Array

_ROUND_OFF = 16 * np.finfo(float).eps


class ColumnScaled:
    """M x = b as (I - T) y = b with y = D x, D the diagonal of M: T = I - M D^-1 moves mass between cells.

    Says when an iterate y is good enough, |b - (I - T) y|_1 <= tolerance |b|_1 or round-off, and makes a density of it.
    """

    def __init__(self, matrix: FaceMatrix, tolerance: float, solver: str) -> None:
        self.matrix, self.tolerance, self.solver = matrix, tolerance, solver
        self.diagonal = matrix.diagonal()

    @cached_property
    def transition(self) -> Any:
        """T as a scipy CSR array: no negative entry if M is an M-matrix."""
        from scipy.sparse import coo_array

        matrix, cells = self.matrix, len(self.diagonal)
        rows = np.concatenate([matrix.owner, matrix.neighbour])
        columns = np.concatenate([matrix.neighbour, matrix.owner])
        values = np.concatenate([matrix.up, matrix.down]) / self.diagonal[columns]
        return coo_array((values, (rows, columns)), shape=(cells, cells)).tocsr()

    def apply(self, vector: Array, /, *, out: Array) -> Array:
        """(I - T) y (cell,)."""
        return np.asarray(np.subtract(vector, self.transition @ vector, out=out))

    def bound(self, right: Array, y: Array) -> float:
        """Largest 1-norm of the residual accepted: the tolerance, or the round-off in computing it if larger."""
        return float(max(self.tolerance * np.abs(right).sum(), _ROUND_OFF * np.abs(y).sum()))

    def require(self, right: Array, y: Array, count: int) -> None:
        """Raises NumericsError if the residual of y is above the bound."""
        left = np.abs(right - (y - self.transition @ y)).sum()
        if not left <= self.bound(right, y):
            raise NumericsError(
                f"solver {self.solver} stopped after {count} iterations at the residual "
                f"{left / np.abs(right).sum():.1e} (allowed: {self.tolerance:.1e}); {CURE}"
            )

    def finished(self, right: Array, y: Array, total: float, count: int) -> Solution:
        """The density of an iterate, of the right mass, and non-negative if M is an M-matrix and b >= 0.

        The iterate is exact only to tolerance max rho, so it may be negative in the tails. One Jacobi sweep
        b + T y from its non-negative part, a regular splitting, then makes it non-negative (Varga, Matrix Iterative
        Analysis, 1962).
        """
        if self.matrix.monotone and right.min() >= 0 and y.min() < 0:
            y = right + self.transition @ np.maximum(y, 0.0)
            self.require(right, y, count)
        allowed = self.bound(right, y) / abs(total)
        return rescale_to_mass(self.matrix, y / self.diagonal, total, count, allowed, CURE)
