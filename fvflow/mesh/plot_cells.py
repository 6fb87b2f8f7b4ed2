"""Cells in the form of XDMF, the format that ParaView opens."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from fvflow.mesh.arrays import Array, Index, freeze_index
from fvflow.mesh.core import Mesh
from fvflow.mesh.grid import Grid
from fvflow.parallel import Pieced

_UNIFORM = {
    (1, 2): "Polyline",
    (2, 3): "Triangle",
    (2, 4): "Quadrilateral",
    (3, 4): "Tetrahedron",
    (3, 5): "Pyramid",
    (3, 8): "Hexahedron",
}
_CODES = {(2, 3): 4, (2, 4): 5, (3, 4): 6, (3, 5): 7, (3, 8): 9}
_POLYGON = 3
_PIECE = 2**17  # cells of a piece


def topology(mesh: Mesh) -> tuple[str, Index]:
    """The XDMF topology type of the cells, and their nodes: (cell, corner), or a flat array for type Mixed.

    In the flat array a cell is the code of its shape, the number of corners if it is a polygon of more than four, and
    its nodes. Wedges are written as hexahedra with two edges of zero length: versions of ParaView disagree on the order
    of the nodes of a wedge, and in one of the orders volumes are negative.
    """
    corners = _without_wedges(mesh.plot_cells) if mesh.dimension == 3 else mesh.plot_cells
    shape = (mesh.dimension, corners.shape[1])
    if shape in _UNIFORM and corners.min(initial=0) >= 0:
        return _UNIFORM[shape], corners
    sizes = (corners >= 0).sum(axis=1)
    codes = np.array([_CODES.get((mesh.dimension, size), _POLYGON) for size in range(sizes.max() + 1)])[sizes]
    counts = np.where(codes == _POLYGON, sizes, -1)
    rows = np.column_stack([codes, counts, corners])
    return "Mixed", freeze_index(rows[rows >= 0])


def grid_in_pieces(mesh: Mesh) -> tuple[Pieced, Pieced]:
    """The nodes (node, dim) and `topology` (cell, corner) of a grid, some layers at a time."""
    edges, layers = mesh.edges or (), mesh.shape[0]
    across = math.prod(len(edge) for edge in edges[:-1])
    step = max(1, _PIECE * layers // mesh.cells)

    def parts() -> Iterator[tuple[int, Mesh]]:
        for first in range(0, layers, step):
            yield first, Grid((*edges[:-1], edges[-1][first : first + step + 1]))

    def points() -> Iterator[Array]:
        for first, part in parts():
            yield part.points[:-across]
            if first + step >= layers:
                yield part.points[-across:]

    def corners() -> Iterator[Index]:
        pattern = np.empty((0, 0), np.int32)
        for first, part in parts():
            if len(pattern) != part.cells:  # all but the last one have as many layers
                pattern = part.cell_points
            yield pattern + np.int32(first * across)

    nodes = across * (layers + 1)
    layer = mesh.cells // layers
    return Pieced(nodes, np.float64, points, step * across), Pieced(mesh.cells, np.int32, corners, step * layer)


def topology_kind(dimension: int, shape: tuple[int, ...]) -> str | None:
    """The XDMF topology type that belongs to the shape of an array of `topology`; None if there is none."""
    return "Mixed" if len(shape) == 1 else _UNIFORM.get((dimension, *shape[1:]))  # type: ignore[arg-type]


def _without_wedges(corners: Index) -> Index:
    """The cells (cell, corner), wedges as degenerate hexahedra."""
    sizes = (corners >= 0).sum(axis=1)
    if not (sizes == 6).any():
        return corners
    wide = np.pad(corners, ((0, 0), (0, 8 - corners.shape[1])), constant_values=-1)
    wide[sizes == 6] = wide[sizes == 6][:, [0, 1, 2, 2, 3, 4, 5, 5]]
    return freeze_index(wide)
