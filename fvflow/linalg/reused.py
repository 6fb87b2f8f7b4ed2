"""Preconditioners that are reused from matrix to matrix, and conjugate gradients with them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import numpy as np

from fvflow.errors import NumericsError
from fvflow.mesh import Array, Index
from fvflow.sums import inner

Map = Callable[[Array], Array]

_SLACK = 2.0  # factor on the residual that iterations at an even pace would have, beyond which they are given up


class SolverMemory(NamedTuple):
    """What a `ReusedPreconditioner` keeps: the matrix that it was made of, in CSR, and how the last solves went."""

    data: Array
    indices: Index
    indptr: Index
    last: int
    """Iterations of the last solve."""
    failures: int = 0
    """Solves in a row that were given up."""
    resting: int = 0
    """Systems that are still solved without an attempt, after these."""


class ReusedPreconditioner:
    """Solves a sequence of symmetric positive definite systems, each close to the one before.

    What was made of an earlier matrix preconditions conjugate gradients for later ones. `memory` and `recall` make a
    step a function of the state before it, so that repeated and continued steps are equal to the last bit: a
    preconditioner follows from its matrix.
    """

    kept: ClassVar[int] = 1
    """Number of preconditioners that are kept, as error control returns to earlier states."""

    def __init__(self) -> None:
        self.matrix: Any = None
        self.last = self.failures = self.resting = 0
        self._made: Map | None = None
        self._recent: list[tuple[Any, Map]] = []

    @property
    def apply(self) -> Map:
        """That of the matrix, made when it is first used; raises NumericsError as `make`."""
        if self._made is None:
            kept = self._recent[1:] if len(self._recent) == self.kept else self._recent
            self._recent = kept  # what is not kept is freed before
            try:
                self._made = self.make(self.matrix)
            except NumericsError:
                self.forget()
                raise
            self._recent = [*kept, (self.matrix, self._made)]
        return self._made

    def make(self, matrix: Any) -> Map:
        """b -> about M^-1 b for a matrix in CSR; raises NumericsError if there is none."""
        raise NotImplementedError

    def memory(self) -> SolverMemory | None:
        """What later solves depend on; None if nothing."""
        matrix = self.matrix
        if matrix is None:
            return None
        return SolverMemory(matrix.data, matrix.indices, matrix.indptr, self.last, self.failures, self.resting)

    def recall(self, memory: SolverMemory | None) -> None:
        """Go on as after the solve that left this memory."""
        if memory is None:
            self.forget()
            self.last = self.failures = self.resting = 0
            return
        self.last, self.failures, self.resting = memory.last, memory.failures, memory.resting
        if self.matrix is not None and memory.data is self.matrix.data:
            self._recent = self._recent[-1:]  # no earlier state is in use
            return
        for matrix, made in self._recent:
            if matrix.data is memory.data:
                self.matrix, self._made = matrix, made
                return
        from scipy.sparse import csr_array

        cells = len(memory.indptr) - 1
        self.matrix = csr_array((memory.data, memory.indices, memory.indptr), shape=(cells, cells))
        self._made = None

    def forget(self) -> None:
        """Have no preconditioner."""
        self.matrix = self._made = None

    def renew(self, matrix: Any) -> Map:
        """That of this matrix, from now on; raises NumericsError as `make`."""
        self.matrix, self._made = matrix, None
        return self.apply


def conjugate_gradients(
    matrix: Any, right: Array, precondition: Any, tolerance: float, most: int, paced: bool = False
) -> tuple[Array | None, int]:
    """The solution (cell,), or None if CG broke down or did not converge, and the iterations.

    If `paced`, it is given up from the second iteration on when the residual is more than twice what it would be if
    each of the `most` iterations reduced it by the same factor.
    """
    x, residual = np.zeros_like(right), right.copy()
    first = math.sqrt(inner(residual, residual))
    goal = tolerance * first
    if first <= goal:
        return x, 0
    direction = precondition(residual)
    energy = inner(residual, direction)
    for count in range(1, most + 1):
        image = matrix @ direction
        curvature = inner(direction, image)
        if not curvature > 0:
            return None, count
        x += energy / curvature * direction
        residual -= energy / curvature * image
        size = math.sqrt(inner(residual, residual))
        if size <= goal:
            return x, count
        if paced and count > 1 and size > _SLACK * first * tolerance ** (count / most):
            return None, count
        smoothed = precondition(residual)
        former, energy = energy, inner(residual, smoothed)
        if not energy > 0:
            return None, count
        direction *= energy / former
        direction += smoothed
    return None, most
