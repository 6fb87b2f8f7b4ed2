"""The times of a run: saved times, and the steps between them."""

from __future__ import annotations

import bisect
import math
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Annotated

from annotated_types import Gt

from fvflow.error_control import Adaptive
from fvflow.errors import CaseError
from fvflow.saves import ROUND_OFF, GeometricSaves, Saves

MOST_STEPS = 10**9


class TimeGrid:
    """Saved times t_0 < t_1 < ... < t_saves and the steps between them."""

    @property
    def saves(self) -> int:
        """Number of saved times after the start."""
        raise NotImplementedError

    @property
    def steps(self) -> int:
        """Total number of steps."""
        raise NotImplementedError

    @property
    def length(self) -> float | None:
        """Length of every step; None if they differ or there are none."""
        return None

    @property
    def longest(self) -> float:
        """Length of the longest step."""
        return 0.0

    @property
    def adaptive(self) -> Adaptive | None:
        """The error control that chooses the steps; None if they are given."""
        return None

    def save_time(self, index: int) -> float:
        """Saved time t_index."""
        raise NotImplementedError

    @property
    def save_times(self) -> tuple[float, ...]:
        """All saved times."""
        return tuple(self.save_time(index) for index in range(self.saves + 1))

    def saved_until(self, time: float) -> int:
        """Number of saved times up to this one, up to round-off."""
        return bisect.bisect_right(range(self.saves + 1), time + 4.0 * math.ulp(time), key=self.save_time)

    @property
    def stop(self) -> float:
        """Last saved time."""
        return self.save_time(self.saves)

    def starting_at(self, time: float) -> TimeGrid:
        """The same from another start, if none is given; without steps, the same."""
        return self

    def describe(self) -> str:
        """Steps and frames, for `check`."""
        raise NotImplementedError


@dataclass(frozen=True)
class SingleFrame(TimeGrid):
    """One frame at time 0 and no steps, for a result that does not depend on time.

    >>> SingleFrame().save_times
    (0.0,)
    """

    @property
    def saves(self) -> int:
        """0."""
        return 0

    @property
    def steps(self) -> int:
        """0."""
        return 0

    def save_time(self, index: int) -> float:
        """0."""
        return 0.0

    def describe(self) -> str:
        """No steps, one frame."""
        return "none, 1 frame"


