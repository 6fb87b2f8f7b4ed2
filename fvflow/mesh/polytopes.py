"""Meshes of polygons or solids: the face graph from nodes and cells."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from fvflow.errors import CaseError
from fvflow.mesh.arrays import Array, Index, freeze, freeze_index
from fvflow.mesh.cell_geometry import FACES, consistently_oriented, format_point, without_repeated_corners
from fvflow.mesh.core import Mesh
from fvflow.mesh.quadrature import accumulate, gauss, outward_normals

_SPHERICAL = 1e-6  # spread of the distances from circumcentre to corners, relative, above which there is none
_COINCIDENT = 1e-10  # distance below which nodes coincide, relative to the size of the mesh


class Faces(NamedTuple):
    """Interior faces, by owner and then by neighbour, and wall faces."""

    owner: Index
    """Cell of the lower number beside each face (face,)."""
    neighbour: Index
    """Cell of the higher number beside each face (face,)."""
    corners: Index
    """Nodes of each interior face (face, corner)."""
    walls: Index
    """Nodes of each wall face (wall, corner)."""
    wall_cell: Index
    """Cell of each wall face (wall,)."""


def mesh_from_cells(
    points: Array,
    cell_points: Index,
    centre: Array | None = None,
    *,
    centroids: bool = False,
    regions: Mapping[str, Array] | None = None,
    boundaries: Mapping[str, Index] | None = None,
) -> Mesh:
    """The mesh of polygons, or of tetrahedra, pyramids, wedges and hexahedra in VTK's order.

    `points` are the nodes (node, dim), `cell_points` those of each cell (cell, corner); shorter rows end with -1. The
    centres (cell, dim) are `centre` if given. Otherwise they are circumcentres; cells without one, and all cells with
    `centroids`, get their centroid. `regions` are volume fractions (cell,), `boundaries` the nodes of wall faces (face,
    corner). Raises CaseError for nodes that coincide, and for cells that are malformed, flat, folded, inverted,
    isolated, or three to a face.
    """
    points = np.asarray(points, float)
    cell_points = without_repeated_corners(np.asarray(cell_points), points.shape[1])
    _require_wellformed(points, cell_points)
    points, cell_points, number = _used(points, cell_points)
    cell_points = consistently_oriented(points, cell_points)
    faces = _faces(points, cell_points)
    _require_joined(points, cell_points, faces)
    dimension = points.shape[1]
    volume, centroid = _moments(points, cell_points, dimension)
    area, face_centroid = _moments(points, faces.corners, dimension - 1)
    normal = _normals(points, faces.corners, centroid[faces.neighbour] - centroid[faces.owner])
    _require_opposite_sides(faces, normal, face_centroid, centroid)
    if centre is None:
        centre = centroid if centroids else circumcentres(points, cell_points, centroid)
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
        wall_cell=faces.wall_cell,
        regions={name: freeze(part) for name, part in (regions or {}).items()},
        boundaries={name: _matching_walls(faces.walls, number[nodes]) for name, nodes in (boundaries or {}).items()},
    )


def _require_wellformed(points: Array, cell_points: Index) -> None:
    """Raise CaseError for no cells, node numbers out of range, bad numbers of corners, and infinite coordinates."""
    count = len(points)
    if not len(cell_points):
        raise CaseError("the mesh has no cells; give one with at least one cell")
    lowest, highest = cell_points.min(initial=0), cell_points.max(initial=-1)
    if highest >= count or lowest < -1:
        node = highest if highest >= count else lowest
        raise CaseError(f"a cell has node {node}, there are {count}; the mesh is damaged, write it again")
    if not np.isfinite(points).all():
        node = int(np.argmin(np.isfinite(points).all(axis=1)))
        raise CaseError(f"node {node} of the mesh is not finite; the mesh is damaged, write it again")
    sizes = (cell_points >= 0).sum(axis=1)
    padded_inside = ((cell_points[:, 1:] >= 0) & (cell_points[:, :-1] < 0)).any(axis=1)
    bad = padded_inside | (~np.isin(sizes, list(FACES)) if points.shape[1] == 3 else sizes < 3)
    if bad.any():
        cell = int(np.argmax(bad))
        allowed = "solids have 4, 5, 6 or 8" if points.shape[1] == 3 else "polygons have at least 3"
        raise CaseError(
            f"cell {cell} has the nodes {cell_points[cell].tolist()} ({bad.sum()} in all): {allowed}, and -1 stands "
            "only at the end; the mesh is damaged, write it again"
        )


def _used(points: Array, cell_points: Index) -> tuple[Array, Index, Index]:
    """The nodes that cells use, the cells in terms of these, and the new number of each old node.

    The number is -1 for a node that is dropped; the last entry, for the padding -1, is -1 too.
    """
    used = np.zeros(len(points) + 1, bool)
    used[cell_points] = True
    used[-1] = False  # set by the padding -1
    number = np.where(used, np.cumsum(used) - 1, -1).astype(np.int32)
    return points[used[:-1]], number[cell_points], number


def coinciding(points: Array, distance: float = _COINCIDENT) -> Any:
    """The pairs of points (pair, 2) that are at one place, up to a distance relative to their extent."""
    from scipy.spatial import cKDTree

    size = float(np.ptp(points, axis=0).max())
    return cKDTree(points).query_pairs(distance * size, output_type="ndarray")


def lowest_at_place(points: Array, pairs: Any) -> Any:
    """The lowest of the points at the place of each (point,), given the pairs (pair, 2) that are at one place."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    count = len(points)
    graph = coo_array((np.ones(len(pairs), np.int8), tuple(pairs.T)), shape=(count, count))
    parts, part = connected_components(graph, directed=False)
    lowest = np.full(parts, count)
    np.minimum.at(lowest, part, np.arange(count))
    return lowest[part]


