"""Sweeps along the axis across which a grid is divided among processes, by pipelined elimination.

The columns of a slab are swept in chunks: a process takes over a chunk from the one below as soon as that has
eliminated its own rows of it, and goes on with the next while the one above works. Backward likewise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np

from fvflow.jit import parallel_for
from fvflow.linalg.grid import slab_kernels
from fvflow.mesh import Array
from fvflow.parallel import world

_NARROWEST, _WIDEST = 256, 2048  # columns of a chunk
_FEWEST = 4  # chunks, if they are not narrower than that
_UNIT = 64  # columns that a thread takes at least


class SlabLines:
    """The part of the lines across a slab that a process holds, and the chunks of columns in which they are swept."""

    lines: None = None
    """Several steps are never taken at once."""

    def __init__(self, rows: int, lines: int, multipliers: list[Array], adjoint: bool) -> None:
        """So many rows, layers of neighbours included, of so many lines."""
        if adjoint:
            raise ValueError("no adjoint flow is run on several ranks")
        self._comm: Any = world()
        division, rank = self._comm.slab, self._comm.rank
        self._lines, self._parts = lines, multipliers
        self._begin, self._end = division.below(rank), rows - division.above(rank)
        self._below, self._above = rank > 0, rank < self._comm.size - 1

    @property
    def nbytes(self) -> int:
        """Bytes of the multipliers."""
        return sum(part.nbytes for part in self._parts)

    def _chunks(self, columns: int) -> Iterator[tuple[int, int]]:
        """Begin and end of each chunk."""
        width = min(max(columns // _FEWEST, _NARROWEST), _WIDEST)
        yield from pairwise([*range(0, columns, width), columns])

    def _there_and_back(self, ahead: Callable[[int, int], Any], back: Callable[[int, int], Any]) -> None:
        """Sweep each chunk ahead and back; each returns what it sends, to be waited for."""
        chunks = list(self._chunks(self._lines))
        if self._above:
            sent = [ahead(*chunk) for chunk in chunks]
            self._settle(sent)  # before the rows that are being sent are overwritten
            sent = [back(*chunk) for chunk in chunks]
        else:
            sent = [each for chunk in chunks for each in (ahead(*chunk), back(*chunk))]
        self._settle(sent)

    def _threaded(self, run: Callable[[int, int], None], columns: int) -> None:
        parallel_for(run, columns, columns * (self._end - self._begin), _UNIT)

    @staticmethod
    def _settle(sent: list[Any]) -> None:
        for request in sent:
            if request is not None:
                request.Wait()


class SlabFactor(SlabLines):
    """The multipliers of the axis that is divided: forward, scale, backward, each (along, line) or (along, 1)."""

    def __init__(self, volume: Array, sums: Array, down: Array, up: Array, shared: bool, adjoint: bool) -> None:
        """Arrays (1, along, line) of the rows that this process holds; `shared` if all lines have the same rates."""
        lines = volume.shape[2]
        if shared:
            middle = slice(lines // 2, lines // 2 + 1)
            volume, sums, down, up = (np.ascontiguousarray(part[:, :, middle]) for part in (volume, sums, down, up))
        super().__init__(volume.shape[1], lines, [np.zeros(volume.shape[1:]) for _ in range(3)], adjoint)
        self._eliminate(volume[0], sums[0], down[0], up[0])

    def _eliminate(self, volume: Array, sums: Array, down: Array, up: Array) -> None:
        forward, scale, backward = self._parts
        begin, end = self._begin, self._end
        start, last = begin - 1 if self._below else begin, end if self._above else end - 1
        carried, waiting = sums[start].copy(), []
        for left, right in self._chunks(volume.shape[1]):
            if self._below:
                self._comm.receive(carried[left:right], -1)
            arguments = volume, sums, down, up, forward, scale, backward, carried
            slab_kernels.slab_multipliers(*arguments, start, end - 1, left, right)
            if self._above:
                passed = carried[left:right].copy()
                waiting.append((self._comm.send(passed, 1), passed))
            slab_kernels.slab_multipliers(*arguments, end - 1, last, left, right)
        if not self._above:
            scale[end - 1] = volume[end - 1] / carried
            backward[end - 1] = 0.0
        for request, _ in waiting:
            request.Wait()

    def sweep(self, source: Array, target: Array, reflected: bool) -> None:
        """target = S source, or 2 S source - source; they may be the same array if not reflected."""
        x, y = source.reshape(-1, self._lines), target.reshape(-1, self._lines)
        fresh, begin, end = source is not target, self._begin, self._end
        forward, scale, backward = self._parts

        def ahead(left: int, right: int) -> Any:
            if self._below:
                self._comm.receive(y[begin - 1, left:right], -1)

            def run(first: int, last: int) -> None:
                slab_kernels.slab_forward(x, y, forward, fresh, begin, end, left + first, left + last)

            self._threaded(run, right - left)
            return self._comm.send(y[end - 1, left:right], 1) if self._above else None

        def back(left: int, right: int) -> Any:
            if self._above:
                self._comm.receive(y[end, left:right], 1)

            def run(first: int, last: int) -> None:
                slab_kernels.slab_backward(y, scale, backward, begin, end, left + first, left + last)

            self._threaded(run, right - left)
            return self._comm.send(y[begin, left:right], -1) if self._below else None

        self._there_and_back(ahead, back)
        if reflected:
            slab_kernels.slab_reflect(x, y, begin, end)
        self._comm.refresh(target)
