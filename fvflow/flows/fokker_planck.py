"""The linear flow: Fokker-Planck, and with epsilon 0 the continuity equation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from fvflow.errors import CaseError
from fvflow.fields import Drift, Names
from fvflow.flows.linear import LinearFlow
from fvflow.fluxes import ScharfetterGummel
from fvflow.linalg import Krylov, describe_solver, resolve_solver
from fvflow.march import Progress, Times, march
from fvflow.mesh import Extent, Mesh
from fvflow.problems import FokkerPlanck, State
from fvflow.steppers import ExponentialStepper, ImplicitEuler, LinearStepper, Muscl, Reconstructed


@dataclass(frozen=True)
class FokkerPlanckFlow(LinearFlow):
    """d_t rho + div(rho v) = epsilon Lap rho, v = -grad(potential) + velocity + (d_y stream, -d_x stream)."""

    stepper: LinearStepper = ImplicitEuler()
    kind: Literal["fokker-planck"] = "fokker-planck"

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.stepper, Muscl) and self.flux != ScharfetterGummel():
            raise CaseError("stepper muscl has a flux of its own; leave out flux")

    def schedule(self, times: Times | None) -> Times:
        """The times of the run: adaptive steps of a method that is exact in time are as long as they may be.

        Raises CaseError if the case has none.
        """
        given = super().schedule(times)
        return given.undivided() if isinstance(self.stepper, ExponentialStepper) else given

    def problem(self, mesh: Mesh, names: Names) -> FokkerPlanck:
        """The problem in arrays; raises CaseError where the drift does not fit the mesh or is not finite."""
        problem = super().problem(mesh, names)
        if isinstance(self.stepper, ExponentialStepper):
            self.stepper.require(problem)
        return problem

    def equation(self, mesh: Mesh, drift: Drift) -> FokkerPlanck:
        """The equation as the stepper discretises it; raises CaseError where that does not fit the mesh."""
        if isinstance(self.stepper, Muscl):
            return Reconstructed(mesh, drift, self.epsilon, self.flux, limiter=self.stepper.limiter)
        if not isinstance(self.stepper, ExponentialStepper):
            resolve_solver(self.stepper.solver, mesh.extent)
        return FokkerPlanck(mesh, drift, self.epsilon, self.flux)

    def states(
        self, problem: FokkerPlanck, initial: State, times: Times, progress: Progress | None = None
    ) -> Iterator[State]:
        """Every state of the run."""
        stepper, volume = self.stepper, problem.mesh.volume
        attempt = stepper.attempts(problem) if isinstance(stepper, Muscl) else None
        return march(stepper.start(problem), initial, times, volume, stepper.order, attempt=attempt)

    @property
    def explicit(self) -> bool:
        """Whether the work of a step grows with its length: that of substeps, and of sums of products."""
        return isinstance(self.stepper, Muscl | ExponentialStepper)

    @property
    def _steady(self) -> bool:
        """Whether a matrix serves many steps."""
        return self.drift({}).steady

    @property
    def caveat(self) -> str:
        """Why no step of the stepper is sure to keep densities non-negative, where it is not the flux."""
        return str(getattr(self.stepper, "caveat", ""))

    def positive_step(self, problem: FokkerPlanck) -> float:
        """The longest step that keeps every density non-negative."""
        return self.stepper.positive_step(problem)

    def method(self, extent: Extent) -> str:
        """A sentence on the scheme."""
        if isinstance(self.stepper, Muscl):
            scheme = f"{self.stepper.kind} (order {self.stepper.order} in time)"
            return f"{scheme}, {self.stepper.limiter} slopes (order 2 in space), substeps at cfl {self.stepper.cfl:g}"
        order = f"order {self.flux.order} in space" if self.epsilon > 0 else "upwind at epsilon 0: order 1 in space"
        if isinstance(self.stepper, ExponentialStepper):
            return f"{self.stepper.kind} (exact in time), {self.flux.kind} flux ({order})"
        scheme = f"{self.stepper.kind} (order {self.stepper.order} in time)"
        solver = describe_solver(self.stepper.solver, extent, self._steady)
        return f"{scheme}, {self.flux.kind} flux ({order}), solver {solver}"

    def numerical_diffusion(self, problem: FokkerPlanck) -> float | None:
        """The largest numerical diffusion |v| d/2 of upwinding at epsilon 0, at time 0."""
        if self.epsilon > 0 or not problem.mesh.faces or isinstance(problem, Reconstructed):
            return None
        return float(np.abs(problem.drift.drop(problem.mesh, 0.0)).max() / 2)

    def memory(self, extent: Extent) -> int:
        """Bytes that the run will hold at once, roughly: mesh, matrix and factors."""
        if isinstance(self.stepper, ExponentialStepper):
            return 300 * extent.dimension * extent.cells + (12 * (2 * extent.dimension + 1) + 24) * extent.cells
        if isinstance(self.stepper, Muscl):
            return Krylov().memory(extent)  # without factors
        return resolve_solver(self.stepper.solver, extent, self._steady).memory(extent)
