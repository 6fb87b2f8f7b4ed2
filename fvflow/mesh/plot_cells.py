"""Cells as XDMF, ParaView's format, has them."""

from __future__ import annotations

import numpy as np

from fvflow.mesh.core import Index, Mesh, freeze_index

_ALIKE = {
    (1, 2): "Polyline",
    (2, 3): "Triangle",
    (2, 4): "Quadrilateral",
    (3, 4): "Tetrahedron",
    (3, 5): "Pyramid",
    (3, 8): "Hexahedron",
}
_CODES = {(2, 3): 4, (2, 4): 5, (3, 4): 6, (3, 5): 7, (3, 8): 9}
_POLYGON = 3


def topology(mesh: Mesh) -> tuple[str, Index]:
    """XDMF's name of the cells, and their nodes: (cell, corner), or for Mixed a flat list.

    There each cell is a code of its shape, for polygons of more than four corners their number, and its nodes. Wedges
    are hexahedra with two edges of no length: versions of ParaView disagree on the order of a wedge's nodes, and one
    of them has negative volumes.
    """
    corners = _without_wedges(mesh.plot_cells) if mesh.dimension == 3 else mesh.plot_cells
    alike = (mesh.dimension, corners.shape[1])
    if alike in _ALIKE and corners.min(initial=0) >= 0:
        return _ALIKE[alike], corners
    sizes = (corners >= 0).sum(axis=1)
    codes = np.array([_CODES.get((mesh.dimension, size), _POLYGON) for size in range(sizes.max() + 1)])[sizes]
    counts = np.where(codes == _POLYGON, sizes, -1)
    rows = np.column_stack([codes, counts, corners])
    return "Mixed", freeze_index(rows[rows >= 0])


def _without_wedges(corners: Index) -> Index:
    sizes = (corners >= 0).sum(axis=1)
    if not (sizes == 6).any():
        return corners
    wide = np.pad(corners, ((0, 0), (0, 8 - corners.shape[1])), constant_values=-1)
    wide[sizes == 6] = wide[sizes == 6][:, [0, 1, 2, 2, 3, 4, 5, 5]]
    return freeze_index(wide)
