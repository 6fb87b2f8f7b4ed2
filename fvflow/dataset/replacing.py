"""What a run into a file meets there: an earlier result, and the frames of a run that did not finish."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from fvflow.dataset.checkpoint import Checkpoints, Tree, from_group
from fvflow.dataset.frame_log import read_log
from fvflow.dataset.layout import SOURCE, UNTITLED
from fvflow.dataset.lock import Lock, locked
from fvflow.dataset.netcdf import output_errors
from fvflow.errors import OutputError
from fvflow.input_files import require_regular
from fvflow.mesh.netcdf_probe import damage

FRAMES, HEADER, CHECKPOINT = "frames.log", "header.nc", "checkpoint"


def parts_of(path: Path) -> Path:
    """The directory that holds the frames of an unfinished run."""
    return path.with_suffix(".parts")


def require_nothing_replaced(path: Path) -> None:
    """Raise OutputError if a run into NAME.nc would replace a result."""
    path = Path(os.path.realpath(path)) if path.is_symlink() else path
    if result := replaced(path):
        raise OutputError(f"{result}, is kept as --keep says; name another result by -o, or leave out --keep")


def replaced(path: Path) -> str:
    """Name, date and title, if it has one, of the result that a run into NAME.nc takes the place of; or empty.

    Raises OutputError if NAME.nc is there and no result of a run.
    """
    if not path.exists():
        return ""
    if path.is_file() and (reason := damage(path)):
        raise OutputError(f"{path}: cannot be read ({reason}), and would be overwritten; remove it or use another name")
    with opened(path) as file:
        if file is None or "mass" not in getattr(file.groups.get("diagnostics"), "variables", ()):
            raise OutputError(f"{path}: is not the result of a run and would be overwritten; use another name")
        return f"{path.name} of {_date(file)}" + (f", {file.title}" if file.title != UNTITLED else "")


def leftovers(folder: Path) -> str:
    """The frames and checkpoints that an unfinished run left in a directory, and its date; empty if there are none."""
    frames, log = "", folder / FRAMES
    if log.exists():
        try:
            times = read_log(log)["time"]
            count = len(times)
            frames = f"{count} frame{'s' * (count != 1)} up to t = {times[-1]:g}" if count else ""
        except OutputError:
            frames = "frames that cannot be read"
    kept = "a checkpoint" if Checkpoints(folder).exist else ""
    if not (frames or kept):
        return ""
    with opened(folder / HEADER) as file:
        date = "an unknown date" if file is None else _date(file)
    return f"{' and '.join(filter(None, (frames, kept)))} in {folder}, of an unfinished run of {date}"


def has_checkpoint(path: Path) -> bool:
    """Whether NAME.parts of NAME.nc has a checkpoint, damaged or not."""
    return Checkpoints(parts_of(path)).exist


def holds_only_the_start(folder: Path) -> bool:
    """Whether a run ended before its first checkpoint, with one frame at most: nothing that was computed is there."""
    try:
        return not Checkpoints(folder).exist and len(read_log(folder / FRAMES)) <= 1
    except FileNotFoundError:
        return True


def run_of_result(path: Path) -> str:
    """The run that NAME.nc is the result of; empty if it is unknown."""
    with opened(path) as file:
        return "" if file is None or CHECKPOINT not in file.groups else str(getattr(file[CHECKPOINT], "run", ""))


class Resumable(NamedTuple):
    """A run that can go on: NAME.nc, its last checkpoint, a sentence if the one after it is damaged, and its lock."""

    path: Path
    checkpoint: dict[str, Tree]
    note: str
    lock: Lock


def resumable(path: Path) -> Resumable:
    """How the run of NAME.parts or NAME.nc can go on, locked from before its checkpoint is read.

    Frames after those of a result, in NAME.parts, come first. Raises OutputError if there is nothing to go on from, or
    if a process still writes there.
    """
    result, folder = path.with_suffix(".nc"), parts_of(path)
    if path == folder and not folder.exists():
        raise OutputError(f"{path}: there is no such directory; give the .parts of a run, its .nc or its case")
    if not (result.exists() or folder.exists()):
        raise OutputError(f"{result}: there is nothing to resume, neither this nor {folder.name}; use fvflow run")
    if result.exists():
        require_regular(result, "the .nc of a run, its .parts or its case", OutputError)
    with output_errors(folder):
        lock = locked(folder)  # refuses while a run is under way
        try:
            require_files(folder)
            inside = path == folder or Checkpoints(folder).exist
            return Resumable(result, *(Checkpoints(folder).latest() if inside else (_checkpoint_in(result), "")), lock)
        except BaseException:
            lock.release()
            raise


def require_files(folder: Path) -> None:
    """Raise OutputError if there are directories where a run keeps its files."""
    for file in (folder / FRAMES, folder / HEADER, *Checkpoints(folder).files):
        if file.is_dir():
            raise OutputError(f"{file}: is a directory, but a run keeps a file of that name; move it away")


def _checkpoint_in(result: Path) -> dict[str, Tree]:
    """What a result keeps to go on from; raises OutputError."""
    if not result.exists():
        raise OutputError(f"{result}: there is nothing to resume; run the case again")
    if reason := damage(result):
        raise OutputError(f"{result}: cannot be read ({reason}); run the case again")
    with opened(result) as file:
        if file is None or CHECKPOINT not in file.groups:
            raise OutputError(
                f"{result}: its run is finished and keeps no state to go on from; run the case again, or start a new "
                f"run with initial: {{kind: file, file: {result}}}"
            )
        try:
            return from_group(file[CHECKPOINT])
        except ValueError:
            raise OutputError(
                f"{result}: its state is damaged; start a new run with initial: {{kind: file, file: {result}}}"
            ) from None


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Any]:
    """The open file; None if it is not one of fvflow, or damaged."""
    if not path.is_file() or damage(path):  # a pipe would be waited for
        yield None
        return
    import netCDF4

    try:
        file = netCDF4.Dataset(path)
    except (OSError, RuntimeError):
        yield None
        return
    with file:
        file.set_auto_mask(False)
        yield file if str(getattr(file, "source", "")).startswith(SOURCE) else None


def _date(file: Any) -> str:
    """When a run began, to the minute."""
    return str(getattr(file, "history", "an unknown date")).partition(" fvflow")[0][:16].replace("T", " ")
