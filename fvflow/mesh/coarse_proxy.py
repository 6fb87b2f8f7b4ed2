"""A mesh in small, to try out what would take long on the mesh itself."""

from __future__ import annotations

import math

import numpy as np

from fvflow.mesh.core import Array, Index, Mesh, freeze, freeze_index
from fvflow.mesh.grid import Grid


def coarse_proxy(mesh: Mesh, density: Array, cells: int) -> tuple[Mesh, Array] | None:
    """A mesh of about so many cells, and the density (cell,) there; None where the cells are boxes about nodes.

    Of a grid, every so many-th edge along each axis: the same domain in larger cells. Of others, which cannot be made
    coarser, the cells around the densest one: a piece in cells of the same size.
    """
    if mesh.edges is not None:
        return _coarser(mesh.edges, mesh.volume * density, math.ceil((mesh.cells / cells) ** (1 / mesh.dimension)))
    if mesh.point_data:
        return None
    away = ((mesh.centre - mesh.centre[np.argmax(density)]) ** 2).sum(axis=1)
    kept = np.sort(np.argpartition(away, min(cells, mesh.cells) - 1)[:cells])
    return _piece(mesh, freeze_index(kept)), density[kept]


def _coarser(edges: tuple[Array, ...], masses: Array, stride: int) -> tuple[Mesh, Array]:
    shaped = masses.reshape([len(edge) - 1 for edge in reversed(edges)])
    first = [np.arange(0, len(edge) - 1, stride) for edge in edges]
    for axis, start in enumerate(reversed(first)):
        shaped = np.add.reduceat(shaped, start, axis=axis)
    mesh = Grid(tuple(edge[np.append(start, len(edge) - 1)] for edge, start in zip(edges, first, strict=True)))
    return mesh, shaped.ravel() / mesh.volume


def _piece(mesh: Mesh, kept: Index) -> Mesh:
    number = np.full(mesh.cells, -1)
    number[kept] = np.arange(len(kept))
    inside = (number[mesh.owner] >= 0) & (number[mesh.neighbour] >= 0)
    return Mesh(
        centre=freeze(mesh.centre[kept]),
        volume=freeze(mesh.volume[kept]),
        owner=freeze_index(number[mesh.owner[inside]]),
        neighbour=freeze_index(number[mesh.neighbour[inside]]),
        area=freeze(mesh.area[inside]),
        distance=freeze(mesh.distance[inside]),
        normal=freeze(mesh.normal[inside]),
        points=mesh.points,
        cell_points=freeze_index(mesh.cell_points[kept]),
        face_points=freeze_index(mesh.face_points[inside]),
        wall_points=freeze_index(mesh.wall_points[:0]),
        regions={name: freeze(part[kept]) for name, part in mesh.regions.items()},
    )
