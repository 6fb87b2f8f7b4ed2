"""How well the cells resolve a drift."""

from __future__ import annotations

import math
from dataclasses import dataclass

_FINEST = 100  # times smaller cells that are an advice
LITTLE = 0.05  # numerical diffusion over eps of upwinding that is not worth a word
RESOLVED = 2.0  # Peclet number of a face up to which the drift is resolved
ROUND_OFF = 1e-9  # of a Peclet number


@dataclass(frozen=True)
class FaceResolution:
    """How well the cells resolve the drift where the mass is."""

    peclet: float
    """Largest Peclet number |w|/eps of a face with mass."""
    share: float
    """Share of the faces with a Peclet number above 2, weighted by the mass of their cells."""
    diffusion: float
    """Mean numerical diffusion over eps, with the same weights."""
    largest_diffusion: float
    """Largest numerical diffusion over eps of a face with mass."""
    bare: float = 0.0
    """Mean numerical diffusion |v| d/2 of the faces without diffusion over the largest eps, with the same weights."""

    @property
    def faces(self) -> str:
        """The share in words."""
        return f"above 2 at {100 * self.share:.3g} % of the faces, weighted by mass"

    @property
    def added(self) -> str:
        """The numerical diffusion in words."""
        return f"{self.diffusion:.3g} times epsilon on average and up to {self.largest_diffusion:.3g} times"

    @property
    def finer(self) -> str:
        """The mesh that resolves the drift, in words; empty if no mesh of a reasonable size does."""
        ratio = math.ceil(self.peclet / RESOLVED * (1 - ROUND_OFF))
        return f"cells {ratio} times as small" if ratio <= _FINEST else ""

    def largest(self, other: FaceResolution) -> FaceResolution:
        """The larger of each number."""
        return FaceResolution(**{name: max(value, getattr(other, name)) for name, value in vars(self).items()})

    @property
    def noticeable(self) -> bool:
        """Whether it lowers the order or adds diffusion that is worth a word."""
        return self.share > 0 or max(self.diffusion, self.bare) > LITTLE

    @property
    def upwinded(self) -> str:
        """What is added along axes without diffusion; empty if that is not worth a word."""
        if self.bare <= LITTLE:
            return ""
        return (
            "faces without diffusion are taken upwind, of first order, which adds a diffusion |v| d/2 there, "
            f"{self.bare:.3g} times the largest D on average"
        )
