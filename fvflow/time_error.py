"""Estimates of the error in time of a run, from the run itself."""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fvflow.errors import CaseError, NumericsError
from fvflow.mesh import Array
from fvflow.problems import State
from fvflow.saves import ROUND_OFF
from fvflow.steppers import Step
from fvflow.sums import inner

HALVES = "compare with a run in steps half as long"
"""How a user gets an error in time that is not estimated, as a clause."""
_LONGER = {1: 8}  # steps of a run to one of its companion, by the order
_LONGER_OTHERWISE = 5
_FEWEST = 10  # steps of a run between two estimates by a companion
_APART = 2.0  # least ratio of the powers of their steps that tells their errors apart
_LOWERED = 0.1  # share of the steps by a fallback, of first order, from which on that is the order of the run
_COMPANION = ("own", "longer", "lengths", "steps", "lowered", "unusual", "behind", "since")  # what a companion counts
_KEPT = ("time", "density", "mass", "absorption")  # of a state: what a difference in time needs


@dataclass
class TimeErrorMonitor:
    """Watches the states of a run by a method of order p in steps tau_n, and estimates their error in time."""

    volume: Array
    """Cell volumes (cell,)."""
    order: int
    """p."""
    largest: float = field(default=np.nan, init=False)
    """The largest estimate at a saved time, in L1 over the mass; nan if there is none."""
    fault: str = field(default="", init=False)
    """Why there is no estimate after all, as a clause; empty if there is one, or too few steps for one."""
    _powers: float = field(default=0.0, init=False)  # sum_n tau_n^(p+1)
    _states: deque[State] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._states = deque(maxlen=self.kept)

    @property
    def kept(self) -> int:
        """Number of the last states that are kept."""
        raise NotImplementedError

    @property
    def fewest(self) -> int:
        """Number of steps from which on there is an estimate."""
        raise NotImplementedError

    def told(self, steps: int, of: str = "") -> str:
        """Whether a run of so many steps has an estimate, for `check`."""
        if steps < self.fewest:
            return f"{of}not estimated in fewer than {self.fewest} steps; {HALVES}"
        return f"{of}estimated during the run"

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
    def fewest(self) -> int:
        """p + 1."""
        return self.order + 1

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
class CompanionMonitor(TimeErrorMonitor):
    """The error of any method of order p, from a companion: the same run in steps 8 (p = 1) or 5 times as long.

        rho_N - rho(T) ~ e(T) sum_n tau_n^(p+1)/T,   |rho_N - rho(T)|_1 ~ |sigma - rho_N|_1/(R - 1),

    sigma being the companion and R the ratio of its sum of powers of steps to that of the run: both have the same e to
    leading order, whatever the equation. It may depend on t and be nonlinear, and the errors of steps need not commute
    with it. Richardson's extrapolation of the global error; Hairer, Norsett, Wanner, 1993, sections II.4 and II.8. The
    companion goes along, so that an estimate costs about an eighth or a fifth of the run. p is 1 where a method of last
    resort took more than a tenth of the steps; where only the companion needs one, or a damped start, there is none.
    """

    start: Callable[[], Step]
    """Makes the step of the method."""
    _companion: State | None = field(default=None, init=False, repr=False)
    _made: dict[float, Step] = field(default_factory=dict, init=False, repr=False)  # a step for each of its lengths
    _own: list[float] = field(default_factory=lambda: [0.0] * 2, init=False)  # sums of tau_n^2, tau_n^(p+1)
    _longer: list[float] = field(default_factory=lambda: [0.0] * 2, init=False)  # the same of the companion
    _lengths: list[float] = field(default_factory=list, init=False)  # of the companion's steps, the last two
    _steps: int = field(default=0, init=False)
    _lowered: int = field(default=0, init=False)  # of these steps, by a fallback
    _unusual: int = field(default=0, init=False)  # of these steps, damped or by a fallback, less the companion's
    _behind: int = field(default=0, init=False)  # steps that the companion is behind
    _since: int = field(default=0, init=False)  # steps since the last estimate

    @property
    def kept(self) -> int:
        """The last."""
        return 1

    @property
    def fewest(self) -> int:
        """10."""
        return _FEWEST

    def __call__(self, state: State) -> None:
        """Take note of a state; the companion follows after every eight or five steps."""
        if self.fault:
            return
        if self._states:
            self._lowered += bool(state.fallback)
            self._unusual += _unusual(state)
            before = self._states[-1].time
            for end in (state.time,) if state.stride is None else state.stride.times:
                self._count(end - before)
                before = end
                if self._behind >= _LONGER.get(self.order, _LONGER_OTHERWISE):
                    self._follow(end)
        else:
            self._companion = state.changed(crossed=None)
        super().__call__(state)

    def _count(self, length: float) -> None:
        """Count a step of the run."""
        self._behind, self._since, self._steps = self._behind + 1, self._since + 1, self._steps + 1
        self._own = self._with(self._own, length)

    def _with(self, sums: list[float], length: float) -> list[float]:
        """The sums with those of one more step."""
        return [total + length**power for total, power in zip(sums, (2, self.order + 1), strict=True)]

    def to_tree(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        own = {name: getattr(self, f"_{name}") for name in _COMPANION}
        companion = [] if self._companion is None else [self._companion.to_tree()]
        return {**super().to_tree(), **own, "fault": self.fault, "companion": companion}

    def restore(self, tree: Mapping[str, Any]) -> None:
        """Go on from a checkpoint."""
        super().restore(tree)
        self.fault = tree["fault"]
        for name in _COMPANION:
            setattr(self, f"_{name}", tree[name])
        self._companion = State.from_tree(tree["companion"][0]) if tree["companion"] else None

    def saved(self) -> None:
        """Estimate the error if the companion has taken few steps beside those of the run."""
        if self._since < _FEWEST or self.fault:
            return
        if self._behind:
            self._follow(self._states[-1].time)
        super().saved()
        self._since = 0

    def _follow(self, end: float) -> None:
        """Take the companion to the time of a step of the run."""
        if self._companion is None:
            return
        length = self._one_of_few(end - self._companion.time)
        if length not in self._made:
            kept = {each: step for each, step in self._made.items() if each in self._lengths}
            self._made = {**kept, length: self.start()}
        try:
            after = self._made[length](self._companion, length)
        except (CaseError, NumericsError) as error:  # of the estimate, not of the run
            self._give_up(f"a step of {length:.3g}, by which it would be seen, failed ({error})")
            return
        self._unusual -= _unusual(after)
        if self._unusual < 0:
            self._give_up(f"a step of {length:.3g}, by which it would be seen, was damped or fell back")
            return
        self._companion, self._behind = after.changed(time=end), 0
        self._longer = self._with(self._longer, length)

    def _one_of_few(self, length: float) -> float:
        """A length, or one of the last two that differs from it by round-off: factors made for that serve again."""
        for former in self._lengths:
            if math.isclose(former, length, rel_tol=ROUND_OFF):
                return former
        self._lengths = [*self._lengths[-1:], length]
        return length

    def _give_up(self, fault: str) -> None:
        """There is no estimate."""
        self.fault, self.largest, self._companion = fault, np.nan, None

    @property
    def estimate(self) -> float:
        """Its L1 norm over the mass; nan if the steps of the companion are not longer, infinite if it overflows."""
        if np.isnan(ratio := self.ratio):
            return np.nan
        assert self._companion is not None
        last = self._states[-1]
        with np.errstate(over="ignore", invalid="ignore"):
            off = inner(self.volume, np.abs(last.density - self._companion.density)) / last.mass
        return math.inf if math.isnan(off) else off / (ratio - 1.0)

    @property
    def ratio(self) -> float:
        """R at the last state; nan if the companion is not there, or its steps are not longer."""
        if self._companion is None or self._companion.time != self._states[-1].time:
            return np.nan
        order = 0 if self._lowered > _LOWERED * self._steps else 1  # the first sum, or that of p
        if self._longer[order] < _APART * self._own[order]:
            return np.nan
        return self._longer[order] / self._own[order]


def _unusual(state: State) -> bool:
    """Whether the last step was damped or taken by a fallback."""
    return bool(state.fallback or state.damped)
