"""Time as an iterator of states; saving, watching and stopping are wrappers round it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
from annotated_types import Gt

from fvflow.errors import CaseError, NumericsError
from fvflow.problems import State
from fvflow.steppers import Step

_ROUND_OFF = 1e-9
MOST_STEPS = 10**9


@dataclass(frozen=True)
class Times:
    """From 0 to `end` in steps of at most `step`, saved every `save`.

    Each interval between saves is cut into equal steps, so that every saved time is met exactly.

    >>> Times(end=1.0, step=0.3, save=0.5).marks
    (0.0, 0.5, 1.0)
    >>> [Times(end=1.0, step=0.3, save=0.5).cuts(i) for i in (1, 2)]
    [2, 2]
    """

    end: Annotated[float, Gt(0)]
    step: Annotated[float, Gt(0)]
    save: Annotated[float, Gt(0)] | None = None  # None: only the start and the end

    def __post_init__(self) -> None:
        if self.step > self.end * (1 + _ROUND_OFF):
            raise CaseError(f"step {self.step:g} is longer than end {self.end:g}; make it shorter")
        if self.save is not None and self.save > self.end * (1 + _ROUND_OFF):
            raise CaseError(f"save {self.save:g} is longer than end {self.end:g}; make it shorter or leave it out")
        if not self.end / self.step < MOST_STEPS or (self.save is not None and not self.end / self.save < MOST_STEPS):
            raise CaseError(f"end {self.end:g} is more than {MOST_STEPS:.0e} steps or saves away; make them longer")

    @property
    def saves(self) -> int:
        """Number of saved times after the start."""
        return 1 if self.save is None else math.ceil(self.end / self.save * (1 - _ROUND_OFF))

    def mark(self, index: int) -> float:
        """The saved time of the given index; 0 is the start."""
        return self.end if index == self.saves else index * (self.save or self.end)

    @property
    def marks(self) -> tuple[float, ...]:
        """All saved times."""
        return tuple(self.mark(index) for index in range(self.saves + 1))

    def cuts(self, index: int) -> int:
        """Number of steps to the saved time `index` from the one before."""
        return max(1, math.ceil((self.mark(index) - self.mark(index - 1)) / self.step * (1 - _ROUND_OFF)))

    @property
    def length(self) -> float | None:
        """The length of every step; None if those of the last interval are others."""
        usual, last = self.mark(1) / self.cuts(1), (self.end - self.mark(self.saves - 1)) / self.cuts(self.saves)
        return usual if math.isclose(usual, last, rel_tol=_ROUND_OFF) else None

    @property
    def steps(self) -> int:
        """Number of steps in all."""
        usual = self.cuts(1)
        return usual * (self.saves - 1) + self.cuts(self.saves)


def march(step: Step, state: State, times: Times) -> Iterator[State]:
    """Every state from the initial one on; raises NumericsError at the first that is not finite."""
    yield state
    for index in range(1, times.saves + 1):
        start, end, cuts = times.mark(index - 1), times.mark(index), times.cuts(index)
        whole = math.isclose(end - start, times.mark(1), rel_tol=_ROUND_OFF)
        length = (times.mark(1) if whole else end - start) / cuts  # the same to the last bit, so factors are reused
        for cut in range(1, cuts + 1):
            at = end if cut == cuts else start + cut * length
            try:
                state = replace(step(state, length), time=at)
            except NumericsError as error:
                raise NumericsError(f"{error} (step {state.step + 1}, from t = {state.time:g} to {at:g})") from error
            _require_finite(state)
            yield state


def _require_finite(state: State) -> None:
    with np.errstate(all="ignore"):
        total = state.density.sum()
    if not np.isfinite(total):
        cell = int(np.argmin(np.isfinite(state.density)))
        raise NumericsError(
            f"the density became {state.density[cell]} in cell {cell} at t = {state.time:g} (step {state.step}); "
            "use a shorter step or an implicit method"
        )


def tee(states: Iterable[State], *watchers: Callable[[State], None]) -> Iterator[State]:
    """The same states, each shown to the watchers on its way."""
    for state in states:
        for watch in watchers:
            watch(state)
        yield state


def every(states: Iterable[State], times: Times) -> Iterator[State]:
    """Only the states at saved times."""
    index = 0
    for state in states:
        if state.time == times.mark(index):
            yield state
            index += 1
