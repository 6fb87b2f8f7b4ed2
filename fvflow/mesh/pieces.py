"""The boxes or simplices that cells are made of, and the maps of the unit cube onto them."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from fvflow.mesh.arrays import Array, Index, freeze, freeze_index
from fvflow.mesh.cell_geometry import FACES
from fvflow.mesh.revolution import Revolution


class Pieces(ABC):
    """A partition of the cells of a mesh into pieces of a simple shape."""

    cell: Index
    """The cell that each piece is a part of (piece,)."""
    share: Array
    """The volume of each piece over that of its cell (piece,)."""

    @abstractmethod
    def positions(self, piece: Index, unit: Array) -> Array:
        """Positions (point, dim) in the given pieces (point,) of points of the unit cube (point, dim).

        The maps keep ratios of volumes, so that uniform points stay uniform.
        """


class Boxes(Pieces):
    """The cells of a grid with these boundaries along each axis; with a `revolution` x is a radius."""

    def __init__(self, edges: tuple[Array, ...], revolution: Revolution | None = None) -> None:
        self._edges, self._counts = edges, [len(edge) - 1 for edge in edges]
        self._revolution = revolution
        self.cell = freeze_index(np.arange(math.prod(self._counts)))
        self.share = freeze(np.ones(len(self.cell)))

    def positions(self, piece: Index, unit: Array) -> Array:
        """As `Pieces.positions`: lower + u (upper - lower) along each axis, of a radius in its power."""
        found = np.empty_like(unit)
        for axis, (edge, count) in enumerate(zip(self._edges, self._counts, strict=True)):
            piece, place = np.divmod(piece, count)
            if axis == 0 and self._revolution is not None:
                along = self._revolution.inverse(edge[place], edge[place + 1], unit[:, axis])
            else:
                along = edge[place] + unit[:, axis] * np.diff(edge)[place]
            found[:, axis] = np.minimum(along, edge[-1])  # which the sum may exceed by round-off
        return found


class Simplices(Pieces):
    """Simplices with these corners (piece, dim + 1, dim), and the cell of each (piece,).

    With a `revolution` x is the distance from an axis, about which triangles are turned.
    """

    def __init__(self, cell: Index, corner: Array, revolution: Revolution | None = None) -> None:
        volume = np.abs(np.linalg.det(corner[:, 1:] - corner[:, :1]))
        self._turned = revolution is not None
        if revolution is not None:
            volume = volume * revolution.measure(corner[:, :, 0].mean(axis=1))
        self.cell, self.share = cell, freeze(volume / np.bincount(cell, volume)[cell])
        self._corner = corner

    def positions(self, piece: Index, unit: Array) -> Array:
        """As `Pieces.positions`: the spacings of sorted coordinates are barycentric ones, uniform if they were.

        A density that is proportional to the radius r = sum_i l_i r_i, l being barycentric coordinates, is a mixture of
        the densities proportional to l_i, with the weights r_i.
        """
        corner = self._corner[piece]
        weight = _by_radius(corner[:, :, 0], unit) if self._turned else _spacings(unit)
        return np.asarray(np.einsum("pv,pva->pa", weight, corner))


def _spacings(unit: Array) -> Array:
    """Barycentric coordinates (point, corner) of uniform points, from points of the unit cube (point, dim)."""
    return np.diff(np.sort(unit, axis=1), axis=1, prepend=0.0, append=1.0)


def _by_radius(radius: Array, unit: Array) -> Array:
    """Barycentric coordinates (point, 3) of points in triangles with a density in proportion to the radius.

    `radius` is that of the corners (point, 3). The first coordinate of a point of the unit square (point, 2) chooses
    the corner i, and what it is within its interval is the law of l_i, 3 l^2 - 2 l^3; the second divides the rest.
    """
    reached = np.cumsum(radius, axis=1)
    wanted = unit[:, 0] * reached[:, -1]
    rows = np.arange(len(unit))
    chosen = (wanted[:, None] >= reached[:, :2]).sum(axis=1)
    law = (wanted - reached[rows, chosen] + radius[rows, chosen]) / radius[rows, chosen]
    own = 0.5 - np.sin(np.arcsin(1.0 - 2.0 * np.clip(law, 0.0, 1.0)) / 3.0)  # clipped: round-off of the sums
    weight = np.empty((len(unit), 3))
    weight[rows, chosen] = own
    weight[rows, (chosen + 1) % 3] = (1.0 - own) * unit[:, 1]
    weight[rows, (chosen + 2) % 3] = (1.0 - own) * (1.0 - unit[:, 1])
    return weight


def simplices(points: Array, cell_points: Index) -> tuple[Array, Index, Index]:
    """Simplices that make up star-shaped cells: vertices (vertex, dim), those of each (simplex, dim + 1), and its cell.

    Polygons are cut from their first corner, which sees the others; solids from the mean of their corners, which
    becomes a vertex, to triangles of their faces, which neighbours cut alike.
    """
    sizes, dimension = (cell_points >= 0).sum(axis=1), points.shape[1]
    vertices, count = [points], len(points)
    corners, cells = list[Index](), list[Any]()
    for size in np.unique(sizes):
        same = np.flatnonzero(sizes == size)
        nodes = cell_points[same, :size]
        if size == dimension + 1:
            parts = [nodes]
        elif dimension == 2:
            parts = [nodes[:, [0, k, k + 1]] for k in range(1, size - 1)]
        else:
            apex = count + np.arange(len(nodes))
            vertices.append(points[nodes].mean(axis=1))
            count += len(nodes)
            parts = [np.column_stack([apex, side]) for side in surface(nodes)]
        corners += parts
        cells += [same] * len(parts)
    return np.concatenate(vertices), freeze_index(np.concatenate(corners)), freeze_index(np.concatenate(cells))


def surface(nodes: Index) -> list[Index]:
    """The triangles of the faces of solids of one shape (solid, corner), outward."""
    return [side for face in FACES[nodes.shape[1]] for side in fan(nodes[:, face])]


def fan(polygon: Index) -> list[Index]:
    """The triangles of polygons (polygon, corner) about their lowest node: neighbours cut a warped face alike."""
    places = polygon.argmin(axis=1)[:, None] + np.arange(polygon.shape[1])
    rotated = np.take_along_axis(polygon, places % polygon.shape[1], axis=1)
    return [rotated[:, [0, corner, corner + 1]] for corner in range(1, polygon.shape[1] - 1)]
