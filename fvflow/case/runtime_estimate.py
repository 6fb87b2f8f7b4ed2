"""How long a run will take, measured on a few of its steps, or on those of a smaller problem if its own are long."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

from fvflow.case.simulation import Simulation
from fvflow.errors import FvflowError
from fvflow.jit import expect_iterations
from fvflow.problems import State
from fvflow.times import Times

_BUDGET = 0.8  # seconds that may be spent beside compilation, as far as can be foreseen
_SHARE = 0.1  # of the budget, for one step of the smallest problem
_SMALLEST = 200  # cells of the smallest problem
_UNTRIED = 20_000  # cells up to which a mesh that cannot be coarsened is tried at once
_SHORTER, _SHORTEST = 16.0, 12  # a long step is tried at 16^-12, 16^-11, ... of its length
_STEPS, _ADAPTIVE_STEPS = 3, 8  # steps to be timed, of given and of adaptive length


@dataclass(frozen=True)
class _Timing:
    """Measured seconds of a problem with so many cells."""

    cells: int
    method: str
    first: float  # of the first step, with all that is prepared before it
    step: float  # of a later step
    count: int = 0  # of adaptive steps, how many were timed
    length: float = 0.0  # of adaptive steps, the length of the last one


class _Enough(Exception):
    """As many steps were taken as were asked for."""


class RuntimeEstimate:
    """The time of a run: of whole steps if they fit the budget, else of steps of smaller problems of the same flow.

    Each problem has 8 times the cells n of the one before, as long as that fits the budget; its time is assumed to grow
    at most like n^1.5. If the second does not fit, one of 4 n is tried. The last time is extrapolated by
    the power of n that the last two show, by a + b n through both if that is below 1, as a part does not grow with the
    mesh, or by n if there is only one. A step whose work grows with its length is timed at a shorter length and scaled;
    on grids, where that work also grows with 1/h or 1/h^2, these powers are 1 + 2/d and 1 + 1/d, and the factor between
    problems is 2^d. Kernels that have yet to be compiled or loaded are part of the run, but not extrapolated.
    """

    def __init__(self, simulation: Simulation, smaller: Callable[[int], Simulation] | None) -> None:
        """`smaller(cells)` gives the same flow on about so many cells; None if the mesh cannot be coarsened."""
        assert isinstance(simulation.times, Times)
        self.simulation, self.times, self._smaller = simulation, simulation.times, smaller
        self.adaptive = self.times.adaptive is not None
        self.explicit = simulation.flow.work_grows_with_step and not self.adaptive
        dimension, finer = simulation.mesh.dimension, self.explicit and simulation.mesh.edges is not None
        self.growth = 2**dimension if finer else 8  # of the cells from one problem to the next
        self.usual, self.steepest = (1 + 1 / dimension, 1 + 2 / dimension) if finer else (1.0, 1.5)
        self.cold = 0.0  # seconds that only the first steps take
        self.total = math.nan  # seconds of the run, once `describe` was asked; nan if they are not known
        self.longer, self.dearer = 1.0, 1.0  # ratios of a step to the timed one: its length, and its time

    def describe(self) -> str:
        """A sentence on the time."""
        # count the steps in as the run will take them, so that loops are compiled here if they are in the run
        expect_iterations(self.simulation.mesh.cells * (1 if self.adaptive else self.times.steps))
        found: list[_Timing] = []
        start, whole = time.perf_counter(), self.simulation.mesh.cells
        for size in self._sizes():
            if not found and size > max(_UNTRIED, _SMALLEST * self.growth):
                break
            left = _BUDGET + self.cold - (time.perf_counter() - start)
            if found and self._seconds(size, found[-1]) > left:
                between = 4 * found[-1].cells
                if len(found) > 1 or between >= size or self._seconds(between, found[-1]) > left:
                    break
                size = between
            try:
                self._time(size, found)
            except FvflowError as error:
                if size == whole:
                    return f"not known: {error}"
        if not found:
            return "not known: the mesh is too large to try, and cannot be coarsened"
        return self._sentence(found)

    def _seconds(self, size: int, last: _Timing) -> float:
        """The most that timing so many cells takes, from the last timing."""
        return (last.first + _STEPS * last.step) * float((size / last.cells) ** self.steepest)

    def _sizes(self) -> list[int]:
        cells = self.simulation.mesh.cells
        if self._smaller is None:
            return [cells] if cells <= _UNTRIED else []
        return [*(size for k in range(22) if 2 * (size := _SMALLEST * self.growth**k) < cells), cells]

    def _time(self, size: int, found: list[_Timing]) -> None:
        """Time steps on about so many cells, and append the result."""
        small = self._problem(size)
        method = small.flow.describe(small.mesh.extent)
        if not found and self.explicit:
            self._shorten(small)
        before = self._run(small, 1).first if not found or method != found[-1].method else 0.0
        timing = self._run(small, _ADAPTIVE_STEPS if self.adaptive else _STEPS)
        self.cold += max(before - timing.first, 0.0)
        found.append(timing)

    def _problem(self, size: int) -> Simulation:
        """The simulation on about so many cells."""
        if self._smaller is None or size >= self.simulation.mesh.cells:
            return copy.copy(self.simulation)
        return self._smaller(size)

    def _run(self, small: Simulation, most: int) -> _Timing:
        """Take so many steps."""
        start = self.times.save_time(0)
        marks, reached = [time.perf_counter()], [start]
        length = (self.times.save_time(1) - start) / self.times.substeps(1) / self.longer
        small.times = self.times if self.adaptive else Times(start + _STEPS * length, length, start=start)

        def watch(state: State) -> None:
            marks.append(time.perf_counter())
            reached.append(state.time)
            if len(marks) - 2 == most:
                raise _Enough

        try:
            for _ in small.frames(watch):
                pass
        except _Enough:
            pass
        cells, method = small.mesh.cells, small.flow.describe(small.mesh.extent)
        first, count = marks[2] - marks[0], len(marks) - 2
        if self.adaptive:
            step = (marks[-1] - marks[1]) / count
            return _Timing(cells, method, first, step, count, reached[-1] - reached[-2])
        return _Timing(cells, method, first, min(b - a for a, b in pairwise(marks[min(2, most) :])))

    def _shorten(self, small: Simulation) -> None:
        """Find the longest step that takes no more than its share of the budget."""
        before = -1.0
        for power in range(_SHORTEST, -1, -1):
            self.longer = _SHORTER**power
            took = self._run(small, _STEPS).step
            more = max(took - before, 0.0) / (1 - 1 / _SHORTER) if before >= 0 else 0.0  # what grows with the length
            if more and took + (_SHORTER - 1) * more > _SHARE * _BUDGET:
                self.dearer = (took + (self.longer - 1) * more) / took
                return
            before = took

    def _sentence(self, found: list[_Timing]) -> str:
        last, whole = found[-1], self.simulation.mesh.cells
        step = self._extrapolated(found, lambda timing: timing.step) * self.dearer
        source = "" if last.cells == whole else f" on a mesh of {last.cells} cells"
        if self.adaptive:
            return self._adaptive_sentence(last, step, source)
        steps = self.simulation.flow.passes * self.times.steps
        ready = self._extrapolated(found, lambda timing: max(timing.first - timing.step, 0.0))
        self.total = total = self.cold + ready + steps * step
        part = "" if self.longer == 1 else f" of 1/{self.longer:.0f} the length"
        return f"about {duration(total)}, from one step{part}{source}"

    def _extrapolated(self, found: list[_Timing], seconds: Callable[[_Timing], float]) -> float:
        """The seconds of the whole problem."""
        last, whole = found[-1], self.simulation.mesh.cells
        if len(found) == 1 or found[-2].method != last.method or found[-2].cells == last.cells:
            return seconds(last) * float((whole / last.cells) ** self.usual)
        power = min(_power(found[-2], last), self.steepest)
        if power >= 1.0:
            return seconds(last) * float((whole / last.cells) ** power)
        more = max(seconds(last) - seconds(found[-2]), 0.0) / (last.cells - found[-2].cells)  # a cell
        return seconds(last) + more * (whole - last.cells)

    def _adaptive_sentence(self, last: _Timing, step: float, source: str) -> str:
        sentence = f"about {duration(step)} a step{source and ', from steps' + source}; their error chooses how many"
        if source or not last.length:
            return sentence
        self.total = total = self.cold + step * self.times.span / last.length
        return (
            f"{sentence}, {duration(total)} in all if they stay as long as the first {last.count} ({last.length:.2g})"
        )


def _power(one: _Timing, other: _Timing) -> float:
    """The power of the cells that the time of a step grows with."""
    return math.log(max(other.step, 1e-9) / max(one.step, 1e-9)) / math.log(other.cells / one.cells)


def duration(seconds: float) -> str:
    """A time as a person reads it.

    >>> [duration(time) for time in (0.0123, 99, 100, 7200, 1e6)]
    ['0.012 s', '99 s', '1.7 min', '2 h', '12 days']
    """
    for unit, size, largest in (("s", 1, 100), ("min", 60, 100), ("h", 3600, 48)):
        if seconds < largest * size:
            return f"{seconds / size:.2g} {unit}"
    return f"{seconds / 86400:.2g} days"
