"""A run as an iterator of states; saving and watching are wrappers around it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, Protocol, runtime_checkable

import numpy as np

from fvflow.error_control import Adaptive
from fvflow.errors import CaseError, NumericsError
from fvflow.mesh import Array
from fvflow.problems import State
from fvflow.saves import ROUND_OFF
from fvflow.steppers import GROWTH, EmbeddedStep, FiniteCheck, Leap, Step, finite_check
from fvflow.sums import inner
from fvflow.times import TimeGrid, Times

_LEAST_MASS = float(np.finfo(float).tiny)
Due = Callable[[Sequence[float]], list[bool]]
_LEAP = 256  # most steps that are taken at once
_SHORTEST = 1e-6  # relative to the first step to try: the shortest adaptive step by default


def march(
    step: Step,
    state: State,
    times: Times,
    volume: Array,
    order: float,
    growth: float = GROWTH,
    embedded: EmbeddedStep | None = None,
    check: FiniteCheck | None = None,
) -> Iterator[State]:
    """Every state of a run, the initial one first; raises NumericsError at the first density that is not finite.

    A run that goes on from one of its states takes the same steps as if it had not been stopped.
    The other arguments are for error control: the cell volumes (cell,), the order of the method, the largest ratio of a
    step to the one before, and the step with an error estimate of its own, if the method has one. `check` is what
    raises, by default `finite_check`.
    """
    check = check or finite_check()
    yield state
    if times.adaptive is not None:
        estimated = _checked(embedded, check) if embedded else _doubled(step, volume, order, check)
        yield from _adaptive(estimated, state, times, times.adaptive, order, growth)
        return
    for length, end_time in given_steps(times, state.time):
        state = _take(step, state, length, end_time, check)
        yield state


def leaping(leap: Leap, step: Step, state: State, times: Times, due: Due, check: FiniteCheck) -> Iterator[State]:
    """A run in given steps, by leaps from one saved time to the next; where one cannot be taken, every state.

    `due` says of the times of several steps which of them the resolution has to be looked at; at the last one whoever
    takes the state does.
    """
    yield state
    for length, ends in strides(times, state.time):
        after = leap(state, length, ends, [*due(ends)[:-1], False])
        if after is not None:
            yield (state := after)
            continue
        for end in ends:
            yield (state := _take(step, state, length, end, check))


def evenly_due(times: Sequence[float], first: float, interval: float) -> list[bool]:
    """Which of some times come an interval or more after the one before that is chosen, or after `first`."""
    due = list[bool]()
    for time in times:
        due.append(time >= first)
        first = time + interval if due[-1] else first
    return due


def strides(times: Times, time: float) -> Iterator[tuple[float, tuple[float, ...]]]:
    """Length and ends of the steps between saved times, of at most so many as are taken at once."""
    saved, ends = times.saved_until(time), list[float]()
    for length, end in given_steps(times, time):
        ends.append(end)
        at_save = end == times.save_time(saved)
        if at_save or len(ends) == _LEAP:
            yield length, tuple(ends)
            ends, saved = [], saved + at_save


def given_steps(times: Times, time: float) -> Iterator[tuple[float, float]]:
    """Length and end of every step of a run in given steps that goes on from a time."""
    first = times.interval(1)
    for index in range(times.saved_until(time), times.saves + 1):
        start, end, substeps, done = _steps_of(times, index, first, time)
        length = (end - start if done is None else _interval(times, index, first)) / substeps
        for substep in range(1 + (done or 0), substeps + 1):
            time = end if substep == substeps else start + substep * length
            yield length, time


def _interval(times: Times, index: int, first: float) -> float:
    """The length of an interval between saves: that of the first to the last bit, if equal, so that factors serve."""
    interval = times.interval(index)
    return first if math.isclose(interval, first, rel_tol=ROUND_OFF) else interval


def _steps_of(times: Times, index: int, first: float, time: float) -> tuple[float, float, int, int | None]:
    """Start and end of the interval before save `index`, its steps, and how many of them end at `time` or before.

    If none ends there, since the run was begun with other times, the rest of the interval is divided anew: then the
    start is `time`, and the number is None.
    """
    start, end, substeps = times.save_time(index - 1), times.save_time(index), times.substeps(index)
    length = _interval(times, index, first) / substeps
    done = round((time - start) / length)
    if time == start + done * length:
        return start, end, substeps, done
    return time, end, times.substeps_for(end - time), None


def _take(step: Step, state: State, length: float, end_time: float, check: FiniteCheck) -> State:
    """The state after a step; its time is exactly `end_time`."""
    try:
        after = step(state, length).changed(time=end_time, rejections=0)
        check(state, after)
    except (CaseError, NumericsError) as error:  # CaseError: the drift has grown beyond what the flux allows
        raise type(error)(f"{error} (step {state.step + 1}, from t = {state.time:g} to {end_time:g})") from error
    return after


def _checked(step: EmbeddedStep, check: FiniteCheck) -> EmbeddedStep:
    """The step with every state that it takes checked."""

    def checked(state: State, length: float) -> tuple[tuple[State, ...], float]:
        taken, error = step(state, length)
        for before, after in pairwise((state, *taken)):
            check(before, after)
        return taken, error

    return checked


def _doubled(step: Step, volume: Array, order: float, check: FiniteCheck) -> EmbeddedStep:
    """Step doubling: two half steps, with an error estimate from a full step."""

    def doubled(state: State, length: float) -> tuple[tuple[State, ...], float]:
        half, end_time = 0.5 * length, state.time + length
        full = _take(step, state, length, end_time, check)
        middle = _take(step, state, half, state.time + half, check)
        last = _take(step, middle, half, end_time, check)
        difference = inner(volume, np.abs(last.density - full.density))
        return (middle, last), difference / max(abs(state.remaining), _LEAST_MASS) / (2**order - 1)

    return doubled


def _adaptive(
    step: EmbeddedStep, state: State, times: Times, control: Adaptive, order: float, growth: float
) -> Iterator[State]:
    """Every state but the initial one, with steps chosen by error control."""
    longest, shortest = control.longest or math.inf, control.shortest or _SHORTEST * control.initial
    length, rejections = min(state.next_length or control.initial, longest), 0
    for index in range(times.saved_until(state.time), times.saves + 1):
        end = times.save_time(index)
        while state.time < end:
            shortest = max(shortest, 8.0 * math.ulp(state.time))  # a shorter one would not move the clock
            parts = math.ceil((end - state.time) / length * (1 - ROUND_OFF))
            tau = (end - state.time) / parts
            at_shortest = tau <= shortest * (1 + 4 * ROUND_OFF)  # `parts` is rounded
            taken, error = _try_step(step, state, tau, at_shortest)
            shortened = bool(taken) and taken[-1].time < state.time + tau  # the method allows no longer step
            if shortened:
                tau = taken[-1].time - state.time
            accepted = error <= control.tolerance
            if not accepted and at_shortest:
                raise NumericsError(
                    f"a step of {tau:.3g} at t = {state.time:g}, the shortest allowed, is off by {error:.1e} "
                    f"(tolerance {control.tolerance:g}); use a larger tolerance or a smaller shortest"
                )
            length = min(max(tau * control.factor(error, order, growth), shortest), longest)
            if not accepted:
                rejections += 1
                continue
            end_time = end if parts == 1 and not shortened else taken[-1].time
            within = (each.changed(next_length=math.nan) for each in taken[:-1])
            for accepted_state in (*within, taken[-1].changed(time=end_time, next_length=length)):
                state, rejections = accepted_state.changed(rejections=rejections), 0
                yield state


def _try_step(step: EmbeddedStep, state: State, length: float, required: bool) -> tuple[tuple[State, ...], float]:
    """The states of a step and its error, which is infinite if the step failed; a `required` step raises instead."""
    try:
        taken, error = step(state, length)
    except NumericsError:
        if required:
            raise
        return (), math.inf
    return taken, error


@runtime_checkable
class Progress(Protocol):
    """Receives the progress of a run."""

    def step(self, state: State) -> None:
        """Called with the initial state and after every step."""

    def iteration(self, iterations: int, residual: float, iterate: Mapping[str, Any]) -> None:
        """Called during a solve that does not advance in time.

        The iterations so far, the relative residual (infinite if not known yet), and all that the solver needs to go
        on, in arrays that hold until the call returns.
        """


Watch = Progress | Callable[[State], None]


class Watchers:
    """Several watchers as one `Progress`; a plain function is called with each state, but not with iterations."""

    def __init__(self, *watchers: Watch) -> None:
        self._steps = [watch.step if isinstance(watch, Progress) else watch for watch in watchers]
        self._iterations = [watch.iteration for watch in watchers if isinstance(watch, Progress)]

    def step(self, state: State) -> None:
        """Pass the state on."""
        for watch in self._steps:
            watch(state)

    def iteration(self, iterations: int, residual: float, iterate: Mapping[str, Any]) -> None:
        """Pass the iterations, the residual and the iterate on."""
        for watch in self._iterations:
            watch(iterations, residual, iterate)


def observed(states: Iterable[State], *watchers: Callable[[State], None]) -> Iterator[State]:
    """The same states, each passed to the watchers first."""
    for state in states:
        for watch in watchers:
            watch(state)
        yield state


def at_save_times(states: Iterable[State], times: TimeGrid) -> Iterator[State]:
    """The states at saved times only."""
    index = 0
    for state in states:
        if state.time == times.save_time(index):
            yield state
            index += 1
