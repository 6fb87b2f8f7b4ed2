"""The cost of a better plan with the same masses, which maps boxes onto boxes instead of whole cells onto cells.

Each source cell is cut into boxes, one for each cell that it sends mass to: into slabs along the first axis, ordered by
the position of the target along that axis, then each slab along the second, ..., with volumes in proportion to the
masses. Each target cell is cut in the same way by the positions of its sources. Mapping box onto box affinely couples
the constant densities at the cost

    pi_ij (|centre_ij - centre'_ij|^2 + sum_a (size_a - size'_a)^2/12).

In one dimension this is the monotone map, so the best plan of the cells becomes the exact distance.
"""

from __future__ import annotations

import numpy as np

from fvflow.mesh import Array
from fvflow.wasserstein import plan_kernels as kernels
from fvflow.wasserstein.legendre import Indices
from fvflow.wasserstein.pyramid import Level

_CHUNK = 2**18  # entries whose boxes in the source cells are held at a time


def box_cost(level: Level, row: Indices, column: Indices, mass: Array) -> float:
    """int |x - y|^2 dpi of the plan of boxes, from the atoms (entry,) that the entries join and their masses."""
    first, second, dimension = level.first, level.second, len(level.edges)
    keep = np.flatnonzero(mass > 0).astype(np.int32)
    by_row = _sorted(row, _sorted(column, keep, second.count)[1], first.count)[1]
    row, column, mass = row[by_row], column[by_row], mass[by_row]
    row_start, entries = _sorted(row, np.arange(len(mass), dtype=np.int32), first.count)
    column_start, by_column = _sorted(column, entries, second.count)
    middle, size = np.empty((2, len(mass), dimension))
    kernels.cut_boxes(column_start, by_column, 0, mass, row, first.index, middle, size)
    total, begin = 0.0, 0
    while begin < first.count:  # rows of about a chunk of entries
        end = max(int(np.searchsorted(row_start, row_start[begin] + _CHUNK, "right")) - 1, begin + 1)
        low, high = int(row_start[begin]), int(row_start[end])
        x_middle, x_size = np.empty((2, high - low, dimension))
        part = slice(low, high)
        kernels.cut_boxes(row_start[begin : end + 1], entries, low, mass, column, second.index, x_middle, x_size)
        total += kernels.box_cost(
            row[part], column[part], mass[part], first.mean, second.mean, first.size, second.size,
            x_middle, middle[part], x_size, size[part],
        )  # fmt: skip
        begin = end
    return total


def _sorted(key: Indices, order: Indices, count: int) -> tuple[Indices, Indices]:
    """Where each key begins in what `order` (entry,) lists, and that list sorted by key, stably."""
    start = np.zeros(count + 1, np.int64)
    order = kernels.counting_sort(key, order, start)
    return start, order
