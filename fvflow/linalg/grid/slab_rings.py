"""Sweeps along a periodic axis across which a grid is divided among processes: `SlabFactor` for rings."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from fvflow.linalg.grid.ring_sweeps import eliminate_ring, ring_backward, ring_end, ring_forward, ring_start
from fvflow.linalg.grid.slab_sweeps import SlabLines
from fvflow.mesh import Array

_CARRIED = 5  # rows that an elimination hands on: those of `eliminate_ring`, and the measures of the last cells


class SlabRingFactor(SlabLines):
    """The five multipliers of `RingFactor`, each (1, along, line), of the rows that a process holds.

    The last cells of the rings belong to the last process, which the others follow in the order of the rows: what is
    carried from row to row goes up from the first process to the last, and back down.
    """

    def __init__(self, volume: Array, sums: Array, down: Array, up: Array, adjoint: bool) -> None:
        """Arrays (1, along, line) of the rows that this process holds."""
        super().__init__(volume.shape[1], volume.shape[2], [np.zeros(volume.shape) for _ in range(5)], adjoint)
        begin, end = self._begin, self._end
        ring, parts = [part[0] for part in (volume, sums, down, up)], [part[0] for part in self._parts]
        carried = self._carried(*ring)
        start = begin - 1 if self._below else begin

        def eliminate(first: int, last: int) -> None:
            eliminate_ring(*ring, *parts, carried[4], carried[:4], first, last, not self._above)

        eliminate(start, end - 1)
        if self._above:
            handed = carried.copy()
            request = self._comm.send(handed, 1)
            eliminate(end - 1, end)
            request.Wait()
        else:
            parts[1][end - 1] = ring[0][end - 1] / carried[1]

    def _carried(self, volume: Array, sums: Array, down: Array, up: Array) -> Array:
        """What the first row is eliminated with (5, line), from the process below, or that of the last cells."""
        last, carried = self._end - 1, np.empty((_CARRIED, self._lines))
        request = None
        if not self._above:
            ends = np.concatenate([ring_start(sums[last], down[last], up[last], sums[last]), volume[last : last + 1]])
            request = self._comm.send(ends, 1)
        self._comm.receive(carried, -1)
        if not self._below:
            carried[0] = sums[self._begin]
        if request is not None:
            request.Wait()
        return carried

    def sweep(self, source: Array, target: Array, reflected: bool) -> None:
        """target = S source, or 2 S source - source; they may be the same array if not reflected."""
        x, y = (part.reshape(1, -1, self._lines) for part in (source, target))
        forward, scale, backward, toward, origin = self._parts
        begin, end = self._begin, self._end
        last, sent = end - (not self._above), []
        state = np.zeros((2, self._lines))  # what is carried, and the last cells
        if not self._above:
            ends = x[0, end - 1].copy()
            sent.append(self._comm.send(ends, 1))
        if not self._below:
            self._comm.receive(state[1], -1)

        def handed(left: int, right: int, step: int) -> Any:
            kept = np.ascontiguousarray(state[:, left:right])
            return _Handed(self._comm.send(kept, step), kept)

        def taken(left: int, right: int, step: int) -> None:
            part = np.empty((2, right - left))
            self._comm.receive(part, step)
            state[:, left:right] = part

        def ahead(left: int, right: int) -> Any:
            if self._below:
                taken(left, right, -1)

            def run(first: int, stop: int) -> None:
                a, b = left + first, left + stop
                carried, closing = state[0, a:b], state[1, a:b]
                ring_forward(x, y, forward, toward, carried, closing, 0, begin, last, a, b)
                if not self._above:
                    ring_end(x, y, scale, closing, reflected, 0, last, a, b)
                    carried[:] = closing

            self._threaded(run, right - left)
            return handed(left, right, 1) if self._above else None

        def back(left: int, right: int) -> Any:
            if self._above:
                taken(left, right, 1)
            run = partial(_back, x, y, (scale, backward, origin), state, reflected, begin, last, left)
            self._threaded(run, right - left)
            return handed(left, right, -1) if self._below else None

        self._there_and_back(ahead, back)
        self._settle(sent)
        self._comm.refresh(target)


class _Handed:
    """A message that is under way, and the array that it is sent from."""

    def __init__(self, request: Any, kept: Array) -> None:
        self._request, self._kept = request, kept

    def Wait(self) -> None:  # as the requests of MPI
        """Wait until the array may be used for something else."""
        self._request.Wait()


def _back(
    x: Array,
    y: Array,
    multipliers: tuple[Array, Array, Array],
    state: Array,
    reflected: bool,
    begin: int,
    end: int,
    left: int,
    first: int,
    stop: int,
) -> None:
    """The backward sweep of some columns of a chunk."""
    a, b = left + first, left + stop
    ring_backward(x, y, *multipliers, state[0, a:b], state[1, a:b], reflected, 0, begin, end, a, b)
