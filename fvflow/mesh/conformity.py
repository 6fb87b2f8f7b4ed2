"""Whether the cells of a mesh fit together: what the connectivity alone does not show."""

from __future__ import annotations

import numpy as np

from fvflow.errors import CaseError
from fvflow.mesh.cell_geometry import place
from fvflow.mesh.core import Array, Index, Mesh
from fvflow.mesh.overlap import overlaps

_NEAR = 1e-6  # distance from a wall, of its size, at which a node is on it
_COVERED = 1e-9  # part of a cell that has to be covered by another to count


def require_fitting(mesh: Mesh) -> None:
    """Refuse walls with a node inside them, where cells hang together in part, and parts that cover each other.

    Raises CaseError.
    """
    _require_no_hanging_nodes(mesh)
    if mesh.components.max(initial=0) > 0:
        _require_apart(mesh)


def _require_no_hanging_nodes(mesh: Mesh) -> None:
    from scipy.spatial import cKDTree

    sizes = (mesh.wall_points >= 0).sum(axis=1)
    corners = np.where(mesh.wall_points < 0, mesh.wall_points[:, :1], mesh.wall_points)
    x = mesh.points[corners]
    middle = x.sum(axis=1) - (corners.shape[1] - sizes)[:, None] * x[:, 0]
    middle = middle / sizes[:, None]
    radius = np.linalg.norm(x - middle[:, None], axis=2).max(axis=1)
    wall_nodes = np.unique(mesh.wall_points[mesh.wall_points >= 0])
    found = cKDTree(mesh.points[wall_nodes]).query_ball_point(middle, radius * (1 - _NEAR))
    count = np.array([len(part) for part in found])
    if not count.any():
        return
    wall = np.repeat(np.arange(len(count)), count)
    node = wall_nodes[np.concatenate([part for part in found if part]).astype(int)]
    other = (mesh.wall_points[wall] != node[:, None]).all(axis=1)
    wall, node = wall[other], node[other]
    on = _is_on(x[wall], sizes[wall], mesh.points[node], radius[wall])
    if on.any():
        first = int(np.argmax(on))
        raise CaseError(
            f"node {node[first]} at {place(mesh.points[node[first]])} is on a wall between other nodes ({on.sum()} in "
            "all): cells that should share faces do not; make the mesh conforming, or write polygons with that node"
        )


def _is_on(corners: Array, sizes: Index, point: Array, radius: Array) -> Array:
    """Whether points lie in their walls: the parts that a point cuts a wall into are no larger than the wall."""
    following = np.roll(corners, -1, axis=1)
    if corners.shape[2] == 2:
        lengths = np.linalg.norm(corners - point[:, None], axis=2).sum(axis=1)
        whole = np.linalg.norm(corners[:, 1] - corners[:, 0], axis=1)
        return np.asarray(lengths <= whole * (1 + _NEAR**2) + _NEAR**2 * radius)
    parts = np.linalg.norm(np.cross(corners - point[:, None], following - point[:, None]), axis=2).sum(axis=1)
    whole = np.linalg.norm(np.cross(corners - corners[:, :1], following - corners[:, :1]), axis=2).sum(axis=1)
    return np.asarray(parts <= whole * (1 + _NEAR))


def _require_apart(mesh: Mesh) -> None:
    """Refuse cells of different parts that cover each other: CaseError."""
    one, other, volume = overlaps(mesh, mesh)
    covered = (one != other) & (volume > _COVERED * np.minimum(mesh.volume[one], mesh.volume[other]))
    if covered.any():
        first = int(np.argmax(covered))
        raise CaseError(
            f"cells {one[first]} and {other[first]} at {place(mesh.centre[one[first]])} cover each other "
            f"({covered.sum() // 2} pairs); cut one part out of the other (gmsh: BooleanFragments, Coherence)"
        )
