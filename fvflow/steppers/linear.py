"""One-step methods for the linear equation |K| d_t rho = -A rho."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Generic, Literal, Self, TypeVar

from fvflow.linalg import (
    Auto,
    FaceMatrix,
    FactorCache,
    LinearSolver,
    Solve,
    Solver,
    TransposedSolve,
    divergence,
    resolve_solver,
)
from fvflow.mesh import Array, Extent
from fvflow.problems import FokkerPlanck, State
from fvflow.steppers.absorption import Absorption
from fvflow.steppers.base import AdjointStep, LinearStepperBase, Step
from fvflow.steppers.crossing import Crossing

T = TypeVar("T")


class Inverse(Generic[T]):
    """Solvers for diag(|K|) + scale A(time); `prepare` is called only if the scale or the coefficients have changed."""

    def __init__(self, problem: FokkerPlanck, prepare: Callable[[FaceMatrix], T]) -> None:
        self._problem, self._cache = problem, FactorCache(prepare)

    def __call__(self, time: float, scale: float) -> T:
        """The solver for the matrix at this time and scale."""
        problem = self._problem
        leaks = () if problem.openings is None else (problem.leaks(time),)
        return self._cache(scale, (*problem.coefficients(time), *leaks), lambda: problem.matrix(time, scale))


def _inverse(problem: FokkerPlanck, solver: LinearSolver) -> Inverse[Solve]:
    return Inverse(problem, resolve_solver(solver, problem.extent, problem.steady).prepare)


def _transposed(problem: FokkerPlanck, solver: LinearSolver) -> Inverse[TransposedSolve]:
    return Inverse(problem, resolve_solver(solver, problem.extent, problem.steady).prepare_transpose)


def _outflow(problem: FokkerPlanck, density: Array, time: float) -> Array:
    """A rho, the outflow of each cell per unit time (cell,), of a mesh without openings."""
    return divergence(problem.graph, problem.flux(density, time))


class _WithSolver(LinearStepperBase):
    """A method whose linear systems are solved by a solver of the case."""

    tells_crossing = True

    def for_adjoint(self, extent: Extent) -> Self:
        """The method with a solver that has an exact transpose on a mesh of this extent."""
        assert self.solver is not None
        return replace(self, solver=self.solver.resolve_transpose(extent))  # type: ignore[type-var]


@dataclass(frozen=True)
class ImplicitEuler(_WithSolver):
    """(|K| + dt A) rho^{n+1} = |K| rho^n: first order; positive and stable at any step if the matrix is an M-matrix."""

    solver: Solver = Auto()
    """The linear solver."""
    kind: Literal["implicit-euler"] = "implicit-euler"
    divided = True
    takes_openings = True
    error_constant = 0.5
    monotone = True
    order = 1

    def positive_step(self, problem: FokkerPlanck) -> float:
        """Infinite with an M-matrix; otherwise 0."""
        return math.inf if problem.monotone else 0.0

    def start(self, problem: FokkerPlanck) -> Step:
        """The step as a function."""
        inverse, absorption = _inverse(problem, self.solver), Absorption(problem)

        def step(state: State, length: float) -> State:
            end, crossing = state.time + length, Crossing(problem, state)
            after = inverse(end, length)(problem.mesh.volume * state.density, state.remaining)
            crossing.add(after.density, end, length)
            lost = absorption(after.density, end, length)
            return absorption.after(state, length, lost, after, crossed=crossing.total)

        return step

    def adjoint(self, problem: FokkerPlanck) -> AdjointStep:
        """phi^n = (|K| + dt A)'^-1 |K| phi^{n+1}."""
        inverse, volume = _transposed(problem, self.solver), problem.mesh.volume
        return lambda phi, time, length: inverse(time + length, length)(volume * phi)


@dataclass(frozen=True)
class CrankNicolson(_WithSolver):
    """(|K| + dt/2 A) rho^{n+1} = (|K| - dt/2 A) rho^n, A at the middle of the step: second order, A-stable.

    Positive only if dt max_K A_KK/|K| <= 2. With openings it is computed as 2 (|K| + dt/2 A)^-1 |K| rho^n - rho^n, in
    which the masses that leave are sums of positive numbers.
    """

    solver: Solver = Auto()
    """The linear solver."""
    kind: Literal["crank-nicolson"] = "crank-nicolson"
    divided = True
    takes_openings = True
    error_constant = 1.0 / 12.0
    order = 2

    def positive_step(self, problem: FokkerPlanck) -> float:
        """2/max_K (A_KK/|K|) at the start; 0 if the flux is not monotone."""
        return 2.0 / max(problem.max_outflow_rate(problem.start), math.ulp(0.0)) if problem.monotone else 0.0

    def start(self, problem: FokkerPlanck) -> Step:
        """The step as a function."""
        inverse, absorption, volume = _inverse(problem, self.solver), Absorption(problem), problem.mesh.volume

        def closed(state: State, length: float) -> State:
            middle, half, crossing = state.time + 0.5 * length, 0.5 * length, Crossing(problem, state)
            right = volume * state.density - half * _outflow(problem, state.density, middle)
            after = inverse(middle, half)(right, state.mass)
            for density in (state.density, after.density):
                crossing.add(density, middle, half)
            return absorption.after(state, length, absorption.nothing, after, crossed=crossing.total)

        def opened(state: State, length: float) -> State:
            middle, crossing = state.time + 0.5 * length, Crossing(problem, state)
            halfway = absorption.solve(inverse(middle, 0.5 * length), volume * state.density, state.remaining)
            crossing.add(halfway.density, middle, length)
            lost = absorption(halfway.density, middle, length)
            after = absorption.rescaled(state, 2.0 * halfway.density - state.density, lost)
            return absorption.after(state, length, lost, halfway, after, crossed=crossing.total)

        return closed if problem.openings is None else opened

    def adjoint(self, problem: FokkerPlanck) -> AdjointStep:
        """phi^n = |K|^-1 (|K| - dt/2 A)' (|K| + dt/2 A)'^-1 |K| phi^{n+1}."""
        inverse, volume = _transposed(problem, self.solver), problem.mesh.volume

        def step(phi: Array, time: float, length: float) -> Array:
            middle, half = time + 0.5 * length, 0.5 * length
            return problem.matrix(middle, -half).apply_transpose(inverse(middle, half)(volume * phi)) / volume

        return step


