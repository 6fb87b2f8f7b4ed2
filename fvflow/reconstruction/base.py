"""The contract of a reconstruction in space: a function, its gradient and its second derivatives from cell values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

from fvflow.mesh import Array

Slopes = Mapping[int, tuple[Array, Array]]
"""By axis, the derivatives along it (wall cell,) at its lower and its upper wall; nan where they are not known."""


class Derivatives(NamedTuple):
    """A function at points, and what was asked for of its derivatives."""

    value: Array
    """(point,)"""
    gradient: Array
    """(point, dim); (point, 0) for order 0."""
    second: Array
    """(point, dim, dim); (point, 0, 0) for orders 0 and 1."""


class SpaceInterpolant(Protocol):
    """Functions in space from the values of cells."""

    @property
    def order(self) -> str:
        """A phrase on the orders of values and gradients, for smooth functions."""

    def coefficients(self, fields: list[Array], slopes: list[Slopes]) -> Any:
        """What `at` combines, from several fields of cell values (cell,), each with its slopes at walls."""

    def at(self, coefficients: Any, weights: Array, points: Array, order: int) -> Derivatives:
        """The sum of the fields with weights, (1, field) or (point, field), at points (point, dim) within the mesh.

        `order` 0 is the value, 1 also the gradient, 2 also second derivatives.
        """

    def outside(self, points: Array) -> Any:
        """Whether each point (point, dim) is outside of the mesh (point,)."""

    def point_values(self, logarithm: Array) -> Array:
        """log of a density at the centres (cell,), from the logarithm of its averages over the cells."""
