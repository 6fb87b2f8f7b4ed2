"""How far a run is, on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fvflow.problems import State

_FIRST_LINE, _EVERY_LINE = 2.0, 10.0  # seconds until the first, and between, progress lines without a terminal


def say(text: str) -> None:
    """A line on stderr; that nobody reads it is no reason to stop."""
    if sys.stderr is None:
        return
    with suppress(OSError, ValueError):
        print(text, file=sys.stderr, flush=True)


@contextmanager
def progress(end: float, quiet: bool) -> Iterator[Callable[[State], None]]:
    """A watcher that shows how far the run is: a bar on a terminal, now and then a line elsewhere."""
    if quiet or sys.stderr is None:
        yield lambda state: None
    elif sys.stderr.isatty():
        with _bar(end) as watch:
            yield watch
    else:
        yield _lines(end)


@contextmanager
def _bar(end: float) -> Iterator[Callable[[State], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    note = TextColumn("{task.description}")
    text = TextColumn("t = {task.completed:.4g} of {task.total:.4g}")
    columns = (note, text, BarColumn(), TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=end)
        yield lambda state: progress.update(task, completed=state.time, description=_solving(state))


def _solving(state: State) -> str:
    """How far a solver is before its first state."""
    return f"iteration {state.iterations}, residual {state.residual:.1e}" if state.time == 0 and state.residual else ""


def _lines(end: float) -> Callable[[State], None]:
    started = time.monotonic()
    due = started + _FIRST_LINE

    def watch(state: State) -> None:
        nonlocal due
        now = time.monotonic()
        if now >= due and state.time > 0 and not state.figures:
            left = (now - started) * (end - state.time) / state.time
            say(f"t = {state.time:.4g} of {end:g} ({state.time / end:.0%}), about {left:.0f} s left")
            due = now + _EVERY_LINE
        elif now >= due and (note := _solving(state)):
            say(note)
            due = now + _EVERY_LINE

    return watch
