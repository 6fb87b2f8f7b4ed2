"""Links between cells along lattice directions of a box, and where they end at open walls and absorbing cells.

A link from the cell K in the direction e that meets the wall or an absorbing cell after the part t of its length is
cut there, and its rate lambda becomes lambda/t. With the axis n of the wall, at the distance d = t |e_n| h_n, this is

    |K| lambda/t = (|s| p/d) n.D n,    p = lambda |e_n|/sum_k lambda_k e_kn^2,

a two-point flux with D_nn through the part p of the face s, at the point where the link meets the wall. |e_n| layers of
cells have links through each face, and the parts of all links through it sum to 1, so that a partly absorbing wall has
the permeability kappa in each. For a diagonal tensor it is the flux through the face.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np

from fvflow.mesh import Array, Index, Mesh, Openings
from fvflow.mesh.arrays import freeze, freeze_index


@dataclass(frozen=True, eq=False)
class Lattice:
    """The cells of a box of equal cells as points of a lattice."""

    mesh: Mesh
    """The mesh."""

    @property
    def counts(self) -> tuple[int, ...]:
        """Number of cells along each axis, x first."""
        return tuple(self.mesh.shape[::-1])

    @cached_property
    def widths(self) -> Array:
        """Widths of the cells (dim,)."""
        assert self.mesh.edges is not None
        return np.array([(edge[-1] - edge[0]) / (len(edge) - 1) for edge in self.mesh.edges])

    @cached_property
    def place(self) -> Index:
        """Indices along the axes (cell, dim)."""
        cells = np.arange(self.mesh.cells)
        return freeze_index(
            np.stack([cells // stride % count for stride, count in zip(self.strides, self.counts, strict=True)], axis=1)
        )

    @cached_property
    def strides(self) -> Any:
        """Differences of the numbers of neighbouring cells along each axis."""
        return np.cumprod([1, *self.counts[:-1]])

    def beyond(self, cells: Any, offset: Any) -> tuple[Any, Any]:
        """The cells at an offset from others (cell,), and along which axes they are outside of the box (cell, dim)."""
        place = self.place[cells] + np.asarray(offset)
        for axis in self.mesh.periodic:
            place[:, axis] %= self.counts[axis]
        outside = (place < 0) | (place >= self.counts)
        return np.where(outside.any(axis=1), -1, place @ self.strides), outside


@dataclass(frozen=True, eq=False)
class Directions:
    """Lattice directions e, no two of which are opposite, with the rate of each in each cell."""

    offsets: tuple[tuple[int, ...], ...]
    """e, with both signs (direction)."""
    rates: tuple[Array, ...]
    """lambda of each direction (cell,), or (1,) if it is the same in all cells, 1/time."""

    @staticmethod
    def of(weights: Array, offsets: Any) -> Directions:
        """From weights (cell, k) and offsets (cell, k, dim), which may differ from cell to cell, or (1, ...)."""
        found: dict[tuple[int, ...], Array] = {}
        for k in range(weights.shape[1]):
            different, which = np.unique(offsets[:, k], axis=0, return_inverse=True)
            for number, offset in enumerate(different):
                rate = np.where((which.ravel() == number) & (weights[:, k] > 0), weights[:, k], 0.0)
                for sign in (1, -1):
                    key = tuple(int(sign * part) for part in offset)
                    found[key] = found[key] + rate if key in found else rate
        kept = {offset: rate for offset, rate in found.items() if rate.any()}
        return Directions(tuple(kept), tuple(kept.values()))

    @property
    def longest(self) -> Any:
        """The longest |e| along each axis (dim,)."""
        return np.abs(np.array(self.offsets)).max(axis=0)

    def along(self, cells: int) -> Iterator[tuple[tuple[int, ...], Any, Array]]:
        """Each direction with the cells that it leaves from, and its rate there (cell,)."""
        for offset, rate in zip(self.offsets, self.rates, strict=True):
            full = np.broadcast_to(rate, cells)
            start = np.flatnonzero(full > 0)
            yield offset, start, full[start]

    def through(self, axis: int) -> Array:
        """sum_k lambda_k e_kn^2 (cell,) or (1,): n.D n/h_n^2."""
        parts = (0.5 * offset[axis] ** 2 * rate for offset, rate in zip(self.offsets, self.rates, strict=True))
        return np.asarray(sum(parts))


@dataclass(frozen=True, eq=False)
class Links:
    """Pairs of cells along lattice directions, and what links them."""

    volume: Array
    """Measures |K| (cell,)."""
    owner: Index
    """Cell K of each link (link,)."""
    neighbour: Index
    """Cell L of each link (link,), L > K."""
    here: Array
    """lambda_K (link,), 1/time."""
    there: Array
    """lambda_L (link,), 1/time."""

    def number(self, start: Any, end: Any) -> Any:
        """The number of the link between cells (pair,)."""
        cells = len(self.volume)
        keys = self.owner.astype(np.int64) * cells + self.neighbour
        return np.searchsorted(keys, np.minimum(start, end).astype(np.int64) * cells + np.maximum(start, end))


def links(lattice: Lattice, directions: Directions) -> Links:
    """The links within a box."""
    cells = lattice.mesh.cells
    keys, sides, rates = [], [], []
    for offset, start, rate in directions.along(cells):
        end, outside = lattice.beyond(start, offset)
        within = ~outside.any(axis=1)
        start, end = start[within], end[within]
        keys.append(np.minimum(start, end) * cells + np.maximum(start, end))
        sides.append(end > start)
        rates.append(rate[within])
    key, link = np.unique(np.concatenate(keys), return_inverse=True)
    side, rate = np.concatenate(sides), np.concatenate(rates)
    return Links(
        lattice.mesh.volume,
        freeze_index(key // cells),
        freeze_index(key % cells),
        freeze(np.bincount(link[side], rate[side], len(key))),
        freeze(np.bincount(link[~side], rate[~side], len(key))),
    )


def link_openings(lattice: Lattice, directions: Directions, graph: Links, openings: Openings) -> Openings:
    """The openings of links, from those of the faces of the mesh."""
    mesh, walls = lattice.mesh, _Walls.of(lattice.mesh, openings)
    found: list[tuple[Any, ...]] = []
    for offset, start, rate in directions.along(mesh.cells):
        live = np.flatnonzero(openings.closed[start] < 0)
        for cut in _cuts(lattice, walls, openings.closed, offset, start[live]):
            cell, axis, leap = start[live][cut.row], cut.axis, cut.part * np.array(offset) * lattice.widths
            end, outside = lattice.beyond(cell, offset)
            face = np.full(len(cell), -1)
            if not cut.in_wall:
                linked = ~outside.any(axis=1)
                face[linked] = graph.number(cell[linked], end[linked])
            through = np.broadcast_to(directions.through(axis), mesh.cells)[cell]
            part = rate[live][cut.row] * abs(offset[axis]) / through
            normal = np.broadcast_to(np.sign(offset) * (np.arange(mesh.dimension) == axis), (len(cell), mesh.dimension))
            count = np.ones(len(cell))
            found.append(
                (
                    cut.group,
                    cell,
                    part * mesh.volume[cell] / lattice.widths[axis],
                    abs(leap[axis]) * count,
                    normal,
                    mesh.inside_period(mesh.centre[cell] + leap),
                    cut.permeability,
                    face,
                    np.full(len(cell), cut.in_wall),
                )
            )
    group, cell, area, distance, normal, position, permeability, face, in_wall = map(
        np.concatenate, zip(*found, strict=True)
    )
    return replace(
        openings,
        group=freeze_index(group),
        cell=freeze_index(cell),
        area=freeze(area),
        distance=freeze(distance),
        normal=freeze(normal),
        position=freeze(position),
        permeability=freeze(permeability),
        face=freeze_index(face),
        in_wall=in_wall,
        what="link",
    )


@dataclass(frozen=True, eq=False)
class _Walls:
    """The openings in walls, by cell, axis and side: lower 0, upper 1."""

    group: Any
    """Their groups (cell, dim, 2); -1 where the wall is closed, or there is none."""
    permeability: Any
    """Their permeability (cell, dim, 2)."""

    @staticmethod
    def of(mesh: Mesh, openings: Openings) -> _Walls:
        """From the openings of the faces of a mesh."""
        group, permeability = np.full((mesh.cells, mesh.dimension, 2), -1), np.zeros((mesh.cells, mesh.dimension, 2))
        cell, axis = (part[openings.in_wall] for part in (openings.cell, openings.axis))
        side = (openings.normal[openings.in_wall, axis] > 0).astype(int)
        group[cell, axis, side] = openings.group[openings.in_wall]
        permeability[cell, axis, side] = openings.permeability[openings.in_wall]
        return _Walls(group, permeability)


@dataclass(frozen=True, eq=False)
class _Cut:
    """Links of one direction that are cut after the same part of their length."""

    row: Any  # their numbers (cut,)
    part: float  # of their length
    axis: int  # which the face where they are cut is normal to
    group: Any  # of openings (cut,)
    permeability: Any  # (cut,)
    in_wall: bool


def _cuts(lattice: Lattice, walls: _Walls, closed: Any, offset: tuple[int, ...], start: Any) -> Iterator[_Cut]:
    """Where links from cells (link,) in a direction are cut."""
    rows, before, former = np.arange(len(start)), start, np.zeros(len(offset), int)
    for part, reached, axes in _path(offset):
        there, outside = lattice.beyond(start[rows], reached)
        left = outside.any(axis=1)
        leaving = left.copy()
        for axis in axes:
            side = int(offset[axis] > 0)
            group = walls.group[before, axis, side]
            here = leaving & outside[:, axis] & (group >= 0)
            yield _Cut(rows[here], part, axis, group[here], walls.permeability[before[here], axis, side], True)
            leaving &= ~here
        group = np.where(left, -1, closed[there])
        for some in itertools.chain.from_iterable(itertools.combinations(axes, n) for n in range(1, len(axes))):
            step = [int(np.sign(offset[axis])) if axis in some else 0 for axis in range(len(offset))]
            beside, off = lattice.beyond(start[rows], former + step)  # cells at the corner that the link goes through
            group = np.where((group < 0) & ~left & ~off.any(axis=1), closed[beside], group)
        into = group >= 0
        yield _Cut(rows[into], part, axes[0], group[into], np.full(int(into.sum()), np.inf), False)
        on = ~left & ~into
        rows, before, former = rows[on], there[on], np.array(reached)


def _path(offset: tuple[int, ...]) -> Iterator[tuple[float, tuple[int, ...], tuple[int, ...]]]:
    """The cells on the way along a direction: the part of the way at which each is entered, its offset, and the axes.

    >>> list(_path((1, -1)))
    [(0.5, (1, -1), (0, 1))]
    >>> [(round(part, 3), reached) for part, reached, axes in _path((2, 1))]
    [(0.25, (1, 0)), (0.5, (1, 1)), (0.75, (2, 1))]
    """
    crossed = [{Fraction(2 * j + 1, 2 * abs(steps)) for j in range(abs(steps))} for steps in offset]
    reached = [0] * len(offset)
    for part in sorted(set().union(*crossed)):
        axes = tuple(axis for axis in range(len(offset)) if part in crossed[axis])
        for axis in axes:
            reached[axis] += 1 if offset[axis] > 0 else -1
        yield float(part), tuple(reached), axes
