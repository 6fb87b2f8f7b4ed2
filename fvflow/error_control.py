"""Steps whose length follows from their estimated error."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

from annotated_types import Gt, Lt

from fvflow.errors import CaseError

_LARGEST_TOLERANCE = 0.5  # of steps that are scaled


@dataclass(frozen=True)
class Adaptive:
    """Steps whose estimated error is at most `tolerance` each, relative to the mass that has not been absorbed.

    The error is estimated from two half steps y and one full step z of a method of order p, |y - z|_1/(2^p - 1), and y
    is kept; a method with an embedded estimate (`muscl`) uses that. The next step is 0.9 (tolerance/error)^(1/(p+1))
    times as long, between 1/5 and 4 times, or the growth that the method allows (Hairer, Norsett, Wanner, Solving
    Ordinary Differential Equations I, 1993, section II.4).
    """

    initial: Annotated[float, Gt(0)]
    """Length of the first step to try."""
    tolerance: Annotated[float, Gt(0), Lt(1)]
    """Largest estimated L1 error of a step, as a fraction of the mass that is left."""
    shortest: Annotated[float, Gt(0)] | None = None
    """Length below which the run stops with an error; 1e-6 of `initial` by default."""
    longest: Annotated[float, Gt(0)] | None = None
    """Largest length of a step; by default any, up to the next save."""

    def factor(self, error: float, order: float, growth: float) -> float:
        """Ratio of the next step to this one, at most `growth`."""
        power = 1.0 / (order + 1)
        return min(max(0.9 * math.pow(self.tolerance / max(error, 1e-300), power), 0.2), growth)

    def scaled(self, factor: float, order: float, span: float) -> Adaptive:
        """Control that gives steps about `factor` times as long, of a method of this order, in a run of a length."""

        def limit(length: float | None) -> float | None:
            return None if length is None else min(factor * length, span)

        initial = min(factor * self.initial, span)
        tolerance = min(self.tolerance * factor ** (order + 1), _LARGEST_TOLERANCE)
        return Adaptive(initial, tolerance, limit(self.shortest), limit(self.longest))

    def check(self, span: float, run: str) -> None:
        """Raise CaseError if the lengths contradict each other or the length of a run, called `run`."""
        if self.shortest is None:
            return
        if self.longest is not None and self.longest < self.shortest:
            raise CaseError(f"longest {self.longest:g} is below shortest {self.shortest:g}; exchange them")
        if self.shortest > span:
            raise CaseError(f"shortest {self.shortest:g} is longer than {run}; make it shorter")
        if self.initial < self.shortest:
            raise CaseError(f"initial {self.initial:g} is below shortest {self.shortest:g}; start with a longer step")
