"""The drift v of an equation: its differences over the faces, its values at points, its potential."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from fvflow.errors import CaseError
from fvflow.fields.drift_at_points import DriftAtPoints, Terms
from fvflow.fields.expression import Parameters, require_finite, restrict_regions
from fvflow.fields.function import ScalarFunction
from fvflow.fields.seams import Values, require_joined_potential, require_joined_stream, require_joined_velocity
from fvflow.mesh import Array, Mesh, Openings, Subset
from fvflow.parallel import world

_GAUSS_POINTS = 3  # per axis of a face


class BaseDrift:
    """A drift v(x, t) as the schemes use it; the defaults are those of a drift about which nothing is known.

    A drift of one's own derives from this class and gives `velocity_at`; `DriftFunction` makes one from a function.
    """

    @property
    def steady(self) -> bool:
        """Whether it does not depend on t."""
        return False

    @property
    def gradient(self) -> bool:
        """Whether it is -grad V of the `cell_potential` V and nothing else (or zero)."""
        return False

    @property
    def absent(self) -> bool:
        """Whether there is no drift at all."""
        return False

    @property
    def regional(self) -> bool:
        """Whether it depends on regions of the mesh, so that it is defined in cells and on faces only."""
        return False

    @property
    def parts(self) -> tuple[BaseDrift, BaseDrift]:
        """The drift of the potential alone, and all else; one of one's own that has a potential overrides it."""
        return Drift(), self

    def cell_potential(self, mesh: Mesh, time: float) -> Array:
        """V at the cell centres (cell,); zero if it has no potential."""
        return np.zeros(mesh.cells)

    def potential_drop(self, mesh: Mesh, time: float) -> Array:
        """w = d/|s| int_s v.n of each face (face,), V_K - V_L if v = -grad V; by three Gauss points per axis."""
        step = _step(mesh)
        self.require_joined(mesh, time)

        def normal_velocity(at: Array, faces: Subset) -> Array:
            return np.asarray((self.velocity_at(at, time, step) * mesh.normal[faces]).sum(axis=1))

        return mesh.face_integral(normal_velocity, _GAUSS_POINTS) / mesh.transmissibility

    def require_joined(self, mesh: Mesh, time: float) -> None:
        """Raise CaseError, or NumericsError after time 0, if it jumps where a periodic axis is joined."""
        require_joined_velocity(mesh, lambda axis: lambda at: self.velocity_at(at, time, _step(mesh))[:, axis], time)

    def drop_to_openings(self, mesh: Mesh, openings: Openings, time: float) -> Array:
        """w = (v.n) d of each opening (opening,), V_K - V on the face if v = -grad V; v is that on the face."""
        step = _least(mesh, openings.distance)
        at = self.velocity_at(openings.position, time, step)
        return np.asarray((at * openings.normal).sum(axis=1) * openings.distance)

    def velocity_at(self, position: Array, time: float, step: float) -> Array:
        """v (point, dim) at positions (point, dim); derivatives may be taken by central differences of a step."""
        raise NotImplementedError

    def motion(self, dimension: int, step: float) -> DriftAtPoints | None:
        """The velocity at points with derivatives in closed form, but for tables; None if it is not known as functions.

        Raises CaseError if a part has no derivative that the velocity needs.
        """
        return None


def _step(mesh: Mesh) -> float:
    """A step of differences that is small beside the cells."""
    return _least(mesh, mesh.distance)


def _least(mesh: Mesh, distance: Array) -> float:
    """A thousandth of the least of some distances (any,), of those of all processes, or of the size of the mesh."""
    lower, upper = mesh.corners
    return -1e-3 * world().highest(-float(distance.min(initial=float((upper - lower).max()))))


