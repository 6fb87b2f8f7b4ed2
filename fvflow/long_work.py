"""Work that may take long before a run begins, in words, for those who wait for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar

Show = Callable[[str], AbstractContextManager[None]]
"""What is under way, in words -> a context that lasts as long as it does."""


def _nobody(what: str) -> AbstractContextManager[None]:
    return nullcontext()


_show: ContextVar[Show] = ContextVar("show", default=_nobody)


def under_way(what: str) -> AbstractContextManager[None]:
    """A context for work that may take long: while it lasts, whoever `showing` named says that it is under way."""
    return _show.get()(what)


@contextmanager
def showing(show: Show) -> Iterator[None]:
    """While the context lasts, in this thread, work under way is shown by `show`; by default nobody shows it."""
    token = _show.set(show)
    try:
        yield
    finally:
        _show.reset(token)
