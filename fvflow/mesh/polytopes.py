"""Meshes of any cells: from nodes and corners to the face graph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from fvflow.errors import CaseError
from fvflow.mesh.cell_geometry import FACES, place, turned, without_repetition
from fvflow.mesh.core import Array, Index, Mesh, along, freeze, freeze_index, gauss, outward_normals, summed

_SPHERICAL = 1e-6  # how far from a sphere about it the corners of a cell with a circumcentre lie, of its radius
_TOUCHING = 1e-10  # distance of nodes that coincide, of the size of the mesh


class Faces(NamedTuple):
    """Where cells meet, and the walls."""

    owner: Index  # (face,)
    neighbour: Index  # (face,)
    corners: Index  # (face, corner)
    walls: Index  # (wall, corner)


def assembled(
    points: Array,
    cell_points: Index,
    centre: Array | None = None,
    *,
    centroids: bool = False,
    regions: Mapping[str, Array] | None = None,
    boundaries: Mapping[str, Index] | None = None,
) -> Mesh:
    """The mesh of the cells with the given nodes: polygons, or VTK's tetrahedra, pyramids, wedges and hexahedra.

    Rows of cell_points (cell, corner) end with -1 where others have more corners. Centres are those given, else
    circumcentres where there are, else (and with `centroids` for all cells) centroids. Boundaries are given by the
    nodes of their faces. Raises CaseError for nodes that coincide, and for cells that are degenerate, folded, isolated
    or cover each other.
    """
    points = np.asarray(points, float)
    cell_points = without_repetition(np.asarray(cell_points), points.shape[1])
    points, cell_points, number = _used(points, cell_points)
    _require_apart(points)
    cell_points = turned(points, cell_points)
    faces = _faces(points, cell_points)
    dimension = points.shape[1]
    volume, middle = _moments(points, cell_points, dimension)
    area, face_middle = _moments(points, faces.corners, dimension - 1)
    normal = _normals(points, faces.corners, middle[faces.neighbour] - middle[faces.owner])
    _require_beside(faces, normal, face_middle, middle)
    if centre is None:
        centre = middle if centroids else circumcentres(points, cell_points, middle)
    ahead = centre[faces.neighbour] - centre[faces.owner]
    return Mesh(
        centre=freeze(centre),
        volume=freeze(volume),
        owner=faces.owner,
        neighbour=faces.neighbour,
        area=freeze(area),
        distance=freeze((ahead * normal).sum(axis=1)),
        normal=freeze(normal),
        points=freeze(points),
        cell_points=freeze_index(cell_points),
        face_points=faces.corners,
        wall_points=faces.walls,
        regions={name: freeze(part) for name, part in (regions or {}).items()},
        boundaries={name: _rows(faces.walls, number[nodes]) for name, nodes in (boundaries or {}).items()},
    )


def _used(points: Array, cell_points: Index) -> tuple[Array, Index, Index]:
    """The nodes that cells have, cells in these, and the new number of each node (-1 if dropped; last that of -1)."""
    count = len(points)
    if cell_points.max(initial=-1) >= count or cell_points.min(initial=0) < -1:
        raise CaseError(f"a cell has node {cell_points.max()}, there are {count}; the mesh is damaged, write it anew")
    if not len(cell_points):
        raise CaseError("the mesh has no cells")
    if not np.isfinite(points).all():
        raise CaseError(f"node {int(np.argmin(np.isfinite(points).all(axis=1)))} of the mesh is not finite")
    used = np.zeros(count + 1, bool)
    used[cell_points] = True
    used[-1] = False  # what -1 has marked
    number = np.where(used, np.cumsum(used) - 1, -1).astype(np.int32)
    return points[used[:-1]], number[cell_points], number


def _require_apart(points: Array) -> None:
    """Refuse nodes that coincide: CaseError."""
    from scipy.spatial import cKDTree

    size = float(np.ptp(points, axis=0).max())
    pairs = cKDTree(points).query_pairs(_TOUCHING * size, output_type="ndarray")
    if len(pairs):
        raise CaseError(
            f"{len(pairs)} pairs of nodes coincide, the first at {place(points[pairs[0, 0]])}: the cells beside "
            "them are not connected; merge them (gmsh: Coherence, or Mesh > Remove duplicate nodes)"
        )


def _faces(points: Array, cell_points: Index) -> Faces:
    """Interior faces by owner and neighbour, and walls; raises CaseError where three cells share a face."""
    corners, cell = _sides(cell_points, points.shape[1])
    order, first = _grouped(np.sort(corners, axis=1))
    count = np.diff(np.append(first, len(order)))
    if count.max() > 2:
        face = corners[order[first[int(np.argmax(count))]]]
        at = place(points[face[face >= 0]].mean(axis=0))
        raise CaseError(f"{count.max()} cells share the face at {at}; cells must not cover each other")
    inner = first[count == 2]
    one, other = order[inner], order[inner + 1]
    swap = cell[one] > cell[other]
    one, other = np.where(swap, other, one), np.where(swap, one, other)
    sort = np.lexsort((cell[other], cell[one]))
    one, other = one[sort], other[sort]
    _require_connected(points, cell_points, cell[one], cell[other])
    walls = np.sort(order[first[count == 1]])
    return Faces(*map(freeze_index, (cell[one], cell[other], corners[one], corners[walls])))


def _sides(cell_points: Index, dimension: int) -> tuple[Index, Index]:
    """The corners of every side of every cell (side, corner), and the cell (side,)."""
    sizes = (cell_points >= 0).sum(axis=1)
    parts, cells = [], []
    for size in np.unique(sizes):
        part = np.flatnonzero(sizes == size).astype(np.int32)
        rows = np.column_stack([cell_points[part, :size], np.full(len(part), -1, np.int32)])
        table = (
            [[k, (k + 1) % size] for k in range(size)]
            if dimension == 2
            else [[*face, -1][:4] for face in FACES[int(size)]]
        )
        parts += [rows[:, side] for side in table]
        cells += [part] * len(table)
    return np.concatenate(parts), np.concatenate(cells)


def _grouped(rows: Index) -> tuple[Any, Any]:
    """An order that brings equal rows together, and where each group starts in it."""
    order = np.lexsort(rows.T)
    ordered = rows[order]
    new = np.concatenate([[True], (ordered[1:] != ordered[:-1]).any(axis=1)])
    return order, np.flatnonzero(new)


def _require_connected(points: Array, cell_points: Index, owner: Index, neighbour: Index) -> None:
    """Refuse cells without a neighbour, unless there is but one: CaseError."""
    alone = np.ones(len(cell_points), bool)
    alone[owner] = alone[neighbour] = False
    if len(cell_points) > 1 and alone.any():
        cell = int(np.argmax(alone))
        at = place(points[cell_points[cell][cell_points[cell] >= 0]].mean(axis=0))
        raise CaseError(
            f"cell {cell} at {at} shares no face with another ({alone.sum()} in all); is the mesh conforming?"
        )


def _moments(points: Array, corners: Index, dimension: int) -> tuple[Array, Array]:
    """Measure (part,) and centroid (part, dim) of lines, polygons or solids."""

    def integral(function: Any) -> Array:
        return summed(gauss(points, corners, dimension, 2), function, len(corners))

    measure = integral(lambda at, part: 1.0)
    axes = [integral(along(axis)) for axis in range(points.shape[1])]
    return measure, np.stack(axes, axis=1) / measure[:, None]


def _normals(points: Array, corners: Index, ahead: Array) -> Array:
    """Unit normals of the faces (face, dim), on the side that `ahead` points to."""
    normal = outward_normals(points, corners)
    normal *= np.where((normal * ahead).sum(axis=1) < 0, -1.0, 1.0)[:, None]
    return normal + 0.0


def _require_beside(faces: Faces, normal: Array, face_middle: Array, middle: Array) -> None:
    """Refuse neighbours on the same side of their face, one of which is inverted: CaseError."""
    behind = ((face_middle - middle[faces.owner]) * normal).sum(axis=1)
    before = ((middle[faces.neighbour] - face_middle) * normal).sum(axis=1)
    wrong = ~(np.minimum(behind, before) > 0)  # NaN is wrong too
    if wrong.any():
        face = int(np.argmax(wrong))
        cells = f"cells {faces.owner[face]} and {faces.neighbour[face]}"
        raise CaseError(
            f"{cells} lie on the same side of their common face at {place(face_middle[face])} ({wrong.sum()} faces in "
            "all): one of them is inverted; repair the mesh"
        )


def circumcentres(points: Array, cell_points: Index, middle: Array | None = None) -> Array:
    """The centre of the sphere through the corners of each cell; the centroid where there is none (cell, dim)."""
    if middle is None:
        middle = points[cell_points].mean(axis=1)
    centre = middle.copy()
    sizes = (cell_points >= 0).sum(axis=1)
    for size in np.unique(sizes):
        part = np.flatnonzero(sizes == size)
        x = points[cell_points[part, :size]] - middle[part, None]
        ahead, square = x[:, 1:] - x[:, :1], (x**2).sum(axis=2)
        right = 0.5 * (square[:, 1:] - square[:, :1])
        if size > points.shape[1] + 1:  # more equations than unknowns: least squares
            right = np.einsum("cki,ck->ci", ahead, right)
            ahead = np.einsum("cki,ckj->cij", ahead, ahead)
        found = np.linalg.solve(ahead, right[..., None])[..., 0]
        radius = np.linalg.norm(x - found[:, None], axis=2)
        round_ = np.ptp(radius, axis=1) <= _SPHERICAL * radius.max(axis=1)
        centre[part[round_]] += found[round_]
    return centre


def _rows(walls: Index, nodes: Index) -> Index:
    """The rows of the walls that have the given nodes, in any order."""
    wide = np.full((len(nodes), walls.shape[1]), -1, np.int32)
    wide[:, : nodes.shape[1]] = nodes
    both = np.sort(np.concatenate([walls, wide]), axis=1)
    order, first = _grouped(both)
    group = np.repeat(np.arange(len(first)), np.diff(np.append(first, len(order))))
    named = np.zeros(len(first), bool)
    named[group[order >= len(walls)]] = True
    belongs = np.zeros(len(both), bool)
    belongs[order] = named[group]
    return freeze_index(np.flatnonzero(belongs[: len(walls)]))
