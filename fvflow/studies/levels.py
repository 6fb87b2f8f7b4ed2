"""A case on several levels of resolution: which levels are run, and what is kept of each."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from fvflow.case.resolution import at_resolution
from fvflow.errors import CaseError, FvflowError
from fvflow.mesh import Array, Mesh, averaged

if TYPE_CHECKING:
    from fvflow.case import Case

Refine = Literal["space", "time", "both"]
"""What becomes finer from level to level."""
Report = Callable[[str], None]
"""Is told a sentence before each level."""
_FEWEST_CELLS, _FEWEST_STEPS = 8, 2  # along an axis, and in all, of a level coarser than the case


@dataclass(frozen=True, eq=False)
class Level:
    """A run of the case at 2^power times its resolution."""

    power: int
    mesh: Mesh
    values: Array
    """The field that is judged, at the end or, between given ends, in the middle (cell,)."""
    steps: int
    span: float
    """The time from start to end."""
    figures: Mapping[str, float]
    """Errors, energy, observables and figures by name."""
    remarks: tuple[str, ...]
    seconds: float
    """CPU time of the run."""

    @property
    def size(self) -> float:
        """Mean size of a cell, (|domain|/cells)^(1/dim)."""
        return float((self.mesh.volume.sum() / self.mesh.cells) ** (1.0 / self.mesh.dimension))

    @property
    def step(self) -> float:
        """Mean length of a step; 0 if there are none."""
        return self.span / self.steps if self.steps else 0.0

    @property
    def norm(self) -> float:
        """sum |K| |u_K| of the field."""
        return float(self.mesh.volume @ np.abs(self.values))

    def difference(self, finer: Level) -> float:
        """L1 distance of the fields of two levels, that of the finer one averaged over the cells of this one."""
        return float(self.mesh.volume @ np.abs(self.values - averaged(finer.mesh, self.mesh, finer.values)))


def run_level(case: Case, power: int, refine: Refine) -> Level:
    """Run the case at 2^power times its resolution; raises CaseError or NumericsError."""
    flow = case.flow
    space = 0 if refine == "time" else power
    longer = 1.0 if refine == "space" or (flow.order_in_time == math.inf and not _has_intervals(case)) else 2.0**-power
    started = time.process_time()
    simulation = at_resolution(case, space, longer, order=flow.order_in_time).prepare()
    middle = simulation.times.save_time(0) + 0.5 * (simulation.times.stop - simulation.times.save_time(0))
    aim = simulation.times.stop if flow.end_density is None else middle
    kept = None
    for frame in simulation.frames():
        if kept is None or abs(frame.time - aim) < abs(kept.time - aim):
            kept = frame
    assert kept is not None
    name = flow.drawn[0]
    values = kept.density if name == "rho" else kept.fields[name]
    found = {**kept.diagnostics, **simulation.statistics.solved, **simulation.figures()}
    numbers = {key: float(value) for key, value in found.items() if _is_number(value)}
    span = simulation.times.stop - simulation.times.save_time(0)
    steps = int(numbers.get("steps", 0)) or simulation.times.saves
    seconds = time.process_time() - started
    return Level(power, simulation.mesh, values, steps, span, numbers, tuple(simulation.remarks()), seconds)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)


def _has_intervals(case: Case) -> bool:
    """Whether the flow has time intervals of its own."""
    return case.flow.in_intervals(0.5) != case.flow


@dataclass
class Ladder:
    """The levels of a study: the case itself, finer ones as long as they are affordable, then coarser ones."""

    case: Case
    wanted: int
    refine: Refine
    seconds: float
    """CPU seconds that a finer level may be expected to take."""
    report: Report = lambda sentence: None
    levels: list[Level] = field(default_factory=list, init=False)
    """Those that were run, the finest last."""
    notes: list[str] = field(default_factory=list, init=False)
    """Why there are no more, or others than asked for."""

    def climb(self) -> None:
        """Run them; raises CaseError or NumericsError if the case itself, or a refined mesh, is refused."""
        if self.refine != "time":
            self.case.mesh.refined(2)  # refuses meshes without refinement
        self._run(0)
        while len(self.levels) < self.wanted and self._affordable() and self._tried(self.levels[-1].power + 1):
            pass
        finest = self.levels[-1].power
        while len(self.levels) < self.wanted and self._coarsens and self._tried(self.levels[0].power - 1):
            pass
        if self.levels[0].power < 0:
            self.notes.append(
                f"the levels are those of {_times(self.levels[0].power)} to {_times(finest)} the resolution"
            )

    @property
    def _coarsens(self) -> bool:
        """Whether a coarser level would still have cells and steps to tell an order."""
        first = self.levels[0]
        cells = self.refine == "time" or first.mesh.cells >= (2 * _FEWEST_CELLS) ** first.mesh.dimension
        steady = self.refine == "space" or first.steps == 0 or self.case.flow.order_in_time == math.inf
        return cells and (steady or first.steps >= 2 * _FEWEST_STEPS)

    def _run(self, power: int) -> None:
        self.report(f"level {_times(power)} the resolution")
        level = run_level(self.case, power, self.refine)
        self.levels.insert(0 if self.levels and power < 0 else len(self.levels), level)

    def _tried(self, power: int) -> bool:
        """Whether a level could be run; if not, why is noted."""
        try:
            self._run(power)
        except FvflowError as error:
            self.notes.append(f"{_times(power)} the resolution is left out: {' '.join(map(str, error.args))}")
            return False
        if self._same(power):
            self.levels.pop(0)
            self.notes.append(f"{_times(power)} the resolution is left out: it would have the same steps")
            return False
        return True

    def _same(self, power: int) -> bool:
        """Whether a coarser level has as many steps as the one before it, although it should have fewer."""
        return power < 0 and self.refine == "time" and self.levels[0].steps == self.levels[1].steps

    def _affordable(self) -> bool:
        """Whether the next finer level can be expected to take no longer than it may; if not, that is noted."""
        if len(self.levels) == 1 and self._expected > self.seconds > self.levels[0].seconds:
            self.levels[0] = run_level(self.case, 0, self.refine)  # the first run compiles and loads: time another one
        if self._expected > self.seconds:
            self.notes.append(
                f"{_times(self.levels[-1].power + 1)} the resolution is left out: it would take about "
                f"{self._expected:.2g} s, allowed are {self.seconds:g} (--seconds)"
            )
            return False
        return True

    @property
    def _expected(self) -> float:
        """CPU seconds that the next finer level can be expected to take."""
        last = self.levels[-1]
        dimension = {"time": 0, "space": last.mesh.dimension, "both": last.mesh.dimension}[self.refine]
        growth = 2.0 ** (dimension + (self.refine != "space" and last.steps > 0))
        if len(self.levels) > 1:
            growth = max(growth, last.seconds / max(self.levels[-2].seconds, 1e-3))
        return growth * last.seconds


def _times(power: int) -> str:
    """A power of two as a factor in words.

    >>> _times(-1), _times(2)
    ('1/2 times', '4 times')
    """
    return f"{2**power} times" if power >= 0 else f"1/{2**-power} times"


def require_refinable(case: Case, levels: int, refine: str) -> None:
    """Raise CaseError if a study of these levels says nothing about the case."""
    flow = case.flow
    if refine not in ("space", "time", "both"):
        raise CaseError(f"refinement in {refine!r} is unknown; it is one of space, time, both")
    if levels < 2:
        raise CaseError(f"{levels} level tells no order; give at least 2 with a closed form, else 3")
    if flow.refinement_fault:
        raise CaseError(f"flow {flow.kind} is not verified by refinement: {flow.refinement_fault}")
    if refine == "time" and not (case.schedule.steps or _has_intervals(case)):
        raise CaseError(f"flow {flow.kind} has no steps in time; refine in space")
    if refine == "time" and flow.order_in_time == math.inf and not _has_intervals(case):
        raise CaseError("the method declares no error in time: it is exact there; refine in space")
