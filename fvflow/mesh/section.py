"""Polygons for pictures: the cells of a mesh in the plane, and plane sections of one in space."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from fvflow.errors import CaseError
from fvflow.mesh.core import Array, Index

Number = TypeVar("Number", np.int32, np.intp)

_NEAR = 1e-9  # nodes this close to the plane are on it, in lengths of the mesh along the axis

# The edges of the cells in space by their number of corners, these in VTK's order.
_EDGES = {
    4: ((0, 1), (1, 2), (2, 0), (0, 3), (1, 3), (2, 3)),
    5: ((0, 1), (1, 2), (2, 3), (3, 0), (0, 4), (1, 4), (2, 4), (3, 4)),
    6: ((0, 1), (1, 2), (2, 0), (3, 4), (4, 5), (5, 3), (0, 3), (1, 4), (2, 5)),
    8: ((0, 1), (1, 2), (2, 3), (3, 0), (4, 5), (5, 6), (6, 7), (7, 4), (0, 4), (1, 5), (2, 6), (3, 7)),
}


def polygons(points: Array, cell_points: Index) -> Array:
    """The cells of a mesh in the plane, as matplotlib's PolyCollection takes them: (cell, corner, 2).

    Rows of `cell_points` (cell, corner) that are padded by -1 repeat their last corner.
    """
    return np.asarray(points[_repeat_last(cell_points, (cell_points >= 0).sum(axis=1))])


def section(points: Array, cell_points: Index, axis: int, level: float) -> tuple[Array, Index]:
    """The polygons in which the plane x_axis = level cuts the cells of a mesh in space, and their cells (piece,).

    Polygons are (piece, corner, 2), counter-clockwise in the other two coordinates, shorter ones repeating their last
    corner; pieces are ordered by cell. Each is exact for a convex cell with plane faces. A node on the plane counts as
    above it: of two cells that meet in the plane the lower one is cut, and on the lowest plane of a mesh none is.

    Raises CaseError for an axis other than 0, 1, 2, a cell that is no tetrahedron, pyramid, wedge or hexahedron, and a
    plane that cuts no cell.
    """
    height = _height(points, axis, level)
    flat = np.delete(points, axis, axis=1)
    corners = (cell_points >= 0).sum(axis=1)
    _check_corners(corners)
    parts = []
    for count in np.unique(corners):
        cells = np.flatnonzero(corners == count)
        nodes = cell_points[cells, :count]
        cut = _is_cut(height[nodes])
        parts.append((_pieces(flat, height, nodes[cut]), cells[cut]))
    if not sum(len(cells) for _, cells in parts):
        low, high = points[:, axis].min(), points[:, axis].max()
        name = "xyz"[axis]
        raise CaseError(f"the plane {name} = {level:g} cuts no cell; give a level with {low:g} < {name} <= {high:g}")
    return _joined(parts)


def _height(points: Array, axis: int, level: float) -> Array:
    """The nodes' heights above the plane (node,); zero within round-off, or a face in the plane would be cut askew."""
    if axis not in (0, 1, 2):
        raise CaseError(f"axis {axis} of a section; give 0, 1 or 2 for x, y or z")
    height = points[:, axis] - level
    return np.where(np.abs(height) <= _NEAR * np.ptp(points[:, axis]), 0.0, height)


def _check_corners(corners: NDArray[np.intp]) -> None:
    strange = np.setdiff1d(corners, list(_EDGES))
    if len(strange):
        raise CaseError(
            f"a cell of {strange[0]} corners has no section; give a mesh of tetrahedra, pyramids, wedges and hexahedra"
        )


def _is_cut(height: Array) -> NDArray[np.bool_]:
    """Whether each cell (cell, corner) is cut: not if only a corner or an edge of it comes up to the plane."""
    comes_through = (height > 0).any(axis=1) | ((height == 0).sum(axis=1) >= 3)
    return np.asarray(comes_through & (height < 0).any(axis=1))


def _pieces(flat: Array, height: Array, nodes: Index) -> Array:
    """Sections (cell, corner, 2) of cells of one type, all of them cut."""
    start, end = np.moveaxis(nodes[:, np.array(_EDGES[nodes.shape[1]])], 2, 0)
    cut = (height[start] >= 0) != (height[end] >= 0)
    first, last = (np.where(cut, height[side], place) for side, place in ((start, 1.0), (end, 0.0)))
    share = (first / (first - last))[:, :, None]
    corner = (1.0 - share) * flat[start] + share * flat[end]  # a node on the plane comes out to the last digit
    return _sorted_by_angle(corner, cut)


def _sorted_by_angle(corner: Array, real: NDArray[np.bool_]) -> Array:
    """The real ones of the corners (cell, place, 2) in their order round their mean; the last one fills the rows up."""
    count = real.sum(axis=1)
    mean = (corner * real[:, :, None]).sum(axis=1) / count[:, None]
    x, y = np.moveaxis(corner - mean[:, None], 2, 0)
    order = np.argsort(np.where(real, np.arctan2(y, x), np.inf), axis=1)
    order = _repeat_last(order[:, : count.max(initial=1)], count)
    return np.take_along_axis(corner, order[:, :, None], axis=1)


def _repeat_last(rows: NDArray[Number], count: NDArray[np.intp]) -> NDArray[Number]:
    """The rows (row, entry), from their `count` on with their last entry before."""
    place = np.minimum(np.arange(rows.shape[1]), count[:, None] - 1)
    return np.take_along_axis(rows, place, axis=1)


def _joined(parts: list[tuple[Array, NDArray[np.intp]]]) -> tuple[Array, Index]:
    """The pieces of all types in one array, ordered by cell."""
    width = max(piece.shape[1] for piece, _ in parts)
    wide = [np.pad(piece, ((0, 0), (0, width - piece.shape[1]), (0, 0)), mode="edge") for piece, _ in parts]
    cells = np.concatenate([cells for _, cells in parts])
    order = np.argsort(cells)
    return np.concatenate(wide)[order], cells[order].astype(np.int32)
