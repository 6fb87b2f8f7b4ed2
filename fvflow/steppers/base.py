"""The contracts of one-step methods.

A new method is a frozen dataclass derived from `LinearStepperBase` or `GradientStepperBase`, with `kind: Literal[...]`
and `start`, joined to the union `LinearStepper` or `GradientStepper` in `fvflow/steppers/__init__.py`. It overrides
every default below that does not hold for it. The defaults promise nothing: order 1, and no step length guarantees
positivity. `start` prepares everything that all steps share and returns the step, a function of the state and the step
length that ends with `state.advanced(length, density, ...)`, or, if mass may leave the domain, with `Absorption.after`.
The step must conserve `state.mass`, what has left included, to round-off, must not modify its argument and raises
`NumericsError` if it fails. With `tells_crossing` it also tells, if the state asks, what it has moved from cell to
cell: `State.crossed`, which accounts for every change of |K| rho. `tests/contracts.py` checks these promises for every
member of the unions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Self

from fvflow.errors import CaseError
from fvflow.fields import BaseDrift
from fvflow.fluxes import Flux
from fvflow.linalg import Direct, Itinerary, Journey, LinearSolver, SymmetricSolver, describe_solver, resolve_solver
from fvflow.mesh import Array, Extent, Mesh
from fvflow.problems import FokkerPlanck, GradientFlow, State
from fvflow.problems.gradient_flow import FaceDensity
from fvflow.times import Times

Step = Callable[[State, float], State]
"""(state, length of the step) -> the state after the step."""

EmbeddedStep = Callable[[State, float], tuple[tuple[State, ...], float]]
"""(state, largest length) -> (the states of one step, its estimated L1 error relative to the mass).

The last state may be earlier than asked if the method allows no longer step.
"""

Leap = Callable[[State, float, tuple[float, ...], Sequence[bool]], State | None]
"""(state, length, ends of the steps, whether the resolution is looked at after each) -> the state after them.

None if a step has to be taken on its own. The state tells `State.stride`.
"""

GROWTH = 4.0
"""Largest ratio of an adaptive step to the one before, by default."""


AdjointStep = Callable[[Array, float, float], Array]
"""(phi (cell,) after a step, time before it, its length) -> phi before it."""


class StepperBase:
    """What linear and gradient steppers share."""

    kind: str
    error_fault: ClassVar[str] = ""
    """Why a run in longer steps does not tell its error in time, and what does; empty if it does."""
    tells_crossing: ClassVar[bool] = False
    """Whether its steps tell what has crossed each link, if the state asks for it: `State.crossed`."""

    @property
    def crossing_fault(self) -> str:
        """Why the fluxes of its steps are not known; empty if they are."""
        return "" if self.tells_crossing else f"stepper {self.kind} does not tell what crosses each face; leave it out"


class LinearStepperBase(StepperBase):
    """A one-step method for the linear equation |K| d_t rho = -A(t) rho, as a case names it."""

    divided: ClassVar[bool] = False
    """Whether it runs on several ranks."""
    reach: ClassVar[int] = 1
    """How many layers of cells beside its own change a cell in one evaluation of the fluxes."""
    growth: ClassVar[float] = GROWTH
    """Largest ratio of an adaptive step to the one before."""
    work_grows_with_step: ClassVar[bool] = False
    """Whether a longer step takes more work, as with substeps or sums of matrix products."""
    requires_steady_drift: ClassVar[bool] = False
    """Whether it is only defined for drifts that do not depend on time; `check` refuses others."""
    requires_monotone_flux: ClassVar[bool] = False
    """Whether |K| + dt A must be an M-matrix; `check` refuses problems for which it is not."""
    monotone: ClassVar[bool] = False
    """Whether steps of any length keep the order of two densities, with a monotone flux, so that nothing can ring."""
    error_constant: ClassVar[float | None] = None
    """C of the error C dt^(p+1) d^(p+1) rho/dt^(p+1) of a step of a method of order p; None if it is another."""
    takes_openings: ClassVar[bool] = False
    """Whether mass may leave the domain for good; the method then accounts for it by `Absorption`."""
    collects_absorbed: ClassVar[bool] = False
    """Whether what is absorbed is in cells of its own, which are not divided among ranks."""
    openings_note: ClassVar[str] = "it conserves the mass"
    """Why mass must not leave, as a clause, if that is so."""
    along_axes: ClassVar[bool] = False
    """Whether it moves mass through the faces of the mesh only, so that it takes no full tensor of diffusion."""
    uses_flux: ClassVar[bool] = True
    """Whether it uses the two-point flux of the case; False if it has a flux of its own."""
    order_in_space: ClassVar[float] = 1
    """Order in space of a flux of its own."""

    @property
    def order(self) -> float:
        """Order in time; infinite if the method is exact in time for steady drifts."""
        return 1

    @property
    def solver(self) -> LinearSolver | None:
        """The solver of its linear systems; None if it solves none."""
        return None

    @property
    def positivity_note(self) -> str:
        """Why no step length guarantees rho >= 0 even with a monotone flux, and what to do; empty if that is false."""
        return ""

    def start(self, problem: FokkerPlanck) -> Step:
        """The step as a function; everything that all steps share is prepared here. May raise CaseError."""
        raise NotImplementedError

    def adjoint(self, problem: FokkerPlanck) -> AdjointStep:
        """The exact adjoint of the step in the pairing sum_K |K| phi_K rho_K, for the backward equation.

        It solves the step's transposed systems in reverse order. Raises CaseError if the method has none.
        """
        raise CaseError(
            f"stepper {self.kind} has no exact adjoint, as it is not linear in the density; use another one, such as "
            "tr-bdf2 or split-crank-nicolson"
        )

    def for_adjoint(self, extent: Extent) -> Self:
        """The method with a solver that has an exact transpose on a mesh of this extent."""
        return self

    def embedded(self, problem: FokkerPlanck) -> EmbeddedStep | None:
        """A step with an error estimate of its own; None if error control has to estimate it by step doubling."""
        return None

    def leap(self, problem: FokkerPlanck) -> Leap | None:
        """Several steps of one length at once, to the last bit those of `start`; None if they are taken one by one."""
        return None

    def travel(self, problem: FokkerPlanck, initial: State, itinerary: Itinerary, out: Any) -> Journey | None:
        """A whole run at once, to the last bit as by `start`, its saves in `out` (save, cell); None if by steps."""
        return None

    def positive_step(self, problem: FokkerPlanck) -> float:
        """The longest step that keeps every rho >= 0, with the coefficients at the start; 0 if none does."""
        return 0.0

    def time_grid(self, times: Times) -> Times:
        """The steps that it takes for the times of a case."""
        return times

    def discretise(self, mesh: Mesh, drift: BaseDrift, epsilon: float, flux: Flux) -> FokkerPlanck:
        """The equation discretised in space; raises CaseError if the mesh does not suit the method or its solver."""
        if self.solver is not None:
            resolve_solver(self.solver, mesh.extent)
        return FokkerPlanck(mesh, drift, epsilon, flux)

    def check(self, problem: FokkerPlanck) -> None:
        """Raise CaseError if the drift or the flux violates a requirement of the method."""
        if self.requires_steady_drift and not problem.steady:
            what = "diffusion" if problem.drift.steady else "drift"
            raise CaseError(
                f"stepper {self.kind} requires a steady {what} and this one depends on t; use implicit-euler or tr-bdf2"
            )
        if self.requires_monotone_flux and not problem.monotone:
            raise CaseError(
                f"stepper {self.kind} requires a monotone flux; {problem.flux_kind.kind} is not monotone where the "
                "Peclet number is above 2; use flux scharfetter-gummel or stepper tr-bdf2"
            )

    def describe(self, extent: Extent, flux: str, steady: bool) -> str:
        """A sentence on the scheme; `flux` describes the flux and its order in space."""
        if self.solver is None:
            return f"{self._kind_and_order()}, {flux}"
        return f"{self._kind_and_order()}, {flux}, solver {describe_solver(self.solver, extent, steady)}"

    def _kind_and_order(self) -> str:
        return f"{self.kind} ({'exact in time' if self.order == math.inf else f'order {self.order} in time'})"

    def memory(self, extent: Extent, steady: bool) -> int:
        """Estimated bytes of a run: mesh, matrix and the solver's factors; without a solver, three vectors instead."""
        if self.solver is not None:
            return resolve_solver(self.solver, extent, steady).memory(extent)
        dimension, cells = extent.dimension, extent.cells
        return 300 * dimension * cells + (12 * (2 * dimension + 1) + 24) * cells


