"""The mesh of a result that is in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fvflow.errors import CaseError
from fvflow.mesh import CIRCULAR, NO_POSITIONS, RADIUS_OF, Grid, Mesh
from fvflow.mesh.polytopes import mesh_from_cells
from fvflow.mesh.voronoi_dual import dual_mesh

if TYPE_CHECKING:
    import xarray


def stored_mesh(ds: xarray.Dataset) -> Mesh:
    """The mesh of a result, with the centres that its fluxes joined, without the names of regions and walls.

    Raises CaseError if x is a radius.
    """
    if "mesh" not in ds:
        axes = [axis for axis in "xyz" if f"{axis}_bnds" in ds]
        if RADIUS_OF in ds["x"].attrs:
            raise CaseError(NO_POSITIONS)
        bounds = [ds[f"{axis}_bnds"].values for axis in axes]
        periodic = (number for number, axis in enumerate(axes) if ds[axis].attrs.get("topology") == CIRCULAR)
        return Grid(tuple(np.append(bound[:, 0], bound[-1, 1]) for bound in bounds), tuple(periodic))
    axes = [axis for axis in "xyz" if f"mesh_node_{axis}" in ds]
    part = "face" if len(axes) == 2 else "volume"
    points = np.stack([ds[f"mesh_node_{axis}"].values for axis in axes], axis=1)
    nodes = ds[f"mesh_{part}_nodes"].values
    if "mesh_node" in ds["rho"].dims:
        return dual_mesh(mesh_from_cells(points, nodes))
    return mesh_from_cells(points, nodes, np.stack([ds[f"mesh_{part}_{axis}"].values for axis in axes], axis=1))
