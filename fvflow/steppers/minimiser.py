"""The minimum of one minimising-movement step by a chain of methods, the cheapest first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from fvflow.errors import NumericsError
from fvflow.mesh import Array
from fvflow.problems import State
from fvflow.steppers import implicit_upwind
from fvflow.steppers.carried import Carried
from fvflow.steppers.interior_point import InteriorPoint
from fvflow.steppers.newton import NotConverged, brisk
from fvflow.steppers.optimality import Certificate, certificate
from fvflow.steppers.schur import MeshSystemSolver
from fvflow.steppers.step_energy import ContinuedEnergy
from fvflow.steppers.transport_step import Point, TransportStep
from fvflow.steppers.upwind_newton import UpwindNewton

_REASON = "neither Newton's method nor the interior point converged"
_PATIENCE = 45  # iterations of Newton's method from a density of constant E'


def _patient(iteration: int) -> float:
    return np.inf if iteration < _PATIENCE else 0.0


@dataclass(frozen=True, eq=False)
class Minimiser:
    """(state, length, step, energy) -> the minimum of energy plus transport cost, for `LJKO`.

    1. Newton's method from the prediction, while it gains half a digit an iteration.
    2. Newton's method from the density of constant E', where no cell is empty, which knows nothing of the step before.
    3. A primal-dual interior point, at most `iterations`, and Newton's method from its last iterate.
    4. The implicit upwind step by continuation in the length: of the same order, with a solution for any data.

    The potential of the first three has to pass one strict test, `Certificate.accepted`; the density is the one that
    the potential carries. The last does not minimise: its certificate says how far it is from that.
    """

    tolerance: float
    iterations: int
    system: MeshSystemSolver
    predict: Callable[[State, float], Array]

    def __call__(self, state: State, length: float, step: TransportStep, energy: ContinuedEnergy) -> Carried:
        """The density and its potential; raises NumericsError if every method fails."""
        newton, test = UpwindNewton(self.system, step, energy), _Test(step, energy)
        spent, switches = 0, 0

        def attempt(start: Point, pace: Callable[[int], float]) -> Carried | None:
            """Newton's method; None if it failed."""
            nonlocal spent, switches
            try:
                count = newton.solve(start, test, self.tolerance, pace)
                return _carried(step, test.phi, test.last, spent + count, switches)
            except NotConverged as failure:
                spent, switches = spent + failure.iterations, switches + 1
            return None

        if found := attempt(newton.from_density(self.predict(state, length)), brisk):
            return found
        try:
            interior = InteriorPoint(self.system, step, energy)
            if found := attempt(interior.start(), _patient):
                return found
            point, count, solved = interior.solve(test, self.iterations)
            spent += count
            if solved:
                return _carried(step, test.phi, test.last, spent, switches)
            switches += 1
            if found := attempt(point, _patient):
                return found
        except NumericsError:
            switches += 1
        try:
            phi, _, count = implicit_upwind.solve(step, energy, lambda part: self.predict(state, part * length))
        except NotConverged as failure:
            raise NotConverged(spent + failure.iterations, str(failure)) from None
        last = certificate(step, energy, phi)
        minimum = _carried(step, phi, last, spent + count, switches)
        return replace(minimum, dissipated=2.0 * minimum.dissipated, fallback=_REASON)


def _carried(step: TransportStep, phi: Array, last: Certificate, iterations: int, switches: int) -> Carried:
    return Carried(
        phi=phi,
        density=last.density,
        dissipated=step.cost(phi, last.density),
        iterations=iterations,
        optimality=last.optimality,
        gap=last.gap,
        switches=switches,
    )


class _Test:
    """Whether the potential of an iterate is optimal; `phi` and `last` are the last one and its certificate."""

    phi: Array
    last: Certificate

    def __init__(self, step: TransportStep, energy: ContinuedEnergy) -> None:
        self._step, self._energy = step, energy

    def __call__(self, point: Point) -> bool:
        self.phi, self.last = point.phi, certificate(self._step, self._energy, point.phi)
        return self.last.accepted
