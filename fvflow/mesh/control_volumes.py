"""Which control volumes a mesh of any elements gets: its cells, or the Voronoi cells of its nodes."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from fvflow.errors import CaseError
from fvflow.mesh.admissibility import Admissibility
from fvflow.mesh.arrays import freeze
from fvflow.mesh.conformity import require_conforming
from fvflow.mesh.core import Mesh
from fvflow.mesh.polytopes import coinciding
from fvflow.mesh.power_centres import power_centres
from fvflow.mesh.revolution import DISC, Revolution
from fvflow.mesh.revolved import require_half_plane, revolved
from fvflow.mesh.voronoi_dual import dual_mesh

ControlVolumes = Literal["auto", "cells", "nodes"]
Centres = Literal["circumcentres", "centroids"]

_REMEDY = "use control_volumes: auto, which moves centres or takes the boxes of the nodes"


def require_compatible(control_volumes: ControlVolumes, centres: Centres) -> None:
    """Raise CaseError for centres that the control volumes do not have."""
    if control_volumes == "nodes" and centres == "centroids":
        raise CaseError(
            "centres: centroids is for control_volumes: cells (the centre of a Voronoi box is its node); remove centres"
        )


def control_volume_mesh(
    mesh: Mesh,
    control_volumes: ControlVolumes,
    centres: Centres = "circumcentres",
    axisymmetric: bool = False,
) -> Mesh:
    """The mesh itself, with other centres, or that of the Voronoi cells of its nodes.

    `auto` takes the first on which two-point fluxes are consistent and monotone; `cells` leaves out the last, `nodes`
    takes it. `axisymmetric`: x is the distance from an axis, and the mesh one of rings. Raises CaseError if the mesh is
    not conforming, if `cells` has no such centres, and as `revolved`.
    """
    require_conforming(mesh)
    if axisymmetric:
        require_half_plane(mesh)
    made = _chosen(mesh, control_volumes, centres, Revolution.whole(DISC) if axisymmetric else None)
    if not (twins := len(coinciding(mesh.points))):
        return made
    cracks = f"walls run between {twins} pairs of nodes that are at one place"
    return replace(made, remark="; ".join(filter(None, (made.remark, cracks))))


def _chosen(mesh: Mesh, control_volumes: ControlVolumes, centres: Centres, revolution: Revolution | None) -> Mesh:
    """The mesh of `control_volume_mesh`, for a conforming one."""
    if control_volumes == "nodes":
        return node_mesh(mesh, revolution)
    if (cells := _with_centres(mesh, control_volumes, centres)) is not None:
        return revolved(cells, revolution)
    return replace(node_mesh(mesh, revolution), remark="the cells are boxes about the nodes, clipped to the mesh")


def _with_centres(mesh: Mesh, control_volumes: ControlVolumes, centres: Centres) -> Mesh | None:
    """The mesh with the centres that were asked for; None if they have to be those of the nodes."""
    admissible = Admissibility(mesh)
    if centres == "centroids":
        admissible.require(_REMEDY, orthogonal=False)
        if admissible.orthogonal:
            return mesh
        off = f"lines between centroids are up to {admissible.angle.max():.2g} rad off the normals of their faces"
        return replace(mesh, remark=f"{off}: results do not converge as cells shrink; leave out centres: centroids")
    if admissible.monotone and admissible.orthogonal:
        return mesh
    if (found := power_centres(mesh)) is not None:
        centre, count = found
        ahead = ((centre[mesh.neighbour] - centre[mesh.owner]) * mesh.normal).sum(axis=1)
        remark = f"cells with centres moved at {count} of {mesh.faces} faces"
        return replace(mesh, centre=freeze(centre), distance=freeze(ahead), remark=remark)
    if control_volumes == "cells":
        admissible.require(_REMEDY)
    return None


def restored(elements: Mesh, at_nodes: bool, revolution: Revolution | None) -> Mesh:
    """The mesh of a result: the cells that it stores, with their centres, or those of their nodes, turned if it was."""
    return node_mesh(elements, revolution) if at_nodes else revolved(elements, revolution)


def node_mesh(elements: Mesh, revolution: Revolution | None = None) -> Mesh:
    """The mesh of the Voronoi cells of the nodes of elements: their dual if they are Delaunay, else clipped to them.

    With a `revolution` they are turned, as by `revolved`.
    """
    dual = None if len(coinciding(elements.points)) else dual_mesh(elements, revolution)
    if dual is not None:
        return dual
    from fvflow.mesh.restricted_voronoi import restricted_voronoi

    return restricted_voronoi(elements, revolution)
