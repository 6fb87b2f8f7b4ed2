"""The size of a mesh, and the names of the sides of a box."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

SIDES = (("left", "right"), ("bottom", "top"), ("back", "front"))
"""Names of the lower and the upper side of a box, by axis."""


class Extent(NamedTuple):
    """The size of a mesh, which may be known before the mesh is built."""

    dimension: int
    """Number of space dimensions."""
    cells: int
    """Number of cells."""
    grid: bool = False
    """Whether the mesh is a tensor-product grid."""

    @staticmethod
    def of(counts: Sequence[int]) -> Extent:
        """The extent of a grid with `counts` cells along each axis."""
        return Extent(len(counts), math.prod(counts), grid=True)
