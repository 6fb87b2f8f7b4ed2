"""Writing a result so that whatever stops the run, no frame is lost and no half-written file appears."""

from __future__ import annotations

import contextlib
import shutil
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from fvflow import system
from fvflow.dataset.assembly import Assembly
from fvflow.dataset.checkpoint import Checkpoints, Tree, to_group
from fvflow.dataset.frame_log import FrameLog, converted, read_log, record_of, run_of_log, whole, whole_frames
from fvflow.dataset.groups import mesh_groups, paraview_group
from fvflow.dataset.layout import Layout, header
from fvflow.dataset.lock import Lock, locked
from fvflow.dataset.netcdf import append_frames, created, define, flushed_rename, flushing, output_errors, require_name
from fvflow.dataset.replacing import (
    CHECKPOINT,
    FRAMES,
    HEADER,
    holds_only_the_start,
    leftovers,
    opened,
    parts_of,
    replaced,
    require_files,
    run_of_result,
)
from fvflow.dataset.variable import Group
from fvflow.errors import OutputError
from fvflow.mesh import Array

_SYNC_SECONDS = 2.0  # frames older than that are on the disk
_RESERVE = 2**20  # bytes that must stay free beyond the next frame
_WHOLE = "whole.tmp"


class Writer(Assembly[None]):
    """Appends frames to a log and, at the end, replaces NAME.nc in one atomic step.

    Whatever stops the run, the frames in NAME.parts stay readable (`fvflow.read`, `fvflow info`), but for the one that
    was being written, and `checkpoint` keeps what is needed to go on. They reach the disk when they are two seconds
    old: call `tick` after every step. `tell` is given a sentence for an old result that it takes the place of, and for
    old frames if those are to be discarded. With `resumed` it goes on after so many frames of `run`, in NAME.parts or
    NAME.nc, under the `lock` of those who read its checkpoint. Raises OutputError, also if NAME.nc is there and no
    result of a run, and if frames of another run are.
    """

    def __init__(
        self,
        path: Path,
        layout: Layout,
        attributes: Mapping[str, Any],
        tell: Callable[[str], None] = lambda sentence: None,
        *,
        discard: bool = False,
        resumed: int | None = None,
        run: str = "",
        lock: Lock | None = None,
    ) -> None:
        super().__init__(layout, {"history": f"{_now()} fvflow run", **attributes})
        self.history: str = self._attributes["history"]
        self.run = run or uuid.uuid4().hex
        self.path, self._tell, self._discard, self._resumed = path, tell, discard, resumed
        self._folder: Path
        self._checkpoints: Checkpoints
        self._log: FrameLog
        self._lock = lock
        self._replaces = False  # whether NAME.nc is the result of another run
        self._synced = self._appended = time.monotonic()
        self._goes_on = ""  # where, with the last checkpoint
        self._tree: Tree = None  # what the result keeps to go on from
        self._about_to_replace: Callable[[], None] = lambda: None
        self._begun = self._done = False

    def __enter__(self) -> Writer:
        system.require_file_locks()
        with output_errors(self.path):
            require_name(self.path)
            self._folder = parts_of(self.path)
            self._checkpoints = Checkpoints(self._folder)
            sentence = replaced(self.path)  # refuses other files before there is a directory to clean up
            self._lock = self._lock or locked(self._folder)
            try:
                require_files(self._folder)
                self._replaces = bool(sentence) and run_of_result(self.path) != self.run
                if self._resumed is None:
                    self._clear(sentence)
                self._begin()
            except BaseException:
                self._release()
                raise
        return self

    def _clear(self, sentence: str) -> None:
        """Make room for a new run."""
        left = leftovers(self._folder)
        if left and not (self._discard or holds_only_the_start(self._folder)):
            verb, way = ("resume", "go on with it") if self._checkpoints.exist else ("info", "look at them")
            raise OutputError(
                f"{left}: {way} (fvflow {verb} {self._folder}), name another result by -o, or remove what is there by "
                "--discard"
            )
        if sentence:
            self._tell(f"replaces {sentence}")
        if left:
            self._tell(f"removes {left}")
        _remove_parts(self._folder)

    def _begin(self) -> None:
        """The header and the log, which takes over the frames of the run that goes on."""
        record = self.layout.record
        stored = self._frames_to_go_on_from()  # refuses what it cannot go on from before anything is written
        with created(temporary := self._folder / "header.tmp", self.layout, header(self._attributes)):
            pass
        flushed_rename(temporary, self._folder / HEADER)
        if self._resumed is None:
            self._begun = True
            self._log = FrameLog(self._folder / FRAMES, self.run, record)
            return
        if stored is not None and record_of(stored) == record:
            self.times += [float(value) for value in stored["time"][: self._resumed]]
            self._log = FrameLog(self._folder / FRAMES, self.run, record, self._resumed)
            return
        self._log = FrameLog(self._folder / "frames.tmp", self.run, record)
        if stored is not None:
            self._adopt({name: stored[name] for name in stored.dtype.names})
        else:
            with opened(self.path) as file:
                self._adopt({path: file[path] for path in record if _has(file, path)})
        self._log.sync()
        (self._folder / "frames.tmp").replace(self._folder / FRAMES)

    def _frames_to_go_on_from(self) -> Any:
        """The frames in NAME.parts, if they are of this run; None if they are in NAME.nc, or if it is new."""
        file = self._folder / FRAMES
        if self._resumed is None:
            return None
        if file.exists() and run_of_log(file) == self.run:
            self._require_frames(stored := read_log(file))
            return stored
        if file.exists() and not holds_only_the_start(self._folder):
            raise OutputError(
                f"{leftovers(self._folder)}, which is not that of {self.path}: go on with it (fvflow resume "
                f"{self._folder}), or move it away"
            )
        if run_of_result(self.path) != self.run:
            raise OutputError(f"{self._folder}: its frames are missing; run the case again with --discard")
        return None

    def _adopt(self, source: Mapping[str, Any]) -> None:
        """Append the first frames of arrays over time to the log; what they lack is nan, which is told."""
        if lacking := [name.rpartition("/")[2] for name in self.layout.record if name not in source]:
            self._tell(f"{', '.join(lacking)}: nan in the first {self._resumed} frames, which were stored without")
        for index in range(self._resumed or 0):
            values = converted(source, index, self.layout.record)
            self._log.append(values)
            self.times.append(float(values["time"]))

    def _require_frames(self, stored: Any) -> None:
        needed = self._resumed or 0
        count = len(stored) if len(stored) < needed or whole(stored[:needed]) else whole_frames(stored)
        if count < needed:
            raise OutputError(
                f"{self._folder}: {count} of {needed} frames can be read, so the run cannot go on; those are kept "
                f"(fvflow info {self._folder}); run the case again with --discard"
            )

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if error is not None and not self._done and (self.times or self._goes_on):
            error.add_note("; ".join(filter(None, (self._frames_so_far(), self._goes_on))))
        self._release()

    def _frames_so_far(self) -> str:
        """Where the frames are, as a phrase."""
        if not self.times:
            return "there is no frame yet"
        ago = time.monotonic() - self._appended
        return (
            f"the frames so far are in {self._folder} (fvflow info {self._folder}, fvflow.read), the last one of "
            f"t = {self.times[-1]:g}, {ago:.0f} s ago"
        )

    def _release(self) -> None:
        with contextlib.suppress(OSError, AttributeError):
            self._log.close()
        if self._begun and not (self.times or self._goes_on):  # nothing that is worth keeping
            with contextlib.suppress(OSError):
                _remove_parts(self._folder)
        if self._lock is not None:
            with contextlib.suppress(OSError):
                self._lock.release()
                self._folder.rmdir()  # only if it is empty: after success, or before the first frame

    def _store(self, values: Mapping[str, Array]) -> None:
        self._require_room(self.layout.frame_bytes)
        with output_errors(self.path):
            self._log.append(values)
        self._appended = time.monotonic()
        self.tick()

    def tick(self) -> None:
        """Let the frames reach the disk if some are old enough."""
        now = time.monotonic()
        if now - self._synced > _SYNC_SECONDS:
            with output_errors(self.path):
                self._log.sync()
            self._synced = now

    def checkpoint(self, tree: Mapping[str, Tree], place: str) -> None:
        """Keep what is needed to go on after the frames so far; `place` says where, as "at t = 3" does."""
        with output_errors(self.path):
            self._log.sync()
            self._checkpoints.write(tree)
        self._goes_on = f"fvflow resume {self._folder} goes on {place}"

    def complete(
        self,
        attributes: Mapping[str, Any],
        figures: Mapping[str, float],
        tree: Tree = None,
        about_to_replace: Callable[[], None] = lambda: None,
    ) -> None:
        """Complete the result as `close` does, with what is needed to go on beyond its end, if that is given.

        `about_to_replace` is called once the result is on the disk and only has to get its name.
        """
        self._tree, self._about_to_replace = tree, about_to_replace
        self.close(attributes, figures)

    def interrupted(
        self,
        attributes: Mapping[str, Any],
        figures: Mapping[str, float],
        tree: Tree,
        about_to_replace: Callable[[], None],
    ) -> bool:
        """As `complete` by the frames so far, unless another run's result is there; returns whether it did."""
        if self._replaces or not self.times:
            return False
        self.complete(attributes, figures, tree, about_to_replace)
        return True

    def _complete(self, attributes: Mapping[str, Any], groups: Mapping[str, Group]) -> None:
        """Write the frames to NAME.nc, which appears complete or not at all."""
        self._require_room(len(self.times) * self.layout.frame_bytes)
        temporary, mesh = self._folder / _WHOLE, self.layout.mesh
        kept = {} if self._tree is None else {CHECKPOINT: to_group(self._tree, {"run": self.run})}
        with output_errors(self.path):
            with created(temporary, self.layout, attributes) as target, flushing(temporary):
                for name, group in {**paraview_group(mesh), **mesh_groups(mesh), **groups, **kept}.items():
                    define(target, name, group)
                append_frames(target, self.layout, read_log(self._folder / FRAMES))
            self._about_to_replace()
            flushed_rename(temporary, self.path)
            self._done = True
            _remove_parts(self._folder)

    def _require_room(self, size: int) -> None:
        with output_errors(self.path):
            free = shutil.disk_usage(self.path.parent).free
        if free < size + _RESERVE:
            raise OutputError(
                f"{self.path}: {free / 2**20:.1f} MiB are free, {(size + _RESERVE) / 2**20:.1f} are needed; make room"
            )


def continued(history: str) -> str:
    """The history of a result of a run that goes on now."""
    return f"{history}\n{_now()} fvflow resume"


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S")


def _has(file: Any, path: str) -> bool:
    """Whether a file has a variable at this path."""
    try:
        file[path]
    except IndexError:
        return False
    return True


def _remove_parts(folder: Path) -> None:
    """Remove what a run keeps in the folder, the frames last."""
    checkpoints = Checkpoints(folder).files
    temporary = (folder / name for name in ("header.tmp", "frames.tmp", _WHOLE))
    for file in (*checkpoints, *(each.with_suffix(".tmp") for each in checkpoints), *temporary):
        file.unlink(missing_ok=True)
    for name in (FRAMES, HEADER):
        (folder / name).unlink(missing_ok=True)
