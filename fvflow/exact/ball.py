"""Closed form: the heat equation in a disc or a ball."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge, Gt, Le

from fvflow.errors import CaseError
from fvflow.exact.base import ClosedForm, refusal
from fvflow.exact.facts import Facts
from fvflow.exact.heat import HeatReference
from fvflow.fields import Point, Sampling, cell_values
from fvflow.mesh import Array, Mesh

_MAX_OVERSHOOT = 1e-6  # of the farthest node beyond the radius, in radii: the accuracy of a mesh file
_MAX_SHORTFALL = 0.01  # of the farthest node from the radius, in radii
_MAX_LOST_VOLUME = 0.2  # fraction of the ball that the mesh may leave uncovered


@dataclass(frozen=True)
class HeatBall(ClosedForm):
    """rho = (mass/|mesh|) (1 + a exp(-eps l^2 t) M(x)/max|M|), l = j'/radius.

    M is an eigenfunction of the Laplacian with a no-flux wall about `centre`: M = J_n(l r) cos(n theta) in a disc, with
    theta measured from the x axis; M = j_n(l r) P_n(cos theta) in a ball, with theta measured from the z axis (DLMF
    10.2, 10.47). Here n is `order`, and j' is the positive zero number `count` of J_n' or j_n'.

    The mesh is inscribed in the ball and smaller by O(h^2). For the mass to be constant on the mesh too, |mesh| is the
    sum of the cell volumes, and the mean of M over the mesh is subtracted from M (over the ball it is 0).
    """

    radius: Annotated[float, Gt(0)]
    """Radius of the disc or ball; the wall nodes of the mesh lie on it."""
    order: Annotated[int, Ge(0), Le(1000)] = 1
    """Order n of the Bessel function, the number of nodal lines through the centre."""
    count: Annotated[int, Ge(1), Le(1000)] = 1
    """Number of the positive zero of J_n' or j_n', from 1."""
    amplitude: Annotated[float, Ge(-1), Le(1)] = 0.5
    """Amplitude a of the mode at time 0, relative to the mean density."""
    centre: Point | None = None
    """Centre of the disc or ball; the origin by default."""
    sampling: Sampling = "average"
    """Cell averages, or values at the cell centres."""
    kind: Literal["heat-ball"] = "heat-ball"
    derived_for = frozenset({"linear diffusion"})

    def requires(self, facts: Facts) -> Iterator[str]:
        """The heat equation in a disc or a ball, on an inscribed mesh, with this solution as initial density."""
        mesh = facts.mesh
        if mesh.dimension == 1:
            yield "exact heat-ball needs a mesh of a disc or a ball, got dimension 1; on a line use heat-box"
        if not facts.initial.is_exact:
            yield f"exact heat-ball needs initial: {{kind: exact}}, got {facts.initial.kind}"
        if not facts.linear or not facts.drift.absent:
            yield "exact heat-ball is for the heat equation; leave out all but epsilon, or all energies but the entropy"
        if self.centre is not None and len(self.centre) != mesh.dimension:
            yield f"centre has {len(self.centre)} entries, the mesh {mesh.dimension} axes; give one per axis"
        elif mesh.dimension > 1:
            yield from refusal(self._check_wall, mesh)

    def reference(self, facts: Facts) -> HeatReference:
        """The solution on the mesh of the case."""
        mesh = facts.mesh
        centre = self._centre(mesh.dimension)
        mode = BallMode(mesh.dimension, self.order, self.count, self.radius)
        means = cell_values(mesh, lambda at, part: mode.at(at - centre), self.sampling, 4)
        background = facts.mass / float(mesh.volume.sum())
        return HeatReference(
            background, self.amplitude * _subtract_mean(means, mesh), facts.epsilon * mode.wavenumber**2
        )

    def _centre(self, dimension: int) -> Array:
        return np.zeros(dimension) if self.centre is None else np.array(self.centre)

    def _check_wall(self, mesh: Mesh) -> None:
        """Raise CaseError unless the mesh is inscribed in the ball and nearly fills it."""
        offset = mesh.points - self._centre(mesh.dimension)
        farthest = float(np.hypot.reduce(offset / self.radius, axis=1).max())
        if not 1.0 - _MAX_SHORTFALL <= farthest <= 1.0 + _MAX_OVERSHOOT:
            raise CaseError(
                f"exact heat-ball has radius {self.radius:g}, but the farthest mesh node is {farthest:.10g} radii from "
                "its centre; the mesh has to be inscribed, with its wall nodes at the radius: correct radius or centre"
            )
        name, unit = ("disc", np.pi) if mesh.dimension == 2 else ("ball", 4.0 / 3.0 * np.pi)
        fraction = float(mesh.volume.sum()) / (unit * self.radius**mesh.dimension)
        if not abs(fraction - 1.0) <= _MAX_LOST_VOLUME:
            raise CaseError(
                f"the mesh fills {fraction:.3g} of the {name} of radius {self.radius:g}, exact heat-ball needs "
                f"{1.0 - _MAX_LOST_VOLUME:g}; give a mesh of the whole {name}, or a finer one"
            )


@dataclass(frozen=True)
class BallMode:
    """A no-flux eigenfunction M of the Laplacian in the disc or ball about the origin, scaled to max |M| = 1."""

    dimension: int
    order: int
    count: int
    radius: float

    @cached_property
    def wavenumber(self) -> float:
        """l with Lap M = -l^2 M and dM/dr = 0 at the radius, 1/length."""
        return _bessel_derivative_zero(self.dimension, self.order, self.count) / self.radius

    @cached_property
    def _peak(self) -> float:
        """Largest modulus of the radial factor, attained at its first extremum; for order 0 that is r = 0."""
        first = _bessel_derivative_zero(self.dimension, self.order, 1) if self.order else 0.0
        return abs(float(_radial(self.dimension, self.order, np.array([first]))[0]))

    def at(self, position: Array) -> Array:
        """M (point,) at positions (point, dim)."""
        distance = np.sqrt((position**2).sum(axis=1))
        radial = _radial(self.dimension, self.order, self.wavenumber * distance)
        return np.asarray(radial * _angular(position, distance, self.order) / self._peak)


def _subtract_mean(mode: Array, mesh: Mesh) -> Array:
    """The mode minus its mean over the mesh, rescaled to [-1, 1] if that exceeds it."""
    centred = mode - mesh.volume @ mode / mesh.volume.sum()
    return np.asarray(centred / max(1.0, float(np.abs(centred).max())))


def _radial(dimension: int, order: int, s: Array) -> Array:
    """J_n(s) in 2D, j_n(s) in 3D."""
    from scipy.special import jv, spherical_jn

    return np.asarray(jv(order, s) if dimension == 2 else spherical_jn(order, s), np.float64)


def _radial_derivative(dimension: int, order: int, s: Array) -> Array:
    """J_n'(s) in 2D, j_n'(s) in 3D."""
    from scipy.special import jvp, spherical_jn

    return np.asarray(jvp(order, s) if dimension == 2 else spherical_jn(order, s, derivative=True), np.float64)


def _angular(position: Array, distance: Array, order: int) -> Array:
    """cos(n theta) in 2D, P_n(cos theta) in 3D; theta = 0 at the origin."""
    from scipy.special import eval_legendre

    if position.shape[1] == 2:
        return np.asarray(np.cos(order * np.arctan2(position[:, 1], position[:, 0])))
    off_origin = distance > 0
    cosine = np.where(off_origin, position[:, 2] / np.where(off_origin, distance, 1.0), 1.0)
    return np.asarray(eval_legendre(order, cosine))


def _bessel_derivative_zero(dimension: int, order: int, count: int) -> float:
    """Positive zero number `count` of J_n' or j_n'.

    The zeros lie above n, zero number k lies below (k + n/2 + 1) pi, and neighbours are more than 1 apart (DLMF 10.21),
    so that unit intervals from n on isolate each of them.
    """
    from scipy.optimize import brentq

    steps = np.arange(max(order, 1), (count + 0.5 * order + 1.0) * np.pi + 1.0)
    negative = np.signbit(_radial_derivative(dimension, order, steps))
    low = float(steps[np.flatnonzero(negative[1:] != negative[:-1])[count - 1]])

    def derivative(s: float) -> float:
        return float(_radial_derivative(dimension, order, np.array([s]))[0])

    return float(brentq(derivative, low, low + 1.0, xtol=1e-14))
