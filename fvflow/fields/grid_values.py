"""Values at the nodes of a rectilinear grid, and their interpolation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from fvflow.errors import CaseError
from fvflow.mesh import Array
from fvflow.mesh.arrays import freeze

Method = Literal["linear", "cubic"]
"""How values between the nodes are computed: multilinear, or by cubic splines (not-a-knot) along each axis."""
Outside = Literal["refuse", "nearest"]
"""What holds outside the grid: nothing, or the value at the nearest point of its box."""

_NODES: dict[Method, int] = {"linear": 2, "cubic": 4}  # fewest along each axis
_DEGREES: dict[Method, int] = {"linear": 1, "cubic": 3}
_ON_BOX = 1e-9  # distance beyond the box, relative to its side, that is attributed to round-off


@dataclass(frozen=True, eq=False)
class GridValues:
    """f at the nodes of a rectilinear grid: `values` (x node, y node, z node), `axes` their coordinates (node,)."""

    name: str
    """The name in messages: that of the file."""
    axes: tuple[Array, ...]
    """Coordinates of the nodes along x, y, z, each (node,) and increasing."""
    values: Array
    """Values at the nodes, with one index per axis."""

    @staticmethod
    def of(name: str, axes: Sequence[ArrayLike], values: ArrayLike) -> GridValues:
        """The values, checked; raises CaseError unless they are finite and on an increasing grid of 1 to 3 axes."""
        values = freeze(np.array(values, float))
        nodes = tuple(freeze(np.array(axis, float)) for axis in axes)
        if not 1 <= len(nodes) <= 3:
            raise CaseError(f"{name}: has {len(nodes)} axes; give one, two or three")
        for letter, axis in zip("xyz", nodes, strict=False):
            _check_axis(name, letter, axis)
        if values.shape != tuple(map(len, nodes)):
            shape = tuple(map(len, nodes))
            raise CaseError(f"{name}: has values of shape {values.shape} on nodes of shape {shape}; give one per node")
        finite = np.isfinite(values)
        if not finite.all():
            bad = np.unravel_index(int(np.argmin(finite)), values.shape)
            place = format_node([axis[i] for axis, i in zip(nodes, bad, strict=True)])
            raise CaseError(f"{name}: the value at {place} is {values[bad]:g}; give a finite value at every node")
        return GridValues(name, nodes, values)

    @property
    def box(self) -> str:
        """The box of the nodes, in words."""
        return ", ".join(f"{a:.6g} <= {k} <= {b:.6g}" for k, (a, b) in zip("xyz", self._sides, strict=False))

    @property
    def _sides(self) -> list[tuple[float, float]]:
        return [(float(axis[0]), float(axis[-1])) for axis in self.axes]

    def require_nodes(self, method: Method) -> None:
        """Raise CaseError if an axis has too few nodes for a method."""
        for letter, axis in zip("xyz", self.axes, strict=False):
            if len(axis) < _NODES[method]:
                raise CaseError(
                    f"{self.name}: has {len(axis)} nodes along {letter}; method {method} needs {_NODES[method]} or more"
                )

    def at(self, position: Array, method: Method, outside: Outside) -> Array:
        """Interpolated values (point,) at positions (point, dim).

        Raises CaseError for positions of another dimension, and outside the box if `outside` is "refuse".
        """
        if position.shape[1] != len(self.axes):
            raise CaseError(
                f"{self.name}: is a table over {', '.join('xyz'[: len(self.axes)])}, the mesh has "
                f"{position.shape[1]} dimension(s); give a table with one axis for each"
            )
        lower, upper = np.array(self._sides).T
        margin = np.inf if outside == "nearest" else _ON_BOX * (upper - lower)
        far = (position < lower - margin) | (position > upper + margin)
        if far.any():
            at = format_node(position[int(np.argmax(far.any(axis=1)))])
            raise CaseError(
                f"{self.name}: covers {self.box}, and the point {at} is outside; give a larger table, or outside: "
                "nearest"
            )
        return (self._cubic if method == "cubic" else self._linear)(np.clip(position, lower, upper))

    def _linear(self, position: Array) -> Array:
        index, share = [], []
        for axis, x in zip(self.axes, position.T, strict=True):
            i = np.clip(np.searchsorted(axis, x, side="right") - 1, 0, len(axis) - 2)
            index.append(i)
            share.append((x - axis[i]) / (axis[i + 1] - axis[i]))
        total = np.zeros(len(position))
        for corner in product((0, 1), repeat=len(self.axes)):
            weight = np.ones(len(position))
            for up, part in zip(corner, share, strict=True):
                weight *= part if up else 1.0 - part
            total += weight * self.values[tuple(i + up for i, up in zip(index, corner, strict=True))]
        return total

    def _cubic(self, position: Array) -> Array:
        return np.asarray(self._spline(position))

    def integrals(self, method: Method, edges: Sequence[Array]) -> Array:
        """Integrals (x interval, y interval, z interval) of the interpolant between edges (edge,) in the box; exact."""
        from scipy.interpolate import make_interp_spline

        found = np.asarray(self.values)
        for number, (axis, ends) in enumerate(zip(self.axes, edges, strict=True)):
            along = make_interp_spline(axis, found, k=_DEGREES[method], axis=number)
            found = np.diff(along.antiderivative()(ends), axis=number)
        return found

    @cached_property
    def _spline(self) -> Any:
        """The tensor product of not-a-knot splines; it reproduces cubic polynomials."""
        from scipy.interpolate import NdBSpline, make_interp_spline

        knots, coefficients = [], np.asarray(self.values)
        for number, axis in enumerate(self.axes):
            spline = make_interp_spline(axis, coefficients, k=_DEGREES["cubic"], axis=number)
            knots.append(spline.t)
            coefficients = np.moveaxis(spline.c, 0, number)
        return NdBSpline(tuple(knots), np.ascontiguousarray(coefficients), _DEGREES["cubic"])


def format_node(point: Sequence[float] | Array) -> str:
    """A position (dim,) in a message: x = 0.5, y = 1."""
    return ", ".join(f"{letter} = {value:.6g}" for letter, value in zip("xyz", point, strict=False))


def _check_axis(name: str, letter: str, axis: Array) -> None:
    """Raise CaseError unless the coordinates along an axis are two or more, finite, and increasing."""
    if axis.ndim != 1 or len(axis) < 2:
        count = axis.size if axis.ndim == 1 else f"an array of shape {axis.shape} of"
        raise CaseError(f"{name}: has {count} node(s) along {letter}; give two or more")
    if not np.isfinite(axis).all():
        raise CaseError(f"{name}: has a coordinate {letter} that is not finite; give numbers")
    step = np.diff(axis)
    if (step == 0).any():
        raise CaseError(f"{name}: has the coordinate {letter} = {axis[int(np.argmax(step == 0))]:.6g} twice; keep one")
    if (step < 0).any():
        where = axis[int(np.argmax(step < 0)) + 1]
        raise CaseError(f"{name}: its coordinates {letter} decrease at {letter} = {where:.6g}; sort them")
