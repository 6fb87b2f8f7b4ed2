"""Steps of particles in a box, whose sides reflect, absorb or are joined."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from fvflow.jit import kernel
from fvflow.lagrangian.elastic import intensity
from fvflow.lagrangian.philox import WALL, uniforms
from fvflow.lagrangian.walkers import Draw, Walk, Walkers
from fvflow.mesh import Array, Index, Mesh, Openings


@dataclass(frozen=True, eq=False)
class BoxWalk(Walk):
    """Steps in the box of a grid: folded at sides that reflect, wrapped where an axis is periodic.

    At a side that absorbs, a particle is absorbed if its step ends behind it, or else with the probability
    exp(-2 d d'/s^2) that a Brownian bridge between the distances d and d' of the ends reaches it, s^2 being the
    variance of the step along the axis: without it the error is of order 1/2 in the step (Gobet, Stochastic Process.
    Appl. 87, 2000). A side that absorbs in part does so as in `fvflow.lagrangian.elastic`.
    """

    lower: Array
    """Lower corner (dim,)."""
    upper: Array
    """Upper corner (dim,)."""
    periodic: Any
    """Whether each axis is periodic (dim,)."""
    absorber: Index
    """The group of the openings that each side belongs to (dim, 2), -1 if it reflects."""
    permeability: Array
    """kappa of each side (dim, 2), infinite if it absorbs all, 0 if it reflects."""
    edges: Array
    """The boundaries of the cells along all axes, one after another."""
    first: Index
    """Where those of each axis begin (dim + 1,)."""

    @staticmethod
    def takes(mesh: Mesh, openings: Openings | None) -> bool:
        """Whether a mesh is a grid, and all of its openings are whole sides."""
        if mesh.edges is None or openings is None:
            return mesh.edges is not None
        if not openings.in_wall.all():
            return False
        return all(
            len(rows) in (0, mesh.cells // count) and len(np.unique(openings.group[rows])) <= 1
            for count, sides in zip(reversed(mesh.shape), _sides(openings, mesh.dimension), strict=True)
            for rows in sides
        )

    @staticmethod
    def of(mesh: Mesh, openings: Openings | None) -> BoxWalk:
        """That of a mesh that it takes."""
        assert mesh.edges is not None
        dimension = mesh.dimension
        absorber, permeability = np.full((dimension, 2), -1), np.zeros((dimension, 2))
        if openings is not None:
            for axis, sides in enumerate(_sides(openings, dimension)):
                for side, rows in enumerate(sides):
                    if len(rows):
                        absorber[axis, side] = openings.group[rows[0]]
                        permeability[axis, side] = openings.permeability[rows[0]]
        return BoxWalk(
            np.array([edge[0] for edge in mesh.edges]),
            np.array([edge[-1] for edge in mesh.edges]),
            np.array([axis in mesh.periodic for axis in range(dimension)]),
            absorber,
            permeability,
            np.concatenate(mesh.edges),
            np.cumsum([0, *(len(edge) for edge in mesh.edges)]),
        )

    def leaves(self, walkers: Walkers, displacement: Array) -> Any:
        """Whether each step (particle,) would end outside of the box."""
        outside = np.zeros(len(displacement), bool)
        for axis in np.flatnonzero(~self.periodic):
            end = walkers.position[:, axis] + displacement[:, axis]
            outside |= (end < self.lower[axis]) | (end > self.upper[axis])
        return outside

    def take(self, walkers: Walkers, displacement: Array, deviation: Array, length: float, draw: Draw) -> int:
        """Take the steps in place."""
        if (self.absorber >= 0).any():
            arrays = walkers.number, walkers.position, displacement, deviation, walkers.group
            _absorb(*arrays, self.lower, self.upper, self.absorber, self.permeability, length, *draw)
        _move(
            *(walkers.position, displacement, walkers.cell, walkers.group),
            *(self.lower, self.upper, self.periodic, self.edges, self.first),
        )
        return -1


def _sides(openings: Openings, dimension: int) -> list[tuple[Any, Any]]:
    """The openings in the lower and in the upper side along each axis of a grid."""
    along = openings.axis
    upward = np.take_along_axis(openings.normal, along[:, None].astype(np.intp), axis=1)[:, 0] > 0
    return [
        (np.flatnonzero((along == axis) & ~upward), np.flatnonzero((along == axis) & upward))
        for axis in range(dimension)
    ]


@kernel()
def _absorb(
    number: Any,
    position: Any,
    displacement: Any,
    deviation: Any,
    group: Any,
    lower: Any,
    upper: Any,
    absorber: Any,
    permeability: Any,
    length: Any,
    step: Any,
    seed: Any,
) -> None:
    """Find those that reach an absorbing side, give them its group, and end their step there."""
    for i in range(len(number)):
        earliest, found, found_axis, found_side = np.inf, -1, 0, 0
        for axis in range(position.shape[1]):
            if absorber[axis, 0] < 0 and absorber[axis, 1] < 0:
                continue
            by_lower, by_upper = uniforms(number[i], step, axis, WALL, seed)
            for side in range(2):
                if absorber[axis, side] < 0:
                    continue
                chance = by_upper if side else by_lower
                x, dx = position[i, axis], displacement[i, axis]
                before = upper[axis] - x if side else x - lower[axis]
                after = before - dx if side else before + dx
                s = deviation[i, axis]
                k = intensity(before + abs(after), s, permeability[axis, side], length)
                if after > 0.0 and (s == 0.0 or chance >= (k - 1.0) * math.exp(-2.0 * before * after / s**2)):
                    continue
                if after <= 0.0 and chance >= k:
                    continue
                share = before / (before + abs(after)) if before > 0.0 else 0.0
                if share < earliest:
                    earliest, found, found_axis, found_side = share, absorber[axis, side], axis, side
        if found >= 0:
            group[i] = found
            for axis in range(position.shape[1]):
                displacement[i, axis] *= earliest
            wall = upper[found_axis] if found_side else lower[found_axis]
            displacement[i, found_axis] = wall - position[i, found_axis]


@kernel()
def _move(
    position: Any,
    displacement: Any,
    cell: Any,
    group: Any,
    lower: Any,
    upper: Any,
    periodic: Any,
    edges: Any,
    first: Any,
) -> None:
    """Add the displacements, fold or wrap, and find the cells; -1 for those that are absorbed."""
    for i in range(position.shape[0]):
        where, stride = 0, 1
        for axis in range(position.shape[1]):
            low, high = lower[axis], upper[axis]
            width = high - low
            x = position[i, axis] + displacement[i, axis]
            if x < low or x > high:
                if periodic[axis]:
                    x -= width * math.floor((x - low) / width)
                else:
                    turn = (x - low) % (2.0 * width)
                    x = low + turn if turn <= width else high - (turn - width)
                x = min(max(x, low), high)  # round-off
            position[i, axis] = x
            begin, count = first[axis], first[axis + 1] - first[axis] - 1
            k = min(int((x - low) / width * count), count - 1)
            if not edges[begin + k] <= x <= edges[begin + k + 1]:
                k, above = 0, count
                while above - k > 1:
                    middle = (k + above) // 2
                    if edges[begin + middle] <= x:
                        k = middle
                    else:
                        above = middle
            where += stride * k
            stride *= count
        cell[i] = -1 if group[i] >= 0 else where
