"""Simplices cut at the bisectors of sites: each piece is the part of a simplex that is nearest to one site."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np

from fvflow.errors import CaseError
from fvflow.jit import kernel
from fvflow.mesh.arrays import Array, Index
from fvflow.mesh.cell_geometry import format_point
from fvflow.mesh.clipping import clip_triangles
from fvflow.mesh.clipping_space import clip_tetrahedra

_SNAP = 1e-14  # distance from a bisector that counts as none, relative to the simplex
_MOST_SNAP, _MORE_SNAP = 1e-8, 30.0  # where the pieces do not fill their simplex, it grows by this factor
_UNFILLED = {2: 1e-10, 3: 1e-8}  # part of a simplex that its pieces may lack or have in excess, by dimension
_MARGIN = 1e-12  # by which the ball of the sites that can own a point of a simplex is larger, relative to it
_CHUNK = 2**15  # simplices at a time
_PER_SIMPLEX = {2: (5, 20, 20, 20), 3: (12, 90, 130, 240)}  # room for pieces, facets, nodes and fans


@dataclass(frozen=True, eq=False)
class ElementSimplices:
    """Triangles or tetrahedra that make up the elements of a mesh."""

    nodes: Index
    """Numbers of the corners (simplex, dim + 1), shared by neighbours."""
    corners: Array
    """Their positions (simplex, dim + 1, dim)."""
    homes: Index
    """The site at each corner (simplex, dim + 1); -1 where there is none."""
    element: Index
    """The element of each simplex (simplex,)."""

    @cached_property
    def volume(self) -> Array:
        """Measures (simplex,)."""
        vertex = self.corners.reshape(-1, self.corners.shape[2])
        return measures(vertex, np.arange(len(vertex)).reshape(self.nodes.shape).astype(np.int32))


@dataclass(frozen=True, eq=False)
class ClippedPieces:
    """Convex pieces of simplices, and the fans of simplices that make them and their facets up."""

    simplex: Index
    """The simplex that each is part of (piece,)."""
    site: Index
    """The site that it is nearest to (piece,)."""
    facet_piece: Index
    """The piece of each facet (facet,)."""
    facet_plane: Index
    """The site across it, or -1 - k for one on side k of the simplex (facet,)."""
    vertex: Array
    """Corners of the pieces (vertex, dim)."""
    fan: Index
    """Corners of simplices that make up facets (part, dim)."""
    fan_facet: Index
    """The facet of each (part,)."""

    def without(self, simplices: Any, count: int) -> ClippedPieces:
        """All but the pieces of some simplices, of `count` in all; the corners stay."""
        gone = np.zeros(count, bool)
        gone[simplices] = True
        return self.chosen(~gone[self.simplex])

    def chosen(self, kept: Any) -> ClippedPieces:
        """Some of the pieces, by a mask (piece,)."""
        facets = kept[self.facet_piece]
        fans = facets[self.fan_facet]
        number, place = np.cumsum(kept) - 1, np.cumsum(facets) - 1
        return ClippedPieces(
            self.simplex[kept],
            self.site[kept],
            number[self.facet_piece[facets]].astype(np.int32),
            self.facet_plane[facets],
            self.vertex,
            self.fan[fans],
            place[self.fan_facet[fans]].astype(np.int32),
        )

    @cached_property
    def solids(self) -> tuple[Index, Index]:
        """Simplices that fill the pieces: their corners (part, dim + 1), and the piece of each (part,).

        They stand on the fans of the facets that do not hold the first corner of the piece, their tip.
        """
        of_fan = self.facet_piece[self.fan_facet]
        tip = np.full(len(self.simplex), len(self.vertex), np.int32)
        np.minimum.at(tip, of_fan, self.fan.min(axis=1))
        tip = tip[of_fan]
        holds = np.zeros(len(self.facet_piece), bool)
        holds[self.fan_facet[(self.fan == tip[:, None]).any(axis=1)]] = True
        kept = ~holds[self.fan_facet]
        return np.column_stack([tip[kept], self.fan[kept]]), of_fan[kept]

    @cached_property
    def volume(self) -> Array:
        """Measures (piece,)."""
        corners, piece = self.solids
        return np.bincount(piece, measures(self.vertex, corners), len(self.simplex)).astype(float)

    @cached_property
    def area(self) -> Array:
        """Measures of the facets (facet,)."""
        return np.bincount(self.fan_facet, measures(self.vertex, self.fan), len(self.facet_piece)).astype(float)


def joined(parts: list[ClippedPieces]) -> ClippedPieces:
    """Several lists of pieces as one."""
    columns: dict[str, list[Any]] = {each.name: [] for each in fields(ClippedPieces)}
    shift = {"facet_piece": 0, "fan": 0, "fan_facet": 0}
    for part in parts:
        for name, column in columns.items():
            column.append(getattr(part, name) + np.int32(shift.get(name, 0)) if name in shift else getattr(part, name))
        shift["facet_piece"] += len(part.simplex)
        shift["fan"] += len(part.vertex)
        shift["fan_facet"] += len(part.facet_piece)
    return ClippedPieces(**{name: np.concatenate(column) for name, column in columns.items()})


def measures(vertex: Array, corners: Index) -> Array:
    """Measures (part,) of lines, triangles or tetrahedra, by the numbers of their corners (part, corner)."""
    found = np.empty(len(corners))
    _measure(vertex, corners, found)
    return found


@kernel()
def _measure(vertex: Any, corners: Any, found: Any) -> None:
    edge = np.zeros((3, 3))
    for part in range(len(corners)):
        for k in range(1, corners.shape[1]):
            for axis in range(vertex.shape[1]):
                edge[k - 1, axis] = vertex[corners[part, k], axis] - vertex[corners[part, 0], axis]
        if corners.shape[1] == 2:
            found[part] = np.sqrt(edge[0, 0] ** 2 + edge[0, 1] ** 2 + edge[0, 2] ** 2)
            continue
        c0 = edge[0, 1] * edge[1, 2] - edge[0, 2] * edge[1, 1]
        c1 = edge[0, 2] * edge[1, 0] - edge[0, 0] * edge[1, 2]
        c2 = edge[0, 0] * edge[1, 1] - edge[0, 1] * edge[1, 0]
        if corners.shape[1] == 3:
            found[part] = 0.5 * np.sqrt(c0 * c0 + c1 * c1 + c2 * c2)
        else:
            found[part] = abs(c0 * edge[2, 0] + c1 * edge[2, 1] + c2 * edge[2, 2]) / 6.0


def clipped(simplices: ElementSimplices, sites: Array) -> ClippedPieces:
    """The pieces of all simplices.

    Every piece e n V_i is bounded by the bisectors of i and its Delaunay neighbours. Where the pieces do not fill their
    simplex within round-off, all sites take part that can own a point of it. Raises CaseError for a simplex that cannot
    be divided.
    """
    which = np.arange(len(simplices.nodes))
    pieces = joined(list(_in_chunks(simplices, sites, which, _delaunay_neighbours(sites), False, _SNAP)))
    unfilled = _unfilled(simplices, pieces, which)
    return clipped_anew(simplices, sites, pieces, {int(each): set() for each in unfilled})


def clipped_anew(
    simplices: ElementSimplices, sites: Array, pieces: ClippedPieces, banned: dict[int, set[int]]
) -> ClippedPieces:
    """The pieces, where those of some simplices are shared among all sites but the ones banned from each."""
    snap, todo = _SNAP, np.array(sorted(banned), np.int64)
    while len(todo):
        if snap > _MOST_SNAP:
            cell = simplices.element[todo[0]]
            at = format_point(simplices.corners[todo[0]].mean(axis=0))
            raise CaseError(f"cell {cell} at {at} cannot be shared among its nodes ({len(todo)} in all); repair it")
        near = _nearby(simplices, sites, todo, banned)
        again = list(_in_chunks(simplices, sites, todo, near, True, snap))
        pieces = joined([pieces.without(todo, len(simplices.nodes)), *again])
        todo, snap = _unfilled(simplices, pieces, todo), snap * _MORE_SNAP
    return pieces


_Lists = tuple[Any, Any]
"""Lists of sites by row: where each starts in the entries (row + 1,), and the entries."""


def _delaunay_neighbours(sites: Array) -> _Lists | None:
    """The Delaunay neighbours of each site, the nearest first; None if there is no triangulation of all sites."""
    from scipy.spatial import Delaunay, QhullError

    try:
        triangulation = Delaunay((sites - sites.mean(axis=0)) / np.ptp(sites, axis=0).max())
    except QhullError:
        return None
    start, entries = triangulation.vertex_neighbor_vertices
    row = np.repeat(np.arange(len(sites)), np.diff(start))
    distance = ((sites[entries] - sites[row]) ** 2).sum(axis=1)
    return start.astype(np.int64), entries[np.lexsort((distance, row))].astype(np.int64)


def _nearby(simplices: ElementSimplices, sites: Array, which: Any, banned: dict[int, set[int]]) -> _Lists:
    """The sites, without the banned, that can own a point of each of some simplices.

    A point x of a simplex of centre c and radius r has a site within r + d of x, d being the distance from c to the
    nearest site: its owner is within 2 r + d of c.
    """
    from scipy.spatial import cKDTree

    tree = cKDTree(sites)
    centre = simplices.corners[which].mean(axis=1)
    radius = np.linalg.norm(simplices.corners[which] - centre[:, None], axis=2).max(axis=1)
    most = max((len(each) for each in banned.values()), default=0) + 1
    rows = []
    for at, c, r in zip(which.tolist(), centre, radius, strict=True):
        gone = list(banned[at])
        distance, nearest = tree.query(c, [*range(1, min(most, len(sites)) + 1)])
        d = float(np.asarray(distance)[~np.isin(nearest, gone)].min())
        near = np.array(tree.query_ball_point(c, (2.0 * r + d) * (1.0 + _MARGIN), return_sorted=True))
        near = near[~np.isin(near, gone)]
        rows.append(near[np.argsort(((sites[near] - c) ** 2).sum(axis=1), kind="stable")])
    start = np.cumsum([0, *map(len, rows)])
    return start, np.concatenate(rows)


def _in_chunks(
    simplices: ElementSimplices, sites: Array, which: Any, lists: _Lists | None, by_simplex: bool, snap: float
) -> Iterator[ClippedPieces]:
    """The pieces of some simplices, in batches whose arrays grow where there is no room for one simplex."""
    dimension, growth = sites.shape[1], 1
    kernel = clip_triangles if dimension == 2 else clip_tetrahedra
    start, entries = lists if lists is not None else (np.zeros(len(sites) + 1, np.int64), np.zeros(0, np.int64))
    first = 0
    while first < len(which):
        part = which[first : first + _CHUNK]
        rows = [growth * (64 + each * len(part)) for each in _PER_SIMPLEX[dimension]]
        piece, facet, fan = (
            np.empty((count, width), np.int32)
            for count, width in zip((rows[0], rows[1], rows[3]), (2, 2, dimension + 1), strict=True)
        )
        vertex, used = np.empty((rows[2], dimension)), np.zeros(4, np.int64)
        here = start[first:] if by_simplex else start
        arrays = (part, simplices.corners, simplices.homes, sites, here, entries)
        done = kernel(*arrays, by_simplex, snap, used, piece, facet, vertex, fan)
        growth = 1 if done else 4 * growth
        first += done
        piece, facet, vertex, fan = (
            each[:count].copy() for each, count in zip((piece, facet, vertex, fan), used, strict=True)
        )
        yield ClippedPieces(piece[:, 0], piece[:, 1], facet[:, 0], facet[:, 1], vertex, fan[:, :-1], fan[:, -1])


def _unfilled(simplices: ElementSimplices, pieces: ClippedPieces, which: Any) -> Any:
    """Those of some simplices that their pieces do not fill."""
    volume = simplices.volume[which]
    total = np.bincount(pieces.simplex, pieces.volume, len(simplices.nodes))[which]
    return which[~(np.abs(total - volume) <= _UNFILLED[simplices.corners.shape[2]] * volume)]
