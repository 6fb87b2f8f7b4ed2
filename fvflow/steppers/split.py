"""One-step methods split by axis, on grids only; they take a few nanoseconds per cell."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np

from fvflow.fluxes import FaceResolution
from fvflow.linalg import Itinerary, Journey, LocallyOneDimensional, SplitSweeps, travel
from fvflow.mesh import Array
from fvflow.problems import FokkerPlanck, State, Stride
from fvflow.steppers.absorption import Absorption
from fvflow.steppers.base import AdjointStep, Leap, LinearStepperBase, Step
from fvflow.steppers.crossing import Crossing
from fvflow.steppers.linear import Inverse

_NOTHING = np.zeros(0)


@dataclass(frozen=True)
class SplitEuler(LinearStepperBase):
    """rho^{n+1} = prod_axis (|K| + dt A_axis)^-1 |K| rho^n, x first: order 1, positive and stable at any step.

    Locally one-dimensional implicit Euler (Yanenko, The Method of Fractional Steps, 1971). It conserves mass and sign.
    With Scharfetter-Gummel fluxes it also preserves Gibbs states, which are stationary along each axis. Stationary
    states with a circulating flux are approximated only up to O(dt). For steps much longer than the relaxation time the
    splitting error is several times the error of `implicit-euler`.
    """

    kind: Literal["split-euler"] = "split-euler"
    divided = True
    tells_crossing = True
    along_axes = True
    takes_openings = True
    monotone = True
    order = 1

    @property
    def solver(self) -> LocallyOneDimensional:
        """One sweep along each axis."""
        return LocallyOneDimensional()

    def positive_step(self, problem: FokkerPlanck) -> float:
        """Infinite with a monotone flux; otherwise 0."""
        return math.inf if problem.monotone else 0.0

    def start(self, problem: FokkerPlanck) -> Step:
        """The step as a function; raises CaseError if the mesh is not a grid."""
        self.solver.fits(problem.extent)
        inverse, absorption = Inverse(problem, SplitSweeps), Absorption(problem)

        def step(state: State, length: float) -> State:
            end, lost, crossing = state.time + length, absorption.nothing, Crossing(problem, state)
            sweeps = inverse(end, length)
            if problem.openings is None and crossing.total is None:
                return absorption.after(state, length, lost, sweeps.rescaled(sweeps(state.density), state.mass))
            density = state.density
            for axis in sweeps.axes:
                density = sweeps(density, (axis,))
                crossing.add(density, end, length, axis)
                lost = lost + absorption(density, end, length, axis)
            if problem.openings is None:
                return absorption.after(
                    state, length, lost, sweeps.rescaled(density, state.mass), crossed=crossing.total
                )
            after = absorption.rescaled(state, density, lost)
            return absorption.after(state, length, lost, after, crossed=crossing.total)

        return step

    def leap(self, problem: FokkerPlanck) -> Leap | None:
        """Several steps in one compiled call, of a steady drift with a number for the diffusion and closed walls."""
        if not _steady_and_closed(problem):
            return None
        inverse = Inverse(problem, SplitSweeps)

        def leap(state: State, length: float, ends: tuple[float, ...], looks: Sequence[bool]) -> State | None:
            sweeps = inverse(ends[0], length)
            if not sweeps.leaps or state.crossed is not None:
                return None
            arrays = (_NOTHING,) * 5
            if any(looks):
                seen = problem.resolution(state.time)
                arrays = seen.faces, seen.coarse, seen.diffusion, seen.peclet, seen.largest_diffusion
            found = sweeps.leap(state.density, state.mass, np.asarray(looks, bool), arrays)
            if found is None:
                return None
            looked = max((end for end, look in zip(ends, looks, strict=True) if look), default=-math.inf)
            resolution = FaceResolution(found.peclet, found.share, found.diffusion, found.largest_diffusion)
            stride = Stride(ends, found.before, found.lowest, found.drift, looked, resolution if any(looks) else None)
            return state.changed(
                time=ends[-1],
                density=found.after,
                step=state.step + len(ends),
                correction=found.correction,
                stride=stride,
            )

        return leap

    def travel(self, problem: FokkerPlanck, initial: State, itinerary: Itinerary, out: Any) -> Journey | None:
        """Where it can leap; the factors of each length are made once."""
        if not _steady_and_closed(problem) or initial.crossed is not None:
            return None
        sweeps = [SplitSweeps(problem.matrix(initial.time, length)) for length in itinerary.lengths]
        return travel(sweeps, initial.density, initial.mass, itinerary, out)

    def adjoint(self, problem: FokkerPlanck) -> AdjointStep:
        """The adjoint sweeps, the last axis first."""
        inverse = Inverse(problem, partial(SplitSweeps, adjoint=True))

        def step(phi: Array, time: float, length: float) -> Array:
            sweeps = inverse(time + length, length)
            return sweeps(phi, tuple(reversed(sweeps.axes)))

        return step


def _steady_and_closed(problem: FokkerPlanck) -> bool:
    """Whether several steps can be taken at once: a steady drift, a number for the diffusion, and closed walls."""
    simple = problem.steady and problem.openings is None and problem.diffusivity is None
    return simple and problem.epsilon > 0 and problem.mesh.faces > 0


@dataclass(frozen=True)
class SplitCrankNicolson(LinearStepperBase):
    """Crank-Nicolson over dt/2 along each axis, x first, then again in the reverse order: order 2, A-stable.

        C_x C_y C_z C_z C_y C_x rho^n,   C = (|K| + dt/4 A_axis)^-1 (|K| - dt/4 A_axis), A at the middle of the step

    The alternation of Strang, On the construction and comparison of difference schemes, SIAM J. Numer. Anal. 5 (1968).
    A step is symmetric in time, so that its error has only even powers of dt. Positive if dt/4 max_K A_KK/|K| <= 1
    along each axis; with `richardson` no step guarantees it. Not L-stable: long steps from rough data oscillate.
    """

    richardson: bool = False
    """Extrapolate two half steps y and a full step z to (4 y - z)/3: order 4 for three times the work."""
    kind: Literal["split-crank-nicolson"] = "split-crank-nicolson"
    divided = True
    tells_crossing = True
    along_axes = True
    takes_openings = True

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
        """Why no step length guarantees rho >= 0 with `richardson`."""
        return "the extrapolation subtracts; look at minimum, or use implicit-euler" if self.richardson else ""

    def positive_step(self, problem: FokkerPlanck) -> float:
        """4/max_K (A_KK/|K|) along any axis at the start; 0 with `richardson` or a flux that is not monotone."""
        if self.richardson or not problem.monotone:
            return 0.0
        return 4.0 / max(*problem.matrix(problem.start, 1.0).rates(), math.ulp(0.0))

    def start(self, problem: FokkerPlanck) -> Step:
        """The step as a function; raises CaseError if the mesh is not a grid."""
        self.solver.fits(problem.extent)
        full, half = (_SymmetricStep(problem) for _ in range(2))
        absorption = Absorption(problem)

        def step(state: State, length: float) -> State:
            middle, crossing = state.time + 0.5 * length, Crossing(problem, state)
            whole, part = (-1.0 / 3.0, 4.0 / 3.0) if self.richardson else (1.0, 0.0)
            after, lost = full(state.density, state.time, length, crossing, whole)
            if self.richardson:
                fine, first = half(state.density, state.time, 0.5 * length, crossing, part)
                fine, second = half(fine, middle, 0.5 * length, crossing, part)
                after, lost = fine + (fine - after) / 3.0, first + second + (first + second - lost) / 3.0
            if problem.openings is not None:
                solution = absorption.rescaled(state, after, lost)
            else:
                solution = full.sweeps(middle, 0.25 * length).rescaled(after, state.mass)
            return absorption.after(state, length, lost, solution, crossed=crossing.total)

        return step

    def adjoint(self, problem: FokkerPlanck) -> AdjointStep:
        """The adjoint sweeps: their order is its own reverse; half steps of the extrapolation change places."""
        full, half = (Inverse(problem, partial(SplitSweeps, adjoint=True)) for _ in range(2))

        def symmetric(inverse: Inverse[SplitSweeps], phi: Array, time: float, length: float) -> Array:
            sweeps = inverse(time + 0.5 * length, 0.25 * length)
            return sweeps(phi, (*sweeps.axes, *reversed(sweeps.axes)), reflected=True)

        def step(phi: Array, time: float, length: float) -> Array:
            after = symmetric(full, phi, time, length)
            if self.richardson:
                fine = symmetric(half, phi, time + 0.5 * length, 0.5 * length)
                fine = symmetric(half, fine, time, 0.5 * length)
                after = fine + (fine - after) / 3.0
            return after

        return step


class _SymmetricStep:
    """A step along all axes, then along all axes in reverse order."""

    def __init__(self, problem: FokkerPlanck) -> None:
        self._open, self.sweeps = problem.openings is not None, Inverse(problem, SplitSweeps)
        self._absorption = Absorption(problem)

    def __call__(
        self, density: Array, time: float, length: float, crossing: Crossing, weight: float
    ) -> tuple[Array, Array]:
        """The density after a step from `time`, and what the openings have absorbed (group,).

        What it moves is added to `crossing` times the weight.
        """
        middle, lost = time + 0.5 * length, self._absorption.nothing
        sweeps = self.sweeps(middle, 0.25 * length)
        axes = (*sweeps.axes, *reversed(sweeps.axes))
        if not self._open and crossing.total is None:
            return sweeps(density, axes, reflected=True), lost
        for axis in axes:
            if self._open:
                halfway = sweeps(density, (axis,))
                density = 2.0 * halfway - density
            else:
                before, density = density, sweeps(density, (axis,), reflected=True)
                halfway = 0.5 * (before + density)
            crossing.add(halfway, middle, 0.5 * weight * length, axis)
            lost = lost + self._absorption(halfway, middle, 0.5 * length, axis)
        return density, lost
