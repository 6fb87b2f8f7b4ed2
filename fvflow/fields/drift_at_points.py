"""The velocity of a drift and its divergence at any points, as trajectories need them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from fvflow.errors import CaseError
from fvflow.fields.expression import Parameters
from fvflow.fields.function import ScalarFunction
from fvflow.mesh import Array

_WIDER = 30.0  # the step of differences of differences, beside that of differences

Terms = tuple[tuple[float, ScalarFunction], ...]
"""Functions whose sum, with these factors, is meant."""


@dataclass(frozen=True)
class DriftAtPoints:
    """v = -grad V + u + (d_y psi, -d_x psi) + F and div v, with derivatives in closed form where expressions give them.

    Those of tables are central differences of a step, in div v of one 30 times as wide. `Drift.motion` makes it.
    """

    parameters: Parameters
    tilt: tuple[float, ...]
    components: tuple[Terms, ...]
    """-grad V + u along each axis."""
    turning: tuple[Terms, ...]
    """(d_y psi, -d_x psi) along each axis, whose divergence is 0."""
    step: float

    @cached_property
    def _expansion(self) -> Terms:
        """div v; raises CaseError if a part of it has no derivative."""
        parts = enumerate(self.components)
        wide = _WIDER * self.step
        return tuple((factor, part.along(axis, wide)) for axis, terms in parts for factor, part in terms)

    @property
    def expands(self) -> bool:
        """Whether div v is known, because all that it is made of has a derivative."""
        try:
            return self._expansion is not None
        except CaseError:
            return False

    def velocity(self, points: Array, time: float) -> Array:
        """v (point, dim) at points (point, dim); raises as the parts do if it is not finite."""
        found = np.empty_like(points)
        for axis, (terms, turning) in enumerate(zip(self.components, self.turning, strict=True)):
            found[:, axis] = self.tilt[axis] + self._sum((*terms, *turning), points, time)
        return found

    def divergence(self, points: Array, time: float) -> Array:
        """div v (point,) at points (point, dim); raises as the parts do if it is not finite, or has no derivative."""
        return self._sum(self._expansion, points, time)

    def velocity_and_divergence(self, points: Array, time: float) -> tuple[Array, Array]:
        """v (point, dim) and div v (point,)."""
        return self.velocity(points, time), self.divergence(points, time)

    def _sum(self, terms: Terms, points: Array, time: float) -> Array:
        total = np.zeros(len(points))
        for factor, function in terms:
            total += factor * function.at(points, self.parameters, time)
        return total
