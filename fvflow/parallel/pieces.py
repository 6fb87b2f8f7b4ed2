"""Arrays of a whole mesh of which each process holds a part, read piece by piece."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, eq=False)
class Pieced:
    """An array (cell,) of the whole mesh, or (row, column) of so many rows, which `fetch` gives in pieces, in order."""

    cells: int
    dtype: Any
    fetch: Callable[[], Iterator[Any]]

    def whole(self) -> Any:
        """The array (cell,)."""
        return np.concatenate(list(self.fetch()))


def shaped(value: Any, dtype: Any, shape: tuple[int, ...]) -> Any:
    """An array of a type and a shape; one in pieces stays as it is."""
    return value if isinstance(value, Pieced) else np.asarray(value, dtype).reshape(shape)


def pieces_of(value: Any, dtype: Any) -> Iterator[Any]:
    """Flat contiguous arrays of a type that make up a value, in order."""
    for piece in value.fetch() if isinstance(value, Pieced) else (value,):
        yield np.ascontiguousarray(piece, dtype).reshape(-1)
