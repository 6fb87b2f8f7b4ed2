"""From the parts of a case to its simulation, in named stages."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from fvflow.case.checks import Output
from fvflow.case.document import Fault, Path
from fvflow.case.initial_conditions import (
    PlacedDensity,
    given_density,
    initial_density,
    require_end,
    require_finite_energy,
    target_density,
    total_mass,
)
from fvflow.case.several_ranks import copied, undivided
from fvflow.case.simulation import Simulation
from fvflow.case.stages import Stages
from fvflow.errors import CaseError
from fvflow.exact import ClosedForm, Facts, Reference
from fvflow.fields import DensityKind, Expression
from fvflow.flows import BaseFlow
from fvflow.mesh import Array, Extent, Mesh, MeshDescription, Openings, divided
from fvflow.observables import Observables
from fvflow.parallel import arrange, world
from fvflow.problems import State
from fvflow.system import available_memory
from fvflow.times import TimeGrid
from fvflow.walls import CellSet, Wall, case_openings

if TYPE_CHECKING:
    from fvflow.lagrangian.flow_map import ResultVelocity

_LITTLE = 2**24  # bytes that are there: to ask the system takes a hundredth of a small run
_MASS_UNSPECIFIED = (
    "the solution of this flow is not in proportion to its initial density: write `mass: integral` to keep the values "
    "of the density, or `mass: M` to scale them to the mass M"
)
_NO_TARGET = (
    'is missing, and no wall absorbs: write target: {wall: left}, {region: A}, {where: "x >= 1"} or a list of these'
)


class Parts(Protocol):
    """What a simulation is built from: the parts of a case."""

    @property
    def mesh(self) -> MeshDescription:
        """The mesh, as it is described."""

    @property
    def flow(self) -> BaseFlow:
        """What runs."""

    @property
    def start_density(self) -> DensityKind:
        """The density at the start, as it is described or by default."""

    @property
    def initial(self) -> DensityKind | None:
        """The density at the start; None if the flow needs none and none is given."""

    @property
    def exact(self) -> ClosedForm | None:
        """The closed form that it is compared with."""

    @property
    def schedule(self) -> TimeGrid:
        """The times of the run."""

    @property
    def parameters(self) -> Mapping[str, float]:
        """The names that expressions use."""

    @property
    def walls(self) -> Mapping[str, Wall]:
        """What each wall does with mass, by name."""

    @property
    def absorbing_sets(self) -> tuple[CellSet, ...]:
        """The sets of cells that absorb."""

    @property
    def observe(self) -> Mapping[str, str | float]:
        """Functions whose mean and variance are recorded, by name."""

    @property
    def output(self) -> Output:
        """How the result is stored."""

    def velocity_of(self, result: str) -> ResultVelocity:
        """The velocity of the result in a file."""


def build_simulation(parts: Parts, stages: Stages) -> Simulation:
    """The simulation; raises CaseError naming every stage that cannot be built."""
    if world().size > 1:
        arrange(copied(parts))
        stages.add(list(undivided(parts)))
        stages.finish()
    mesh = _mesh(parts, stages)
    times = _times(parts, stages)
    openings = _openings(parts, stages, mesh)
    facts, problem = _state(parts, stages, mesh, times, openings)
    reference = _reference(parts, stages, facts)
    if parts.start_density.mass_unspecified and not parts.flow.homogeneous:
        stages.add([Fault(_at_start(parts), _MASS_UNSPECIFIED)])
    given = _given(parts, stages, facts, reference)
    initial = stages.require(_at_start(parts), lambda: initial_density(facts, reference))
    placed = problem
    problem = stages.require(
        ("flow",), lambda: parts.flow.placed(placed, parts.start_density, initial.values, reference, times)
    )
    stages.run(("flow",), lambda: require_finite_energy(problem, initial.values, times.save_time(0)))
    stages.finish()
    densities = [initial] if parts.initial is not None else []
    if given:
        densities += given
        problem = dataclasses.replace(problem, given=tuple(density.values for density in given))
    if facts.target is not None:
        densities.append(_target(stages, facts, initial.values, reference))
        problem = dataclasses.replace(problem, target=densities[-1].values)
    start = State.initial(mesh, initial.values, times.save_time(0), openings)
    if not start.remaining > 0:
        stages.require(_at_start(parts), _all_absorbed)
    observables = Observables(
        mesh, {name: Expression(text) for name, text in parts.observe.items()}, dict(parts.parameters)
    )
    for name in parts.observe:
        stages.run(("observe", name), partial(observables.values, name, start.time))
    output = parts.output
    if output.distance:
        from fvflow.wasserstein import require_bounds

        stages.run(("output", "distance"), lambda: require_bounds(mesh))
    if output.evi:
        from fvflow.evi_bounds import EviBounds

        energy = problem.energy(start.time)
        stages.run(("output", "evi"), lambda: EviBounds.of(mesh, energy, start, output.width))
    stages.finish()
    return Simulation(parts.flow, mesh, problem, start, times, parts.output, reference, tuple(densities), observables)


def _at_start(parts: Parts) -> Path:
    """The place in the case that the density at the start comes from."""
    own = parts.flow.own_start
    return ("initial",) if own is None else own[0]


def _given(parts: Parts, stages: Stages, facts: Facts, reference: Reference | None) -> list[PlacedDensity]:
    """The densities beside the initial and the final one, all of the mass of the first."""
    placed: list[PlacedDensity] = []
    for number, (path, kind) in enumerate(parts.flow.given_densities):
        density = stages.run(path, partial(given_density, number, kind, facts, reference, placed[:1]))
        placed += [] if density is None else [density]
    stages.finish()
    return placed


def _all_absorbed() -> None:
    """Refuse a run of nothing: CaseError."""
    raise CaseError("all of its mass is in absorbing cells; move it, or let fewer cells absorb")


def _mesh(parts: Parts, stages: Stages) -> Mesh:
    """The mesh, if solver and memory fit it: these are asked before it is built if its extent is known."""
    extent = parts.mesh.extent
    if extent is not None:
        _check_extent(parts, stages, extent, ("mesh", "cells"))
    mesh = stages.require(("mesh",), lambda: divided(parts.mesh.build(), parts.flow.reach))
    if extent is None:
        _check_extent(parts, stages, mesh.extent, ("mesh",))
    return mesh


def _check_extent(parts: Parts, stages: Stages, extent: Extent, place: Path) -> None:
    frames = parts.schedule.saves + 1
    needed = world().share * stages.require(
        ("flow", "stepper"), lambda: parts.flow.memory(extent) + frames * parts.flow.frame_memory(extent)
    )  # refused if the solver does not fit
    stages.run(place, lambda: _require_memory(needed, extent))
    stages.finish()


def _times(parts: Parts, stages: Stages) -> TimeGrid:
    """The times of the run, which goes on from those of a file if something depends on the clock."""
    exact = parts.exact
    if parts.flow.steady(dict(parts.parameters)) and (exact is None or exact.stationary):
        return parts.schedule
    stored = stages.require(_at_start(parts), lambda: parts.start_density.stored_time() or 0.0)
    return stages.require(("times",), lambda: parts.schedule.starting_at(stored))


def _openings(parts: Parts, stages: Stages, mesh: Mesh) -> Openings | None:
    """Where mass leaves for good; None if it does not."""
    found = stages.run(_at_openings(parts), lambda: openings_of(parts, mesh))
    stages.finish()
    if found is None and parts.flow.needs_openings:
        stages.add([Fault(("flow", "target"), _NO_TARGET)])
    return found


def _at_openings(parts: Parts) -> Path:
    """The place in the case that openings come from."""
    return ("walls" if parts.walls else "absorbing" if parts.absorbing_sets else "flow",)


def _state(parts: Parts, stages: Stages, mesh: Mesh, times: TimeGrid, openings: Openings | None) -> tuple[Facts, Any]:
    """The facts that closed forms are asked by, and the problem in arrays."""
    flow, names = parts.flow, dict(parts.parameters)
    mass = stages.run(_at_start(parts), lambda: total_mass(parts.start_density, mesh, names))
    problem = stages.require(("flow",), lambda: flow.problem(mesh, names, times.save_time(0)))
    if (result := flow.moved_by) is not None:
        problem = stages.require(("flow", "velocity"), lambda: flow.moved(problem, parts.velocity_of(result), times))
    if openings is not None:
        problem = stages.require(_at_openings(parts), lambda: flow.opened(problem, openings))
    assert mass is not None
    facts = Facts(
        mesh,
        flow.drift(names),
        flow.linear_diffusion(),
        mass,
        parts.start_density,
        flow.power_laws(),
        times.length,
        flow.kernels(names),
        flow.end_density,
        names,
        flow.undescribed(),
        times.save_time(0),
        openings,
        times.stop,
    )
    return facts, problem


def _reference(parts: Parts, stages: Stages, facts: Facts) -> Reference | None:
    exact = parts.exact
    return None if exact is None else stages.require(("exact",), lambda: exact.on(facts))


def _target(stages: Stages, facts: Facts, initial: Array, reference: Reference | None) -> PlacedDensity:
    """The density that the problem ends at, which a closed form has to end at too."""
    target = stages.require(("flow", "target"), lambda: target_density(facts, reference, initial))
    if reference is not None:
        stages.run(("exact",), lambda: require_end(facts, reference, target.values))
        stages.finish()
    return target


def _require_memory(needed: float, extent: Extent) -> None:
    """Refuse a mesh for which the machine has too little memory."""
    if needed < _LITTLE:
        return
    free = available_memory()
    if needed > free:
        numbers = f"{needed / 2**30:.2g} GiB, {free / 2**30:.2g} are free"
        raise CaseError(f"{extent.cells} cells need about {numbers}; use fewer")


def openings_of(parts: Parts, mesh: Mesh) -> Openings | None:
    """Where mass leaves a mesh for good, by the case and its flow; None if it does not."""
    walls, cells = parts.flow.absorbing(parts.walls, parts.absorbing_sets)
    return case_openings(mesh, walls, cells, dict(parts.parameters))


def problem_of(parts: Parts, mesh: Mesh, openings: Openings | None, start: float) -> Any:
    """The problem of a case in arrays, from a time on."""
    problem = parts.flow.problem(mesh, dict(parts.parameters), start)
    return problem if openings is None else parts.flow.opened(problem, openings)
