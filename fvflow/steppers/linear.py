"""One-step methods for the linear equation |K| d_t rho = -A rho."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Generic, Literal, TypeVar

from fvflow.linalg import (
    Auto,
    FaceMatrix,
    FactorCache,
    LinearSolver,
    Solution,
    Solve,
    Solver,
    divergence,
    resolve_solver,
)
from fvflow.mesh import Array
from fvflow.problems import FokkerPlanck, State
from fvflow.steppers.base import LinearStepperBase, Step

T = TypeVar("T")


class Inverse(Generic[T]):
    """(diag(|K|) + scale A(time))^-1 of a problem, prepared again only when scale or coefficients change."""

    def __init__(self, problem: FokkerPlanck, prepare: Callable[[FaceMatrix], T]) -> None:
        self._problem, self._cache = problem, FactorCache(prepare)

    def __call__(self, time: float, scale: float) -> T:
        """What was prepared for the matrix of this time and scale."""
        down, up = self._problem.coefficients(time)
        return self._cache(scale, down, up, lambda: self._problem.matrix(time, scale))


def _inverse(problem: FokkerPlanck, solver: LinearSolver) -> Inverse[Solve]:
    return Inverse(problem, resolve_solver(solver, problem.mesh.extent, problem.drift.steady).prepare)


def _leaving(problem: FokkerPlanck, density: Array, time: float) -> Array:
    """A rho (cell,)."""
    return divergence(problem.mesh, problem.flux(density, time))


def advanced(state: State, step: float, *solutions: Solution) -> State:
    """The state after a step, with the last density and the figures of all solutions."""
    return replace(
        state,
        time=state.time + step,
        step=state.step + 1,
        density=solutions[-1].density,
        iterations=sum(solution.iterations for solution in solutions),
        correction=max(solution.correction for solution in solutions),
    )


@dataclass(frozen=True)
class ImplicitEuler(LinearStepperBase):
    """(|K| + dt A) rho^{n+1} = |K| rho^n: first order, positive and stable at any step (an M-matrix)."""

    solver: Solver = Auto()
    kind: Literal["implicit-euler"] = "implicit-euler"
    order = 1

    def positive_step(self, problem: FokkerPlanck) -> float:
        """The longest step that keeps rho >= 0 whatever rho is."""
        return math.inf if problem.monotone else 0.0

    def start(self, problem: FokkerPlanck) -> Step:
        """The step as a function."""
        inverse = _inverse(problem, self.solver)

        def step(state: State, length: float) -> State:
            solve = inverse(state.time + length, length)
            return advanced(state, length, solve(problem.mesh.volume * state.density, state.mass))

        return step


@dataclass(frozen=True)
class CrankNicolson(LinearStepperBase):
    """(|K| + dt/2 A) rho^{n+1} = (|K| - dt/2 A) rho^n, A at the middle of the step: second order, A-stable.

    Positive only while dt max_K A_KK/|K| <= 2.
    """

    solver: Solver = Auto()
    kind: Literal["crank-nicolson"] = "crank-nicolson"
    order = 2

    def positive_step(self, problem: FokkerPlanck) -> float:
        """The longest step that keeps rho >= 0 whatever rho is, from the coefficients at time 0."""
        return 2.0 / max(problem.rate(0.0), math.ulp(0.0)) if problem.monotone else 0.0

    def start(self, problem: FokkerPlanck) -> Step:
        """The step as a function."""
        inverse = _inverse(problem, self.solver)

        def step(state: State, length: float) -> State:
            middle, half = state.time + 0.5 * length, 0.5 * length
            solve = inverse(middle, half)
            right = problem.mesh.volume * state.density - half * _leaving(problem, state.density, middle)
            return advanced(state, length, solve(right, state.mass))

        return step


_GAMMA = 2.0 - math.sqrt(2.0)


@dataclass(frozen=True)
class TrBdf2(LinearStepperBase):
    """A trapezoidal stage over gamma dt, then BDF2 over the whole step, gamma = 2 - sqrt(2): second order, L-stable.

        (|K| + c A(t + gamma dt)) u = (|K| - c A(t)) rho^n,                        c = gamma dt/2
        (|K| + c A(t + dt)) rho^{n+1} = |K| (u - (1 - gamma)^2 rho^n)/(gamma (2 - gamma))

    Both stages have the same matrix if A is steady. Bank et al., Transient simulation of silicon devices and circuits,
    IEEE Trans. CAD 4 (1985). Positive while dt max_K A_KK/|K| <= 1 + sqrt(2): then the first stage is, and the second
    right-hand side is that of (2 (1 + w)(I + cA)^-1 - (1 + 2 w) I) rho^n, w = (1-gamma)^2/(gamma (2-gamma)).
    """

    solver: Solver = Auto()
    kind: Literal["tr-bdf2"] = "tr-bdf2"
    order = 2

    def positive_step(self, problem: FokkerPlanck) -> float:
        """The longest step that keeps rho >= 0 whatever rho is, from the coefficients at time 0."""
        bound = 1.0 + math.sqrt(2.0)
        return bound / max(problem.rate(0.0), math.ulp(0.0)) if problem.monotone else 0.0

    def start(self, problem: FokkerPlanck) -> Step:
        """The step as a function."""
        inverse = _inverse(problem, self.solver)
        volume = problem.mesh.volume
        weight = 1.0 / (_GAMMA * (2.0 - _GAMMA))

        def step(state: State, length: float) -> State:
            scale = 0.5 * _GAMMA * length
            right = volume * state.density - scale * _leaving(problem, state.density, state.time)
            stage = inverse(state.time + _GAMMA * length, scale)(right, state.mass)
            right = volume * (weight * stage.density + (1.0 - weight) * state.density)
            last = inverse(state.time + length, scale)(right, state.mass)
            return advanced(state, length, stage, last)

        return step
