"""The measure of a mesh whose first coordinate is a radius."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np

from fvflow.mesh.arrays import Array, Index, Subset

DISC: Final = 2
BALL: Final = 3
RADIUS_OF, RADIUS_ANGLE = "radius_of_dimension", "radius_of_angle"
"""How results mark that x, or the x of the nodes, is a radius: `Revolution.dimension` and `Revolution.angle`."""


@dataclass(frozen=True)
class Revolution:
    """What a mesh stands for that is turned about its axis, or about the origin: dx becomes angle x^(dimension - 1) dx.

    Densities are densities in space, volumes those of shells and rings.
    """

    dimension: Literal[2, 3]
    """The number of space dimensions that the first axis stands for: 2 for a distance from an axis, 3 from a point."""
    angle: float
    """The measure of all directions: 2 pi and 4 pi for whole turns, 1 per unit angle."""

    @staticmethod
    def whole(dimension: Literal[2, 3]) -> Revolution:
        """All the way around: 2 pi about an axis, 4 pi about a point."""
        return Revolution(dimension, 2.0 * math.pi if dimension == DISC else 4.0 * math.pi)

    @property
    def turns(self) -> float:
        """The part of all directions that counts: 1 for whole turns."""
        return self.angle / Revolution.whole(self.dimension).angle

    def measure(self, radius: Array) -> Array:
        """angle r^(dimension - 1): the measure of a circle or a sphere of each radius (point,)."""
        return np.asarray(self.angle * radius ** (self.dimension - 1))

    def between(self, edges: Array) -> Array:
        """int angle r^(dimension - 1) dr between neighbouring radii (edge,): the measures (interval,) of the shells."""
        a, b = edges[:-1], edges[1:]
        mean = 0.5 * (a + b) if self.dimension == DISC else (a * a + a * b + b * b) / 3.0
        return np.asarray(self.angle * (b - a) * mean)

    def offsets(self, edges: Array) -> tuple[Array, Array]:
        """Means of r - c and (r - c)^2 over shells about their midpoints c (interval,), between radii (edge,)."""
        width, c = np.diff(edges), 0.5 * (edges[1:] + edges[:-1])
        square = width**2
        if self.dimension == DISC:
            return np.asarray(square / (12.0 * c)), np.asarray(square / 12.0)
        whole = c**2 + square / 12.0
        return np.asarray(c * square / (6.0 * whole)), np.asarray(square * (c**2 / 12.0 + square / 80.0) / whole)

    def inverse(self, lower: Array, upper: Array, share: Array) -> Array:
        """The radius (point,) below which a share (point,) of each shell lies."""
        power = self.dimension
        return np.asarray((lower**power + share * (upper**power - lower**power)) ** (1.0 / power))

    def weighted(self, rule: Iterator[tuple[Array, Array, Subset]]) -> Iterator[tuple[Array, Array, Subset]]:
        """A rule of lengths and areas, its points (point, dim) and weights (point,), as one of what they stand for."""
        for position, weight, part in rule:
            yield position, weight * self.measure(position[:, 0]), part

    def around(self, vertex: Array, corners: Index) -> Array:
        """The measure of the circle of the centroid (part,) of lines or triangles with these corners (part, corner).

        Times their own measure it is that of what they make when they are turned about an axis (Pappus).
        """
        assert self.dimension == DISC
        return self.measure(vertex[corners, 0].mean(axis=1))

    @property
    def marks(self) -> dict[str, Any]:
        """The attributes by which results mark that a coordinate is a radius."""
        return {RADIUS_OF: np.int32(self.dimension), RADIUS_ANGLE: self.angle}

    def describe(self) -> str:
        """A phrase for what the first coordinate is."""
        return "x is the distance from the axis" if self.dimension == DISC else "x is the distance from the centre"
