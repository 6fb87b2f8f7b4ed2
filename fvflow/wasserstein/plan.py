"""Plans between atoms from a scaled sparse matrix, made feasible, and the upper bound of W2 that they prove.

Any nonnegative plan with the marginals a', b' can be completed to one of a, b: what is missing is e/2 with
e = |a - a'|_1 + |b - b'|_1, and costs at most diam^2. So W2^2 <= cost + e diam^2, whatever made the plan.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import numpy as np

from fvflow.mesh import Array
from fvflow.wasserstein import plan_kernels as kernels
from fvflow.wasserstein.boxes import box_cost
from fvflow.wasserstein.legendre import Indices
from fvflow.wasserstein.pyramid import Level
from fvflow.wasserstein.scaling import SparseRows

_MOST_BOXES = 12_000_000  # entries, of 100 bytes each
_EPS = float(np.finfo(float).eps)


@dataclass(frozen=True)
class Plan:
    """The entries p_i K_ij q_j and the pairs that repaired their marginals, with what they prove."""

    upper: float  # of W2
    to: Array  # the mean of the target of each atom of the first measure (atom, 3); nan where nothing is carried
    back: Array  # and of the source of each atom of the second
    repaired: float  # the mass that the repair carries


def feasible_plan(
    level: Level, matrix: SparseRows, p: Array, q: Array, to: Indices, moved: float, diameter: float
) -> Plan:
    """Cut p, q (atom,) down to the marginals, in place, and match what is missing, of rows near `to` (atom, 3)."""
    first, second = level.first, level.second
    row, column = np.empty(first.count), np.empty(second.count)
    kernels.cut_down(matrix.start, matrix.column, matrix.value, first.mass, second.mass, p, q, row, column)
    source, target, mass = _repair(level, first.mass - row, second.mass - column, to)
    forward, backward = np.zeros((first.count, 3)), np.zeros((second.count, 3))
    cost = kernels.plan_cost(
        matrix.start, matrix.column, matrix.value, p, q, first.mean, second.mean, first.size, second.size,
        level.turns, forward, backward,
    )  # fmt: skip
    reached, left = level.image(second.mean[target], first.mean[source]), first.mean[source]
    for x, y in ((left, reached), (first.size[source], second.size[target])):
        cost += float(mass @ ((x - y) ** 2).sum(axis=1))
    if level.constant and len(matrix.column) <= _MOST_BOXES:
        entry_row, entry_mass = np.empty(len(matrix.column), np.int32), np.empty(len(matrix.column))
        kernels.entry_masses(matrix.start, matrix.value, matrix.column, p, q, entry_row, entry_mass)
        entries = np.concatenate([entry_row, source]), np.concatenate([matrix.column, target])
        cost = min(cost, box_cost(level, *entries, np.concatenate([entry_mass, mass])))
    left = level.image(left, second.mean[target])
    for axis in range(3):
        forward[:, axis] += np.bincount(source, mass * reached[:, axis], first.count)
        backward[:, axis] += np.bincount(target, mass * left[:, axis], second.count)
    row += np.bincount(source, mass, first.count)
    column += np.bincount(target, mass, second.count)
    cost += float(row @ first.variance + column @ second.variance)
    missing = float(np.abs(first.mass - row).sum() + np.abs(second.mass - column).sum())
    # each marginal is off by the rounding of its sum, the cost by that of its terms and of their sums
    entries = max(int(np.diff(matrix.start).max()), int(np.bincount(matrix.column).max())) + 2 * len(mass) ** 0.5 + 8
    missing += moved + 2.0 * entries * _EPS
    square = cost * (1.0 + 1e-13) + missing * diameter**2
    upper = sqrt(square) * (1.0 + 4 * _EPS) + 8 * _EPS * diameter
    with np.errstate(invalid="ignore"):
        return Plan(upper, forward / row[:, None], backward / column[:, None], float(mass.sum()))


def _repair(level: Level, left_a: Array, left_b: Array, to: Indices) -> tuple[Indices, Indices, Array]:
    """Pairs of atoms and their masses that carry what is left of both measures, by the cells of a quadtree."""
    rows, columns = np.flatnonzero(left_a > 0), np.flatnonzero(left_b > 0)
    key_a, key_b = kernels.morton(to[rows]), kernels.morton(level.second.index[columns])
    sort_a, sort_b = np.argsort(key_a, kind="stable"), np.argsort(key_b, kind="stable")
    rows, columns = rows[sort_a], columns[sort_b]
    room = len(rows) + len(columns)
    source, target, mass = np.empty(room, np.int64), np.empty(room, np.int64), np.empty(room)
    count = kernels.match(key_a[sort_a], key_b[sort_b], left_a[rows], left_b[columns], 3, 63 - 3, source, target, mass)
    return rows[source[:count]], columns[target[:count]], mass[:count]
