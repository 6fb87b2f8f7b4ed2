"""Systems on a chain of cells, of three or five diagonals, eliminated in the order of the cells."""

from __future__ import annotations

from typing import Any

import numpy as np

from fvflow.errors import NumericsError
from fvflow.jit import kernel
from fvflow.linalg.reused import Map
from fvflow.mesh import Array, Index

LEAST_TRIDIAGONAL = 3
"""The least number of cells of `invert_tridiagonal`, that of the routine of LAPACK."""


def invert_tridiagonal(diagonal: Array, upper: Array, lower: Array) -> Map:
    """b -> M^-1 b for M_ii (cell,), M_{i,i+1} and M_{i+1,i} (cell - 1,), by elimination with pivoting.

    Raises NumericsError if M is singular.
    """
    from scipy.linalg.lapack import dgttrf, dgttrs

    *factors, zero_pivot = dgttrf(lower, diagonal, upper)
    if zero_pivot:
        raise NumericsError("a matrix of three diagonals is singular; use a smaller step")
    return lambda right: np.asarray(dgttrs(*factors, right)[0])


def invert_on_chain(rows: Index, columns: Index, values: Array, scale: Array, diagonal: float, least: float) -> Map:
    """b -> M^-1 b for the matrix of `assemble_symmetric` in the order of the cells, whose |i - j| are 1 or 2.

    M = L D L^T without pivoting, as `factorise`, in a fifth of its time: D may be indefinite by round-off, where a
    Cholesky factorisation would fail. Raises NumericsError if M is singular or not finite.
    """
    pivot, next_cell, next_but_one = eliminate_chain(rows, columns, values, scale, diagonal, least)
    if not (np.isfinite(pivot.sum()) and pivot.all()):
        raise NumericsError("a matrix of five diagonals is singular or not finite; use a smaller step")

    def solve(right: Array) -> Array:
        x: Array = substitute_chain(pivot, next_cell, next_but_one, right)
        return x

    return solve


@kernel()
def eliminate_chain(rows: Any, columns: Any, values: Any, scale: Any, diagonal: Any, least: Any) -> Any:
    """D (cell,), and the entries of L one and two rows below its diagonal (cell,)."""
    cells = len(scale)
    pivot, next_cell, next_but_one = np.full(cells, diagonal), np.zeros(cells), np.zeros(cells)
    for entry in range(len(values)):
        i, j = rows[entry], columns[entry]
        value = scale[i] * scale[j] * values[entry]
        if not abs(value) <= least:
            if abs(i - j) == 1:
                next_cell[min(i, j)] += value
            else:
                next_but_one[min(i, j)] += value
    for i in range(cells):
        first, second = next_cell[i], next_but_one[i]
        next_cell[i], next_but_one[i] = first / pivot[i], second / pivot[i]
        if i + 1 < cells:
            pivot[i + 1] -= next_cell[i] * first
            next_cell[i + 1] -= next_cell[i] * second
        if i + 2 < cells:
            pivot[i + 2] -= next_but_one[i] * second
    return pivot, next_cell, next_but_one


@kernel()
def substitute_chain(pivot: Any, next_cell: Any, next_but_one: Any, right: Any) -> Any:
    """L^-T D^-1 L^-1 b (cell,)."""
    x, cells = right.copy(), len(right)
    for i in range(cells):
        if i + 1 < cells:
            x[i + 1] -= next_cell[i] * x[i]
        if i + 2 < cells:
            x[i + 2] -= next_but_one[i] * x[i]
    for i in range(cells - 1, -1, -1):
        x[i] /= pivot[i]
        if i + 1 < cells:
            x[i] -= next_cell[i] * x[i + 1]
        if i + 2 < cells:
            x[i] -= next_but_one[i] * x[i + 2]
    return x
