"""How long a run will take, told from a few of its steps, or from those of a smaller problem where its own are long."""

from __future__ import annotations

import copy
import math
import time
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from fvflow.errors import FvflowError
from fvflow.jit import expect_iterations
from fvflow.march import Adaptive, Times
from fvflow.mesh import coarse_proxy
from fvflow.problems import State

if TYPE_CHECKING:
    from fvflow.case.simulation import Simulation

_BUDGET = 0.8  # seconds that may be spent beside compiling, as far as can be foretold
_SHARE = 0.1  # of these, for one step of the smallest problem
_SMALLEST = 200  # cells of the smallest problem
_UNTRIED = 20_000  # cells up to which a mesh that cannot be made smaller is tried at once
_SHORTER, _SHORTEST = 16.0, 6  # a long step is tried at 16^-6, 16^-5, ... of its length
_STEPS, _ADAPTIVE = 3, 8  # steps to be timed, of given length and adaptive


@dataclass(frozen=True)
class _Timed:
    """Seconds of the first step, with all that is made ready before, and of another, in so many cells."""

    cells: int
    method: str
    first: float
    step: float
    count: int = 0  # of adaptive steps, how many were timed
    length: float = 0.0  # and how long the last of them was


class _Enough(Exception):
    """As many steps were taken as were asked for."""


