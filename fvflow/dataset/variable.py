"""The building blocks of a result file: variables and the groups that hold them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fvflow.mesh import Array, Index
from fvflow.parallel import Pieced


@dataclass(frozen=True)
class NetCDFVariable:
    """One variable: dimensions, attributes, and its values if they do not change with time."""

    dims: tuple[str, ...]
    attributes: Mapping[str, Any]
    values: Array | Index | Pieced | None = None  # None: the first dimension is time, and frames supply the values
    dtype: str = "f8"
    fill: int | None = None  # the value that marks a missing entry


@dataclass(frozen=True)
class Group:
    """One group: its variables, and the dimensions and attributes that it defines itself."""

    variables: Mapping[str, NetCDFVariable]
    dimensions: Mapping[str, int] = field(default_factory=dict)  # lengths, time excepted
    attributes: Mapping[str, Any] = field(default_factory=dict)
