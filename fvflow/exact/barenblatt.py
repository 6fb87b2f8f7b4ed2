"""Closed form: the source-type solution of the porous medium equation and of fast diffusion."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from annotated_types import Gt

from fvflow.exact.base import ClosedForm, Reference
from fvflow.exact.facts import RADIUS, Facts
from fvflow.fields import Point, Sampling, cell_values
from fvflow.mesh import Array, Mesh, Subset


@dataclass(frozen=True)
class Barenblatt(ClosedForm):
    """U(x, t) = s^-alpha (C - k |x - centre|^2 s^(-2 alpha/d))_+^(1/(m-1)), s = c (start + t).

    alpha = d/(d (m - 1) + 2), k = alpha (m - 1)/(2 m d): the solution of d_t rho = c Lap rho^m that is a point mass at
    time -start, in d = 1, 2 or 3 dimensions. Its support is the ball of radius sqrt(C/k) s^(alpha/d) for m > 1, and the
    whole space for m < 1 (k < 0). Vazquez, The Porous Medium Equation, 2007.
    """

    start: Annotated[float, Gt(0)]
    """Age of the solution at time 0: it was a point mass at time -start."""
    centre: Point | None = None
    """Centre of the solution; the origin by default."""
    sampling: Sampling = "average"
    """Cell averages, or values at the cell centres."""
    kind: Literal["barenblatt"] = "barenblatt"
    derived_for = frozenset({"nonlinear diffusion", RADIUS})

    def requires(self, facts: Facts) -> Iterator[str]:
        """A single power law and nothing else, with this solution as initial density and a finite mass."""
        axes, dimension = facts.mesh.dimension, facts.mesh.space_dimension
        if len(facts.power_laws) != 1 or not facts.ingredients <= self.derived_for:
            yield "exact barenblatt needs one porous-medium energy and no other"
        if not facts.initial.is_exact:
            yield f"exact barenblatt needs initial: {{kind: exact}}, got {facts.initial.kind}"
        if self.centre is not None and len(self.centre) != axes:
            yield f"centre has {len(self.centre)} entries, the mesh {axes} axes; give one per axis"
        elif self.centre is not None and facts.mesh.revolution is not None and self.centre[0] != 0:
            yield "x is a radius, so that the centre has to be at x = 0"
        if self.start + facts.start <= 0:
            yield f"exact barenblatt begins at t = {-self.start:g}, and the run at {facts.start:g}; start later"
        for _, exponent in facts.power_laws:
            if exponent <= 1.0 - 2.0 / dimension:
                yield f"exact barenblatt has infinite mass for exponent {exponent:g} in {dimension} dimensions"

    def reference(self, facts: Facts) -> BarenblattReference:
        """The solution on the mesh of the case."""
        dimension = facts.mesh.dimension
        coefficient, exponent = facts.power_laws[0]
        centre = np.zeros(dimension) if self.centre is None else np.array(self.centre)
        turns = 1.0 if facts.mesh.revolution is None else facts.mesh.revolution.turns
        whole = facts.mass / turns
        return BarenblattReference(facts.mesh, coefficient, exponent, whole, self.start, centre, self.sampling, turns)


@dataclass(frozen=True, eq=False)
class BarenblattReference(Reference):
    """A Barenblatt solution on a mesh, with d_t rho = coefficient Lap rho^exponent."""

    mesh: Mesh
    coefficient: float
    exponent: float
    mass: float
    start: float
    centre: Array  # (dim,)
    sampling: Sampling = "average"
    turns: float = 1.0  # the part of all directions that the mesh stands for

    @property
    def total(self) -> float:
        """Its mass in the whole space, in the directions of the mesh."""
        return self.mass * self.turns

    @property
    def _alpha(self) -> float:
        dimension = self.mesh.space_dimension
        return dimension / (dimension * (self.exponent - 1.0) + 2.0)

    @property
    def _slope(self) -> float:
        return self._alpha * (self.exponent - 1.0) / (2.0 * self.exponent * self.mesh.space_dimension)

    @property
    def _constant(self) -> float:
        """C, from the mass: int (C - k r^2)_+^p = C^(p + d/2) (pi/|k|)^(d/2) times a ratio of Gamma functions."""
        power, half = 1.0 / (self.exponent - 1.0), 0.5 * self.mesh.space_dimension
        if power > 0:
            log_quotient = math.lgamma(power + 1.0) - math.lgamma(power + 1.0 + half)
        else:
            log_quotient = math.lgamma(-power - half) - math.lgamma(-power)
        log_unit = log_quotient + half * math.log(math.pi / abs(self._slope))
        return math.exp((math.log(self.mass) - log_unit) / (power + half))

    def support_radius(self, time: float) -> float:
        """Radius of the support; infinite for m < 1."""
        if self.exponent < 1.0:
            return math.inf
        scale = self.coefficient * (self.start + time)
        return math.sqrt(self._constant / self._slope) * float(scale ** (self._alpha / self.mesh.space_dimension))

    def outside(self, mesh: Mesh, time: float) -> float:
        """0 as long as the ball is in the box, whatever the quadrature of its front is off by."""
        reach = np.full(len(self.centre), self.support_radius(time))
        if mesh.edges is not None:
            lower, upper = (np.array([edges[end] for edges in mesh.edges]) for end in (0, -1))
            below = self.centre - reach >= lower
            below[0] |= mesh.revolution is not None  # a radius begins at the centre
            if below.all() and (self.centre + reach <= upper).all():
                return 0.0
        return super().outside(mesh, time)

    def average(self, time: float) -> Array:
        """Density of each cell (cell,)."""
        scale = self.coefficient * (self.start + time)
        power, shrink = 1.0 / (self.exponent - 1.0), scale ** (-2.0 * self._alpha / self.mesh.space_dimension)
        constant, slope = self._constant, self._slope

        def density(position: Array, part: Subset) -> Array:
            base = constant - slope * shrink * ((position - self.centre) ** 2).sum(axis=1)
            inside = base > 0
            return np.asarray(scale**-self._alpha * np.where(inside, np.where(inside, base, 1.0) ** power, 0.0))

        return cell_values(self.mesh, density, self.sampling, 4)
