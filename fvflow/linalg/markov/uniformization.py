"""Uniformization: the stochastic matrix P of one jump of the Markov chain with a finite-volume generator."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from fvflow.jit import kernel
from fvflow.linalg.matrix import FaceMatrix, divergence
from fvflow.mesh import Array, Index
from fvflow.parallel import world
from fvflow.sums import compiled_sum

_MARGIN = 1.0 + 64 * np.finfo(float).eps  # keeps the diagonal of P non-negative in spite of round-off
_MAX_DIAGONAL_PAIRS = 3  # of P beside the main diagonal, as on grids of up to three dimensions

# (x, y, twice, back, weight, total) -> (|y|_1, |y - x|_1), y and total updated in place
RecurrenceStep = Callable[[Array, Array, float, float, float, Array], tuple[float, float]]


def jump_rate(matrix: FaceMatrix) -> float:
    """lambda = max_K (A_KK + sum of the absolute values below it)/(2 |K|), for the matrix |K| + A.

    If A has no positive entry off its diagonal, this is the largest rate of outflow of a cell; by Gershgorin the
    eigenvalues of 1 - A |K|^-1/lambda lie in the unit disk.
    """
    cells = len(matrix.volume)
    down, up = matrix.down + np.abs(matrix.down), matrix.up + np.abs(matrix.up)  # both halves of the column
    leaving = np.bincount(matrix.owner, down, cells) + np.bincount(matrix.neighbour, up, cells)
    return world().largest(0.5 * leaving / matrix.volume) * _MARGIN


def chebyshev_growth_bound(matrix: FaceMatrix, rate: float) -> float:
    """s such that T_k(P) grows at most like (1 + sqrt 2) T_k(1 + s) in the norm of L2, for the matrix |K| + A.

    With the masses scaled by |K|^-1/2 the numerical range of P lies in the ellipse y^2 <= q^2 (a^2 - x^2),

        q = max_s |down - up|/(down + up),    a = 1 + max_K sum_s (in - out)/(2 lambda |K|),

    since y <= q sum_s H_s 2 |f_K f_L sin| <= q (sum_s H_s |f_K - f_L|^2 sum_s H_s |f_K + f_L|^2)^1/2 with
    H_s = (down + up)/(2 lambda), and the sums are at most a - x and a + x. Crouzeix, Palencia, The numerical
    range is a (1 + sqrt 2) spectral set, SIAM J. Matrix Anal. Appl. 38 (2017).
    """
    skew, both = matrix.down - matrix.up, matrix.down + matrix.up
    steepest = world().highest(float((np.abs(skew) / np.where(both > 0, both, np.inf)).max(initial=0.0)))
    wider = max(world().largest(-divergence(matrix, skew) / (2 * rate * matrix.volume)), 0.0)
    square = (steepest * (1.0 + wider)) ** 2
    return max(wider, square / (1.0 + math.sqrt(1.0 + square)))  # sqrt(1 + square) - 1


def recurrence_step(matrix: FaceMatrix, rate: float, adjoint: bool = False) -> RecurrenceStep:
    """A step of a three-term recurrence, y = twice P x - back y, total += weight y, for the matrix |K| + A.

    The function returned makes one pass over the memory and returns |y|_1 and |y - x|_1. P is stored by diagonals if
    they are few, as on grids, else by rows; the products are the same to the last bit. `adjoint` takes P*, the mean of
    a function after a jump, for P.
    """
    chances = jumps(matrix, rate)
    if adjoint:
        chances = chances[0], chances[2], chances[1]
    ahead, comm = np.unique(matrix.neighbour - matrix.owner), world()
    ring = ahead.min(initial=1) <= 0 or (comm.division is not None and comm.division.periodic)
    table, loop = (
        (_diagonals(matrix, chances, ahead), recur_diagonals)
        if len(ahead) <= _MAX_DIAGONAL_PAIRS and not ring
        else (_rows(matrix, chances), recur_rows)
    )

    norms = np.empty((2, matrix.layers))

    def step(x: Array, y: Array, twice: float, back: float, weight: float, total: Array) -> tuple[float, float]:
        loop(*table, x, y, float(twice), float(back), float(weight), total, norms)
        comm.refresh(y)
        return comm.total_of_layers(norms[0]), comm.total_of_layers(norms[1])

    return step


def jumps(matrix: FaceMatrix, rate: float) -> tuple[Array, Array, Array]:
    """P = 1 - A |K|^-1/lambda on masses: the probabilities to stay (cell,), and to jump down and up each face (face,).

    With down, up >= 0 none is negative and columns add up to 1, so that products with P take no subtraction.
    """
    cells = len(matrix.volume)
    down = matrix.down / (rate * matrix.volume[matrix.owner])
    up = matrix.up / (rate * matrix.volume[matrix.neighbour])
    leaving = np.bincount(matrix.owner, down, cells) + np.bincount(matrix.neighbour, up, cells)
    return np.asarray(1.0 - leaving), down, up


def mean_after_jump(matrix: FaceMatrix, rate: float) -> Callable[[Array], Array]:
    """phi -> P* phi (cell,): the mean of phi after a jump from each cell, with the probabilities of `jumps`."""
    from scipy.sparse import coo_array

    cells = np.arange(len(matrix.volume), dtype=np.int32)
    kept, down, up = jumps(matrix, rate)
    rows = np.concatenate([cells, matrix.owner, matrix.neighbour])
    columns = np.concatenate([cells, matrix.neighbour, matrix.owner])
    table = coo_array((np.concatenate([kept, down, up]), (rows, columns)), shape=(len(cells), len(cells))).tocsr()
    return lambda values: np.asarray(table @ values)


def _rows(matrix: FaceMatrix, chances: tuple[Array, Array, Array]) -> tuple[Any, ...]:
    """P in compressed rows, from the probabilities to stay and to jump down and up.

    On a grid a row has its cells in their order along the axes, over a seam too, wherever a ring is cut.
    """
    from scipy.sparse import coo_array

    cells = np.arange(len(matrix.volume), dtype=np.int32)
    kept, down, up = chances
    rows = np.concatenate([cells, matrix.owner, matrix.neighbour])
    columns = np.concatenate([cells, matrix.neighbour, matrix.owner])
    values = np.concatenate([kept, up, down])
    if matrix.shape is not None:
        steps = [np.full(part.size, math.prod(matrix.shape[place + 1 :])) for place, part, _ in matrix.along()]
        offset = np.concatenate(steps)
        order = np.lexsort((np.concatenate([np.zeros_like(cells), offset, -offset]), rows))
        start = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=len(cells)))])
        return start, columns[order], values[order]
    table = coo_array((values, (rows, columns)), shape=(len(cells), len(cells))).tocsr()
    table.sort_indices()
    return table.indptr, table.indices, table.data


def _diagonals(matrix: FaceMatrix, chances: tuple[Array, Array, Array], ahead: Index) -> tuple[Any, ...]:
    """P by diagonals: the offset of each from the main one (diagonal,), and P_{K, K + offset} (diagonal, cell)."""
    kept, down, up = chances
    offset = np.concatenate([-ahead[::-1], [0], ahead]).astype(np.int64)
    band = np.zeros((len(offset), len(kept)))
    band[len(ahead)] = kept
    place = np.searchsorted(ahead, matrix.neighbour - matrix.owner)
    np.add.at(band, (len(ahead) + 1 + place, matrix.owner), up)  # two openings of a cell may lead to the same end
    np.add.at(band, (len(ahead) - 1 - place, matrix.neighbour), down)
    return offset, band


@kernel()
def recur_rows(
    start: Any,
    column: Any,
    value: Any,
    x: Any,
    y: Any,
    twice: float,
    back: float,
    weight: float,
    total: Any,
    norms: Any,
) -> None:
    """The loop of `recurrence_step` over rows; |y|_1 and |y - x|_1 of each layer go to `norms` (2, layer)."""
    layers = norms.shape[1]
    cells = len(x) // layers
    for layer in range(layers):
        norm, change = 0.0, 0.0
        for i in range(layer * cells, (layer + 1) * cells):
            gathered = 0.0
            for k in range(start[i], start[i + 1]):
                gathered += value[k] * x[column[k]]
            new = twice * gathered - back * y[i]
            y[i] = new
            total[i] += weight * new
            norm += abs(new)
            change += abs(new - x[i])
        norms[0, layer], norms[1, layer] = norm, change


@kernel()
def recur_diagonals(
    offset: Any, band: Any, x: Any, y: Any, twice: float, back: float, weight: float, total: Any, norms: Any
) -> None:
    """The loop of `recurrence_step` over diagonals, in blocks of cells that stay in the cache; norms as above."""
    layers = norms.shape[1]
    cells = len(x) // layers
    width = min(512, cells)
    gathered, change = np.empty(width), np.empty(width)
    for layer in range(layers):
        norms[:, layer] = 0.0
        for start in range(layer * cells, (layer + 1) * cells, width):
            count = min(width, (layer + 1) * cells - start)
            gathered[:] = 0.0
            for d in range(len(offset)):
                low, high = max(0, -offset[d] - start), min(count, len(x) - offset[d] - start)
                if low < high:
                    value = band[d, start + low : start + high]
                    source = x[start + low + offset[d] : start + high + offset[d]]
                    part = gathered[low:high]
                    for i in range(high - low):
                        part[i] += value[i] * source[i]
            before, after, sums = x[start : start + count], y[start : start + count], total[start : start + count]
            for i in range(count):
                new = twice * gathered[i] - back * after[i]
                after[i] = new
                sums[i] += weight * new
                gathered[i] = abs(new)
                change[i] = abs(new - before[i])
            norms[0, layer] += compiled_sum(gathered[:count])
            norms[1, layer] += compiled_sum(change[:count])
