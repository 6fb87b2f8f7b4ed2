"""How the layers of a grid, those across its slowest axis, are divided among processes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

from fvflow.errors import CaseError
from fvflow.parallel.blocks import BLOCK

LEAST_LAYERS = 2
"""The fewest layers that a process may hold."""
_ALIGNED = 8  # layers of a process over those of a common multiple of layer and block from which marks are rounded


@dataclass(frozen=True)
class Division:
    """A grid of `layers` layers of `layer` cells each, cut into `size` slabs of neighbouring layers.

    Each process also holds `depth` layers of its neighbours, those beyond a joined end included if the axis is
    `periodic`. Raises CaseError if a process would hold fewer than two layers, or than `depth`.

    >>> Division(10, 3, 4).marks
    (0, 2, 5, 8, 10)
    """

    layers: int
    layer: int
    size: int
    depth: int = 1
    periodic: bool = False

    def __post_init__(self) -> None:
        least = max(LEAST_LAYERS, self.depth)
        if self.layers < least * self.size:
            most = max(self.layers // least, 1)
            raise CaseError(
                f"{self.layers} layers of cells across the last axis on {self.size} ranks; each needs {least}: "
                f"use at most {most} rank{'s' * (most > 1)}"
            )

    @cached_property
    def marks(self) -> tuple[int, ...]:
        """The first layer of each slab, and the end of the last (size + 1,).

        Where slabs are thick, they begin with a block of `inner`, which is then summed without a message.
        """
        common = BLOCK // math.gcd(BLOCK, self.layer)
        unit = common if self.layers >= _ALIGNED * common * self.size else 1
        inside = (unit * round(rank * self.layers / (self.size * unit)) for rank in range(1, self.size))
        return (0, *inside, self.layers)

    def cells(self, rank: int) -> tuple[int, int]:
        """The first cell of a slab, and the one after its last."""
        return self.marks[rank] * self.layer, self.marks[rank + 1] * self.layer

    def owner(self, layer: int) -> int:
        """The rank whose slab a layer belongs to."""
        return next(rank for rank in range(self.size) if layer < self.marks[rank + 1])

    def below(self, rank: int) -> int:
        """The layers of neighbours that a process holds below its own."""
        return self.depth if rank > 0 or self.periodic else 0

    def above(self, rank: int) -> int:
        """The layers of neighbours that a process holds above its own."""
        return self.depth if rank < self.size - 1 or self.periodic else 0

    def own(self, rank: int) -> slice:
        """Where the cells of a slab are in the arrays of its process."""
        begin, end = self.cells(rank)
        first = self.below(rank) * self.layer
        return slice(first, first + end - begin)

    def held(self, rank: int) -> range:
        """All layers that a process holds, in the order of its arrays; beyond a joined end modulo `layers`."""
        return range(self.marks[rank] - self.below(rank), self.marks[rank + 1] + self.above(rank))
