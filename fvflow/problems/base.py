"""The contract of a problem."""

from __future__ import annotations

from typing import ClassVar, Protocol

import numpy as np

from fvflow.energies import TotalEnergy
from fvflow.mesh import Array, Index, Mesh, Openings


class Graph(Protocol):
    """The links between cells that a flux flows through: the faces of a mesh, or more."""

    @property
    def volume(self) -> Array:
        """Measures |K| (cell,)."""

    @property
    def owner(self) -> Index:
        """Cell K that each link leaves (link,)."""

    @property
    def neighbour(self) -> Index:
        """Cell L that each link enters (link,)."""


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
    def steady(self) -> bool:
        """Whether the equation does not depend on t."""

    def gibbs_exponent(self, time: float) -> Array | None:
        """log pi (cell,) up to a constant, pi being stationary with no net flux; None if there is none, or unknown."""

    @property
    def monotone(self) -> bool:
        """Whether the matrix of implicit Euler is an M-matrix at all times."""

    def numerical_diffusion(self) -> float | None:
        """Largest numerical diffusion of a first-order flux at the start, length^2/time; None if not applicable."""

    @property
    def graph(self) -> Graph:
        """The links between cells that mass flows through: the faces of the mesh, or more."""

    def flux(self, density: Array, time: float) -> Array:
        """Mass through each link per unit time (link,), positive from owner to neighbour."""


class Closed:
    """A problem that no mass leaves."""

    mesh: Mesh
    """The mesh."""
    openings: ClassVar[None] = None
    """None: all walls are closed."""
    steady: ClassVar[bool] = True
    """The equation does not depend on t."""

    @property
    def graph(self) -> Graph:
        """The mesh."""
        return self.mesh

    def gibbs_exponent(self, time: float) -> Array | None:
        """None: no log pi (cell,) of an equilibrium is known."""
        return None

    def outflow_rates(self, density: Array, time: float) -> Array:
        """Nothing: an empty array (0,)."""
        return np.zeros(0)
