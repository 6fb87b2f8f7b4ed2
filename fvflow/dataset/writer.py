"""Writing a result so that whatever stops the run, no frame is lost and no half-written file appears."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fvflow.dataset.layout import TIME, Item, Layout, header
from fvflow.errors import OutputError
from fvflow.mesh import Mesh

_PART_BYTES, _PART_SECONDS = 2**26, 2.0  # a part is closed when it has grown to either
_RESERVE = 2**20  # bytes that must stay free beside the next frame


@contextlib.contextmanager
def _reported(path: Path) -> Iterator[None]:
    """Errors of the file system and of HDF5 as OutputError."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise OutputError(f"{path}: cannot be written ({reason}); is there room, and may you write there?") from error


class Writer:
    """Stores frames in part files and, at the end, in NAME.nc at one stroke.

    Parts are written under a temporary name, flushed to the disk and renamed; whatever stops the run, those in
    NAME.parts stay readable (`fvflow.read`, `fvflow info`). Raises OutputError.
    """

    def __init__(self, path: Path, layout: Layout, attributes: Mapping[str, Any]) -> None:
        self.path, self.layout, self.times = path, layout, list[float]()
        self._attributes = {**attributes, "history": f"{time.strftime('%Y-%m-%dT%H:%M:%S')} fvflow run"}
        self._folder = parts_of(path)
        self._part: Any = None
        self._parts: list[Path] = []
        self._opened = 0.0

    def __enter__(self) -> Writer:
        if self.path.suffix != ".nc":
            raise OutputError(f"{self.path}: the name of a result ends in .nc")
        if self.path.is_dir():
            raise OutputError(f"{self.path}: is a directory; give the name of a file")
        if not self.path.parent.is_dir():
            raise OutputError(f"{self.path}: there is no directory {self.path.parent}; make it first")
        with _reported(self.path):
            _lock(self._folder)
            _remove_parts(self._folder)
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if self._part is not None:
            with contextlib.suppress(OutputError):
                self._end_part()
        with contextlib.suppress(OSError):
            (self._folder / "lock").unlink(missing_ok=True)
            self._folder.rmdir()  # only if it is empty: after success, or before the first frame

    def append(self, frame: Mapping[str, Any]) -> None:
        """Store one frame."""
        self._require_room(self.layout.frame_bytes)
        with _reported(self.path):
            if self._part is None:
                self._begin_part()
            _record(self._part, self.layout, frame)
            self._part.sync()
        self.times.append(float(frame["time"]))
        grown = len(self._part.dimensions["time"]) * self.layout.frame_bytes > _PART_BYTES
        if grown or time.monotonic() - self._opened > _PART_SECONDS:
            self._end_part()

    def close(self, attributes: Mapping[str, Any]) -> None:
        """Put the frames together as NAME.nc, which appears complete or not at all."""
        if self._part is not None:
            self._end_part()
        self._require_room(len(self.times) * self.layout.frame_bytes)
        whole = self._folder / "whole.tmp"
        with _reported(self.path):
            with _created(whole, self.layout, {**self._attributes, **attributes}) as target:
                _add_geometry(target, self.layout.mesh)
                for part in self._parts:
                    _copy_frames(part, target, self.layout)
            _flushed_rename(whole, self.path)
            _remove_parts(self._folder)

    def _begin_part(self) -> None:
        self._part = _created(self._folder / "part.tmp", self.layout, self._attributes)
        self._opened = time.monotonic()

    def _end_part(self) -> None:
        part, self._part = self._part, None
        name = self._folder / f"part-{len(self._parts):06d}.nc"
        with _reported(self.path):
            part.close()
            _flushed_rename(self._folder / "part.tmp", name)
        self._parts.append(name)

    def _require_room(self, size: int) -> None:
        with _reported(self.path):
            free = shutil.disk_usage(self.path.parent).free
        if free < size + _RESERVE:
            raise OutputError(
                f"{self.path}: {free >> 20} MiB are free, {size + _RESERVE >> 20} are needed; make room. "
                f"The {len(self.times)} frames so far are in {self._folder}"
            )


