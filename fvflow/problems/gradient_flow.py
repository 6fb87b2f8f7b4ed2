"""Wasserstein gradient flows in arrays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from fvflow.energies import TotalEnergy
from fvflow.linalg import divergence
from fvflow.mesh import Array, Mesh
from fvflow.problems.base import Closed
from fvflow.problems.diffusivity import AxisDiffusivity, logarithmic_mean

FaceDensity = Callable[[Array, Array], Array]
"""(rho (cell,), mu_K - mu_L of each face (face,)) -> rho_s (face,)."""


@dataclass(frozen=True, eq=False)
class GradientFlow(Closed):
    """d_t rho = div(rho M grad E'(rho)) with no flux through the walls, M = 1 or a field; notes, equation (139)."""

    mesh: Mesh
    """The mesh."""
    total: TotalEnergy
    """The energy E, a sum of terms."""
    mobility: AxisDiffusivity | None = None
    """M; None if it is 1."""
    scheme: Callable[[Mesh], FaceDensity | None] = lambda mesh: None
    """The density on faces, as the stepper has it in a step of length 0; None for the logarithmic mean."""
    monotone = True

    @cached_property
    def _face_density(self) -> FaceDensity | None:
        return self.scheme(self.mesh)

    @cached_property
    def conductance(self) -> Array:
        """T M of each face (face,): steps minimise E + int |v|^2 rho/(2 M tau) at v = M grad phi."""
        return (
            self.mesh.transmissibility if self.mobility is None else self.mesh.transmissibility * self.mobility.on_faces
        )

    def numerical_diffusion(self) -> None:
        """None: `check` reports the order of the mobility instead."""

    def energy(self, time: float) -> TotalEnergy:
        """E; it does not depend on time."""
        return self.total

    def gibbs_exponent(self, time: float) -> Array | None:
        """-V/eps (cell,) if E = eps int rho log rho + int V rho, eps > 0; None for other energies."""
        eps = self.total.diffusion
        return None if not eps or self.total.interacting else -self.total.potential(self.mesh.volume) / eps

    def face_velocity(self, density: Array, time: float) -> Array:
        """v.n = M (mu_K - mu_L)/d of each face (face,), v = -M grad E'(rho); nan where mu = E' is not finite."""
        chemical = self.total.first(density)
        chemical = np.where(np.isfinite(chemical), chemical, np.nan)
        speed = (chemical[self.mesh.owner] - chemical[self.mesh.neighbour]) / self.mesh.distance
        return np.asarray(speed if self.mobility is None else speed * self.mobility.on_faces)

    def rate(self, density: Array, time: float) -> Array:
        """d_t rho (cell,) by T M rho_s (mu_K - mu_L), rho_s being that of the stepper, or else the logarithmic mean.

        On faces beside an empty cell it is the upstream density, as in `flux`.
        """
        owner, neighbour = density[self.mesh.owner], density[self.mesh.neighbour]
        inside = (owner > 0) & (neighbour > 0)
        flux = self.flux(density, time)
        chemical = self.total.first(density)
        with np.errstate(invalid="ignore"):
            drop = chemical[self.mesh.owner] - chemical[self.mesh.neighbour]
        if self._face_density is None:
            mean = logarithmic_mean(owner[inside], neighbour[inside])
        else:
            mean = self._face_density(density, drop)[inside]
        flux[inside] = self.conductance[inside] * mean * drop[inside]
        return -divergence(self.mesh, flux) / self.mesh.volume

    def flux(self, density: Array, time: float) -> Array:
        """T M rho_s (mu_K - mu_L) of each face (face,), with the upstream density rho_s."""
        owner, neighbour = self.mesh.owner, self.mesh.neighbour
        chemical = self.total.first(density)
        with np.errstate(invalid="ignore"):
            jump = chemical[owner] - chemical[neighbour]
            upstream = density[np.where(jump > 0, owner, neighbour)]
            return np.where(upstream > 0, self.conductance * upstream * jump, 0.0)
