"""A case in arrays, as an iterator of frames."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from fvflow.case.checkpoints import restored
from fvflow.case.checks import Output
from fvflow.case.error_estimate import ErrorEstimate
from fvflow.case.initial_conditions import PlacedDensity
from fvflow.case.remarks import off_mesh, remarks
from fvflow.cell_fields import CellFields
from fvflow.dataset import Frame, Layout, Tree
from fvflow.diagnostics import (
    ENERGY,
    ERRORS,
    FLUX,
    RELATIVE_ENTROPY,
    STEPS,
    crossing_fields,
    diagnostics_at,
    of_every_problem,
    of_openings,
)
from fvflow.exact import Reference
from fvflow.flows import BaseFlow
from fvflow.march import Due, Progress, Watch, Watchers
from fvflow.mesh import Mesh
from fvflow.observables import Observables
from fvflow.problems import State
from fvflow.relative_entropy import equilibrium_of
from fvflow.run_statistics import RunStatistics
from fvflow.step_maps import StepMaps
from fvflow.times import TimeGrid

if TYPE_CHECKING:
    from fvflow.evi_bounds import EviBounds

_TOLD_SHARE = 1e-6  # of the mass


@dataclass
class Simulation:
    """One run: the flow, its problem in arrays, its start, its times; `statistics` are those of the last run."""

    flow: BaseFlow
    mesh: Mesh
    problem: Any
    initial: State
    times: TimeGrid
    output: Output = Output()
    reference: Reference | None = None
    densities: tuple[PlacedDensity, ...] = ()
    observables: Observables | None = None
    statistics: RunStatistics = field(init=False)
    reached: tuple[State, int] | None = field(default=None, init=False)
    """The last state and the frames up to it; None while the statistics or the frame of a state are being made.

    In the midst of an iteration it is the initial state with the iterate.
    """

    estimate: ErrorEstimate | None = field(default=None, init=False)
    """What estimates the error at each saved time; None if it is not asked for."""
    sides_fault: str = field(default="", init=False)
    """Why the result could not be compared with samples, as a sentence; empty if it could, or was not to be."""

    def __post_init__(self) -> None:
        self.statistics = self._fresh_statistics()

    @cached_property
    def _cell_fields(self) -> CellFields:
        """The fields of cells that are computed from the density."""
        return CellFields(self.problem, self.output.velocity, self.output.score, self.output.rate)

    @cached_property
    def _step_maps(self) -> StepMaps:
        """The fields and numbers of the steps that end at saved times."""
        output = self.output
        return StepMaps(self.problem, output.potential, output.map, output.distance, output.width)

    def _fresh_statistics(self) -> RunStatistics:
        flow, problem = self.flow, self.problem
        return RunStatistics.of(
            problem,
            self.initial,
            self.reference,
            energy_each_step=flow.energy_each_step,
            moves_in_w2=not flow.metric_fault,
            may_ring=flow.may_ring(problem),
            time_error=flow.error_in_time(problem, self.times),
            evi_bounds=self.evi_bounds() if self.output.evi else None,
            span=self.times.stop - self.initial.time,
        )

    def evi_bounds(self) -> EviBounds:
        """What watches the inequalities of convexity; raises CaseError where they are not known."""
        from fvflow.evi_bounds import EviBounds

        energy = self.problem.energy(self.initial.time)
        return EviBounds.of(self.mesh, energy, self.initial, self.output.width)

    def frames(self, watch: Watch | None = None, checkpoint: Tree | None = None) -> Iterator[Frame]:
        """What is stored at each saved time; each call is a run of its own, and `watch` is told how far it is.

        With a checkpoint the run goes on from there; the frames up to it are not repeated.
        """
        statistics, count = self._fresh_statistics(), 0
        initial, self.statistics, self.reached = self.initial, statistics, None
        if self.estimate is not None:
            self.estimate.start()
        progress = Watchers(*([] if watch is None else [watch]))
        if checkpoint is not None:
            initial, count = restored(checkpoint, self.mesh), checkpoint["frames"]
            statistics.restore(checkpoint["statistics"])
        if self.asks_crossing:
            initial = replace(initial, crossed=statistics.mean_flux.nothing())
        states = self.leaping(statistics, statistics.due_at) if watch is None and checkpoint is None else None
        solving = None if watch is None else _Solving(self, progress)
        states = states or self.flow.states(self.problem, initial, self.times, solving)
        saves = 0
        if checkpoint is not None and initial.iterate is None:  # the state has been seen; an iterate comes before any
            self.reached, saves = (next(states), count), self.times.saved_until(initial.time)
        for state in states:
            self.reached = None
            statistics(state)
            self._look(state)
            if saves <= self.times.saves and state.time == self.times.save_time(saves):
                yield self._frame(state)
                saves, count = saves + 1, count + 1
            self.reached = state, count
            progress.step(state)

    def leaping(self, statistics: RunStatistics, due: Due) -> Iterator[State] | None:
        """The run by leaps, to the last bit that by steps; None if something has to see every step."""
        if self.sees_every_step(statistics) or (statistics.time_error is not None and statistics.time_error.kept > 2):
            return None
        return self.flow.leaping(self.problem, self.initial, self.times, due)

    def sees_every_step(self, statistics: RunStatistics) -> bool:
        """Whether the statistics, but for the error in time, need every state, or the fluxes of every step."""
        watched = statistics.energy or statistics.evi_bounds or statistics.may_ring or statistics.openings is not None
        return bool(watched) or self.asks_crossing

    @property
    def asks_crossing(self) -> bool:
        """Whether the mean fluxes between saved times are stored."""
        return self.output.fluxes and self.flow.tells_crossing

    def _frame(self, state: State) -> Frame:
        """What is stored of a state."""
        on_faces = self.flow.face_fields()
        diagnostics = diagnostics_at(self.problem, state, self.reference)
        diagnostics |= self.statistics.saved(state, diagnostics)
        if self.observables is not None:
            diagnostics |= self.observables.at(state)
            for name in self.observables.functions if self.flow.correlations else ():
                found = self.flow.correlated(self.problem, state, self.observables.values(name, state.time))
                correlations = {f"{prefix}_{name}": value for prefix, value in found.items()}
                self.statistics.undefined += [key for key, value in correlations.items() if math.isnan(value)]
                diagnostics |= correlations
        if self.estimate is not None:
            estimated = self.estimate.at(state.time, state.density, diagnostics)
            self.statistics.last |= estimated
            diagnostics |= estimated
        scalars = self.flow.scalars()
        diagnostics |= {name: state.fields[name] for name in scalars}
        fields = {name: values for name, values in state.fields.items() if name not in on_faces and name not in scalars}
        problem = self.flow.in_state(self.problem, state)
        fields |= self._cell_fields.at(problem, state) | self._step_maps.at(state)
        diagnostics |= self._step_maps.distances(state)
        face_fields = {name: state.fields[name] for name in on_faces}
        if self.output.fluxes:
            face_fields["flux"] = problem.flux(state.density, state.time)
        mean = self.statistics.mean_flux.take()
        if self.asks_crossing:
            means = np.split(mean, [self.mesh.faces])
            face_fields |= dict(zip(crossing_fields(self.problem.openings), means, strict=False))
        carried = {name: state.particles[name] for name in self.flow.particle_fields(self.problem)}
        return Frame(state.time, state.density, diagnostics, fields, face_fields, carried)

    def _look(self, state: State) -> None:
        """See how well the cells resolve the drift, if it is time."""
        if self.statistics.due_at((state.time,))[0]:
            self.statistics.resolved(state.time, self.flow.resolution(self.problem, state))

    def figures(self) -> dict[str, Any]:
        """The figures of the last run."""
        found = self.statistics.figures(self.flow.judged_at_every_time)
        return found if self.estimate is None else found | self.estimate.figures(self.statistics.time, found)

    def remarks(self) -> list[str]:
        """Sentences on what lowered the order, the resolution or the meaning of the last run."""
        at_once = self.absorbed_at_once()
        return [
            *([self.mesh.remark] if self.mesh.remark else []),
            *(sentence for density in self.densities for sentence in density.remarks()),
            *([f"{at_once} is in absorbing cells and absorbed at once"] if at_once else []),
            *self.flow.notes(self.problem),
            *remarks(self.flow, self.statistics),
            *off_mesh(self.reference, self.statistics),
            *([self.sides_fault] if self.sides_fault else []),
            *([self.estimate.fault] if self.estimate is not None and self.estimate.fault else []),
        ]

    def absorbed_at_once(self) -> str:
        """How much of the mass is in absorbing cells at the start, in words; empty if that is not worth a word."""
        share = float(self.initial.absorbed.sum()) / self.initial.mass
        return f"{100 * share:.3g} % of the mass" if self.flow.uses_initial and share > _TOLD_SHARE else ""

    def untold_error_in_time(self) -> str:
        """Why the last run has no figure `time_error`, and what tells instead; empty if it has, or needs none."""
        note = self.flow.error_in_time_note(self.problem, self.times)
        estimated = note.endswith("estimated during the run") or note.startswith("none")
        return "" if "time_error" in self.figures() or estimated else note

    def positivity(self) -> str:
        """A sentence on whether the method keeps densities non-negative, after a run in the steps that it took."""
        taken = self.statistics
        longest = taken.longest_step if taken.steps and self.times.adaptive is not None else self.times.longest
        sentence = self.flow.positivity(self.problem, longest)
        stayed = taken.steps > 0 and taken.minimum >= 0 and sentence.startswith("not guaranteed")
        return f"{sentence}; all the same the density stayed >= 0" if stayed else sentence

    @property
    def memory(self) -> int:
        """Estimated bytes of a run."""
        fluxes = 5 * 8 * self.statistics.mean_flux.links if self.asks_crossing else 0
        frames = (self.times.saves + 1) * self.flow.frame_memory(self.mesh.extent)
        coarser = 0 if self.estimate is None else self.estimate.coarser.memory
        own = self.flow.memory(self.mesh.extent) + frames + self._cell_fields.memory + self._step_maps.memory + fluxes
        return own + coarser

    def layout(self) -> Layout:
        """The variables of the result."""
        diagnostics = of_every_problem(self.mesh)
        if self.problem.energy(self.initial.time) is not None:
            diagnostics |= ENERGY
        if equilibrium_of(self.problem, self.initial.time) is not None:
            diagnostics |= RELATIVE_ENTROPY
        if self.flow.energy_each_step:
            diagnostics |= STEPS
        diagnostics |= self._step_maps.scalars()
        cell_fields, openings = self.flow.fields(self.mesh) | self._cell_fields.variables(), self.problem.openings
        cell_fields |= self._step_maps.variables()
        if openings is not None:
            diagnostics |= of_openings(openings, has_energy="energy" in diagnostics)
            cell_fields |= self.flow.opening_fields(openings)
        diagnostics |= self.flow.scalars()
        if self.observables is not None:
            diagnostics |= self.observables.variables(self.flow.correlations)
        if self.estimate is not None:
            diagnostics |= self.estimate.variables()
        if self.reference is not None:
            diagnostics |= {name: ERRORS[name] for name in self.reference.figures}
        face_fields = self.flow.face_fields()
        if self.output.fluxes:
            face_fields |= {"flux": FLUX}
        if self.asks_crossing:
            face_fields |= crossing_fields(openings)
        return Layout(
            self.mesh.whole,
            diagnostics,
            self.output.precision == "single",
            self.output.compression,
            cell_fields,
            face_fields,
            openings if self.asks_crossing else None,
            particle_fields=self.flow.particle_fields(self.problem),
            particles=self.flow.particles(self.problem),
        )


@dataclass(frozen=True)
class _Solving:
    """A `Progress` for which the run has reached each iterate while that is passed on; the solver then changes it."""

    simulation: Simulation
    progress: Progress

    def step(self, state: State) -> None:
        """Pass the state on."""
        self.progress.step(state)

    def iteration(self, iterations: int, residual: float, iterate: Mapping[str, Any]) -> None:
        """Pass the iterate on."""
        state = replace(self.simulation.initial, iterations=iterations, iterate=iterate)
        self.simulation.reached = state, 0
        self.progress.iteration(iterations, residual, iterate)
        self.simulation.reached = None
