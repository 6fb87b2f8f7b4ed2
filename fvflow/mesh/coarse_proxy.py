"""A smaller mesh that stands for a large one, for instance to measure the time of a step."""

from __future__ import annotations

import math

import numpy as np

from fvflow.mesh.arrays import Array, Index, freeze, freeze_index
from fvflow.mesh.core import Mesh
from fvflow.mesh.grid import LEAST_PERIODIC, Grid


def coarse_proxy(mesh: Mesh, density: Array, cells: int) -> tuple[Mesh, Array] | None:
    """A mesh of about `cells` cells, and the density on it (cell,); None for cells about nodes.

    A grid keeps every k-th edge along each axis: the same domain in larger cells, with the same mass. Other meshes
    cannot be coarsened; they are cut down to the cells nearest to the one of the greatest density.
    """
    if mesh.edges is not None:
        return _coarse_grid(mesh, mesh.edges, density, math.ceil((mesh.cells / cells) ** (1 / mesh.dimension)))
    if mesh.point_data:
        return None
    squared_distance = ((mesh.centre - mesh.centre[np.argmax(density)]) ** 2).sum(axis=1)
    kept = np.sort(np.argpartition(squared_distance, min(cells, mesh.cells) - 1)[:cells])
    return _submesh(mesh, freeze_index(kept)), density[kept]


def _coarse_grid(mesh: Mesh, edges: tuple[Array, ...], density: Array, stride: int) -> tuple[Mesh, Array]:
    """The grid of every `stride`-th edge, or more where an axis is periodic, and the density on it of equal mass."""
    field = (mesh.volume * density).reshape(mesh.shape)
    counts = [len(edge) - 1 for edge in edges]
    longest = [count // LEAST_PERIODIC if axis in mesh.periodic else count for axis, count in enumerate(counts)]
    first = [np.arange(0, count, min(stride, most)) for count, most in zip(counts, longest, strict=True)]
    for axis, start in enumerate(reversed(first)):
        field = np.add.reduceat(field, start, axis=axis)
    kept = tuple(edge[np.append(start, len(edge) - 1)] for edge, start in zip(edges, first, strict=True))
    coarse = Grid(kept, mesh.periodic, mesh.revolution)
    return coarse, field.ravel() / coarse.volume


def _submesh(mesh: Mesh, kept: Index) -> Mesh:
    """The mesh of some cells, in increasing order, and the faces between them."""
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
        wall_cell=freeze_index(mesh.wall_cell[:0]),
        regions={name: freeze(part[kept]) for name, part in mesh.regions.items()},
        revolution=mesh.revolution,
        flat=None if mesh.flat is None else _submesh(mesh.flat, kept),
    )
