"""What has crossed each face in the mean, between two saved times."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fvflow.mesh import Array
from fvflow.problems import Problem, State


@dataclass
class MeanFlux:
    """Adds up what the steps since the last frame have moved, if the states tell: see `State.crossed`.

    With m_s, the sum of what has crossed s since t_{k-1} over t_k - t_{k-1}, K's balance is |K| (rho^k - rho^{k-1}) =
    -(t_k - t_{k-1}) sum_s +- m_s, to the round-off of the steps.
    """

    links: int = 0
    """Number of links and openings."""
    since: float = 0.0
    """Time of the last frame."""
    time: float = 0.0
    """Time of the last state."""
    total: Array | None = None
    """What has crossed since the last frame (link + opening,); None if part of it is not known."""

    @staticmethod
    def of(problem: Problem, time: float) -> MeanFlux:
        """Nothing yet, for a run from this time on."""
        openings = 0 if problem.openings is None else len(problem.openings.cell)
        return MeanFlux(len(problem.graph.owner) + openings, time, time)

    def nothing(self) -> Array:
        """`State.crossed` of a first state (link + opening,), zeros, which asks for that of the others."""
        return np.zeros(self.links)

    def __call__(self, state: State) -> None:
        """Add what has crossed in the last step."""
        if state.crossed is None:
            self.total = None
        elif self.total is not None:
            self.total = self.total + state.crossed
        elif self.time == self.since:  # the first one
            self.total = state.crossed
        self.time = state.time

    def take(self) -> Array:
        """The mean since the last frame (link + opening,), nan if it is not known; the next one begins."""
        span, total = self.time - self.since, self.total
        self.since, self.total = self.time, None
        return np.full(self.links, np.nan) if total is None or span == 0 else total / span

    def to_tree(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"since": self.since, "time": self.time, "total": self.total}

    def restore(self, tree: Mapping[str, Any]) -> None:
        """Go on from a checkpoint; raises ValueError if it does not hold what `to_tree` gives."""
        total = tree["total"]
        if total is not None and (getattr(total, "dtype", None) != np.float64 or total.shape != (self.links,)):
            raise ValueError(f"the fluxes since the last frame are no {self.links} numbers")
        self.since, self.time, self.total = tree["since"], tree["time"], total
