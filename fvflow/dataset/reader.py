"""From a result file, or its parts, to an xarray.Dataset."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fvflow.dataset.layout import SOURCE, UNTITLED
from fvflow.errors import OutputError

if TYPE_CHECKING:
    import xarray

_GROUPS = ("diagnostics", "faces", "transport", "figures")  # those that hold results, beside the root


def read(path: str | os.PathLike[str]) -> xarray.Dataset:
    """A result as one xarray.Dataset: NAME.nc, or NAME.parts of a run that did not finish, diagnostics included.

    Values are loaded when they are first used. Raises OutputError if the file is not a result of fvflow.
    """
    import xarray

    path = Path(path)
    if path.is_dir():
        parts = sorted(path.glob("part-*.nc"))
        if not parts:
            raise OutputError(f"{path}: contains no parts of a run; give a .nc file or a .parts directory")
        return xarray.concat([read(part) for part in parts], "time", data_vars="minimal", combine_attrs="override")
    root = _opened(path)
    source = str(root.attrs.get("source", "not given"))
    if not source.startswith(SOURCE):
        root.close()
        raise OutputError(f"{path}: is not a result of fvflow (its source is {source})")
    groups = [root, *(_opened(path, group=name) for name in _group_names(path))]
    whole = merged(groups)

    def close() -> None:
        for group in groups:
            group.close()

    whole.set_close(close)
    return whole


def title_of(ds: xarray.Dataset, path: Path) -> str:
    """The title of a result read from a file; the name of the file if the case has no title."""
    title = str(ds.attrs.get("title", UNTITLED))
    return path.stem if title == UNTITLED else title


def merged(groups: Sequence[xarray.Dataset]) -> xarray.Dataset:
    """One dataset from the groups of a result as they are stored, the root first, with its coordinates set."""
    import xarray

    root, *others = (xarray.decode_cf(group, mask_and_scale=False) for group in groups)  # connectivities stay i4
    for group in others:
        root = root.merge(group, combine_attrs="override")
    return root


def _group_names(path: Path) -> list[str]:
    import netCDF4

    with netCDF4.Dataset(path) as file:
        return [name for name in _GROUPS if name in file.groups]


def _opened(path: Path, **options: Any) -> xarray.Dataset:
    """A group of a file as it is stored."""
    import xarray

    try:
        return xarray.open_dataset(path, engine="netcdf4", decode_cf=False, **options)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise OutputError(f"{path}: cannot be read ({reason}); give the .nc file of a run") from None