@dataclass(frozen=True)
class DriftFunction(BaseDrift):
    """A drift given as a Python function of positions (point, dim) and time, which returns v (point, dim).

    Set `steady=False` for a function that depends on time: a steady one is evaluated at the start of a run only. For
    use with `FokkerPlanck` and any linear stepper; `potential_drop` integrates v.n over each face by three Gauss points
    per axis. Raises CaseError if values have another shape, and as `Expression.at` if they are not finite.

    >>> rotation = DriftFunction(lambda position, time: np.stack([-position[:, 1], position[:, 0]], axis=1))
    >>> rotation.velocity_at(np.array([[1.0, 2.0]]), 0.0, 0.0)
    array([[-2.,  1.]])
    """

    velocity: Callable[[Array, float], Array]
    """v(x, t): positions (point, dim) and a time to velocities (point, dim)."""
    steady: bool = True
    """Whether the function does not depend on time."""

    def velocity_at(self, position: Array, time: float, step: float) -> Array:
        """v (point, dim) at positions (point, dim); `step` is not used."""
        value = np.asarray(self.velocity(position, time), float)
        if value.shape != position.shape:
            raise CaseError(
                f"the velocity function returned an array of shape {value.shape} for positions of shape "
                f"{position.shape}; return one velocity per position, (point, dim)"
            )
        for axis, component in enumerate(value.T):
            require_finite(component, position, time, f"component {axis} of the velocity function")
        return value


@dataclass(frozen=True)
class Drift(BaseDrift):
    """v = -grad(potential) + velocity + (d_y stream, -d_x stream) + tilt by functions; any may be absent or use t.

    Raises CaseError or NumericsError if a part jumps where the ends of a periodic axis are joined. The tilt F is one
    number per axis.
    """

    potential: ScalarFunction | None = None
    velocity: tuple[ScalarFunction, ...] | None = None
    stream: ScalarFunction | None = None
    parameters: Parameters = field(default_factory=dict)
    tilt: tuple[float, ...] = ()

    @property
    def steady(self) -> bool:
        """Whether no part depends on t."""
        return all("t" not in part.names for part in self._parts())

    @property
    def gradient(self) -> bool:
        """Whether the drift is that of a potential alone (or zero)."""
        return self.velocity is None and self.stream is None and not any(self.tilt)

    @property
    def absent(self) -> bool:
        """Whether there is no drift at all."""
        return not any(self.tilt) and not any(True for _ in self._parts())

    @property
    def regional(self) -> bool:
        """Whether a part depends on regions of the mesh, so that it is defined in cells and on faces only."""
        return any(part.regions for part in self._parts())

    @property
    def parts(self) -> tuple[BaseDrift, BaseDrift]:
        """The drift of the potential alone, and all else."""
        return replace(self, velocity=None, stream=None, tilt=()), replace(self, potential=None)

    def _parts(self) -> Iterator[ScalarFunction]:
        yield from (part for part in (self.potential, self.stream, *(self.velocity or ())) if part is not None)

    def cell_potential(self, mesh: Mesh, time: float) -> Array:
        """V at the cell centres (cell,); zero if there is no potential."""
        if self.potential is None:
            return np.zeros(mesh.cells)
        return self.potential.at(mesh.centre, self.parameters, time, mesh.regions)

    def potential_drop(self, mesh: Mesh, time: float) -> Array:
        """w = V_K - V_L + d/|s| int_s v.n + d F.n of each face (face,).

        Exact for linear and stream-function velocities, and for the tilt F.
        """
        self.require_joined(mesh, time)
        w = np.zeros(mesh.faces)
        if any(self.tilt):
            w += mesh.distance * (mesh.normal @ np.array(self.tilt))
        if self.potential is not None:
            value = self.cell_potential(mesh, time)
            w += value[mesh.owner] - value[mesh.neighbour]
        if self.velocity is not None:
            w += _velocity_flux(mesh, self.velocity, self.parameters, time) / mesh.transmissibility
        if self.stream is not None:
            w += _stream_flux(mesh, self.stream, self.parameters, time) / mesh.transmissibility
        return w

    def require_joined(self, mesh: Mesh, time: float) -> None:
        """Raise CaseError, or NumericsError after time 0, if a part jumps where a periodic axis is joined."""

        def values(part: ScalarFunction) -> Values:
            return lambda at: part.at(at, self.parameters, time, mesh.regions)

        if mesh.periodic and self.potential is not None:
            require_joined_potential(mesh, values(self.potential), time)
        if mesh.periodic and self.velocity is not None:
            parts = self.velocity
            require_joined_velocity(mesh, lambda axis: values(parts[axis]), time)
        if mesh.periodic and self.stream is not None:
            require_joined_stream(mesh, values(self.stream), time)

    def drop_to_openings(self, mesh: Mesh, openings: Openings, time: float) -> Array:
        """w = V_K - V on the face + ((v + F).n) d of each opening (opening,); regions count as in the cell."""
        w = np.zeros(len(openings.cell))
        if any(self.tilt):
            w += openings.distance * (openings.normal @ np.array(self.tilt))
        regions = restrict_regions(mesh.regions, openings.cell)
        if self.potential is not None:
            on_face = self.potential.at(openings.position, self.parameters, time, regions)
            w += self.cell_potential(mesh, time)[openings.cell] - on_face
        for axis, component in enumerate(self.velocity or ()):
            at = component.at(openings.position, self.parameters, time, regions)
            w += at * openings.normal[:, axis] * openings.distance
        if self.stream is not None:
            step = _least(mesh, openings.distance)
            slope = _gradient(self.stream, self.parameters, openings.position, time, step)
            v = np.stack([slope[:, 1], -slope[:, 0]], axis=1)
            w += (v * openings.normal).sum(axis=1) * openings.distance
        return w

    def velocity_at(self, position: Array, time: float, step: float) -> Array:
        """v (point, dim) at positions (point, dim), derivatives by central differences of the given step."""
        v = np.zeros_like(position) + (self.tilt or 0.0)
        if self.potential is not None:
            v -= _gradient(self.potential, self.parameters, position, time, step)
        if self.stream is not None:
            slope = _gradient(self.stream, self.parameters, position, time, step)
            v += np.stack([slope[:, 1], -slope[:, 0]], axis=1)
        for axis, component in enumerate(self.velocity or ()):
            v[:, axis] += component.at(position, self.parameters, time)
        return v

    def motion(self, dimension: int, step: float) -> DriftAtPoints:
        """The velocity at points; raises CaseError if the potential or the stream function have no derivative."""
        parts, turning = list[Terms](), [list[tuple[float, ScalarFunction]]() for _ in range(dimension)]
        for axis in range(dimension):
            falling = () if self.potential is None else ((-1.0, self.potential.along(axis, step)),)
            parts.append((*falling, *(() if self.velocity is None else ((1.0, self.velocity[axis]),))))
        if self.stream is not None:
            turning[0].append((1.0, self.stream.along(1, step)))
            turning[1].append((-1.0, self.stream.along(0, step)))
        tilt = self.tilt or (0.0,) * dimension
        return DriftAtPoints(self.parameters, tilt, tuple(parts), tuple(map(tuple, turning)), step)


