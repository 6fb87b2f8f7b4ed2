"""Levels of ever coarser cells with the moments of two measures, so that plans between coarse cells bound W2.

A coarse cell is a union of mesh cells. A plan pi_IJ between coarse cells is a plan of the densities, pi_IJ times the
normalised restrictions of both to I and J, and costs exactly

    pi_IJ (|X_I - Y_J|^2 + v_I + w_J)

with the means X, Y and the variances v, w of both densities in these cells. Cells of the mesh, in which densities are
constant, are mapped affinely onto one another instead, which costs

    pi_IJ (|X_I - Y_J|^2 + sum_a (size_Ia - size_Ja)^2/12).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np

from fvflow.mesh import Array
from fvflow.wasserstein.legendre import Indices, Periods

_COARSEST = 8  # cells an axis, on average, that are not merged further
_ISOTROPIC = 1.5  # axes whose cells are at most so many times longer than the shortest are merged together
_NEGLIGIBLE = 1e-12  # the share of the mass that may be left out, in the smallest cells


@dataclass(frozen=True)
class Atoms:
    """The cells of a level that one of the measures occupies."""

    cells: Indices  # flat (atom,)
    index: Indices  # along each axis (atom, 3); 0 along axes that are not there
    mass: Array  # (atom,)
    mean: Array  # (atom, 3)
    size: Array  # (atom, 3): the deviations of an affine part, that is 1/sqrt(12) of the widths of a cell, or 0
    variance: Array  # (atom,): E|X - mean|^2, or 0 where the size stands for it

    @property
    def count(self) -> int:
        """Number of atoms."""
        return len(self.mass)


@dataclass(frozen=True)
class Level:
    """Two measures on the cells of a product grid; `edges` (edge,) along each axis, the origin in its middle."""

    edges: tuple[Array, ...]
    first: Atoms
    second: Atoms
    constant: bool  # whether the densities are constant in the cells
    periods: Periods = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Cells along each axis."""
        return tuple(len(edge) - 1 for edge in self.edges)

    @cached_property
    def centres(self) -> tuple[Array, ...]:
        """Midpoints (cell,) along each axis."""
        return tuple(0.5 * (edge[1:] + edge[:-1]) for edge in self.edges)

    @cached_property
    def coordinates(self) -> tuple[Array, Array, Array]:
        """The midpoints along three axes, of which those that are not there have one at 0."""
        padded = (*self.centres, *(np.zeros(1) for _ in range(3 - len(self.edges))))
        return padded[0], padded[1], padded[2]

    @cached_property
    def turns(self) -> Array | None:
        """The periods along three axes, infinite where there is no period; None if there is none at all."""
        return (
            None if self.periods is None else np.pad(self.periods, (0, 3 - len(self.periods)), constant_values=np.inf)
        )

    @property
    def spacing(self) -> float:
        """The largest mean width of a cell among the axes that are divided."""
        return max(_widths(self.edges).values())

    def image(self, y: Array, x: Array) -> Array:
        """The images of points (..., 3) of the box next to others, on a torus."""
        if self.turns is None:
            return y
        half = 0.5 * self.turns
        whole = np.where(np.isfinite(half), self.turns, 0.0)
        return np.asarray(y + whole * (1.0 * (x - y > half) - (x - y < -half)))

    def dense(self, atoms: Atoms, values: Array, fill: float) -> Array:
        """Values (atom,) on all cells, (cell, ...) along each axis, and `fill` where there are no atoms."""
        out = np.full(prod(self.shape), fill)
        out[atoms.cells] = values
        return out.reshape(self.shape)


@dataclass(frozen=True)
class _Moments:
    """Mass m, int x dm and int |x|^2 dm of each cell."""

    mass: Array
    first: list[Array]
    second: Array

    @staticmethod
    def of(mass: Array, edges: Sequence[Array]) -> _Moments:
        middles = np.ix_(*(0.5 * (edge[1:] + edge[:-1]) for edge in edges))
        squares = np.ix_(*((edge[1:] ** 2 + edge[1:] * edge[:-1] + edge[:-1] ** 2) / 3.0 for edge in edges))
        return _Moments(mass, [mass * x for x in middles], mass * sum(squares[1:], squares[0]))

    def merged(self, axes: Sequence[bool]) -> _Moments:
        def sums(values: Array) -> Array:
            for axis, merge in enumerate(axes):
                if merge:
                    values = np.add.reduceat(values, np.arange(0, values.shape[axis], 2), axis)
            return values

        return _Moments(sums(self.mass), [sums(m) for m in self.first], sums(self.second))

    def atoms(self, variance_error: float) -> Atoms:
        cells, index, mass = _occupied(self.mass)
        mean = np.zeros((len(cells), 3))
        for axis, moment in enumerate(self.first):
            mean[:, axis] = moment.ravel()[cells] / mass
        variance = np.maximum(self.second.ravel()[cells] / mass - (mean**2).sum(axis=1), 0.0) + variance_error
        return Atoms(cells, index, mass, mean, np.zeros_like(mean), variance)


