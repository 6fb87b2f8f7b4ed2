"""A result in the formats of other programs."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fvflow.dataset import opened
from fvflow.dataset.netcdf import flushed_rename, output_errors, require_name
from fvflow.errors import CaseError, OutputError
from fvflow.mesh import Mesh, topology
from fvflow.studies.formats import Trajectories, writer, x_first
from fvflow.studies.formats.base import imported
from fvflow.studies.formats.vtu import MeshText, write_pvd, write_vtu
from fvflow.studies.formats.zarr import replace_store, require_store_name
from fvflow.studies.stored_run import StoredRun


@dataclass(frozen=True)
class Format:
    """A format that results are exported to."""

    ending: str
    """What takes the place of .nc in the name of the result, by default."""
    write: Callable[[StoredRun, Path], list[Path]]
    """Writes a result; returns the files, the one to open first."""


def export(
    result: Any,
    to: str,
    path: str | os.PathLike[str] | None = None,
    *,
    at: Sequence[float] | float | None = None,
    fields: Sequence[str] | None = None,
) -> list[Path]:
    """Export a result, a dataset or a file, to one of `FORMATS`; returns the files, the one to open first.

    `path` is by default the name of the result with the ending of the format; `at` are the times, by default all
    that are saved, and `fields` the names of cell fields, by default all. Raises CaseError for what the format cannot
    hold and for what the result has not, OutputError for files.
    """
    if to not in FORMATS:
        close = difflib.get_close_matches(to, FORMATS, n=1)
        meant = f"; did you mean {close[0]}?" if close else ""
        raise CaseError(f"there is no format {to!r}; there are {', '.join(FORMATS)}{meant}")
    chosen = FORMATS[to]
    times = None if at is None else [float(time) for time in np.atleast_1d(np.asarray(at, float))]
    with _opened(result) as (ds, name):
        run = StoredRun.of(ds, times, fields)
        target = Path(os.path.splitext(name)[0] + chosen.ending) if path is None else Path(path)
        if name and target.exists() and target.resolve() == Path(name).resolve():
            raise OutputError(f"{target}: is the result itself and would be overwritten; use another name")
        return chosen.write(run, target)


@contextmanager
def _opened(result: Any) -> Iterator[tuple[Any, str]]:
    """The dataset and the name of its file; "result.nc" if it has none."""
    if hasattr(result, "data_vars"):
        yield result, str(result.encoding.get("source", "result.nc"))
    else:
        with opened(result) as ds:
            yield ds, os.fspath(result)


@contextmanager
def _replacing(path: Path, endings: Sequence[str], noun: str) -> Iterator[Path]:
    """A temporary file that takes the name at the end of the block; raises OutputError."""
    require_name(path, endings, noun)
    temporary = path.with_name(f"{path.name}.tmp")
    with output_errors(path):
        try:
            yield temporary
            flushed_rename(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def _vtu(run: StoredRun, path: Path) -> list[Path]:
    """NAME.vtu of one time; or NAME.pvd, the collection of NAME_0000.vtu, NAME_0001.vtu, ... of several."""
    several = len(run.frames) > 1
    if several and path.suffix == ".vtu":
        path = path.with_suffix(".pvd")
    require_name(path, (".vtu", ".pvd"), "a file for VTK")
    mesh, volume, files = MeshText(run.mesh), run.mesh.volume, []
    for number, (frame, time) in enumerate(zip(run.frames, run.time, strict=True)):
        single = path.with_suffix(".vtu")
        target = path.with_name(f"{path.stem}_{number:04d}.vtu") if several or path.suffix == ".pvd" else single
        with _replacing(target, (".vtu",), "a file for VTK") as temporary:
            write_vtu(temporary, mesh, float(time), {name: run.field(name, frame) for name in run.fields}, volume)
        files.append(target)
    if path.suffix == ".pvd":
        with _replacing(path, (".pvd",), "a file for VTK") as temporary:
            write_pvd(temporary, run.time.tolist(), [file.name for file in files])
        return [path, *files]
    return files


def _xdmf(run: StoredRun, path: Path) -> list[Path]:
    """NAME.xdmf, and NAME.h5 with its arrays."""
    from fvflow import paraview

    h5py, store = imported("h5py"), path.with_suffix(".xdmf.h5")
    require_name(path, (".xdmf", ".xmf"), "a file for XDMF")
    single = all(run.ds[name].dtype == np.float32 for name in run.fields)
    described = paraview.Description.of(run.mesh, run.time.tolist(), run.fields, single)
    with _replacing(store, (".h5",), "the arrays of a file for XDMF") as temporary, h5py.File(temporary, "w") as file:
        points = np.zeros((len(run.mesh.points), 3))
        points[:, : run.mesh.dimension] = run.mesh.points
        file["paraview/points"], file["paraview/topology"] = points, topology(run.mesh)[1]
        for name in run.fields:
            shape = (len(run.frames), *run.mesh.shape)
            array = file.create_dataset(name, shape, "f4" if single else "f8")
            for row, frame in enumerate(run.frames):
                array[row] = run.field(name, frame).reshape(run.mesh.shape)
    return [paraview.write(store, described, path), store]


def _csv(run: StoredRun, path: Path) -> list[Path]:
    """One row for each time and cell: time, cell, the centre x, y, z, volume, and the fields."""
    axes = "xyz"[: run.mesh.dimension]
    with _replacing(path, (".csv",), "a table") as temporary, open(temporary, "w", encoding="utf-8") as file:
        file.write(",".join(["time", "cell", *axes, "volume", *run.fields]) + "\n")
        cells = np.arange(run.mesh.cells)
        for frame, time in zip(run.frames, run.time, strict=True):
            values = [run.field(name, frame) for name in run.fields]
            rows = np.column_stack([np.full(len(cells), time), cells, run.mesh.centre, run.mesh.volume, *values])
            np.savetxt(file, rows, ["%.17g", "%d", *["%.17g"] * (rows.shape[1] - 2)], delimiter=",")
    return [path]


def _npz(run: StoredRun, path: Path) -> list[Path]:
    """Fields (time, [z, y,] x) or (time, cell), time, and x, x_edges, ... or centre, volume, points and cells."""
    arrays: dict[str, Any] = {"time": run.time, **_places(run.mesh)}
    for name in run.fields:
        values = np.array([run.field(name, frame) for frame in run.frames])
        arrays[name] = values.reshape(len(run.frames), *run.mesh.shape)
    with _replacing(path, (".npz",), "an archive of arrays") as temporary, open(temporary, "wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
    return [path]


def _places(mesh: Mesh) -> dict[str, Any]:
    """Where the cells are."""
    if mesh.edges is None:
        parts = {"points": mesh.points, "cells": mesh.plot_cells}
        return {"centre": mesh.centre, "volume": mesh.volume, **parts}
    edges = dict(zip("xyz", mesh.edges, strict=False))
    centres = {axis: 0.5 * (edge[1:] + edge[:-1]) for axis, edge in edges.items()}
    return {**centres, **{f"{axis}_edges": edge for axis, edge in edges.items()}}


def _zarr(run: StoredRun, path: Path) -> list[Path]:
    """The dataset of the result, of these times and fields, as a zarr store."""
    imported("zarr")
    require_store_name(path)
    left = [name for name, variable in run.ds.data_vars.items() if variable.dims == run.ds["rho"].dims]
    chosen = run.ds.drop_vars([name for name in left if name not in run.fields]).isel(time=list(run.frames))
    temporary = path.with_name(f"{path.name}.tmp")
    with output_errors(path):
        plain = chosen.drop_encoding()
        for variable in plain.variables.values():
            variable.attrs.pop("_FillValue", None)
        plain.to_zarr(temporary, mode="w", zarr_format=2, consolidated=True)
        replace_store(temporary, path)
    return [path]


def _trajectory(layout: str) -> Callable[[StoredRun, Path], list[Path]]:
    """What writes a result as the only run in a file of trajectories."""

    def write(run: StoredRun, path: Path) -> list[Path]:
        vectors = run.vectors
        orders = {**dict.fromkeys(run.scalars, 0), **dict.fromkeys(vectors, 1)}
        told = {name: str(run.ds.attrs[name]) for name in ("source", "case") if name in run.ds.attrs}
        own = {f"parameter_{name}" if name in orders else name: value for name, value in run.parameters.items()}
        held = Trajectories(
            run.mesh,
            run.time,
            samples=1,
            fields=orders,
            name=run.title,
            boundaries=run.boundaries,
            absorbing=run.absorbing,
            attributes={**own, **told},
        )
        with writer(layout, path, held) as file:
            blocks = {name: _over_time(run, name) for name in run.scalars}
            for vector, names in vectors.items():
                blocks[vector] = np.stack([_over_time(run, name) for name in names], axis=-1)
            file.write(0, blocks)
        return [path]

    return write


def _over_time(run: StoredRun, name: str) -> Any:
    """A field (1, time, x[, y[, z]])."""
    return x_first(np.array([run.field(name, frame) for frame in run.frames]), run.mesh)[None]


FORMATS: dict[str, Format] = {
    "vtu": Format(".vtu", _vtu),
    "xdmf": Format(".xdmf", _xdmf),
    "csv": Format(".csv", _csv),
    "npz": Format(".npz", _npz),
    "zarr": Format(".zarr", _zarr),
    "well": Format(".hdf5", _trajectory("well")),
    "pdebench": Format("_pdebench.hdf5", _trajectory("pdebench")),
}
"""The formats by name."""
