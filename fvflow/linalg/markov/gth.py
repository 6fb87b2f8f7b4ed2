"""Subtraction-free elimination of a Markov chain on any graph (Grassmann, Taksar, Heyman)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fvflow.errors import NumericsError
from fvflow.interruptible import interruptible
from fvflow.jit import kernel
from fvflow.linalg.matrix import FaceMatrix
from fvflow.mesh import Array, Index

UNDERFLOW = "the elimination met a zero pivot: rates between cells underflow; use a finer mesh or a larger epsilon"


def null_vector(matrix: FaceMatrix) -> Array:
    """x > 0 (cell,) with maximum 1 and zero net outflow, sum of down x_K - up x_L, in every cell; volumes play no role.

    Cells are eliminated in the order of minimum degree. Eliminating one increases the rates between its neighbours by
    the rate into it times the probability of each exit,

        p_j = sum_{i>j} s_ij,  l_ij = s_ij/p_j,  s_ik += l_ij s_jk,      x_j = sum_{k>j} s_jk x_k/p_j,

    s_ij being the rate from j to i. This is the LU factorisation with its diagonal, the only place where it subtracts,
    computed as a sum instead. So every x_K is accurate to a few ulp times the length of a path, however small it is and
    however rarely parts of the mesh exchange mass. Every cell has to be reachable from every other.

    Grassmann, Taksar, Heyman, Regenerative analysis and steady state distributions for Markov chains, Oper. Res. 33
    (1985); O'Cinneide, Entrywise perturbation theory and error analysis for Markov chains, Numer. Math. 65 (1993).
    Raises NumericsError if rates underflow.
    """
    cells = len(matrix.volume)
    factors = factorise_chain(matrix, np.zeros(cells))
    if not (factors.pivot[:-1] > 0).all():
        raise NumericsError(UNDERFLOW)
    x = np.empty(cells)
    x[factors.order] = back_substitute(factors.pivot, factors.column, factors.reach, factors.upper)
    return np.asarray(x / x.max())


@dataclass(frozen=True, eq=False)
class ChainFactors:
    """D - S = L U, S_ij being the rate from j to i and D_jj the sum of all rates out of j, in elimination order."""

    order: Index  # (cell,) the cells in their order of elimination
    pivot: Array  # (cell,) U_jj = p_j
    start: Any  # (cell + 1,) where the columns of L below the diagonal start
    below: Any  # rows of L
    lower: Array  # -L_ij = s_ij/p_j
    column: Any  # (cell + 1,) where the columns of U above the diagonal start
    reach: Any  # rows of U
    upper: Array  # -U_jk = s_jk


def factorise_chain(matrix: FaceMatrix, leak: Array) -> ChainFactors:
    """The factors of the generator of a chain that also leaves each cell at the rate `leak` (cell,) for good.

    Volumes play no role. A pivot is 0 if all rates out of its cell are, or underflow.
    """
    first, row, rate, order = _columns(matrix)
    parent, start, below = interruptible(structure, first, row)
    pivot, column, reach, upper, lower = interruptible(
        schur_reduce, first, row, rate, leak[order], parent, start, below
    )
    return ChainFactors(order, pivot, start, below, lower, column, reach, upper)


def _columns(matrix: FaceMatrix) -> tuple[Any, Any, Any, Index]:
    """The rates out of each cell in compressed columns, permuted to elimination order, and that order (cell,)."""
    from scipy.sparse import coo_array

    cells = len(matrix.volume)
    rows = np.concatenate([matrix.neighbour, matrix.owner])
    columns = np.concatenate([matrix.owner, matrix.neighbour])
    rates = np.concatenate([matrix.down, matrix.up])
    order = _minimum_degree(rows, columns, cells)
    place = np.empty(cells, np.int32)
    place[order] = np.arange(cells, dtype=np.int32)
    whole = coo_array((rates, (place[rows], place[columns])), shape=(cells, cells)).tocsc()
    return whole.indptr.astype(np.int64), whole.indices.astype(np.int32), whole.data, order


def _minimum_degree(rows: Index, columns: Index, cells: int) -> Index:
    """The elimination order (cell,): that of SuperLU, from an incomplete factorisation that drops every entry."""
    from scipy.sparse import coo_array
    from scipy.sparse.linalg import spilu

    every = np.arange(cells, dtype=np.int32)
    values = np.concatenate([np.full(len(rows), -1.0), 1.0 + np.bincount(rows, minlength=cells)])
    places = np.concatenate([rows, every]), np.concatenate([columns, every])
    matrix = coo_array((values, places), shape=(cells, cells)).tocsc()
    empty: Any = interruptible(
        lambda: spilu(matrix, drop_tol=1.0, fill_factor=1.0, permc_spec="MMD_AT_PLUS_A"),
    )
    return np.argsort(empty.perm_c).astype(np.int32)


@kernel()
def structure(first: Any, row: Any) -> Any:
    """Symbolic factorisation: the parent of each column in the elimination tree, and the rows of L by columns."""
    count = len(first) - 1
    parent, ancestor = np.full(count, -1, np.int32), np.full(count, -1, np.int32)
    for j in range(count):
        for p in range(first[j], first[j + 1]):
            k = row[p]
            while k != -1 and k < j:
                above = ancestor[k]
                ancestor[k] = j
                if above == -1:
                    parent[k] = j
                k = above
    start, mark = np.zeros(count + 1, np.int64), np.full(count, -1, np.int32)
    for j in range(count):
        mark[j] = j
        for p in range(first[j], first[j + 1]):
            k = row[p]
            while k < j and mark[k] != j:
                mark[k] = j
                start[k + 1] += 1
                k = parent[k]
    for j in range(count):
        start[j + 1] += start[j]
    below, filled = np.empty(start[count], np.int32), start.copy()
    mark[:] = -1
    for j in range(count):
        mark[j] = j
        for p in range(first[j], first[j + 1]):
            k = row[p]
            while k < j and mark[k] != j:
                mark[k] = j
                below[filled[k]] = j
                filled[k] += 1
                k = parent[k]
    return parent, start, below


@kernel()
def schur_reduce(first: Any, row: Any, rate: Any, leak: Any, parent: Any, start: Any, below: Any) -> Any:
    """Pivots, the columns of U above the diagonal in compressed form (start, rows, values), and the values of L."""
    count = len(first) - 1
    lower, upper = np.empty(len(below)), np.empty(len(below))
    reach, column = np.empty(len(below), np.int32), np.zeros(count + 1, np.int64)
    pivot, x = leak.copy(), np.zeros(count)
    lost = np.empty(count)  # probability to leave for good before any later cell is met
    mark, path, stack = np.full(count, -1, np.int32), np.empty(count, np.int32), np.empty(count, np.int32)
    used = 0
    for j in range(count):
        mark[j] = j
        top = count
        for p in range(first[j], first[j + 1]):
            k = row[p]
            x[k] += rate[p]
            length = 0
            while k < j and mark[k] != j:
                path[length] = k
                length += 1
                mark[k] = j
                k = parent[k]
            while length > 0:
                length -= 1
                top -= 1
                stack[top] = path[length]
        for t in range(top, count):  # each before its ancestors, which it updates
            k = stack[t]
            u = x[k]
            x[k] = 0.0
            reach[used] = k
            upper[used] = u
            used += 1
            pivot[j] += lost[k] * u
            for p in range(start[k], start[k + 1]):
                x[below[p]] += lower[p] * u
        column[j + 1] = used
        x[j] = 0.0  # drop the self-loop j -> j
        lost[j] = pivot[j]
        for p in range(start[j], start[j + 1]):
            pivot[j] += x[below[p]]
        divisor = pivot[j] if pivot[j] > 0 else np.inf
        lost[j] /= divisor
        for p in range(start[j], start[j + 1]):
            lower[p] = x[below[p]] / divisor
            x[below[p]] = 0.0
    return pivot, column, reach, upper, lower


@kernel()
def back_substitute(pivot: Any, column: Any, reach: Any, value: Any) -> Any:
    """The null vector (cell,), rescaled before it overflows."""
    count = len(pivot)
    x = np.zeros(count)
    x[count - 1] = 1.0
    for k in range(count - 1, -1, -1):
        if k < count - 1:
            x[k] /= pivot[k]
        if x[k] > 1e150:
            x *= 1e-150
        for p in range(column[k], column[k + 1]):
            x[reach[p]] += value[p] * x[k]
    return x
