"""What a run into a file takes the place of: an earlier result, and the frames of a run that did not finish."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fvflow.dataset.layout import SOURCE, UNTITLED
from fvflow.errors import OutputError
from fvflow.mesh.netcdf_probe import damage


def parts_of(path: Path) -> Path:
    """The directory that holds the frames of an unfinished run."""
    return path.with_suffix(".parts")


def replaced(path: Path) -> list[str]:
    """One sentence each for the result NAME.nc and the frames in NAME.parts that a run into NAME.nc takes the place of.

    Raises OutputError if NAME.nc is there and no result of a run.
    """
    result, frames = _result(path), _frames(parts_of(path))
    return ([f"replaces {result}"] if result else []) + ([f"removes {frames}"] if frames else [])


def require_nothing_replaced(path: Path) -> None:
    """Raise OutputError if a run into NAME.nc would replace a result or remove frames."""
    path = Path(os.path.realpath(path)) if path.is_symlink() else path
    if result := _result(path):
        raise OutputError(f"{result}, is kept as --keep says; name another result by -o, or leave out --keep")
    if frames := _frames(folder := parts_of(path)):
        raise OutputError(
            f"{frames}, are kept as --keep says; read them (fvflow info {folder}), name another result by -o, or leave "
            "out --keep"
        )


def _result(path: Path) -> str:
    """The name, the date and the title, if it has one, of a finished result; empty if there is no file."""
    if not path.exists():
        return ""
    with _opened(path) as file:
        if file is None or "mass" not in getattr(file.groups.get("diagnostics"), "variables", ()):
            raise OutputError(f"{path}: is not the result of a run and would be overwritten; use another name")
        return f"{path.name} of {_date(file)}" + (f", {file.title}" if file.title != UNTITLED else "")


def _frames(folder: Path) -> str:
    """The frames that an unfinished run left in a directory, and its date; empty if there are none."""
    count, last, date, damaged = 0, 0.0, "an unknown date", 0
    for part in sorted(folder.glob("part-??????.nc")):
        with _opened(part) as file:
            if file is None or not len(file["time"]):
                damaged += 1
                continue
            count, last, date = count + len(file["time"]), float(file["time"][-1]), _date(file)
    found = f"{count} frame{'s' * (count != 1)} up to t = {last:g}" if count else ""
    unread = f"{damaged} part{'s' * (damaged != 1)} that cannot be read" if damaged else ""
    what = " and ".join(filter(None, (found, unread)))
    return f"{what} in {folder.name}, of an unfinished run of {date}" if what else ""


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """The open file; None if it is not one of fvflow."""
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
        yield file if str(getattr(file, "source", "")).startswith(SOURCE) else None


def _date(file: Any) -> str:
    """When a run began, to the minute."""
    return str(getattr(file, "history", "an unknown date")).partition(" fvflow")[0][:16].replace("T", " ")
