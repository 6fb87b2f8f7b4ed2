"""Polygons for plots: the cells of a mesh in the plane, and plane sections of a mesh in space."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from fvflow.errors import CaseError
from fvflow.mesh.arrays import Array, Index

Number = TypeVar("Number", np.int32, np.intp)

_ON_PLANE = 1e-9  # distance below which a node lies on the plane, relative to the length of the mesh along the axis

# The edges of solids by their number of corners, in VTK's order.
_EDGES = {
    4: ((0, 1), (1, 2), (2, 0), (0, 3), (1, 3), (2, 3)),
    5: ((0, 1), (1, 2), (2, 3), (3, 0), (0, 4), (1, 4), (2, 4), (3, 4)),
    6: ((0, 1), (1, 2), (2, 0), (3, 4), (4, 5), (5, 3), (0, 3), (1, 4), (2, 5)),
    8: ((0, 1), (1, 2), (2, 3), (3, 0), (4, 5), (5, 6), (6, 7), (7, 4), (0, 4), (1, 5), (2, 6), (3, 7)),
}


def polygons(points: Array, cell_points: Index) -> Array:
    """The cells of a mesh in the plane as polygons (cell, corner, 2) for matplotlib's PolyCollection.

    `points` are the nodes (node, 2). Rows of `cell_points` (cell, corner) padded with -1 repeat their last corner.
    """
    return np.asarray(points[_repeat_last(cell_points, (cell_points >= 0).sum(axis=1))])


def section(points: Array, cell_points: Index, axis: int, level: float) -> tuple[Array, Index]:
    """The polygons in which the plane x_axis = level cuts the cells of a mesh in space, and their cells (polygon,).

    The polygons (polygon, corner, 2) are counter-clockwise in the other two coordinates and ordered by cell; shorter
    ones repeat their last corner. Each is exact for a convex cell with plane faces. A node on the plane counts as above
    it: if two cells meet in the plane, the lower one is cut, and the lowest plane of a mesh cuts no cell.

    Raises CaseError for an axis other than 0, 1, 2, a cell that is not a tetrahedron, pyramid, wedge or hexahedron, and
    a plane that cuts no cell.
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
        parts.append((_cross_sections(flat, height, nodes[cut]), cells[cut]))
    if not sum(len(cells) for _, cells in parts):
        low, high = points[:, axis].min(), points[:, axis].max()
        name = "xyz"[axis]
        raise CaseError(f"the plane {name} = {level:g} cuts no cell; give a level with {low:g} < {name} <= {high:g}")
    return _joined(parts)


def _height(points: Array, axis: int, level: float) -> Array:
    """Height of each node above the plane (node,), zero within round-off: a face in the plane is not cut obliquely."""
    if axis not in (0, 1, 2):
        raise CaseError(f"axis {axis} of a section; give 0, 1 or 2 for x, y or z")
    height = points[:, axis] - level
    return np.where(np.abs(height) <= _ON_PLANE * np.ptp(points[:, axis]), 0.0, height)


def _check_corners(corners: NDArray[np.intp]) -> None:
    """Raise CaseError for a number of corners that no supported solid has."""
    unknown = np.setdiff1d(corners, list(_EDGES))
    if len(unknown):
        raise CaseError(
            f"a cell of {unknown[0]} corners has no section; give a mesh of tetrahedra, pyramids, wedges and hexahedra"
        )


def _is_cut(height: Array) -> NDArray[np.bool_]:
    """Whether the plane cuts each cell (cell,); a corner or an edge that touches it from below is not enough."""
    reaches_through = (height > 0).any(axis=1) | ((height == 0).sum(axis=1) >= 3)
    return np.asarray(reaches_through & (height < 0).any(axis=1))


def _cross_sections(flat: Array, height: Array, nodes: Index) -> Array:
    """Sections (cell, corner, 2) of cells of one shape that are all cut."""
    start, end = np.moveaxis(nodes[:, np.array(_EDGES[nodes.shape[1]])], 2, 0)
    cut = (height[start] >= 0) != (height[end] >= 0)
    first, last = (np.where(cut, height[side], filler) for side, filler in ((start, 1.0), (end, 0.0)))
    share = (first / (first - last))[:, :, None]
    corner = (1.0 - share) * flat[start] + share * flat[end]  # a node on the plane is reproduced exactly
    return _sorted_by_angle(corner, cut)


def _sorted_by_angle(corner: Array, real: NDArray[np.bool_]) -> Array:
    """The real ones of the corners (cell, corner, 2), counter-clockwise about their mean; the last fills the row."""
    count = real.sum(axis=1)
    mean = (corner * real[:, :, None]).sum(axis=1) / count[:, None]
    x, y = np.moveaxis(corner - mean[:, None], 2, 0)
    order = np.argsort(np.where(real, np.arctan2(y, x), np.inf), axis=1)
    order = _repeat_last(order[:, : count.max(initial=1)], count)
    return np.take_along_axis(corner, order[:, :, None], axis=1)


def _repeat_last(rows: NDArray[Number], count: NDArray[np.intp]) -> NDArray[Number]:
    """The rows (row, entry) whose entries from `count` on are replaced by the one before."""
    index = np.minimum(np.arange(rows.shape[1]), count[:, None] - 1)
    return np.take_along_axis(rows, index, axis=1)


def _joined(parts: list[tuple[Array, NDArray[np.intp]]]) -> tuple[Array, Index]:
    """The sections of all shapes in one array, ordered by cell."""
    width = max(polygon.shape[1] for polygon, _ in parts)
    wide = [np.pad(polygon, ((0, 0), (0, width - polygon.shape[1]), (0, 0)), mode="edge") for polygon, _ in parts]
    cells = np.concatenate([cells for _, cells in parts])
    order = np.argsort(cells)
    return np.concatenate(wide)[order], cells[order].astype(np.int32)
