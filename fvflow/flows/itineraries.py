"""The itinerary of a run in given steps: what it does at which step, known from its times alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from fvflow.linalg import Itinerary
from fvflow.linalg.grid.itinerary import MOST_LENGTHS
from fvflow.linalg.grid.leap_kernels import ESTIMATE, FOLLOW, SAVE, STEP
from fvflow.march import strides
from fvflow.problems import State, Stride
from fvflow.steppers import Step
from fvflow.time_error import CompanionMonitor
from fvflow.times import Times

_NOTHING = np.zeros(1)


@dataclass
class _Rehearsal(CompanionMonitor):
    """A companion of a run of which only the times are known: it tells when it would estimate, and by which ratio."""

    estimated: Callable[[float], None]

    @property
    def estimate(self) -> float:
        """Told, not made."""
        if not math.isnan(ratio := self.ratio):
            self.estimated(ratio - 1.0)
        return math.nan


@lru_cache(maxsize=8)
def itinerary_of(times: Times, order: int | None) -> Itinerary | None:
    """The itinerary of a run in given steps, with a companion if its method has an order.

    None if its steps have too many lengths.
    """
    lengths, divisors, acts = list[float](), list[float](), list[tuple[int, int]]()

    def numbered(length: float) -> int:
        if length not in lengths:
            lengths.append(length)
        return lengths.index(length)

    def follow(state: State, length: float) -> State:
        acts.append((FOLLOW, numbered(length)))
        return state

    def estimated(divisor: float) -> None:
        acts.append((ESTIMATE, len(divisors)))
        divisors.append(divisor)

    def start() -> Step:
        return follow

    monitor = None if order is None else _Rehearsal(_NOTHING, order, start, estimated)
    state, saves = State(times.save_time(0), _NOTHING, 1.0), 1
    acts.append((SAVE, 0))
    if monitor is not None:
        monitor(state)
    for length, ends in strides(times, state.time):
        acts += [(STEP, numbered(length))] * len(ends)
        if len(lengths) > MOST_LENGTHS:
            return None
        if monitor is not None:
            monitor(State(ends[-1], _NOTHING, 1.0, stride=Stride(ends, _NOTHING, 0.0, 0.0, -math.inf, None)))
        if ends[-1] == times.save_time(saves):
            if monitor is not None:
                monitor.saved()
            acts.append((SAVE, saves))
            saves += 1
    steps = sum(kind in (STEP, FOLLOW) for kind, _ in acts)
    return Itinerary(tuple(lengths), np.array(divisors), np.array(acts, np.int64), steps)
