"""Stopping a run from outside without losing a frame."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from fvflow.system import STOP_SIGNALS

if TYPE_CHECKING:
    from fvflow.problems import State


class Stopped(BaseException):
    """A signal asked the process to stop."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Signals:
    """Handles the signals that ask to stop: at once, or during a run between two steps unless repeated.

    It watches a run as a `Progress`.
    """

    def __init__(self) -> None:
        self._deferred = False
        self._received = 0
        for number in STOP_SIGNALS:
            signal.signal(number, self._handle)

    def _handle(self, number: int, frame: Any) -> None:
        if not self._deferred or self._received:
            raise Stopped(number)
        self._received = number

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """While the block runs, a first signal takes effect only in `step` and `iteration`: never during a write."""
        self._deferred = True
        try:
            yield
        finally:
            self._deferred = False

    def step(self, state: State) -> None:
        """Stop here if a signal has arrived."""
        self._check()

    def iteration(self, iterations: int, residual: float) -> None:
        """Stop here if a signal has arrived."""
        self._check()

    def _check(self) -> None:
        if self._received:
            raise Stopped(self._received)
