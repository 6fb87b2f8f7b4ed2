"""Which files are read: regular ones, of a size that the user allows; and whether what they say is trusted.

A case must not be able to raise these limits, so that they are no part of it: they hold for a block of code.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from fvflow.errors import CaseError, FvflowError

GIB = 2**30


@dataclass(frozen=True)
class Admission:
    """What is demanded of the files that a case names."""

    largest: int = 4 * GIB
    """Most bytes of a mesh, a table or a sample; results have no limit."""
    trust: bool = False
    """Whether a geometry is given to gmsh as it is, which lets it run programs, read and write files."""


_DEFAULT = Admission()
_admission: ContextVar[Admission] = ContextVar("admission", default=_DEFAULT)


def admission() -> Admission:
    """What is demanded at the moment."""
    return _admission.get()


@contextmanager
def admitting(demanded: Admission) -> Iterator[None]:
    """Other demands while the context lasts, in this thread."""
    token = _admission.set(demanded)
    try:
        yield
    finally:
        _admission.reset(token)


def require_regular(path: str | os.PathLike[str], wanted: str, error: type[FvflowError] = CaseError) -> int:
    """The size of a file in bytes, found without opening it; raises `error` if it is missing or no regular file.

    `wanted` says in words what to give instead.
    """
    try:
        status = os.stat(path)
    except (OSError, ValueError) as fault:
        reason = getattr(fault, "strerror", None) or fault
        raise error(f"{os.fspath(path)}: cannot be read ({reason}); give {wanted}") from None
    if not stat.S_ISREG(status.st_mode):
        raise error(f"{os.fspath(path)}: is {_name(status.st_mode)} and no regular file; give {wanted}")
    return status.st_size


def require_input(path: str | os.PathLike[str], wanted: str) -> int:
    """The size of a mesh, table or sample file in bytes; raises CaseError unless it may be read.

    It has to be a regular file that is readable, not empty and not larger than the `Admission` says.
    """
    size, largest, name = require_regular(path, wanted), admission().largest, os.fspath(path)
    if size > largest:
        raise CaseError(
            f"{name}: has {size / GIB:.3g} GiB; at most {largest / GIB:.3g} are read (--largest allows more)"
        )
    try:
        with open(path, "rb"):
            pass
    except OSError as fault:
        raise CaseError(f"{name}: cannot be read ({fault.strerror}); give {wanted}") from None
    if not size:
        raise CaseError(f"{name}: is empty; give {wanted}")
    return size


def _name(mode: int) -> str:
    """What a file of this mode is."""
    kinds = ((stat.S_ISDIR, "a directory"), (stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"))
    return next((name for test, name in kinds if test(mode)), "a device")
