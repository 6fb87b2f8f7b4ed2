"""What a closed form may ask of the case it belongs to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from fvflow.fields import Drift
from fvflow.mesh import Array, Mesh


@dataclass(frozen=True, eq=False)
class Setting:
    """The mesh, drift, diffusion, mass and initial density of a case."""

    mesh: Mesh
    drift: Drift
    epsilon: float
    mass: float
    initial: Any  # the initial density as the case describes it


class Reference(Protocol):
    """A closed form on one mesh."""

    def average(self, time: float) -> Array:
        """The density of each cell (cell,) at a time."""
