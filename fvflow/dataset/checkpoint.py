"""Checkpoints: trees of numbers, texts and arrays in two files that take turns, each with checksums.

A file is a zip archive of numpy arrays, whose members have checksums, beside one member of JSON for all that is no
array. A result keeps the same as a group of variables. Arrays are written without a copy, and nothing is executed when
they are read.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from fvflow import system
from fvflow.dataset.variable import Group, NetCDFVariable
from fvflow.errors import OutputError

Tree = Any
"""None, a number, a text, an array, a list of trees, or a mapping of texts to trees."""

FORMAT = 1
_NAMES = ("checkpoint-0.npz", "checkpoint-1.npz")
_TREE, _ARRAY, _SEQUENCE = "tree", "$array", "sequence"
_CHUNK = 2**22  # bytes written at once
_DAMAGE = (
    *(OSError, EOFError, zipfile.BadZipFile, zlib.error, MemoryError),
    *(ValueError, TypeError, AttributeError, LookupError, ArithmeticError, RuntimeError),
)


class Checkpoints:
    """The checkpoints in a folder; each is written in place of the older one."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._sequence = folder, 0

    def write(self, tree: Mapping[str, Tree]) -> None:
        """Write one more, so that it is there whole or not at all; raises OSError."""
        if self._sequence == 0:
            self._sequence = max((_sequence(file) or 0 for file in self.files if file.exists()), default=0)
        self._sequence += 1
        target = self.files[self._sequence % 2]
        temporary = target.with_suffix(".tmp")
        try:
            with open(temporary, "wb") as file:
                _dump({**tree, _SEQUENCE: self._sequence}, file)
                file.flush()
                os.fsync(file.fileno())
        except OSError:  # the room is needed for the frames
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise
        os.replace(temporary, target)
        system.sync_directory(self._folder)

    @property
    def files(self) -> tuple[Path, Path]:
        """Where they are."""
        first, second = (self._folder / name for name in _NAMES)
        return first, second

    @property
    def exist(self) -> bool:
        """Whether there is one, damaged or not."""
        return any(file.exists() for file in self.files)

    def latest(self) -> tuple[dict[str, Tree], str]:
        """The last one that is whole, and a sentence if the one after it is damaged. Raises OutputError."""
        present = [file for file in self.files if file.exists()]
        if not present:
            raise OutputError(f"{self._folder}: holds no checkpoint to go on from; run the case again")
        numbers = {file: _sequence(file) for file in present}
        damaged = list[str]()
        for file in sorted(present, key=lambda file: numbers[file] or math.inf, reverse=True):
            try:
                with open(file, "rb") as opened:
                    tree = _load(opened)
                del tree[_SEQUENCE]
            except _DAMAGE:
                damaged.append(file.name)
                continue
            return tree, f"{damaged[0]} is damaged; going on from the checkpoint before it" if damaged else ""
        raise OutputError(
            f"{self._folder}: {' and '.join(sorted(damaged))} cannot be read; the frames can (fvflow info "
            f"{self._folder}), but to compute on, run the case again with --discard"
        )


def _sequence(file: Path) -> int | None:
    """The number of a checkpoint, found without its arrays; None if it is damaged."""
    try:
        with open(file, "rb") as opened, np.load(opened, allow_pickle=False) as members:
            return int(json.loads(members[_TREE].tobytes())[_SEQUENCE])
    except _DAMAGE:
        return None


class _Stored(NamedTuple):
    """How an array is stored in a group."""

    variable: str
    dtype: str
    shape: list[int]
    checksum: int


def to_group(tree: Mapping[str, Tree], attributes: Mapping[str, Any]) -> Group:
    """A tree as a group of a result: JSON, and the bytes of each array with its checksum."""
    arrays: dict[str, Any] = {}
    named = _without_arrays(tree, arrays)
    stored = {
        name: _Stored(name, array.dtype.str, list(array.shape), zlib.crc32(_bytes_of(array)))
        for name, array in arrays.items()
    }
    text = np.frombuffer(json.dumps([named, stored]).encode(), np.int8)
    values = {_TREE: text} | {name: _bytes_of(array) for name, array in arrays.items() if array.size}
    meaning = {"long_name": "state and statistics at the end, for fvflow resume: JSON, and bytes of arrays"}
    return Group(
        {
            name: NetCDFVariable((f"{name}_bytes",), meaning if name == _TREE else {}, data.view(np.int8), dtype="i1")
            for name, data in values.items()
        },
        {f"{name}_bytes": len(data) for name, data in values.items()},
        {**attributes, "crc32": np.int64(zlib.crc32(text.data))},
    )


def from_group(group: Any) -> dict[str, Tree]:
    """The tree in an open group of a result; raises ValueError if it is damaged."""
    try:
        text = _content(group, _TREE, int(group.crc32))
        named, stored = json.loads(text.tobytes())
        arrays = {
            name: _content(group, name, checksum, np.dtype(dtype).itemsize * math.prod(shape))
            .view(dtype)
            .reshape(shape)
            for name, dtype, shape, checksum in (_Stored(*each) for each in stored.values())
        }
        return _mapping(_with_arrays(named, arrays))
    except _DAMAGE as error:
        raise ValueError(str(error)) from None


def _content(group: Any, name: str, checksum: int, size: int | None = None) -> Any:
    """The bytes of a variable; none if the size is 0, for which netCDF has no dimension."""
    data = np.empty(0, np.int8) if size == 0 else np.asarray(group[name][:])
    if zlib.crc32(data.data) != checksum:
        raise ValueError(f"the checksum of {name} is wrong")
    return data


def _dump(tree: Tree, file: IO[bytes]) -> None:
    arrays: dict[str, Any] = {}
    text = json.dumps(_without_arrays(tree, arrays))
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in {_TREE: np.frombuffer(text.encode(), np.uint8), **arrays}.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                header = {"descr": array.dtype.str, "fortran_order": False, "shape": array.shape}
                np.lib.format.write_array_header_1_0(member, header)
                data = memoryview(_bytes_of(array))
                for start in range(0, len(data), _CHUNK):
                    member.write(data[start : start + _CHUNK])


def _bytes_of(array: Any) -> Any:
    """The bytes of an array in C order, without a copy if that is how it is stored."""
    return np.asarray(array, order="C").reshape(-1).view(np.uint8)


def _without_arrays(tree: Tree, arrays: dict[str, Any]) -> Tree:
    """The tree with arrays replaced by the names under which they are collected."""
    if isinstance(tree, np.ndarray):
        name = f"a{len(arrays)}"
        arrays[name] = tree
        return {_ARRAY: name}
    if isinstance(tree, Mapping):
        return {str(name): _without_arrays(value, arrays) for name, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [_without_arrays(value, arrays) for value in tree]
    return tree.item() if isinstance(tree, np.generic) else tree


def _load(file: IO[bytes]) -> dict[str, Tree]:
    with np.load(file, allow_pickle=False) as members:
        text = json.loads(members[_TREE].tobytes())
        tree = _with_arrays(text, {name: members[name] for name in members.files if name != _TREE})
    return _mapping(tree)


def _mapping(tree: Tree) -> dict[str, Tree]:
    if not isinstance(tree, dict):
        raise ValueError("it is no mapping")
    return tree


def _with_arrays(tree: Tree, arrays: Mapping[str, Any]) -> Tree:
    if isinstance(tree, dict):
        if tree.keys() == {_ARRAY}:
            return arrays[tree[_ARRAY]]
        return {name: _with_arrays(value, arrays) for name, value in tree.items()}
    return [_with_arrays(value, arrays) for value in tree] if isinstance(tree, list) else tree
