"""Blocks of samples on disk while a data set is made, so that any stop loses at most the block under way."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fvflow.dataset.lock import locked
from fvflow.dataset.netcdf import output_errors
from fvflow.errors import OutputError
from fvflow.mesh import Array
from fvflow.system import sync_directory

_IDENTITY = "family.json"


@dataclass(frozen=True)
class Block:
    """Some samples in a row: fields (sample, time, x[, y[, z]]), numbers and texts (sample,)."""

    start: int
    values: Any
    numbers: Mapping[str, Array]
    texts: Mapping[str, Sequence[str]]


class SampleStore:
    """The directory of a data set under way; raises OutputError if it is in use, or is that of another family.

    A block is an array and a text, each written under another name, flushed to the disk and renamed, the text last.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any], size: int, *, discard: bool) -> None:
        self.folder, self.size = folder, size
        with output_errors(folder):
            self._lock = locked(folder)
        try:
            with output_errors(folder):
                self._begin(json.dumps(identity, sort_keys=True), discard)
        except BaseException:
            self._lock.release()
            raise

    def _begin(self, identity: str, discard: bool) -> None:
        place = self.folder / _IDENTITY
        if place.exists() and place.read_text(encoding="utf-8") != identity:
            if not discard:
                raise OutputError(
                    f"{self.folder}: holds samples of another family, seed or version; --discard removes them, or use "
                    "another name"
                )
            for file in self.folder.glob("block-*"):
                file.unlink()
        self._write(place, lambda file: file.write(identity.encode()))

    def path(self, start: int, ending: str) -> Path:
        """The file of the block from a sample on."""
        return self.folder / f"block-{start:09d}.{ending}"

    def has(self, start: int, count: int) -> bool:
        """Whether the block of so many samples is there."""
        if not self.path(start, "json").exists():
            return False
        with output_errors(self.folder):
            told = json.loads(self.path(start, "json").read_text(encoding="utf-8"))
            data = self.path(start, "npy")
            return bool(told["count"] == count and data.exists() and os.path.getsize(data) == told["bytes"])

    def put(self, block: Block) -> None:
        """Write a block; raises OutputError."""
        data = self.path(block.start, "npy")
        with output_errors(self.folder):
            self._write(data, lambda file: np.save(file, block.values))
            told = {
                "count": len(block.values),
                "bytes": os.path.getsize(data),
                "numbers": {name: [float(value).hex() for value in values] for name, values in block.numbers.items()},
                "texts": {name: list(values) for name, values in block.texts.items()},
            }
            self._write(self.path(block.start, "json"), lambda file: file.write(json.dumps(told).encode()))

    def get(self, start: int) -> Block:
        """A block that is there; its values are mapped into memory."""
        with output_errors(self.folder):
            told = json.loads(self.path(start, "json").read_text(encoding="utf-8"))
            values = np.load(self.path(start, "npy"), mmap_mode="r")
        numbers = {name: np.array([float.fromhex(text) for text in texts]) for name, texts in told["numbers"].items()}
        return Block(start, values, numbers, told["texts"])

    def blocks(self, count: int) -> Iterator[Block]:
        """All blocks of so many samples."""
        yield from (self.get(start) for start in range(0, count, self.size))

    def _write(self, path: Path, write: Any) -> None:
        temporary = path.with_name(f"{path.name}.tmp")
        with open(temporary, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)

    def remove(self) -> None:
        """Remove the directory."""
        with output_errors(self.folder):
            shutil.rmtree(self.folder)
            sync_directory(self.folder.parent)

    def release(self) -> None:
        """Let others use the directory."""
        self._lock.release()
