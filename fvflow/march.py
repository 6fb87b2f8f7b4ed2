"""Time as an iterator of states; saving, watching and stopping are wrappers round it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Annotated, Protocol, runtime_checkable

import numpy as np
from annotated_types import Gt, Lt

from fvflow.errors import CaseError, NumericsError
from fvflow.mesh import Array
from fvflow.problems import State
from fvflow.steppers import GROWTH, Attempt, Step

_ROUND_OFF = 1e-9
MOST_STEPS = 10**9
_SHORTEST = 1e-9  # of the end: the shortest adaptive step unless given


@dataclass(frozen=True)
class Adaptive:
    """Steps whose error, told from two half steps or by the method itself, is at most `tolerance` of the mass each.

    Of two half steps y and a whole one z of a method of order p the error is |y - z|_1/(2^p - 1); y is kept. `muscl`
    tells its error from its own stages. The next step is 0.9 (tolerance/error)^(1/(p+1)) times as long, between a fifth
    and four times, or what the method bears (Hairer, Norsett, Wanner, Solving Ordinary Differential Equations I, 1993).
    """

    initial: Annotated[float, Gt(0)]
    tolerance: Annotated[float, Gt(0), Lt(1)]
    shortest: Annotated[float, Gt(0)] | None = None  # 1e-9 of the end unless given
    longest: Annotated[float, Gt(0)] | None = None

    def factor(self, error: float, order: float, growth: float) -> float:
        """By how much the next step is longer, at most `growth`."""
        power = 1.0 / (order + 1)
        return min(max(0.9 * math.pow(self.tolerance / max(error, 1e-300), power), 0.2), growth)


@dataclass(frozen=True)
class Times:
    """From 0 to `end` in steps of at most `step`, saved every `save`; or in steps chosen by their error.

    Each interval between saves is cut into equal steps, so that every saved time is met exactly.

    >>> Times(end=1.0, step=0.3, save=0.5).save_times
    (0.0, 0.5, 1.0)
    >>> [Times(end=1.0, step=0.3, save=0.5).substeps(i) for i in (1, 2)]
    [2, 2]
    """

    end: Annotated[float, Gt(0)]
    step: Annotated[float, Gt(0)] | Adaptive
    save: Annotated[float, Gt(0)] | None = None  # None: only the start and the end

    def __post_init__(self) -> None:
        if self.first > self.end * (1 + _ROUND_OFF):
            raise CaseError(f"step {self.first:g} is longer than end {self.end:g}; make it shorter")
        if self.save is not None and self.save > self.end * (1 + _ROUND_OFF):
            raise CaseError(f"save {self.save:g} is longer than end {self.end:g}; make it shorter or leave it out")
        if isinstance(self.step, Adaptive) and (self.step.longest or self.end) < (self.step.shortest or 0.0):
            raise CaseError(f"longest {self.step.longest:g} is below shortest {self.step.shortest:g}; exchange them")
        if isinstance(self.step, Adaptive) and self.step.initial < (self.step.shortest or 0.0):
            raise CaseError(
                f"initial {self.step.initial:g} is below shortest {self.step.shortest:g}; start with a longer step"
            )
        if not self.end / self.first < MOST_STEPS or (self.save is not None and not self.end / self.save < MOST_STEPS):
            raise CaseError(f"end {self.end:g} is more than {MOST_STEPS:.0e} steps or saves away; make them longer")

    @property
    def first(self) -> float:
        """The length asked for, or the first one to be tried."""
        return self.step.initial if isinstance(self.step, Adaptive) else self.step

    @property
    def longest(self) -> float:
        """The longest step that may come."""
        return self.step if not isinstance(self.step, Adaptive) else min(self.step.longest or self.end, self.end)

    def undivided(self) -> Times:
        """The same times in steps as long as they may be, for a method whose steps have no error to be chosen by."""
        return replace(self, step=min(self.longest, self.save or self.end)) if isinstance(self.step, Adaptive) else self

    @property
    def saves(self) -> int:
        """Number of saved times after the start."""
        return 1 if self.save is None else math.ceil(self.end / self.save * (1 - _ROUND_OFF))

    def save_time(self, index: int) -> float:
        """The saved time of the given index; 0 is the start."""
        return self.end if index == self.saves else index * (self.save or self.end)

    @property
    def save_times(self) -> tuple[float, ...]:
        """All saved times."""
        return tuple(self.save_time(index) for index in range(self.saves + 1))

    def substeps(self, index: int) -> int:
        """Number of steps to the saved time `index` from the one before."""
        return max(1, math.ceil((self.save_time(index) - self.save_time(index - 1)) / self.first * (1 - _ROUND_OFF)))

    @property
    def length(self) -> float | None:
        """The length of every step; None if they differ."""
        if isinstance(self.step, Adaptive):
            return None
        usual, last = (
            self.save_time(1) / self.substeps(1),
            (self.end - self.save_time(self.saves - 1)) / self.substeps(self.saves),
        )
        return usual if math.isclose(usual, last, rel_tol=_ROUND_OFF) else None

    @property
    def steps(self) -> int:
        """Number of steps in all; of the first length, if they are chosen by their error."""
        usual = self.substeps(1)
        return usual * (self.saves - 1) + self.substeps(self.saves)


@dataclass(frozen=True)
class Moment(Times):
    """A single frame and no steps: for what does not happen in time.

    >>> Moment().save_times
    (0.0,)
    """

    end: float = 0.0
    step: float = 0.0
    saves = 0
    steps = 0
    length = None

    def __post_init__(self) -> None:
        """Nothing to refuse."""


def march(
    step: Step,
    state: State,
    times: Times,
    volume: Array,
    order: float,
    growth: float = GROWTH,
    attempt: Attempt | None = None,
) -> Iterator[State]:
    """Every state from the initial one on; raises NumericsError at the first that is not finite.

    The volumes of the cells, the order of the method and the growth that it bears are for steps chosen by their error;
    so is `attempt`, for a method that tells its error itself.
    """
    yield state
    if isinstance(times.step, Adaptive):
        yield from _adapted(attempt or _doubled(step, volume, order), state, times, times.step, order, growth)
        return
    for index in range(1, times.saves + 1):
        start, end, cuts = times.save_time(index - 1), times.save_time(index), times.substeps(index)
        whole = math.isclose(end - start, times.save_time(1), rel_tol=_ROUND_OFF)
        length = (
            times.save_time(1) if whole else end - start
        ) / cuts  # the same to the last bit, so factors are reused
        for cut in range(1, cuts + 1):
            at = end if cut == cuts else start + cut * length
            state = _taken(step, state, length, at)
            yield state


def _taken(step: Step, state: State, length: float, at: float) -> State:
    """The state after a step, at the time `at`."""
    try:
        after = replace(step(state, length), time=at, rejections=0)
    except (CaseError, NumericsError) as error:  # of a case whose drift comes to be too much for its flux, the first
        raise type(error)(f"{error} (step {state.step + 1}, from t = {state.time:g} to {at:g})") from error
    _require_finite(after)
    return after


def _doubled(step: Step, volume: Array, order: float) -> Attempt:
    """Two half steps, and their error from a whole one."""

    def attempt(state: State, length: float) -> tuple[tuple[State, ...], float]:
        half, at = 0.5 * length, state.time + length
        whole = _taken(step, state, length, at)
        middle = _taken(step, state, half, state.time + half)
        last = _taken(step, middle, half, at)
        return (middle, last), float(volume @ np.abs(last.density - whole.density)) / state.mass / (2**order - 1)

    return attempt


def _adapted(
    attempt: Attempt, state: State, times: Times, rule: Adaptive, order: float, growth: float
) -> Iterator[State]:
    length = min(rule.initial, rule.longest or times.end)
    shortest, rejections = rule.shortest or _SHORTEST * times.end, 0
    for index in range(1, times.saves + 1):
        end = times.save_time(index)
        while state.time < end:
            parts = math.ceil((end - state.time) / length * (1 - _ROUND_OFF))
            tau = (end - state.time) / parts
            try:
                taken, error = attempt(state, tau)
                _require_finite(taken[-1])
            except NumericsError:
                if tau <= shortest:
                    raise
                taken, error = (), np.inf
            cut = bool(taken) and taken[-1].time < state.time + tau  # the method bears no more
            tau = taken[-1].time - state.time if cut else tau
            if error > rule.tolerance and tau <= shortest:
                raise NumericsError(
                    f"a step of {tau:.3g} at t = {state.time:g}, the shortest allowed, is off by {error:.1e} "
                    f"(tolerance {rule.tolerance:g}); use a larger tolerance or a smaller shortest"
                )
            length = min(max(tau * rule.factor(error, order, growth), shortest), rule.longest or times.end)
            if error > rule.tolerance:
                rejections += 1
                continue
            at = end if parts == 1 and not cut else taken[-1].time
            for one in (*taken[:-1], replace(taken[-1], time=at)):
                state, rejections = replace(one, rejections=rejections), 0
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


@runtime_checkable
class Progress(Protocol):
    """Is told how far a run is."""

    def step(self, state: State) -> None:
        """Called with the initial state and after every step."""

    def iteration(self, iterations: int, residual: float) -> None:
        """Called during a solve that does not advance in time: the iterations so far, the relative residual."""


Watch = Progress | Callable[[State], None]


class Watchers:
    """Several watchers as one `Progress`; a plain function is called with each state and not told of iterations."""

    def __init__(self, *watchers: Watch) -> None:
        self._steps = [watch.step if isinstance(watch, Progress) else watch for watch in watchers]
        self._iterations = [watch.iteration for watch in watchers if isinstance(watch, Progress)]

    def step(self, state: State) -> None:
        """Pass the state on."""
        for watch in self._steps:
            watch(state)

    def iteration(self, iterations: int, residual: float) -> None:
        """Pass the iterations and the residual on."""
        for watch in self._iterations:
            watch(iterations, residual)


def observed(states: Iterable[State], *watchers: Callable[[State], None]) -> Iterator[State]:
    """The same states, each shown to the watchers on its way."""
    for state in states:
        for watch in watchers:
            watch(state)
        yield state


def at_save_times(states: Iterable[State], times: Times) -> Iterator[State]:
    """Only the states at saved times."""
    index = 0
    for state in states:
        if state.time == times.save_time(index):
            yield state
            index += 1
