"""What a run into a file meets there: an earlier result, and the frames of a run that did not finish."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from fvflow.dataset.checkpoint import Checkpoints, Tree, from_bytes
from fvflow.dataset.frame_log import read_log
from fvflow.dataset.layout import SOURCE, UNTITLED
from fvflow.dataset.lock import locked, unlock
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


def resumable(path: Path) -> tuple[Path, dict[str, Tree], str]:
    """NAME.nc, the last checkpoint of NAME.parts or NAME.nc, and a sentence if the one after it is damaged.

    Frames after those of a result, in NAME.parts, come first. Raises OutputError if there is nothing to go on from, or
    if a process still writes there.
    """
    result = path.with_suffix(".nc")
    folder = parts_of(path)
    if folder.is_dir() and (path == folder or Checkpoints(folder).exist):
        unlock(locked(folder), folder)  # refuses while a run is under way
        return result, *Checkpoints(folder).latest()
    if path == folder:
        raise OutputError(f"{path}: there is no such directory; give the .parts of a run, its .nc or its case")
    if not result.exists():
        raise OutputError(f"{result}: there is nothing to resume, neither this nor {folder.name}; use fvflow run")
    require_regular(result, "the .nc of a run, its .parts or its case", OutputError)
    if reason := damage(result):
        raise OutputError(f"{result}: cannot be read ({reason}); run the case again")
    with opened(result) as file:
        if file is None or CHECKPOINT not in file.groups:
            raise OutputError(
                f"{result}: keeps no state to go on from; start a new run with initial: {{kind: file, file: {result}}}"
            )
        try:
            return result, from_bytes(np.asarray(file[CHECKPOINT]["npz"][:]).tobytes()), ""
        except (ValueError, KeyError, IndexError, RuntimeError, OSError):
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
