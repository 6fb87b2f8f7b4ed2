"""One minimising-movement step by a chain of methods, the cheapest first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from fvflow.errors import NumericsError
from fvflow.linalg import UpwindTriangular, rescale_to_mass
from fvflow.mesh import Array
from fvflow.problems import GradientFlow, State
from fvflow.steppers import implicit_upwind
from fvflow.steppers.interior_point import InteriorPoint
from fvflow.steppers.mobility import UpstreamRatio
from fvflow.steppers.optimality import Certificate, certificate
from fvflow.steppers.schur import MeshSystemSolver
from fvflow.steppers.step_energy import ContinuedEnergy, curvature, linearised
from fvflow.steppers.transport_step import TransportStep
from fvflow.steppers.upwind_newton import NotConverged, Point, UpwindNewton

_MORE = 1.5  # growth of the proximity where the energy did not fall
_PATIENCE = 45  # iterations of Newton's method from a density of constant E'


def _brisk(iteration: int) -> float:
    """Half a digit an iteration: those from the prediction that end within 15 iterations have been faster."""
    return np.inf if iteration < 4 else 10.0 ** (4 - 0.5 * iteration)


def _patient(iteration: int) -> float:
    return np.inf if iteration < _PATIENCE else 0.0


class _Found(NamedTuple):
    """A potential (cell,), its certificate, the iterations, and the methods that failed before."""

    phi: Array
    certificate: Certificate
    iterations: int
    switches: int
    fallback: bool = False


@dataclass(frozen=True, eq=False)
class MinimisingStep:
    """The step of `LJKO` on one problem, undivided.

    1. Newton's method from the prediction, while it gains half a digit an iteration.
    2. Newton's method from the density of constant E', where no cell is empty, which knows nothing of the step before.
    3. A primal-dual interior point, at most `iterations`, and Newton's method from its last iterate.
    4. The implicit upwind step by continuation in the length: of the same order, with a solution for any data.

    The potential of the first three has to pass one strict test, `Certificate.accepted`; the density is the one that
    the potential carries. The last does not minimise: its certificate says how far it is from that.
    """

    problem: GradientFlow
    tolerance: float
    iterations: int
    system: MeshSystemSolver
    predict: Callable[[State, float], Array]
    triangular: UpwindTriangular
    ratio: UpstreamRatio

    def __call__(self, state: State, length: float) -> State:
        """The state after the step; raises NumericsError if every method fails."""
        mesh = self.problem.mesh
        conductance = length * mesh.transmissibility
        forward, backward = (conductance * ratio for ratio in self.ratio(state.density))
        step = TransportStep(mesh, self.triangular, state.density, state.mass, forward, backward)
        with np.errstate(all="ignore"):  # an overflow shows in the residuals, and the next method is tried
            found = self._minimum(state, length, step)
        matrix = step.matrix(found.phi)
        solution = rescale_to_mass(matrix, found.certificate.density, state.mass)
        cost = step.cost(found.phi, solution.density)
        after = state.advanced(
            length,
            solution.density,
            potential=found.phi,
            dissipated=2.0 * cost if found.fallback else cost,
            correction=solution.correction,
            iterations=found.iterations,
            optimality=found.certificate.optimality,
            gap=found.certificate.gap,
        )
        return replace(after, switches=found.switches, fallbacks=int(found.fallback))

    def _minimum(self, state: State, length: float, step: TransportStep) -> _Found:
        """The minimum with interactions at rho^n and, if E would not fall, as much proximity as makes it fall."""
        total, before = self.problem.total, state.density
        proximity, iterations, switches = 0.0, 0, 0
        while True:
            energy = ContinuedEnergy(linearised(total, before, proximity), step.mean)
            found = self._found(state, length, step, energy)
            iterations, switches = iterations + found.iterations, switches + found.switches
            found = found._replace(iterations=iterations, switches=switches)
            change = found.certificate.density - before
            if not total.interacting or (needed := curvature(total, change)) <= proximity or self._falls(step, found):
                return found
            proximity = _MORE * max(needed, proximity)

    def _falls(self, step: TransportStep, found: _Found) -> bool:
        """Whether E plus the transport cost is at most E before the step."""
        total, density = self.problem.total, found.certificate.density
        return total.value(density) + step.cost(found.phi, density) <= total.value(step.before)

    def _found(self, state: State, length: float, step: TransportStep, energy: ContinuedEnergy) -> _Found:
        """The minimum of the energy plus the transport cost, or in the last resort the implicit upwind step."""
        newton, test = UpwindNewton(self.system, step, energy), _Test(step, energy)
        spent, switches = 0, 0

        def attempt(start: Point, pace: Callable[[int], float]) -> _Found | None:
            """Newton's method; None if it failed."""
            nonlocal spent, switches
            try:
                count = newton.solve(start, test, self.tolerance, pace)
                return _Found(test.phi, test.last, spent + count, switches)
            except NotConverged as failure:
                spent, switches = spent + failure.iterations, switches + 1
            return None

        if found := attempt(newton.from_density(self.predict(state, length)), _brisk):
            return found
        interior = InteriorPoint(self.system, step, energy, energy.scale(energy.potential(step.before), step.before))
        if found := attempt(interior.start(), _patient):
            return found
        try:
            point, count, solved = interior.solve(test, self.iterations)
            spent += count
            if solved:
                return _Found(test.phi, test.last, spent, switches)
            switches += 1
            if found := attempt(point, _patient):
                return found
        except NumericsError:
            spent, switches = spent + self.iterations, switches + 1
        phi, _, count = implicit_upwind.solve(
            lambda part: replace(step, forward=part * step.forward, backward=part * step.backward),
            energy,
            lambda part: self.predict(state, part * length),
        )
        return _Found(phi, certificate(step, energy, phi), spent + count, switches, fallback=True)


class _Test:
    """Whether a potential (cell,) is optimal; `phi` and `last` are the last one and its certificate."""

    phi: Array
    last: Certificate

    def __init__(self, step: TransportStep, energy: ContinuedEnergy) -> None:
        self._step, self._energy = step, energy

    def __call__(self, phi: Array) -> bool:
        self.phi, self.last = phi, certificate(self._step, self._energy, phi)
        return self.last.accepted
