"""What an iterative solver passes on while it runs, so that it can go on from there: numbers and arrays by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from fvflow.errors import OutputError

Iterate = Mapping[str, Any]
"""All that a solver needs to go on from an iteration: numbers and arrays in double precision, by name."""

Progress = Callable[[int, float, Iterate], None]  # (iterations, relative residual, iterate)


def require_iterate(given: Iterate, own: Iterate) -> None:
    """Raise OutputError unless an iterate has the names, kinds and shapes of another one of the same problem."""
    for name in {**own, **given}:
        if _kind(given.get(name)) != _kind(own.get(name)):
            raise OutputError(
                f"the checkpoint does not hold an iterate of this problem: {name} is {_kind(given.get(name))}, not "
                f"{_kind(own.get(name))}; run the case again"
            )


def require_count(count: int, most: int) -> None:
    """Raise OutputError unless a number of an iterate is from 0 to `most`."""
    if not 0 <= count <= most:
        raise OutputError(
            f"the checkpoint does not hold an iterate of this problem: {count} is not from 0 to {most}; run the case "
            "again"
        )


def split(given: Iterate, own: Iterate) -> tuple[Iterate, Iterate]:
    """The part of an iterate with the names of `own`, and the rest; raises OutputError if the part is not as `own`."""
    part = {name: given.get(name) for name in own}
    require_iterate(part, own)
    return part, {name: value for name, value in given.items() if name not in own}


def _kind(value: Any) -> str:
    """What a part of an iterate is."""
    return f"{value.dtype} {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__
