"""What moves the mass of a result, at any point and any time: the velocity of its flow, and what it is made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import numpy as np

from fvflow.errors import CaseError
from fvflow.fields import BaseDrift, Drift
from fvflow.fields.drift_at_points import DriftAtPoints
from fvflow.mesh import Array, Mesh
from fvflow.mesh.arrays import within
from fvflow.reconstruction import FieldInTime, InTime, Place, SavedValues, Side, Slopes, positive, smooth

_BESIDE_AXIS = 1e-3  # of the smallest cell: a distance from the axis at which v_r/r is that on it
_STEP = 1e-3  # of central differences of functions of a case, in the smallest distances of centres
_WIDE_STEP = 3e-2  # of differences of those differences


class SavedFields(Protocol):
    """The frames of a result."""

    @property
    def mesh(self) -> Mesh:
        """The mesh."""

    @property
    def times(self) -> Array:
        """The saved times (frame,)."""

    @property
    def names(self) -> frozenset[str]:
        """Names of the cell fields that are stored."""

    @property
    def in_time(self) -> InTime:
        """How functions are interpolated in time."""

    def field(self, name: str, frame: int) -> Array:
        """A stored cell field (cell,) at a saved time."""


@dataclass(frozen=True, eq=False)
class Motion:
    """A velocity at points; this one has none, for the reason given, and leaves log rho without conditions at walls."""

    fault: str = field(default="", kw_only=True)
    """Why there is no velocity, as a sentence; empty if there is one."""
    rates: Callable[[int], Array | None] = field(default=lambda frame: None, kw_only=True)
    """d_t rho at a saved time."""

    def rate(self, frame: int) -> Array | None:
        """d_t rho (cell,) at a saved time; None if it is not known."""
        return self.rates(frame)

    def slopes(self, frame: int) -> Slopes:
        """Derivatives of log rho along the axes at the walls of a grid, as far as they are known."""
        return {}

    @property
    def empty_sides(self) -> tuple[Side, ...]:
        """The sides of a grid at which rho falls to 0 in proportion to the distance."""
        return ()

    @property
    def note(self) -> str:
        """What lowers the order of log rho, as a sentence; empty if nothing does."""
        return ""

    def drift(self, place: Place) -> Array:
        """The drift (point, dim) without diffusion."""
        raise CaseError(self.fault)

    def velocity(self, log_density: FieldInTime, place: Place) -> Array:
        """v of d_t rho + div(rho v) = 0 (point, dim)."""
        raise CaseError(self.fault)

    def divergence(self, log_density: FieldInTime, place: Place) -> Array:
        """div v (point,)."""
        return self.velocity_and_divergence(log_density, place)[1]

    def velocity_and_divergence(self, log_density: FieldInTime, place: Place) -> tuple[Array, Array]:
        """v (point, dim) and div v (point,), by one look at what they are made of."""
        raise CaseError(self.fault)


@dataclass(frozen=True, eq=False)
class PotentialMotion(Motion):
    """v = factor grad f, f being known in the cells at saved times; v.n = 0 at the walls of a grid."""

    saved: SavedFields = field(kw_only=True)
    """The result."""
    values: Callable[[int], SavedValues] = field(kw_only=True)
    """f at a saved time."""
    factor: float = field(kw_only=True)
    """1 or -1."""
    external: BaseDrift = field(default_factory=Drift)
    """The drift that does not depend on rho."""
    drift_fault: str = ""
    """Why there is no drift, as a sentence; empty if there is one."""

    @cached_property
    def _potential(self) -> FieldInTime:
        mesh, saved = self.saved.mesh, self.saved
        closed = closed_walls(mesh)

        def values(frame: int) -> SavedValues:
            return self.values(frame)._replace(slopes=closed)

        return FieldInTime(smooth(mesh), saved.times, values, saved.in_time)

    @cached_property
    def _drift(self) -> PointDrift:
        return PointDrift(self.external, PointFunctions(self.saved.mesh))

    def drift(self, place: Place) -> Array:
        """That of external potentials; raises CaseError if the flow has none beside its velocity."""
        if self.drift_fault:
            raise CaseError(self.drift_fault)
        return self._drift.velocity(place)

    def velocity(self, log_density: FieldInTime, place: Place) -> Array:
        """factor grad f."""
        return np.asarray(self.factor * self._potential.at(place, 1).gradient)

    def velocity_and_divergence(self, log_density: FieldInTime, place: Place) -> tuple[Array, Array]:
        """factor grad f (point, dim) and factor Lap f (point,)."""
        found = self._potential.at(place, 2)
        return self.factor * found.gradient, self.factor * trace(found.second)


@dataclass(frozen=True, eq=False)
class StoredMotion(Motion):
    """A velocity that is stored in the cells, one field per axis, interpolated linearly in space and time."""

    saved: SavedFields = field(kw_only=True)
    """The result."""
    prefix: str = field(kw_only=True)
    """The fields are called prefix_x, prefix_y, prefix_z."""

    @cached_property
    def _components(self) -> list[FieldInTime]:
        saved = self.saved

        def component(axis: str) -> FieldInTime:
            space = positive(saved.mesh) if saved.mesh.edges else smooth(saved.mesh, odd=axis == "x")
            name = f"{self.prefix}_{axis}"
            return FieldInTime(space, saved.times, lambda frame: SavedValues(saved.field(name, frame)), "linear")

        return [component(axis) for axis in "xyz"[: saved.mesh.dimension]]

    def velocity(self, log_density: FieldInTime, place: Place) -> Array:
        """As it is stored."""
        return np.stack([component.at(place).value for component in self._components], axis=1)

    def velocity_and_divergence(self, log_density: FieldInTime, place: Place) -> tuple[Array, Array]:
        """As it is stored (point, dim), and the divergence of the interpolated velocity (point,)."""
        found = [component.at(place, 1) for component in self._components]
        slopes = [part.gradient[:, axis] for axis, part in enumerate(found)]
        return np.stack([part.value for part in found], axis=1), np.sum(slopes, axis=0)


def divergence_in_space(motion: Motion, mesh: Mesh, log_density: FieldInTime, place: Place) -> Array:
    """div v (point,); where x is a radius, with (d - 1) v_r/r in d dimensions, which has no slope at the radius 0."""
    found = motion.divergence(log_density, place)
    if mesh.revolution is None:
        return found
    points = place.points.copy()
    least = mesh.centre[:, 0].min() if mesh.edges is not None else _BESIDE_AXIS * mesh.cell_size.min()
    points[:, 0] = np.maximum(points[:, 0], least)
    outward = motion.velocity(log_density, place._replace(points=points))[:, 0] / points[:, 0]
    return np.asarray(found + (mesh.revolution.dimension - 1) * outward)


def closed_walls(mesh: Mesh) -> Slopes:
    """The slope 0 at every wall of a grid."""
    if mesh.edges is None:
        return {}
    shape = np.array(mesh.shape[::-1])
    sizes = {axis: int(np.delete(shape, axis).prod()) for axis in range(mesh.dimension) if axis not in mesh.periodic}
    return {axis: (np.zeros(size), np.zeros(size)) for axis, size in sizes.items()}


def trace(matrices: Array) -> Array:
    """The traces (point,) of matrices (point, dim, dim)."""
    return np.asarray(np.einsum("pii->p", matrices))


def at_times(function: Callable[[Array, float], Array], points: Array, times: Array, steady: bool) -> Array:
    """function(points, time) at the times, one for all (1,) or of each point; once for all if it is steady."""
    if steady or len(times) == 1:
        return function(points, float(times[0]))
    each, group = np.unique(times, return_inverse=True)
    order = np.argsort(group, kind="stable")
    parts = np.split(order, np.cumsum(np.bincount(group))[:-1])
    values = [function(points[part], float(time)) for part, time in zip(parts, each, strict=True)]
    found = np.empty((len(points), *values[0].shape[1:]))
    for part, value in zip(parts, values, strict=True):
        found[part] = value
    return found


@dataclass(frozen=True, eq=False)
class PointFunctions:
    """Functions of a case at any points of a mesh, and their derivatives by central differences.

    They are evaluated within the box around the mesh only: beyond its walls they need not be defined.
    """

    mesh: Mesh
    """The mesh."""

    @cached_property
    def step(self) -> float:
        """The step of differences of functions."""
        return _STEP * float(self.mesh.distance.min(initial=(self._ends[1] - self._ends[0]).max()))

    @cached_property
    def _ends(self) -> tuple[Array, Array]:
        """Lower and upper corner of the box around the mesh (dim,)."""
        edges = self.mesh.points.T if self.mesh.edges is None else self.mesh.edges
        return np.array([edge.min() for edge in edges]), np.array([edge.max() for edge in edges])

    def wrapped(self, points: Array) -> Array:
        """The points (point, dim), moved by whole periods onto the mesh where axes are periodic."""
        lower, upper = self._ends
        for axis in self.mesh.periodic:
            points = points.copy()
            points[:, axis] = lower[axis] + np.mod(points[:, axis] - lower[axis], upper[axis] - lower[axis])
        return points

    def inside(self, points: Array, margin: float) -> Array:
        """The same (point, dim), at least a margin away from the ends of the box around the mesh."""
        (lower, upper), points = self._ends, self.wrapped(points)
        lower, upper = lower + margin, upper - margin
        return points if within(points, lower, upper) else np.clip(points, lower, upper)

    def extrapolated(self, function: Callable[[Array, float], Array], place: Place, steady: bool) -> Array:
        """A function of points (point, dim) and time (point, ...); within a step of a wall extrapolated linearly."""

        def values(given: Array, time: float) -> Array:
            at = self.wrapped(given)
            points = self.inside(at, self.step)
            found = function(points, time)
            if points is not at and (near := (moved := points - at).any(axis=1)).any():
                found[near] = 2.0 * found[near] - function(points[near] + moved[near], time)
            return found

        return at_times(values, place.points, place.times, steady)

    def derivatives(self, function: Callable[[Place], Array], place: Place, step: float, margin: float) -> Array:
        """d_j of a function with values (point, -), whose own differences reach as far as `margin`: (point, -, dim)."""
        inside = self.inside(place.points, step + margin)
        parts = []
        for shift in step * np.eye(self.mesh.dimension):
            ahead, behind = (function(place._replace(points=at)) for at in (inside + shift, inside - shift))
            parts.append((ahead - behind) / (2.0 * step))
        return np.stack(parts, axis=-1)

    def divergence(self, function: Callable[[Place], Array], place: Place) -> Array:
        """Of a function (point, dim) that is made of differences itself (point,)."""
        return trace(self.derivatives(function, place, self.step * _WIDE_STEP / _STEP, self.step))


@dataclass(frozen=True, eq=False)
class PointDrift:
    """A drift at any points of a mesh, by closed forms where it has them, else by central differences."""

    given: BaseDrift
    """The drift."""
    functions: PointFunctions
    """How it is evaluated near walls."""

    @cached_property
    def _closed(self) -> DriftAtPoints | None:
        try:
            return self.given.motion(self.functions.mesh.dimension, self.functions.step)
        except CaseError:  # a function without a derivative in the language
            return None

    def velocity(self, place: Place) -> Array:
        """v (point, dim)."""

        def velocity(points: Array, time: float) -> Array:
            if self._closed is None:
                return self.given.velocity_at(points, time, self.functions.step)
            return self._closed.velocity(points, time)

        return self.functions.extrapolated(velocity, place, self.given.steady)

    def divergence(self, place: Place) -> Array:
        """div v (point,)."""
        if self._closed is None or not self._closed.expands:
            return self.functions.divergence(self.velocity, place)
        return self.functions.extrapolated(self._closed.divergence, place, self.given.steady)
