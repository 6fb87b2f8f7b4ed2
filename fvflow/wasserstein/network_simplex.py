"""Transport between two lists of integer masses on a sparse set of arcs: primal network simplex.

    minimise sum_a c_a f_a   under   sum_{a from i} f_a = supply_i,  sum_{a to j} f_a = demand_j,  f >= 0.

The basis is a spanning tree hung on a root, to which every node has an artificial arc of cost ``penalty`` at the
start; arcs have no upper bound, so only tree arcs carry flow, and an arc is known by its lower end. Strongly feasible
trees (Cunningham 1976: every arc without flow points to the root) keep degenerate pivots from cycling; arcs are
priced in blocks. Masses are integers, so that flows are exact and what the arcs cannot carry is known exactly.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fvflow.mesh import Array
from fvflow.wasserstein.legendre import Places


@dataclass(frozen=True)
class Flow:
    """A feasible flow: on the arcs (tail, head) of positive ``mass``, and what was left over at either side."""

    tail: Places
    head: Places
    mass: Places
    spare_supply: Places  # (supply,) not sent along any arc
    spare_demand: Places  # (demand,)
    pivots: int


class NetworkSimplex:
    """The tree, kept between calls of ``solve`` so that arcs may be added."""

    def __init__(self, supply: Places, demand: Places, penalty: float) -> None:
        if supply.sum() != demand.sum() or min(supply.min(), demand.min()) <= 0:
            raise ValueError("supplies and demands must be positive and balance")
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

    def add(self, tail: Places, head: Places, cost: Array) -> None:
        """More arcs, from supply ``tail`` to demand ``head``; repeated ones do no harm."""
        self.tail = np.concatenate([self.tail, tail])
        self.head = np.concatenate([self.head, head + self.supplies])
        self.cost = np.concatenate([self.cost, cost])

    def solve(self, tolerance: float, pivots: int = 1 << 60) -> Flow:
        """Pivot until no arc has a reduced cost below -tolerance. Any number of pivots leaves a feasible flow."""
        from fvflow.wasserstein.kernels import pivot

        self.pivots += pivot(
            self.tail, self.head, self.cost, self.parent, self.depth, self.child, self.after, self.before,
            self.upward, self.flow, self.price, self.arc, tolerance, pivots,
        )  # fmt: skip
        carrying = (self.arc >= 0) & (self.flow > 0)
        arc = self.arc[carrying]
        spare = np.where(self.arc[:-1] < 0, self._artificial(), 0)
        n = self.supplies
        return Flow(self.tail[arc], self.head[arc] - n, self.flow[carrying], spare[:n], spare[n:], self.pivots)

    def _artificial(self) -> Places:
        """The flow of the arc to the root of each node that still has one."""
        return np.where(self.parent[:-1] == len(self.parent) - 1, self.flow[:-1], 0)

    @property
    def duals(self) -> tuple[Array, Array]:
        """(f, g) with f_i + g_j = cost on the tree and <= cost + tolerance on all arcs after ``solve``."""
        return -self.price[: self.supplies], self.price[self.supplies : -1]
