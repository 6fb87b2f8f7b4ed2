"""One-step methods split by axis: grids only, a few nanoseconds a cell."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from fvflow.linalg import LocallyOneDimensional, SplitSweeps
from fvflow.mesh import Array
from fvflow.problems import FokkerPlanck, State
from fvflow.steppers.base import LinearStepperBase, Step
from fvflow.steppers.linear import Inverse, advanced


@dataclass(frozen=True)
class SplitEuler(LinearStepperBase):
    """rho^{n+1} = prod_axis (|K| + dt A_axis)^-1 |K| rho^n, x first: order 1, positive and stable at any step.

    Locally one-dimensional implicit Euler (Yanenko, The Method of Fractional Steps, 1971). Mass and sign are kept, and
    Gibbs states with Scharfetter-Gummel fluxes, which are stationary along each axis. Stationary states with a
    circulating flux are met only up to O(dt); with steps far beyond the time of relaxation the splitting error is
    several times that of `implicit-euler`.
    """

    kind: Literal["split-euler"] = "split-euler"
    order = 1

    @property
    def solver(self) -> LocallyOneDimensional:
        """One sweep along each axis."""
        return LocallyOneDimensional()

    def positive_step(self, problem: FokkerPlanck) -> float:
        """The longest step that keeps rho >= 0 whatever rho is."""
        return math.inf if problem.monotone else 0.0

    def start(self, problem: FokkerPlanck) -> Step:
        """The step as a function; raises CaseError if the mesh is no grid."""
        self.solver.fits(problem.mesh.extent)
        inverse = Inverse(problem, SplitSweeps)

        def step(state: State, length: float) -> State:
            sweeps = inverse(state.time + length, length)
            return advanced(state, length, sweeps.rescaled(sweeps(state.density), state.mass))

        return step


@dataclass(frozen=True)
class SplitCrankNicolson(LinearStepperBase):
    """Crank-Nicolson over dt/2 along each axis, x first, then again in the reverse order: order 2, A-stable.

        C_x C_y C_z C_z C_y C_x rho^n,   C = (|K| + dt/4 A_axis)^-1 (|K| - dt/4 A_axis), A at the middle of the step

    The alternation of Strang, On the construction and comparison of difference schemes, SIAM J. Numer. Anal. 5 (1968).
    A step is symmetric in time, so its error has even powers of dt only: `richardson` takes two half steps y and a
    whole one z to (4 y - z)/3, order 4, for three times the work. Positive while dt/4 max_K A_KK/|K| <= 1 along each
    axis, with `richardson` never for sure. Not L-stable: rough data and long steps ring.
    """

    richardson: bool = False
    kind: Literal["split-crank-nicolson"] = "split-crank-nicolson"

    @property
    def solver(self) -> LocallyOneDimensional:
        """One sweep along each axis."""
        return LocallyOneDimensional()

    @property
    def order(self) -> float:
        """Order in time: 2, or 4 with `richardson`."""
        return 4 if self.richardson else 2

    @property
    def positivity_note(self) -> str:
        """Why no step length guarantees rho >= 0."""
        return "the extrapolation subtracts; look at minimum, or use implicit-euler" if self.richardson else ""

    def positive_step(self, problem: FokkerPlanck) -> float:
        """The longest step that keeps rho >= 0 whatever rho is, from the coefficients at time 0; 0 if there is none."""
        if self.richardson or not problem.monotone:
            return 0.0
        return 4.0 / max(*problem.matrix(0.0, 1.0).rates(), math.ulp(0.0))

    def start(self, problem: FokkerPlanck) -> Step:
        """The step as a function; raises CaseError if the mesh is no grid."""
        self.solver.fits(problem.mesh.extent)
        whole, half = (Inverse(problem, SplitSweeps) for _ in range(2))

        def step(state: State, length: float) -> State:
            middle = state.time + 0.5 * length
            after = _there_and_back(whole, state.density, state.time, length)
            if self.richardson:
                fine = _there_and_back(half, state.density, state.time, 0.5 * length)
                fine = _there_and_back(half, fine, middle, 0.5 * length)
                after = fine + (fine - after) / 3.0
            return advanced(state, length, whole(middle, 0.25 * length).rescaled(after, state.mass))

        return step


def _there_and_back(inverse: Inverse[SplitSweeps], density: Array, time: float, length: float) -> Array:
    """The density after a step from `time` on."""
    sweeps = inverse(time + 0.5 * length, 0.25 * length)
    return sweeps(density, (*sweeps.axes, *reversed(sweeps.axes)), reflected=True)
