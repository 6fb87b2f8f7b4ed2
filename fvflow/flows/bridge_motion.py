"""The velocity of a Schroedinger bridge at points."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from fvflow.errors import NumericsError
from fvflow.flows.linear_motion import LinearMotion
from fvflow.flows.motion import Motion, SavedFields, closed_walls
from fvflow.mesh import Array
from fvflow.problems import Bridge
from fvflow.reconstruction import FieldInTime, Place, SavedValues, Slopes, smooth


@dataclass(frozen=True, eq=False)
class BridgeMotion(Motion):
    """v + 2 D grad log g, v being the velocity of rho in the reference: drift - D grad log rho for a number D.

    log g is interpolated as log rho is, with its rate of change by the backward equation and the slope 0 at the closed
    walls of a grid.
    """

    problem: Bridge
    """The problem in arrays."""
    saved: SavedFields
    """The result."""
    reference: LinearMotion
    """What moves rho without g."""

    @cached_property
    def _log_backward(self) -> FieldInTime:
        mesh, saved = self.saved.mesh, self.saved
        full = self.reference.diffusion is not None and self.reference.diffusion.full
        slopes = {} if full else closed_walls(mesh)

        def values(frame: int) -> SavedValues:
            g = saved.field("backward", frame)
            if not (g > 0).all():
                raise NumericsError(
                    f"the field backward is 0 in {int((g <= 0).sum())} cells at t = {saved.times[frame]:g}, where the "
                    "velocity is not defined; ask for times before, or use a target that is positive"
                )
            problem = replace(self.problem, forward=g, backward=g)
            with np.errstate(over="ignore"):
                rate = problem.backward_rate(float(saved.times[frame])) / g
            return SavedValues(np.log(g), rate, slopes)

        return FieldInTime(smooth(mesh), saved.times, values, saved.in_time)

    def rate(self, frame: int) -> Array:
        """d_t rho (cell,) by the flux of the bridge."""
        forward, backward = self.saved.field("forward", frame), self.saved.field("backward", frame)
        problem = replace(self.problem, forward=forward, backward=backward)
        return problem.rate(self.saved.field("rho", frame), float(self.saved.times[frame]))

    def slopes(self, frame: int) -> Slopes:
        """Those of the reference, as g has the slope 0 at closed walls."""
        return self.reference.slopes(frame)

    def drift(self, place: Place) -> Array:
        """The drift of the particles, b + 2 D grad log g."""
        pull = self.reference.apply(place, self._log_backward.at(place, 1).gradient)
        return np.asarray(self.reference.drift(place) + 2.0 * pull)

    def velocity(self, log_density: FieldInTime, place: Place) -> Array:
        """That of the reference and 2 D grad log g."""
        found = self.reference.velocity(log_density, place)
        return np.asarray(found + 2.0 * self.reference.apply(place, self._log_backward.at(place, 1).gradient))

    def velocity_and_divergence(self, log_density: FieldInTime, place: Place) -> tuple[Array, Array]:
        """The same (point, dim), and its divergence (point,)."""
        velocity, expansion = self.reference.velocity_and_divergence(log_density, place)
        log = self._log_backward.at(place, 2)
        pull = self.reference.apply(place, log.gradient)
        return velocity + 2.0 * pull, expansion + 2.0 * self.reference.diffused(place, log)
