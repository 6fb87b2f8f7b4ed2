"""Blocks of cells that a sum is made of, and which of them a slab cuts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

BLOCK = 4096
"""Cells of a block; the first begins with the first cell of the whole mesh."""


class Part(NamedTuple):
    """The part of a block that is in a slab, as cells of the slab: begin and end; `block` counts from 0."""

    block: int
    begin: int
    end: int


class Cut(NamedTuple):
    """What the cells of a slab are to the blocks of a sum."""

    head: Part | None
    """The beginning of the slab, in a block that begins in another one; None if there is none."""
    whole: tuple[int, int]
    """Begin and end of the whole blocks, as cells of the slab."""
    tail: Part | None
    """The end of the slab, in a block that begins there and ends in another one, or ends early at the last cell."""


def cut(first: int, last: int) -> Cut:
    """How blocks cut a slab of the cells `first` to `last`.

    >>> cut(4000, 9000)
    Cut(head=Part(block=0, begin=0, end=96), whole=(96, 4192), tail=Part(block=2, begin=4192, end=5000))
    """
    begin = min(-(-first // BLOCK) * BLOCK, last)
    end = max(last // BLOCK * BLOCK, begin)
    head = Part(first // BLOCK, 0, begin - first) if begin > first else None
    tail = Part(end // BLOCK, end - first, last - first) if last > end else None
    return Cut(head, (begin - first, end - first), tail)


def owners(cells: Sequence[tuple[int, int]]) -> list[int]:
    """The number of blocks that begin in each slab."""
    return [-(-last // BLOCK) - -(-first // BLOCK) for first, last in cells]


def beginning(cells: Sequence[tuple[int, int]], block: int) -> int:
    """The slab in which a block begins."""
    return next(rank for rank, (_, last) in enumerate(cells) if block * BLOCK < last)
