"""The boxes or simplices that cells are made of, and the maps of the unit cube onto them."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

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
    """The cells of a grid with these boundaries along each axis; with a `revolution` the first one is of radii."""

    def __init__(self, edges: tuple[Array, ...], revolution: Revolution | None = None) -> None:
        self._edges, self._counts = edges, [len(edge) - 1 for edge in edges]
        self._power = 1 if revolution is None else revolution.dimension
        self.cell = freeze_index(np.arange(math.prod(self._counts)))
        self.share = freeze(np.ones(len(self.cell)))

    def positions(self, piece: Index, unit: Array) -> Array:
        """As `Pieces.positions`: lower + u (upper - lower) along each axis, for radii of their powers."""
        found = np.empty_like(unit)
        for axis, (edge, count) in enumerate(zip(self._edges, self._counts, strict=True)):
            piece, place = np.divmod(piece, count)
            power = self._power if axis == 0 else 1
            measure = edge**power
            along = measure[place] + unit[:, axis] * np.diff(measure)[place]
            found[:, axis] = along if power == 1 else (along ** (1 / power)).clip(edge[place], edge[place + 1])
            found[:, axis] = np.minimum(found[:, axis], edge[-1])  # which the sum may exceed by round-off
        return found


class Simplices(Pieces):
    """Simplices with these corners (vertex, axis, piece), and the cell of each (piece,)."""

    def __init__(self, cell: Index, corner: Array) -> None:
        volume = np.abs(np.linalg.det(np.moveaxis(corner[1:] - corner[0], 2, 0)))
        self.cell, self.share = cell, freeze(volume / np.bincount(cell, volume)[cell])
        self._corner = np.ascontiguousarray(corner.transpose(2, 0, 1))

    def positions(self, piece: Index, unit: Array) -> Array:
        """As `Pieces.positions`: the spacings of sorted coordinates are barycentric ones, uniform if they were."""
        weight = np.diff(np.sort(unit, axis=1), axis=1, prepend=0.0, append=1.0)
        return np.asarray(np.einsum("pv,pva->pa", weight, self._corner[piece]))


def simplices(points: Array, cell_points: Index) -> tuple[Index, Array]:
    """Simplices that make up star-shaped cells: the cell of each (simplex,), its corners (vertex, axis, simplex).

    Polygons are cut from their first corner, which sees the others; solids from the mean of their corners to
    triangles of their faces, which neighbours cut alike.
    """
    sizes, dimension = (cell_points >= 0).sum(axis=1), points.shape[1]
    cells, corners = [], []
    for size in np.unique(sizes):
        same = np.flatnonzero(sizes == size)
        nodes = cell_points[same, :size]
        if size == dimension + 1:
            parts = [points[nodes]]
        elif dimension == 2:
            parts = [points[nodes[:, [0, k, k + 1]]] for k in range(1, size - 1)]
        else:
            apex = points[nodes].mean(axis=1)[:, None]
            sides = [side for face in FACES[int(size)] for side in fan(nodes[:, face])]
            parts = [np.concatenate([apex, points[side]], axis=1) for side in sides]
        cells += [same] * len(parts)
        corners += parts
    return freeze_index(np.concatenate(cells)), np.concatenate(corners).transpose(1, 2, 0)


def fan(polygon: Index) -> list[Index]:
    """The triangles of polygons (polygon, corner) about their lowest node: neighbours cut a warped face alike."""
    places = polygon.argmin(axis=1)[:, None] + np.arange(polygon.shape[1])
    rotated = np.take_along_axis(polygon, places % polygon.shape[1], axis=1)
    return [rotated[:, [0, corner, corner + 1]] for corner in range(1, polygon.shape[1] - 1)]
