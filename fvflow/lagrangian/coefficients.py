"""Drift and noise of the stochastic differential equation of a Fokker-Planck equation, at any points.

    d_t rho + div(rho v) = div(D^(1-c) grad(D^c rho)) = Lap(D rho) - (1 - c) div(rho grad D)

is that of dX = (v + (1 - c) grad D) dt + sqrt(2 D) dW in the sense of Ito, and with 1/2 - c in place of 1 - c in that
of Stratonovich; c is 1 for ito, 1/2 for stratonovich and 0 for isothermal. With one D per axis, each drifts by its own
slope. A temperature T lets the potential drift by -(D/T) grad V.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fvflow.errors import CaseError, NumericsError
from fvflow.fields import BaseDrift, ScalarFunction
from fvflow.mesh import Array
from fvflow.problems import FokkerPlanck
from fvflow.problems.diffusivity import AxisDiffusivity

ITO, STRATONOVICH = 1.0, 0.5
"""The senses of the stochastic integral, by the number from which c is taken."""

Velocity = Callable[[Array, float], Array]
"""v(x, t) (point, dim) at points (point, dim)."""


@dataclass(frozen=True, eq=False)
class Coefficients:
    """The drift and the noise of a problem in either sense of the stochastic integral."""

    velocity: Velocity
    """The drift but for that of a potential at a temperature."""
    epsilon: float
    """D where no diffusivity says another."""
    spread: AxisDiffusivity | None = None
    """What the case says of D that varies; None if it is `epsilon`."""
    heated: Velocity | None = None
    """-grad V where there is a temperature."""
    slopes: tuple[ScalarFunction, ...] = ()
    """d_i D_i along each axis i; empty where D is the same everywhere."""

    @staticmethod
    def of(problem: FokkerPlanck, step: float) -> Coefficients:
        """Those of a problem; derivatives of tables are central differences of a step.

        Raises CaseError for what has no value or no derivative at points.
        """
        drift, diffusivity, dimension = problem.drift, problem.diffusivity, problem.mesh.dimension
        if drift.regional:
            raise CaseError("regions of the mesh have no place at points; use stepper: {kind: jump}")
        if diffusivity is None:
            return Coefficients(_velocity(drift, dimension, step), problem.epsilon)
        spread = diffusivity.along_axes
        if spread is None:
            raise CaseError("it takes no full tensor of diffusion; use stepper: {kind: jump}")
        diffusion = spread.diffusion
        components = diffusion.components * (dimension if diffusion.scalar else 1)
        if any(component.regions for component in components):
            raise CaseError("regions of the mesh have no place at points; use stepper: {kind: jump}")
        potential, rest = (drift, None) if diffusion.temperature is None else drift.parts
        varies = not diffusion.uniform
        slopes = tuple(part.along(axis, step) for axis, part in enumerate(components)) if varies else ()
        velocity, heated = _velocity(potential, dimension, step), None
        if rest is not None:
            velocity, heated = _velocity(rest, dimension, step), velocity
        return Coefficients(velocity, 0.0, spread, heated, slopes)

    def at(self, points: Array, time: float, sense: float = ITO) -> tuple[Array, Array]:
        """The drift in a sense of the integral and sqrt(2 D), both (point, dim).

        Raises as functions do where they are not finite, and NumericsError if D < 0.
        """
        drift = self.velocity(points, time)
        if self.spread is None:
            return drift, np.full_like(points, np.sqrt(2.0 * self.epsilon))
        given, parameters, factor = self.spread.diffusion, self.spread.parameters, self.spread.factor
        d = np.empty_like(points)
        for axis, component in enumerate(given.components):
            chosen = slice(None) if given.scalar else axis
            d[:, chosen] = factor * component.at(points, parameters, time).reshape(-1, *[1] * given.scalar)
        if (d < 0).any():
            worst = int(np.argmin(d.min(axis=1)))
            place = ", ".join(f"{axis} = {at:.6g}" for axis, at in zip("xyz", points[worst], strict=False))
            raise NumericsError(f"diffusion is {d[worst].min():g} at {place}, t = {time:g}; it has to be at least 0")
        if self.heated is not None:
            assert given.temperature is not None
            drift += self.heated(points, time) * d / given.temperature
        correction = factor * (sense - given.power)
        for axis, slope in enumerate(self.slopes if correction else ()):
            drift[:, axis] += correction * slope.at(points, parameters, time)
        return drift, np.sqrt(2.0 * d)


def _velocity(drift: BaseDrift, dimension: int, step: float) -> Velocity:
    """v at points, by closed forms if the drift has them."""
    closed = drift.motion(dimension, step)
    return closed.velocity if closed is not None else lambda points, time: drift.velocity_at(points, time, step)