_GAMMA = 2.0 - math.sqrt(2.0)


@dataclass(frozen=True)
class TrBdf2(_WithSolver):
    """A trapezoidal stage over gamma dt, then BDF2 over the whole step, gamma = 2 - sqrt(2): second order, L-stable.

        (|K| + c A(t + gamma dt)) u = (|K| - c A(t)) rho^n,                        c = gamma dt/2
        (|K| + c A(t + dt)) rho^{n+1} = |K| (u - (1 - gamma)^2 rho^n)/(gamma (2 - gamma))

    Both stages have the same matrix if A is steady. Bank et al., Transient simulation of silicon devices and circuits,
    IEEE Trans. CAD 4 (1985). Positive if dt max_K A_KK/|K| <= 1 + sqrt(2): then the first stage is non-negative, and so
    is the right-hand side of the second, (2 (1 + w)(I + cA)^-1 - (1 + 2 w) I) rho^n with A scaled by 1/|K| and
    w = (1 - gamma)^2/(gamma (2 - gamma)). With openings the first stage is u = 2 h - rho^n, h half way to it as in
    `CrankNicolson`, so that the masses that leave are sums of few and small terms.
    """

    solver: Solver = Auto()
    """The linear solver of both stages."""
    kind: Literal["tr-bdf2"] = "tr-bdf2"
    divided = True
    takes_openings = True
    error_constant = math.sqrt(0.5) - 2.0 / 3.0
    order = 2

    def positive_step(self, problem: FokkerPlanck) -> float:
        """(1 + sqrt(2))/max_K (A_KK/|K|) at the start; 0 if the flux is not monotone."""
        bound = 1.0 + math.sqrt(2.0)
        return bound / max(problem.max_outflow_rate(problem.start), math.ulp(0.0)) if problem.monotone else 0.0

    def start(self, problem: FokkerPlanck) -> Step:
        """The step as a function."""
        inverse, absorption, volume = _inverse(problem, self.solver), Absorption(problem), problem.mesh.volume
        weight = 1.0 / (_GAMMA * (2.0 - _GAMMA))

        def closed(state: State, length: float) -> State:
            scale, crossing = 0.5 * _GAMMA * length, Crossing(problem, state)
            right = volume * state.density - scale * _outflow(problem, state.density, state.time)
            stage = inverse(state.time + _GAMMA * length, scale)(right, state.mass)
            right = volume * (weight * stage.density + (1.0 - weight) * state.density)
            last = inverse(state.time + length, scale)(right, state.mass)
            crossing.add(state.density, state.time, weight * scale)
            crossing.add(stage.density, state.time + _GAMMA * length, weight * scale)
            crossing.add(last.density, state.time + length, scale)
            return absorption.after(state, length, absorption.nothing, stage, last, crossed=crossing.total)

        def opened(state: State, length: float) -> State:
            scale, end = 0.5 * _GAMMA * length, state.time + length
            middle, crossing = state.time + scale, Crossing(problem, state)
            halfway = absorption.solve(inverse(middle, scale), volume * state.density, state.remaining)
            lost = 2.0 * weight * absorption(halfway.density, middle, scale)
            right = volume * (2.0 * weight * halfway.density + (1.0 - 2.0 * weight) * state.density)
            last = absorption.solve(inverse(end, scale), right, state.remaining - float(lost.sum()))
            crossing.add(halfway.density, middle, 2.0 * weight * scale)
            crossing.add(last.density, end, scale)
            lost = lost + absorption(last.density, end, scale)
            return absorption.after(state, length, lost, halfway, last, crossed=crossing.total)

        return closed if problem.openings is None else opened

    def adjoint(self, problem: FokkerPlanck) -> AdjointStep:
        """The adjoints of both stages in reverse order; the weights of u and rho^n in the second sum up theirs."""
        inverse, volume = _transposed(problem, self.solver), problem.mesh.volume
        weight = 1.0 / (_GAMMA * (2.0 - _GAMMA))

        def closed(phi: Array, time: float, length: float) -> Array:
            scale = 0.5 * _GAMMA * length
            last = inverse(time + length, scale)(volume * phi)
            stage = inverse(time + _GAMMA * length, scale)(volume * last)
            explicit = problem.matrix(time, -scale).apply_transpose(stage) / volume
            return weight * explicit + (1.0 - weight) * last

        def opened(phi: Array, time: float, length: float) -> Array:
            scale = 0.5 * _GAMMA * length
            last = inverse(time + length, scale)(volume * phi)
            halfway = inverse(time + scale, scale)(volume * last)
            return 2.0 * weight * halfway + (1.0 - 2.0 * weight) * last

        return closed if problem.openings is None else opened
