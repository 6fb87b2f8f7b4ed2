"""Whether a potential solves a minimising-movement step: one strict test for every method."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fvflow.linalg import inner
from fvflow.mesh import Array
from fvflow.steppers.step_energy import ContinuedEnergy
from fvflow.steppers.transport_step import MinimisingTransport, Point, TransportStep

OPTIMAL = 1e-6  # largest error, relative to the range of E', of a potential that is accepted
LARGEST_GAP = 1e-9  # largest gap that is accepted, relative to the range of E' times the mass


class Certificate(NamedTuple):
    """The density that a potential carries and how far both are from the minimum of the step."""

    density: Array
    """rho >= 0 of the mass of rho^n (cell,)."""
    optimality: float
    """Largest |q - E'(rho)| where rho > 1e-12 of the mean, relative to the scale P of E'."""
    gap: float
    """Bound on the energy plus transport cost of rho minus their minimum, relative to P times the mass."""

    @property
    def accepted(self) -> bool:
        """Whether the step counts as solved."""
        return self.optimality <= OPTIMAL and self.gap <= LARGEST_GAP


def errors_of(step: MinimisingTransport, energy: ContinuedEnergy, point: Point) -> tuple[float, float]:
    """How far phi and rho >= 0 are from solving a step: of continuity, over the mass, and of q, over the scale P of E'.

    The latter is the largest |q - E'(rho)| where rho > 1e-12 of the mean, and q - E'(1e-12 mean), if it is positive,
    elsewhere, where nothing is to be filled.
    """
    phi, density = point
    faces = step.faces(phi)
    variation, occupied = energy.first(density), energy.occupied(density)
    error = step.hamilton_jacobi(phi, faces) - np.where(occupied, variation, energy.least_occupied)
    error = np.where(occupied, np.abs(error), error)
    lost = float(np.abs(step.continuity(density, faces)).sum())
    return lost / step.mass, float(error.max()) / energy.scale(variation, density)


def certificate(step: TransportStep, energy: ContinuedEnergy, phi: Array) -> Certificate:
    """How far a potential (cell,) is from optimal, with the density rho that it carries and q of `hamilton_jacobi`.

    Both are those of the given local energy, in which interactions are linear (`linearised`).

    By duality the minimum is at least sum |K| (rho^n phi - e*(q)) for any phi, and so the excess of rho is at most

        sum |K| (e(rho) + e*(q) - q rho)  <=  sum |K| (r - rho) (q - E'(rho)),    E'(r) = q or r = 0 if E'(0) > q,

    whose right-hand side is the gap: a sum of terms >= 0 without cancellation. P is the range of E' over the cells that
    hold more than 1e-12 of the mean density plus rho E'' at the mean. r is at most twice the mass over the smallest
    cell, which no density of that mass exceeds, so that the bound is finite and holds all the same.
    """
    density = step.transported(phi)
    q, variation = step.hamilton_jacobi(phi, step.faces(phi)), energy.first(density)
    occupied = energy.occupied(density)
    if not occupied.any() or not np.isfinite(q.sum()):
        return Certificate(density, np.inf, np.inf)
    scale = energy.scale(variation, density)
    error = float(np.abs(q - variation)[occupied].max()) / scale
    r = energy.inverse(q, near=density)
    gap = inner(step.mesh.volume, (r - density) * (q - variation)) / (scale * step.mass)
    return Certificate(density, error, gap)
