"""Dynamic optimal transport in arrays."""

from __future__ import annotations

from dataclasses import dataclass

from fvflow.mesh import Array, Mesh
from fvflow.problems.base import Closed


@dataclass(frozen=True, eq=False)
class Transport(Closed):
    """Transport without an energy: to a target density, between several, or along a potential."""

    mesh: Mesh
    """The mesh."""
    target: Array | None = None
    """Density (cell,) at the end of a geodesic."""
    given: tuple[Array, ...] = ()
    """Densities (cell,) to stay close to."""
    potential: Array | None = None
    """phi (cell,) at time 0."""
    monotone = True

    def energy(self, time: float) -> None:
        """None: there is no energy."""

    def numerical_diffusion(self) -> None:
        """None: it is not computed."""

    def flux(self, density: Array, time: float) -> Array:
        """Not available: the face fluxes are part of the result."""
        raise NotImplementedError
