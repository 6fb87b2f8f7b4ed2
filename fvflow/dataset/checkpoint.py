"""Checkpoints: trees of numbers, texts and arrays in two files that take turns, each with checksums.

A file is a zip archive of numpy arrays, whose members have checksums, beside one member of JSON for all that is no
array. Nothing in it is executed when it is read.
"""

from __future__ import annotations

import io
import json
import os
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from fvflow import system
from fvflow.errors import OutputError

Tree = Any
"""None, a number, a text, an array, a list of trees, or a mapping of texts to trees."""

FORMAT = 1
_NAMES = ("checkpoint-0.npz", "checkpoint-1.npz")
_TREE, _ARRAY, _SEQUENCE = "tree", "$array", "sequence"
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
            self._sequence = max((found[0] for found in map(_numbered, self.files) if found), default=0)
        self._sequence += 1
        target = self.files[self._sequence % 2]
        temporary = target.with_suffix(".tmp")
        with open(temporary, "wb") as file:
            _dump({**tree, _SEQUENCE: self._sequence}, file)
            file.flush()
            os.fsync(file.fileno())
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
        """The last one that is whole, and a sentence on the other one if that is damaged. Raises OutputError."""
        present = [file for file in self.files if file.exists()]
        if not present:
            raise OutputError(f"{self._folder}: holds no checkpoint to go on from; run the case again")
        found = {file: _numbered(file) for file in present}
        damaged = [file.name for file in present if found[file] is None]
        sound = [value for value in found.values() if value is not None]
        if not sound:
            raise OutputError(
                f"{self._folder}: {' and '.join(damaged)} cannot be read; the frames can (fvflow info {self._folder}), "
                "but to compute on, run the case again with --discard"
            )
        sentence = f"{damaged[0]} is damaged; going on from the checkpoint before it" if damaged else ""
        return max(sound, key=lambda value: value[0])[1], sentence


def to_bytes(tree: Mapping[str, Tree]) -> bytes:
    """A tree as the contents of a checkpoint file."""
    file = io.BytesIO()
    _dump(tree, file)
    return file.getvalue()


def from_bytes(data: bytes) -> dict[str, Tree]:
    """The tree in the contents of a checkpoint file; raises ValueError if they are damaged."""
    try:
        return _load(io.BytesIO(data))
    except _DAMAGE as error:
        raise ValueError(str(error)) from None


def _numbered(file: Path) -> tuple[int, dict[str, Tree]] | None:
    """The number of a checkpoint and its tree; None if it is damaged."""
    try:
        with open(file, "rb") as opened:
            tree = _load(opened)
        return int(tree.pop(_SEQUENCE)), tree
    except _DAMAGE:
        return None


def _dump(tree: Tree, file: IO[bytes]) -> None:
    arrays: dict[str, Any] = {}
    text = json.dumps(_without_arrays(tree, arrays))
    arrays[_TREE] = np.frombuffer(text.encode(), np.uint8)
    np.savez(file, **arrays)


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
    if not isinstance(tree, dict):
        raise ValueError("it is no mapping")
    return tree


def _with_arrays(tree: Tree, arrays: Mapping[str, Any]) -> Tree:
    if isinstance(tree, dict):
        if tree.keys() == {_ARRAY}:
            return arrays[tree[_ARRAY]]
        return {name: _with_arrays(value, arrays) for name, value in tree.items()}
    return [_with_arrays(value, arrays) for value in tree] if isinstance(tree, list) else tree
