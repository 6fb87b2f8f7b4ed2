"""Loading the case that a command is given."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fvflow.case import Case


def load_case(path: Path, overrides: Mapping[str, str]) -> Case:
    """The case in a file, with overrides applied; raises as `Case.read` does."""
    with _excluded_from_collection():
        from fvflow.case import Case

        return Case.read(path, overrides)


@contextmanager
def _excluded_from_collection() -> Iterator[None]:
    """Exclude the objects alive when the block ends (modules, the schema: some 50 000) from garbage collection.

    Scanning them repeatedly, and once more at exit, took a fifth of the time of a small run.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if enabled:
            gc.enable()
