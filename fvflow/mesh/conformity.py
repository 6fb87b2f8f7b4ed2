"""Whether a mesh is conforming, which its connectivity alone does not show."""

from __future__ import annotations

import numpy as np

from fvflow.errors import CaseError
from fvflow.mesh.arrays import Array
from fvflow.mesh.cell_geometry import format_point
from fvflow.mesh.core import Mesh
from fvflow.mesh.overlap import overlaps
from fvflow.mesh.polytopes import coinciding

_ON_WALL = 1e-6  # distance from a wall face below which a node lies on it, relative to the size of the face
_OVERLAPPING = 1e-9  # overlap above which two cells overlap, relative to the smaller one


def require_conforming(mesh: Mesh) -> None:
    """Raise CaseError if a node hangs on a wall face, or if cells overlap that do not share nodes."""
    _require_no_hanging_nodes(mesh)
    if mesh.components.max(initial=0) > 0 or len(coinciding(mesh.points)):
        _require_disjoint(mesh)


def _require_no_hanging_nodes(mesh: Mesh) -> None:
    """Raise CaseError if a node lies on a wall face without being one of its corners."""
    from scipy.spatial import cKDTree

    sizes = (mesh.wall_points >= 0).sum(axis=1)
    corners = np.where(mesh.wall_points < 0, mesh.wall_points[:, :1], mesh.wall_points)
    x = mesh.points[corners]
    centre = x.sum(axis=1) - (corners.shape[1] - sizes)[:, None] * x[:, 0]
    centre = centre / sizes[:, None]
    radius = np.linalg.norm(x - centre[:, None], axis=2).max(axis=1)
    wall_nodes = np.unique(mesh.wall_points[mesh.wall_points >= 0])
    candidates = cKDTree(mesh.points[wall_nodes]).query_ball_point(centre, radius * (1 - _ON_WALL))
    count = np.array([len(part) for part in candidates])
    if not count.any():
        return
    wall = np.repeat(np.arange(len(count)), count)
    node = wall_nodes[np.concatenate([part for part in candidates if part]).astype(int)]
    away = np.linalg.norm(x[wall] - mesh.points[node][:, None], axis=2).min(axis=1)
    no_corner = away > _ON_WALL * radius[wall]  # nor at the place of one, on the other side of a crack
    wall, node = wall[no_corner], node[no_corner]
    hanging = _lies_on(x[wall], mesh.points[node], radius[wall])
    if hanging.any():
        first = int(np.argmax(hanging))
        raise CaseError(
            f"node {node[first]} at {format_point(mesh.points[node[first]])} hangs on a wall face of other nodes "
            f"({hanging.sum()} in all): cells that should share faces do not; make the mesh conforming, or add the "
            "node to the polygon beside it"
        )


def _lies_on(corners: Array, point: Array, radius: Array) -> Array:
    """Whether each point lies on its wall face: the parts into which it cuts the face are no larger than the face."""
    following = np.roll(corners, -1, axis=1)
    if corners.shape[2] == 2:
        lengths = np.linalg.norm(corners - point[:, None], axis=2).sum(axis=1)
        whole = np.linalg.norm(corners[:, 1] - corners[:, 0], axis=1)
        return np.asarray(lengths <= whole * (1 + _ON_WALL**2) + _ON_WALL**2 * radius)
    parts = np.linalg.norm(np.cross(corners - point[:, None], following - point[:, None]), axis=2).sum(axis=1)
    whole = np.linalg.norm(np.cross(corners - corners[:, :1], following - corners[:, :1]), axis=2).sum(axis=1)
    return np.asarray(parts <= whole * (1 + _ON_WALL))


def _require_disjoint(mesh: Mesh) -> None:
    """Raise CaseError if two cells overlap."""
    cell, other, volume = overlaps(mesh, mesh)
    overlapping = (cell != other) & (volume > _OVERLAPPING * np.minimum(mesh.volume[cell], mesh.volume[other]))
    if overlapping.any():
        first = int(np.argmax(overlapping))
        raise CaseError(
            f"cells {cell[first]} and {other[first]} at {format_point(mesh.centre[cell[first]])} overlap "
            f"({overlapping.sum() // 2} pairs); cut one part out of the other (gmsh: BooleanFragments, Coherence)"
        )
