"""Newton's method for one minimising-movement step with directional mobility."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fvflow.errors import NumericsError
from fvflow.linalg import inner
from fvflow.mesh import Array
from fvflow.steppers.mesh_system import MeshSystemSolver
from fvflow.steppers.newton import FLOOR, NotConverged, limited, round_off
from fvflow.steppers.step_energy import ContinuedEnergy
from fvflow.steppers.transport_step import Faces, Point, TransportStep

_DAMPED, _UNDAMPED, _WINDOW = 0.8, 4, 3  # length of a step in a stall; iterations before any; those that show one
_LARGEST_COUNT = 100  # iterations at any pace
_REFUSED = 5  # iterations in a row within the tolerance but not accepted which show that none will be
_AHEAD = 3  # iterations over which the last ratio of errors is trusted
_STEEP = 5  # first iterations in which q(phi) = E' may be solved in all steep cells
_STIFF = 1e-6  # largest 1/E'' of a steep cell, relative to the mean density over the scale of E'
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
        self,
        point: Point,
        accepted: Callable[[Point], bool],
        tolerance: float,
        pace: Callable[[int], float],
        explicit: bool = False,
    ) -> int:
        """The iterations until the errors are below `tolerance` and the iterate is `accepted`. Raises NumericsError.

        It gives up where the errors do not keep pace (`keeps_pace`), and with `Hidden` where an iterate was not
        accepted though its errors were below `tolerance`, that of R_2 below 100 times that.

        If `explicit`, each iteration also solves q(phi) = E'(rho) in the cells of `_explicit`.
        """
        errors: list[float] = []
        last: Faces | None = None
        hidden: Point | None = None
        refused = 0
        for iteration in count():
            found = self._residuals(point)
            if found is None:
                break
            within = found.of_mass <= tolerance and found.of_potential <= 100 * tolerance
            if within and accepted(point):
                return iteration
            refused, hidden = (refused + 1, point) if within else (0, hidden)
            errors.append(found.error)
            if not keeps_pace(errors, pace) or iteration == _LARGEST_COUNT:
                break
            if refused == _REFUSED and not explicit:  # the caller can still shift the energy
                break
            try:
                point = self._advanced(point, found, last, step_length(errors), explicit, iteration < _STEEP)
            except NumericsError:
                break
            last = found.faces
        raise NotConverged(iteration) if hidden is None else Hidden(iteration, hidden)

    def _residuals(self, point: Point) -> _Residuals | None:
        """Those of an iterate; None if they overflow or no cell holds mass.

        The errors are the sum of |R_1| over the mass, less the round-off in differences of phi, and |R_2|/|K| over the
        scale of E' where there is mass.
        """
        step, energy = self._step, self._energy
        phi, density = point
        faces = step.faces(phi)
        flow = faces.conductance * density[faces.source]
        continuity, variation = step.continuity(density, faces), energy.first(density)
        optimality = step.hamilton_jacobi(phi, faces) - variation
        occupied = energy.occupied(density)
        if not (np.isfinite(continuity.sum() + optimality.sum()) and occupied.any()):
            return None
        try:
            scale = energy.scale(variation, density)
        except NumericsError:
            return None
        lost = float(np.abs(continuity).sum()) - round_off(step.mesh, flow, phi, step.mass)
        of_potential = float(np.abs(optimality[occupied]).max()) / scale
        return _Residuals(faces, continuity, optimality, scale, max(lost, 0.0) / step.mass, of_potential)

    def _advanced(
        self, point: Point, found: _Residuals, last: Faces | None, length: float, explicit: bool, steep: bool
    ) -> Point:
        """The iterate after a Newton step of a length <= 1; raises NumericsError if the matrix is singular."""
        step, volume, optimality = self._step, self._step.mesh.volume, found.optimality
        weight = capped_weight(self._energy.second(point.density), point.density, step.mean, found.scale)
        schur = step.schur(self._solver, point.density, found.faces, weight / volume, last)
        change = -schur.inverse(found.error, False)(found.continuity + schur.coupling(weight * optimality))
        growth = length * weight * (optimality + schur.coupling_transpose(change) / volume)
        after = Point(point.phi + length * change, limited(point.density, growth, step.mean))
        if not explicit:
            return after
        clipped = after.density != point.density + growth
        return self._explicit(after, clipped, clipped | (steep & (weight * found.scale < _STIFF * step.mean)))

    def _explicit(self, point: Point, clipped: NDArray[np.bool_], steep: NDArray[np.bool_]) -> Point:
        """The iterate with phi of q(phi) = E'(rho) in the clipped cells or also in the steep ones, q kept elsewhere.

        The Newton step of phi is meant for a density that a clipped cell does not get, and would be wrong by orders of
        magnitude where a cell is almost empty; in steep cells E'(rho) changes more than linearly. Whichever of both
        has the smaller error is taken.
        """
        variation = self._energy.first(point.density)
        q = self._step.hamilton_jacobi(point.phi, self._step.faces(point.phi))

        def solved(cells: NDArray[np.bool_]) -> Point:
            return Point(self._step.potential(np.where(cells, variation, q)), point.density) if cells.any() else point

        def error(candidate: Point) -> float:
            found = self._residuals(candidate)
            return np.inf if found is None else found.error

        first = solved(clipped)
        return first if (steep == clipped).all() else min(first, solved(steep), key=error)


class Hidden(NotConverged):
    """The equations were solved at `point`, but it was not accepted: round-off of phi hides the minimum."""

    def __init__(self, iterations: int, point: Point) -> None:
        super().__init__(iterations)
        self.point = point


class _Residuals(NamedTuple):
    """R_1 and R_2/|K| (cell,) of an iterate, the scale of E' and the relative errors, see `UpwindNewton.solve`."""

    faces: Faces
    continuity: Array
    optimality: Array
    scale: float
    of_mass: float
    of_potential: float

    @property
    def error(self) -> float:
        """The larger of both errors."""
        return max(self.of_mass, self.of_potential)


def keeps_pace(errors: list[float], pace: Callable[[int], float]) -> bool:
    """Whether the error after k iterations is below pace(k), or would be so three iterations on if it fell as fast."""
    *before, last = errors
    if last < pace(len(before)):
        return True
    falls = bool(before) and last < before[-1]
    return falls and last * (last / before[-1]) ** _AHEAD < pace(len(before) + _AHEAD)


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
