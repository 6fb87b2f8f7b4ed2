"""One step in which a potential carries the density: what all steppers with directional mobility share."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from fvflow.errors import NumericsError
from fvflow.linalg import UpwindTriangular, rescale_to_mass
from fvflow.mesh import Array, Mesh
from fvflow.problems import GradientFlow, Movement, State
from fvflow.problems.gradient_flow import FaceDensity
from fvflow.steppers.base import GradientStepperBase
from fvflow.steppers.mobility import Mobility, UpstreamRatio
from fvflow.steppers.optimality import LARGEST_GAP
from fvflow.steppers.step_energy import ContinuedEnergy, curvature, linearised
from fvflow.steppers.transport_step import TransportStep

_MORE = 1.5  # growth of the proximity where the energy did not fall


@dataclass(frozen=True)
class CarriedStepperBase(GradientStepperBase):
    """A stepper whose density is carried by a potential: rho >= 0 at any step."""

    tells_crossing = True

    mobility: Mobility = "limited"  # type: ignore[misc]
    """The density on a face: `limited`, second order in space, or `upwind`, first order."""

    monotone = True

    @property
    def order_in_space(self) -> int:  # type: ignore[override]
        """2 for limited mobility, 1 for upwind."""
        return 2 if self.mobility == "limited" else 1

    def face_density(self, mesh: Mesh) -> FaceDensity:
        """theta_s rho_K of the upstream cell K."""
        return UpstreamRatio(mesh, self.mobility).density

    def positive_step(self, problem: GradientFlow) -> float:
        """Infinite: the density after a step solves a linear system with an M-matrix."""
        return math.inf


@dataclass(frozen=True, eq=False)
class Carried:
    """A potential without its level, the density that it carries, and statistics of how it was found; see `State`."""

    phi: Array
    density: Array
    dissipated: float
    iterations: int
    optimality: float = 0.0
    gap: float = math.nan
    switches: int = 0
    fallback: str = ""
    level: float = 0.0
    end: Array | None = None
    """phi at the end of the step, without its level, if the step minimises."""
    cost: float = math.nan
    """W2^2/(2 tau) of the step, if it minimises."""


Solve = Callable[[State, float, TransportStep, ContinuedEnergy], Carried]
"""(state, length of the step, its transport part, its local energy) -> the solution; raises NumericsError."""


class CarriedStep:
    """The step (state, length) -> state of one problem, given what solves it for a local energy.

    Interactions are taken at rho^n and, if E would not fall by that, with as much proximity as makes it fall. The mass
    of the carried density is exact by the columns of its matrix; what round-off is left is scaled away.
    """

    def __init__(self, problem: GradientFlow, mobility: Mobility, solve: Solve) -> None:
        self._problem, self._solve = problem, solve
        self._triangular, self._ratio = UpwindTriangular(problem.mesh), UpstreamRatio(problem.mesh, mobility)

    def __call__(self, state: State, length: float) -> State:
        """The state after the step; raises NumericsError if it has no solution."""
        mesh = self._problem.mesh
        with np.errstate(all="ignore"):  # an overflow shows in the residuals, and the next method is tried
            conductance = length * self._problem.conductance
            forward, backward = (conductance * ratio for ratio in self._ratio(state.density))
            step = TransportStep(mesh, state.density, state.mass, self._triangular, forward, backward)
            found = self._solution(state, length, step)
        matrix = step.matrix(found.phi)
        solution = rescale_to_mass(matrix, found.density, state.mass)
        level = found.level + float(self._problem.total.potential(state.density).min())  # see `linearised`
        end = found.end
        moved = None if end is None else Movement(state.density, length, end + level, found.cost)
        after = state.advanced(
            length,
            solution.density,
            potential=found.phi + level,
            dissipated=found.dissipated,
            correction=solution.correction,
            iterations=found.iterations,
            optimality=found.optimality,
            gap=found.gap,
            crossed=None if state.crossed is None else matrix.flux(solution.density),
            movement=moved,
        )
        return replace(after, switches=found.switches, fallback=found.fallback)

    def _solution(self, state: State, length: float, step: TransportStep) -> Carried:
        total, before = self._problem.total, state.density
        proximity, iterations, switches = 0.0, 0, 0
        while True:
            energy = ContinuedEnergy(linearised(total, before, proximity), step.mean)
            found = self._solve(state, length, step, energy)
            iterations, switches = iterations + found.iterations, switches + found.switches
            rise, round_off = total.value(found.density) - total.value(before), total.round_off(before)
            if not total.interacting or rise + found.dissipated <= round_off:
                break
            needed = curvature(total, found.density - before)
            if not needed > proximity:
                break
            proximity = _MORE * needed
        scale = energy.scale(energy.first(found.density), found.density)
        if not rise <= LARGEST_GAP * scale * state.mass + round_off:
            raise NumericsError("the energy would rise: the step is too long for double precision")
        return replace(found, iterations=iterations, switches=switches)
