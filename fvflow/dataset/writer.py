"""Writing a result so that whatever stops the run, no frame is lost and no half-written file appears."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from fvflow import system
from fvflow.dataset.assembly import Assembly
from fvflow.dataset.groups import mesh_groups, paraview_group
from fvflow.dataset.layout import Layout, header
from fvflow.dataset.replacing import parts_of, replaced
from fvflow.dataset.variable import Group, NetCDFVariable
from fvflow.errors import OutputError
from fvflow.mesh import Array, Mesh

_PART_BYTES, _PART_SECONDS = 2**26, 2.0  # a part is closed as soon as it reaches either
_RESERVE = 2**20  # bytes that must stay free beyond the next frame
_COPY_BYTES = 2**23  # of fields in memory while parts are joined
_SERIES_CHUNK = 128  # frames in a chunk of times and diagnostics
_LOCK, _OPEN_PART, _WHOLE = "lock", "part.tmp", "whole.tmp"


@contextlib.contextmanager
def _output_errors(path: Path) -> Iterator[None]:
    """Errors of the file system and of HDF5 as OutputError."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise OutputError(f"{path}: cannot be written ({reason}); is there room, and may you write there?") from error


class Writer(Assembly[None]):
    """Stores frames in part files and, at the end, replaces NAME.nc in one atomic step.

    Parts are written under a temporary name, flushed to the disk and renamed; whatever stops the run, those in
    NAME.parts stay readable (`fvflow.read`, `fvflow info`). A part is closed when it is two seconds old: call `tick`
    after every step. `tell` is given a sentence for an old result and one for old frames that it takes the place of.
    Raises OutputError, also if NAME.nc is there and no result of a run.
    """

    def __init__(
        self,
        path: Path,
        layout: Layout,
        attributes: Mapping[str, Any],
        tell: Callable[[str], None] = lambda sentence: None,
    ) -> None:
        super().__init__(layout, {**attributes, "history": f"{time.strftime('%Y-%m-%dT%H:%M:%S')} fvflow run"})
        self.path, self._tell = path, tell
        self._part: Any = None
        self._series: list[Mapping[str, Array]] = []  # times and diagnostics of the frames in the open part
        self._parts: list[Path] = []
        self._opened = self._appended = 0.0
        self._lock: IO[str] | None = None

    def __enter__(self) -> Writer:
        system.require_file_locks()
        with _output_errors(self.path):
            _require_name(self.path)
            sentences = replaced(self.path)  # refuses other files before there is a directory to clean up
            self._folder = parts_of(self.path)
            self._lock = _locked(self._folder)
            for sentence in sentences:
                self._tell(sentence)
            _remove_parts(self._folder)
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        with contextlib.suppress(OutputError):
            self._end_part()
        if error is not None and self._parts:
            error.add_note(f"the frames so far are in {self._folder} (fvflow info {self._folder}, fvflow.read)")
        if self._lock is not None:
            with contextlib.suppress(OSError):
                (self._folder / _LOCK).unlink(missing_ok=True)
                self._folder.rmdir()  # only if it is empty: after success, or before the first frame
            self._lock.close()

    def _store(self, values: Mapping[str, Array]) -> None:
        self._require_room(self._unwritten() + self.layout.frame_bytes)
        series, index = {}, len(self._series)
        with _output_errors(self.path):
            if self._part is None:
                self._part = _created(self._folder / _OPEN_PART, self.layout, header(self._attributes))
                self._opened = time.monotonic()
            for path, value in values.items():
                if _is_series(path):
                    series[path] = value
                else:
                    self._part[path][index] = value
        self._series.append(series)
        now = time.monotonic()
        overdue = now - self._appended > _PART_SECONDS  # frames are so rare that each is worth a part
        self._appended = now
        if overdue or len(self._series) * self.layout.frame_bytes > _PART_BYTES:
            self._end_part()

    def tick(self) -> None:
        """Close the part if it is old enough."""
        if self._part is not None and time.monotonic() - self._opened > _PART_SECONDS:
            self._end_part()

    def _complete(self, attributes: Mapping[str, Any], groups: Mapping[str, Group]) -> None:
        """Join the parts to NAME.nc, which appears complete or not at all."""
        self._end_part()
        self._require_room(len(self.times) * self.layout.frame_bytes)
        whole, mesh = self._folder / _WHOLE, self.layout.mesh
        with _output_errors(self.path):
            with _created(whole, self.layout, attributes) as target:
                for name, group in {**paraview_group(mesh), **mesh_groups(mesh), **groups}.items():
                    _define(target, name, group)
                for part in self._parts:
                    _copy_frames(part, target, self.layout)
            _flushed_rename(whole, self.path)
            _remove_parts(self._folder)

    def _end_part(self) -> None:
        """Add times and diagnostics to the open part, close it and give it its name."""
        if self._part is None:
            return
        name = self._folder / f"part-{len(self._parts):06d}.nc"
        with _output_errors(self.path):
            if self._part.isopen():
                for path in filter(_is_series, self.layout.frame_shapes):
                    self._part[path][: len(self._series)] = np.array([values[path] for values in self._series])
                self._part.close()
            _flushed_rename(self._folder / _OPEN_PART, name)
        self._part, self._series = None, []
        self._parts.append(name)

    def _unwritten(self) -> int:
        """Bytes of the open part that HDF5 still holds in memory."""
        if self._part is None:
            return 0
        with _output_errors(self.path):
            written = os.stat(self._folder / _OPEN_PART).st_blocks * 512
        return max(0, len(self._series) * self.layout.frame_bytes - written)

    def _require_room(self, size: int) -> None:
        with _output_errors(self.path):
            free = shutil.disk_usage(self.path.parent).free
        if free < size + _RESERVE:
            raise OutputError(
                f"{self.path}: {free / 2**20:.1f} MiB are free, {(size + _RESERVE) / 2**20:.1f} are needed; make room"
            )