class RuntimeEstimate:
    """The time of a run: of a whole step if that fits the budget, else of steps of smaller problems of the same case.

    Each problem has 8 times the cells n of the one before, as long as that fits: its time is taken to grow like n^1.5
    at most. The last is scaled by the power of n that the last two have shown; by n, if there is but one. A step whose
    work grows with its length is timed in short, and scaled; on grids, where that work grows with 1/h or 1/h^2 too,
    these powers are 1 + 2/d and 1 + 1/d, and the factor 2^d. Where kernels have yet to be compiled, or loaded, that is
    a part of the run, but not scaled.
    """

    def __init__(self, prepared: Simulation) -> None:
        self.prepared, self.times = prepared, prepared.times
        self.adaptive = isinstance(prepared.times.step, Adaptive)
        self.explicit = prepared.case.flow.explicit and not self.adaptive
        dimension, finer = prepared.mesh.dimension, self.explicit and prepared.mesh.edges is not None
        self.growth = 2**dimension if finer else 8  # of the cells from one problem to the next
        self.usual, self.steepest = (1 + 1 / dimension, 1 + 2 / dimension) if finer else (1.0, 1.5)
        self.cold = 0.0  # seconds that only the first steps take
        self.longer, self.dearer = 1.0, 1.0  # how many times as long as the timed one a step is, and takes

    def told(self) -> str:
        """A sentence on the time."""
        expect_iterations(
            self.prepared.mesh.cells * (1 if self.adaptive else self.times.steps)
        )  # steps as most will be taken
        found: list[_Timed] = []
        started, whole = time.perf_counter(), self.prepared.mesh.cells
        for size in self._sizes():
            if not found and size > max(_UNTRIED, _SMALLEST * self.growth):
                break
            left = _BUDGET + self.cold - (time.perf_counter() - started)
            if found and (found[-1].first + _STEPS * found[-1].step) * (size / found[-1].cells) ** self.steepest > left:
                break
            try:
                self._time(size, found)
            except FvflowError as error:
                if size == whole:
                    return f"not known: {error}"
        return self._sentence(found) if found else "not known: the mesh is too large to try, and no smaller one will do"

    def _sizes(self) -> list[int]:
        cells, mesh = self.prepared.mesh.cells, self.prepared.mesh
        if coarse_proxy(mesh, self.prepared.initial.density, min(_SMALLEST, cells)) is None:
            return [cells] if cells <= _UNTRIED else []
        return [*(size for k in range(22) if 2 * (size := _SMALLEST * self.growth**k) < cells), cells]

    def _time(self, size: int, found: list[_Timed]) -> None:
        """Time steps on about so many cells, and add what was found."""
        small = self._problem(size)
        method = small.case.flow.method(small.mesh.extent)
        if not found and self.explicit:
            self._shorten(small)
        before = self._run(small, 1).first if not found or method != found[-1].method else 0.0
        timed = self._run(small, _ADAPTIVE if self.adaptive else _STEPS)
        self.cold += max(before - timed.first, 0.0)
        found.append(timed)

    def _problem(self, size: int) -> Simulation:
        """The case on about so many cells."""
        whole = self.prepared
        found = coarse_proxy(whole.mesh, whole.initial.density, size) if size < whole.mesh.cells else None
        if found is None:
            return copy.copy(whole)
        mesh, density = found
        problem = whole.case.flow.problem(mesh, dict(whole.case.parameters))
        return type(whole)(whole.case, mesh, problem, State.initial(mesh, density), None)

    def _run(self, small: Simulation, most: int) -> _Timed:
        """Take so many steps."""
        marks, reached = [time.perf_counter()], [0.0]
        length = self.times.save_time(1) / self.times.substeps(1) / self.longer
        small.times = self.times if self.adaptive else Times(_STEPS * length, length)

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
        method, first, count = small.case.flow.method(small.mesh.extent), marks[2] - marks[0], len(marks) - 2
        if self.adaptive:
            each = (marks[-1] - marks[1]) / count
            return _Timed(small.mesh.cells, method, first, each, count, reached[-1] - reached[-2])
        return _Timed(small.mesh.cells, method, first, min(b - a for a, b in pairwise(marks[min(2, most) :])))

    def _shorten(self, small: Simulation) -> None:
        """Find how long a step may be that takes no more than its share."""
        before = -1.0
        for power in range(_SHORTEST, -1, -1):
            self.longer = _SHORTER**power
            took = self._run(small, _STEPS).step
            more = max(took - before, 0.0) / (1 - 1 / _SHORTER) if before >= 0 else 0.0  # what grows with the length
            if more and took + (_SHORTER - 1) * more > _SHARE * _BUDGET:
                self.dearer = (took + (self.longer - 1) * more) / took
                return
            before = took

    def _sentence(self, found: list[_Timed]) -> str:
        last, whole = found[-1], self.prepared.mesh.cells
        power = self.usual
        if len(found) > 1 and found[-2].method == last.method:
            power = _power(found[-2], last, self.steepest)
        scale = (whole / last.cells) ** power
        step = scale * last.step * self.dearer
        source = "" if last.cells == whole else f" on a mesh of {last.cells} cells"
        if self.adaptive:
            told = f"about {lasting(step)} a step{source and ', from steps' + source}; their error chooses how many"
            if source or not last.length:
                return told
            total = self.cold + step * self.times.end / last.length
            return f"{told}, {lasting(total)} in all if they stay as long as the first {last.count} ({last.length:.2g})"
        total = self.cold + scale * max(last.first - last.step, 0.0) + self.times.steps * step
        part = "" if self.longer == 1 else f" of 1/{self.longer:.0f} the length"
        return f"about {lasting(total)}, from one step{part}{source}"


def _power(one: _Timed, other: _Timed, steepest: float) -> float:
    """The power of the cells that the time of a step grows with, at least 1."""
    shown = math.log(max(other.step, 1e-9) / max(one.step, 1e-9)) / math.log(other.cells / one.cells)
    return min(max(shown, 1.0), steepest)


def lasting(seconds: float) -> str:
    """A time as a person reads it.

    >>> [lasting(time) for time in (0.0123, 99, 100, 7200, 1e6)]
    ['0.012 s', '99 s', '1.7 min', '2 h', '12 days']
    """
    for unit, size, largest in (("s", 1, 100), ("min", 60, 100), ("h", 3600, 48)):
        if seconds < largest * size:
            return f"{seconds / size:.2g} {unit}"
    return f"{seconds / 86400:.2g} days"
