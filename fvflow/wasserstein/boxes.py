"""The cost of a better plan with the same masses, which maps boxes onto boxes instead of whole cells onto cells.

Each source cell is cut into boxes, one for each cell that it sends mass to: into slabs along the first axis, ordered by
the position of the target along that axis, then each slab along the second, ..., with volumes in proportion to the
masses. Each target cell is cut in the same way by the positions of its sources. Mapping box onto box affinely couples
the constant densities at the cost

    pi_ij (|centre_ij - centre'_ij|^2 + sum_a (size_a - size'_a)^2/12).

In one dimension this is the monotone map, so the best plan of the cells becomes the exact distance.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from fvflow.mesh import Array
from fvflow.wasserstein import plan_kernels as kernels
from fvflow.wasserstein.legendre import Indices
from fvflow.wasserstein.pyramid import Level

_CHUNK = 2**18  # entries whose boxes in the source cells are held at a time


@dataclass(frozen=True)
class _Entries:
    """The entries of a plan sorted by row; places (., 3) of what the entries join, those of a cell in increasing order.

    Along periodic axes these are steps from a cell to the nearest image of the other.
    """

    row: Indices  # (entry,)
    column: Indices
    mass: Array
    by_row: tuple[Indices, Indices]  # where each row begins in the list of entries
    by_column: tuple[Indices, Indices]
    target: tuple[Indices, Indices]  # of each entry: its number (entry,) among the places
    source: tuple[Indices, Indices]


def box_cost(level: Level, row: Indices, column: Indices, mass: Array) -> float:
    """int |x - y|^2 dpi of the plan of boxes, from the atoms (entry,) that the entries join and their masses."""
    first, second, dimension = level.first, level.second, len(level.edges)
    plan = (_ordered if level.turns is None else _ordered_on_torus)(level, row, column, mass)
    row, column, mass, (row_start, entries) = plan.row, plan.column, plan.mass, plan.by_row
    middle, size = np.empty((2, len(mass), dimension))
    kernels.cut_boxes(*plan.by_column, 0, mass, *plan.source, middle, size)
    total, begin = 0.0, 0
    while begin < first.count:  # rows of about a chunk of entries
        end = max(int(np.searchsorted(row_start, row_start[begin] + _CHUNK, "right")) - 1, begin + 1)
        low, high = int(row_start[begin]), int(row_start[end])
        x_middle, x_size = np.empty((2, high - low, dimension))
        part = slice(low, high)
        kernels.cut_boxes(row_start[begin : end + 1], entries, low, mass, *plan.target, x_middle, x_size)
        total += kernels.box_cost(
            row[part], column[part], mass[part], first.mean, second.mean, first.size, second.size, level.turns,
            x_middle, middle[part], x_size, size[part],
        )  # fmt: skip
        begin = end
    return total


def _ordered(level: Level, row: Indices, column: Indices, mass: Array) -> _Entries:
    first, second = level.first, level.second
    keep = np.flatnonzero(mass > 0).astype(np.int32)
    by_row = _sorted(row, _sorted(column, keep, second.count)[1], first.count)[1]
    row, column, mass = row[by_row], column[by_row], mass[by_row]
    in_rows = _sorted(row, np.arange(len(mass), dtype=np.int32), first.count)
    in_columns = _sorted(column, in_rows[1], second.count)
    return _Entries(row, column, mass, in_rows, in_columns, (column, second.index), (row, first.index))


def _ordered_on_torus(level: Level, row: Indices, column: Indices, mass: Array) -> _Entries:
    first, second = level.first, level.second
    keep = np.flatnonzero(mass > 0).astype(np.int32)
    steps, turns = second.index[column] - first.index[row], level.turns
    assert turns is not None
    for axis, n in enumerate(level.shape):
        apart = first.mean[row, axis] - second.mean[column, axis]
        steps[:, axis] += n * ((apart > 0.5 * turns[axis]).astype(np.int32) - (apart < -0.5 * turns[axis]))
    shape = tuple(2 * n + 1 for n in level.shape)
    key = np.ravel_multi_index(tuple((steps[:, : len(shape)] + np.array(level.shape)).T), shape).astype(np.int32)
    by_row = _sorted(row, _sorted(key, keep, prod(shape))[1], first.count)[1]
    row, column, mass, steps, key = row[by_row], column[by_row], mass[by_row], steps[by_row], key[by_row]
    entries = np.arange(len(mass), dtype=np.int32)
    backwards = _sorted(prod(shape) - 1 - key, entries, prod(shape))[1]
    in_rows, in_columns = _sorted(row, entries, first.count), _sorted(column, backwards, second.count)
    return _Entries(row, column, mass, in_rows, in_columns, (entries, steps), (entries, -steps))


def _sorted(key: Indices, order: Indices, count: int) -> tuple[Indices, Indices]:
    """Where each key begins in what `order` (entry,) lists, and that list sorted by key, stably."""
    start = np.zeros(count + 1, np.int64)
    order = kernels.counting_sort(key, order, start)
    return start, order
