"""The heat equation in a disc or a ball."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge, Gt, Le

from fvflow.errors import CaseError
from fvflow.exact.base import ClosedForm
from fvflow.exact.facts import Facts
from fvflow.exact.heat import HeatReference
from fvflow.fields import Point, Sampling, cell_values
from fvflow.mesh import Array, Mesh

_OUTSIDE = 1e-6  # how far beyond the wall a node may be, in radii: the digits of a mesh file
_SHORT = 0.01  # how far inside the wall the farthest node may be, in radii
_LOST = 0.2  # the share of the ball that may lie between its wall and the mesh


@dataclass(frozen=True)
class HeatBall(ClosedForm):
    """rho = (mass/|mesh|) (1 + a exp(-eps l^2 t) M(x)/max|M|), l = j'/radius.

    A mode of the Laplacian with a no-flux wall about `centre`: in a disc M = J_n(l r) cos(n theta), theta from the x
    axis, in a ball M = j_n(l r) P_n(cos theta), theta from the z axis (DLMF 10.2, 10.47); n is `order`, j' the positive
    zero of J_n' or j_n' number `count`. The mesh is inscribed in the ball and smaller by O(h^2): for the mass to be the
    case's at all times, |mesh| is the sum of the cell volumes, and M is taken less its mean over the mesh (0 over the
    ball).
    """

    radius: Annotated[float, Gt(0)]
    order: Annotated[int, Ge(0), Le(1000)] = 1
    count: Annotated[int, Ge(1), Le(1000)] = 1
    amplitude: Annotated[float, Ge(-1), Le(1)] = 0.5
    centre: Point | None = None  # the origin unless given
    sampling: Sampling = "average"
    kind: Literal["heat-ball"] = "heat-ball"
    derived_for = frozenset({"linear diffusion"})

    def requires(self, facts: Facts) -> Iterator[str]:
        """The heat equation in a disc or a ball, from this solution."""
        if facts.mesh.dimension == 1:
            yield "exact heat-ball needs a mesh of a disc or a ball, got dimension 1; on a line use heat-box"
        if not facts.initial.is_exact:
            yield f"exact heat-ball needs initial: {{kind: exact}}, got {facts.initial.kind}"
        if not facts.linear or not facts.drift.absent:
            yield "exact heat-ball is for the heat equation; leave out all but epsilon, or all energies but the entropy"

    def reference(self, facts: Facts) -> HeatReference:
        """The solution on the case's mesh; raises CaseError if the mesh is not this disc or ball."""
        mesh = facts.mesh
        centre = self._centre(mesh.dimension)
        self._check_wall(mesh, centre)
        mode = BallMode(mesh.dimension, self.order, self.count, self.radius)
        means = cell_values(mesh, lambda at, part: mode.at(at - centre), self.sampling, 4)
        background = facts.mass / float(mesh.volume.sum())
        return HeatReference(
            background, self.amplitude * _subtract_mean(means, mesh), facts.epsilon * mode.wavenumber**2
        )

    def _centre(self, dimension: int) -> Array:
        if self.centre is None:
            return np.zeros(dimension)
        if len(self.centre) != dimension:
            raise CaseError(f"centre has {len(self.centre)} entries, the mesh {dimension} axes; give one per axis")
        return np.array(self.centre)

    def _check_wall(self, mesh: Mesh, centre: Array) -> None:
        """Refuse a mesh that is not inscribed in the ball: CaseError."""
        reach = float(np.hypot.reduce((mesh.points - centre) / self.radius, axis=1).max())
        if not 1.0 - _SHORT <= reach <= 1.0 + _OUTSIDE:
            raise CaseError(
                f"exact heat-ball has radius {self.radius:g}, the mesh reaches {reach:.10g} radii from its centre; "
                "it has to be inscribed, its wall nodes at one radius: correct radius or centre"
            )
        name, unit = ("disc", np.pi) if mesh.dimension == 2 else ("ball", 4.0 / 3.0 * np.pi)
        share = float(mesh.volume.sum()) / (unit * self.radius**mesh.dimension)
        if not abs(share - 1.0) <= _LOST:
            raise CaseError(
                f"the mesh fills {share:.3g} of the {name} of radius {self.radius:g}, exact heat-ball needs "
                f"{1.0 - _LOST:g}; give a mesh of all of the {name}, or a finer one"
            )


@dataclass(frozen=True)
class BallMode:
    """A no-flux mode of the Laplacian in the disc or ball about the origin, scaled to a largest modulus of 1."""

    dimension: int
    order: int
    count: int
    radius: float

    @cached_property
    def wavenumber(self) -> float:
        """l, with Lap M = -l^2 M and dM/dr = 0 at the radius."""
        return _bessel_derivative_zero(self.dimension, self.order, self.count) / self.radius

    @cached_property
    def _peak(self) -> float:
        """The largest modulus of the radial factor: the first of its extremes, which for order 0 is at r = 0."""
        first = _bessel_derivative_zero(self.dimension, self.order, 1) if self.order else 0.0
        return abs(float(_radial(self.dimension, self.order, np.array([first]))[0]))

    def at(self, position: Array) -> Array:
        """Its values (point,) at positions (point, dim)."""
        distance = np.sqrt((position**2).sum(axis=1))
        radial = _radial(self.dimension, self.order, self.wavenumber * distance)
        return np.asarray(radial * _angular(position, distance, self.order) / self._peak)


def _subtract_mean(mode: Array, mesh: Mesh) -> Array:
    """The mode without its mean over the mesh, and scaled to [-1, 1] if that took it outside."""
    balanced = mode - mesh.volume @ mode / mesh.volume.sum()
    return np.asarray(balanced / max(1.0, float(np.abs(balanced).max())))


def _radial(dimension: int, order: int, s: Array) -> Array:
    """J_n or j_n."""
    from scipy.special import jv, spherical_jn

    return np.asarray(jv(order, s) if dimension == 2 else spherical_jn(order, s), np.float64)


def _radial_slope(dimension: int, order: int, s: Array) -> Array:
    """J_n' or j_n'."""
    from scipy.special import jvp, spherical_jn

    return np.asarray(jvp(order, s) if dimension == 2 else spherical_jn(order, s, derivative=True), np.float64)


def _angular(position: Array, distance: Array, order: int) -> Array:
    """cos(n theta) or P_n(cos theta), with theta = 0 at the origin."""
    from scipy.special import eval_legendre

    if position.shape[1] == 2:
        return np.asarray(np.cos(order * np.arctan2(position[:, 1], position[:, 0])))
    away = distance > 0
    return np.asarray(eval_legendre(order, np.where(away, position[:, 2] / np.where(away, distance, 1.0), 1.0)))


def _bessel_derivative_zero(dimension: int, order: int, count: int) -> float:
    """Positive zero number `count` of J_n' or j_n'.

    They are above n, number k below (k + n/2 + 1) pi, and more than 1 apart (DLMF 10.21), so that unit steps from n
    bracket each by itself.
    """
    from scipy.optimize import brentq

    steps = np.arange(max(order, 1), (count + 0.5 * order + 1.0) * np.pi + 1.0)
    falls = np.signbit(_radial_slope(dimension, order, steps))
    low = float(steps[np.flatnonzero(falls[1:] != falls[:-1])[count - 1]])
    return float(brentq(lambda s: float(_radial_slope(dimension, order, np.array([s]))[0]), low, low + 1.0, xtol=1e-14))
