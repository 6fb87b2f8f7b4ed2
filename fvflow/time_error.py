"""Estimates of the error in time of a run without a clock in its equation, from the run itself."""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from fvflow.errors import NumericsError
from fvflow.mesh import Array
from fvflow.problems import State
from fvflow.steppers import Step
from fvflow.sums import inner

_STEPS, _FEWEST = 20, 10  # between two estimates by halved steps, and before the last one
_KEPT = ("time", "density", "mass", "absorption")  # of a state: what a step of these methods starts from


@dataclass
class TimeErrorMonitor:
    """Watches the states of a run by a method of order p in steps tau_n, and estimates their error in time."""

    volume: Array
    """Cell volumes (cell,)."""
    order: int
    """p."""
    largest: float = field(default=np.nan, init=False)
    """The largest estimate at a saved time, in L1 over the mass; nan if there is none."""
    _powers: float = field(default=0.0, init=False)  # sum_n tau_n^(p+1)
    _states: deque[State] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._states = deque(maxlen=self.kept)

    @property
    def kept(self) -> int:
        """Number of the last states that are kept."""
        raise NotImplementedError

    def __call__(self, state: State) -> None:
        """Take note of a state."""
        if state.stride is not None and self._states:  # several steps at once
            time = self._states[-1].time
            for end in state.stride.times[:-1]:
                self._powers, time = self._powers + (end - time) ** (self.order + 1), end
            if len(state.stride.times) > 1:
                self._states.append(State(time, state.stride.before, state.mass))
        if self._states:
            self._powers += (state.time - self._states[-1].time) ** (self.order + 1)
        self._states.append(state)

    def to_tree(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        states = [{name: getattr(state, name) for name in _KEPT} for state in self._states]
        return {"largest": self.largest, "powers": self._powers, "states": states}

    def restore(self, tree: Mapping[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.largest, self._powers = tree["largest"], tree["powers"]
        self._states.extend(State(**values) for values in tree["states"])

    def saved(self) -> None:
        """Estimate the error at the time of the last state, which is saved."""
        self.largest = float(np.fmax(self.largest, self.estimate))

    @property
    def estimate(self) -> float:
        """The error at the last state, in L1 over the mass; nan if too few steps were taken."""
        raise NotImplementedError


@dataclass
class DerivativeMonitor(TimeErrorMonitor):
    """The error at a time T of a linear method of order p for d_t rho = A rho, to leading order in the steps tau_n.

        rho_N - rho(T) = sum_n (C tau_n^(p+1)) A^(p+1) rho(T),   A^(p+1) rho = d^(p+1) rho/dt^(p+1)

    since each step is off by C tau^(p+1) A^(p+1) and all steps commute; Hairer, Norsett, Wanner, Solving Ordinary
    Differential Equations I, 1993, section II.8. The derivative is a divided difference of the last p + 2 states, so
    that a step costs nothing.
    """

    constant: float
    """C, the error constant of the method."""

    @property
    def kept(self) -> int:
        """p + 2."""
        return self.order + 2

    @property
    def estimate(self) -> float:
        """Its L1 norm over the mass; nan before step p + 1, infinite if it overflows."""
        if len(self._states) < self.order + 2:
            return np.nan
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            error = self._estimate()
        return math.inf if math.isnan(error) else error

    def _estimate(self) -> float:
        times = [state.time for state in self._states]
        differences = [state.density for state in self._states]
        for level in range(1, self.order + 2):  # level! times the divided difference is the derivative
            differences = [
                level * (after - before) / (times[i + level] - times[i])
                for i, (before, after) in enumerate(itertools.pairwise(differences))
            ]
        return self.constant * self._powers * inner(self.volume, np.abs(differences[0])) / self._states[-1].mass


@dataclass
class HalvedStepMonitor(TimeErrorMonitor):
    """The error of a method whose steps are off by an operator that is not known, or of a flow that is not linear.

        |rho_N - rho(T)|_1 ~ sum_n (tau_n/tau_N)^(p+1) |S(tau_N) rho_(N-1) - S(tau_N/2)^2 rho_(N-1)|_1/(1 - 2^-p)

    the error of the last step by Richardson's extrapolation, as often as there were steps; exact to leading order if
    the errors of steps commute with the flow, as powers of A do. Hairer, Norsett, Wanner, 1993, section II.4. Two more
    steps are taken at a saved time, at most in one of 20 steps.
    """

    start: Callable[[], Step]
    """Makes the step S of the method."""
    stop: float
    """Time at which the run ends."""
    _since: int = field(default=0, init=False)  # steps since the last estimate

    @property
    def kept(self) -> int:
        """The last two."""
        return 2

    @cached_property
    def _step(self) -> Step:
        return self.start()

    def __call__(self, state: State) -> None:
        """Take note of a state."""
        self._since += bool(self._states) * (1 if state.stride is None else len(state.stride.times))
        super().__call__(state)

    def to_tree(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {**super().to_tree(), "since": self._since}

    def restore(self, tree: Mapping[str, Any]) -> None:
        """Go on from a checkpoint."""
        super().restore(tree)
        self._since = tree["since"]

    def saved(self) -> None:
        """Estimate the error if that costs little beside the steps taken."""
        if self._since >= (_FEWEST if self._states[-1].time == self.stop else _STEPS):
            super().saved()
            self._since = 0

    @property
    def estimate(self) -> float:
        """The L1 norm over the mass; nan if there was no step, or half of one cannot be taken."""
        if len(self._states) < 2:
            return np.nan
        before, last = self._states
        length = last.time - before.time
        step, halves = self._step, State(**{name: getattr(before, name) for name in _KEPT})
        try:
            for _ in range(2):
                halves = step(halves, 0.5 * length)
        except NumericsError:  # of the estimate, not of the run: there is none
            return np.nan
        if not math.isclose(halves.time - before.time, length, rel_tol=1e-9):
            return np.nan
        off = inner(self.volume, np.abs(last.density - halves.density)) / last.mass
        return self._powers / length ** (self.order + 1) * off / (1.0 - 0.5**self.order)