def levels(masses: tuple[Array, Array], edges: tuple[Array, ...], periods: Periods = None) -> list[Level]:
    """Levels of two arrays of cell masses (cell, ...) from the coarsest to that of the mesh."""
    diameter2 = float(sum(np.ptp(edge) ** 2 for edge in edges))
    found, moments = [_mesh_level(masses, edges, periods)], [_Moments.of(mass, edges) for mass in masses]
    while any(axes := _merged_axes(edges)):
        moments = [m.merged(axes) for m in moments]
        edges = tuple(np.unique(np.append(e[::2], e[-1])) if merge else e for e, merge in zip(edges, axes, strict=True))
        first, second = (m.atoms(1e-14 * diameter2) for m in moments)
        found.append(Level(edges, first, second, False, periods))
    return found[::-1]


def _mesh_level(masses: Sequence[Array], edges: tuple[Array, ...], periods: Periods) -> Level:
    """The level of cells in which both densities are constant."""
    pair = []
    for mass in masses:
        cells, index, positive = _occupied(mass)
        mean, size = np.zeros((len(cells), 3)), np.zeros((len(cells), 3))
        for axis, edge in enumerate(edges):
            mean[:, axis] = (0.5 * (edge[1:] + edge[:-1]))[index[:, axis]]
            size[:, axis] = (np.diff(edge) / np.sqrt(12.0))[index[:, axis]]
        pair.append(Atoms(cells, index, positive, mean, size, np.zeros(len(cells))))
    return Level(edges, pair[0], pair[1], True, periods)


def _occupied(mass: Array) -> tuple[Indices, Indices, Array]:
    """The cells with mass, their indices along three axes, and their masses."""
    cells = np.flatnonzero(mass)
    index = np.zeros((len(cells), 3), np.int32)
    for axis, place in enumerate(np.unravel_index(cells, mass.shape)):
        index[:, axis] = place
    return cells, index, mass.ravel()[cells]


def split_levels(level: Level) -> Iterator[Level]:
    """Levels with each cell of the mesh cut in two along its long axes, again and again; without end."""
    masses, edges = [level.dense(atoms, atoms.mass, 0.0) for atoms in (level.first, level.second)], level.edges
    while True:
        widths = {axis: float(np.ptp(edge)) / (len(edge) - 1) for axis, edge in enumerate(edges)}
        for axis in (axis for axis, h in widths.items() if _ISOTROPIC * h >= max(widths.values())):
            edge = edges[axis]
            halved = np.sort(np.concatenate([edge, 0.5 * (edge[1:] + edge[:-1])]))
            edges = (*edges[:axis], halved, *edges[axis + 1 :])
            masses = [0.5 * mass.repeat(2, axis) for mass in masses]
        yield _mesh_level(masses, edges, level.periods)


def without_smallest(mass: Array) -> tuple[Array, float]:
    """Masses (cell, ...) without the smallest cells, of a share of at most 1e-12, and the mass that is left out."""
    positive = np.sort(mass[mass > 0])
    sums = np.cumsum(positive)
    count = int(np.searchsorted(sums, _NEGLIGIBLE * sums[-1], "right"))
    if count == 0:
        return mass, 0.0
    least = positive[count]  # cells as small as the smallest that is kept are kept
    small = mass < least
    return np.where(small, 0.0, mass), float(mass[small].sum())


def _merged_axes(edges: Sequence[Array]) -> list[bool]:
    """The axes along which cells are merged for the next coarser level."""
    widths = _widths(edges)
    if prod(len(edge) - 1 for edge in edges) <= _COARSEST ** len(widths):
        return [False] * len(edges)
    limit = _ISOTROPIC * min(widths.values())
    return [axis in widths and widths[axis] <= limit for axis in range(len(edges))]


def _widths(edges: Sequence[Array]) -> dict[int, float]:
    """The mean widths of the cells along the axes that are divided, or along all if none is."""
    divided = [axis for axis, edge in enumerate(edges) if len(edge) > 2] or range(len(edges))
    return {axis: float(np.ptp(edges[axis])) / (len(edges[axis]) - 1) for axis in divided}
