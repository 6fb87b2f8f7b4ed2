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
from fvflow.steppers.newton import LocalEnergy, UpwindNewton, run_newton
from fvflow.steppers.optimality import OPTIMAL, optimality_error
from fvflow.steppers.schur import MeshSystemSolver
from fvflow.steppers.step_energy import VACUUM, ContinuedEnergy, local_majorant
from fvflow.steppers.transport_step import TransportStep

_FIRST, _IMPLICIT, _SECOND = 10, 12, 20  # Newton iterations: from the predictor, of the implicit step, and from it


class _Found(NamedTuple):
    """A potential (cell,), the iterations, how far it is from optimal, and the methods that failed before."""

    phi: Array
    iterations: int
    error: float
    switches: int
    fallback: bool = False


@dataclass(frozen=True, eq=False)
class MinimisingStep:
    """The step of `LJKO` on one problem, undivided.

    1. Newton's method from the predictor, at most 10 iterations, if no cell is empty.
    2. Newton's method for the implicit upwind step, at most 12 iterations, then for the minimising step from there, at
       most 20, with E' continued linearly below 1e-13 of the mean.
    3. A primal-dual interior point, at most `iterations`.
    4. The implicit upwind step itself, by continuation in the length: of the same order, with a solution for any data.

    A method's potential is accepted by one test, `optimality_error`; the density is the one that the potential carries.
    The last method's is not tested: it does not minimise, and how far it is from that is reported as `optimality`.
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
            found = self._potential(state, length, step)
        matrix = step.matrix(found.phi)
        solution = rescale_to_mass(matrix, step.transported(found.phi), state.mass)
        cost = step.cost(found.phi, solution.density)
        after = state.advanced(
            length,
            solution.density,
            potential=found.phi,
            dissipated=2.0 * cost if found.fallback else cost,
            correction=solution.correction,
            iterations=found.iterations,
            optimality=found.error,
        )
        return replace(after, switches=found.switches, fallbacks=int(found.fallback))

    def _potential(self, state: State, length: float, step: TransportStep) -> _Found:
        total = local_majorant(self.problem.total, state.density)
        energy = ContinuedEnergy(total, step.mean)
        start, spent, switches = self.predict(state, length), 0, 0
        if float(state.density.min()) > VACUUM * step.mean:
            try:
                return self._newton(total, energy, state, step, start, _FIRST, 0, 0)
            except NumericsError:
                spent, switches = _FIRST, 1
        done = _IMPLICIT
        try:
            _, density, count = implicit_upwind.newton(step, energy, start, _IMPLICIT)
            done = count + _SECOND
            return self._newton(energy, energy, state, step, density, _SECOND, spent + count, switches)
        except NumericsError:
            spent, switches = spent + done, switches + 1
        try:
            solver = InteriorPoint(self.system, step, energy, energy.scale(total.potential(step.before), step.before))
            phi, count, error = solver.solve(self.iterations)
            return _Found(phi, spent + count, error, switches)
        except NumericsError:
            spent, switches = spent + self.iterations, switches + 1
        phi, _, count = implicit_upwind.solve(
            lambda part: replace(step, forward=part * step.forward, backward=part * step.backward),
            energy,
            lambda part: self.predict(state, part * length),
        )
        return _Found(phi, spent + count, optimality_error(step, energy, phi), switches, fallback=True)

    def _newton(
        self,
        minimised: LocalEnergy,
        energy: ContinuedEnergy,
        state: State,
        step: TransportStep,
        start: Array,
        iterations: int,
        spent: int,
        switches: int,
    ) -> _Found:
        """Newton's method from a density (cell,); raises NumericsError if it does not pass the test."""
        newton = UpwindNewton(self.system, step.mesh, minimised, state, start, step.forward, step.backward)
        result = run_newton(newton, self.tolerance, iterations)
        error = optimality_error(step, energy, newton.phi)
        if not error <= OPTIMAL:
            raise NumericsError(f"optimality error {error:.1e}")
        return _Found(newton.phi, spent + result.iterations, error, switches)
