"""The parts of one member of a family, its own and those that all members share, and its run."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fvflow.case.checks import Output
from fvflow.case.numbers import require_size
from fvflow.case.simulation import Simulation
from fvflow.exact import AtEquilibrium, FromExact
from fvflow.fields import Density, DensityKind, Expression
from fvflow.flows import BaseFlow
from fvflow.mesh import Extent, Mesh, MeshDescription
from fvflow.problems import State
from fvflow.run_statistics import RunStatistics
from fvflow.times import TimeGrid
from fvflow.walls import CellSet, Wall

FIGURES = ("mass_drift", "minimum", "mass_correction", "time_error")
"""The figures of each member, nan where one is not known."""


@dataclass(frozen=True)
class Start:
    """What is validated of a start on its own."""

    initial: Density | AtEquilibrium | FromExact


@dataclass(frozen=True)
class Built(MeshDescription):
    """A mesh that has been built."""

    mesh: Mesh
    kind: str = "built"

    @property
    def extent(self) -> Extent:
        """That of the mesh."""
        return self.mesh.extent

    def build(self) -> Mesh:
        """The mesh."""
        return self.mesh


@dataclass(frozen=True)
class Member:
    """The parts of a member: its own, and those of the family."""

    case: Any
    mesh: Built
    flow: BaseFlow
    initial: DensityKind | None
    parameters: Mapping[str, float]
    exact: None = None
    output: Output = Output()
    observe: Mapping[str, str | float] = dataclasses.field(default_factory=dict)

    @property
    def start_density(self) -> DensityKind:
        """The density at the start."""
        return self.flow.start_density(self.initial)

    @property
    def schedule(self) -> TimeGrid:
        """The times of the family."""
        found: TimeGrid = self.case.schedule
        return found

    @property
    def walls(self) -> Mapping[str, Wall]:
        """The walls of the family."""
        found: Mapping[str, Wall] = self.case.walls
        return found

    @property
    def absorbing_sets(self) -> tuple[CellSet, ...]:
        """The cells that absorb."""
        found: tuple[CellSet, ...] = self.case.absorbing_sets
        return found

    def velocity_of(self, result: str) -> Any:
        """The velocity of the result in a file."""
        return self.case.velocity_of(result)


def run_member(simulation: Simulation, out: Any) -> RunStatistics:
    """Run a simulation that is fresh, without frames, its densities into an array (time, cell); what was watched.

    At once if it can, otherwise from state to state.
    """
    statistics, monitor = simulation.statistics, simulation.statistics.time_error
    if not simulation.sees_every_step(statistics) and (monitor is None or monitor.kept == 1):
        journey = simulation.flow.travel(simulation.problem, simulation.initial, simulation.times, monitor, out)
        if journey is not None:
            statistics(simulation.initial)
            statistics.mass_drift = max(statistics.mass_drift, journey.drift)
            statistics.minimum = min(statistics.minimum, journey.lowest)
            statistics.correction = journey.correction
            if monitor is not None:
                monitor.largest = journey.error
            return statistics
    for index, state in enumerate(_saved_states(simulation, statistics)):
        out[index] = state.density
    return statistics


def _saved_states(simulation: Simulation, statistics: RunStatistics) -> Iterator[State]:
    """The states at saved times, with the figures of the steps between them."""
    flow, problem, initial, times = simulation.flow, simulation.problem, simulation.initial, simulation.times
    saves, states = 0, simulation.leaping(statistics, lambda ends: [False] * len(ends))
    for state in states or flow.states(problem, initial, times):
        statistics(state)
        if saves <= times.saves and state.time == times.save_time(saves):
            if statistics.time_error is not None:
                statistics.time_error.saved()
            yield state
            saves += 1


def figures_of(statistics: RunStatistics) -> list[float]:
    """The `FIGURES` of a run."""
    known = statistics.summary()
    return [float(known.get(name, math.nan)) for name in FIGURES]


def is_number(value: Any) -> bool:
    """Whether a plain value is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def in_range(value: float) -> bool:
    """Whether a number is of a size to compute with: `require_size`."""
    try:
        return require_size(value) == value
    except ValueError:
        return False


def copied(value: Any) -> Any:
    """Plain values, copied."""
    if isinstance(value, Mapping):
        return {name: copied(part) for name, part in value.items()}
    return [copied(part) for part in value] if isinstance(value, list) else value


def put(values: Any, path: Sequence[str], value: Any) -> None:
    """Set a value at a path that the first member has."""
    for step in path[:-1]:
        values = values[int(step)] if isinstance(values, list) else values[step]
    values[int(path[-1]) if isinstance(values, list) else path[-1]] = value


def in_numbers(written: Any, resolved: Any) -> frozenset[str]:
    """The parameters that numbers are expressions of: texts as they are written, where there is a number."""
    if isinstance(written, str):
        return Expression(written).names if is_number(resolved) else frozenset()
    if isinstance(written, Mapping) and isinstance(resolved, Mapping):
        pairs = [(value, resolved.get(name)) for name, value in written.items()]
    elif isinstance(written, list) and isinstance(resolved, list):
        pairs = list(zip(written, resolved, strict=False))
    else:
        return frozenset()
    return frozenset[str]().union(*(in_numbers(*pair) for pair in pairs))
