"""What a checkpoint of a run holds, when one is due, and whether a case may go on from it."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np

from fvflow.case.checks import Output
from fvflow.dataset import FORMAT, Tree
from fvflow.errors import CaseError, OutputError
from fvflow.mesh import Mesh
from fvflow.parallel import world
from fvflow.problems import State
from fvflow.run_statistics import RunStatistics
from fvflow.version import __version__

_FREE = ("title", "output", "sweep", "draw")  # what a run that goes on may change
_WHOLE = ("output.evi",)  # but not this, which is about every step
_LATER = ("times.end", "times.save")  # also, if what is stored so far does not depend on them
_NUMBERS = ("time", "mass", "step", "next_length", "length", "damped", "fallback", "rejections")  # of a state
_CHUNK = 2**20


@dataclass
class CheckpointSchedule:
    """Calls `keep` with a checkpoint as often as the case says; watches a run as a `Progress`."""

    output: Output
    snapshot: Callable[[], Tree | None]
    keep: Callable[[Tree], None]
    clock: Callable[[], float] = time.monotonic
    _kept: float = field(default=-np.inf, init=False)
    _steps: float = field(default=np.inf, init=False)  # since then, iterations included

    def step(self, state: State) -> None:
        """Count a step; the first checkpoint is that of the first state."""
        self._count()

    def iteration(self, iterations: int, residual: float, iterate: Mapping[str, Any]) -> None:
        """Count an iteration; before the first there is nothing to keep."""
        if np.isinf(self._kept):
            self._steps, self._kept = 0, self.clock()
        self._count()

    def _count(self) -> None:
        self._steps += 1
        due = world().highest(self.output.checkpoint_due(self._steps, self.clock() - self._kept))
        if due and (tree := self.snapshot()) is not None:  # none within a step of error control
            self.keep(tree)
            self._steps, self._kept = 0, self.clock()


def snapshot(
    state: State, frames: int, statistics: RunStatistics, identity: Mapping[str, Tree]
) -> Mapping[str, Tree] | None:
    """All that a run needs to go on from a state after so many frames; None within a step of error control."""
    if np.isnan(state.next_length):
        return None
    return {**identity, "frames": frames, "state": state.to_tree(), "statistics": statistics.to_tree()}


def identity(text: str, name: str, values: Mapping[str, Any], files: Sequence[str]) -> dict[str, Tree]:
    """What says of which run a checkpoint is: the case, its file, the files that it reads, and the version."""
    return {
        "format": FORMAT,
        "version": __version__,
        "case": text,
        "name": os.path.abspath(name),
        "values": by_content(values, files),
    }


def place(tree: Tree) -> str:
    """Where a run goes on from a checkpoint, as a phrase."""
    state = tree["state"]
    return f"at t = {state['time']:g}" if state["iterate"] is None else f"after iteration {state['iterations']}"


def by_content(values: Any, files: Sequence[str]) -> Any:
    """Values as they are after a checkpoint was written and read, with fingerprints in place of paths of files."""
    if isinstance(values, float | int):  # most are
        return values
    if isinstance(values, dict | Mapping):
        return {str(name): by_content(value, files) for name, value in values.items()}
    if isinstance(values, list | tuple):
        return [by_content(value, files) for value in values]
    return f"{os.path.basename(values)}, fingerprint {_digest(values)}" if values in files else values


def require_sound(tree: Tree, mesh: Mesh, statistics: RunStatistics) -> None:
    """Raise OutputError if a checkpoint is not what `snapshot` makes for such a mesh and such statistics."""
    try:
        state, fresh = restored(tree, mesh), State(0.0, np.zeros(1), 0.0)
        for name in _NUMBERS:
            if type(getattr(state, name)) is not type(getattr(fresh, name)):
                raise ValueError(f"{name} is {getattr(state, name)!r}")
        if not (type(tree["frames"]) is int and tree["frames"] >= 0):
            raise ValueError(f"frames is {tree['frames']!r}")
        if not all(isinstance(tree[name], str) for name in ("run", "history")):
            raise ValueError("run or history is no text")
        _require_kinds(tree["statistics"], statistics.to_tree(), "statistics")
        statistics.restore(tree["statistics"])
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise OutputError(f"the checkpoint does not hold what it has to ({error}); run the case again") from None


def _require_kinds(given: Any, fresh: Any, name: str) -> None:
    """Raise ValueError unless numbers, texts, lists and mappings are where they are in another tree.

    That may have fewer.
    """
    if isinstance(fresh, str) and isinstance(given, str):
        return
    if isinstance(given, Mapping) and (fresh is None or isinstance(fresh, Mapping)):
        for part in {**(fresh or {}), **given}:
            _require_kinds(given.get(part), (fresh or {}).get(part, 0.0), f"{name}.{part}")
        return
    number = type(given) in (int, float) if isinstance(fresh, int | float) else not isinstance(given, bool | str)
    if not number or isinstance(fresh, Mapping) or isinstance(fresh, list) > isinstance(given, list):
        raise ValueError(f"{name} is {given!r}")


def restored(tree: Tree, mesh: Mesh) -> State:
    """The state in a checkpoint; raises OutputError if it does not fit the mesh, see `require_sound` for the rest."""
    given = tree["state"]
    for name in ("density", "potential", "previous", "absorption", "tally"):
        if given[name] is not None and getattr(given[name], "dtype", None) != np.float64:
            raise ValueError(f"{name} is no array of numbers")
    for name, value in given["particles"].items():
        if getattr(value, "dtype", None) is None:
            raise ValueError(f"{name} is no array of numbers")
    if given["density"].shape != (mesh.cells,):
        raise OutputError(
            f"the checkpoint has {len(given['density'])} cells, the mesh {mesh.cells}; run the case again"
        )
    return State.from_tree(given)


def require_same_run(tree: Tree, values: Mapping[str, Any], looks_ahead: bool) -> None:
    """Raise CaseError or OutputError if a case, given by `by_content`, or fvflow are not those of a checkpoint.

    `looks_ahead` is that of its flow.
    """
    if tree.get("format") != FORMAT or tree.get("version") != __version__:
        raise OutputError(
            f"the checkpoint is of fvflow {tree.get('version')}, this is {__version__}: a run goes on with the version "
            "that began it; install that one, or start a new run with initial: {kind: file}"
        )
    allowed = _FREE if looks_ahead else _FREE + _LATER
    changed = [
        f"{path}: {_told(old)} was, {_told(new)} is"
        for path, old, new in _differences(tree.get("values"), values)
        if path in _WHOLE or not any(path == free or path.startswith(f"{free}.") for free in allowed)
    ]
    if changed:
        raise CaseError(
            "this is not the case that the run began with, so that it cannot go on: "
            + "; ".join(changed)
            + f". Change them back (only {', '.join(allowed)} may differ), or start a new run"
        )


def _differences(old: Any, new: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """(dotted path, old value, new value) of all that differs."""
    if isinstance(old, dict) and isinstance(new, dict):
        for name in {**old, **new}:
            yield from _differences(old.get(name), new.get(name), f"{path}.{name}".removeprefix("."))
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for index, pair in enumerate(zip(old, new, strict=True)):
            yield from _differences(*pair, f"{path}.{index}")
    elif old != new:
        yield path, old, new


def _told(value: Any) -> str:
    text = "nothing" if value is None else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _digest(file: str) -> str:
    """A fingerprint of the contents of a file; raises OutputError."""
    try:
        status = os.stat(file)
        return _digest_of(file, status.st_ino, status.st_mtime_ns, status.st_size)
    except OSError as error:
        raise OutputError(f"{file}: cannot be read ({error.strerror})") from None


@lru_cache(maxsize=256)
def _digest_of(file: str, *identity: int) -> str:
    digest = hashlib.blake2b(digest_size=16)
    with open(file, "rb") as opened:
        while block := opened.read(_CHUNK):
            digest.update(block)
    return digest.hexdigest()
