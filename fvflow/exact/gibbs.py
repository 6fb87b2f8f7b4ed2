"""Equilibrium."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from fvflow.errors import CaseError
from fvflow.exact.facts import Facts
from fvflow.mesh import Array


@dataclass(frozen=True)
class Gibbs:
    """rho = mass exp(-V/eps)/sum_K |K| exp(-V_K/eps): the discrete equilibrium of a steady potential, V at the centres.

    As an initial density it has to stay; as a reference it is what every solution tends to.
    """

    kind: Literal["gibbs"] = "gibbs"

    def on(self, facts: Facts) -> Equilibrium:
        """The equilibrium on the case's mesh; raises CaseError if there is none."""
        if not (facts.drift.gradient and facts.drift.steady) or facts.epsilon <= 0 or not facts.linear:
            raise CaseError("gibbs needs epsilon > 0 and a drift that comes from a potential without t alone")
        if facts.mesh.edges is None and facts.mesh.components.max() > 0 and facts.initial.kind != "gibbs":
            raise CaseError("gibbs is one density for all of a mesh, and the parts of this one exchange no mass")
        exponent = -facts.drift.energy(facts.mesh, 0.0) / facts.epsilon
        weight = np.exp(exponent - exponent.max())
        return Equilibrium(facts.mass / float(facts.mesh.volume @ weight) * weight)


@dataclass(frozen=True, eq=False)
class Equilibrium:
    """A density that does not change."""

    density: Array  # (cell,)

    def average(self, time: float) -> Array:
        """The density of each cell (cell,)."""
        return self.density
