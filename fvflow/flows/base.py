"""The contract of a flow.

A new flow is a frozen dataclass derived from `BaseFlow` with `kind: Literal[...]`, `problem` and `states`, entered in
the table `FLOWS` in `fvflow/flows/__init__.py`. The defaults hold for a flow about which nothing is known: closed forms
refuse it, nothing is stored beside the density, and no step length is known to keep the density non-negative.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from fvflow.errors import CaseError
from fvflow.exact import ClosedForm, Reference
from fvflow.fields import BaseDrift, DensityKind, Drift, Kernel, Parameters
from fvflow.flows.densities import FlowDensities
from fvflow.flows.motion import Motion, SavedFields
from fvflow.flows.scaling import FlowScaling
from fvflow.fluxes import FaceResolution
from fvflow.linalg import Journey
from fvflow.march import Due, Progress
from fvflow.mesh import Array, Extent, Mesh, Openings
from fvflow.problems import OutputVariable, Problem, State
from fvflow.time_error import HALVES, TimeErrorMonitor
from fvflow.times import TimeGrid, Times
from fvflow.walls import CellSet, Wall

if TYPE_CHECKING:
    from fvflow.lagrangian.flow_map import ResultVelocity


class BaseFlow(FlowDensities, FlowScaling):
    """What a case runs: an equation, its discretisation, and an iterator of states."""

    kind: str
    steps_in_time: ClassVar[bool] = True
    """Whether each state follows from the one before, so that a run can go on from any of them."""
    looks_ahead: ClassVar[bool] = False
    """Whether what is stored at a time depends on later times, so that a run cannot go on to another end."""
    energy_each_step: ClassVar[bool] = False
    """Whether the energy is computed after every step, which costs little compared with the step."""
    work_grows_with_step: bool = False
    """Whether a longer step takes more work."""
    descends_in_w2: ClassVar[bool] = False
    """Whether it descends an energy along W2, so that its steps may have maps and keep inequalities of W2."""
    metric_fault: str = ""
    """Why the metric of its steps is not W2; empty if it is."""
    movement_fault: str = ""
    """Why its steps have no potential and map; empty if they have, where `descends_in_w2`."""
    coarsens: bool = True
    """Whether it is defined on a coarser mesh where it is on this one."""
    takes_openings: ClassVar[bool] = False
    """Whether mass may leave the domain for good: through absorbing walls, and into absorbing cells."""
    needs_openings: ClassVar[bool] = False
    """Whether there has to be a way out for mass, for which the flow has the key `target`."""
    stores_fluxes: ClassVar[bool] = False
    """Whether `problem.flux` gives the flux through each face, for fluxes, velocity and rate in `output`."""
    tells_crossing: ClassVar[bool] = False
    """Whether its states tell what has crossed each link, if they are asked to: `State.crossed`."""
    passes: ClassVar[int] = 1
    """How often a run goes over its steps."""
    can_be_timed: ClassVar[bool] = False
    """Whether the run time can be estimated from a few steps, on its own mesh or on a coarser one."""
    judged_at_every_time: ClassVar[bool] = False
    """Whether its errors are the largest over all saved times rather than those at the end."""
    homogeneous: bool = False
    """Whether the solution of a multiple of the initial density is that multiple of the solution."""
    sized: ClassVar[str] = "the mass"
    """What errors in time are relative to."""
    figures: ClassVar[Mapping[str, str]] = {}
    """Figures of the whole run that only this flow has and `checks` can bound, each with a remark or ""."""

    @property
    def flux_fault(self) -> str:
        """Why the flux through each face is not known; empty if it is, where `stores_fluxes`."""
        return self.velocity_fault

    @property
    def velocity_fault(self) -> str:
        """Why `problem.face_velocity` is not known; empty if it is, where `stores_fluxes`."""
        return ""

    @property
    def score_fault(self) -> str:
        """Why grad log rho is no score; empty if it is one."""
        return ""

    @property
    def drawn(self) -> tuple[str, ...]:
        """The fields that a picture shows unless another one is asked for."""
        return ("rho",)

    @property
    def at_walls(self) -> str:
        """What happens at walls, for `check`; empty if mass does not pass them and may pile up there."""
        return ""

    @property
    def moved_by(self) -> str | None:
        """Path of the result whose velocity moves its points, for `moved`; None if there is none."""
        return None

    def moved(self, problem: Any, velocity: ResultVelocity, times: TimeGrid) -> Problem:
        """The problem with the velocity of the result that `moved_by` names; raises CaseError if it does not fit."""
        raise NotImplementedError

    @property
    def files(self) -> tuple[str, ...]:
        """Paths of the files that it reads, without those of `end_density`."""
        return ()

    def has_figure(self, name: str) -> bool:
        """Whether a run computes this figure."""
        return name in self.figures

    def exact_fault(self, exact: ClosedForm) -> str:
        """Why no case with this flow can be compared with a closed form; empty if one can."""
        return ""

    def schedule(self, times: Times | None) -> TimeGrid:
        """The times of the run; raises CaseError if the case lacks times or must not have any."""
        if times is None:
            raise CaseError("is missing")
        return times

    def drift(self, parameters: Parameters) -> BaseDrift:
        """The drift of the equation."""
        return Drift(parameters=parameters)

    def flux_drift(self, parameters: Parameters) -> BaseDrift:
        """The drift of the flux beside that of diffusion down the gradient of the density."""
        return self.drift(parameters)

    def steady(self, parameters: Parameters) -> bool:
        """Whether nothing in the equation depends on t."""
        return self.drift(parameters).steady

    def linear_diffusion(self) -> float:
        """eps of linear diffusion, or the temperature if the drift of the potential is proportional to it."""
        return 0.0

    def power_laws(self) -> tuple[tuple[float, float], ...]:
        """(c, m) of each energy c int rho^m/(m - 1)."""
        return ()

    def kernels(self, parameters: Parameters) -> tuple[Kernel, ...]:
        """W of each interaction."""
        return ()

    def undescribed(self) -> tuple[str, ...]:
        """Parts of the equation that drift, diffusion, power laws, kernels and target do not describe, by name."""
        return (f"flow {self.kind}",)

    def in_state(self, problem: Any, state: State) -> Any:
        """The problem whose `flux`, `face_velocity` and `rate` are those of a state."""
        return problem

    def told(self, figures: Mapping[str, float]) -> Iterator[str]:
        """Sentences on what the figures of a run mean for its result."""
        yield from ()

    def problem(self, mesh: Mesh, parameters: Parameters, start: float = 0.0) -> Problem:
        """The problem in arrays, for a run from `start` on; raises CaseError if it is not defined on the mesh."""
        raise NotImplementedError

    def opened(self, problem: Any, openings: Openings) -> Problem:
        """The problem on a mesh with openings; raises CaseError if it is not defined there."""
        raise CaseError(f"flow {self.kind} takes no absorbing walls or cells; leave out walls and absorbing")

    def placed(
        self, problem: Any, density: DensityKind, values: Array, reference: Reference | None, times: TimeGrid
    ) -> Any:
        """The problem of a run that starts from a density, of which the cell values (cell,) are known too.

        Raises CaseError if it cannot.
        """
        return problem

    def absorbing(self, walls: Mapping[str, Wall], cells: tuple[CellSet, ...]) -> tuple[Any, tuple[CellSet, ...]]:
        """The walls by name and the cells that absorb: those of the case, and what the flow itself adds to them."""
        return walls, cells

    def states(self, problem: Any, initial: State, times: Any, progress: Progress | None = None) -> Iterator[State]:
        """Every state of the run, the initial one first; `progress` is called with the iterations of a solver."""
        raise NotImplementedError

    def leaping(self, problem: Any, initial: State, times: Any, due: Due) -> Iterator[State] | None:
        """The states of the run by leaps, as `march.leaping`; None if it takes every step on its own."""
        return None

    def travel(self, problem: Any, initial: State, times: Any, monitor: Any, out: Any) -> Journey | None:
        """The whole run in one compiled call, its saves in `out` (save, cell); None if it takes steps one by one."""
        return None

    def motion(self, problem: Any, parameters: Parameters, saved: SavedFields) -> Motion:
        """What moves the mass of a result at any point: by default a velocity that is not known."""
        known = "density" if self.score_fault else "density and score"
        return Motion(fault=f"flow {self.kind} does not say what its velocity is; ask for {known}")

    def fields(self, mesh: Mesh) -> dict[str, OutputVariable]:
        """Cell fields that are stored beside rho at each saved time."""
        return {}

    def opening_fields(self, openings: Openings) -> dict[str, OutputVariable]:
        """Cell fields that are stored for the groups of the openings."""
        return {}

    def face_fields(self) -> dict[str, OutputVariable]:
        """Face fields that are stored at each saved time."""
        return {}

    def particles(self, problem: Any) -> int:
        """Number of particles that it moves."""
        return 0

    def particle_fields(self, problem: Any) -> dict[str, OutputVariable]:
        """What is stored of each particle, from `State.particles`: `position` ("particle", "axis") if there is any."""
        return {}

    correlations: ClassVar[Mapping[str, str]] = {}
    """What else is recorded of an observable, with {0} for its text: the names that `correlated` uses."""

    uncorrelated: ClassVar[str] = ""
    """Why one of the `correlations` is nan, as a clause."""

    def correlated(self, problem: Any, state: State, values: Array) -> Mapping[str, float]:
        """The `correlations` in a state of an observable with these values (cell,)."""
        return {}

    def scalars(self) -> dict[str, OutputVariable]:
        """Numbers and small arrays over axes that are stored at each saved time, from the fields of the state."""
        return {}

    def positivity(self, problem: Any, longest_step: float) -> str:
        """A sentence on whether the method keeps densities non-negative in steps of at most this length."""
        return "unconditional" if self.positive_step(problem) == math.inf else "not guaranteed; look at minimum"

    def positive_step(self, problem: Any) -> float:
        """The longest step that keeps rho >= 0 for every rho >= 0; 0 if there is none."""
        return 0.0

    def resolution(self, problem: Any, state: State) -> FaceResolution | None:
        """How well the cells resolve the drift where the mass is; None if there is nothing to tell."""
        return None

    def without_diffusion(self, openings: Openings | None) -> str:
        """What helps where upwinding adds diffusion to faces that have none."""
        return "smaller cells"

    def unresolved(self, resolution: FaceResolution, openings: Openings | None) -> str:
        """What it means that the cells do not resolve the drift, and what helps; empty if they do."""
        return ""

    noted: ClassVar[str] = "seam"
    """What `check` calls the notes."""

    def notes(self, problem: Any) -> Iterator[str]:
        """What deserves a word of the equation itself, as sentences."""
        yield from ()

    def error_in_time(self, problem: Any, times: TimeGrid) -> TimeErrorMonitor | None:
        """What estimates the error in time of a run; None if nothing does."""
        return None

    @property
    def error_fault(self) -> str:
        """Why a run in longer steps does not tell the error in time, and what does; empty if it does."""
        return ""

    def error_in_time_note(self, problem: Any, times: TimeGrid) -> str:
        """What a run tells of its error in time, for `check`; empty if there is nothing to tell."""
        if times.steps == 0:
            return ""
        if times.adaptive is not None:
            return "that of each step is below the tolerance; for that of the run compare with a tenth of it"
        if self.error_fault:
            return f"not estimated: {self.error_fault}"
        watch = self.error_in_time(problem, times)
        return f"not estimated with this method; {HALVES}" if watch is None else watch.told(times.steps)

    def may_ring(self, problem: Any) -> bool:
        """Whether the method may make new oscillations, so that the total variation is watched at every step."""
        return False

    def describe(self, extent: Extent) -> str:
        """A phrase that describes the scheme."""
        return self.kind

    def memory(self, extent: Extent) -> int:
        """Estimated memory of a run, bytes, without `frame_memory`."""
        return 300 * extent.dimension * extent.cells

    def frame_memory(self, extent: Extent) -> int:
        """What is kept in memory of each saved time, bytes."""
        return 0
