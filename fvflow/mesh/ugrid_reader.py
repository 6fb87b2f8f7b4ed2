"""Meshes, and fields on them, from results of fvflow and other UGRID-1.0 files."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from fvflow.errors import CaseError
from fvflow.mesh.core import Array, Index, Mesh, freeze
from fvflow.mesh.elements import FilePath, flattened, require_file
from fvflow.mesh.files import Centres, ControlVolumes, volumes
from fvflow.mesh.grid import Grid
from fvflow.mesh.polytopes import assembled
from fvflow.mesh.voronoi_dual import boxes

_OURS = "fvflow"  # what the source of a result begins with
_SIMULTANEOUS = 1e-9  # difference of times that are the same, of the last one


@dataclass(frozen=True)
class Ugrid:
    """The mesh of a result (.nc), or of another UGRID-1.0 file, of which control_volumes and centres are as for gmsh.

    A result's mesh comes back as it was, with the centres that its fluxes joined.
    """

    file: FilePath
    control_volumes: ControlVolumes = "cells"
    centres: Centres = "circumcentres"
    kind: Literal["ugrid"] = "ugrid"

    @property
    def extent(self) -> None:
        """Not known before the file is read."""

    def build(self) -> Mesh:
        """The mesh; imports netCDF4."""
        with _opened(self.file) as file:
            if str(getattr(file, "source", "")).startswith(_OURS):
                if (self.control_volumes, self.centres) != ("cells", "circumcentres"):
                    raise CaseError(f"{self.file}: a mesh of fvflow comes as it is; leave out control_volumes, centres")
                return _mesh(file, self.file)
            return volumes(_elements(file, self.file, self.centres == "centroids"), self.control_volumes, self.centres)

    def refined(self, factor: int = 2) -> Ugrid:
        """Refused: CaseError."""
        raise CaseError("a mesh of kind ugrid cannot be refined; use the kind that it was made by")


def stored_field(path: str, name: str, time: float | None) -> tuple[Mesh, Array]:
    """The mesh of a result, and a cell field (cell,) at a saved time, the last one unless given; raises CaseError."""
    with _opened(path) as file:
        if not str(getattr(file, "source", "")).startswith(_OURS):
            raise CaseError(f"{path}: is not a result of fvflow (its source is {getattr(file, 'source', 'not given')})")
        known = [
            key for key, variable in file.variables.items() if variable.dimensions[:1] == ("time",) and key != "time"
        ]
        if name not in known:
            raise CaseError(f"{path}: has no field {name}; it has {', '.join(known) or 'none'}")
        frame = _frame(file["time"][:], time, path)
        return _mesh(file, path), freeze(np.ravel(file[name][frame]))


def _frame(times: Array, time: float | None, path: str) -> int:
    if not len(times):
        raise CaseError(f"{path}: has no times; was the run cut short?")
    if time is None:
        return len(times) - 1
    nearest = int(np.argmin(np.abs(times - time)))
    if abs(times[nearest] - time) > _SIMULTANEOUS * max(abs(times[-1]), abs(time)):
        raise CaseError(
            f"{path}: has no time {time:g}; the nearest is {times[nearest]:.10g}, the last {times[-1]:.10g}"
        )
    return nearest


@contextlib.contextmanager
def _opened(path: str) -> Iterator[Any]:
    import netCDF4

    require_file(Path(path))
    try:
        with netCDF4.Dataset(path) as file:
            file.set_auto_mask(False)
            yield file
    except (OSError, RuntimeError) as error:
        raise CaseError(f"{path}: cannot be read ({error}); give the .nc file of a run") from None
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise CaseError(f"{path}: its UGRID topology is not complete ({error}); write it anew") from None


def _mesh(file: Any, path: str) -> Mesh:
    """The mesh of a result as it was."""
    if "mesh" not in file.variables:
        bounds = [file[f"{axis}_bnds"][:] for axis in "xyz" if f"{axis}_bnds" in file.variables]
        return Grid(tuple(np.append(bound[:, 0], bound[-1, 1]) for bound in bounds))
    elements = _elements(file, path, False, own=True)
    regions = {}
    if "regions" in file.groups:
        regions = {name: freeze(values[:]) for name, values in file["regions"].variables.items()}
    point_data = "cell_volume" in file.variables and file["cell_volume"].dimensions == ("mesh_node",)
    return replace(boxes(elements) if point_data else elements, regions=regions)


def _elements(file: Any, path: str, centroids: bool, own: bool = False) -> Mesh:
    """The cells of the first topology of a file; `own`: with the centres and regions that are stored."""
    found = [v for v in file.variables.values() if getattr(v, "cf_role", "") == "mesh_topology"]
    found = [v for v in found if int(getattr(v, "topology_dimension", 0)) in (2, 3)]
    if not found:
        raise CaseError(f"{path}: has no UGRID topology of dimension 2 or 3; give the .nc file of a run")
    topology, dimension = found[0], int(found[0].topology_dimension)
    part = {2: "face", 3: "volume"}[dimension]
    connectivity = file[topology.getncattr(f"{part}_node_connectivity")]
    points = _stacked(file, topology.node_coordinates)
    cells = _rows(connectivity, getattr(topology, f"{part}_dimension", None), len(points))
    if dimension == 2:
        points = flattened(points, False, path)
    centre, boundaries = None, {}
    if own:
        if hasattr(topology, f"{part}_coordinates"):
            centre = _stacked(file, topology.getncattr(f"{part}_coordinates"))
        if "boundaries" in file.groups:
            boundaries = {name: np.asarray(nodes[:]) for name, nodes in file["boundaries"].variables.items()}
    return assembled(points, cells, centre, centroids=centroids, boundaries=boundaries)


def _rows(connectivity: Any, cell_dimension: str | None, count: int) -> Index:
    """The nodes of each cell from 0, -1 where there is none: whatever number the file has for that."""
    values = np.asarray(connectivity[:], float)
    if cell_dimension is not None and connectivity.dimensions[0] != cell_dimension:
        values = values.T
    values -= float(getattr(connectivity, "start_index", 0))
    return np.where((values >= 0) & (values < count), values, -1.0).astype(np.int32)


def _stacked(file: Any, names: str) -> Array:
    return np.stack([np.asarray(file[name][:], float) for name in names.split()], axis=1)