def parts_of(path: Path) -> Path:
    """The directory that holds the frames of a run that is not finished."""
    return path.with_suffix(".parts")


def _lock(folder: Path) -> None:
    """Claim the directory; a lock whose process is gone is taken over."""
    folder.mkdir(exist_ok=True)
    lock, mine = folder / "lock", f"{os.getpid()} {socket.gethostname()}"
    with contextlib.suppress(FileNotFoundError, ValueError):
        pid, host = lock.read_text().split()
        if host != socket.gethostname() or (int(pid) != os.getpid() and _alive(int(pid))):
            raise OutputError(f"{folder}: process {pid} on {host} is writing there; use another name, or wait")
        lock.unlink()
    with open(lock, "x") as file:
        file.write(mine)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _remove_parts(folder: Path) -> None:
    for file in [*folder.glob("part-*.nc"), *folder.glob("*.tmp")]:
        file.unlink()


def _flushed_rename(source: Path, target: Path) -> None:
    """Rename after the contents, and before the directory entry, have reached the disk."""
    with open(source, "rb") as file:
        os.fsync(file.fileno())
    os.replace(source, target)
    directory = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _created(path: Path, layout: Layout, attributes: Mapping[str, Any]) -> Any:
    """A new netCDF file with all variables defined and the fixed ones filled."""
    import netCDF4

    file = netCDF4.Dataset(path, "w", format="NETCDF4")
    file.setncatts(header(attributes))
    file.createDimension("time", None)
    diagnostics = file.createGroup("diagnostics")
    for name, size in layout.sizes.items():
        (diagnostics if name.startswith("axis") else file).createDimension(name, size)
    _define(file, "time", TIME)
    for name, item in layout.fixed().items():
        _define(file, name, item)
    chunk = (1, *layout.mesh.shape)
    for name, item in layout.fields().items():
        _define(file, name, item, chunksizes=chunk, **_filters(layout))
    for name, item in layout.diagnostics().items():
        _define(diagnostics, name, item)
    return file


def _filters(layout: Layout) -> dict[str, Any]:
    return {"compression": "zlib", "complevel": layout.compression} if layout.compression else {}


def _define(group: Any, name: str, item: Item, **storage: Any) -> None:
    variable = group.createVariable(name, item.dtype, item.dims, fill_value=False, **storage)
    variable.setncatts(item.attributes)
    if item.values is not None:
        variable[:] = item.values


def _record(file: Any, layout: Layout, frame: Mapping[str, Any]) -> None:
    """Append one frame to an open file."""
    index = len(file.dimensions["time"])
    file["time"][index] = frame["time"]
    for name in layout.fields():
        file[name][index] = np.reshape(frame[name], layout.mesh.shape)
    for name in layout.diagnostics():
        file["diagnostics"][name][index] = frame[name]


def _copy_frames(part: Path, target: Any, layout: Layout) -> None:
    """Append the frames of a part to an open file, one at a time."""
    import netCDF4

    with netCDF4.Dataset(part) as source:
        source.set_auto_mask(False)
        names = [("time", source), *((name, source) for name in layout.fields())]
        names += [(name, source["diagnostics"]) for name in layout.diagnostics()]
        for index in range(len(source.dimensions["time"])):
            _record(target, layout, {name: group[name][index] for name, group in names})


def _add_geometry(file: Any, mesh: Mesh) -> None:
    """The nodes and cells that the .xmf2 file points ParaView at."""
    group = file.createGroup("paraview")
    group.createDimension("node", len(mesh.points))
    group.createDimension("cell", mesh.cells)
    group.createDimension("corner", mesh.cell_points.shape[1])
    group.createDimension("space", 3)
    points = np.zeros((len(mesh.points), 3))
    points[:, : mesh.dimension] = mesh.points
    _define(group, "points", Item(("node", "space"), {"long_name": "nodes"}, points))
    _define(group, "topology", Item(("cell", "corner"), {"long_name": "nodes of each cell"}, mesh.cell_points, "i4"))
