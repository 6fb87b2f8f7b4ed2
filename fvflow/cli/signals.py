"""Stopping a run from outside without losing a frame."""

from __future__ import annotations

import math
import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any

from fvflow.system import STOP_SIGNALS, start_alarm, stop_alarm

if TYPE_CHECKING:
    from fvflow.problems import State


_PATIENCE = 3.0  # seconds that a run has to come to the end of a step
_AGAIN = 0.5  # seconds between attempts to stop it afterwards: it may be writing, or in compiled code
_WRITERS = ("fvflow.dataset", "fvflow.paraview", "fvflow.case.checkpoints")  # modules that are not interrupted
_COMPILERS = ("numba", "llvmlite")  # they call Python back from C, where an exception is printed and lost


class Stopped(BaseException):
    """A signal asked the process to stop."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Signals:
    """Handles the signals that ask to stop: at once, or during a run between two steps unless repeated.

    A step that takes longer than 3 s is stopped in its midst, though never a write, nor the compilation of a kernel.

    It watches a run as a `Progress`. In processes forked from this one the handlers of before go on.
    """

    def __init__(self) -> None:
        self._deferred = False
        self._received = 0
        self._process = os.getpid()
        self._before = {number: signal.signal(number, self._handle) for number in STOP_SIGNALS}

    def leave(self) -> None:
        """Give the signals back to the handlers that were there before, but for those that are not of Python."""
        for number, handler in self._before.items():
            if handler is not None:
                signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:
            signal.signal(number, self._before[number] or signal.SIG_DFL)
            signal.raise_signal(number)
            return
        at_once = not self._deferred or bool(self._received)
        self._received = number
        if at_once and not compiling(frame):
            raise Stopped(number)
        start_alarm(self._overdue, _AGAIN if at_once else _PATIENCE, _AGAIN)

    def _overdue(self, number: int, frame: FrameType | None) -> None:
        """Stop a step that goes on after a signal, unless a result is being written or a kernel compiled."""
        if not _called_from(frame, _WRITERS + _COMPILERS):
            stop_alarm()
            raise Stopped(self._received)

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """While the block runs, a first signal takes effect in `step`, in `iteration` or later: never in a write."""
        self._deferred = True
        try:
            yield
        finally:
            stop_alarm()
            self._deferred = False

    def step(self, state: State) -> None:
        """Stop here if a signal has arrived; not within a step of error control, of which no checkpoint can be made."""
        if not math.isnan(state.next_length):
            self._check()

    def iteration(self, iterations: int, residual: float, iterate: Mapping[str, Any]) -> None:
        """Stop here if a signal has arrived."""
        self._check()

    def _check(self) -> None:
        from fvflow.parallel import world

        self._received = int(world().highest(self._received))  # each process stops at the end of the same step
        if self._received:
            stop_alarm()  # the run is at the end of a step; what is kept of it takes the time that it takes
            raise Stopped(self._received)


def compiling(frame: FrameType | None) -> bool:
    """Whether a kernel is being compiled in a frame: an exception that a signal handler raises there may be lost."""
    return _called_from(frame, _COMPILERS)


def _called_from(frame: FrameType | None, modules: tuple[str, ...]) -> bool:
    """Whether a function of some modules or packages is among the callers of a frame."""
    while frame is not None:
        if str(frame.f_globals.get("__name__")).startswith(modules):
            return True
        frame = frame.f_back
    return False
