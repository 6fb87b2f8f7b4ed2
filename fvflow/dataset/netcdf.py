"""netCDF files: defining variables, appending frames, and giving a finished file its name."""

from __future__ import annotations

import contextlib
import math
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fvflow import system
from fvflow.dataset.frame_log import let_go, whole
from fvflow.dataset.groups import mesh_groups
from fvflow.dataset.layout import Layout, header
from fvflow.dataset.variable import Group, NetCDFVariable
from fvflow.errors import OutputError
from fvflow.mesh import Mesh
from fvflow.parallel import Pieced

_COPY_BYTES = 2**23  # of fields in memory while frames are copied
_CHUNK_BYTES = 2**20  # at most in a chunk: larger ones leave the processor's cache, and take twice the time
_FEW = 16  # rows of a chunk of which none may be beyond the end of an array
_SERIES_CHUNK = 128  # frames in a chunk of times and diagnostics


@contextlib.contextmanager
def output_errors(path: Path) -> Iterator[None]:
    """Errors of the file system and of HDF5 as OutputError."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        reason, place = getattr(error, "strerror", None) or str(error), getattr(error, "filename", None)
        if place is not None and os.fspath(place) != str(path):
            reason += f": {os.fspath(place)}"
        raise OutputError(f"{path}: cannot be written ({reason}); is there room, and may you write there?") from error


def created(path: Path, layout: Layout, attributes: Mapping[str, Any]) -> Any:
    """A new netCDF file with all variables of the layout defined and those without time filled."""
    import netCDF4

    file = netCDF4.Dataset(path, "w", format="NETCDF4")
    file.setncatts(attributes)
    file.createDimension("time", None)
    for name, group in layout.groups.items():
        define(file, name, group, layout)
    return file


def define(file: Any, name: str, group: Group, layout: Layout | None = None) -> None:
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
    """Create a variable, with a checksum in every chunk, so that damaged values are not read."""
    fill, checksums = False if variable.fill is None else variable.fill, bool(variable.dims)
    item = np.dtype(variable.dtype).itemsize  # 0 for texts
    if checksums and variable.values is not None and item:
        sizes = [_size(group, dimension) for dimension in variable.dims]
        if isinstance(variable.values, Pieced) and variable.values.piece:
            sizes[0] = min(variable.values.piece, sizes[0])
        storage = {"chunksizes": chunk_shape(sizes, item)}
    created = group.createVariable(
        name, variable.dtype, variable.dims, fill_value=fill, fletcher32=checksums, **storage
    )
    created.setncatts(variable.attributes)
    if checksums:
        created.set_var_chunk_cache(_CHUNK_BYTES)  # 64 MiB by default, and each chunk is written once
    if isinstance(variable.values, Pieced):
        first = 0
        for piece in variable.values.fetch():
            created[first : first + len(piece)] = piece
            first += len(piece)
    elif variable.values is not None:
        created[:] = variable.values


def _size(group: Any, dimension: str) -> int:
    """The length of a dimension of a group, or of one that it is in."""
    while dimension not in group.dimensions:
        group = group.parent
    return len(group.dimensions[dimension])


def chunk_shape(shape: Sequence[int], item: int) -> tuple[int, ...]:
    """The shape of the chunks of an array with items of so many bytes: nearly equal parts of at most 1 MiB.

    >>> chunk_shape((1, 1024, 1024), 8), chunk_shape((3, 256, 256), 8), chunk_shape((87381, 3), 8)
    ((1, 128, 1024), (1, 256, 256), (29127, 3))
    """
    chunk = [max(length, 1) for length in shape]
    for axis, length in enumerate(chunk):
        if math.prod(chunk) * item <= _CHUNK_BYTES:
            break
        most = max(_CHUNK_BYTES // (math.prod(chunk[axis + 1 :]) * item), 1)
        size = -(-length // -(-length // most))
        few = range(1, size + 1) if size <= _FEW else (size,)
        chunk[axis] = min(few, key=lambda rows: (-(-length // rows) * rows, -rows))  # the least beyond the end
    return tuple(chunk)


def _storage(path: str, layout: Layout) -> dict[str, Any]:
    """Chunks and compression of a variable over time: those of a field hold one frame, or a part of one."""
    shape = layout.frame_shapes[path]
    if is_series(path):
        return {"chunksizes": (_SERIES_CHUNK, *shape)}
    filters = {"compression": "zlib", "complevel": layout.compression} if layout.compression else {}
    return {"chunksizes": (1, *chunk_shape(shape, np.dtype(layout.record[path][0]).itemsize)), **filters}


def append_frames(target: Any, layout: Layout, records: Any) -> None:
    """Append the records of a log to an open file, in blocks of a few megabytes; raises OutputError if one is damaged.

    Its variables are those of the layout.
    """
    start = len(target.dimensions["time"])
    block = max(1, _COPY_BYTES // records.dtype.itemsize)
    for first in range(0, len(records), block):
        part = records[first : first + block]
        if not whole(part):
            raise OutputError(f"a frame between {first} and {first + len(part)} is damaged: its checksum is wrong")
        for path in layout.frame_shapes:
            target[path][start + first : start + first + len(part)] = part[path]
        let_go(records)


@contextlib.contextmanager
def flushing(path: Path) -> Iterator[None]:
    """Send what a file gets to the disk meanwhile, so that little is left to wait for; raises OSError where that fails.

    A file that is complete within a twentieth of a second is left alone.
    """
    complete, errors = threading.Event(), list[OSError]()

    def flush() -> None:
        try:
            with open(path, "rb") as file:
                while not complete.wait(0.05):
                    os.fsync(file.fileno())
        except OSError as error:
            errors.append(error)

    thread = threading.Thread(target=flush, daemon=True)
    try:
        thread.start()
        yield
    finally:
        complete.set()
        if thread.ident is not None:
            thread.join()
    for error in errors:
        raise error


def flushed_rename(source: Path, target: Path) -> None:
    """Rename after the contents, and before the directory entry, have reached the disk."""
    with open(source, "rb") as file:
        os.fsync(file.fileno())
    os.replace(source, target)
    system.sync_directory(target.parent)


def is_series(path: str) -> bool:
    """Whether a variable over time holds only a few numbers per frame."""
    return path == "time" or path.startswith("diagnostics/")


def require_name(path: Path, endings: Sequence[str] = (".nc",), noun: str = "a result") -> None:
    """Refuse names that no result can have, or no other file of these endings: OutputError."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise OutputError(f"{path!r}: the name of {noun} has to be valid UTF-8") from None
    if path.suffix not in endings:
        raise OutputError(f"{path}: the name of {noun} ends in {' or '.join(endings)}")
    if path.is_dir():
        raise OutputError(f"{path}: is a directory; give the name of a file")
    if not path.parent.is_dir():
        raise OutputError(f"{path}: there is no directory {path.parent}; make it first")


def save_mesh(mesh: Mesh, path: str | os.PathLike[str]) -> None:
    """Write a mesh to a netCDF file that `mesh: {kind: ugrid}` reads, as a result without times; raises OutputError."""
    path = Path(path)
    require_name(path)
    temporary = path.with_suffix(".nc.tmp")
    with output_errors(path):
        with created(temporary, Layout(mesh, {}), header({"title": "a mesh"})) as file:
            for name, group in mesh_groups(mesh).items():
                define(file, name, group)
        flushed_rename(temporary, path)
