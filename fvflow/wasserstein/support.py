"""The pairs of cells that a plan at the scale eps may use, near the graph of a Legendre pair."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fvflow.mesh import Array
from fvflow.wasserstein.legendre import Indices, half_square, legendre, legendre_nodes
from fvflow.wasserstein.pyramid import Atoms, Level
from fvflow.wasserstein.scaling import SparseRows
from fvflow.wasserstein.sinkhorn_kernels import fill_support


@dataclass(frozen=True)
class Reach:
    """How far the support goes: cells of the window each way, and reduced costs in units of eps."""

    cells: int
    cost: float
    most: int  # cells that the window is ever made wide

    def wider(self) -> Reach:
        """The reach after a scaling that did not converge: plans of rough maps, and of much expansion, need more."""
        return Reach(
            min(self.cells + -(-self.most // 4), self.most), max(self.cost, min(2.0 * self.cost, 48.0)), self.most
        )


@dataclass(frozen=True)
class Potentials:
    """f (atom,) of the first measure and g (atom,) of the second, for |x - y|^2/2, on a torus to the nearest image."""

    first: Array
    second: Array


@dataclass(frozen=True)
class Transform:
    """The conjugate f_i = min_j c_ij - g_j at the atoms, and the cell (atom, 3) where it is attained."""

    value: Array
    node: Indices


def conjugate(level: Level, source: Atoms, potential: Array, target: Atoms) -> Transform:
    """The c-transform at the atoms of `target` of a potential (atom,) of `source`, by the Legendre transform."""
    centres, half = level.centres, half_square(level.centres)
    v = level.dense(source, half.ravel()[source.cells] - potential, np.inf)
    u, nodes = legendre_nodes(v, centres, centres, level.periods)
    node = np.zeros((target.count, 3), np.int32)
    for axis, index in enumerate(nodes):
        node[:, axis] = index.ravel()[target.cells]
    return Transform(half.ravel()[target.cells] - u.ravel()[target.cells], node)


def convex_extension(level: Level, potential: Array) -> Array:
    """|y|^2/2 - g of the second measure, made convex on all cells (cell, ...)."""
    centres, half = level.centres, half_square(level.centres)
    v = level.dense(level.second, half.ravel()[level.second.cells] - potential, np.inf)
    return legendre(legendre(v, centres, centres, level.periods), centres, centres, level.periods)


def support(
    level: Level, potentials: Potentials, to: Transform, back: Transform, eps: float, reach: Reach
) -> SparseRows:
    """The pairs near the graphs of both conjugates, with the values exp((f + g - c)/eps)."""
    first, second = level.first, level.second
    fields = [
        level.dense(atoms, values, -np.inf).ravel()
        for atoms, values in (
            (first, potentials.first), (second, potentials.second), (first, to.value), (second, back.value),
        )
    ]  # fmt: skip
    number = [
        level.dense(atoms, np.arange(atoms.count, dtype=float), -1.0).ravel().astype(np.int32)
        for atoms in (first, second)
    ]
    window = np.full(3, reach.cells)
    arguments = (
        reach.cost * eps, window, eps, level.turns, *level.coordinates, first.index, second.index, to.node, back.node,
        *fields, *number,
    )  # fmt: skip
    head = np.zeros(first.count, np.int64)
    fill_support(False, *arguments, head, np.empty(0, np.int32), np.empty(0))
    start = np.concatenate([[0], np.cumsum(head)])
    column, value = np.empty(start[-1], np.int32), np.empty(start[-1])
    fill_support(True, *arguments, start[:-1].copy(), column, value)
    return SparseRows(start, column, value)
