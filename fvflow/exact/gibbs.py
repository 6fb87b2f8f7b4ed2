"""Equilibrium."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from fvflow.errors import CaseError
from fvflow.exact.setting import Setting
from fvflow.mesh import Array


@dataclass(frozen=True)
class Gibbs:
    """rho = mass exp(-V/eps)/sum_K |K| exp(-V_K/eps): the discrete equilibrium of a steady potential, V at the centres.

    As an initial density it has to stay; as a reference it is what every solution tends to.
    """

    kind: Literal["gibbs"] = "gibbs"

    def on(self, setting: Setting) -> Equilibrium:
        """The equilibrium on the case's mesh; raises CaseError if there is none."""
        if not (setting.drift.gradient and setting.drift.steady) or setting.epsilon <= 0 or not setting.linear:
            raise CaseError("gibbs needs epsilon > 0 and a drift that comes from a potential without t alone")
        if setting.mesh.edges is None and setting.mesh.components.max() > 0 and setting.initial.kind != "gibbs":
            raise CaseError("gibbs is one density for all of a mesh, and the parts of this one exchange no mass")
        exponent = -setting.drift.energy(setting.mesh, 0.0) / setting.epsilon
        weight = np.exp(exponent - exponent.max())
        return Equilibrium(setting.mass / float(setting.mesh.volume @ weight) * weight)


@dataclass(frozen=True, eq=False)
class Equilibrium:
    """A density that does not change."""

    density: Array  # (cell,)

    def average(self, time: float) -> Array:
        """The density of each cell (cell,)."""
        return self.density
