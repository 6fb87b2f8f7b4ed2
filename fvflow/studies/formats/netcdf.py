"""Trajectories as one netCDF file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fvflow.mesh import Array
from fvflow.studies.formats.base import Float32, TrajectoryWriter


class NetCDFWriter(TrajectoryWriter):
    """Fields (sample, time, x[, y[, z]][, component]) with coordinates, for xarray; what each run has (sample,)."""

    endings = (".nc",)
    title = "netCDF"

    def _open(self) -> None:
        import netCDF4

        held = self.trajectories
        self._file = file = netCDF4.Dataset(self.temporary, "w", format="NETCDF4")
        file.setncatts({"title": held.name, **held.attributes})
        sizes = {"sample": held.samples, "time": len(held.times), **dict(zip(held.axes, held.cells, strict=True))}
        for name, size in {**sizes, "component": len(held.axes)}.items():
            file.createDimension(name, size)
        for name, values in zip(("time", *held.axes), (held.times, *held.centres), strict=True):
            file.createVariable(name, "f8", (name,))[:] = values
        for name, order in held.fields.items():
            dims = ("sample", "time", *held.axes, *("component",) * order)
            file.createVariable(name, "f4", dims, contiguous=True)
        for name in held.numbers:
            file.createVariable(name, "f8", ("sample",))
        for name in held.texts:
            file.createVariable(name, str, ("sample",))

    def _write(
        self,
        start: int,
        fields: Mapping[str, Float32],
        numbers: Mapping[str, Array],
        texts: Mapping[str, Sequence[str]],
    ) -> None:
        given: dict[str, Any] = {**fields, **numbers}
        for name, values in given.items():
            self._file[name][start : start + len(values)] = values
        for name, words in texts.items():
            self._file[name][start : start + len(words)] = np.array(list(words), dtype=object)

    def _finish(self) -> None:
        self._file.close()
