"""Stopping a run from outside without losing a frame."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fvflow.problems import State


class Stopped(BaseException):
    """A signal asked the process to stop."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Signals:
    """SIGINT, SIGTERM and SIGHUP: taken at once, but during a run between two steps, unless they are repeated."""

    def __init__(self) -> None:
        self._deferred = False
        self._seen = 0
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._handle)

    def _handle(self, number: int, frame: Any) -> None:
        if not self._deferred or self._seen:
            raise Stopped(number)
        self._seen = number

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """While the block runs, a first signal only takes effect in `check`: never amid a write."""
        self._deferred = True
        try:
            yield
        finally:
            self._deferred = False

    def check(self, state: State) -> None:
        """Stop here if a signal has come."""
        if self._seen:
            raise Stopped(self._seen)
