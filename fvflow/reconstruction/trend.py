"""The part of log rho that no spline follows: its fall to minus infinity at walls that absorb all."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fvflow.mesh import Array, Mesh
from fvflow.reconstruction.base import Derivatives, Slopes

Side = tuple[int, float]
"""A side of a grid: its axis, and -1. for the lower or 1. for the upper one."""


@dataclass(frozen=True, eq=False)
class WallTrend:
    """sum_s log d_s, d_s being the distance from each of some sides of a grid, at which rho falls to 0 like d_s."""

    mesh: Mesh
    """The grid."""
    sides: tuple[Side, ...] = ()
    """The sides; without any it is 0."""

    def at(self, points: Array, order: int) -> Derivatives:
        """Value and derivatives at points (point, dim); minus infinity on the sides."""
        count, dimension = points.shape
        value, gradient = np.zeros(count), np.zeros((count, dimension if order > 0 else 0))
        second = np.zeros((count, dimension, dimension) if order > 1 else (count, 0, 0))
        with np.errstate(divide="ignore"):
            for axis, sign in self.sides:
                distance = np.maximum(sign * (self._end(axis, sign) - points[:, axis]), 0.0)
                value += np.log(distance)
                if order > 0:
                    gradient[:, axis] -= sign / distance
                if order > 1:
                    second[:, axis, axis] -= 1.0 / distance**2
        return Derivatives(value, gradient, second)

    def removed_from(self, slopes: Slopes) -> Slopes:
        """Slopes at walls without those of the trend."""
        if not self.sides:
            return slopes
        found = {}
        for axis, pair in slopes.items():
            parts = []
            for end, slope in zip((-1.0, 1.0), pair, strict=True):
                at = self._end(axis, end)
                others = [(sign, self._end(axis, sign)) for a, sign in self.sides if a == axis and sign != end]
                parts.append(slope + sum(sign / (sign * (wall - at)) for sign, wall in others))
            found[axis] = parts[0], parts[1]
        return found

    def _end(self, axis: int, sign: float) -> float:
        assert self.mesh.edges is not None
        return float(self.mesh.edges[axis][-1 if sign > 0 else 0])
