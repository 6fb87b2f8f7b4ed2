"""The times of a run: saved times, and the steps between them."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Annotated

from annotated_types import Gt, Lt

from fvflow.errors import CaseError

ROUND_OFF = 1e-9  # relative difference below which two times count as equal
MOST_STEPS = 10**9


@dataclass(frozen=True)
class Adaptive:
    """Steps whose estimated error is at most `tolerance` of the mass each.

    The error is estimated from two half steps y and one full step z of a method of order p, |y - z|_1/(2^p - 1), and y
    is kept; a method with an embedded estimate (`muscl`) uses that. The next step is 0.9 (tolerance/error)^(1/(p+1))
    times as long, between 1/5 and 4 times, or the growth that the method allows (Hairer, Norsett, Wanner, Solving
    Ordinary Differential Equations I, 1993, section II.4).
    """

    initial: Annotated[float, Gt(0)]
    """Length of the first step to try."""
    tolerance: Annotated[float, Gt(0), Lt(1)]
    """Largest estimated L1 error of a step, as a fraction of the mass."""
    shortest: Annotated[float, Gt(0)] | None = None
    """Length below which the run stops with an error; 1e-9 of `end` by default."""
    longest: Annotated[float, Gt(0)] | None = None
    """Largest length of a step; `end` by default."""

    def factor(self, error: float, order: float, growth: float) -> float:
        """Ratio of the next step to this one, at most `growth`."""
        power = 1.0 / (order + 1)
        return min(max(0.9 * math.pow(self.tolerance / max(error, 1e-300), power), 0.2), growth)


class TimeGrid:
    """Saved times t_0 < t_1 < ... < t_saves, t_0 = 0, and the steps between them."""

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

    @property
    def stop(self) -> float:
        """Last saved time."""
        return self.save_time(self.saves)

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
    """From 0 to `end` in steps of at most `step`, or in steps chosen by their error, saved every `save`.

    Each interval between saves is divided into equal steps, so that every saved time is met exactly.

    >>> Times(end=1.0, step=0.3, save=0.5).save_times
    (0.0, 0.5, 1.0)
    >>> [Times(end=1.0, step=0.3, save=0.5).substeps(i) for i in (1, 2)]
    [2, 2]
    """

    end: Annotated[float, Gt(0)]
    """Time at which the run ends; it starts at 0."""
    step: Annotated[float, Gt(0)] | Adaptive
    """Largest length of a step, or a mapping with `initial` and `tolerance` for steps chosen by their error."""
    save: Annotated[float, Gt(0)] | None = None
    """Time between saved frames; by default only the start and the end are saved."""

    def __post_init__(self) -> None:
        if self.first > self.end * (1 + ROUND_OFF):
            raise CaseError(f"step {self.first:g} is longer than end {self.end:g}; make it shorter")
        if self.save is not None and self.save > self.end * (1 + ROUND_OFF):
            raise CaseError(f"save {self.save:g} is longer than end {self.end:g}; make it shorter or leave it out")
        if self.adaptive is not None:
            _check_adaptive(self.adaptive, self.end)
        if not self.end / self.first < MOST_STEPS or (self.save is not None and not self.end / self.save < MOST_STEPS):
            raise CaseError(f"end {self.end:g} is more than {MOST_STEPS:.0e} steps or saves away; make them longer")

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
        return self.step if not isinstance(self.step, Adaptive) else min(self.step.longest or self.end, self.end)

    def without_error_control(self) -> Times:
        """The same saved times in steps as long as possible, for a method without an error to control."""
        return self if self.adaptive is None else replace(self, step=min(self.longest, self.save or self.end))

    @property
    def saves(self) -> int:
        """Number of saved times after the start."""
        return 1 if self.save is None else math.ceil(self.end / self.save * (1 - ROUND_OFF))

    def save_time(self, index: int) -> float:
        """Saved time t_index; index 0 is the start."""
        return self.end if index == self.saves else index * (self.save or self.end)

    def substeps(self, index: int) -> int:
        """Number of steps from saved time index - 1 to saved time index."""
        return max(1, math.ceil((self.save_time(index) - self.save_time(index - 1)) / self.first * (1 - ROUND_OFF)))

    @property
    def length(self) -> float | None:
        """Length of every step; None if they differ."""
        if self.adaptive is not None:
            return None
        usual = self.save_time(1) / self.substeps(1)
        last = (self.end - self.save_time(self.saves - 1)) / self.substeps(self.saves)
        return usual if math.isclose(usual, last, rel_tol=ROUND_OFF) else None

    @property
    def steps(self) -> int:
        """Total number of steps; with error control, the number if all steps were as long as the first."""
        return self.substeps(1) * (self.saves - 1) + self.substeps(self.saves)

    def describe(self) -> str:
        """Steps and frames, for `check`."""
        if self.adaptive is not None:
            return f"chosen by their error, the first {self.first:g}, {self.saves + 1} frames"
        return f"{self.steps} of at most {self.first:g}, {self.saves + 1} frames"


def _check_adaptive(rule: Adaptive, end: float) -> None:
    """Raise CaseError if the lengths contradict each other."""
    if rule.shortest is None:
        return
    if rule.longest is not None and rule.longest < rule.shortest:
        raise CaseError(f"longest {rule.longest:g} is below shortest {rule.shortest:g}; exchange them")
    if rule.shortest > end:
        raise CaseError(f"shortest {rule.shortest:g} is longer than end {end:g}; make it shorter")
    if rule.initial < rule.shortest:
        raise CaseError(f"initial {rule.initial:g} is below shortest {rule.shortest:g}; start with a longer step")
