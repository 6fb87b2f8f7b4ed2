"""One-step methods for the linear equation |K| d_t rho = -A rho."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Generic, Literal, Self, TypeVar

import numpy as np

from fvflow.linalg import (
    Auto,
    FaceMatrix,
    FactorCache,
    LinearSolver,
    Solution,
    Solve,
    Solver,
    TransposedSolve,
    divergence,
    resolve_solver,
)
from fvflow.mesh import Array, Extent
from fvflow.problems import FokkerPlanck, State
from fvflow.steppers.base import AdjointStep, LinearStepperBase, Step

T = TypeVar("T")
_NOTHING = np.zeros(0)


class Inverse(Generic[T]):
    """Solvers for diag(|K|) + scale A(time); `prepare` is called only if the scale or the coefficients have changed."""

    def __init__(self, problem: FokkerPlanck, prepare: Callable[[FaceMatrix], T]) -> None:
        self._problem, self._cache = problem, FactorCache(prepare)

    def __call__(self, time: float, scale: float) -> T:
        """The solver for the matrix at this time and scale."""
        down, up = self._problem.coefficients(time)
        return self._cache(scale, down, up, lambda: self._problem.matrix(time, scale))


def _inverse(problem: FokkerPlanck, solver: LinearSolver) -> Inverse[Solve]:
    return Inverse(problem, resolve_solver(solver, problem.extent, problem.steady).prepare)


def _transposed(problem: FokkerPlanck, solver: LinearSolver) -> Inverse[TransposedSolve]:
    return Inverse(problem, resolve_solver(solver, problem.mesh.extent, problem.drift.steady).prepare_transpose)


def _outflow(problem: FokkerPlanck, density: Array, time: float) -> Array:
    """A rho, the outflow of each cell per unit time (cell,)."""
    outflow = divergence(problem.graph, problem.flux(density, time))
    if problem.openings is not None:
        outflow += problem.openings.by_cell(problem.leaks(time) * density[problem.openings.cell])
    return outflow


def state_after(state: State, length: float, *solutions: Solution, absorbed: Array | None = None) -> State:
    """The state after a step of one or more linear solves, the last of which gives the density.

    `absorbed` is the mass (group,) that the openings of the mesh absorb in the step; None if there are none.
    """
    return state.advanced(
        length,
        solutions[-1].density,
        iterations=sum(solution.iterations for solution in solutions),
        correction=max(solution.correction for solution in solutions),
        absorbed=None if absorbed is None or state.absorbed is None else state.absorbed + absorbed,
    )


class _Absorption:
    """What the openings of a mesh absorb; zero if there are none."""

    def __init__(self, problem: FokkerPlanck) -> None:
        self._problem = problem

    def __call__(self, density: Array, time: float, length: float) -> Array:
        """The mass (group,) that a density held for a time of this length loses; empty without openings."""
        if self._problem.openings is None:
            return _NOTHING
        return length * self._problem.outflow_rates(density, time)


class _WithSolver(LinearStepperBase):
    """A method whose linear systems are solved by a solver of the case."""

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
    takes_openings = True
    error_constant = 0.5
    monotone = True
    order = 1

    def positive_step(self, problem: FokkerPlanck) -> float:
        """Infinite with an M-matrix; otherwise 0."""
        return math.inf if problem.monotone else 0.0

    def start(self, problem: FokkerPlanck) -> Step:
        """The step as a function."""
        inverse, absorbed = _inverse(problem, self.solver), _Absorption(problem)

        def step(state: State, length: float) -> State:
            end = state.time + length
            after = inverse(end, length)(problem.mesh.volume * state.density, state.remaining)
            return state_after(state, length, after, absorbed=absorbed(after.density, end, length))

        return step

    def adjoint(self, problem: FokkerPlanck) -> AdjointStep:
        """phi^n = (|K| + dt A)'^-1 |K| phi^{n+1}."""
        inverse, volume = _transposed(problem, self.solver), problem.mesh.volume
        return lambda phi, time, length: inverse(time + length, length)(volume * phi)


