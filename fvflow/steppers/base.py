"""The contract of a one-step method.

A new method is a frozen dataclass derived from `LinearStepperBase` or `GradientStepperBase` with `kind: Literal[...]`
and `start`, joined to the union `LinearStepper` or `GradientStepper` in `fvflow/steppers/__init__.py`. The defaults
promise nothing: order 1, no positivity at any step length.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import ClassVar

from fvflow.errors import CaseError
from fvflow.fields import BaseDrift
from fvflow.fluxes import Flux
from fvflow.linalg import Direct, LinearSolver, Multigrid, describe_solver, resolve_solver
from fvflow.mesh import Extent, Mesh
from fvflow.problems import FokkerPlanck, GradientFlow, State
from fvflow.times import Times

Step = Callable[[State, float], State]
"""(state, length of the step) -> the state after it."""

Attempt = Callable[[State, float], tuple[tuple[State, ...], float]]
"""(state, largest length) -> the states of one step, the last as far as it came, and its error relative to the mass."""

GROWTH = 4.0  # largest ratio of an adaptive step to the one before


class LinearStepperBase:
    """A one-step method for the linear equation |K| d_t rho = -A(t) rho, as a case names it."""

    kind: str
    growth: ClassVar[float] = GROWTH
    """Largest ratio of an adaptive step to the one before."""
    work_grows_with_step: ClassVar[bool] = False
    """Whether a longer step takes more work, as with substeps or sums of products."""
    requires_steady_drift: ClassVar[bool] = False
    """Whether it is defined for drifts that do not depend on time only."""
    requires_monotone_flux: ClassVar[bool] = False
    """Whether it needs an M-matrix."""
    uses_flux: ClassVar[bool] = True
    """Whether it uses the two-point flux of the case; False if it has a flux of its own."""

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
        """Why no step length guarantees rho >= 0 with a monotone flux, and what to do; empty if the flux decides."""
        return ""

    def start(self, problem: FokkerPlanck) -> Step:
        """The step as a function, with everything prepared that serves all steps."""
        raise NotImplementedError

    def embedded(self, problem: FokkerPlanck) -> Attempt | None:
        """A step with its own error estimate; None if step doubling is to estimate it."""
        return None

    def positive_step(self, problem: FokkerPlanck) -> float:
        """The longest step that keeps rho >= 0 for every rho >= 0; 0 if there is none."""
        return 0.0

    def time_grid(self, times: Times) -> Times:
        """The steps that it takes for the times of a case."""
        return times

    def discretise(self, mesh: Mesh, drift: BaseDrift, epsilon: float, flux: Flux) -> FokkerPlanck:
        """The equation as it discretises it in space; raises CaseError if the mesh does not fit."""
        if self.solver is not None:
            resolve_solver(self.solver, mesh.extent)
        return FokkerPlanck(mesh, drift, epsilon, flux)

    def check(self, problem: FokkerPlanck) -> None:
        """Raise CaseError if the drift or the flux is not what it requires."""
        if self.requires_steady_drift and not problem.drift.steady:
            raise CaseError(
                f"stepper {self.kind} requires a steady drift and this one depends on t; use implicit-euler or tr-bdf2"
            )
        if self.requires_monotone_flux and not problem.monotone:
            raise CaseError(
                f"stepper {self.kind} requires a monotone flux; {problem.scheme.kind} is not monotone where the Peclet "
                "number is above 2; use flux scharfetter-gummel or stepper tr-bdf2"
            )

    def describe(self, extent: Extent, flux: str, steady: bool) -> str:
        """A sentence on the scheme; `flux` is that of the flux with its order in space."""
        if self.solver is None:
            return f"{self._with_order()}, {flux}"
        return f"{self._with_order()}, {flux}, solver {describe_solver(self.solver, extent, steady)}"

    def _with_order(self) -> str:
        return f"{self.kind} ({'exact in time' if self.order == math.inf else f'order {self.order} in time'})"

    def memory(self, extent: Extent, steady: bool) -> int:
        """Estimated bytes of a run: mesh, matrix and factors; without a solver, mesh, matrix and three vectors."""
        if self.solver is not None:
            return resolve_solver(self.solver, extent, steady).memory(extent)
        dimension, cells = extent.dimension, extent.cells
        return 300 * dimension * cells + (12 * (2 * dimension + 1) + 24) * cells


class GradientStepperBase:
    """A one-step method for the gradient flow d_t rho = div(rho grad E'(rho)), as a case names it."""

    kind: str
    order: ClassVar[float] = 1
    """Order in time."""
    order_in_space: ClassVar[int] = 1
    """Order in space."""
    growth: ClassVar[float] = GROWTH
    """Largest ratio of an adaptive step to the one before."""
    mobility: ClassVar[str] = "centred"
    """How the density on a face is taken."""

    def start(self, problem: GradientFlow) -> Step:
        """The step as a function, with everything prepared that serves all steps."""
        raise NotImplementedError

    def newton_solver(self, extent: Extent) -> Direct | Multigrid:
        """The solver of its Newton systems on a mesh of this extent."""
        return Direct()

    def describe(self, extent: Extent) -> str:
        """A sentence on the scheme."""
        space = f"{self.mobility} mobility (order {self.order_in_space} in space)"
        solver = self.newton_solver(extent).kind
        return f"{self.kind} (order {self.order} in time), {space}, Newton with solver {solver}"

    def memory(self, extent: Extent) -> int:
        """Estimated bytes of a run: mesh, Newton matrix and its factors; multigrid in 3D never factorises."""
        if self.newton_solver(extent).kind == "multigrid" and extent.dimension == 3:
            return 1000 * extent.dimension * extent.cells
        return 2 * Direct().memory(extent)
