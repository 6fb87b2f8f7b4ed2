"""One variable of a result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fvflow.mesh import Array, Index


@dataclass(frozen=True)
class NetCDFVariable:
    """One variable of the file: dimensions, attributes, and its values if they do not change with time."""

    dims: tuple[str, ...]
    attributes: dict[str, Any]
    values: Array | Index | None = None
    dtype: str = "f8"
    fill: int | None = None  # what stands for a missing value
