"""The mesh of a result that is in memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from fvflow.mesh import CIRCULAR, RADIUS_ANGLE, RADIUS_OF, Grid, Mesh, Revolution
from fvflow.mesh.control_volumes import restored
from fvflow.mesh.polytopes import mesh_from_cells

if TYPE_CHECKING:
    import xarray


def stored_mesh(ds: xarray.Dataset) -> Mesh:
    """The mesh of a result, with the centres that its fluxes joined, without the names of regions and walls."""
    if "mesh" not in ds:
        axes = [axis for axis in "xyz" if f"{axis}_bnds" in ds]
        bounds = [ds[f"{axis}_bnds"].values for axis in axes]
        periodic = (number for number, axis in enumerate(axes) if ds[axis].attrs.get("topology") == CIRCULAR)
        edges = tuple(np.append(bound[:, 0], bound[-1, 1]) for bound in bounds)
        return Grid(edges, tuple(periodic), _revolution(ds["x"].attrs))
    revolution = _revolution(ds["mesh_node_x"].attrs)
    axes = [axis for axis in "xyz" if f"mesh_node_{axis}" in ds]
    part = "face" if len(axes) == 2 else "volume"
    points = np.stack([ds[f"mesh_node_{axis}"].values for axis in axes], axis=1)
    nodes = ds[f"mesh_{part}_nodes"].values
    at_nodes = "mesh_node" in ds["rho"].dims
    centre = None if at_nodes else np.stack([ds[f"mesh_{part}_{axis}"].values for axis in axes], axis=1)
    return restored(mesh_from_cells(points, nodes, centre), at_nodes, revolution)


def _revolution(attributes: Mapping[str, Any]) -> Revolution | None:
    """What x stands for, by its attributes, if it is a radius."""
    if RADIUS_OF not in attributes:
        return None
    return Revolution(2 if int(attributes[RADIUS_OF]) == 2 else 3, float(attributes[RADIUS_ANGLE]))
