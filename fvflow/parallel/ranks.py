"""Processes that MPI connects, each with a slab of the grid."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np

os.environ.setdefault("MPIR_CVAR_POLLS_BEFORE_YIELD", "10")  # a rank that waits lets others have its core
from mpi4py import MPI

from fvflow.errors import CaseError, FvflowError
from fvflow.parallel.alone import Alone, Array, added
from fvflow.parallel.blocks import BLOCK, beginning, cut, owners
from fvflow.parallel.division import Division
from fvflow.parallel.pieces import Pieced
from fvflow.system import usable_cores

T = TypeVar("T")
_PIECE = 2**20  # values of a piece, 8 MiB
_PATIENCE = 0.5  # seconds until a process tells an error of its own
_PAUSE = 0.005
_UP, _DOWN, _BLOCKS, _ASK, _PIECES, _TOLD = range(1, 7)


class Ranks(Alone):
    """The ranks of MPI_COMM_WORLD; messages of errors go by a communicator of their own."""

    holds_all = False

    def __init__(self) -> None:
        self._comm = MPI.COMM_WORLD.Dup()
        self._errors = MPI.COMM_WORLD.Dup()
        self.rank, self.size = self._comm.rank, self._comm.size
        self._apart = False
        self._local = MPI.COMM_WORLD.Split_type(MPI.COMM_TYPE_SHARED).size

    @property
    def cores(self) -> int:
        """The cores of the machine, shared by the ranks on it."""
        return max(1, usable_cores() // self._local)

    @property
    def share(self) -> float:
        """The share of the run that the ranks of this machine hold."""
        return self._local / self.size

    # slabs

    def divide(self, layers: int, layer: int, depth: int = 1, periodic: bool = False) -> None:
        """Take a slab; raises CaseError if there are too few layers."""
        self.division = Division(layers, layer, self.size, depth, periodic)

    def own(self, values: Any) -> Any:
        """The values (cell,) of the cells that are this rank's own."""
        division = self.slab
        held = len(division.held(self.rank)) * division.layer
        if len(values) != held:
            raise ValueError(f"{len(values)} values for {held} cells of a slab")
        return values[division.own(self.rank)]

    def part(self, values: Any) -> Any:
        """The values (cell,) that this rank holds of those of the whole mesh."""
        division = self.slab
        layers = np.asarray(values).reshape(division.layers, division.layer)
        return layers.take(division.held(self.rank), axis=0, mode="wrap").ravel()

    def holds_part(self, value: Any) -> bool:
        """Whether it is an array of a number per cell of the slab."""
        if self.division is None or not isinstance(value, np.ndarray):
            return False
        return bool(value.shape == (len(self.division.held(self.rank)) * self.division.layer,))

    def neighbour(self, step: int) -> int | None:
        """The rank below (-1) or above (1); None at an end that is not joined to the other."""
        rank = self.rank + step
        if self.slab.periodic:
            return rank % self.size
        return rank if 0 <= rank < self.size else None

    def refresh(self, values: Array) -> Array:
        """Fetch the layers of the neighbours, in place."""
        division = self.slab
        rows = values.reshape(-1, division.layer)
        depth, below, above = division.depth, division.below(self.rank), division.above(self.rank)
        lower, upper = self.neighbour(-1), self.neighbour(1)
        last = len(rows) - above
        wait = []
        if upper is not None:
            wait.append(self._comm.Irecv(rows[last:], upper, _DOWN))
            wait.append(self._comm.Isend(rows[last - depth : last], upper, _UP))
        if lower is not None:
            wait.append(self._comm.Irecv(rows[:below], lower, _UP))
            wait.append(self._comm.Isend(rows[below : below + depth], lower, _DOWN))
        MPI.Request.Waitall(wait)
        return values

    def middle_line(self, lines: Array) -> Array:
        """The line in the middle of the whole grid, from the rank that owns it; rows are layers, or parts."""
        division = self.slab
        held = division.held(self.rank)
        per_layer = len(lines) // len(held)
        layer, rest = divmod(division.layers * per_layer // 2, per_layer)
        o, k = (layer - held.start) * per_layer + rest, lines.shape[2] // 2
        line = lines[o : o + 1, :, k : k + 1].copy() if layer in held else None
        found: Array = self._comm.bcast(line, division.owner(layer))
        return found

    def send(self, values: Any, step: int) -> Any:
        """Begin to send contiguous values to the rank below (-1) or above (1); returns what to wait for."""
        to = self.neighbour(step)
        assert to is not None
        return self._comm.Isend(values, to, _UP if step > 0 else _DOWN)

    def receive(self, values: Any, step: int) -> None:
        """Receive contiguous values from the rank below (-1) or above (1)."""
        source = self.neighbour(step)
        assert source is not None
        self._comm.Recv(values, source, _UP if step < 0 else _DOWN)

    # reductions

    def total(self, sums: Callable[..., Array], *arrays: Array) -> float:
        """As of one process, bit by bit: a block that is cut is summed where it begins."""
        division = self.slab
        cells = [division.cells(rank) for rank in range(self.size)]
        first, last = cells[self.rank]
        parts = [self.own(array) for array in arrays]
        head, (begin, end), tail = cut(first, last)
        request = None
        if head is not None:
            packed = np.stack([part[head.begin : head.end] for part in parts])
            request = self._comm.Isend(packed, beginning(cells, head.block), _BLOCKS)
        found = sums(*(part[begin:end] for part in parts)) if end > begin else np.empty(0)
        if tail is not None:
            pieces = [np.stack([part[tail.begin : tail.end] for part in parts])]
            stop = min((tail.block + 1) * BLOCK, cells[-1][1])
            for rank in range(self.rank + 1, self.size):
                if cells[rank][0] >= stop:
                    break
                piece = np.empty((len(arrays), min(cells[rank][1], stop) - cells[rank][0]))
                self._comm.Recv(piece, rank, _BLOCKS)
                pieces.append(piece)
            found = np.append(found, sums(*np.concatenate(pieces, axis=1)))
        if request is not None:
            request.Wait()
        return added(self.joined(found, owners(cells)))

    def joined(self, values: Array, counts: Sequence[int]) -> Array:
        """The values of all ranks, one after the other."""
        every = np.empty(sum(counts))
        self._comm.Allgatherv(np.ascontiguousarray(values), [every, counts])
        return every

    def owned(self, cells: Any) -> Any:
        """Whether each cell is in a layer of this rank."""
        own = self.slab.own(self.rank)
        return (cells >= own.start) & (cells < own.stop)

    def gathered(self, values: Array) -> Array:
        """The values (any,) of all ranks, one after the other."""
        return self.joined(values, self._comm.allgather(len(values)))

    def total_of_layers(self, values: Array) -> float:
        """The sum of values (layer,) of the layers that a rank holds."""
        marks, below = self.slab.marks, self.slab.below(self.rank)
        counts = [end - begin for begin, end in pairwise(marks)]
        return float(self.joined(values[below : below + counts[self.rank]], counts).sum())

    def largest(self, values: Any) -> float:
        """The largest of all ranks; nan if one is."""
        return float(self.joined(np.array([self.own(values).max()], float), [1] * self.size).max())

    def smallest(self, values: Any) -> float:
        """The smallest of all ranks; nan if one is."""
        return float(self.joined(np.array([self.own(values).min()], float), [1] * self.size).min())

    def every(self, flag: bool) -> bool:
        """Whether it holds on all ranks."""
        return bool(self._comm.allreduce(bool(flag), MPI.LAND))

    def some(self, values: Any) -> bool:
        """Whether one of the values of the ranks' own cells is true, or not 0."""
        return bool(self._comm.allreduce(bool(self.own(values).any()), MPI.LOR))

    def highest(self, value: float) -> float:
        """The largest number of all ranks."""
        found = np.empty(1)
        self._comm.Allreduce(np.array([value], float), found, MPI.MAX)
        return float(found[0])

    def at_extreme(self, index: int, key: float, values: Array) -> tuple[int, float]:
        """The cell of the whole mesh, and its value, of the rank whose key is smallest, the first of them."""
        division = self.slab
        held = division.held(self.rank)
        layer, rest = divmod(index, division.layer)
        cell = held[layer] % division.layers * division.layer + rest
        _, _, found, value = min(self._comm.allgather((key, self.rank, cell, float(values[index]))))
        return found, value

    # the first rank

    def shared(self, value: T) -> T:
        """The value of rank 0."""
        found: T = self._comm.bcast(value)
        return found

    def by_first(self, action: Callable[[], T]) -> T:
        """Run it on rank 0 only."""
        value, error = None, None
        if self.rank == 0:
            try:
                value = action()
            except FvflowError as raised:
                error = raised
        value, error = self._comm.bcast((value, error))
        if error is not None:
            raise error
        found: Any = value
        return found  # type: ignore[no-any-return]

    def on_first(self, action: Callable[[], Any]) -> None:
        """Run it on rank 0 only."""

        def run() -> None:
            action()

        self.by_first(run)

    def collect(self, arrays: Mapping[str, Any], use: Callable[[Mapping[str, Any]], None]) -> None:
        """Rank 0 asks the others for pieces, in the order in which it uses them."""

        def asking() -> None:
            try:
                use({name: self._pieced(name, values) for name, values in arrays.items()})
            finally:
                for rank in range(1, self.size):
                    self._comm.send(None, rank, _ASK)

        if self.rank > 0:
            while (asked := self._comm.recv(source=0, tag=_ASK)) is not None:
                name, begin, end = asked
                self._comm.Send(np.ascontiguousarray(self.own(arrays[name])[begin:end]), 0, _PIECES)
        self.on_first(asking)

    def _pieced(self, name: str, values: Any) -> Pieced:
        """An array of the whole mesh of which rank 0 has its own part."""
        return Pieced(self.slab.layers * self.slab.layer, values.dtype, partial(self._pieces, name, values))

    def _pieces(self, name: str, values: Any) -> Iterator[Any]:
        yield self.own(values)
        for rank in range(1, self.size):
            begin, end = self.slab.cells(rank)
            for start in range(0, end - begin, _PIECE):
                stop = min(start + _PIECE, end - begin)
                piece = np.empty(stop - start, values.dtype)
                self._comm.send((name, start, stop), rank, _ASK)
                self._comm.Recv(piece, rank, _PIECES)
                yield piece

    # errors

    def require_same(self, value: str, sentence: str) -> None:
        """Raise CaseError on all ranks unless they all give the same value."""
        if len(set(self._comm.allgather(value))) > 1:
            raise CaseError(sentence)

    def arrived(self, seconds: float) -> bool:
        """Whether all ranks come here within so many seconds; once they did not, never again."""
        if self._apart:
            return False
        for rank in range(self.rank + 1, self.size):
            self._errors.isend(None, rank, _TOLD)
        request, end = self._errors.Ibarrier(), time.monotonic() + seconds
        while not request.Test():
            if time.monotonic() > end:
                self._apart = True
                return False
            time.sleep(_PAUSE)
        return True

    def told(self) -> bool:
        """Whether a rank below has met an error too: then that one tells it."""
        if self.arrived(_PATIENCE):
            return self.rank > 0
        return bool(self._errors.Iprobe(MPI.ANY_SOURCE, _TOLD))

    def leave(self, code: int) -> None:
        """End all ranks at once if this one is apart from the others; they would wait for it for ever."""
        if self._apart:
            silence = os.open(os.devnull, os.O_WRONLY)  # MPI has nothing to add
            os.dup2(silence, 1)
            os.dup2(silence, 2)
            MPI.COMM_WORLD.Abort(code)
