"""Unstructured meshes by the UGRID-1.0 conventions (https://ugrid-conventions.github.io)."""

from __future__ import annotations

import numpy as np

from fvflow.dataset.variable import NetCDFVariable
from fvflow.mesh import Mesh

_FILL = -1  # marks the missing corners of cells with fewer than the most
_SHAPES = np.array([-1, -1, -1, -1, 0, 1, 2, -1, 3], np.int32)  # flag of a solid, by its number of corners
_MEANINGS = "tetrahedron pyramid wedge hexahedron"
_ELEMENT = {2: "face", 3: "volume"}  # what UGRID calls a cell, by dimension


def location(mesh: Mesh) -> str:
    """The dimension of cell fields."""
    return "mesh_node" if mesh.point_data else f"mesh_{_ELEMENT[mesh.dimension]}"


def sizes(mesh: Mesh) -> dict[str, int]:
    """Lengths of the dimensions of the mesh."""
    return {
        "mesh_node": len(mesh.points),
        f"mesh_{_ELEMENT[mesh.dimension]}": len(mesh.plot_cells),
        "mesh_corner": mesh.plot_cells.shape[1],
    }


def mesh_attributes(mesh: Mesh) -> dict[str, str]:
    """The attributes that tie a cell field to the mesh."""
    place = location(mesh)
    coordinates = " ".join(f"{place}_{axis}" for axis in "xyz"[: mesh.dimension])
    return {"mesh": "mesh", "location": place.removeprefix("mesh_"), "coordinates": coordinates}


def variables(mesh: Mesh) -> dict[str, NetCDFVariable]:
    """The topology, the nodes, the nodes of each cell and the cell centres.

    The centres are the points that two-point fluxes join: circumcentres, or the sites of a Voronoi mesh.
    """
    element, axes = _ELEMENT[mesh.dimension], "xyz"[: mesh.dimension]
    topology = {
        "cf_role": "mesh_topology",
        "long_name": "topology of the mesh",
        "topology_dimension": np.int32(mesh.dimension),
        "node_coordinates": " ".join(f"mesh_node_{axis}" for axis in axes),
        f"{element}_node_connectivity": f"mesh_{element}_nodes",
        f"{element}_dimension": f"mesh_{element}",
    }
    made = {"mesh": NetCDFVariable((), topology, np.array(0, np.int32), "i4")}
    for axis, values in zip(axes, mesh.points.T, strict=True):
        marks = mesh.revolution.marks if axis == "x" and mesh.revolution is not None else {}
        made[f"mesh_node_{axis}"] = NetCDFVariable(("mesh_node",), {**_coordinate(axis, "node"), **marks}, values)
    connectivity = {
        "cf_role": f"{element}_node_connectivity",
        "long_name": "nodes of each cell",
        "start_index": np.int32(0),
    }
    dims = (f"mesh_{element}", "mesh_corner")
    made[f"mesh_{element}_nodes"] = NetCDFVariable(dims, connectivity, mesh.plot_cells, "i4", _FILL)
    if not mesh.point_data:
        topology[f"{element}_coordinates"] = mesh_attributes(mesh)["coordinates"]
        for axis, values in zip(axes, mesh.centre.T, strict=True):
            coordinate = _coordinate(axis, "cell centre")
            made[f"mesh_{element}_{axis}"] = NetCDFVariable((f"mesh_{element}",), coordinate, values)
    if element == "volume":
        topology["volume_shape_type"] = "mesh_volume_shapes"
        flags = {"flag_values": np.arange(4, dtype=np.int32), "flag_meanings": _MEANINGS}
        attributes = {"cf_role": "volume_shape_type", "long_name": "shapes of the cells", **flags}
        shapes = _SHAPES[(mesh.plot_cells >= 0).sum(axis=1)]
        made["mesh_volume_shapes"] = NetCDFVariable(("mesh_volume",), attributes, shapes, "i4")
    return made


def _coordinate(axis: str, what: str) -> dict[str, str]:
    attributes = {"units": "m", "long_name": f"{axis} coordinate of the {what}"}
    return attributes if axis == "z" else {**attributes, "standard_name": f"projection_{axis}_coordinate"}
