"""The mesh of a result that is in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fvflow.mesh import CIRCULAR, RADIUS_ANGLE, RADIUS_OF, Grid, Mesh, Revolution
from fvflow.mesh.polytopes import mesh_from_cells
from fvflow.mesh.voronoi_dual import dual_mesh

if TYPE_CHECKING:
    import xarray


def stored_mesh(ds: xarray.Dataset) -> Mesh:
    """The mesh of a result, with the centres that its fluxes joined, without the names of regions and walls."""
    if "mesh" not in ds:
        axes = [axis for axis in "xyz" if f"{axis}_bnds" in ds]
        bounds = [ds[f"{axis}_bnds"].values for axis in axes]
        periodic = (number for number, axis in enumerate(axes) if ds[axis].attrs.get("topology") == CIRCULAR)
        edges, radius = tuple(np.append(bound[:, 0], bound[-1, 1]) for bound in bounds), ds["x"].attrs
        revolution = Revolution(radius[RADIUS_OF], float(radius[RADIUS_ANGLE])) if RADIUS_OF in radius else None
        return Grid(edges, tuple(periodic), revolution)
    axes = [axis for axis in "xyz" if f"mesh_node_{axis}" in ds]
    part = "face" if len(axes) == 2 else "volume"
    points = np.stack([ds[f"mesh_node_{axis}"].values for axis in axes], axis=1)
    nodes = ds[f"mesh_{part}_nodes"].values
    if "mesh_node" in ds["rho"].dims:
        return dual_mesh(mesh_from_cells(points, nodes))
    return mesh_from_cells(points, nodes, np.stack([ds[f"mesh_{part}_{axis}"].values for axis in axes], axis=1))
