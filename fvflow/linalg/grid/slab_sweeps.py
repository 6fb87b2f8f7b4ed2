"""Sweeps along the axis across which a grid is divided among processes, by pipelined elimination.

The columns of a slab are swept in chunks: a process takes over a chunk from the one below as soon as that has
eliminated its own rows of it, and goes on with the next while the one above works. Backward likewise.
"""

from __future__ import annotations

from collections.abc import Iterator
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


class SlabFactor:
    """The multipliers of the axis that is divided: forward, scale, backward, each (along, line) or (along, 1)."""

    lines: None = None
    """Several steps are never taken at once."""

    def __init__(self, volume: Array, sums: Array, down: Array, up: Array, shared: bool, adjoint: bool) -> None:
        """Arrays (1, along, line) of the rows that this process holds; `shared` if all lines have the same rates."""
        if adjoint:
            raise ValueError("no adjoint flow is run on several ranks")
        self._comm: Any = world()
        self._lines, division = volume.shape[2], self._comm.slab
        self._begin = division.below(self._comm.rank)
        self._end = volume.shape[1] - division.above(self._comm.rank)
        self._below, self._above = (self._comm.neighbour(step) is not None for step in (-1, 1))
        if shared:
            middle = slice(volume.shape[2] // 2, volume.shape[2] // 2 + 1)
            volume, sums, down, up = (np.ascontiguousarray(part[:, :, middle]) for part in (volume, sums, down, up))
        self._parts = [np.zeros(volume.shape[1:]) for _ in range(3)]
        self._eliminate(volume[0], sums[0], down[0], up[0])

    @property
    def nbytes(self) -> int:
        """Bytes of the multipliers."""
        return sum(part.nbytes for part in self._parts)

    def _chunks(self, columns: int) -> Iterator[tuple[int, int]]:
        """Begin and end of each chunk."""
        width = min(max(columns // _FEWEST, _NARROWEST), _WIDEST)
        yield from pairwise([*range(0, columns, width), columns])

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
        chunks, sent = list(self._chunks(self._lines)), []

        def ahead(left: int, right: int) -> None:
            if self._below:
                self._comm.receive(y[begin - 1, left:right], -1)

            def run(first: int, last: int) -> None:
                slab_kernels.slab_forward(x, y, forward, fresh, begin, end, left + first, left + last)

            self._threaded(run, right - left)
            if self._above:
                sent.append(self._comm.send(y[end - 1, left:right], 1))

        def back(left: int, right: int) -> None:
            if self._above:
                self._comm.receive(y[end, left:right], 1)

            def run(first: int, last: int) -> None:
                slab_kernels.slab_backward(y, scale, backward, begin, end, left + first, left + last)

            self._threaded(run, right - left)
            if self._below:
                sent.append(self._comm.send(y[begin, left:right], -1))

        if self._above:
            for chunk in chunks:
                ahead(*chunk)
            self._settle(sent)  # before the rows that are being sent are overwritten
            for chunk in chunks:
                back(*chunk)
        else:
            for chunk in chunks:
                ahead(*chunk)
                back(*chunk)
        self._settle(sent)
        if reflected:
            slab_kernels.slab_reflect(x, y, begin, end)
        self._comm.refresh(target)

    def _threaded(self, run: Any, columns: int) -> None:
        parallel_for(run, columns, columns * (self._end - self._begin), _UNIT)

    @staticmethod
    def _settle(sent: list[Any]) -> None:
        for request in sent:
            request.Wait()
        sent.clear()
