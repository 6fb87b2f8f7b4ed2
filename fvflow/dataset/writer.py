"""Writing a result so that whatever stops the run, no frame is lost and no half-written file appears."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from fvflow.dataset.groups import add_figures, add_geometry, add_regions, define
from fvflow.dataset.layout import TIME, Layout, header
from fvflow.errors import OutputError
from fvflow.mesh import Mesh

_PART_BYTES, _PART_SECONDS = 2**26, 2.0  # a part is closed when it has grown to either
_RESERVE = 2**20  # bytes that must stay free beside the next frame
_COPY_BYTES = 2**23  # of fields in memory while parts are put together
_LEDGER_CHUNK = 128  # frames
_LOCK, _OPEN_PART, _WHOLE = "lock", "part.tmp", "whole.tmp"


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
    NAME.parts stay readable (`fvflow.read`, `fvflow info`). A part is ended when it is two seconds old, so `tick` is to
    be called after every step. Raises OutputError.
    """

    def __init__(self, path: Path, layout: Layout, attributes: Mapping[str, Any]) -> None:
        self.path, self.layout, self.times = path, layout, list[float]()
        self._attributes = {**attributes, "history": f"{time.strftime('%Y-%m-%dT%H:%M:%S')} fvflow run"}
        self._part: Any = None
        self._ledger: list[Mapping[str, Any]] = []  # of the frames in the open part
        self._parts: list[Path] = []
        self._opened = self._appended = 0.0
        self._lock: IO[str] | None = None

    def __enter__(self) -> Writer:
        with _reported(self.path):
            _require_name(self.path)
            self._folder = parts_of(self.path)
            self._lock = _locked(self._folder)
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

    def append(self, frame: Mapping[str, Any]) -> None:
        """Store one frame."""
        self._require_room(self._unwritten() + self.layout.frame_bytes)
        with _reported(self.path):
            if self._part is None:
                self._part = _created(self._folder / _OPEN_PART, self.layout, self._attributes)
                self._opened = time.monotonic()
            for name in self.layout.fields():
                self._part[name][len(self._ledger)] = np.reshape(frame[name], self.layout.mesh.shape)
            for name in self.layout.face_fields():
                self._part["faces"][name][len(self._ledger)] = frame[name]
        self._ledger.append({name: frame[name] for name in ("time", *self.layout.diagnostics())})
        self.times.append(float(frame["time"]))
        seldom = time.monotonic() - self._appended > _PART_SECONDS
        self._appended = time.monotonic()
        if seldom or len(self._ledger) * self.layout.frame_bytes > _PART_BYTES:
            self._end_part()

    def tick(self) -> None:
        """End the part if it is old enough."""
        if self._part is not None and time.monotonic() - self._opened > _PART_SECONDS:
            self._end_part()

    def close(self, attributes: Mapping[str, Any], figures: Mapping[str, float]) -> None:
        """Put the frames together as NAME.nc, which appears complete or not at all; figures go to a group."""
        self._end_part()
        self._require_room(len(self.times) * self.layout.frame_bytes)
        whole = self._folder / _WHOLE
        with _reported(self.path):
            with _created(whole, self.layout, {**self._attributes, **attributes}) as target:
                add_geometry(target, self.layout.mesh)
                add_regions(target, self.layout.mesh)
                add_figures(target, figures)
                for part in self._parts:
                    _copy_frames(part, target, self.layout)
            _flushed_rename(whole, self.path)
            _remove_parts(self._folder)

    def _end_part(self) -> None:
        """Add the ledger to the open part, close it and give it its name."""
        if self._part is None:
            return
        name = self._folder / f"part-{len(self._parts):06d}.nc"
        with _reported(self.path):
            if self._part.isopen():
                _record_ledger(self._part, self.layout, self._ledger)
                self._part.close()
            _flushed_rename(self._folder / _OPEN_PART, name)
        self._part, self._ledger = None, []
        self._parts.append(name)

    def _unwritten(self) -> int:
        """Bytes of the open part that HDF5 still holds in memory."""
        if self._part is None:
            return 0
        with _reported(self.path):
            written = os.stat(self._folder / _OPEN_PART).st_blocks * 512
        return max(0, len(self._ledger) * self.layout.frame_bytes - written)

    def _require_room(self, size: int) -> None:
        with _reported(self.path):
            free = shutil.disk_usage(self.path.parent).free
        if free < size + _RESERVE:
            raise OutputError(
                f"{self.path}: {free / 2**20:.1f} MiB are free, {(size + _RESERVE) / 2**20:.1f} are needed; make room"
            )


