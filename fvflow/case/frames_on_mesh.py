"""The frames of a result, as cell fields in the order of a mesh."""

from __future__ import annotations

import os
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from fvflow.errors import CaseError, NumericsError
from fvflow.mesh import Array, Mesh, MeshDescription, Ugrid
from fvflow.reconstruction import InTime

if TYPE_CHECKING:
    import xarray

_KEPT = 6  # fields that stay in memory


class FramesOnMesh:
    """The frames of a result, read when they are needed."""

    def __init__(self, ds: xarray.Dataset, mesh: Mesh, in_time: InTime) -> None:
        self._ds, self.mesh, self.in_time = ds, mesh, in_time
        self.times = np.atleast_1d(np.asarray(ds["time"].values, float))
        dims = ds["rho"].dims
        self.names = frozenset(str(name) for name, variable in ds.data_vars.items() if variable.dims == dims)
        self.field = lru_cache(_KEPT)(self._field)

    @property
    def more_digits(self) -> str:
        """What else keeps small densities from being stored as 0."""
        return " or output: {precision: double}" if self._ds["rho"].dtype == np.float32 else ""

    def _field(self, name: str, frame: int) -> Array:
        values = np.asarray(self._ds[name].isel(time=frame).values, float).ravel()
        if len(values) != self.mesh.cells:
            raise CaseError(
                f"{name} has {len(values)} values and the mesh {self.mesh.cells} cells: the mesh of the case is not "
                "that of the result; give the result as a file"
            )
        self._require(np.isfinite(values), values, name, frame, "it has to be finite")
        if name == "rho":
            remedy = "a density has no logarithm there; use a method that keeps rho >= 0"
            self._require(values >= 0, values, name, frame, remedy)
        return values

    def _require(self, valid: Any, values: Array, name: str, frame: int, remedy: str) -> None:
        if not valid.all():
            bad = int(np.argmin(valid))
            where, time = place_of(self.mesh.centre[bad]), self.times[frame]
            raise NumericsError(f"{name} is {values[bad]:.6g} in the cell at {where}, t = {time:g}: {remedy}")


def mesh_of(ds: xarray.Dataset, described: MeshDescription) -> Mesh:
    """The mesh of a result: from its file if it has one, so that neither mesh file nor gmsh are needed."""
    path = ds.encoding.get("source")
    if isinstance(path, str) and os.path.isfile(path):
        return Ugrid(path).build()
    return described.build()


def place_of(point: Array) -> str:
    """A point (dim,) in words."""
    return ", ".join(f"{name} = {value:.6g}" for name, value in zip("xyz", point, strict=False))
