"""An optimal plan between the cells of a uniform grid, and the upper bound of W2 that it gives.

A coupling pi_ij of the cell masses translates the part of cell i that goes to j, at the cost pi_ij |x_i - y_j|^2/2
between centres: exactly the cost of the discrete plan. So any plan between the atoms of cell mass bounds W2 of the
densities from above, and splitting the cells gives tighter bounds. The optimal plan is computed by column generation:
network simplex on few arcs, then all n^2 others are priced at once by the Legendre transform of the duals, which
returns for each i the j that maximises x_i . y_j - v_j, in linear time. The bound is then improved by cutting the cells
of each pair into boxes (`boxes`), at no further cost.

The masses are rounded to integers. If rounding moves the mass e, of mu and nu together, the plan of the rounded masses,
restricted to (mu, nu) and completed arbitrarily, costs at most e diam^2/2 more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from math import prod, sqrt

import numpy as np

from fvflow.mesh import Array
from fvflow.wasserstein.boxes import box_cost
from fvflow.wasserstein.legendre import Indices, centres, half_square, interpolated, legendre, legendre_nodes
from fvflow.wasserstein.network_simplex import NetworkFlow, NetworkSimplex


@dataclass(frozen=True)
class Coupling:
    """A plan between cells (flat indices), and its bounds."""

    source: Indices
    target: Indices
    mass: Array
    upper: float  # upper bound of W2 of the densities
    discrete: float  # lower bound of W2 between the atoms: limits how far the plan is from optimal
    dual: Array  # v on the grid of nu, for the lower bound of W2
    rounds: int
    arcs: int


def coupling(
    mu: Array,
    nu: Array,
    spacing: Sequence[float],
    guess: Array | None = None,
    gap: float = 1e-5,
    dense: int = 400,
    rounds: int = 30,
) -> Coupling:
    """The optimal plan between the cells, up to the relative `gap` in W2^2 or at most so many `rounds` of pricing.

    `guess` is v at the cell centres of nu. Without it the problem on cells twice as large gives one, recursively, down
    to `dense` cells, for which all arcs are included.
    """
    masses = _Masses.of(mu), _Masses.of(nu)
    points = centres(mu.shape, spacing)
    grid = _CentreGrid(mu.shape, tuple(spacing), points, half_square(points))
    if guess is None and prod(mu.shape) > dense:
        pair = [_restricted(m) for m in (mu, nu)]
        doubled = tuple(2.0 * h if n > 1 else h for n, h in zip(mu.shape, spacing, strict=True))
        coarse = coupling(pair[0], pair[1], doubled, gap=1e-4, dense=dense, rounds=rounds)
        guess = interpolated(coarse.dual, doubled, points)
    return _generate_columns(masses, grid, guess, gap, rounds)


def _generate_columns(
    masses: tuple[_Masses, _Masses], grid: _CentreGrid, guess: Array | None, gap: float, rounds: int
) -> Coupling:
    """Solve on the current arcs, price all others, add those of negative reduced cost, until the gap is closed."""
    (a, b), diam2 = masses, grid.diameter2
    simplex = NetworkSimplex(a.amount, b.amount, penalty=diam2)
    if guess is None:
        i, j = np.divmod(np.arange(len(a.cells) * len(b.cells)), len(b.cells))
        grid.add(simplex, a, b, a.cells[i], b.cells[j])
    else:
        u, to = legendre_nodes(guess, grid.points, grid.points)
        v, back = legendre_nodes(u, grid.points, grid.points)
        i, j = grid.window(a.cells, to, 1)
        back_to, j_again = grid.window(b.cells, back, 1)
        grid.add(simplex, a, b, np.concatenate([i, j_again]), np.concatenate([j, back_to]))
    scale, count = float(a.total), 0
    best = -np.inf
    while True:
        count += 1
        flow = simplex.solve(1e-13 * diam2)
        source, target, mass = _completed(flow, a, b)
        cost = float(grid.distance2(source, target) @ mass) / scale
        f, g = simplex.duals
        v = np.full(grid.shape, np.inf)
        v.flat[b.cells] = grid.square.flat[b.cells] - 0.5 * g
        u, to = legendre_nodes(v, grid.points, grid.points)
        dual = 2.0 * (_mean(grid.square - u, a) + _mean(grid.square - v, b))
        best = max(best, dual)
        if cost - best <= gap * cost or count >= rounds:
            break
        violation = u.flat[a.cells] - (grid.square.flat[a.cells] - 0.5 * f)
        w = np.full(grid.shape, np.inf)
        w.flat[a.cells] = grid.square.flat[a.cells] - 0.5 * f
        back_v, back = legendre_nodes(w, grid.points, grid.points)
        excess = back_v.flat[b.cells] - (grid.square.flat[b.cells] - 0.5 * g)
        i, j = grid.window(a.cells[violation > 1e-3 * violation.max()], to, 0)
        back_to, j_again = grid.window(b.cells[excess > 1e-3 * excess.max()], back, 0)
        grid.add(simplex, a, b, np.concatenate([i, j_again]), np.concatenate([j, back_to]))
    rounding = a.moved + b.moved
    orders = [tuple(range(len(grid.shape))), tuple(reversed(range(len(grid.shape))))]
    boxes = [box_cost(source, target, mass, grid.shape, grid.spacing, order) / scale for order in orders]
    dual_field = legendre(u, grid.points, grid.points)
    return Coupling(
        source,
        target,
        mass / scale,
        sqrt(min(cost, *boxes) + rounding * diam2),
        sqrt(max(best - rounding * diam2, 0.0)),
        dual_field,
        count,
        len(simplex.cost),
    )


@dataclass(frozen=True)
class _Masses:
    """The cells with mass, their masses as integers, and the fraction of the mass that rounding moved."""

    cells: Indices
    amount: Indices
    place: Indices  # the position of each cell of the grid in `cells`; -1 if it has no mass
    moved: float

    @property
    def total(self) -> int:
        return int(self.amount.sum())

    @staticmethod
    def of(density: Array, negligible: float = 1e-10) -> _Masses:
        share = (density / density.sum()).ravel()
        order = np.argsort(share, kind="stable")
        dropped = np.searchsorted(np.cumsum(share[order]), negligible)
        amount = np.floor(share * 2.0**58).astype(np.int64)
        amount[order[:dropped]] = 0
        amount[order[-1]] += 2**58 - int(amount.sum())
        moved = 0.5 * float(np.abs(amount / 2.0**58 - share).sum()) + 1e-15
        cells = np.flatnonzero(amount)
        place = np.full(share.size, -1)
        place[cells] = np.arange(len(cells))
        return _Masses(cells, amount[cells], place, moved)


@dataclass(frozen=True)
class _CentreGrid:
    """The cell centres of a grid and their squared distances."""

    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    points: list[Array]
    square: Array  # |x|^2/2

    @property
    def diameter2(self) -> float:
        return sum((n * h) ** 2 for n, h in zip(self.shape, self.spacing, strict=True))

    def distance2(self, source: Indices, target: Indices) -> Array:
        here, there = np.unravel_index(source, self.shape), np.unravel_index(target, self.shape)
        apart = zip(here, there, self.spacing, strict=True)
        return np.asarray(sum((((i - j) * h) ** 2 for i, j, h in apart), np.zeros(len(source))))

    def window(self, cells: Indices, nodes: tuple[Indices, ...], reach: int) -> tuple[Indices, Indices]:
        """All pairs of a cell and the nodes within `reach` of the one at which its transform is attained."""
        centre = [axis.reshape(-1)[cells] for axis in nodes]
        left, right = [], []
        for offset in product(*(range(-reach, reach + 1) if n > 1 else (0,) for n in self.shape)):
            index = [c + o for c, o in zip(centre, offset, strict=True)]
            inside = np.logical_and.reduce([(i >= 0) & (i < n) for i, n in zip(index, self.shape, strict=True)])
            left.append(cells[inside])
            right.append(np.ravel_multi_index(tuple(i[inside] for i in index), self.shape))
        return np.concatenate(left), np.concatenate(right)

    def add(self, simplex: NetworkSimplex, a: _Masses, b: _Masses, source: Indices, target: Indices) -> None:
        """Add the arcs between cells with mass, each once."""
        tail, head = a.place[source], b.place[target]
        occupied = (tail >= 0) & (head >= 0)
        key = np.unique(tail[occupied] * len(b.cells) + head[occupied])
        tail, head = np.divmod(key, len(b.cells))
        simplex.add(tail, head, self.distance2(a.cells[tail], b.cells[head]))


def _completed(flow: NetworkFlow, a: _Masses, b: _Masses) -> tuple[Indices, Indices, Array]:
    """The flow as pairs of cells; mass that no arc carries is matched in the order of the cells."""
    source, target, mass = [a.cells[flow.tail]], [b.cells[flow.head]], [flow.mass]
    left, right = np.flatnonzero(flow.spare_supply), np.flatnonzero(flow.spare_demand)
    if len(left):
        ends = [np.cumsum(flow.spare_supply[left]), np.cumsum(flow.spare_demand[right])]
        cuts = np.union1d(*ends)
        source.append(a.cells[left[np.searchsorted(ends[0], cuts)]])
        target.append(b.cells[right[np.searchsorted(ends[1], cuts)]])
        mass.append(np.diff(cuts, prepend=0))
    return np.concatenate(source), np.concatenate(target), np.concatenate(mass).astype(float)


def _mean(values: Array, masses: _Masses) -> float:
    """Mean with the masses as weights."""
    return float(values.flat[masses.cells] @ (masses.amount / masses.total))


def _restricted(mass: Array) -> Array:
    """Sums over 2^d cells; an odd axis is padded with zeros."""
    for axis, n in enumerate(mass.shape):
        if n > 1:
            pad = [(0, 0)] * mass.ndim
            pad[axis] = (0, n % 2)
            padded = np.pad(mass, pad)
            mass = np.add.reduceat(padded, np.arange(0, n, 2), axis)
    return mass
