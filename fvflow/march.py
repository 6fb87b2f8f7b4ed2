"""Time as an iterator of states; saving, watching and stopping are wrappers round it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Protocol, runtime_checkable

import numpy as np

from fvflow.errors import CaseError, NumericsError
from fvflow.mesh import Array
from fvflow.problems import State
from fvflow.steppers import GROWTH, Attempt, Step
from fvflow.times import ROUND_OFF, Adaptive, TimeGrid, Times

_SHORTEST = 1e-9  # of the end: the shortest adaptive step unless given


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
    if times.adaptive is not None:
        yield from _adapted(attempt or _doubled(step, volume, order), state, times, times.adaptive, order, growth)
        return
    for index in range(1, times.saves + 1):
        start, end, cuts = times.save_time(index - 1), times.save_time(index), times.substeps(index)
        whole = math.isclose(end - start, times.save_time(1), rel_tol=ROUND_OFF)
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
            parts = math.ceil((end - state.time) / length * (1 - ROUND_OFF))
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


def at_save_times(states: Iterable[State], times: TimeGrid) -> Iterator[State]:
    """Only the states at saved times."""
    index = 0
    for state in states:
        if state.time == times.save_time(index):
            yield state
            index += 1
