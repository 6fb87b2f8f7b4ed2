"""Meshes from FiPy."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from fvflow.errors import CaseError
from fvflow.mesh.arrays import Array, Index
from fvflow.mesh.base import coarser
from fvflow.mesh.box import Corner, Counts, GridDescription
from fvflow.mesh.control_volumes import ControlVolumes, control_volume_mesh
from fvflow.mesh.core import Mesh
from fvflow.mesh.grid import Grid
from fvflow.mesh.polytopes import mesh_from_cells
from fvflow.mesh.revolution import BALL, DISC, Revolution

_SAME_MEASURE = 1e-6  # relative difference of two measures that is put down to round-off


@dataclass(frozen=True)
class FiPyMesh(GridDescription):
    """A box cut into equal cells by FiPy's Grid1D, Grid2D or Grid3D; the same mesh as `box`, as a test oracle."""

    lower: Corner
    """Lower corner of the box, one coordinate per axis."""
    upper: Corner
    """Upper corner of the box, one coordinate per axis."""
    cells: Counts
    """Number of cells along each axis."""
    kind: Literal["fipy"] = "fipy"

    def build(self) -> Mesh:
        """The grid of the edges that FiPy computes; imports FiPy."""
        import fipy

        grid = (fipy.Grid1D, fipy.Grid2D, fipy.Grid3D)[len(self.cells) - 1]
        spacing = [(up - low) / count for low, up, count in zip(self.lower, self.upper, self.cells, strict=True)]
        sizes = {f"n{axis}": count for axis, count in zip("xyz", self.cells, strict=False)}
        steps = {f"d{axis}": step for axis, step in zip("xyz", spacing, strict=False)}
        return from_fipy(grid(**sizes, **steps) + [[low] for low in self.lower])

    def refined(self, factor: int = 2) -> FiPyMesh:
        """The same box with `factor` times as many cells along each axis."""
        return replace(self, cells=tuple(factor * count for count in self.cells))

    def coarsened(self, factor: int = 2) -> FiPyMesh:
        """The same box with 1/`factor` of the cells along each axis, rounded up."""
        return replace(self, cells=coarser(self.cells, factor))


def from_fipy(grid: Any, control_volumes: ControlVolumes = "auto") -> Mesh:
    """The mesh of a FiPy grid, or of FiPy's polygons (Tri2D, Gmsh2D) or tetrahedra (Gmsh3D).

    Cylindrical and spherical grids keep FiPy's measure per unit angle, r dr or r^2 dr, which is integrated exactly,
    where FiPy takes r^2 at the middle of a cell. Raises CaseError for periodic meshes, for other solids, for meshes
    that carry any other measure than length, area or volume, and if two-point fluxes are not consistent.
    """
    points = np.asarray(grid.vertexCoords).T
    if _periodic(grid):
        raise CaseError(
            f"a FiPy {type(grid).__name__} is periodic; give a mesh with walls, or use kind box with periodic: [x]"
        )
    edges = _edges(grid, points)
    if edges is not None:
        return _grid(grid, edges)
    corners = np.ma.filled(np.ma.asarray(grid._cellVertexIDs).T, -1)
    if points.shape[1] == 2:
        corners = _counter_clockwise(points, corners)
    elif (corners >= 0).sum(axis=1).max() > 4:
        raise CaseError(f"a FiPy {type(grid).__name__} has solids other than tetrahedra; use a grid, or kind meshio")
    mesh = mesh_from_cells(points, corners)
    if not _same_measure(grid, mesh, mesh.volume):
        raise _other_measure(grid, mesh)
    return control_volume_mesh(mesh, control_volumes)


def _grid(grid: Any, edges: tuple[Array, ...]) -> Grid:
    """The grid with these edges and FiPy's measure; raises CaseError if it is none that a grid has."""
    plain = Grid(edges)
    if _same_measure(grid, plain, plain.volume):
        return plain
    if edges[0][0] >= 0:
        for dimension in (DISC, BALL) if len(edges) == 1 else (DISC,):
            turned = Grid(edges, revolution=Revolution(dimension, 1.0))
            middle = 0.5 * (edges[0][1:] + edges[0][:-1])
            volumes = [turned.volume, *([np.diff(edges[0]) * middle**2] if dimension == BALL else [])]
            if any(_same_measure(grid, turned, volume) for volume in volumes):
                return turned
    raise _other_measure(grid, plain)


def _same_measure(grid: Any, mesh: Mesh, volume: Array) -> bool:
    """Whether FiPy's volumes of the cells are these (cell,), and its areas of the faces in all those of the mesh."""
    area = float(np.asarray(grid._faceAreas, float)[np.asarray(grid.interiorFaces.value)].sum())
    same = np.allclose(np.asarray(grid.cellVolumes, float), volume, rtol=_SAME_MEASURE, atol=0.0)
    return same and bool(np.isclose(area, mesh.area.sum(), rtol=_SAME_MEASURE, atol=0.0))


def _other_measure(grid: Any, mesh: Mesh) -> CaseError:
    """The error for FiPy's volumes of cells or areas of faces that are not those of the mesh."""
    return CaseError(
        f"a FiPy {type(grid).__name__} measures its cells with {np.sum(grid.cellVolumes):.6g} in all, where their "
        f"extent is {mesh.volume.sum():.6g}: it carries another measure, which fvflow does not have; give a "
        "Cartesian, cylindrical or spherical mesh"
    )


def _periodic(grid: Any) -> bool:
    """Whether FiPy identifies opposite walls; it then counts the cells beside them twice."""
    return "Periodic" in type(grid).__name__


def _edges(grid: Any, points: Array) -> tuple[Array, ...] | None:
    """The cell boundaries along each axis; None if the mesh is not a grid."""
    edges = tuple(_levels(column) for column in points.T)
    counts = np.array([len(edge) - 1 for edge in edges])
    inner = sum(counts.prod() // count * (count - 1) for count in counts)
    actual = (int(grid.numberOfCells), int(np.asarray(grid.interiorFaces.value).sum()))
    return edges if actual == (counts.prod(), inner) else None


def _levels(values: Array) -> Array:
    """The distinct coordinates along an axis, in increasing order; values that differ by round-off count once."""
    ordered = np.unique(values)
    distinct = np.diff(ordered) > 1e-9 * (ordered[-1] - ordered[0])
    return np.asarray(ordered[np.concatenate([[True], distinct])])


def _counter_clockwise(points: Array, corners: Index) -> Index:
    """The corners of convex polygons (cell, corner), counter-clockwise about their mean, padded with -1 at the end."""
    real = corners >= 0
    x = np.where(real[..., None], points[corners], 0.0)
    ahead = points[corners] - (x.sum(axis=1) / real.sum(axis=1)[:, None])[:, None]
    angle = np.where(real, np.arctan2(ahead[..., 1], ahead[..., 0]), np.inf)
    return np.take_along_axis(corners, np.argsort(angle, axis=1), axis=1)
