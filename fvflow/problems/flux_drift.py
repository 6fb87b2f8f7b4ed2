"""The drift that a flux has beside D grad rho, where D varies."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fvflow.fields import BaseDrift, Diffusion, Parameters
from fvflow.mesh import Array


@dataclass(frozen=True, eq=False)
class FluxDrift(BaseDrift):
    """u of the flux u rho - D grad rho: u = v - c div D by the convention, v_V = -(D/T) grad V with a temperature."""

    drift: BaseDrift
    """The drift of the case."""
    diffusion: Diffusion
    """The diffusion of the case."""
    parameters: Parameters
    """The parameters of the case."""
    factor: float
    """A factor of D."""

    @property
    def absent(self) -> bool:
        """Whether there is none."""
        return self.drift.absent and self.diffusion.power == 0

    @property
    def regional(self) -> bool:
        """Whether it depends on regions of the mesh."""
        return self.drift.regional or any(part.regions for part in self.diffusion.components)

    def velocity_at(self, position: Array, time: float, step: float) -> Array:
        """u (point, dim) at positions (point, dim), derivatives by central differences of a step."""
        if self.diffusion.temperature is None:
            u = self.drift.velocity_at(position, time, step)
        else:
            potential, rest = self.drift.parts
            force = potential.velocity_at(position, time, step) / self.diffusion.temperature
            u = rest.velocity_at(position, time, step) + _times(self._at(position, time), force)
        if self.diffusion.power > 0:
            for axis, shift in enumerate(step * np.eye(position.shape[1])):
                change = self._at(position + shift, time) - self._at(position - shift, time)
                u = u - self.diffusion.power * change[:, :, axis] / (2 * step)
        return np.asarray(u)

    def _at(self, position: Array, time: float) -> Array:
        """D (point, dim, dim)."""
        dimension = position.shape[1]
        values = [self.factor * part.at(position, self.parameters, time) for part in self.diffusion.components]
        if self.diffusion.full:
            return np.stack(values, axis=1).reshape(-1, dimension, dimension)
        diagonal = np.stack(values * (dimension // len(values)), axis=1)
        return np.asarray(diagonal[:, :, None] * np.eye(dimension))


def _times(matrices: Array, vectors: Array) -> Array:
    """Products (point, dim) of matrices (point, dim, dim) and vectors (point, dim)."""
    return np.asarray((matrices @ vectors[:, :, None])[:, :, 0])
