"""The frames of a run under way: a file to which records of one length are only ever appended.

The first line names the variables; each record holds one frame and a checksum. Whatever stops the run, all records but
the one being written stay whole, which no netCDF file promises: HDF5 rewrites its index in place.
"""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fvflow.errors import OutputError
from fvflow.mesh import Array
from fvflow.parallel import pieces_of

_MAGIC = b"fvflow frames 1 "
_LONGEST_LINE = 2**20
_CHECKSUM, _RUN = "checksum", "run"
_DAMAGE = (ValueError, TypeError, AttributeError, LookupError, OverflowError, RecursionError)

Record = dict[str, tuple[str, tuple[int, ...]]]
"""What a frame consists of: data type and shape by path, as in `Layout.values`."""


class FrameLog:
    """Appends frames of a run to a file; `count` is the number of those in it. Methods raise OSError."""

    def __init__(self, path: Path, run: str, record: Record, count: int | None = None) -> None:
        """A new file, or with `count` the first frames of one that is there."""
        self._type, self.path = _record_type(record), path
        line = _MAGIC + json.dumps({_RUN: run, "record": record}).encode() + b"\n"
        self._start = len(line)
        self.count = count or 0
        self._file = open(path, "wb" if count is None else "r+b", buffering=0)  # noqa: SIM115 (closed by `close`)
        if count is None:
            self._write(line)
        self._file.truncate(self._end)
        self._file.seek(self._end)

    @property
    def _end(self) -> int:
        return self._start + self.count * self._type.itemsize

    def append(self, values: Mapping[str, Any]) -> None:
        """Append one frame; if there is no room for it, the file stays as it was."""
        checksum = 0
        try:
            for name in self._names:
                dtype = self._type[name].base
                for piece in pieces_of(values[name], dtype):
                    data = memoryview(piece.view(np.uint8).data)
                    checksum = zlib.crc32(data, checksum)
                    self._write(data)
            self._write(np.uint64(checksum).tobytes())
        except OSError:
            with contextlib.suppress(OSError):
                self._file.truncate(self._end)
                self._file.seek(self._end)
            raise
        self.count += 1

    @property
    def _names(self) -> tuple[str, ...]:
        return tuple(self._type.names or ())[:-1]

    def _write(self, data: bytes | memoryview) -> None:
        left = memoryview(data)
        while left:
            left = left[self._file.write(left) :]

    def sync(self) -> None:
        """Let all frames reach the disk."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read_log(path: Path) -> Any:
    """The frames in a file as a structured array (frame,) that is mapped, not loaded; one cut short is left out.

    Raises OutputError if the file is not a log, OSError.
    """
    head, size = _head(path)
    try:
        dtype = _record_type(head["record"])
    except _DAMAGE:
        raise _damaged(path) from None
    count = (path.stat().st_size - size) // dtype.itemsize
    if count == 0:
        return np.empty(0, dtype)
    records = np.memmap(path, dtype, "r", size, (count,))
    return records if whole(records[-1:]) else records[:-1]


def let_go(records: Any) -> None:
    """Take the pages of mapped frames out of the memory of this process; those that are used again come back."""
    while records is not None and not isinstance(records, mmap.mmap):
        records = getattr(records, "base", None)
    if records is not None and hasattr(mmap, "MADV_DONTNEED"):
        records.madvise(mmap.MADV_DONTNEED)


def run_of_log(path: Path) -> str:
    """The run that a log belongs to; raises OutputError if the file is not a log, OSError."""
    return str(_head(path)[0].get(_RUN))


def _head(path: Path) -> tuple[dict[str, Any], int]:
    """What the first line says, and its length."""
    with open(path, "rb") as file:
        line = file.readline(_LONGEST_LINE)
    try:
        if not (line.startswith(_MAGIC) and line.endswith(b"\n")):
            raise ValueError
        head = json.loads(line[len(_MAGIC) :])
        return dict(head), len(line)
    except _DAMAGE:
        raise _damaged(path) from None


def _damaged(path: Path) -> OutputError:
    return OutputError(f"{path}: is damaged: its first line names no variables; run the case again, with --discard")


def whole(records: Any) -> bool:
    """Whether the checksums of all these records are right."""
    rows = records.view(np.uint8).reshape(len(records), records.dtype.itemsize)
    content = rows[:, : -records.dtype[_CHECKSUM].itemsize]
    return all(zlib.crc32(row) == checksum for row, checksum in zip(content, records[_CHECKSUM], strict=True))


def whole_frames(records: Any) -> int:
    """How many frames there are before the first with a wrong checksum."""
    return next((index for index in range(len(records)) if not whole(records[index : index + 1])), len(records))


def record_of(records: Any) -> Record:
    """What the frames of a log consist of."""
    return {name: (records.dtype[name].base.str, records.dtype[name].shape) for name in records.dtype.names[:-1]}


def converted(source: Mapping[str, Any], index: int, record: Record) -> dict[str, Array]:
    """Frame `index` of arrays over time in the shapes of another record: (cell,), (face,), ...; nan if missing."""
    return {
        name: np.asarray(source[name][index], dtype) if name in source else np.full(shape, np.nan, dtype)
        for name, (dtype, shape) in record.items()
    }


def _record_type(record: Mapping[str, Any]) -> np.dtype[Any]:
    fields = [(name, np.dtype(dtype).newbyteorder("<"), tuple(shape)) for name, (dtype, shape) in record.items()]
    return np.dtype([*fields, (_CHECKSUM, "<u8")])
