"""The directory NAME.parts of a sweep under way: the outcomes so far, which survive whatever stops it."""

from __future__ import annotations

import contextlib
import json
import mmap
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fvflow.dataset import Lock, parts_of
from fvflow.dataset.lock import locked
from fvflow.dataset.netcdf import output_errors
from fvflow.errors import OutputError
from fvflow.studies.sweeps.outcome import Outcome, decoded, split
from fvflow.studies.sweeps.part_files import ENDING, IDENTITY, written_whole

EVERY = 2.0
"""Seconds after which what has arrived is on the disk."""
_LARGE_MARK = 1000  # bytes of the file that says of which sweep a directory is, at least as large as a message repeats


@dataclass
class Store:
    """The outcomes of a sweep by key, on the disk at most two seconds after they came; a context that holds the lock.

    Raises OutputError, also if the directory holds outcomes of which none is of this sweep.
    """

    path: Path
    """NAME.nc, the result to be."""
    mark: str
    """What tells the sweep, as the text of a file."""
    keys: Collection[str]
    """The keys of its cases."""
    tell: Callable[[str], None]
    discard: bool = False
    clock: Callable[[], float] = time.monotonic
    _places: dict[str, tuple[Path | None, int, int]] = field(default_factory=dict, init=False)
    _pending: dict[str, bytes] = field(default_factory=dict, init=False)
    _maps: dict[Path, Any] = field(default_factory=dict, init=False)
    _number: int = field(default=0, init=False)
    _due: float = field(default=0.0, init=False)
    _lock: Lock | None = field(default=None, init=False)

    @property
    def folder(self) -> Path:
        """The directory."""
        return parts_of(self.path)

    def __enter__(self) -> Store:
        with output_errors(self.path):
            self._lock = locked(self.folder)
            try:
                self._adopt()
                written_whole(self.folder / IDENTITY, self.mark.encode())
            except BaseException:
                self._release()
                raise
        self._due = self.clock() + EVERY
        return self

    def __exit__(self, *error: object) -> None:
        try:
            if self._lock is not None:
                self.flush()
        finally:
            self._release()

    def __contains__(self, key: str) -> bool:
        return key in self._places

    def __len__(self) -> int:
        return len(self._places)

    def add(self, blob: bytes) -> Outcome:
        """Keep an outcome, which is on the disk within two seconds if `tick` is called meanwhile."""
        outcome = decoded(blob)
        if outcome.elsewhere:
            self._read(self.folder / f"{outcome.key}{ENDING}")
            return self[outcome.key]
        self._pending[outcome.key] = blob
        self._places[outcome.key] = (None, 0, 0)
        self.tick()
        return outcome

    def tick(self) -> None:
        """Write what has arrived, if the last time is long enough ago."""
        if self.clock() >= self._due:
            self.flush()

    def flush(self) -> None:
        """Write what has arrived."""
        self._due = self.clock() + EVERY
        if not self._pending:
            return
        pending = dict(self._pending)
        while (path := self.folder / f"{self._number:06d}{ENDING}").exists():
            self._number += 1
        with output_errors(self.path):
            written_whole(path, b"".join(pending.values()))
            self._read(path)
        for key in pending:
            del self._pending[key]

    def __getitem__(self, key: str) -> Outcome:
        """The outcome of a case; its arrays are mapped from the file."""
        path, start, end = self._places[key]
        if path is None:
            return decoded(self._pending[key])
        return decoded(self._view(path)[start:end])

    def _view(self, path: Path) -> memoryview:
        if path not in self._maps:
            with open(path, "rb") as file:
                self._maps[path] = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        return memoryview(self._maps[path])

    def _adopt(self) -> None:
        """Take over the outcomes that a sweep cut short has left."""
        if (self.folder / "frames.log").exists():
            raise OutputError(f"{self.folder}: holds the frames of an unfinished run; name another result by -o")
        told = described(self.folder)
        for file in sorted(self.folder.glob(f"*{ENDING}")):
            if self.discard:
                file.unlink()
                continue
            try:
                self._read(file)
            except ValueError as error:
                self.tell(f"{file}: is damaged ({error}); its cases are run again")
                file.unlink()
        for file in self.folder.glob("*.tmp"):
            file.unlink()
        known, there = set(self.keys), set(self._places)
        if there and not there & known:
            raise OutputError(
                f"{self.folder}: holds {len(there)} finished cases of another sweep{told}, and none of this one; name "
                "another result by -o, or remove them by --discard"
            )
        if others := len(there - known):
            self.tell(f"{self.folder}: {others} of its finished cases are not of this sweep and left out")
        for key in there - known:
            del self._places[key]
        for key in [key for key in self._places if not self[key].final]:
            del self._places[key]  # another try may succeed

    def _read(self, path: Path) -> None:
        if path.stat().st_size == 0:
            raise ValueError("it is empty")
        view = self._view(path)
        for start, end in split(view):
            self._places[decoded(view[start:end]).key] = (path, start, end)

    def clear(self) -> None:
        """Remove the directory once its outcomes are in the result."""
        self._close()
        for file in [*self.folder.glob(f"*{ENDING}"), self.folder / IDENTITY]:
            file.unlink(missing_ok=True)
        self._release()

    def _close(self) -> None:
        for opened in self._maps.values():
            with contextlib.suppress(BufferError):  # an array of it is still in use
                opened.close()
        self._maps.clear()

    def _release(self) -> None:
        self._close()
        lock, self._lock = self._lock, None
        if lock is None:
            return
        if not self._places and not list(self.folder.glob(f"*{ENDING}")):
            (self.folder / IDENTITY).unlink(missing_ok=True)
        lock.release()
        with contextlib.suppress(OSError):
            self.folder.rmdir()  # unless something is left in it


def described(folder: Path) -> str:
    """Of which sweep a directory is, as a phrase in brackets; empty if that is not known."""
    try:
        with open(folder / IDENTITY, encoding="utf-8") as file:
            told = json.loads(file.read(_LARGE_MARK * 100))
        return f" ({told['name']}: {told['axes']})"
    except (OSError, ValueError, LookupError, TypeError):
        return ""


def finished(folder: Path) -> Iterator[Outcome]:
    """The outcomes in the directory of a sweep under way or cut short; damaged files are left out."""
    for file in sorted(folder.glob(f"*{ENDING}")):
        with contextlib.suppress(ValueError, OSError):
            content = file.read_bytes()
            for start, end in split(content):
                yield decoded(memoryview(content)[start:end])
