"""Pieces of simplices that make up connected cells, each with its site."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from fvflow.errors import CaseError
from fvflow.mesh.arrays import Array
from fvflow.mesh.cell_geometry import format_point
from fvflow.mesh.clipped_pieces import ClippedPieces, ElementSimplices, clipped, clipped_anew
from fvflow.mesh.splitting import Sides

_ROUND_OFF = 1e-12  # part of a simplex, or of a side, that counts as none
_ROUNDS = 20  # in which parts of cells behind walls go to other nodes


@dataclass(frozen=True, eq=False)
class Cut:
    """The pieces of simplices, and the connected parts that they make up."""

    simplices: ElementSimplices
    sites: Array
    pieces: ClippedPieces
    part: Any
    """The connected part of each piece (piece,)."""

    @cached_property
    def _order(self) -> tuple[Any, Any]:
        key = self.pieces.simplex.astype(np.int64) * len(self.sites) + self.pieces.site
        order = np.argsort(key, kind="stable")
        return order, key[order]

    def find(self, simplex: Any, site: Any) -> Any:
        """The piece (pair,) of each simplex and site; -1 where there is none."""
        order, key = self._order
        wanted = simplex.astype(np.int64) * len(self.sites) + site
        at = np.minimum(np.searchsorted(key, wanted), len(key) - 1)
        return np.where((key[at] == wanted) & (site >= 0), order[at], -1)

    @cached_property
    def homes(self) -> tuple[Any, Any, Any]:
        """Simplex, place of the corner, and piece (pair,) of each corner that is a site."""
        simplex, corner = np.nonzero(self.simplices.homes >= 0)
        return simplex, corner, self.find(simplex, self.simplices.homes[simplex, corner])

    @cached_property
    def orphan(self) -> Any:
        """Whether each part holds no corner that is its site (part,): it lies behind a wall."""
        orphan = np.ones(self.part.max() + 1, bool)
        orphan[self.part[self.homes[2]]] = False
        return orphan


def connected_pieces(simplices: ElementSimplices, sites: Array, sides: Sides) -> Cut:
    """The pieces, all of which are connected with their sites.

    A part of a Voronoi cell behind a wall is shared among the others: its site is banned from exactly its simplices,
    which is exact, since the part of a simplex that is nearest to a site is convex.
    """
    pieces = clipped(simplices, sites)
    banned: dict[int, set[int]] = {}
    for _ in range(_ROUNDS):
        cut = _parts(simplices, sites, sides, pieces)
        lost = np.flatnonzero(cut.orphan[cut.part])
        if not len(lost):
            return cut
        todo = {}
        for simplex, each in zip(cut.pieces.simplex[lost].tolist(), cut.pieces.site[lost].tolist(), strict=True):
            banned.setdefault(simplex, set()).add(each)
            todo[simplex] = banned[simplex]
        pieces = clipped_anew(simplices, sites, cut.pieces, todo)
    at = format_point(sites[cut.pieces.site[lost[0]]])
    raise CaseError(f"the cell of the node at {at} is not connected; use a finer mesh there")


def _parts(simplices: ElementSimplices, sites: Array, sides: Sides, pieces: ClippedPieces) -> Cut:
    """The pieces above round-off, connected through the sides that both pieces of one site touch."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    at_home = (simplices.homes[pieces.simplex] == pieces.site[:, None]).any(axis=1)
    pieces = pieces.chosen(at_home | (pieces.volume > _ROUND_OFF * simplices.volume[pieces.simplex]))
    facet, side = on_sides(simplices, sides, pieces)
    piece = pieces.facet_piece[facet]
    inner = sides.inner[side]
    piece, key = piece[inner], side[inner] * len(sites) + pieces.site[piece[inner]]
    order = np.argsort(key, kind="stable")
    twice = np.flatnonzero(key[order][1:] == key[order][:-1])
    ends = piece[order[twice]], piece[order[twice + 1]]
    count = len(pieces.simplex)
    graph = coo_array((np.ones(len(twice), np.int8), ends), shape=(count, count))
    return Cut(simplices, sites, pieces, connected_components(graph, directed=False)[1])


def on_sides(simplices: ElementSimplices, sides: Sides, pieces: ClippedPieces) -> tuple[Any, Any]:
    """The facets that lie on sides of simplices, without round-off, and the side of each (facet,)."""
    facet = np.flatnonzero(pieces.facet_plane < 0)
    simplex = pieces.simplex[pieces.facet_piece[facet]]
    side = sides.number[simplex, -1 - pieces.facet_plane[facet]]
    whole = np.bincount(side, pieces.area[facet], len(sides.nodes))
    real = pieces.area[facet] > _ROUND_OFF * whole[side]
    return facet[real], side[real]
