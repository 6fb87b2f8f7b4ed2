"""The velocity of a drift and its divergence at any points, as trajectories need them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fvflow.fields.drift import Drift
from fvflow.fields.expression import Parameters
from fvflow.fields.function import ScalarFunction
from fvflow.mesh import Array

_Terms = tuple[tuple[float, ScalarFunction], ...]


@dataclass(frozen=True)
class Motion:
    """v = -grad V + u + (d_y psi, -d_x psi) + F and div v, with derivatives in closed form where expressions give them.

    Those of tables are central differences of a step.
    """

    parameters: Parameters
    tilt: tuple[float, ...]
    components: tuple[_Terms, ...]
    """The functions whose sum, with these factors, is the velocity along each axis."""
    expansion: _Terms
    """The functions whose sum, with these factors, is the divergence."""

    @staticmethod
    def of(drift: Drift, dimension: int, step: float) -> Motion:
        """The velocity of a drift; raises CaseError if a part of it has no derivative."""
        components: list[list[tuple[float, ScalarFunction]]] = [[] for _ in range(dimension)]
        expansion: list[tuple[float, ScalarFunction]] = []
        for axis in range(dimension):
            if drift.potential is not None:
                slope = drift.potential.along(axis, step)
                components[axis].append((-1.0, slope))
                expansion.append((-1.0, slope.along(axis, step)))
            if drift.velocity is not None:
                components[axis].append((1.0, drift.velocity[axis]))
                expansion.append((1.0, drift.velocity[axis].along(axis, step)))
        if drift.stream is not None:
            components[0].append((1.0, drift.stream.along(1, step)))
            components[1].append((-1.0, drift.stream.along(0, step)))
        return Motion(
            drift.parameters, drift.tilt or (0.0,) * dimension, tuple(map(tuple, components)), tuple(expansion)
        )

    def velocity(self, points: Array, time: float) -> Array:
        """v (point, dim) at points (point, dim); raises as the parts do if it is not finite."""
        found = np.empty_like(points)
        for axis, (terms, force) in enumerate(zip(self.components, self.tilt, strict=True)):
            found[:, axis] = force + self._sum(terms, points, time)
        return found

    def divergence(self, points: Array, time: float) -> Array:
        """div v (point,) at points (point, dim); raises as the parts do if it is not finite."""
        return self._sum(self.expansion, points, time)

    def _sum(self, terms: _Terms, points: Array, time: float) -> Array:
        total = np.zeros(len(points))
        for factor, function in terms:
            total += factor * function.at(points, self.parameters, time)
        return total
