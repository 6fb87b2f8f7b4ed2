"""Closed form: the Gibbs equilibrium."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from annotated_types import Gt

from fvflow.exact.base import ClosedForm, Reference
from fvflow.exact.facts import ISOTHERMAL, PERIODIC, RADIUS, VARYING, Facts
from fvflow.fields import DensityKind
from fvflow.mesh import Array
from fvflow.parallel import world
from fvflow.sums import inner


@dataclass(frozen=True)
class Gibbs(ClosedForm):
    """rho = mass exp(-V/eps)/sum_K |K| exp(-V_K/eps): the discrete equilibrium, V taken at the cell centres.

    As an initial density it is stationary; as a reference it is the limit of every solution as t -> infinity. With an
    isothermal diffusion of a temperature T, eps is T.
    """

    kind: Literal["gibbs"] = "gibbs"
    derived_for = frozenset({"linear diffusion", "a drift", PERIODIC, RADIUS, ISOTHERMAL})
    stationary = True
    divided = True

    def requires(self, facts: Facts) -> Iterator[str]:
        """Diffusion and a steady potential, on a connected mesh unless the run starts from this density."""
        if VARYING in facts.undescribed:
            yield "gibbs needs a diffusion that is a number, or isothermal with a temperature"
        if not (facts.drift.gradient and facts.drift.steady) or facts.epsilon <= 0 or not facts.linear:
            yield "gibbs needs epsilon > 0 and no drift other than that of a potential without t"
        if facts.mesh.edges is None and facts.mesh.components.max() > 0 and facts.initial.kind != "gibbs":
            yield "gibbs is the equilibrium of a connected mesh; this mesh has parts that exchange no mass"

    def reference(self, facts: Facts) -> Equilibrium:
        """The equilibrium on the mesh of the case."""
        exponent = -facts.drift.cell_potential(facts.mesh, 0.0) / facts.epsilon
        weight = np.exp(exponent - world().largest(exponent))
        return Equilibrium(facts.mass / inner(facts.mesh.volume, weight) * weight)


@dataclass(frozen=True, eq=False)
class Equilibrium(Reference):
    """A density that is constant in time."""

    density: Array  # (cell,)

    def average(self, time: float) -> Array:
        """Density of each cell (cell,)."""
        return self.density


@dataclass(frozen=True)
class AtEquilibrium(DensityKind):
    """The discrete equilibrium exp(-V/eps) of the case's potential."""

    mass: Annotated[float, Gt(0)] = 1.0
    """Total mass."""
    kind: Literal["gibbs"] = "gibbs"
    own_density = False
    cellwise = True

    @property
    def averaged(self) -> bool:
        """No: V is that of the centres."""
        return False

    def on(self, facts: Facts, reference: Any, time: float) -> Array:
        """The equilibrium of the case (cell,); raises CaseError if it has none."""
        return Gibbs().on(facts).average(0.0)
