"""Whether a potential solves a minimising-movement step: one strict test for every method."""

from __future__ import annotations

import numpy as np

from fvflow.mesh import Array
from fvflow.steppers.step_energy import OCCUPIED, ContinuedEnergy
from fvflow.steppers.transport_step import TransportStep

OPTIMAL = 1e-6  # largest error, relative to the range of E', of a potential that is accepted


def optimality_error(step: TransportStep, energy: ContinuedEnergy, phi: Array) -> float:
    """How far phi is from optimal, relative to the range P of E' over the occupied cells plus rho E'' at the mean.

    With the density rho that phi carries and q of `hamilton_jacobi`: |q - E'(rho)| where rho > 1e-12 of the mean, and
    q - E'(1e-12 mean), if positive, elsewhere: phi must not want to fill a cell that it leaves empty.
    """
    density = step.transported(phi)
    q, variation = step.hamilton_jacobi(phi, step.faces(phi)), energy.first(density)
    occupied = energy.occupied(density)
    if not occupied.any():
        return np.inf
    error = float(np.abs(q - variation)[occupied].max())
    if not occupied.all():
        least = energy.first(np.full(len(density), OCCUPIED * step.mean))
        error = max(error, float((q - least)[~occupied].max()))
    return error / energy.scale(variation, density) if np.isfinite(error) else np.inf
