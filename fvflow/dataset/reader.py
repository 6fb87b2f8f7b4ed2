"""From a result file, or its parts, to an xarray.Dataset."""

from __future__ import annotations

import contextlib
import os
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fvflow.dataset.frame_log import read_log
from fvflow.dataset.layout import SOURCE, UNTITLED
from fvflow.dataset.replacing import FRAMES, HEADER
from fvflow.dataset.sweeps import is_sweep
from fvflow.errors import FvflowError, OutputError
from fvflow.input_files import require_regular
from fvflow.mesh.netcdf_probe import damage

if TYPE_CHECKING:
    import xarray

_GROUPS = ("diagnostics", "faces", "particles", "transport", "figures")  # those that hold results, beside the root
_EDGES = ("x_edges", "y_edges", "z_edges")
_FLUXES = ("flux_mean", "m_x", "m_y", "m_z")


def read(path: str | os.PathLike[str]) -> xarray.Dataset:
    """A result as one xarray.Dataset: NAME.nc, or NAME.parts of a run that did not finish, diagnostics included.

    Values are loaded when they are first used. Raises OutputError if the file is not a result of fvflow, and if it is
    damaged where it is read, then or later.
    """
    path = Path(path)
    with _told_as_damage(path):
        return _read(path)


@contextlib.contextmanager
def opened(path: str | os.PathLike[str], *, sweeps: bool = False) -> Iterator[xarray.Dataset]:
    """A result, open while the context lasts, in which damage to its values raises OutputError too.

    Unlike `read` it finds out in a process of its own whether the file makes the libraries crash or hang. The result of
    a sweep is refused unless `sweeps` says that it will do.
    """
    file = Path(path) / HEADER if Path(path).is_dir() else Path(path)
    if file.is_file() and (reason := damage(file)):
        raise OutputError(f"{path}: cannot be read ({reason}); give the .nc file of a run")
    with _told_as_damage(Path(path)), read(path) as ds:
        if "points" in ds and "rho" not in ds:
            raise OutputError(f"{path}: holds points and no run; give the .nc file of a run")
        if is_sweep(ds) and not sweeps:
            raise OutputError(f"{path}: is the result of a sweep; give the .nc file of a run")
        yield ds


@contextlib.contextmanager
def densities(path: str | os.PathLike[str]) -> Iterator[xarray.Dataset]:
    """A result as by `opened`, or rho(time, ...) of another program: a netCDF file, or .npz with rho, time, x, y, z.

    A .npz may have x_edges, y_edges, z_edges too, the boundaries of its cells, flux_mean(interval, face), or m_x, m_y,
    m_z(interval, [z, y,] x) on the faces of a grid.
    Raises OutputError if the file cannot be read, or has neither.
    """
    file = Path(path)
    if file.suffix == ".npz":
        yield _of_arrays(file)
        return
    if file.is_file() and (reason := damage(file)):
        raise OutputError(f"{file}: cannot be read ({reason}); give the .nc file of a run, or one with rho and time")
    with _told_as_damage(file), _foreign(file) or read(file) as ds:
        yield ds


def _foreign(path: Path) -> xarray.Dataset | None:
    """The root of a netCDF file that is no result of fvflow; None if it is one."""
    import xarray

    if path.is_dir():
        return None
    require_regular(path, "a .nc file with rho and time", OutputError)
    with contextlib.ExitStack() as groups:
        root = _opened(path, groups)
        if str(root.attrs.get("source", "")).startswith(SOURCE):
            return None
        return _closing(xarray.decode_cf(root, decode_times=False), groups)


def _of_arrays(path: Path) -> xarray.Dataset:
    """rho, time, the coordinates and fluxes in a .npz file."""
    import numpy as np
    import xarray

    require_regular(path, "a .npz file with rho and time", OutputError)
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as members:
            found = {name: members[name] for name in ("rho", "time", *"xyz", *_EDGES, *_FLUXES) if name in members}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise OutputError(f"{path}: cannot be read ({error}); give a .npz file with rho and time") from None
    if not {"rho", "time"} <= found.keys():
        raise OutputError(f"{path}: has no rho or no time; it has {', '.join(found) or 'neither'}")
    axes = ("time", *"zyx"[4 - found["rho"].ndim :])
    _require_lengths(path, found, axes)
    coordinates = {name: (name, values) for name, values in found.items() if name in axes}
    fluxes = {
        name: (("interval", *(f"{name}_{axis}" for axis in range(1, found[name].ndim))), found[name])
        for name in _FLUXES
        if name in found and found[name].ndim
    }
    edges = {name: ((f"{name}_edge",), np.ravel(found[name])) for name in _EDGES if name in found}
    return xarray.Dataset({"rho": (axes, found["rho"]), **fluxes, **edges}, coordinates)


