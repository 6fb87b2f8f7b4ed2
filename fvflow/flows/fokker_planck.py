"""The Fokker-Planck equation, and for epsilon 0 the continuity equation, stepped in time."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args, get_type_hints

from fvflow.errors import CaseError, NumericsError
from fvflow.fields import Drift, Parameters
from fvflow.flows.itineraries import itinerary_of
from fvflow.flows.linear import LinearFlow
from fvflow.fluxes import FaceResolution, ScharfetterGummel
from fvflow.linalg import Journey, resolve_solver
from fvflow.march import Due, Progress, leaping, march
from fvflow.mesh import Extent, Mesh, Openings
from fvflow.parallel import world
from fvflow.problems import FokkerPlanck, State
from fvflow.steppers import ImplicitEuler, LinearStepper, Step, finite_check
from fvflow.time_error import CompanionMonitor, DerivativeMonitor, TimeErrorMonitor
from fvflow.times import TimeGrid, Times

_AT_ONCE = 2**26  # steps times cells of a run in one call: about a second, in which no signal is heard


@dataclass(frozen=True)
class FokkerPlanckFlow(LinearFlow):
    """d_t rho + div(rho v) = epsilon Lap rho, v = -grad(potential) + velocity + (d_y stream, -d_x stream)."""

    stepper: LinearStepper = ImplicitEuler()
    """The one-step method."""
    kind: Literal["fokker-planck"] = "fokker-planck"

    can_be_timed: ClassVar[bool] = True
    tells_crossing: ClassVar[bool] = True
    takes_openings: ClassVar[bool] = True
    sharp_stepper: ClassVar[str] = "stepper muscl"

    def __post_init__(self) -> None:
        super().__post_init__()
        # A stepper of another family has no `uses_flux`; the schema refuses it later.
        if not getattr(self.stepper, "uses_flux", True) and self.flux != ScharfetterGummel():
            raise CaseError(f"stepper {self.stepper.kind} uses a flux of its own; leave out flux")
        if self.full and getattr(self.stepper, "along_axes", False):
            raise CaseError(
                f"stepper {self.stepper.kind} moves mass through faces, and a full tensor of diffusion along diagonals "
                "too; use implicit-euler or tr-bdf2"
            )

    @property
    def order_in_time(self) -> float:
        """That of the stepper."""
        return self.stepper.order

    @property
    def order_in_space(self) -> float | None:
        """That of the flux of the equation, or of the stepper if it has a flux of its own."""
        return super().order_in_space if self.stepper.uses_flux else self.stepper.order_in_space

    @property
    def work_grows_with_step(self) -> bool:  # type: ignore[override]
        """Whether a longer step takes more work, as with substeps or sums of matrix powers."""
        return self.stepper.work_grows_with_step

    @property
    def flux_fault(self) -> str:
        """As for every linear flow, and where the stepper does not tell the fluxes of its steps."""
        return super().flux_fault or self.stepper.crossing_fault

    @property
    def undivided(self) -> str:
        """Why it is not run on several ranks: a full tensor of diffusion, or its stepper."""
        if self.full:
            return "a full tensor of diffusion runs on one rank"
        return "" if self.stepper.divided else f"stepper {self.stepper.kind} runs on one rank"

    @property
    def shares_rows(self) -> bool:
        """Whether the solver of the stepper does."""
        return self.stepper.solver is not None and self.stepper.solver.shares_rows

    @property
    def reach(self) -> int:  # type: ignore[override]
        """That of the stepper."""
        return self.stepper.reach

    def divided_solver_fault(self, extent: Extent, steady: bool) -> str:
        """Why the solver of the stepper is not run on several ranks."""
        if self.stepper.solver is None:
            return ""
        solver = resolve_solver(self.stepper.solver, extent, steady)
        return "" if solver.divided else f"solver {solver.kind} runs on one rank; write solver: {{kind: krylov}}"

    def schedule(self, times: Times | None) -> Times:
        """The times of the run; raises CaseError if the case has none."""
        if times is None:
            raise CaseError("is missing")
        return self.stepper.time_grid(times)

    def problem(self, mesh: Mesh, parameters: Parameters, start: float = 0.0) -> FokkerPlanck:
        """The problem in arrays; raises CaseError if the drift fits neither mesh nor stepper."""
        problem = super().problem(mesh, parameters, start)
        self.stepper.check(problem)
        return problem

    def opened(self, problem: FokkerPlanck, openings: Openings) -> FokkerPlanck:
        """The problem on a mesh with openings; raises CaseError if the stepper does not suit them."""
        if not self.stepper.takes_openings:
            kinds = (get_type_hints(kind)["kind"] for kind in get_args(LinearStepper) if kind.takes_openings)
            raise CaseError(
                f"stepper {self.stepper.kind} takes no absorbing walls or cells: {self.stepper.openings_note}; use "
                f"{', '.join(get_args(kind)[0] for kind in kinds)}"
            )
        problem = problem.opened(openings)
        try:
            if not world().every(bool((problem.leaks(problem.start) >= 0).all())):
                raise CaseError(
                    f"flux {self.flux.kind} is not monotone at an opening, so that mass would come in through it; use "
                    "flux scharfetter-gummel"
                )
        except NumericsError as error:
            raise CaseError(str(error)) from None
        self.stepper.check(problem)
        return problem

    def equation(self, mesh: Mesh, drift: Drift) -> FokkerPlanck:
        """The equation as the stepper discretises it; raises CaseError if the stepper does not fit the mesh."""
        return self.stepper.discretise(mesh, drift, self.factor, self.flux)

    def states(
        self, problem: FokkerPlanck, initial: State, times: Times, progress: Progress | None = None
    ) -> Iterator[State]:
        """Every state of the run."""
        stepper, volume = self.stepper, problem.mesh.volume
        step, embedded, check = stepper.start(problem), stepper.embedded(problem), finite_check(problem)
        return march(step, initial, times, volume, stepper.order, stepper.growth, embedded, check)

    def leaping(self, problem: FokkerPlanck, initial: State, times: Times, due: Due) -> Iterator[State] | None:
        """By the leaps of the stepper, in steps that are given."""
        leap = None if times.adaptive is not None else self.stepper.leap(problem)
        if leap is None:
            return None
        return leaping(leap, self.stepper.start(problem), initial, times, due, finite_check(problem))

    def travel(
        self, problem: FokkerPlanck, initial: State, times: Times, monitor: TimeErrorMonitor | None, out: Any
    ) -> Journey | None:
        """By an itinerary, in given steps and not too many of them, with the companion that the monitor has."""
        if times.adaptive is not None or times.steps * problem.mesh.cells > _AT_ONCE:
            return None
        itinerary = itinerary_of(times, None if monitor is None else monitor.order)
        return None if itinerary is None else self.stepper.travel(problem, initial, itinerary, out)

    def positive_step(self, problem: FokkerPlanck) -> float:
        """The longest step that keeps rho >= 0 for every rho >= 0; 0 if there is none."""
        return self.stepper.positive_step(problem)

    def resolution(self, problem: FokkerPlanck, state: State) -> FaceResolution | None:
        """As for every linear flow; None for a stepper with a flux of its own."""
        return super().resolution(problem, state) if self.stepper.uses_flux else None

    def error_in_time(self, problem: FokkerPlanck, times: TimeGrid) -> TimeErrorMonitor | None:
        """By the error constant of the stepper in a steady equation, or by a companion, if the steps are given."""
        return None if times.adaptive is not None else self._monitor(problem, lambda: self.stepper.start(problem))

    def _monitor(self, problem: FokkerPlanck, start: Callable[[], Step]) -> TimeErrorMonitor | None:
        """What estimates the error of the steps that `start` makes; None if nothing does."""
        stepper, volume = self.stepper, problem.mesh.volume
        if stepper.order == math.inf or stepper.error_fault:
            return None
        if problem.steady and stepper.error_constant is not None:
            return DerivativeMonitor(volume, int(stepper.order), stepper.error_constant)
        return CompanionMonitor(volume, int(stepper.order), start)

    @property
    def error_fault(self) -> str:
        """That of the stepper."""
        return self.stepper.error_fault

    def error_in_time_note(self, problem: FokkerPlanck, times: TimeGrid) -> str:
        """Also why there is no estimate."""
        if self.stepper.order == math.inf:
            return "none: the method is exact in time" if problem.steady else ""
        return super().error_in_time_note(problem, times)

    def may_ring(self, problem: FokkerPlanck) -> bool:
        """Whether the stepper or the flux is not monotone."""
        return not (self.stepper.monotone and problem.monotone)

    def positivity(self, problem: FokkerPlanck, longest_step: float) -> str:
        """A sentence on whether the method keeps densities non-negative in steps of at most this length."""
        longest, step, note = self.positive_step(problem), longest_step, self.stepper.positivity_note
        if longest == math.inf:
            return "unconditional"
        if longest == 0 and note and problem.monotone:
            return f"not guaranteed: {note}"
        if longest == 0:
            flux = self.flux.kind
            return f"not guaranteed: flux {flux} is not monotone where the Peclet number is, or becomes, above 2"
        if not problem.steady:
            now = f"at t = {problem.start:g}"
            what = "diffusion changes" if problem.drift.steady else "drift moves"
            return f"not guaranteed: the {what}; {now} the longest step is {longest:.3g}; look at minimum"
        if step <= longest:
            return f"guaranteed: step {step:g} is at most {longest:.3g}"
        return f"not guaranteed: step {step:g} is above {longest:.3g}; look at minimum, or use implicit-euler"

    def describe(self, extent: Extent) -> str:
        """A phrase that describes the scheme; raises CaseError if the solver does not fit the mesh."""
        return self.stepper.describe(self.graph_extent(extent), self.flux.describe(self.factor), self.steady({}))

    def memory(self, extent: Extent) -> int:
        """Estimated memory of a run, bytes; raises CaseError if the solver does not fit the mesh."""
        return self.stepper.memory(self.graph_extent(extent), self.steady({}))
