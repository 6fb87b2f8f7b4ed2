"""Points, with numbers that belong to them, written to .csv, .npy, .npz and .nc files."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from fvflow.dataset.layout import AXES, header
from fvflow.dataset.netcdf import define, flushed_rename, output_errors, require_name
from fvflow.dataset.replacing import opened
from fvflow.dataset.variable import Group, NetCDFVariable
from fvflow.errors import OutputError
from fvflow.fields.point_file import ENDINGS, POINTS
from fvflow.mesh import Array

_LONG_NAMES = {
    "weight": "weight of the point in a sample",
    "log_density": "logarithm of the density at the point",
    "log_det": "logarithm of the determinant of the map that brought the point where it is",
}
_ROWS = 2**16  # of text in memory


def write_points(
    path: str | os.PathLike[str],
    points: Array,
    *,
    weight: Array | None = None,
    log_density: Array | None = None,
    log_det: Array | None = None,
) -> None:
    """Write points (point, dim), and values (point,) of them, in the format that the ending of the name says.

    A .csv file has the header x[,y[,z]][,weight][,log_density][,log_det]; .npz and .nc files have the arrays `points`,
    `weight`, `log_density` and `log_det`; an .npy file holds nothing but points. `read_points` reads them all, to the
    last bit. An old file of points is replaced, in one step. Raises OutputError.
    """
    path = Path(os.path.realpath(path)) if os.path.islink(path) else Path(path)  # a link stays one
    writers: dict[str, Callable[[Path, dict[str, Array]], None]] = {
        ".csv": _rows,
        ".npy": _array,
        ".npz": _archive,
        ".nc": _variables,
    }
    require_name(path, ENDINGS, "points")
    values = {"weight": weight, "log_density": log_density, "log_det": log_det}
    arrays = {POINTS: points, **{name: array for name, array in values.items() if array is not None}}
    if path.suffix == ".npy" and len(arrays) > 1:
        raise OutputError(f"{path}: an .npy file has no room for {' and '.join([*arrays][1:])}; write .npz or .csv")
    _require_no_result(path)
    temporary = path.with_name(path.name + ".tmp")
    with output_errors(path):
        try:
            writers[path.suffix](temporary, arrays)
            flushed_rename(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def _require_no_result(path: Path) -> None:
    """Raise OutputError if the file is there and is netCDF without points: a result, or what is not ours."""
    if path.suffix == ".nc" and path.exists():
        with opened(path) as file:
            if file is None or POINTS not in file.variables:
                raise OutputError(f"{path}: holds no points and would be overwritten; use another name")


def _rows(path: Path, arrays: Mapping[str, Array]) -> None:
    points, *values = arrays.values()
    names = [*AXES[: points.shape[1]], *[*arrays][1:]]
    with open(path, "w", encoding="ascii") as file:
        file.write(",".join(names) + "\n")
        for first in range(0, len(points), _ROWS):
            rows = slice(first, first + _ROWS)
            np.savetxt(file, np.column_stack([points[rows], *(each[rows] for each in values)]), "%.17g", delimiter=",")


def _array(path: Path, arrays: Mapping[str, Array]) -> None:
    with open(path, "wb") as file:
        np.save(file, arrays[POINTS], allow_pickle=False)


def _archive(path: Path, arrays: Mapping[str, Array]) -> None:
    file: IO[bytes]
    with open(path, "wb") as file:
        np.savez(file, allow_pickle=False, **arrays)


def _variables(path: Path, arrays: Mapping[str, Array]) -> None:
    import netCDF4

    points, *_ = arrays.values()
    units: dict[str, Any] = {"units": "1"}
    variables = {POINTS: NetCDFVariable(("point", "axis"), {**units, "long_name": "positions"}, points)}
    for name in [*arrays][1:]:
        variables[name] = NetCDFVariable(("point",), {**units, "long_name": _LONG_NAMES[name]}, arrays[name])
    with netCDF4.Dataset(path, "w", format="NETCDF4") as file:
        file.setncatts(header({"title": "points", "comment": "fvflow push and an initial density of samples read it"}))
        define(file, "", Group(variables, {"point": len(points), "axis": points.shape[1]}))