@dataclass(frozen=True)
class CrankNicolson(_WithSolver):
    """(|K| + dt/2 A) rho^{n+1} = (|K| - dt/2 A) rho^n, A at the middle of the step: second order, A-stable.

    Positive only if dt max_K A_KK/|K| <= 2.
    """

    solver: Solver = Auto()
    """The linear solver."""
    kind: Literal["crank-nicolson"] = "crank-nicolson"
    takes_openings = True
    error_constant = 1.0 / 12.0
    order = 2

    def positive_step(self, problem: FokkerPlanck) -> float:
        """2/max_K (A_KK/|K|) at the start; 0 if the flux is not monotone."""
        return 2.0 / max(problem.max_outflow_rate(problem.start), math.ulp(0.0)) if problem.monotone else 0.0

    def start(self, problem: FokkerPlanck) -> Step:
        """The step as a function."""
        inverse, absorbed = _inverse(problem, self.solver), _Absorption(problem)

        def step(state: State, length: float) -> State:
            middle, half = state.time + 0.5 * length, 0.5 * length
            solve = inverse(middle, half)
            right = problem.mesh.volume * state.density - half * _outflow(problem, state.density, middle)
            gone = absorbed(state.density, middle, half)
            after = solve(right, state.remaining - float(gone.sum()))
            return state_after(state, length, after, absorbed=gone + absorbed(after.density, middle, half))

        return step

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
    w = (1 - gamma)^2/(gamma (2 - gamma)).
    """

    solver: Solver = Auto()
    """The linear solver of both stages."""
    kind: Literal["tr-bdf2"] = "tr-bdf2"
    takes_openings = True
    error_constant = math.sqrt(0.5) - 2.0 / 3.0
    order = 2

    def positive_step(self, problem: FokkerPlanck) -> float:
        """(1 + sqrt(2))/max_K (A_KK/|K|) at the start; 0 if the flux is not monotone."""
        bound = 1.0 + math.sqrt(2.0)
        return bound / max(problem.max_outflow_rate(problem.start), math.ulp(0.0)) if problem.monotone else 0.0

    def start(self, problem: FokkerPlanck) -> Step:
        """The step as a function."""
        inverse, absorbed = _inverse(problem, self.solver), _Absorption(problem)
        volume = problem.mesh.volume
        weight = 1.0 / (_GAMMA * (2.0 - _GAMMA))

        def step(state: State, length: float) -> State:
            scale, middle, end = 0.5 * _GAMMA * length, state.time + _GAMMA * length, state.time + length
            right = volume * state.density - scale * _outflow(problem, state.density, state.time)
            gone = absorbed(state.density, state.time, scale)
            stage = inverse(middle, scale)(right, state.remaining - float(gone.sum()))
            right = volume * (weight * stage.density + (1.0 - weight) * state.density)
            gone = weight * (gone + absorbed(stage.density, middle, scale))
            last = inverse(end, scale)(right, state.remaining - float(gone.sum()))
            return state_after(state, length, stage, last, absorbed=gone + absorbed(last.density, end, scale))

        return step

    def adjoint(self, problem: FokkerPlanck) -> AdjointStep:
        """The adjoints of both stages in reverse order; the weights of u and rho^n in the second sum up theirs."""
        inverse, volume = _transposed(problem, self.solver), problem.mesh.volume
        weight = 1.0 / (_GAMMA * (2.0 - _GAMMA))

        def step(phi: Array, time: float, length: float) -> Array:
            scale = 0.5 * _GAMMA * length
            last = inverse(time + length, scale)(volume * phi)
            stage = inverse(time + _GAMMA * length, scale)(volume * last)
            explicit = problem.matrix(time, -scale).apply_transpose(stage) / volume
            return weight * explicit + (1.0 - weight) * last

        return step
