"""What a sweep finds at the name of its result."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fvflow.dataset.replacing import opened
from fvflow.dataset.sweeps import STUDY
from fvflow.errors import OutputError


def require_replaceable(path: Path, tell: Callable[[str], None]) -> None:
    """Tell the earlier result that a sweep takes the place of; raises OutputError if NAME.nc is something else."""
    if not path.exists():
        return
    with opened(path) as file:
        if file is None or getattr(file, "study", "") != STUDY:
            raise OutputError(f"{path}: is not the result of a sweep and would be overwritten; use another name")
        title = str(getattr(file, "title", ""))
    tell(f"replaces {path.name}, {title}")
