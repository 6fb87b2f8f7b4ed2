"""What is compared: densities over time on a mesh, from results and from elsewhere."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fvflow.dataset import densities, stored_mesh
from fvflow.errors import CaseError, OutputError
from fvflow.input_files import require_input
from fvflow.mesh import Array, Grid, Mesh

if TYPE_CHECKING:
    import xarray

_SINGLE, _DOUBLE = 1e-6, 1e-9  # relative difference of equal times and masses, by the precision they are stored in
_SAME = 1e-6  # difference of coordinates that are the same, relative to a cell


@dataclass(frozen=True, eq=False)
class Densities:
    """Densities at some times on a mesh."""

    name: str
    mesh: Mesh
    time: Array
    """The times (frame,)."""
    values: Any
    """rho (frame, ...), read frame by frame."""
    tolerance: float
    """Relative difference below which times, or masses, are the same."""
    ds: xarray.Dataset | None = None
    """The result, if it is one of fvflow."""

    def density(self, frame: int) -> Array:
        """The density (cell,) of a frame; raises CaseError if it is not finite."""
        found = np.asarray(self.values[frame], float).ravel()
        if not np.isfinite(found).all():
            bad = int(np.argmin(np.isfinite(found)))
            raise CaseError(
                f"{self.name}: rho is {found[bad]} in cell {bad} at t = {self.time[frame]:g}; give finite densities"
            )
        return found

    def series(self, variable: str) -> Array | None:
        """A diagnostic (frame,) of the result, if it is one and has it."""
        return np.asarray(self.ds[variable].values, float) if self.ds is not None and variable in self.ds else None


@dataclass(frozen=True, eq=False)
class _Read:
    """What a file or an array holds, before its mesh is known."""

    name: str
    values: Any
    dims: tuple[str, ...]
    time: Array | None
    coordinates: dict[str, Array]
    """Centres of cells along an axis (cell,), by its name."""
    edges: dict[str, Array]
    """Boundaries of cells along an axis, by its name."""
    tolerance: float
    ds: xarray.Dataset | None = None

    @property
    def axes(self) -> str:
        """The axes of a grid that it has coordinates of: x, xy or xyz; empty if it has not all of them."""
        dimension = len(self.values.shape) - 1
        named = "xyz"[:dimension]
        return named if dimension and all(axis in self.coordinates or axis in self.edges for axis in named) else ""


@contextmanager
def opened_pair(first: Any, second: Any, at: Sequence[float] | None) -> Iterator[tuple[Densities, Densities]]:
    """Both operands, open while the context lasts: each a result or densities from elsewhere.

    Each is a dataset, a file .nc, .npz or .npy, or an array (frame, [z, y,] x). What has no mesh of its own is on that
    of the other one; an array has the times `at`, or those of the other one. Raises CaseError for what cannot be,
    OutputError for files that cannot be read.
    """
    with _opened(first, "A") as a, _opened(second, "B") as b:
        meshes = [_own_mesh(read) for read in (a, b)]
        if meshes[0] is None and meshes[1] is None:
            raise CaseError("neither A nor B has a mesh or coordinates; give a result, or x (and y, z) beside rho")
        finished = [
            _finished(read, mesh, other, rival, at)
            for read, mesh, other, rival in ((a, meshes[0], meshes[1], b), (b, meshes[1], meshes[0], a))
        ]
        yield finished[0], finished[1]


@contextmanager
def _opened(operand: Any, letter: str) -> Iterator[_Read]:
    if isinstance(operand, str | os.PathLike):
        path = Path(operand)
        if path.suffix == ".npy":
            yield _of_array(str(path), _array_in(path))
        else:
            with densities(path) as ds:
                yield _of_dataset(str(path), ds)
    elif hasattr(operand, "data_vars"):
        yield _of_dataset(letter, operand)
    else:
        yield _of_array(letter, np.asarray(operand))


def _array_in(path: Path) -> Any:
    require_input(path, "a .npy file with rho(time, [z, y,] x)")
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise OutputError(f"{path}: cannot be read ({error}); give a .npy file with rho(time, [z, y,] x)") from None


def _of_array(name: str, array: Any) -> _Read:
    if array.dtype.kind not in "fiu" or array.ndim < 1:
        raise CaseError(f"{name}: an array {array.shape} of {array.dtype}; give real numbers rho(time, [z, y,] x)")
    tolerance = _SINGLE if array.dtype.itemsize < 8 else _DOUBLE
    return _Read(name, array, tuple("?" * array.ndim), None, {}, {}, tolerance)


def _of_dataset(name: str, ds: Any) -> _Read:
    if "rho" not in ds or "time" not in ds or not ds.sizes.get("time"):
        raise CaseError(f"{name}: has no rho(time, ...) with its times; give the result of a run, or such")
    rho, own = ds["rho"], "mesh" in ds or "x_bnds" in ds
    spatial = [str(dim) for dim in rho.dims if dim != "time"]
    order = ["time", *(sorted(spatial, reverse=True) if set(spatial) <= set("xyz") else spatial)]
    rho = rho.transpose(*order)
    times = ds["time"].values
    if times.dtype.kind not in "fiu" or np.ndim(times) != 1:
        raise CaseError(f"{name}: its times are of type {times.dtype}; give numbers")
    if not (np.isfinite(times).all() and (np.diff(times) > 0).all()):
        raise CaseError(f"{name}: its {len(times)} times have to be finite and ascending")
    single = np.float32 in (rho.dtype, times.dtype)
    coordinates = {axis: np.asarray(ds[axis].values, float) for axis in "xyz" if axis in ds and ds[axis].ndim == 1}
    edges = {axis: np.asarray(ds[f"{axis}_edges"], float) for axis in "xyz" if f"{axis}_edges" in ds}
    tolerance = _SINGLE if single else _DOUBLE
    times = np.asarray(times, float)
    return _Read(name, rho, tuple(order), times, coordinates, edges, tolerance, ds if own else None)


def _own_mesh(read: _Read) -> Mesh | None:
    """The mesh of a result, or the grid of its coordinates; None if it has neither."""
    if read.ds is not None:
        return stored_mesh(read.ds)
    if not read.axes:
        return None
    _require_axes(read, tuple(len(read.coordinates.get(axis, read.edges.get(axis, ()))) for axis in read.axes))
    return Grid(tuple(_edges(read, axis) for axis in read.axes))


def _require_axes(read: _Read, lengths: tuple[int, ...]) -> None:
    """Raise CaseError if the coordinates (x[, y[, z]]) have other lengths than rho."""
    named = zip(read.axes, lengths, strict=True)
    wanted = tuple(length - (axis not in read.coordinates) for axis, length in named)[::-1]
    shape = tuple(read.values.shape[1:])
    if shape == wanted:
        return
    if shape == wanted[::-1]:
        raise CaseError(
            f"{read.name}: rho is {shape} at each time, and its coordinates say {wanted}: the axes are swapped; give "
            "rho(time, [z, y,] x)"
        )
    raise CaseError(f"{read.name}: rho is {shape} at each time, and its coordinates say {wanted}")


def _edges(read: _Read, axis: str) -> Array:
    """Boundaries of the cells along an axis: as given, or half-way between centres that are evenly spaced."""
    if axis in read.edges:
        return read.edges[axis]
    x = read.coordinates[axis]
    width = np.diff(x)
    if len(x) < 2 or not (width > 0).all():
        raise CaseError(f"{read.name}: {axis} has {len(x)} values, which have to be ascending and two at least")
    if np.ptp(width) > _SAME * width.mean():
        raise CaseError(
            f"{read.name}: {axis} is unevenly spaced, so that its cells are not known; give {axis}_edges, their "
            "boundaries"
        )
    return np.linspace(x[0] - 0.5 * width.mean(), x[-1] + 0.5 * width.mean(), len(x) + 1)


def _finished(
    read: _Read, mesh: Mesh | None, other: Mesh | None, rival: _Read, at: Sequence[float] | None
) -> Densities:
    if mesh is None:
        assert other is not None
        mesh, read = other, _with_frames(read, other)
    elif read.ds is None and other is not None and _same_grid(mesh, other):
        mesh = other  # the same cells, but for round-off of the coordinates
    return Densities(read.name, mesh, _times(read, rival, at), read.values, read.tolerance, read.ds)


def _with_frames(read: _Read, mesh: Mesh) -> _Read:
    """The values (frame, ...) of what is on the mesh of the other operand; a single density is one frame."""
    shape, values = mesh.shape, read.values
    for candidate in (values, values[None] if read.time is None else values):
        if tuple(candidate.shape[1:]) == shape:
            return _Read(read.name, candidate, read.dims, read.time, {}, {}, read.tolerance)
    inner = tuple(values.shape[-len(shape) :])
    if inner == shape[::-1]:
        raise CaseError(
            f"{read.name}: rho is {inner} at each time, and the mesh of the other {shape}: the axes are swapped; give "
            "rho(time, [z, y,] x)"
        )
    raise CaseError(
        f"{read.name}: rho has the shape {tuple(values.shape)} and no coordinates, and the mesh of the other one needs "
        f"(time, {', '.join(map(str, shape))}); give x (and y, z) beside rho for another grid"
    )


def _times(read: _Read, rival: _Read, at: Sequence[float] | None) -> Array:
    """The times of an operand: its own, or for an array those asked for, or those of the other."""
    if read.time is not None:
        return read.time
    frames = int(read.values.shape[0])
    for times in (at, rival.time):
        if times is not None and len(times) == frames:
            return np.asarray(times, float)
    told = "no times" if rival.time is None else f"{len(rival.time)} times"
    raise CaseError(
        f"{read.name}: has {frames} frames without times, and the other has {told}; say with --at at which times they "
        "are"
    )


def _same_grid(mesh: Mesh, other: Mesh) -> bool:
    """Whether two grids have the same edges but for round-off."""
    if mesh.edges is None or other.edges is None or mesh.shape != other.shape:
        return False
    pairs = zip(mesh.edges, other.edges, strict=True)
    return all(np.abs(edge - same).max() <= _SAME * np.diff(same).min() for edge, same in pairs)
