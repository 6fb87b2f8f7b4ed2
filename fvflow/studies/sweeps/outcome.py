"""What has become of one case of a sweep: numbers and arrays, or why there are none; and the same as bytes."""

from __future__ import annotations

import json
import math
import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from fvflow.mesh import Array

Role = Literal["series", "frame", "mesh"]
_HEAD = struct.Struct("<8sQQI")  # mark, bytes of the description, bytes of the values, checksum of both
_MARK = b"fvsweep1"


@dataclass(frozen=True)
class Entry:
    """An array of an outcome: a diagnostic over time, a field over time, or what describes the mesh."""

    role: Role
    dims: tuple[str, ...]
    attributes: Mapping[str, Any]
    values: Any
    """An array of the shape of `dims`, in memory or mapped from a file."""


@dataclass(frozen=True)
class Outcome:
    """The result of a case, by its key."""

    key: str
    exit_code: int = 0
    """That of `fvflow run` on the case."""
    error: str = ""
    """The message of a case that failed, or the checks that it missed."""
    remarks: str = ""
    """What lowered the order, the resolution or the meaning of the result."""
    final: bool = True
    """Whether another run of the case would end in the same way: not so where its worker was killed."""
    elsewhere: bool = False
    """Whether its worker has written it to a file of its own, and this only says so."""
    figures: Mapping[str, float] = field(default_factory=dict)
    entries: Mapping[str, Entry] = field(default_factory=dict)

    @property
    def status(self) -> str:
        """ok, missed (a check) or failed."""
        return {0: "ok", 6: "missed"}.get(self.exit_code, "failed")


def encoded(outcome: Outcome) -> bytes:
    """An outcome as bytes, from which `decoded` makes the same again: to the last bit, whoever computed it."""
    described, arrays = [], []
    for name, entry in outcome.entries.items():
        values = np.asarray(entry.values, order="C")  # ascontiguousarray gives a number a dimension
        values = values.astype(values.dtype.newbyteorder("<"), copy=False)
        attributes = {key: _plain(value) for key, value in entry.attributes.items()}
        described.append([name, entry.role, entry.dims, attributes, values.dtype.str, values.shape])
        arrays.append(values.tobytes())
    head = {
        "key": outcome.key,
        "exit_code": outcome.exit_code,
        "error": outcome.error,
        "remarks": outcome.remarks,
        "final": outcome.final,
        "elsewhere": outcome.elsewhere,
        "figures": {name: _number(value) for name, value in outcome.figures.items()},
        "entries": described,
    }
    description, data = json.dumps(head).encode(), b"".join(arrays)
    checksum = zlib.crc32(data, zlib.crc32(description))
    return _HEAD.pack(_MARK, len(description), len(data), checksum) + description + data


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else value


def _number(value: Any) -> float | str:
    """A figure for JSON, to the last bit: what is not finite as text."""
    number = float(value)
    return number if math.isfinite(number) else repr(number)


def split(blob: Any) -> list[tuple[int, int]]:
    """Where each outcome of a row of them begins and ends; raises ValueError if one is not whole."""
    places, start, view = [], 0, memoryview(blob)
    while start < len(view):
        if len(view) - start < _HEAD.size:
            raise ValueError("it is cut short")
        mark, described, size, checksum = _HEAD.unpack_from(view, start)
        end = start + _HEAD.size + described + size
        if mark != _MARK or end > len(view):
            raise ValueError("it is cut short or no outcome")
        if zlib.crc32(view[start + _HEAD.size : end]) != checksum:
            raise ValueError("its checksum is wrong")
        places.append((start, end))
        start = end
    return places


def decoded(blob: Any) -> Outcome:
    """The outcome in the bytes of one, which `split` has found whole; its arrays are views of them."""
    view = memoryview(blob)
    _, described, _, _ = _HEAD.unpack_from(view)
    place = _HEAD.size + described
    head = json.loads(bytes(view[_HEAD.size : place]))
    entries = {}
    for name, role, dims, attributes, dtype, shape in head.pop("entries"):
        values, place = _array(view, place, np.dtype(dtype), shape)
        entries[name] = Entry(role, tuple(dims), attributes, values)
    figures = {name: float(value) for name, value in head.pop("figures").items()}
    return Outcome(**head, figures=figures, entries=entries)


def _array(view: memoryview, place: int, dtype: np.dtype[Any], shape: Sequence[int]) -> tuple[Array, int]:
    """The array at a place of the bytes, of the shape given, and the place after it."""
    count = math.prod(shape)
    end = place + count * dtype.itemsize
    return np.frombuffer(view[place:end], dtype, count).reshape(shape), end
