"""The contract of a problem."""

from __future__ import annotations

from typing import ClassVar, Protocol

import numpy as np

from fvflow.energies import TotalEnergy
from fvflow.mesh import Array, Mesh, Openings


class Problem(Protocol):
    """What the diagnostics require of a problem."""

    @property
    def mesh(self) -> Mesh:
        """The mesh."""

    @property
    def openings(self) -> Openings | None:
        """Where mass leaves for good; None if it does not."""

    def outflow_rates(self, density: Array, time: float) -> Array:
        """What leaves through each group of openings per unit time (group,)."""

    def energy(self, time: float) -> TotalEnergy | None:
        """The energy functional at this time; None if the problem has none."""

    @property
    def monotone(self) -> bool:
        """Whether the matrix of implicit Euler is an M-matrix at all times."""

    def numerical_diffusion(self) -> float | None:
        """Largest numerical diffusion of a first-order flux at the start, length^2/time; None if not applicable."""

    def flux(self, density: Array, time: float) -> Array:
        """Mass through each face per unit time (face,), positive from owner to neighbour."""


class Closed:
    """A problem that no mass leaves."""

    openings: ClassVar[None] = None
    """None: all walls are closed."""

    def outflow_rates(self, density: Array, time: float) -> Array:
        """Nothing: an empty array (0,)."""
        return np.zeros(0)
