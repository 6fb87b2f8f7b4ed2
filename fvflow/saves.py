"""Which times of a run are saved: every form that a case may give answers for itself."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Literal

from annotated_types import Gt

from fvflow.errors import CaseError

ROUND_OFF = 1e-9  # relative difference below which two times count as equal
_MOST_LISTED = 10**6


class Saves:
    """The saved times of a run; its start and its end are always among them."""

    def interval(self, span: float) -> float:
        """The time between the saves of a run of this length, if they are equally spaced."""
        return span

    def listed(self, start: float, end: float) -> tuple[float, ...] | None:
        """The saved times between start and end, None if they are equally spaced; raises CaseError if out of order."""
        return None

    def check(self, span: float, run: str) -> None:
        """Raise CaseError if they do not fit a run of this length, which messages call `run`."""

    @staticmethod
    def of(given: float | tuple[float, ...] | Saves | None) -> Saves:
        """What a case gives: a number, a list, a kind or nothing.

        >>> Saves.of((0.1, 0.2)).listed(0.0, 1.0)
        (0.1, 0.2)
        """
        if given is None or isinstance(given, float | int):
            return EvenSaves(given)
        return ListedSaves(given) if isinstance(given, tuple) else given


@dataclass(frozen=True)
class EvenSaves(Saves):
    """Saves at equal intervals, the last one shorter if they do not divide the run; None: at start and end only."""

    every: float | None

    def interval(self, span: float) -> float:
        """The interval."""
        return span if self.every is None else self.every

    def check(self, span: float, run: str) -> None:
        """Refuse an interval longer than the run."""
        if self.interval(span) > span * (1 + ROUND_OFF):
            raise CaseError(f"save {self.every:g} is longer than {run}; make it shorter or leave it out")


@dataclass(frozen=True)
class ListedSaves(Saves):
    """Saves at given times of the clock."""

    times: tuple[float, ...]

    def listed(self, start: float, end: float) -> tuple[float, ...]:
        """The times; they have to rise, and to be between start and end."""
        if not all(before < after for before, after in pairwise(self.times)):
            raise CaseError(f"the times in save {list(self.times)} have to rise")
        if self.times and not (start <= self.times[0] and self.times[-1] <= end):
            raise CaseError(f"the times in save {list(self.times)} have to be between {start:g} and {end:g}")
        return self.times


@dataclass(frozen=True)
class GeometricSaves(Saves):
    """Saves at the start plus `first`, `first` ratio, `first` ratio^2, ..., and at the end."""

    first: Annotated[float, Gt(0)]
    """Time from the start to the first save."""
    ratio: Annotated[float, Gt(1)]
    """Ratio of the time from the start to a save to that of the one before."""
    kind: Literal["geometric"] = "geometric"

    def check(self, span: float, run: str) -> None:
        """Refuse a first save beyond the end."""
        if self.first > span * (1 + ROUND_OFF):
            raise CaseError(f"first {self.first:g} is longer than {run}; make it shorter")

    def listed(self, start: float, end: float) -> tuple[float, ...]:
        """The saved times between start and end."""
        count = math.ceil(math.log((end - start) / self.first * (1 - ROUND_OFF)) / math.log(self.ratio))
        if count > _MOST_LISTED:
            raise CaseError(f"ratio {self.ratio:g} makes {count} saves; use one further above 1")
        return tuple(start + self.first * self.ratio**power for power in range(max(count, 0)))
