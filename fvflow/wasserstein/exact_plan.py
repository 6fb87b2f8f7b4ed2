"""The optimal plan between few atoms by the network simplex, where no support near a graph carries one."""

from __future__ import annotations

import numpy as np

from fvflow.wasserstein.legendre import Indices
from fvflow.wasserstein.network_simplex import NetworkSimplex
from fvflow.wasserstein.pyramid import Atoms, Level
from fvflow.wasserstein.scaling import SparseRows
from fvflow.wasserstein.support import Potentials

_UNITS = 2.0**58  # in which the total mass is counted


def optimal_plan(level: Level) -> tuple[SparseRows, Potentials]:
    """The plan as sparse rows of masses, up to 1e-17 of the total, and the potentials of cell centres; all pairs."""
    first, second = level.first, level.second
    x, y = (np.stack([c[atoms.index[:, k]] for k, c in enumerate(level.coordinates)], 1) for atoms in (first, second))
    row, column = (index.ravel() for index in np.indices((first.count, second.count)))
    cost = 0.5 * ((x[:, None] - level.image(y, x[:, None])) ** 2).sum(axis=2).ravel()
    simplex = NetworkSimplex(_counted(first), _counted(second), penalty=10.0 * float(cost.max()) + 1.0)
    simplex.add(row, column, cost)
    flow = simplex.solve(1e-13 * float(cost.max()))
    order = np.argsort(flow.tail, kind="stable")
    start = np.concatenate([[0], np.cumsum(np.bincount(flow.tail, minlength=first.count))])
    matrix = SparseRows(start, flow.head[order].astype(np.int32), flow.mass[order] / _UNITS)
    return matrix, Potentials(*simplex.duals)


def _counted(atoms: Atoms) -> Indices:
    """The masses as positive integers whose sum is that of all units."""
    amount: Indices = np.maximum(np.rint(atoms.mass / atoms.mass.sum() * _UNITS).astype(np.int64), 1)
    amount[np.argmax(amount)] += int(_UNITS) - int(amount.sum())
    return amount
