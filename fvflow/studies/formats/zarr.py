"""Trajectories as a zarr store."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fvflow.dataset.netcdf import require_name
from fvflow.errors import OutputError
from fvflow.mesh import Array
from fvflow.studies.formats.base import Float32, TrajectoryWriter, imported
from fvflow.system import sync_directory

_MARKS = (".zgroup", "zarr.json")  # what the folder of a store holds


class ZarrWriter(TrajectoryWriter):
    """Arrays (sample, time, x[, y[, z]][, component]) with named dimensions, one run to a chunk, for xarray.

    The store has zarr's format 2, which every reader knows; in format 3 texts have none. What each run has: (sample,).
    """

    endings = (".zarr",)
    title = "zarr"
    library = "zarr"

    def require_name(self) -> None:
        """Raise OutputError for a name that the store cannot have, and if something else has it."""
        require_store_name(self.path)

    def _open(self) -> None:
        zarr, held = imported("zarr"), self.trajectories
        shutil.rmtree(self.temporary, ignore_errors=True)
        self._store = zarr.open_group(self.temporary, mode="w", zarr_format=2)
        self._store.attrs.update({"title": held.name, **held.attributes})
        for name, values in zip(("time", *held.axes), (held.times, *held.centres), strict=True):
            self._fill(name, values)
        for name, order in held.fields.items():
            shape = (held.samples, *held.shape(name))
            dims = ("sample", "time", *held.axes, *("component",) * order)
            self._array(name, shape, "float32", dims, (1, *shape[1:]))
        self._small: dict[str, Any] = {name: np.zeros(held.samples) for name in held.numbers}
        self._small |= {name: [""] * held.samples for name in held.texts}

    def _array(self, name: str, shape: tuple[int, ...], dtype: Any, dims: Sequence[str], chunks: Any) -> Any:
        array = self._store.create_array(name, shape=shape, dtype=dtype, chunks=chunks, fill_value=None)
        array.attrs["_ARRAY_DIMENSIONS"] = list(dims)  # where xarray looks for them
        return array

    def _fill(self, name: str, values: Any, dim: str | None = None) -> None:
        array = np.asarray(values)
        self._array(name, array.shape, array.dtype, (dim or name,), array.shape)[:] = array

    def _write(
        self,
        start: int,
        fields: Mapping[str, Float32],
        numbers: Mapping[str, Array],
        texts: Mapping[str, Sequence[str]],
    ) -> None:
        for name, values in fields.items():
            self._store[name][start : start + len(values)] = values
        for name, own in {**numbers, **texts}.items():
            self._small[name][start : start + len(own)] = own

    def _finish(self) -> None:
        for name, values in self._small.items():
            self._fill(name, values, "sample")

    def _rename(self) -> None:
        replace_store(self.temporary, self.path)

    def _remove(self) -> None:
        shutil.rmtree(self.temporary, ignore_errors=True)


def require_store_name(path: Path) -> None:
    """Raise OutputError for a name that no store can have, and if something that is no zarr store has it."""
    if path.is_dir() and path.suffix == ".zarr" and any((path / mark).is_file() for mark in _MARKS):
        return
    require_name(path, (".zarr",), "a zarr store")
    if path.exists():
        raise OutputError(f"{path}: is no zarr store and would be replaced; use another name")


def replace_store(temporary: Path, path: Path) -> None:
    """Give a store its name, in place of an older store."""
    old = path.with_name(f"{path.name}.old")
    if path.exists():
        shutil.rmtree(old, ignore_errors=True)
        path.rename(old)
    temporary.rename(path)
    sync_directory(path.parent)
    shutil.rmtree(old, ignore_errors=True)
