"""Meshes that come from FiPy."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from fvflow.errors import CaseError
from fvflow.mesh.core import Mesh, freeze, freeze_index
from fvflow.mesh.grid import Corner, Counts, check_extent


@dataclass(frozen=True)
class FiPyMesh:
    """A box cut into equal cells by FiPy's Grid1D, Grid2D or Grid3D: the same mesh as `box`, by the oracle's hand."""

    lower: Corner
    upper: Corner
    cells: Counts
    kind: Literal["fipy"] = "fipy"

    def __post_init__(self) -> None:
        check_extent(self.lower, self.upper, self.cells)

    def build(self) -> Mesh:
        """The mesh; imports FiPy."""
        import fipy

        grid = (fipy.Grid1D, fipy.Grid2D, fipy.Grid3D)[len(self.cells) - 1]
        spacing = [(up - low) / count for low, up, count in zip(self.lower, self.upper, self.cells, strict=True)]
        sizes = {f"n{axis}": count for axis, count in zip("xyz", self.cells, strict=False)}
        steps = {f"d{axis}": step for axis, step in zip("xyz", spacing, strict=False)}
        return convert(grid(**sizes, **steps) + [[low] for low in self.lower])

    def refined(self, factor: int = 2) -> FiPyMesh:
        """The same box with `factor` times as many cells along each axis."""
        return replace(self, cells=tuple(factor * count for count in self.cells))


def convert(grid: Any) -> Mesh:
    """The face graph of a FiPy Grid1D, Grid2D or Grid3D.

    Raises CaseError for other FiPy meshes and for periodic ones: their cells are not boxes cut along the axes.
    """
    points = np.asarray(grid.vertexCoords).T
    edges = tuple(_levels(points[:, axis]) for axis in range(points.shape[1]))
    counts = np.array([len(edge) - 1 for edge in edges])
    cells, corner_ids = int(grid.numberOfCells), np.asarray(grid._cellVertexIDs).T
    interior = np.asarray(grid.interiorFaces.value)
    faces_of_a_grid = sum(counts.prod() // count * (count - 1) for count in counts)
    if (counts.prod(), faces_of_a_grid, 2 ** len(edges)) != (cells, interior.sum(), corner_ids.shape[1]):
        raise CaseError(f"a FiPy {type(grid).__name__} is not a Grid1D, Grid2D or Grid3D; only these convert")
    owner, neighbour = np.asarray(grid.faceCellIDs)[:, interior]
    order = np.lexsort((owner, neighbour - owner))  # FiPy counts faces otherwise: by axis, then by owner
    faces = np.flatnonzero(interior)[order]
    node_order, node_rank = _x_fastest(points)
    corners = node_rank[corner_ids]
    centre = np.asarray(grid.cellCenters).T
    ahead = centre[neighbour[order]] - centre[owner[order]]
    return Mesh(
        centre=freeze(centre),
        volume=freeze(grid.cellVolumes),
        owner=freeze_index(owner[order]),
        neighbour=freeze_index(neighbour[order]),
        area=freeze(np.asarray(grid._faceAreas)[faces]),
        distance=freeze(np.asarray(grid._cellDistances)[faces]),
        normal=freeze(_turned(np.asarray(grid.faceNormals)[:, faces].T, ahead)),
        points=freeze(points[node_order]),
        cell_points=_vtk_order(corners),
        face_points=_vtk_order(_shared(corners[owner[order]], corners[neighbour[order]])),
        edges=tuple(freeze(edge) for edge in edges),
    )


def _levels(values: Any) -> Any:
    """The distinct coordinates along an axis; those closer than round-off are one."""
    ordered = np.unique(values)
    apart = np.diff(ordered) > 1e-9 * (ordered[-1] - ordered[0])
    return ordered[np.concatenate([[True], apart])]


def _x_fastest(points: Any) -> tuple[Any, Any]:
    """The order of grid nodes with x fastest, and each node's place in it."""
    decimals = [np.searchsorted(levels := _levels(column), column - 1e-9 * np.ptp(levels)) for column in points.T]
    order = np.lexsort(decimals)
    return order, np.argsort(order)


def _turned(normal: Any, ahead: Any) -> Any:
    """The normals, turned to point from the owner to the neighbour."""
    return normal * np.sign((ahead * normal).sum(axis=1))[:, None] + 0.0


def _shared(corners: Any, others: Any) -> Any:
    """The nodes that two neighbouring boxes have in common: those of the face between them."""
    common = (corners[:, :, None] == others[:, None, :]).any(axis=2)
    return corners[common].reshape(len(corners), corners.shape[1] // 2)


def _vtk_order(corners: Any) -> Any:
    """Corners of axis-aligned boxes, sorted into VTK's order: round the lower face, then round the upper one."""
    number = np.sort(corners, axis=1)
    for first in range(2, number.shape[1], 4):
        number[:, [first, first + 1]] = number[:, [first + 1, first]]
    return freeze_index(number)
