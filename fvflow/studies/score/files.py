"""Predictions in files: .npy, .npz, .csv, HDF5 and netCDF, which strangers may have written."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from fvflow.dataset import densities, stored_mesh
from fvflow.dataset.layout import SOURCE
from fvflow.errors import CaseError
from fvflow.fields.number_file import ending, read_archive, read_array, read_rows
from fvflow.fields.point_file import holds_points, read_points
from fvflow.input_files import admission, require_input
from fvflow.mesh import Array, Mesh, overlaps
from fvflow.mesh.netcdf_file import NetCDFFile, opened
from fvflow.studies.score.arrays import NAMES, grid, prediction_of, sample_sets
from fvflow.studies.score.predictions import DensityPrediction, Prediction
from fvflow.studies.score.timing import Timing

_AXES = (("x",), ("x", "y"), ("x", "y", "z"))
_COLUMNS = "the columns x[, y[, z]][, time][, weight]"
_DENSITIES = ("rho", "density")  # names of the field in files of The Well
_SAME_EDGE = 1e-9  # of the length of an axis: edges of two grids that are one


def read_prediction(path: str, timing: Timing, labels: str | None = None) -> Prediction:
    """The prediction in a file, by its ending; `labels` is the path of an .npy file with a label for each sample.

    A .csv file holds samples; an .npy file samples (sample, dim), or densities (b, t, x[, y[, z]]); .npz, .h5 and .hdf5
    files arrays by name (`prediction_of`), and HDF5 also what PDEBench and The Well write; a .nc file a result, or rho
    and time, or points. Raises CaseError or OutputError for whatever is wrong with the file.
    """
    readers: dict[str, Callable[[str, Timing, Array | None], Prediction]] = {
        ".csv": _of_rows,
        ".npy": _of_array,
        ".npz": lambda file, times, own: prediction_of(file, read_archive(file, NAMES), times, own),
        ".h5": _of_hdf5,
        ".hdf5": _of_hdf5,
        ".nc": _of_netcdf,
    }
    if (kind := ending(path)) not in readers:
        raise CaseError(f"{path}: is none of {', '.join(readers)}; convert it to one of them")
    return readers[kind](path, timing, None if labels is None else read_array(labels))


def of_dataset(name: str, ds: Any, timing: Timing) -> DensityPrediction:
    """Densities of a result, on any mesh, or rho(time, ...) of another program on the grid of the reference."""
    if "rho" not in ds or "time" not in ds["rho"].dims:
        raise CaseError(f"{name}: has no rho(time, ...); give a result, or such a variable")
    rho, times = ds["rho"], np.atleast_1d(np.asarray(ds["time"].values, float))
    if timing.given is not None:
        chosen = [int(np.argmin(np.abs(times - time))) for time in timing.given]
        rho, times = rho.isel(time=chosen), times[chosen]
    ours = str(ds.attrs.get("source", "")).startswith(SOURCE) and ("mesh" in ds or "x_bnds" in ds)
    if not ours:
        axes = [str(axis) for axis in rho.dims if axis != "time"]
        coordinates = {axis: np.asarray(ds[axis].values, float) for axis in axes if axis in "xyz" and axis in ds.coords}
        named = sorted(axes) == sorted("xyz"[: len(axes)])
        order = ("time", *sorted(axes)) if named else ("time", *axes[::-1])
        values = np.asarray(rho.transpose(*order).values, float)
        return grid(name, values[None], Timing(timing.reference), times, coordinates)
    frames = timing.frames(name, times)
    values = np.asarray(rho.values, float).reshape(len(frames), -1)
    carried = _carried(stored_mesh(ds), values, timing.reference.mesh)
    return DensityPrediction(name, timing.reference, frames, carried[None])


def _carried(source: Mesh, values: Array, target: Mesh) -> Array:
    """The means (frame, cell) over the cells of a mesh of densities (frame, cell) on another one."""
    if source.dimension != target.dimension:
        raise CaseError(f"the prediction has {source.dimension} dimensions, the reference {target.dimension}")
    if source.cells == target.cells and _same_edges(source, target):
        return values
    cell, other, volume = overlaps(source, target)
    sums = [np.bincount(other, volume * each[cell], target.cells) for each in values]
    return np.asarray(np.stack(sums) / target.volume)


def _same_edges(source: Mesh, target: Mesh) -> bool:
    if source.edges is None or target.edges is None:
        return source.edges is target.edges and bool(np.array_equal(source.centre, target.centre))
    pairs = zip(source.edges, target.edges, strict=True)
    return all(len(a) == len(b) and np.abs(a - b).max() <= _SAME_EDGE * np.ptp(b) for a, b in pairs)


def _of_rows(path: str, timing: Timing, labels: Array | None) -> Prediction:
    more = ((), ("time",), ("weight",), ("time", "weight"))
    names, rows = read_rows(path, tuple((*axes, *some) for axes in _AXES for some in more), _COLUMNS)
    columns = dict(zip(names, rows.T, strict=True))
    points = np.stack([columns[axis] for axis in "xyz" if axis in columns], axis=1)
    own = columns.get("time") if labels is None else labels
    return sample_sets(path, points, timing, own, columns.get("weight"))


def _of_array(path: str, timing: Timing, labels: Array | None) -> Prediction:
    values = read_array(path)
    if values.ndim <= 2:
        return sample_sets(path, values, timing, labels)
    return grid(path, values, timing, None, {})


def _of_netcdf(path: str, timing: Timing, labels: Array | None) -> Prediction:
    if holds_points(path):
        found = read_points(path)
        return sample_sets(path, found.points, timing, labels, found.weight)
    with densities(path) as ds:
        return of_dataset(path, ds, timing)


def _of_hdf5(path: str, timing: Timing, labels: Array | None) -> Prediction:
    require_input(path, "an HDF5 file with a prediction")
    with opened(path, "an HDF5 file with a prediction", "its arrays cannot be read") as data:
        if members := sorted(name for name in data.file.groups if name.isdecimal()):
            return _pdebench(data, members, timing)
        if "t0_fields" in data.file.groups:
            return _the_well(data, timing)
        arrays = {name: _numbers(data, name) for name in data.variables if name in NAMES}
    return prediction_of(path, arrays, timing, labels)


def _pdebench(data: NetCDFFile, members: list[str], timing: Timing) -> DensityPrediction:
    """A group for each member, with data(t, x, y, c) and grid/x, grid/y, grid/t."""
    values = [_numbers(data, f"{member}/data") for member in members]
    if len({each.shape for each in values}) > 1 or values[0].ndim < 3 or values[0].shape[-1] != 1:
        raise CaseError(f"{data.path}: its members have the shapes {values[0].shape}, ...; give (t, x[, y], 1) each")
    first = data.file.groups[members[0]].groups.get("grid")
    axes = {} if first is None else {axis: _numbers(data, f"{members[0]}/grid/{axis}") for axis in first.variables}
    times = axes.pop("t", None)
    return grid(data.path, np.stack(values)[..., 0], timing, times, axes)


def _the_well(data: NetCDFFile, timing: Timing) -> DensityPrediction:
    """t0_fields/NAME(trajectory, time, x, y) and dimensions/time, x, y."""
    names = data.names_in("t0_fields")
    chosen = next((name for name in _DENSITIES if name in names), names[0] if len(names) == 1 else None)
    if chosen is None:
        raise CaseError(f"{data.path}: t0_fields has {', '.join(names) or 'no field'}; name the density rho")
    held = data.names_in("dimensions")
    axes = {axis: _numbers(data, f"dimensions/{axis}") for axis in "xyz" if axis in held}
    times = _numbers(data, "dimensions/time") if "time" in held else None
    return grid(data.path, _numbers(data, f"t0_fields/{chosen}"), timing, times, axes)


def _numbers(data: NetCDFFile, name: str) -> Array:
    if 8 * (count := prod(data.shape_of(name))) > admission().largest:
        raise CaseError(f"{data.path}: {name} has {count} values; at most {admission().largest // 8} are read")
    return data.numbers_or_nan(name)
