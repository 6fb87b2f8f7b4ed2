"""Meshes in the plane that are turned about the axis x = 0."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from fvflow.errors import CaseError
from fvflow.mesh.arrays import Array, Subset, freeze, freeze_index
from fvflow.mesh.cell_geometry import format_point
from fvflow.mesh.core import Mesh
from fvflow.mesh.revolution import Revolution

_ON_AXIS = 1e-9  # distance from the axis, relative to the largest one, that counts as none


def revolved(mesh: Mesh, revolution: Revolution | None) -> Mesh:
    """The rings that the cells of a mesh in the plane make, turned about x = 0: x is the distance from that axis.

    Volumes are angle int x dA, areas angle int x ds, without an error of quadrature; centres, distances and normals
    stay. Faces on the axis are no walls, and boundaries that consist of such faces are left out. The mesh itself if
    there is no revolution. Raises CaseError as `require_half_plane`.
    """
    if revolution is None:
        return mesh
    require_half_plane(mesh)

    def circle(at: Array, part: Subset) -> Array:
        return revolution.measure(at[:, 0])

    kept = off_axis(mesh)
    number = np.cumsum(kept) - 1
    boundaries = {name: freeze_index(number[rows[kept[rows]]]) for name, rows in mesh.boundaries.items()}
    on_axis = tuple(f"boundary {name}, which is the axis" for name, rows in boundaries.items() if not len(rows))
    return replace(
        mesh,
        volume=freeze(mesh.integral(circle, 2)),
        area=freeze(mesh.face_integral(circle, 2)),
        wall_points=freeze_index(mesh.wall_points[kept]),
        wall_cell=freeze_index(mesh.wall_cell[kept]),
        boundaries={name: rows for name, rows in boundaries.items() if len(rows)},
        left_out=(*mesh.left_out, *on_axis),
        revolution=revolution,
        flat=mesh,
    )


def off_axis(mesh: Mesh) -> Any:
    """Whether each wall face of a mesh in the plane does not lie on the axis (wall,)."""
    radius = mesh.points[mesh.wall_points, 0]
    return (radius > _ON_AXIS * mesh.points[:, 0].max()).any(axis=1)


def require_half_plane(mesh: Mesh) -> None:
    """Raise CaseError unless a mesh is one of the half-plane x >= 0."""
    if mesh.dimension != 2:
        raise CaseError(
            "axisymmetric: x is the distance from the axis and y the place along it, and this mesh has three axes; "
            "give a mesh in the plane, or leave out axisymmetric"
        )
    radius = mesh.points[:, 0]
    beyond = radius < -_ON_AXIS * radius.max()
    if beyond.any():
        at = format_point(mesh.points[np.argmin(radius)])
        raise CaseError(
            f"axisymmetric: x is the distance from the axis, and the node at {at} has x < 0 ({beyond.sum()} in all); "
            "give the half of the mesh with x >= 0, or leave out axisymmetric"
        )
