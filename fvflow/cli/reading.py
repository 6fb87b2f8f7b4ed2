"""The case that a verb is for."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fvflow.case import Case


def read(path: Path, overrides: Mapping[str, str]) -> Case:
    """The case in a file, with values set; raises as `Case.read` does."""
    with _made_to_stay():
        from fvflow.case import Case

        return Case.read(path, overrides)


@contextmanager
def _made_to_stay() -> Iterator[None]:
    """Look for no garbage in what is there when the block ends: modules and the schema, some 50 000 objects.

    To go through them again and again, and once more at the end of the process, took a fifth of a small run.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if enabled:
            gc.enable()
