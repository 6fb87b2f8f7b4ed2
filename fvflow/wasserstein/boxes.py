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


def box_cost(level: Level, row: Indices, column: Indices, mass: Array) -> float:
    """int |x - y|^2 dpi of the plan of boxes, from the atoms (entry,) that the entries join and their masses."""
    keep = mass > 0
    row, column, mass = row[keep], column[keep], mass[keep]
    first, second = level.first, level.second
    entries = np.arange(len(mass), dtype=np.int32)
    _, by_column = _sorted(column, entries, second.count)
    row_start, by_row = _sorted(row, by_column, first.count)
    column_start, by_column = _sorted(column, by_row, second.count)
    boxes = []
    for start, order, partner, index in (
        (row_start, by_row, column, second.index),
        (column_start, by_column, row, first.index),
    ):
        middle, size = np.empty((len(mass), 3)), np.empty((len(mass), 3))
        kernels.cut_boxes(start, order, mass, partner, index, middle, size)
        boxes.append((middle, size))
    (x_middle, x_size), (y_middle, y_size) = boxes
    return kernels.box_cost(
        row, column, mass, first.mean, second.mean, first.size, second.size, x_middle, y_middle, x_size, y_size
    )


def _sorted(key: Indices, order: Indices, count: int) -> tuple[Indices, Indices]:
    """Where each key begins, and `order` (entry,) sorted by key, stably."""
    start = np.zeros(count + 1, np.int64)
    order = kernels.counting_sort(key, order, start)
    return start, order
