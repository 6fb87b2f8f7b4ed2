"""Meshes whose cells are made up of convex pieces of elements and belong to the nodes of these."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from fvflow.mesh.arrays import Array, Index, Subset
from fvflow.mesh.clipped_pieces import measures
from fvflow.mesh.core import Mesh
from fvflow.mesh.pieces import Simplices
from fvflow.mesh.quadrature import difference_along

_BATCH = 2**19  # simplices at a time
_NONE = np.empty((0, 0), np.int32)


@dataclass(frozen=True, eq=False, repr=False)
class NodeCells(Mesh):
    """Cells about the nodes of elements, as fans of simplices; values are drawn at the nodes of the elements.

    `points` are the centres of the cells: nodes of the elements, and where cells meet in a node that a wall separates,
    one for each of these.
    """

    elements: Index = field(default_factory=lambda: _NONE)
    """The cell at each corner of each element (element, corner), in VTK's order, padded with -1."""
    vertex: Array = field(default_factory=lambda: np.empty((0, 0)))
    """Corners of the pieces (vertex, dim)."""
    solids: Index = field(default_factory=lambda: _NONE)
    """Corners of simplices that make up the cells (part, dim + 1)."""
    solid_cell: Index = field(default_factory=lambda: _NONE)
    """The cell of each (part,)."""
    stretch: Array = field(default_factory=lambda: np.empty(0))
    """Factor of the measure of each (part,), 1 within round-off."""
    fans: Index = field(default_factory=lambda: _NONE)
    """Corners of simplices that make up the faces (part, dim)."""
    face_of: Index = field(default_factory=lambda: _NONE)
    """The face of each (part,)."""
    contacts: tuple[Any, Any, Any] = (_NONE, _NONE, _NONE)
    """The wall face, the cell and the area (contact,) of the parts of wall faces in each cell."""
    shares: Mapping[str, Array] = field(default_factory=dict)
    """Fraction of each face inside each named region (face,)."""
    simplices: Array = field(default_factory=lambda: np.empty((0, 0, 0)))
    """Corners of the simplices that the elements consist of (simplex, dim + 1, dim)."""
    owners: Index = field(default_factory=lambda: _NONE)
    """The cells that have a piece in each of these (simplex, piece), padded with -1."""

    @property
    def plot_cells(self) -> Index:
        """The elements (element, corner)."""
        return self.elements

    @property
    def point_data(self) -> bool:
        """True: values belong to the nodes of the elements."""
        return True

    @property
    def face_regions(self) -> Mapping[str, Array]:
        """As `Mesh.face_regions`: by the elements that the parts of a face lie in."""
        return self.shares

    @property
    def cut_by_regions(self) -> bool:
        """True: a node of an interface has a cell on both of its sides."""
        return True

    def signed_simplices(self) -> tuple[Index, Array, Array]:
        """As `Mesh.signed_simplices`: those that the pieces consist of."""
        return self.solid_cell, self.vertex[self.solids], np.ones(len(self.solids))

    def shelters(self) -> tuple[Array, Index]:
        """As `Mesh.shelters`: the simplices of the elements, and the cells of the pieces of each."""
        return self.simplices, self.owners

    def difference_along_faces(self, function: Callable[[Array], Array]) -> Array:
        """As `Mesh.difference_along_faces`: the sum over the parts of each face."""
        start, end = self.fans.T
        parts = difference_along(self.vertex, function(self.vertex), start, end, self.normal[self.face_of])
        return np.bincount(self.face_of, parts, self.faces).astype(float)

    def wall_contacts(self, walls: Index) -> tuple[Index, Index, Array]:
        """As `Mesh.wall_contacts`: a wall face touches all cells that have a piece on it."""
        wall, cell, area = self.contacts
        chosen = np.isin(wall, walls)
        return wall[chosen], cell[chosen], area[chosen]

    @cached_property
    def pieces(self) -> Simplices:
        """The simplices that the cells consist of."""
        return Simplices(self.solid_cell, self.vertex[self.solids], self.revolution)

    def quadrature(self, count: int) -> Iterator[tuple[Array, Array, Subset]]:
        """As `Mesh.quadrature`, by a positive rule of degree 1, 2, or in the plane 4, in each simplex."""
        yield from self._measured(_rule(self.vertex, self.solids, self.stretch, self.solid_cell, count))

    def face_quadrature(self, count: int) -> Iterator[tuple[Array, Array, Subset]]:
        """As `Mesh.face_quadrature`, by such a rule in each part of a face."""
        yield from self._measured(_rule(self.vertex, self.fans, np.ones(len(self.fans)), self.face_of, count))


def _rule(
    vertex: Array, corners: Index, stretch: Array, part: Index, count: int
) -> Iterator[tuple[Array, Array, Subset]]:
    """Quadrature points of simplices (simplex, corner), in batches as `Mesh.quadrature`."""
    shares, weights = _barycentric(corners.shape[1] - 1, count)
    for first in range(0, len(corners), _BATCH):
        rows = slice(first, first + _BATCH)
        x = vertex[corners[rows]]
        measure = measures(vertex, corners[rows]) * stretch[rows]
        for share, weight in zip(shares, weights, strict=True):
            yield np.einsum("c,pcd->pd", share, x), weight * measure, part[rows]


def _barycentric(dimension: int, count: int) -> tuple[Array, Array]:
    """Barycentric coordinates (point, corner) and weights of sum 1 (point,) of a positive rule in a simplex.

    On a line Gauss's rule, else of degree 1 for one point, 2, and in a triangle from three points on 4 (Strang, Fix, An
    analysis of the finite element method, 1973, Table 4.1; Hammer, Stroud, Numerical integration over simplexes, 1956).
    """
    if dimension == 1:
        node, weight = np.polynomial.legendre.leggauss(count)
        return np.stack([0.5 * (1.0 - node), 0.5 * (1.0 + node)], axis=1), 0.5 * weight
    if count == 1:
        return np.full((1, dimension + 1), 1.0 / (dimension + 1)), np.ones(1)
    if dimension == 3 or count == 2:
        low = (1.0 - 1.0 / math.sqrt(dimension + 2)) / (dimension + 1)
        return _permuted(low, dimension), np.full(dimension + 1, 1.0 / (dimension + 1))
    rows = [_permuted(low, dimension) for low in (0.445948490915965, 0.091576213509771)]
    return np.concatenate(rows), np.repeat([0.223381589678011, 0.109951743655322], 3)


def _permuted(low: float, dimension: int) -> Array:
    """The points with one coordinate that differs from the others (point, corner)."""
    return np.full((dimension + 1, dimension + 1), low) + (1.0 - (dimension + 1) * low) * np.eye(dimension + 1)
