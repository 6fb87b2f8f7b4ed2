"""Newton's method for one minimising-movement step with directional mobility."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

import numpy as np

from fvflow.errors import NumericsError
from fvflow.linalg import inner
from fvflow.mesh import Array
from fvflow.steppers.newton import FLOOR, NotConverged, limited, round_off
from fvflow.steppers.schur import MeshSystemSolver
from fvflow.steppers.step_energy import ContinuedEnergy
from fvflow.steppers.transport_step import Faces, Point, TransportStep

_DAMPED, _UNDAMPED, _WINDOW = 0.8, 4, 3  # length of a step in a stall; iterations before any; those that show one
_LARGEST_COUNT = 100  # iterations at any pace
_WEIGHT_CAP = 1e6  # largest 1/E'', relative to the mean density over the range of E'


class UpwindNewton:
    """phi and rho of Newton's method for the two equations of `LJKO`, on all cells.

    Eliminating rho leaves S dphi = -(R_1 + B w R_2), drho = w (R_2 + B' dphi), w = 1/(|K| E''), with the residuals R_1
    of continuity and R_2 of Hamilton-Jacobi and S = A + B diag(w) B' (`SchurComplement`). The equations have a kink
    where a flux turns, steep on the side from which the denser cell is emptied: a face that has just turned counts in A
    as on that side, and an iteration that runs in a cycle about kinks leaves it by steps of 4/5.
    """

    def __init__(self, solver: MeshSystemSolver, step: TransportStep, energy: ContinuedEnergy) -> None:
        self._solver, self._step, self._energy = solver, step, energy

    def from_density(self, start: Array) -> Point:
        """The first iterate from a density (cell,): nowhere almost empty where empty cells are regular."""
        step, energy = self._step, self._energy
        density = np.maximum(start, energy.floor)
        if energy.regular:
            density = np.maximum(density, FLOOR * step.mean)
            density *= step.mass / inner(step.mesh.volume, density)
        return Point(energy.first(density), density)

    def solve(
        self, point: Point, accepted: Callable[[Point], bool], tolerance: float, pace: Callable[[int], float]
    ) -> int:
        """The iterations until the errors are below `tolerance` and the iterate is `accepted`. Raises NumericsError.

        It gives up where the error after k iterations exceeds pace(k).

        The errors are the sum of |R_1| over the mass, less the round-off in differences of phi, and |R_2|/|K| over the
        scale of E' where there is mass, whose tolerance is 100 times as large.
        """
        step, energy, volume = self._step, self._energy, self._step.mesh.volume
        phi, density = point
        errors: list[float] = []
        last: Faces | None = None
        for iteration in count():
            faces = step.faces(phi)
            flow = faces.conductance * density[faces.source]
            continuity, variation = step.continuity(density, faces), energy.first(density)
            optimality = step.hamilton_jacobi(phi, faces) - variation
            occupied = energy.occupied(density)
            if not (np.isfinite(continuity.sum() + optimality.sum()) and occupied.any()):
                break
            try:
                scale = energy.scale(variation, density)
            except NumericsError:
                break
            lost = float(np.abs(continuity).sum()) - round_off(step.mesh, flow, phi, step.mass)
            mass_error = max(lost, 0.0) / step.mass
            potential_error = float(np.abs(optimality[occupied]).max()) / scale
            if mass_error <= tolerance and potential_error <= 100 * tolerance and accepted(Point(phi, density)):
                return iteration
            errors.append(max(mass_error, potential_error))
            if not errors[-1] < pace(iteration) or iteration == _LARGEST_COUNT:
                break
            weight = capped_weight(energy.second(density), density, step.mean, scale)
            schur = step.schur(self._solver, density, faces, weight / volume, last)
            last = faces
            try:
                change = -schur.inverse(errors[-1], False)(continuity + schur.coupling(weight * optimality))
            except NumericsError:
                break
            length = step_length(errors)
            phi = phi + length * change
            growth = weight * (optimality + schur.coupling_transpose(change) / volume)
            density = limited(density, length * growth, step.mean)
        raise NotConverged(iteration)


def step_length(errors: list[float]) -> float:
    """4/5 where the last three iterations have not halved the least error before them, after the first four; else 1."""
    stalled = len(errors) > _UNDAMPED and errors[-1] > 0.5 * min(errors[:-_WINDOW])
    return _DAMPED if stalled else 1.0


def capped_weight(second: Array, density: Array, mean: float, scale: float) -> Array:
    """1/E'' (cell,), below the mean density at most 1e6 times that over the scale of E'.

    Where E'' is almost 0, as with a large exponent in a nearly empty cell, the rank-one terms of the Schur complement
    would otherwise cancel all digits of the others.
    """
    return np.where(density > mean, 1.0 / second, np.minimum(1.0 / second, _WEIGHT_CAP * mean / scale))