def _require_name(path: Path) -> None:
    """Refuse names that cannot be a result: OutputError."""
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


def parts_of(path: Path) -> Path:
    """The directory that holds the frames of a run that is not finished."""
    return path.with_suffix(".parts")


def _locked(folder: Path) -> IO[str]:
    """The directory's lock file, locked until it is closed; the system sees to that however the process ends."""
    folder.mkdir(exist_ok=True)
    lock = open(folder / _LOCK, "a+")  # noqa: SIM115 (the caller holds it)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        holder = lock.read().strip() or "another process"
        lock.close()
        raise OutputError(f"{folder}: {holder} is writing there; use another name, or wait") from None
    if not (folder / _LOCK).exists() or os.stat(folder / _LOCK).st_ino != os.fstat(lock.fileno()).st_ino:
        lock.close()  # its last holder removed it meanwhile
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
    faces = file.createGroup("faces") if layout.faces else None
    for name, size in layout.sizes.items():
        home = diagnostics if name.startswith("axis") else faces if faces is not None and name == "face" else file
        home.createDimension(name, size)
    define(file, "time", TIME, chunksizes=(_LEDGER_CHUNK,))
    for name, item in layout.fixed().items():
        define(file, name, item)
    chunk = (1, *layout.mesh.shape)
    for name, item in layout.fields().items():
        define(file, name, item, chunksizes=chunk, **_filters(layout))
    for name, item in layout.face_fixed().items():
        define(faces, name, item)
    for name, item in layout.face_fields().items():
        define(faces, name, item, chunksizes=(1, layout.mesh.faces), **_filters(layout))
    for name, item in layout.diagnostics().items():
        sizes = [layout.sizes[dimension] for dimension in item.dims[1:]]
        define(diagnostics, name, item, chunksizes=(_LEDGER_CHUNK, *sizes))
    return file


def _filters(layout: Layout) -> dict[str, Any]:
    return {"compression": "zlib", "complevel": layout.compression} if layout.compression else {}


def _record_ledger(file: Any, layout: Layout, entries: Sequence[Mapping[str, Any]]) -> None:
    """Times and ledgers of the frames of a part."""
    for name in layout.diagnostics():
        file["diagnostics"][name][: len(entries)] = np.array([entry[name] for entry in entries])
    file["time"][: len(entries)] = [entry["time"] for entry in entries]


def _copy_frames(part: Path, target: Any, layout: Layout) -> None:
    """Append the frames of a part to an open file, in blocks of a few megabytes."""
    import netCDF4

    with netCDF4.Dataset(part) as source:
        source.set_auto_mask(False)
        count, start = len(source.dimensions["time"]), len(target.dimensions["time"])
        block = max(1, _COPY_BYTES // layout.frame_bytes)
        for name in (*layout.fields(), *(f"faces/{name}" for name in layout.face_fields())):
            for first in range(0, count, block):
                last = min(first + block, count)
                target[name][start + first : start + last] = source[name][first:last]
        for name in layout.diagnostics():
            target["diagnostics"][name][start : start + count] = source["diagnostics"][name][:]
        target["time"][start : start + count] = source["time"][:]


def save_mesh(mesh: Mesh, path: str | os.PathLike[str]) -> None:
    """Write a mesh to a netCDF file that `mesh: {kind: ugrid}` reads, as a result without times; raises OutputError."""
    path = Path(path)
    _require_name(path)
    temporary = path.with_suffix(".nc.tmp")
    with _reported(path):
        with _created(temporary, Layout(mesh, {}), {"title": "a mesh"}) as file:
            add_regions(file, mesh)
        _flushed_rename(temporary, path)