def _gradient(part: ScalarFunction, parameters: Parameters, position: Array, time: float, step: float) -> Array:
    """Central differences (point, dim) of a function."""
    differences = [
        part.at(position + shift, parameters, time) - part.at(position - shift, parameters, time)
        for shift in step * np.eye(position.shape[1])
    ]
    return np.stack(differences, axis=1) / (2 * step)


def _velocity_flux(mesh: Mesh, velocity: tuple[ScalarFunction, ...], parameters: Parameters, time: float) -> Array:
    """int_s v.n of each face (face,) by Gauss points; a face between two regions counts half to each."""
    face_regions = mesh.face_regions
    total = np.zeros(mesh.faces)
    for axis, component in enumerate(velocity):

        def value(at: Array, faces: Subset, component: ScalarFunction = component) -> Array:
            return component.at(at, parameters, time, restrict_regions(face_regions, faces))

        total += mesh.normal[:, axis] * mesh.face_integral(value, _GAUSS_POINTS)
    return total


def _stream_flux(mesh: Mesh, stream: ScalarFunction, parameters: Parameters, time: float) -> Array:
    """int_s (d_y psi, -d_x psi).n = psi(end) - psi(start) of each face, the tangent being the normal turned left."""
    return mesh.difference_along_faces(lambda position: stream.at(position, parameters, time))
