"""Particles that diffuse and drift: the stochastic differential equation of the Fokker-Planck equation."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from annotated_types import Ge, Le

from fvflow.errors import CaseError
from fvflow.exact import Reference
from fvflow.fields import DensityKind, Drift, Parameters
from fvflow.flows.linear import LinearFlow
from fvflow.flows.motion import Motion, SavedFields
from fvflow.fluxes import FaceResolution, ScharfetterGummel
from fvflow.lagrangian import EulerMaruyama, ParticleStepper
from fvflow.lagrangian.philox import LARGEST_SEED
from fvflow.march import Progress, march
from fvflow.mesh import Array, Extent, FilePath, Mesh, Openings, stored_field, transfer
from fvflow.problems import FokkerPlanck, OutputVariable, State
from fvflow.system import available_memory
from fvflow.time_error import HALVES
from fvflow.times import TimeGrid, Times

if TYPE_CHECKING:
    from fvflow.lagrangian.problem import ParticleProblem

_BYTES = 24  # of a particle, beside three times its position: number, cell and group
_TIMED = 200_000  # particles up to which a few steps may be tried
_LARGEST_COUNT = 10**8  # so that the positions of one time fit into one chunk of a file
_COUNTED = (
    "rho of flow particles is counted, and the noise of its gradient hides the {}; run the case with flow fokker-planck"
)
_OFF_MESH = 1e-3  # share of the mass of a reference that may lie outside


@dataclass(frozen=True)
class ParticleFlow(LinearFlow):
    """dX = v dt + sqrt(2 epsilon) dW for many particles, v = -grad(potential) + velocity + (d_y, -d_x) stream + tilt.

    Their law solves d_t rho + div(rho v) = epsilon Lap rho. `position` (time, particle, axis) is where they are, rho
    how many are in each cell. They start from `initial`: from Gaussians themselves, else from the cell averages.
    With `exact` or a `reference` the numbers in the cells at the end are compared with the law: `mean_deviation` and
    `covariance_deviation`, in standard errors, and `chi_square_p` (fvflow.lagrangian.bands). Random numbers belong to
    a particle, a step and the seed, whatever the number of threads (fvflow.lagrangian.philox). There is no energy;
    `entropy` and the errors are those of the numbers in the cells, with the noise of the sample, and `outflow_NAME` is
    what the scheme makes of them. Euler-Maruyama and Heun steps are reflected by walls of any mesh of convex cells, or
    absorbed, with what happens between the ends of a step (fvflow.lagrangian.elastic). For control_volumes: nodes, a
    radius, regions and full tensors there is `jump`.
    """

    count: Annotated[int, Ge(1), Le(_LARGEST_COUNT)] = field(kw_only=True)
    """Number of particles."""
    seed: Annotated[int, Ge(0), Le(LARGEST_SEED)] = field(default=0, kw_only=True)
    """Seed of the random numbers."""
    stepper: ParticleStepper = field(default=EulerMaruyama(), kw_only=True)
    """The method."""
    reference: FilePath | None = field(default=None, kw_only=True)
    """A result whose density at the end the particles are compared with."""
    kind: Literal["particles"] = "particles"

    takes_openings: ClassVar[bool] = True
    stores_fluxes: ClassVar[bool] = False
    coarsens: ClassVar[bool] = False  # type: ignore[misc]
    refinement_fault: ClassVar[str] = (
        "the numbers of particles in cells differ by chance, which hides the errors of mesh and steps; use flow "
        "fokker-planck"
    )
    figures: ClassVar[Mapping[str, str]] = {
        "mean_deviation": "with exact or flow.reference",
        "covariance_deviation": "with exact or flow.reference",
        "chi_square_p": "with exact or flow.reference",
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        if not getattr(self.stepper, "in_cells", True) and self.flux != ScharfetterGummel():
            raise CaseError(f"stepper {self.stepper.kind} uses no flux between cells; leave out flux")

    @property
    def can_be_timed(self) -> bool:  # type: ignore[override]
        """Whether a few steps take little time."""
        return self.count <= _TIMED

    @property
    def files(self) -> tuple[str, ...]:
        """Also the reference."""
        return (*super().files, *([] if self.reference is None else [self.reference]))

    def schedule(self, times: Times | None) -> Times:
        """The times of the run; raises CaseError if the case has none, or steps chosen by their error."""
        found = super().schedule(times)
        assert isinstance(found, Times)
        if found.adaptive is not None:
            raise CaseError("particles move in steps that are given: write step: 0.01, say")
        return found

    @property
    def work_grows_with_step(self) -> bool:  # type: ignore[override]
        """Whether a longer step takes more work, as with jumps."""
        return self.stepper.work_grows_with_step

    def equation(self, mesh: Mesh, drift: Drift) -> FokkerPlanck:
        """The equation, with its particles."""
        from fvflow.lagrangian.problem import ParticleProblem

        in_cells = self.stepper.in_cells
        return ParticleProblem(mesh, drift, self.factor, self.flux, count=self.count, seed=self.seed, in_cells=in_cells)

    def problem(self, mesh: Mesh, parameters: Parameters, start: float = 0.0) -> FokkerPlanck:
        """The problem in arrays; raises CaseError if the method does not fit it or memory is short."""
        from fvflow.lagrangian.problem import ParticleProblem

        needed, free = self._particle_memory(mesh.dimension), available_memory()
        if needed > free:
            raise CaseError(
                f"{self.count} particles need about {needed / 2**30:.2g} GiB, {free / 2**30:.2g} are free; use fewer"
            ).at("flow", "count")
        problem = super().problem(mesh, parameters, start)
        assert isinstance(problem, ParticleProblem)
        self.stepper.check(problem)
        return problem

    def opened(self, problem: Any, openings: Openings) -> ParticleProblem:
        """The problem on a mesh with openings; raises CaseError if the method does not take them."""
        opened: ParticleProblem = problem.opened(openings)
        self.stepper.check(opened)
        return opened

    def placed(
        self, problem: Any, density: DensityKind, values: Array, reference: Reference | None, times: TimeGrid
    ) -> ParticleProblem:
        """The problem with the density that the particles start from, and the law that they are compared with."""
        if reference is not None and self.reference is not None:
            raise CaseError("the case has a closed form too, and one of them is enough; leave out one").at(
                "flow", "reference"
            )
        made: ParticleProblem = replace(problem, gaussians=density.gaussian_parts, initial=values)
        return replace(made, law=self._law(made, reference, times.stop))

    def _law(self, problem: ParticleProblem, reference: Reference | None, time: float) -> Array | None:
        """The masses (cell,) at the end, of a whole of 1; None if there is nothing to compare with."""
        mesh = problem.mesh
        assert problem.initial is not None
        whole = float(mesh.volume @ problem.initial)
        if reference is not None:
            masses = mesh.volume * reference.finite_average(time)
        elif self.reference is not None:
            try:
                source, density = stored_field(self.reference, "rho", time)
                masses = mesh.volume * transfer(source, mesh, density, truncate=_OFF_MESH)[0]
            except CaseError as error:
                raise CaseError(str(error)).at("flow", "reference") from None
        else:
            return None
        return np.asarray(masses / (whole if problem.openings is not None else masses.sum()))

    def motion(self, problem: FokkerPlanck, parameters: Parameters, saved: SavedFields) -> Motion:
        """None: the gradient of what is counted is noise."""
        return Motion(fault=_COUNTED.format("velocity"))

    @property
    def score_fault(self) -> str:
        """That rho is counted."""
        return _COUNTED.format("score")

    def states(
        self, problem: ParticleProblem, initial: State, times: Times, progress: Progress | None = None
    ) -> Iterator[State]:
        """Every state of the run."""
        saved, stepper = set(times.save_times), self.stepper
        if not initial.particles:
            initial = problem.with_walkers(initial, problem.started())
        for state in march(stepper.start(problem), initial, times, problem.mesh.volume, 1):
            if state.time not in saved:
                yield state
                continue
            shown = stepper.saved(problem, state)
            shown = replace(shown, fields=_moments(shown))
            yield replace(shown, figures=self._figures(problem, shown)) if state.time == times.stop else shown

    def _figures(self, problem: ParticleProblem, state: State) -> dict[str, float]:
        """The figures of the run, at its end."""
        from fvflow.lagrangian.bands import bands

        if problem.law is None:
            return {}
        counts = np.rint(state.density * problem.mesh.volume * (problem.count / state.mass))
        return bands(problem.mesh, counts, problem.count, problem.law)

    def particles(self, problem: ParticleProblem) -> int:
        """Their number."""
        return self.count

    def particle_fields(self, problem: ParticleProblem) -> dict[str, OutputVariable]:
        """Positions, and what has absorbed each, if anything may."""
        found = {"position": OutputVariable(("particle", "axis"), "position; once absorbed, that where it was")}
        if problem.openings is not None:
            names = ", ".join(f"{number} {name}" for number, name in enumerate(problem.openings.names))
            found["absorbed_by"] = OutputVariable(("particle",), f"what has absorbed it: {names}; -1 nothing yet")
        return found

    def scalars(self) -> dict[str, OutputVariable]:
        """The moments of the positions."""
        return {
            "particle_mean": OutputVariable(("axis",), "mean position of the particles; nan if none is left"),
            "particle_covariance": OutputVariable(("axis", "axis_2"), "covariance of the positions of the particles"),
        }

    def resolution(self, problem: FokkerPlanck, state: State) -> FaceResolution | None:
        """As of every linear flow for jumps between cells; None for particles that know no cells."""
        return super().resolution(problem, state) if self.stepper.in_cells else None

    def told(self, figures: Mapping[str, float]) -> Iterator[str]:
        """That too few particles tell nothing of their law."""
        if math.isnan(figures.get("chi_square_p", 0.0)):
            yield (
                "chi_square_p is not a number: too few particles are expected to part the cells into two classes of at "
                "least five; use more particles, or a mesh that resolves their law"
            )

    def positivity(self, problem: Any, longest_step: float) -> str:
        """Numbers of particles are not negative."""
        return "unconditional: rho counts particles"

    def error_in_time_note(self, problem: Any, times: TimeGrid) -> str:
        """What is known of the error."""
        noise = f"; the mean of {self.count} particles has the standard error {self.count**-0.5:.1g} of their deviation"
        if self.stepper.in_cells:
            return "that of implicit Euler" + noise
        return f"not estimated; {HALVES}" + noise

    def describe(self, extent: Extent) -> str:
        """A phrase that describes the method."""
        return f"{self.count} particles, seed {self.seed}: {self.stepper.description}"

    def _particle_memory(self, dimension: int) -> int:
        return self.count * (_BYTES * 3 + 8 * 5 * dimension)

    def memory(self, extent: Extent) -> int:
        """Estimated memory of a run, bytes."""
        return super().memory(extent) + self._particle_memory(extent.dimension)


def _moments(state: State) -> dict[str, Array]:
    """Mean and covariance of the positions of those that move."""
    position = state.particles["position"][state.particles["absorbed_by"] < 0]
    dimension = position.shape[1]
    if not len(position):
        return {
            "particle_mean": np.full(dimension, np.nan),
            "particle_covariance": np.full((dimension, dimension), np.nan),
        }
    mean = position.mean(axis=0)
    offset = position - mean
    return {"particle_mean": mean, "particle_covariance": offset.T @ offset / len(position)}