def _require_joined(points: Array, cell_points: Index, faces: Faces) -> None:
    """Raise CaseError if nodes of one cell coincide, or of cells in parts that are not connected.

    Within a connected part, nodes at one place are on the two sides of a crack.
    """
    pairs = coinciding(points)
    if not len(pairs):
        return
    from scipy.sparse import coo_array, csr_array
    from scipy.sparse.csgraph import connected_components

    count = len(cell_points)
    links = coo_array((np.ones(len(faces.owner), np.int8), (faces.owner, faces.neighbour)), shape=(count, count))
    part = connected_components(links, directed=False)[1]
    real = cell_points >= 0
    cell = np.broadcast_to(np.arange(count)[:, None], cell_points.shape)[real]
    part_of_node = np.zeros(len(points), np.int64)
    part_of_node[cell_points[real]] = part[cell]
    one, other = pairs.T
    cells_of = csr_array((np.ones(len(cell), np.int8), (cell_points[real], cell)), shape=(len(points), count))
    within = cells_of[one].multiply(cells_of[other]).sum(axis=1) > 0
    apart = part_of_node[one] != part_of_node[other]
    if (apart | within).any():
        raise CaseError(
            f"{len(pairs)} pairs of nodes coincide, the first at {format_point(points[pairs[0, 0]])}: the cells at "
            "these nodes are not connected; merge them (gmsh: Coherence, or Mesh > Remove duplicate nodes)"
        )


def _faces(points: Array, cell_points: Index) -> Faces:
    """Interior faces by owner and neighbour, and wall faces; raises CaseError if three cells share a face."""
    corners, cell = _sides(cell_points, points.shape[1])
    order, first = grouped(np.sort(corners, axis=1))
    count = np.diff(np.append(first, len(order)))
    if count.max() > 2:
        face = corners[order[first[int(np.argmax(count))]]]
        at = format_point(points[face[face >= 0]].mean(axis=0))
        raise CaseError(
            f"{count.max()} cells share the face at {at}; at most two can, so cells overlap; repair the mesh"
        )
    inner = first[count == 2]
    near, far = order[inner], order[inner + 1]
    swap = cell[near] > cell[far]
    near, far = np.where(swap, far, near), np.where(swap, near, far)
    sort = np.lexsort((cell[far], cell[near]))
    near, far = near[sort], far[sort]
    _require_connected(points, cell_points, cell[near], cell[far])
    walls = np.sort(order[first[count == 1]])
    return Faces(*map(freeze_index, (cell[near], cell[far], corners[near], corners[walls], cell[walls])))


def _sides(cell_points: Index, dimension: int) -> tuple[Index, Index]:
    """The corners of every side of every cell (side, corner), and the cell of each side (side,)."""
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


def grouped(rows: Index) -> tuple[Any, Any]:
    """A permutation (row,) that makes equal rows adjacent, and the position (group,) where each group starts in it."""
    order = np.lexsort(rows.T)
    ordered = rows[order]
    new = np.concatenate([[True], (ordered[1:] != ordered[:-1]).any(axis=1)])
    return order, np.flatnonzero(new)