def _require_lengths(path: Path, found: Mapping[str, Any], axes: Sequence[str]) -> None:
    """Raise OutputError if the coordinates have other lengths than rho, as where its axes are swapped."""
    shape = found["rho"].shape
    if len(shape) != len(axes) or any(found[name].ndim != 1 for name in axes if name in found):
        raise OutputError(f"{path}: rho has the shape {shape}; give rho(time, [z, y,] x), and time, x, y, z as lists")
    given = {name: len(found[name]) for name in axes if name in found}
    wanted = tuple(given.get(name, length) for name, length in zip(axes, shape, strict=True))
    if wanted != shape:
        swapped = wanted[1:] == shape[:0:-1]
        told = "the axes are swapped; give rho(time, [z, y,] x)" if swapped else "give as many of each"
        raise OutputError(f"{path}: rho has the shape {shape}, and time and coordinates say {wanted}: {told}")


@contextlib.contextmanager
def _told_as_damage(path: Path) -> Iterator[None]:
    """Raise OutputError for what the libraries raise where a file lacks something, or holds what cannot be."""
    try:
        yield
    except FvflowError:
        raise
    except (RuntimeError, LookupError, ValueError, TypeError, AttributeError, ArithmeticError) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise OutputError(f"{path}: is damaged or incomplete ({reason}); write it again") from error


def _read(path: Path) -> xarray.Dataset:
    if path.is_dir():
        return _unfinished(path)
    require_regular(path, "the .nc file of a run", OutputError)
    with contextlib.ExitStack() as groups:
        root = _opened(path, groups)
        source = str(root.attrs.get("source", "not given"))
        if not source.startswith(SOURCE):
            raise OutputError(f"{path}: is not a result of fvflow (its source is {source})")
        return _closing(merged([root, *(_opened(path, groups, group=name) for name in _group_names(path))]), groups)


def _closing(whole: xarray.Dataset, groups: contextlib.ExitStack) -> xarray.Dataset:
    """The dataset, which closes the groups of a file when it is closed; until then they stay open."""
    whole.set_close(groups.pop_all().close)
    return whole


def _unfinished(folder: Path) -> xarray.Dataset:
    """The frames of a run that did not finish; their fields stay on the disk until they are used."""
    if not (folder / FRAMES).exists():
        raise OutputError(f"{folder}: contains no frames of a run; give a .nc file or a .parts directory")
    try:
        records = read_log(folder / FRAMES)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be read ({error.strerror})") from None
    header, filled = folder / HEADER, []
    with contextlib.ExitStack() as groups:
        for name in ("", *_group_names(header)):
            group, prefix = _opened(header, groups, group=name or None), f"{name}/" if name else ""
            values = {each: (group[each], f"{prefix}{each}") for each in group.variables}
            frames = {
                each: (variable.dims, records[path], variable.attrs)
                for each, (variable, path) in values.items()
                if path in records.dtype.names
            }
            filled.append(group.drop_vars(list(frames)).assign(frames))
        return _closing(merged(filled), groups)


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


def _opened(path: Path, groups: contextlib.ExitStack, **options: Any) -> xarray.Dataset:
    """A group of a file as it is stored, which is closed with the others.

    Values that turn out to be damaged raise OutputError when they are loaded.
    """
    import xarray

    from fvflow.dataset.guarded import guarded

    try:
        group = xarray.open_dataset(path, engine="netcdf4", decode_cf=False, **options)
        groups.callback(group.close)
        return guarded(path, group)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise OutputError(f"{path}: cannot be read ({reason}); give the .nc file of a run") from None
