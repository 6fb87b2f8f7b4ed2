"""Minimising-movement steps: rho^{n+1} minimises E(rho) + W2^2(rho^n, rho)/(2 tau), with a discrete W2."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Annotated, Literal, NamedTuple

import numpy as np
from annotated_types import Ge, Gt, Le, Lt

from fvflow.errors import NumericsError
from fvflow.linalg import Auto, FixedPattern, UpwindTriangular, inner
from fvflow.mesh import Array, Extent
from fvflow.problems import GradientFlow, Movement, State
from fvflow.steppers.base import GradientStepperBase, Step
from fvflow.steppers.carried import CarriedStep, CarriedStepperBase
from fvflow.steppers.fallible import (
    NO_CONVERGENCE,
    FallibleStep,
    Negative,
    in_halves,
    transported_density,
    with_fallback,
)
from fvflow.steppers.interior_point import InteriorPoint
from fvflow.steppers.intervals import IntervalsNewton, interval_pattern
from fvflow.steppers.mesh_system import MeshSystemSolver, NewtonSolver
from fvflow.steppers.minimiser import Minimiser, TooLong
from fvflow.steppers.newton import CentredNewton, NewtonResult, NotConverged, run_newton
from fvflow.steppers.optimality import OPTIMAL, errors_of
from fvflow.steppers.predictor import Predictor
from fvflow.steppers.step_energy import ContinuedEnergy, grounded
from fvflow.steppers.transport_step import CentredTransportStep, Point

_MAX_FAILURES = 100  # failed Newton solves in one step, over all of its parts
_BYTES_AN_UNKNOWN = {1: 1_000, 2: 20_000, 3: 40_000}  # of the joint system of several intervals, by dimension
_LARGEST_REFINED = {1: 200_000, 2: 6_400, 3: 1_000}  # cells up to which several intervals are tried, by dimension
_MOST_REFINED = 4  # intervals that are tried on the largest of these
_DOUBLINGS = (2, 4, 8, 16, 32, 64)  # numbers of intervals that are tried
_INTERIOR_ITERATIONS = 60


@dataclass(frozen=True)
class LJKO(CarriedStepperBase):
    """The linearised JKO step with directional mobility: rho stays >= 0 and E decreases at any step length.

    With the potential phi at the end of the step, D_s = phi_K - phi_L and the face density rho_s = theta_s rho_K taken
    from the upstream cell K (`UpstreamRatio`), the step solves

        |K| (rho_K - rho^n_K) + tau sum_s T_s rho_s D_s = 0                                     (continuity)
        |K| (phi_K - E'(rho)_K) + (tau/2) sum_{s leaving K} T_s theta_s D_s^2 = 0               (Hamilton-Jacobi)

    These are the optimality conditions of min E(rho) + (tau/2) sum_s T_s rho_s D_s^2, a convex problem, so that
    E(rho^{n+1}) plus this transport cost is at most E(rho^n). With `mobility: upwind`, theta = 1, it is the scheme of
    Cances, Gallouet, Todeschi, A variational finite volume scheme for Wasserstein gradient flows, Numer. Math. 146
    (2020), first order in space; `limited` is second order where the density is smooth. Notes, equations (140)-(146).
    Interactions are taken at the density before the step; where E would not fall by that, (c/2) |rho - rho^n|^2 is
    added with the least c of a growing sequence by which it falls.

    The problem is solved by a chain of methods that ends with one that has a solution for any data
    (`Minimiser`); changes of method are counted as `switches`, steps of the last one as `fallbacks`. Only if all
    fail, which round-off can bring about, is the step halved.
    """

    tolerance: Annotated[float, Gt(0), Lt(1e-3)] = 1e-10
    """Residual of Newton's method, as a fraction of the mass; 100 times as large for the potential."""
    iterations: Annotated[int, Ge(1)] = 25
    """Largest number of iterations of the interior point, which takes over where Newton's method does not converge."""
    halvings: Annotated[int, Ge(0), Le(60)] = 24
    """Largest number of successive halvings of a step that does not converge."""
    solver: NewtonSolver = Auto()
    """The linear solver of the Newton systems."""
    kind: Literal["ljko"] = "ljko"
    certified = True
    minimising = True

    def start(self, problem: GradientFlow) -> Step:
        """The step as a function."""
        system, predict = MeshSystemSolver(problem.mesh, self.solver), Predictor(problem, self.solver)
        minimiser = Minimiser(self.tolerance, self.iterations, system, predict)
        undivided = CarriedStep(problem, self.mobility, minimiser)

        def step(state: State, length: float) -> State:
            return self._divided(undivided, state, length, self.halvings, [_MAX_FAILURES])

        return system.remembering(self.kind, step)

    def _divided(self, undivided: Step, state: State, length: float, halvings: int, failures: list[int]) -> State:
        """The state after a step in as many parts as it needs; `failures[0]` failures are allowed, and counted down."""
        spent = 0
        try:
            return undivided(state, length)
        except TooLong as failure:
            raise NumericsError(f"ljko did not converge at t = {state.time:g}: step {length:.3g}, {failure}") from None
        except NotConverged as failure:
            error, spent = str(failure), failure.iterations
        except NumericsError as failure:
            error = str(failure)
        failures[0] -= 1
        if halvings == 0 or failures[0] < 0:
            raise NumericsError(
                f"ljko did not converge at t = {state.time:g} even with a step of {length:.3g} after "
                f"{self.halvings - halvings} halvings ({error}); use a smaller step or a finer mesh"
            )

        def part(state: State, length: float) -> State:
            return self._divided(undivided, state, length, halvings - 1, failures)

        end = in_halves(part, state, length)
        return replace(end, iterations=end.iterations + spent, halvings=end.halvings + 1)


@dataclass(frozen=True)
class JKO(GradientStepperBase):
    """The JKO step itself, centred in space and within the step: min E(rho) + (tau/2) sum_s T_s rho_s D_s^2.

        |K| (rho_K - rho^n_K) + tau sum_s T_s rho_s D_s = 0,   rho_s = (rho_K + rho_L + rho^n_K + rho^n_L)/4
        |K| (phi_K - E'(rho)_K) + (tau/8) sum_s T_s D_s^2 = 0

    This is the Benamou-Brenier problem of the step with one time interval, phi at its midpoint: second order in space,
    and within a relative tau^2 of the JKO recursion, so that the remaining error is the first order in tau of the
    recursion itself (notes, equations (1) and (140)). The joint system of Q intervals costs more than Q systems of one
    interval. Where Newton's method does not converge, or its density would be negative, as in vacuum, the same minimum
    over rho >= 0 is sought by an interior point, for one interval and local energies, and counted as a switch. Where
    the intervals cannot be refined to the accuracy, as there, the most that converge are kept; such steps are counted
    as `reduced`. A step that neither method finds is taken by `ljko` instead and counted as a fallback.
    """

    intervals: Annotated[int, Ge(1), Le(64)] | None = None
    """Number Q of time intervals in a step; by default doubled until the density has the `accuracy`."""
    accuracy: Annotated[float, Gt(0)] = 1e-4
    """Distance from the JKO recursion in each step, L1 over the mass, that the choice of intervals aims at."""
    tolerance: Annotated[float, Gt(0), Lt(1e-3)] = 1e-12
    """Residual of Newton's method, as a fraction of the mass; 100 times as large for the potential."""
    iterations: Annotated[int, Ge(1)] = 40
    """Largest number of Newton iterations; a step that needs more is taken by the interior point."""
    solver: NewtonSolver = Auto()
    """The linear solver of the Newton systems."""
    kind: Literal["jko"] = "jko"
    tells_crossing = True
    minimising = True
    order_in_space = 2

    def positive_step(self, problem: GradientFlow) -> float:
        """Infinite: a step that would be negative is taken by `ljko`."""
        return math.inf

    def memory(self, extent: Extent) -> int:
        """Estimated bytes of a run; all intervals, or the most that are tried, are factorised together."""
        dimension = extent.dimension
        if self.intervals is not None:
            unknowns = 2 * self.intervals * extent.cells if self.intervals > 1 else 0
        else:
            unknowns = 2 * min(_DOUBLINGS[-1] * extent.cells, _MOST_REFINED * _LARGEST_REFINED[dimension])
        return super().memory(extent) + _BYTES_AN_UNKNOWN[dimension] * unknowns

    def _refinements(self, extent: Extent) -> tuple[int, ...]:
        """The numbers of intervals to try after one, where their joint system is small enough."""
        if self.intervals is not None:
            return () if self.intervals == 1 else (self.intervals,)
        largest = _LARGEST_REFINED[extent.dimension]
        return tuple(
            count for count in _DOUBLINGS if extent.cells <= largest and count * extent.cells <= _MOST_REFINED * largest
        )

    def describe(self, extent: Extent) -> str:
        """A sentence on the scheme."""
        if self.intervals is not None or self._refinements(extent):
            return super().describe(extent)
        return f"{super().describe(extent)}; one interval in a step, as there are too many cells to refine it"

    def start(self, problem: GradientFlow) -> Step:
        """The step as a function."""
        return with_fallback(self.start_fallible(problem), LJKO().start(problem))

    def start_fallible(self, problem: GradientFlow) -> FallibleStep:
        """The step as a function that raises NumericsError if it does not converge to a density >= 0."""
        problem, constant = grounded(problem)
        mesh, system = problem.mesh, MeshSystemSolver(problem.mesh, self.solver)
        predict, triangular = Predictor(problem, self.solver), UpwindTriangular(mesh)
        pattern = cache(partial(interval_pattern, mesh))

        def by_newton(state: State, length: float) -> _Minimum:
            return self._newton(system, problem, state, predict(state, length), length, pattern)

        def by_interior_point(state: State, length: float) -> _Minimum:
            return self._interior(system, problem, state, length)

        def step(state: State, length: float) -> State:
            spent, failed = 0, NumericsError(NO_CONVERGENCE)
            for method in (by_newton, by_interior_point):
                try:
                    with np.errstate(all="ignore"):  # an overflow shows in the residual
                        found = method(state, length)
                except NotConverged as failure:
                    spent += failure.iterations
                    continue
                except NumericsError:
                    continue
                spent += found.result.iterations
                moved = transported_density(mesh, triangular, state, found.flux, found.phi, self.tolerance)
                if moved is None:
                    failed = Negative()
                else:
                    phi, cost, result = found.phi + constant, found.cost, found.result._replace(iterations=spent)
                    after = state.advanced(length, moved[0], potential=phi, dissipated=cost, **result._asdict())
                    crossed = None if state.crossed is None else moved[1]
                    movement = Movement(state.density, length, found.end + constant, cost)
                    switches, reduced = found.switches, found.reduced
                    return replace(after, switches=switches, reduced=reduced, crossed=crossed, movement=movement)
            raise failed

        return system.remembering(self.kind, step)

    def _newton(
        self,
        system: MeshSystemSolver,
        problem: GradientFlow,
        state: State,
        start: Array,
        length: float,
        pattern: Callable[[int], FixedPattern],
    ) -> _Minimum:
        """By Newton's method, which converges fast if there is no vacuum. Raises NumericsError."""
        single = CentredNewton(system, problem, state, start, length)
        result = run_newton(single, self.tolerance, self.iterations)
        found = _Minimum.of(single, result)
        if self.intervals == 1:
            return found
        density, spent = single.density, result.iterations
        for count in self._refinements(problem.mesh.extent):
            several = IntervalsNewton(system, problem, state, single, length, count, pattern(count))
            try:
                result = run_newton(several, self.tolerance, self.iterations)
            except NotConverged:
                if self.intervals is not None:
                    raise
                break
            spent += result.iterations
            distance = inner(problem.mesh.volume, np.abs(several.density - density)) / state.mass
            found = _Minimum.of(several, result._replace(iterations=spent))
            density = several.density
            if self.intervals is not None or distance <= 3.0 * self.accuracy:  # the error falls fourfold
                return found
        return found._replace(reduced=1)

    def _interior(self, system: MeshSystemSolver, problem: GradientFlow, state: State, length: float) -> _Minimum:
        """By an interior point, for one interval and local energies: rho >= 0 anywhere. Raises NumericsError."""
        if (self.intervals or 1) > 1 or problem.total.interacting:
            raise NumericsError("the interior point is for one interval and local energies")
        mesh = problem.mesh
        step = CentredTransportStep(mesh, state.density, state.mass, length * problem.conductance)
        energy = ContinuedEnergy(problem.total, step.mean)
        level = energy.level(step.mass)
        energy = energy.shifted(level)
        interior = InteriorPoint(system, step, energy)
        errors = np.inf, np.inf

        def accepted(point: Point) -> bool:
            nonlocal errors
            errors = errors_of(step, energy, point)
            return errors[0] <= self.tolerance and errors[1] <= OPTIMAL

        point, iterations, solved = interior.solve(interior.start(), accepted, _INTERIOR_ITERATIONS)
        if not solved:
            raise NotConverged(iterations)
        drop = step.faces(point.phi)
        flux = step.flow(point.density) * drop
        result = NewtonResult(iterations, *errors)
        reduced = int(self.intervals is None)
        end = step.hamilton_jacobi(point.phi, drop) + level
        return _Minimum(point.phi + level, end, flux, 0.5 * inner(flux, drop), result, switches=1, reduced=reduced)


class _Minimum(NamedTuple):
    """phi (cell,), mass through each face in the step (face,), transport cost, and how it was found."""

    phi: Array
    end: Array
    """phi at the end of the step."""
    flux: Array
    cost: float
    result: NewtonResult
    switches: int = 0
    reduced: int = 0

    @staticmethod
    def of(newton: CentredNewton, result: NewtonResult) -> _Minimum:
        """What Newton's method has found."""
        return _Minimum(newton.phi, newton.end_potential(), newton.flux(), newton.cost(), result)
