"""The drift of a case: potential, velocity and stream function, seen from the faces."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from fvflow.fields.expression import Expression, Parameters, restrict_regions
from fvflow.mesh import Array, Mesh, Subset


@dataclass(frozen=True)
class Drift:
    """v = -grad(potential) + velocity + (d_y stream, -d_x stream); any part may be missing and any may use t."""

    potential: Expression | None = None
    velocity: tuple[Expression, ...] | None = None
    stream: Expression | None = None
    parameters: Parameters = field(default_factory=dict)

    @property
    def steady(self) -> bool:
        """Whether no part uses t."""
        return all("t" not in part.names for part in self._parts())

    @property
    def gradient(self) -> bool:
        """Whether the drift is that of a potential alone (or zero)."""
        return self.velocity is None and self.stream is None

    @property
    def absent(self) -> bool:
        """Whether there is no drift at all."""
        return not any(True for _ in self._parts())

    @property
    def regional(self) -> bool:
        """Whether a part names regions of the mesh, so that it is known in cells and on faces only."""
        return any(part.regions for part in self._parts())

    def _parts(self) -> Iterator[Expression]:
        yield from (part for part in (self.potential, self.stream, *(self.velocity or ())) if part is not None)

    def cell_potential(self, mesh: Mesh, time: float) -> Array:
        """The potential at the cell centres (cell,); zero where none is given."""
        if self.potential is None:
            return np.zeros(mesh.cells)
        return self.potential.at(mesh.centre, self.parameters, time, mesh.regions)

    def potential_drop(self, mesh: Mesh, time: float) -> Array:
        """w = V_K - V_L + d/|s| int_s v.n of each face (face,), exact for linear and stream-function velocities."""
        w = np.zeros(mesh.faces)
        if self.potential is not None:
            value = self.cell_potential(mesh, time)
            w += value[mesh.owner] - value[mesh.neighbour]
        if self.velocity is not None:
            w += _velocity_flux(mesh, self.velocity, self.parameters, time) / mesh.transmissibility
        if self.stream is not None:
            w += _stream_flux(mesh, self.stream, self.parameters, time) / mesh.transmissibility
        return w

    def velocity_at(self, position: Array, time: float, step: float) -> Array:
        """v at the positions (point, dim), derivatives by central differences of the given step."""
        v = np.zeros_like(position)
        if self.potential is not None:
            v -= _gradient(self.potential, self.parameters, position, time, step)
        if self.stream is not None:
            slope = _gradient(self.stream, self.parameters, position, time, step)
            v += np.stack([slope[:, 1], -slope[:, 0]], axis=1)
        for axis, component in enumerate(self.velocity or ()):
            v[:, axis] += component.at(position, self.parameters, time)
        return v


def _gradient(part: Expression, parameters: Parameters, position: Array, time: float, step: float) -> Array:
    shifts = step * np.eye(position.shape[1])
    rises = [
        part.at(position + shift, parameters, time) - part.at(position - shift, parameters, time) for shift in shifts
    ]
    return np.stack(rises, axis=1) / (2 * step)


def _velocity_flux(mesh: Mesh, velocity: tuple[Expression, ...], parameters: Parameters, time: float) -> Array:
    """int_s v.n of each face by three Gauss points an axis; a face between two regions lies in both by half."""
    beside = {name: 0.5 * (part[mesh.owner] + part[mesh.neighbour]) for name, part in mesh.regions.items()}
    total = np.zeros(mesh.faces)
    for axis, component in enumerate(velocity):

        def value(at: Array, part: Subset, component: Expression = component) -> Array:
            return component.at(at, parameters, time, restrict_regions(beside, part))

        total += mesh.normal[:, axis] * mesh.face_integral(value, 3)
    return total


def _stream_flux(mesh: Mesh, stream: Expression, parameters: Parameters, time: float) -> Array:
    """int_s (d_y psi, -d_x psi).n = psi(end) - psi(start), along the normal turned by a right angle to the left."""
    value = stream.at(mesh.points, parameters, time)
    start, end = mesh.face_points.T
    tangent = np.stack([-mesh.normal[:, 1], mesh.normal[:, 0]], axis=1)
    along = ((mesh.points[end] - mesh.points[start]) * tangent).sum(axis=1)
    return np.asarray(np.sign(along) * (value[end] - value[start]))