def row_numbers(rows: Index) -> tuple[Any, Any]:
    """A number for each row (row,) that equal rows share, and the first row of each number (number,)."""
    order, first = grouped(rows)
    number = np.empty(len(rows), np.int64)
    number[order] = np.repeat(np.arange(len(first)), np.diff(np.append(first, len(order))))
    return number, order[first]


def _require_connected(points: Array, cell_points: Index, owner: Index, neighbour: Index) -> None:
    """Raise CaseError if a cell has no neighbour, unless it is the only one."""
    isolated = np.ones(len(cell_points), bool)
    isolated[owner] = isolated[neighbour] = False
    if len(cell_points) > 1 and isolated.any():
        cell = int(np.argmax(isolated))
        at = format_point(points[cell_points[cell][cell_points[cell] >= 0]].mean(axis=0))
        raise CaseError(
            f"cell {cell} at {at} shares no face with another ({isolated.sum()} in all); make the mesh conforming"
        )


def _moments(points: Array, corners: Index, dimension: int) -> tuple[Array, Array]:
    """Measure (part,) and centroid (part, dim) of points, lines, polygons or solids (part, corner)."""
    totals = np.zeros((1 + points.shape[1], len(corners)))  # of 1 and of each coordinate, in one pass over the rule
    for position, weight, part in gauss(points, corners, dimension, 2):
        for total, moment in zip(totals, (weight, *(weight * position.T)), strict=True):
            accumulate(total, moment, part)
    return totals[0], (totals[1:] / totals[0]).T.copy()


def _normals(points: Array, corners: Index, ahead: Array) -> Array:
    """Unit normals of the faces (face, dim), with a positive component along `ahead`."""
    normal = outward_normals(points, corners)
    normal *= np.where((normal * ahead).sum(axis=1) < 0, -1.0, 1.0)[:, None]
    return normal + 0.0


def _require_opposite_sides(faces: Faces, normal: Array, face_centroid: Array, centroid: Array) -> None:
    """Raise CaseError if two neighbours lie on the same side of their face, so that one of them is inverted."""
    behind = ((face_centroid - centroid[faces.owner]) * normal).sum(axis=1)
    before = ((centroid[faces.neighbour] - face_centroid) * normal).sum(axis=1)
    wrong = ~(np.minimum(behind, before) > 0)  # NaN is wrong too
    if wrong.any():
        face = int(np.argmax(wrong))
        cells = f"cells {faces.owner[face]} and {faces.neighbour[face]}"
        raise CaseError(
            f"{cells} lie on the same side of their common face at {format_point(face_centroid[face])} ({wrong.sum()} "
            "faces in all): one of them is inverted; repair the mesh"
        )


def circumcentres(points: Array, cell_points: Index, centroid: Array | None = None) -> Array:
    """The centre of the sphere through the corners of each cell (cell, dim); the centroid if there is no sphere."""
    if centroid is None:
        centroid = points[cell_points].mean(axis=1)
    centre = centroid.copy()
    sizes = (cell_points >= 0).sum(axis=1)
    for size in np.unique(sizes):
        part = np.flatnonzero(sizes == size)
        x = points[cell_points[part, :size]] - centroid[part, None]
        ahead, square = x[:, 1:] - x[:, :1], (x**2).sum(axis=2)
        right = 0.5 * (square[:, 1:] - square[:, :1])
        if size > points.shape[1] + 1:  # more equations than unknowns: least squares
            right = np.einsum("cki,ck->ci", ahead, right)
            ahead = np.einsum("cki,ckj->cij", ahead, ahead)
        offset = np.linalg.solve(ahead, right[..., None])[..., 0]
        radius = np.linalg.norm(x - offset[:, None], axis=2)
        cospherical = np.ptp(radius, axis=1) <= _SPHERICAL * radius.max(axis=1)
        centre[part[cospherical]] += offset[cospherical]
    return centre


def _matching_walls(walls: Index, nodes: Index) -> Index:
    """The rows of `walls` whose nodes, in any order, are a row of `nodes`."""
    wide = np.full((len(nodes), walls.shape[1]), -1, np.int32)
    wide[:, : nodes.shape[1]] = nodes
    number, first = row_numbers(np.sort(np.concatenate([walls, wide]), axis=1))
    named = np.zeros(len(first), bool)
    named[number[len(walls) :]] = True
    return freeze_index(np.flatnonzero(named[number[: len(walls)]]))
