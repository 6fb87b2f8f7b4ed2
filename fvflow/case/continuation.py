"""Going on with a run that was stopped, or beyond its end."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from fvflow.case.checkpoints import by_content, require_same_run
from fvflow.case.core import Case
from fvflow.dataset import Lock, Resumable, Tree, has_checkpoint, resumable
from fvflow.errors import CaseError, OutputError
from fvflow.march import Watch
from fvflow.parallel import world

_ENDINGS = (".nc", ".parts")


@dataclass(frozen=True)
class Continuation:
    """A run that goes on: its case, its result NAME.nc, its last checkpoint, and a sentence if one is damaged.

    The checkpoint is None if a case has none yet, so that its run begins anew. As a context it keeps other runs away,
    by the `lock` under which the checkpoint was read.
    """

    case: Case
    path: Path
    checkpoint: Tree | None
    note: str
    lock: Lock | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.lock is not None:
            self.lock.release()


def continuation(
    path: str | os.PathLike[str],
    until: float | None = None,
    *,
    output: Path | None = None,
    overrides: Mapping[str, str] | None = None,
) -> Continuation:
    """How the run of NAME.parts, NAME.nc or CASE.yaml goes on, to `until` instead of the end of its case if given.

    `output` is the result of a case, by default NAME.nc in the working directory; `overrides` are those of the case.
    Raises OutputError if there is nothing to go on from or the run is finished, CaseError if the case is another one.
    """
    given = Path(path)
    is_case = given.suffix not in _ENDINGS
    if output is not None and not is_case:
        raise OutputError(f"{given}: goes on in its own file; leave out -o, or give the case")
    if until is not None and not math.isfinite(until):
        raise CaseError(f"--until {until}: the end has to be a finite time")
    result = (output or Path(given.stem + ".nc")) if is_case else given
    result = Path(os.path.realpath(result)) if result.is_symlink() else result
    case = Case.read(given, overrides) if is_case else None
    if case is not None and not result.exists() and not has_checkpoint(result):
        return Continuation(_until(case, until), result, None, f"{result}: there is nothing to go on from yet")
    found = resumable(result)
    try:
        case = _until(case or _stored_case(found.path, found.checkpoint, overrides), until)
        _require_goes_on(case, found)
    except BaseException:
        found.lock.release()
        raise
    return Continuation(case, *found)


def shared_continuation(path: str | os.PathLike[str], until: float | None = None, **how: Any) -> Continuation:
    """As `continuation`, for all processes of a run: the first one reads and locks, the others are told."""
    comm, locks = world(), list[Lock | None]()

    def found() -> Continuation:
        continued = continuation(path, until, **how)
        locks.append(continued.lock)
        return replace(continued, lock=None)

    told = comm.by_first(found)
    return replace(told, lock=locks[0] if locks else None)


def _require_goes_on(case: Case, found: Resumable) -> None:
    """Raise CaseError or OutputError if the run is of another case, finished, or beyond its end."""
    result = found.path
    require_same_run(found.checkpoint, by_content(case.values, case.files), case.flow.looks_ahead)
    reached, end = _reached(result, found.checkpoint), case.schedule.stop
    if reached > end:
        raise CaseError(f"{result}: the run is at t = {reached:g} already, beyond {end:g}; give a later end by --until")
    if reached == end and found.lock.made:  # no NAME.parts was left
        raise OutputError(f"{result}: the run is finished, at t = {reached:g}; give a later end by --until")


def _reached(result: Path, checkpoint: Tree) -> float:
    try:
        return float(checkpoint["state"]["time"])
    except (LookupError, TypeError, ValueError):
        raise OutputError(f"{result}: its checkpoint has no time; run the case again") from None


def _until(case: Case, until: float | None) -> Case:
    return case if until is None else case.replace({"times.end": until})


def _stored_case(result: Path, checkpoint: Tree, overrides: Mapping[str, str] | None) -> Case:
    text, name = checkpoint.get("case"), checkpoint.get("name")
    if not isinstance(text, str) or not isinstance(name, str):
        raise OutputError(f"{result}: its checkpoint names no case; run the case again")
    if not os.path.exists(name):  # moved, perhaps with its result
        name = os.fspath(result.parent / os.path.basename(name))
    return Case.parse(text, name, overrides)


def resume(path: str | os.PathLike[str], until: float | None = None, watch: Watch | None = None) -> dict[str, Any]:
    """Go on with the run of NAME.parts, NAME.nc or CASE.yaml, to the last bit as if it had not been stopped.

    Returns its figures. `until` is a later end; `watch` is as in `Case.run`. Raises CaseError, NumericsError,
    OutputError.
    """
    with continuation(path, until) as found:
        return found.case.write(found.path, watch, checkpoint=found.checkpoint, lock=found.lock)
