"""How far a run is, on stderr."""

from __future__ import annotations

import math
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from fvflow.cli.printing import say

if TYPE_CHECKING:
    from fvflow.march import Progress
    from fvflow.problems import State

_FIRST_LINE, _NEXT_LINE = 2.0, 10.0  # seconds until the first, and between, progress lines without a terminal
_BAR_UPDATE = 0.1  # seconds between updates of the bar
Clock = Callable[[], float]


@contextmanager
def progress_display(start: float, end: float, quiet: bool) -> Iterator[Progress]:
    """Shows how far a run from `start` to `end` is: a bar on a terminal, otherwise a line every ten seconds."""
    if quiet or sys.stderr is None:
        yield Reporter(start, end, lambda label, reached: None, math.inf, math.inf)
    elif sys.stderr.isatty():
        with _bar(end - start) as show, _heartbeat(Reporter(start, end, show, 0.0, _BAR_UPDATE)) as reporter:
            yield reporter
    else:
        reporter = Reporter(start, end, lambda label, reached: say(label), _FIRST_LINE, _NEXT_LINE)
        with _heartbeat(reporter):
            yield reporter


@contextmanager
def counting_display(total: int, noun: str, quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """Shows how many of so many are done and have failed: a bar on a terminal, otherwise a line every ten seconds."""
    if quiet or sys.stderr is None:
        yield lambda done, failed: None
    elif sys.stderr.isatty():
        with _bar(float(total)) as show:
            yield Counter(total, noun, show, 0.0, _BAR_UPDATE)
    else:
        yield Counter(total, noun, lambda label, reached: say(label), _FIRST_LINE, _NEXT_LINE)


class Counter:
    """Passes a label and a number to `show`, after `first` seconds and then once per `interval`."""

    def __init__(
        self,
        total: int,
        noun: str,
        show: Callable[[str, float], None],
        first: float,
        interval: float,
        clock: Clock = time.monotonic,
    ) -> None:
        self._total, self._noun, self._show, self._interval, self._clock = total, noun, show, interval, clock
        self._due, self._remaining = clock() + first, RemainingTime(float(total))

    def __call__(self, done: int, failed: int) -> None:
        """Show that so many are done, of which some have failed, and how long the rest will take."""
        now = self._clock()
        left = self._remaining.seconds(now, float(done))
        if now >= self._due:
            label = f"{done} of {self._total} {self._noun}" + (f", {failed} failed" if failed else "")
            self._show(label if left is None else f"{label}, about {left:.0f} s left", float(done))
            self._due = now + self._interval


@contextmanager
def _heartbeat(reporter: Reporter) -> Iterator[Reporter]:
    """Lets the reporter say every ten seconds that a step is still under way, from a thread of its own."""
    over = threading.Event()

    def beat() -> None:
        while not over.wait(_NEXT_LINE):
            reporter.waiting(_NEXT_LINE)

    threading.Thread(target=beat, name="fvflow-progress", daemon=True).start()
    try:
        yield reporter
    finally:
        over.set()


@contextmanager
def _bar(span: float) -> Iterator[Callable[[str, float], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("starting" if span else "solving", total=span or None)
        yield lambda label, reached: bar.update(task, description=label, completed=reached)


class Reporter:
    """A `Progress` that passes a label and the time since the start to `show`.

    The first time after `first` seconds, then once per `interval`.
    The label of a step is its time, the end and the remaining time; that of a solver its iterations and its residual.
    """

    def __init__(
        self,
        start: float,
        end: float,
        show: Callable[[str, float], None],
        first: float,
        interval: float,
        clock: Clock = time.monotonic,
    ) -> None:
        self._start, self._end, self._show, self._interval, self._clock = start, end, show, interval, clock
        self._due = clock() + first
        self._remaining = RemainingTime(end - start)
        self._heard = clock()  # when the run last said something
        self._reached = start

    def waiting(self, seconds: float) -> None:
        """Show for how long the step under way has taken, if it has taken so many seconds and nothing was shown."""
        now = self._clock()
        if now - self._heard >= seconds and now >= self._due:
            where = f"t = {self._reached:.4g} of {self._end:g}" if self._end > self._start else "solving"
            self._show(f"{where}: the step under way has taken {now - self._heard:.0f} s", self._reached - self._start)
            self._due = now + self._interval

    def step(self, state: State) -> None:
        """Show the time reached."""
        now = self._heard = self._clock()
        self._reached = state.time
        elapsed, span = state.time - self._start, self._end - self._start
        left = self._remaining.seconds(now, elapsed)
        if now >= self._due and span:
            label = f"t = {state.time:.4g} of {self._end:g} ({elapsed / span:.0%})"
            self._show(label if left is None else f"{label}, about {left:.0f} s left", elapsed)
            self._due = now + self._interval

    def iteration(self, iterations: int, residual: float, iterate: Mapping[str, Any]) -> None:
        """Show how far a solver is."""
        now = self._heard = self._clock()
        if now >= self._due:
            known = f", residual {residual:.1e}" if math.isfinite(residual) else ""
            self._show(f"iteration {iterations}{known}", 0.0)
            self._due = now + self._interval


class RemainingTime:
    """Predicts when a run will reach its end, from the speed of its recent steps.

    The first step is not counted, since it includes compilation and factorisation. The speed is that over the last half
    to three quarters of the time since then, so that the prediction follows steps that grow.
    """

    def __init__(self, span: float) -> None:
        self._span = span
        self._marks: list[tuple[float, float]] = []  # clock and time of the run: after the first step, before, recently

    def seconds(self, now: float, reached: float) -> float | None:
        """Seconds that remain when the clock shows `now` and the run has gone on for so long; None if not yet known."""
        if reached <= 0.0:
            return None
        if not self._marks:
            self._marks = [(now, reached)] * 3
            return None
        (first, _), _, (recent, _) = self._marks
        if now - recent >= recent - first:
            self._marks[1:] = [self._marks[2], (now, reached)]
        started, start = self._marks[1]
        if now <= started or reached <= start:
            return None
        return (now - started) * (self._span - reached) / (reached - start)