@dataclass(frozen=True)
class Times(TimeGrid):
    """From `start` to `end` in steps of at most `step`, or in steps chosen by their error, saved every `save`.

    All times are those of the clock that the drift sees. Each interval between saves is divided into equal steps, so
    that every saved time is met exactly.

    >>> Times(end=1.0, step=0.3, save=0.5).save_times
    (0.0, 0.5, 1.0)
    >>> [Times(end=1.0, step=0.3, save=0.5).substeps(i) for i in (1, 2)]
    [2, 2]
    >>> Times(end=1.0, step=0.3, save=(0.1,), start=-1.0).save_times
    (-1.0, 0.1, 1.0)
    """

    end: float
    """Time at which the run ends."""
    step: Annotated[float, Gt(0)] | Adaptive
    """Largest length of a step, or a mapping with `initial` and `tolerance` for steps chosen by their error."""
    save: Annotated[float, Gt(0)] | tuple[float, ...] | GeometricSaves | None = None
    """Time between saved frames, or a list of times, or `{kind: geometric, ...}`; start and end are always saved."""
    start: float | None = None
    """Time at which the run starts; 0, or that of the frame from a file if the drift or an exact solution uses t."""

    def __post_init__(self) -> None:
        if not self.span > 0:
            raise CaseError(f"end {self.end:g} has to be above start {self.origin:g}: both are times of the clock")
        if self.first > self.span * (1 + ROUND_OFF):
            raise CaseError(f"step {self.first:g} is longer than {self._run}; make it shorter")
        self._saves.check(self.span, self._run)
        if self.adaptive is not None:
            self.adaptive.check(self.span, self._run)
        shortest = min(self.first, self._interval)
        if not self.span / shortest < MOST_STEPS:
            raise CaseError(f"{self._run} is more than {MOST_STEPS:.0e} steps or saves away; make them longer")
        _ = self._listed  # refuses times that are out of order

    @property
    def origin(self) -> float:
        """The time at which the run starts."""
        return 0.0 if self.start is None else self.start

    @property
    def span(self) -> float:
        """The time from start to end."""
        return self.end - self.origin

    @property
    def _run(self) -> str:
        """The length of the run, in messages."""
        return f"end {self.end:g}" if self.origin == 0 else f"the run, from {self.origin:g} to {self.end:g}"

    def starting_at(self, time: float) -> Times:
        """The same with this start, unless a start is given."""
        return self if self.start is not None else replace(self, start=time)

    @property
    def _saves(self) -> Saves:
        return Saves.of(self.save)

    @cached_property
    def _listed(self) -> tuple[float, ...] | None:
        """All saved times if they are not equally spaced, else None; raises CaseError if they are out of order."""
        between = self._saves.listed(self.origin, self.end)
        if between is None:
            return None
        inner = tuple(float(time) for time in between if self.origin < time < self.end)
        return (self.origin, *inner, float(self.end))

    @property
    def adaptive(self) -> Adaptive | None:
        """The error control that chooses the steps; None if their length is given."""
        return self.step if isinstance(self.step, Adaptive) else None

    @property
    def first(self) -> float:
        """The given step length, or the first one to try with error control."""
        return self.step.initial if isinstance(self.step, Adaptive) else self.step

    @property
    def longest(self) -> float:
        """Largest length that a step may have."""
        return self.step if not isinstance(self.step, Adaptive) else min(self.step.longest or self.span, self.span)

    def without_error_control(self) -> Times:
        """The same saved times in steps as long as possible, for a method without an error to control."""
        if self.adaptive is None:
            return self
        between = max(after - before for before, after in pairwise(self._listed)) if self._listed else self._interval
        return replace(self, step=min(self.longest, between))

    def in_steps(self, factor: float, order: float) -> Times:
        """The same run in steps `factor` times as long, as nearly as whole steps between saves allow.

        Where the intervals between saves have fewer steps than that, only every so many of them, and the end, is saved.
        With error control of a method of this order, the tolerance is factor^(order + 1) times as large.
        """
        if isinstance(self.step, Adaptive):
            return replace(self, step=self.step.scaled(factor, order, self.span))
        most = max(self.substeps(index) for index in self._intervals())
        every = max(1, math.ceil(factor / most * (1 - ROUND_OFF)))
        kept = [self.save_time(index) for index in range(every, self.saves, every)] if every > 1 else []
        count = self.substeps_for(self.interval(1)) * min(every, self.saves)
        length = (self.save_time(min(every, self.saves)) - self.origin) / max(1, round(count / factor))
        return replace(self, step=length, save=tuple(kept) if every > 1 else self.save)

    @cached_property
    def _interval(self) -> float:
        """The time between equally spaced saves."""
        return self._saves.interval(self.span)

    @property
    def saves(self) -> int:
        """Number of saved times after the start."""
        return self._last

    @cached_property
    def _last(self) -> int:
        if self._listed is not None:
            return len(self._listed) - 1
        return max(1, self._count(self.span, self._interval))

    def save_time(self, index: int) -> float:
        """Saved time t_index; index 0 is the start."""
        if self._listed is not None:
            return self._listed[index]
        return self.end if index == self.saves else self.origin + index * self._interval

    def interval(self, index: int) -> float:
        """The time from save index - 1 to save index, without the round-off of a start far from 0."""
        if self._listed is not None:
            return self._listed[index] - self._listed[index - 1]
        return self._interval if index < self.saves else self.span - (index - 1) * self._interval

    def substeps(self, index: int) -> int:
        """Number of steps from saved time index - 1 to saved time index."""
        return self.substeps_for(self.interval(index))

    def substeps_for(self, length: float) -> int:
        """Number of steps in an interval of this length."""
        return max(1, self._count(length, self.first))

    def _count(self, length: float, part: float) -> int:
        """How many parts a length needs, up to round-off."""
        return math.ceil(length / part * (1 - ROUND_OFF) - self._clock_error / part)

    @cached_property
    def _clock_error(self) -> float:
        """The round-off of an interval between times of the clock, which matters for a start far from 0."""
        return 8.0 * math.ulp(max(abs(self.origin), abs(self.end)))

    def _intervals(self) -> range:
        """The saves whose intervals between them and the one before cover all lengths that occur."""
        return (
            range(1, self.saves + 1) if self._listed is not None else range(1, self.saves + 1, max(self.saves - 1, 1))
        )

    @property
    def length(self) -> float | None:
        """Length of every step; None if they differ."""
        if self.adaptive is not None:
            return None
        lengths = [self.interval(i) / self.substeps(i) for i in self._intervals()]
        first, error = lengths[0], self._clock_error
        return first if all(math.isclose(first, each, rel_tol=ROUND_OFF, abs_tol=error) for each in lengths) else None

    @property
    def steps(self) -> int:
        """Total number of steps; with error control, the number if all steps were as long as the first."""
        if self._listed is not None:
            return sum(map(self.substeps, self._intervals()))
        return self.substeps(1) * (self.saves - 1) + self.substeps(self.saves)

    def describe(self) -> str:
        """Steps and frames, for `check`."""
        start = f", from t = {self.origin:g} on" if self.origin != 0 else ""
        if self.adaptive is not None:
            return f"chosen by their error, the first {self.first:g}{start}, {self.saves + 1} frames"
        return f"{self.steps} of at most {self.first:g}{start}, {self.saves + 1} frames"