class GradientStepperBase(StepperBase):
    """A one-step method for the gradient flow d_t rho = div(rho grad E'(rho)), as a case names it."""

    order: ClassVar[float] = 1
    """Order in time."""
    order_in_space: ClassVar[int] = 1
    """Order in space."""
    growth: ClassVar[float] = GROWTH
    """Largest ratio of an adaptive step to the one before."""
    mobility: ClassVar[str] = "centred"
    """The density on a face, for `describe`: limited, upwind or centred."""
    monotone: ClassVar[bool] = False
    """Whether no step of any length makes a density ring."""
    minimising: ClassVar[bool] = False
    """Whether a step minimises E + W2^2/(2 tau) in a discrete W2, and tells `State.movement`."""
    certified: ClassVar[bool] = False
    """Whether it proves how far each step is from its minimum: the figure `step_gap`."""

    @property
    def movement_fault(self) -> str:
        """Why its steps have no potential, map and distance; empty if they have."""
        if self.minimising:
            return ""
        return f"stepper {self.kind} does not minimise E + W2^2/(2 tau): its steps have no map; use ljko or jko"

    @property
    def solver(self) -> SymmetricSolver:
        """The solver of its Newton systems."""
        return Direct()

    def start(self, problem: GradientFlow) -> Step:
        """The step as a function; everything that all steps share is prepared here."""
        raise NotImplementedError

    def positive_step(self, problem: GradientFlow) -> float:
        """The longest step that keeps every rho >= 0 non-negative; 0 if none does."""
        return 0.0

    def face_density(self, mesh: Mesh) -> FaceDensity | None:
        """The density on faces in a step of length 0; None if that is not known."""
        return None

    def describe(self, extent: Extent) -> str:
        """A sentence on the scheme."""
        space = f"{self.mobility} mobility (order {self.order_in_space} in space)"
        solver = self.solver.resolve_symmetric(extent).kind
        return f"{self.kind} (order {self.order} in time), {space}, Newton with solver {solver}"

    def memory(self, extent: Extent) -> int:
        """Estimated bytes of a run: mesh, Newton matrix and its factors."""
        return self.solver.symmetric_memory(extent)
