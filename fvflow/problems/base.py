"""The contract of a problem."""

from __future__ import annotations

from typing import Protocol

from fvflow.energies import TotalEnergy
from fvflow.mesh import Array, Mesh


class Problem(Protocol):
    """What the diagnostics require of a problem."""

    @property
    def mesh(self) -> Mesh:
        """The mesh."""

    def energy(self, time: float) -> TotalEnergy | None:
        """The energy functional at this time; None if the problem has none."""

    @property
    def monotone(self) -> bool:
        """Whether the matrix of implicit Euler is an M-matrix at all times."""

    def numerical_diffusion(self) -> float | None:
        """Largest numerical diffusion of a first-order flux at the start, length^2/time; None if not applicable."""

    def flux(self, density: Array, time: float) -> Array:
        """Mass through each face per unit time (face,), positive from owner to neighbour."""
