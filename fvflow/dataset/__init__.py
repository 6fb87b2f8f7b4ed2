"""Results: states to xarray and netCDF, and back; the only part of the house that knows the file."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fvflow.dataset.layout import SOURCE, TIME, Layout, header, meaning
from fvflow.dataset.writer import Writer, parts_of, save_mesh
from fvflow.errors import OutputError

if TYPE_CHECKING:
    import xarray


def assembled(
    layout: Layout,
    frames: Sequence[Mapping[str, Any]],
    attributes: Mapping[str, Any],
    closing: Mapping[str, Any],
    figures: Mapping[str, float],
) -> xarray.Dataset:
    """The same data in memory: cell fields, coordinates and the ledger in one xarray.Dataset."""
    import xarray

    shapes = dict.fromkeys(layout.fields(), layout.mesh.shape)
    variables: dict[str, Any] = {"time": TIME, **layout.fixed(), **layout.fields(), **layout.diagnostics()}
    variables |= {**layout.face_fixed(), **layout.face_fields()}
    data, coordinates = {}, set[str]()
    for name, item in variables.items():
        values = item.values
        if values is None:
            values = np.array([np.reshape(frame[name], shapes.get(name, np.shape(frame[name]))) for frame in frames])
            values = values.astype(item.dtype, copy=False)
        attributes_of = dict(item.attributes)
        coordinates.update(attributes_of.pop("coordinates", "").split())
        if item.fill is not None:
            attributes_of["_FillValue"] = np.int32(item.fill)
        data[name] = (item.dims, values, attributes_of)
    for name, value in figures.items():
        data[name] = ((), np.array(value), {"units": "1", "long_name": meaning(name)})
    history = {"history": "fvflow.Case.run"}
    whole = xarray.Dataset(data, attrs=header({**attributes, **history, **closing}))
    return whole.set_coords(sorted(coordinates))


def read(path: str | os.PathLike[str]) -> xarray.Dataset:
    """A result, NAME.nc or the NAME.parts of a run that did not finish, with its ledger, as one xarray.Dataset.

    Values are loaded when they are used. Raises OutputError if the file is not a result of fvflow.
    """
    import xarray

    path = Path(path)
    if path.is_dir():
        parts = sorted(path.glob("part-*.nc"))
        if not parts:
            raise OutputError(f"{path}: holds no parts of a run; give a .nc file or a .parts directory")
        return xarray.concat([read(part) for part in parts], "time", data_vars="minimal", combine_attrs="override")
    root = _opened(path)
    source = str(root.attrs.get("source", "not given"))
    if not source.startswith(SOURCE):
        root.close()
        raise OutputError(f"{path}: is not a result of fvflow (its source is {source})")
    groups = [_opened(path, group=name) for name in _groups(path)]
    both = root
    for group in groups:
        both = both.merge(group, combine_attrs="override")

    def close() -> None:
        for part in (root, *groups):
            part.close()

    both.set_close(close)
    return both


def _groups(path: Path) -> list[str]:
    """The groups that hold results."""
    import netCDF4

    with netCDF4.Dataset(path) as file:
        return [name for name in ("diagnostics", "faces", "transport", "figures") if name in file.groups]


def _opened(path: Path, **options: Any) -> xarray.Dataset:
    import xarray

    try:
        return xarray.open_dataset(path, engine="netcdf4", mask_and_scale=False, **options)  # connectivities stay i4
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise OutputError(f"{path}: cannot be read ({reason}); give the .nc file of a run") from None


__all__ = ["Layout", "Writer", "assembled", "parts_of", "read", "save_mesh"]
