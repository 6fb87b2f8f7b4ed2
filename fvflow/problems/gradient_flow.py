"""Wasserstein gradient flows in arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fvflow.energies import TotalEnergy
from fvflow.mesh import Array, Mesh
from fvflow.problems.base import Closed


@dataclass(frozen=True, eq=False)
class GradientFlow(Closed):
    """d_t rho = div(rho grad E'(rho)) with no flux through the walls; notes, equation (139)."""

    mesh: Mesh
    """The mesh."""
    total: TotalEnergy
    """The energy E, a sum of terms."""
    monotone = True

    def numerical_diffusion(self) -> None:
        """None: `check` reports the order of the mobility instead."""

    def energy(self, time: float) -> TotalEnergy:
        """E; it does not depend on time."""
        return self.total

    def flux(self, density: Array, time: float) -> Array:
        """T rho_s (mu_K - mu_L) of each face (face,), with the upstream density rho_s."""
        owner, neighbour = self.mesh.owner, self.mesh.neighbour
        chemical = self.total.first(density)
        with np.errstate(invalid="ignore"):
            jump = chemical[owner] - chemical[neighbour]
            upstream = density[np.where(jump > 0, owner, neighbour)]
            return np.where(upstream > 0, self.mesh.transmissibility * upstream * jump, 0.0)
