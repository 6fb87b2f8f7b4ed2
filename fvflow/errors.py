"""The ways a run can be refused or fail; each carries the exit code of the command line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self


class FvflowError(Exception):
    """A refusal in one sentence: what was got, what is allowed, what to do.

    Of several arguments each is a line of its own; a line break within one came from what is quoted.
    """

    exit_code = 1
    place: tuple[str | int, ...] = ()
    """The keys in the case that lead to what is at fault, ("flow", "potential"); empty if that is not known."""

    def at(self, *keys: str | int) -> Self:
        """The same, placed further in: at these keys, and within them where it was placed before."""
        self.place = (*keys, *self.place)
        return self

    def __str__(self) -> str:
        return "\n".join(map(str, self.args))


class UsageError(FvflowError):
    """The command cannot be run as it was started."""

    exit_code = 2


class CaseError(FvflowError):
    """The case cannot be run as it is written."""

    exit_code = 3


class NumericsError(FvflowError):
    """The computation was refused or failed; the frames so far are kept."""

    exit_code = 4


class OutputError(FvflowError):
    """A file could not be read or written."""

    exit_code = 5


@contextmanager
def placed(*keys: str | int) -> Iterator[None]:
    """Errors of the block are placed at these keys.

    >>> try:
    ...     with placed("flow", "energy"), placed(1):
    ...         raise CaseError("no")
    ... except CaseError as error:
    ...     print(error.place)
    ('flow', 'energy', 1)
    """
    try:
        yield
    except FvflowError as error:
        error.place = (*keys, *error.place)
        raise
