"""Velocities beyond the walls of a mesh, where an integrator may look for a moment."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fvflow.errors import NumericsError
from fvflow.lagrangian.flow_map import Velocity
from fvflow.mesh import Array, Mesh
from fvflow.mesh.arrays import within

FOLLOWED = "run the same case with flow: {kind: particles}"
"""What can be done where mass leaves for good."""


def folded(mesh: Mesh, points: Array) -> tuple[Array, Array]:
    """Points (point, dim) moved by periods along periodic axes and reflected at the walls of a grid.

    With each the signs (point, dim), or (1,) if all are 1, that a velocity there has to take beside it.
    """
    points = mesh.inside_period(points)
    lower, upper = (np.array([edge[end] for edge in mesh.edges or ()]) for end in (0, -1))
    if within(points, lower, upper):
        return points, np.ones(1)
    length = upper - lower
    along = np.mod(points - lower, 2.0 * length)
    beyond = (points < lower) | (points > upper)
    back = beyond & (along > length)
    inside = np.where(beyond, lower + np.where(back, 2.0 * length - along, along), points)
    return inside, np.where(back, -1.0, 1.0)


@dataclass(frozen=True, eq=False)
class ReflectedVelocity:
    """A velocity without a component through the walls of a grid, continued by reflection at them, and by periods."""

    mesh: Mesh
    inner: Velocity

    def velocity_and_divergence(self, points: Array, time: float) -> tuple[Array, Array]:
        """v (point, dim) and div v (point,) at any points (point, dim)."""
        inside, sign = folded(self.mesh, points)
        v, divergence = self.inner.velocity_and_divergence(inside, time)
        return sign * v, divergence


@dataclass(frozen=True, eq=False)
class PeriodicVelocity:
    """A velocity that is the same a period further along the periodic axes of a mesh."""

    mesh: Mesh
    inner: Velocity

    def velocity_and_divergence(self, points: Array, time: float) -> tuple[Array, Array]:
        """v (point, dim) and div v (point,) at any points (point, dim)."""
        return self.inner.velocity_and_divergence(self.mesh.inside_period(points), time)


@dataclass(frozen=True, eq=False)
class InnerVelocity:
    """A velocity that is nan beyond the walls of a mesh; a path that looks there is refused: NumericsError."""

    inner: Velocity
    outlets: tuple[str, ...] = ()
    """Names of what mass leaves through for good, if it does."""

    def velocity_and_divergence(self, points: Array, time: float) -> tuple[Array, Array]:
        """v (point, dim) and div v (point,) at points (point, dim)."""
        v, divergence = self.inner.velocity_and_divergence(points, time)
        bad = np.isnan(divergence)
        if bad.any():
            where = ", ".join(f"{axis} = {x:.6g}" for axis, x in zip("xyz", points[int(np.argmax(bad))], strict=False))
            told = f"{int(bad.sum())} paths meet a wall at t = {time:g}, the first at {where}, and"
            if self.outlets:
                raise NumericsError(
                    f"{told} mass leaves through {', '.join(self.outlets)}; leave these points out, or {FOLLOWED}"
                )
            raise NumericsError(
                f"{told} the velocity at points leads along closed walls of grids only; leave these points out, or use "
                "method exact"
            )
        return v, divergence
