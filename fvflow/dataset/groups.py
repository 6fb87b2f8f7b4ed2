"""The groups of a result file beside its fields: figures, regions, and what ParaView needs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from fvflow.dataset.item import NetCDFVariable
from fvflow.dataset.layout import Layout, meaning
from fvflow.mesh import Mesh, topology


def define(group: Any, name: str, item: NetCDFVariable, **storage: Any) -> None:
    """A new variable in a group, filled if its values are known."""
    fill = False if item.fill is None else item.fill
    variable = group.createVariable(name, item.dtype, item.dims, fill_value=fill, **storage)
    variable.setncatts(item.attributes)
    if item.values is not None:
        variable[:] = item.values


def add_figures(file: Any, figures: Mapping[str, float]) -> None:
    """What is known of a run as a whole, in /figures; in /transport of a geodesic."""
    if figures:
        group = file.createGroup("transport" if "action" in figures else "figures")
        for name, value in figures.items():
            define(group, name, NetCDFVariable((), {"units": "1", "long_name": meaning(name)}, np.array(value)))


def add_regions(file: Any, mesh: Mesh) -> None:
    """The part of each cell that lies in each region of the mesh, and the nodes of the walls that have a name."""
    if mesh.regions:
        group, space = file.createGroup("regions"), Layout(mesh, {}).space
        group.location = space[-1].removeprefix("mesh_")
        for name, inside in mesh.regions.items():
            told = {"units": "1", "long_name": f"part of each cell that lies in {name}"}
            define(group, name, NetCDFVariable(space, told, inside))
    if mesh.boundaries:
        group = file.createGroup("boundaries")
        group.createDimension("wall_corner", mesh.wall_points.shape[1])
        for name, rows in mesh.boundaries.items():
            group.createDimension(f"wall_{name}", len(rows))
            dims, told = (f"wall_{name}", "wall_corner"), {"long_name": f"nodes of the walls {name}"}
            define(group, name, NetCDFVariable(dims, told, mesh.wall_points[rows], "i4"))


def add_geometry(file: Any, mesh: Mesh) -> None:
    """The nodes and cells that the .xmf2 file points ParaView at."""
    group, (_, cells) = file.createGroup("paraview"), topology(mesh)
    dims = ("cell", "corner")[: cells.ndim]  # flat where the cells have several shapes
    for name, size in {"node": len(mesh.points), **dict(zip(dims, cells.shape, strict=True)), "space": 3}.items():
        group.createDimension(name, size)
    points = np.zeros((len(mesh.points), 3))
    points[:, : mesh.dimension] = mesh.points
    define(group, "points", NetCDFVariable(("node", "space"), {"long_name": "nodes"}, points))
    define(group, "topology", NetCDFVariable(dims, {"long_name": "nodes of each cell, as XDMF has them"}, cells, "i4"))
