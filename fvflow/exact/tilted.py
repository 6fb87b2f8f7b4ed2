"""Closed form: diffusion in a linear potential, in a box."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from fvflow.exact.base import FOKKER_PLANCK, ClosedForm, Reference, refusal
from fvflow.exact.facts import Facts
from fvflow.exact.gaussian import check_linear, linear_drift
from fvflow.fields import Sampling, cell_values
from fvflow.mesh import Array, Mesh, Subset


@dataclass(frozen=True)
class TiltedBox(ClosedForm):
    """rho = exp(-a t + g x/2) (pi cos(pi x) + (g/2) sin(pi x)) + pi exp(g (x - 1/2)), a = pi^2 + g^2/4.

    The solution of d_t rho = Lap rho - div(rho g e_x) on 0 <= x <= 1 with no-flux walls, for the potential V = -g x:
    the convergence test of Cances, Gallouet, Todeschi, Numer. Math. 146 (2020).
    """

    sampling: Sampling = "average"
    """Cell averages, or values at the cell centres."""
    kind: Literal["tilted-box"] = "tilted-box"
    derived_for = FOKKER_PLANCK - {"a drift that depends on t"}
    divided = True

    def requires(self, facts: Facts) -> Iterator[str]:
        """This equation on 0 <= x <= 1, with this solution as initial density."""
        box = lower, upper = facts.mesh.corners
        yield from refusal(check_linear, facts.drift, box, 0.0)
        matrix, shift = linear_drift(facts.drift, box, 0.0)
        along_x = np.abs(matrix).max() < 1e-9 and np.abs(shift[1:]).max(initial=0.0) < 1e-9 and facts.drift.steady
        if not along_x or facts.epsilon != 1.0 or not facts.linear or (lower[0], upper[0]) != (0.0, 1.0):
            yield "exact tilted-box needs the potential -g*x, epsilon 1 and a box from x = 0 to x = 1"
        if not facts.initial.is_exact or facts.initial.mass is not None:
            yield "exact tilted-box needs initial: {kind: exact} without a mass: it has its own"

    def reference(self, facts: Facts) -> TiltedReference:
        """The solution on the mesh of the case."""
        mesh = facts.mesh
        _, shift = linear_drift(facts.drift, mesh.corners, 0.0)
        return TiltedReference(mesh, float(shift[0]), self.sampling)


@dataclass(frozen=True, eq=False)
class TiltedReference(Reference):
    """The solution on a mesh, for the slope g."""

    mesh: Mesh
    slope: float
    sampling: Sampling

    def average(self, time: float) -> Array:
        """Density of each cell (cell,)."""
        g, pi = self.slope, math.pi
        decay = np.exp(-(pi**2 + g**2 / 4) * time)

        def density(position: Array, part: Subset) -> Array:
            x = position[:, 0]
            mode = np.exp(0.5 * g * x) * (pi * np.cos(pi * x) + 0.5 * g * np.sin(pi * x))
            return np.asarray(decay * mode + pi * np.exp(g * (x - 0.5)))

        return cell_values(self.mesh, density, self.sampling, 4)
