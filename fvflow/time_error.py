"""An estimate of the error in time of a run with a steady drift, from the run itself."""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fvflow.mesh import Array
from fvflow.problems import State


@dataclass
class TimeErrorMonitor:
    """The error at a time T of a linear method of order p for d_t rho = A rho, to leading order in the steps tau_n.

        rho_N - rho(T) = sum_n (C tau_n^(p+1)) A^(p+1) rho(T),   A^(p+1) rho = d^(p+1) rho/dt^(p+1)

    since each step is off by C tau^(p+1) A^(p+1) and all steps commute; Hairer, Norsett, Wanner, Solving Ordinary
    Differential Equations I, 1993, section II.8. The derivative is a divided difference of the last p + 2 states, so
    that a step costs nothing.
    """

    volume: Array
    """Cell volumes (cell,)."""
    order: int
    """p."""
    constant: float
    """C, the error constant of the method."""
    largest: float = np.nan
    """The largest estimate at a saved time; nan if there is none."""
    _powers: float = 0.0  # sum_n tau_n^(p+1)
    _states: deque[State] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._states = deque(maxlen=self.order + 2)

    def __call__(self, state: State) -> None:
        """Take note of a state."""
        if self._states:
            self._powers += (state.time - self._states[-1].time) ** (self.order + 1)
        self._states.append(state)

    def to_tree(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        states = [[state.time, state.density, state.mass] for state in self._states]
        return {"largest": self.largest, "powers": self._powers, "states": states}

    def restore(self, tree: Mapping[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.largest, self._powers = tree["largest"], tree["powers"]
        self._states.extend(State(*values) for values in tree["states"])

    def saved(self) -> None:
        """Estimate the error at the time of the last state, which is saved."""
        self.largest = float(np.fmax(self.largest, self.estimate))

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
        return self.constant * self._powers * float(self.volume @ np.abs(differences[0])) / self._states[-1].mass
