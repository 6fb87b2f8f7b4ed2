"""Primal network simplex for transport between two arrays of integer masses on a sparse set of arcs.

    minimise sum_a c_a f_a   under   sum_{a from i} f_a = supply_i,  sum_{a to j} f_a = demand_j,  f >= 0.

The basis is a spanning tree with a root; initially every node is joined to it by an artificial arc of cost `penalty`.
Arcs have no upper bound, so only tree arcs carry flow, and a tree arc is identified by its lower end. Strongly feasible
trees (Cunningham 1976: every arc without flow points to the root) prevent cycling in degenerate pivots; arcs are priced
in blocks. Masses are integers, so flows are exact, and so is the mass that the arcs cannot carry.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fvflow.mesh import Array
from fvflow.wasserstein.legendre import Indices

_MOST_PIVOTS = 1000  # per node; transport between images takes about ten
_PORTION = 10**8  # pivots at a time, times nodes: a second, if each pivot moves half of the tree


@dataclass(frozen=True)
class NetworkFlow:
    """A feasible flow: the arcs (tail, head) of positive `mass`, and the supply and demand that no arc carries."""

    tail: Indices
    head: Indices
    mass: Indices
    spare_supply: Indices  # (supply,) carried by no arc
    spare_demand: Indices  # (demand,) carried by no arc
    pivots: int


class NetworkSimplex:
    """The spanning tree, kept between calls of `solve` so that arcs can be added.

    Raises ValueError unless all masses are positive and both totals agree.
    """

    def __init__(self, supply: Indices, demand: Indices, penalty: float) -> None:
        if supply.sum() != demand.sum() or min(supply.min(), demand.min()) <= 0:
            raise ValueError("supplies and demands must be positive and have the same total")
        n, nodes = len(supply), len(supply) + len(demand)
        self.supplies, self.penalty, self.pivots = n, penalty, 0
        root = nodes
        self.parent = np.full(nodes + 1, root)
        self.parent[root] = -1
        self.depth = np.ones(nodes + 1, np.int64)
        self.depth[root] = 0
        self.child = np.full(nodes + 1, -1)  # first child, then a doubly linked list of siblings
        self.child[root] = 0
        self.after = np.append(np.arange(1, nodes + 1), -1)
        self.after[nodes - 1] = -1
        self.before = np.append(np.arange(-1, nodes - 1), -1)
        self.upward = np.arange(nodes + 1) < n  # the arc to the parent points to the parent
        self.flow = np.concatenate([supply, demand, [0]]).astype(np.int64)
        self.price = np.where(self.upward, -penalty, penalty)  # tree arcs: cost + price[tail] - price[head] = 0
        self.price[root] = 0.0
        self.tail, self.head = np.empty(0, np.int64), np.empty(0, np.int64)
        self.cost = np.empty(0)
        self.arc = np.full(nodes + 1, -1)  # the arc to the parent, -1 for an artificial one

    def add(self, tail: Indices, head: Indices, cost: Array) -> None:
        """Add arcs from supply `tail` to demand `head`; duplicates are allowed."""
        self.tail = np.concatenate([self.tail, tail])
        self.head = np.concatenate([self.head, head + self.supplies])
        self.cost = np.concatenate([self.cost, cost])

    def solve(self, tolerance: float, pivots: int | None = None) -> NetworkFlow:
        """Pivot, at most `pivots` times, until no arc has a reduced cost below -tolerance; any flow is feasible.

        By default at most 1000 times per node. The pivots are made some at a time, so that signals are heard.
        """
        from fvflow.wasserstein.kernels import pivot

        left = _MOST_PIVOTS * len(self.parent) if pivots is None else pivots
        portion = max(1, _PORTION // len(self.parent))
        cursor, made = np.zeros(1, np.int64), portion
        while made == portion and left > 0:
            portion = min(portion, left)
            made = pivot(
                self.tail, self.head, self.cost, self.parent, self.depth, self.child, self.after, self.before,
                self.upward, self.flow, self.price, self.arc, cursor, tolerance, portion,
            )  # fmt: skip
            self.pivots += made
            left -= made
        carrying = (self.arc >= 0) & (self.flow > 0)
        arc = self.arc[carrying]
        spare = np.where(self.arc[:-1] < 0, self._artificial(), 0)
        n = self.supplies
        return NetworkFlow(self.tail[arc], self.head[arc] - n, self.flow[carrying], spare[:n], spare[n:], self.pivots)

    def _artificial(self) -> Indices:
        """The flow on the artificial arc of each node; 0 if its tree arc does not lead to the root."""
        return np.where(self.parent[:-1] == len(self.parent) - 1, self.flow[:-1], 0)

    @property
    def duals(self) -> tuple[Array, Array]:
        """f (supply,) and g (demand,) with f_i + g_j = cost on the tree.

        After `solve`, f_i + g_j <= cost + tolerance on all arcs.
        """
        return -self.price[: self.supplies], self.price[self.supplies : -1]