def _is_series(path: str) -> bool:
    """Whether a variable over time holds only a few numbers per frame, which are written when the part is closed."""
    return path == "time" or path.startswith("diagnostics/")


def _require_name(path: Path) -> None:
    """Refuse names that no result can have: OutputError."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise OutputError(f"{path!r}: the name of a result has to be valid UTF-8") from None
    if path.suffix != ".nc":
        raise OutputError(f"{path}: the name of a result ends in .nc")
    if path.is_dir():
        raise OutputError(f"{path}: is a directory; give the name of a file")
    if not path.parent.is_dir():
        raise OutputError(f"{path}: there is no directory {path.parent}; make it first")


def _locked(folder: Path) -> IO[str]:
    """The directory's lock file, locked until it is closed; the system releases it however the process ends."""
    folder.mkdir(exist_ok=True)
    lock = open(folder / _LOCK, "a+")  # noqa: SIM115 (the caller holds it)
    try:
        system.lock_file(lock)
    except BlockingIOError:
        lock.seek(0)
        holder = lock.read().strip() or "another process"
        lock.close()
        raise OutputError(f"{folder}: {holder} is writing there; use another name, or wait") from None
    if not (folder / _LOCK).exists() or os.stat(folder / _LOCK).st_ino != os.fstat(lock.fileno()).st_ino:
        lock.close()  # its last holder removed it in the meantime
        return _locked(folder)
    lock.truncate(0)
    lock.write(f"process {os.getpid()} on {socket.gethostname()}")
    lock.flush()
    return lock


def _remove_parts(folder: Path) -> None:
    for file in [*folder.glob("part-??????.nc"), folder / _OPEN_PART, folder / _WHOLE]:
        file.unlink(missing_ok=True)


def _flushed_rename(source: Path, target: Path) -> None:
    """Rename after the contents, and before the directory entry, have reached the disk."""
    with open(source, "rb") as file:
        os.fsync(file.fileno())
    os.replace(source, target)
    system.sync_directory(target.parent)


def _created(path: Path, layout: Layout, attributes: Mapping[str, Any]) -> Any:
    """A new netCDF file with all variables of the layout defined and those without time filled."""
    import netCDF4

    file = netCDF4.Dataset(path, "w", format="NETCDF4")
    file.setncatts(attributes)
    file.createDimension("time", None)
    for name, group in layout.groups.items():
        _define(file, name, group, layout)
    return file


def _define(file: Any, name: str, group: Group, layout: Layout | None = None) -> None:
    """Create a group, the root if it has no name, and fill its variables as far as their values are known."""
    target = file.createGroup(name) if name else file
    target.setncatts(group.attributes)
    for dimension, size in group.dimensions.items():
        target.createDimension(dimension, size)
    for variable_name, variable in group.variables.items():
        path = f"{name}/{variable_name}".removeprefix("/")
        storage = {} if layout is None or variable.values is not None else _storage(path, layout)
        _define_variable(target, variable_name, variable, storage)


def _define_variable(group: Any, name: str, variable: NetCDFVariable, storage: Mapping[str, Any]) -> None:
    fill = False if variable.fill is None else variable.fill
    created = group.createVariable(name, variable.dtype, variable.dims, fill_value=fill, **storage)
    created.setncatts(variable.attributes)
    if variable.values is not None:
        created[:] = variable.values


def _storage(path: str, layout: Layout) -> dict[str, Any]:
    """Chunks and compression of a variable over time: a chunk is one frame of a field."""
    shape = layout.frame_shapes[path]
    if _is_series(path):
        return {"chunksizes": (_SERIES_CHUNK, *shape)}
    filters = {"compression": "zlib", "complevel": layout.compression} if layout.compression else {}
    return {"chunksizes": (1, *shape), **filters}


def _copy_frames(part: Path, target: Any, layout: Layout) -> None:
    """Append the frames of a part to an open file, in blocks of a few megabytes."""
    import netCDF4

    with netCDF4.Dataset(part) as source:
        source.set_auto_mask(False)
        count, start = len(source.dimensions["time"]), len(target.dimensions["time"])
        block = max(1, _COPY_BYTES // layout.frame_bytes)
        for path in layout.frame_shapes:
            rows = count if _is_series(path) else block
            for first in range(0, count, rows):
                last = min(first + rows, count)
                target[path][start + first : start + last] = source[path][first:last]


def save_mesh(mesh: Mesh, path: str | os.PathLike[str]) -> None:
    """Write a mesh to a netCDF file that `mesh: {kind: ugrid}` reads, as a result without times; raises OutputError."""
    path = Path(path)
    _require_name(path)
    temporary = path.with_suffix(".nc.tmp")
    with _output_errors(path):
        with _created(temporary, Layout(mesh, {}), header({"title": "a mesh"})) as file:
            for name, group in mesh_groups(mesh).items():
                _define(file, name, group)
        _flushed_rename(temporary, path)
