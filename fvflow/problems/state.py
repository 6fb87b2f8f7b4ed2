"""The state of a run, and what is stored of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

import numpy as np

from fvflow.fluxes import FaceResolution
from fvflow.linalg import SolverMemory, inner
from fvflow.mesh import Array, Mesh, Openings

_LEFT_OUT = ("fields", "figures", "memory", "crossed", "movement", "stride")  # in the frame, converted, or summed up


@dataclass(frozen=True)
class OutputVariable:
    """How a quantity is stored: its dimensions besides time, a long name, units; `signed` if 0 is the middle of it."""

    dims: tuple[str, ...]
    long_name: str
    units: str = "1"
    signed: bool = False


class Movement(NamedTuple):
    """What moved the mass in a step that minimises E + W2^2/(2 tau); of a step that was halved, in its last part."""

    before: Array
    """Density (cell,) at its start."""
    length: float
    """tau."""
    potential: Array
    """phi (cell,) at its end, kinetic part included: E'(rho) where there is mass, and v = -grad phi."""
    cost: float
    """W2^2/(2 tau) of the scheme."""


class Stride(NamedTuple):
    """What several steps that were taken at once tell of the states between them."""

    times: tuple[float, ...]
    """The ends of the steps, the last of which is the time of the state after them."""
    before: Array
    """Density (cell,) before the last step."""
    lowest: float
    """The smallest density after any of the steps."""
    drift: float
    """The largest |m/mass - 1|."""
    looked: float = -math.inf
    """The last time within at which the resolution was looked at; minus infinity if it was not."""
    resolution: FaceResolution | None = None
    """The largest numbers of these looks."""


@dataclass(frozen=True, eq=False)
class State:
    """The state of a run after a step: everything that the next step needs, and statistics of the last one."""

    time: float
    """Time t."""
    density: Array
    """rho (cell,)."""
    mass: float
    """Conserved total mass: sum_K |K| rho_K, and what has been absorbed."""
    step: int = 0
    """Number of steps so far."""
    potential: Array | None = None
    """phi (cell,) of the last step; None if the stepper does not compute one."""
    iterations: int = 0
    """Iterations of the linear or nonlinear solver in the last step."""
    correction: float = 0.0
    """Largest relative correction of the mass after the linear solves of the last step."""
    residual: float = 0.0
    """Final residual of the continuity equation in the last step, as a fraction of the mass."""
    optimality: float = 0.0
    """Final residual max |phi + kinetic - E'(rho)| of the last step outside vacuum, relative to the range of E'."""
    gap: float = math.nan
    """Bound on energy plus transport cost of the last step above their minimum, over range of E' times mass; or nan."""
    halvings: int = 0
    """Number of times that the last step was halved because it did not converge."""
    rejections: int = 0
    """Number of longer attempts that error control rejected before the last step."""
    fallback: str = ""
    """Why the last step was taken by a fallback method; empty if it was not."""
    damped: int = 0
    """1 if the last step was damped because the data are rough, otherwise 0."""
    absorption: Array | None = None
    """Mass that remains, and that each group of the mesh's openings has absorbed so far, (2, 1 + group).

    The second row is what rounding has left off the first. None if the mesh has no openings.
    """
    crossed: Array | None = None
    """Mass that left each link's owner for its neighbour in the last step, and each opening (link + opening,).

    None if nobody asks; to ask for that of the steps that follow, give a state zeros.
    """
    movement: Movement | None = None
    """What moved the mass in the last step, if that minimises; else None."""
    previous: Array | None = None
    """Density (cell,) before the last step, for two-step methods."""
    next_length: float = 0.0
    """Length that error control proposes for the next step; 0 if none has been proposed, nan within a step."""
    memory: Mapping[str, SolverMemory] = field(default_factory=dict)
    """What iterative solvers keep from step to step, by the method that uses them."""
    length: float = 0.0
    """Length of the last step, for two-step methods."""
    fields: Mapping[str, Array] = field(default_factory=dict)
    """Further arrays to store at this time, by name."""
    figures: Mapping[str, float] = field(default_factory=dict)
    """Scalar results of the whole run, as far as they are known."""
    dissipated: float = 0.0
    """Transport cost or dissipation of the last step: the part of the energy decrease that the scheme accounts for."""
    switches: int = 0
    """Number of methods that failed before one solved the last step."""
    reduced: int = 0
    """1 if the last step kept less than the order or the accuracy that its method promises, otherwise 0."""

    stride: Stride | None = None
    """What is told of the steps since the state before, if there were several."""
    tally: Array | None = None
    """What a flow has found of the run up to here, for a figure of the whole run; None if it needs nothing."""
    particles: Mapping[str, Any] = field(default_factory=dict)
    """What particles carry, by name, such as `position` (particle, axis): all that the next step needs of them."""
    iterate: Mapping[str, Any] | None = None
    """What a solver that does not advance in time goes on from, in the midst of its iteration; else None."""

    @property
    def remaining(self) -> float:
        """The mass that has not been absorbed."""
        return self.mass if self.absorption is None else float(self.absorption[:, 0].sum())

    @property
    def absorbed(self) -> Array:
        """The mass absorbed so far (group,), by the groups of the mesh's openings; (0,) if it has none."""
        return np.zeros(0) if self.absorption is None else np.asarray(self.absorption[:, 1:].sum(axis=0))

    def to_tree(self) -> dict[str, Any]:
        """What the next step needs, as numbers, texts, arrays and mappings of them: what a checkpoint keeps."""
        kept = {item.name: getattr(self, item.name) for item in fields(self) if item.name not in _LEFT_OUT}
        return {**kept, "memory": {name: memory._asdict() for name, memory in self.memory.items()}}

    @staticmethod
    def from_tree(tree: Mapping[str, Any]) -> State:
        """The state of a tree; raises KeyError if it lacks anything, TypeError if it has what a state has not."""
        given = dict(tree)
        memory = {name: SolverMemory(**kept) for name, kept in given.pop("memory").items()}
        if missing := {item.name for item in fields(State)} - {*given, *_LEFT_OUT}:
            raise KeyError(", ".join(sorted(missing)))
        return State(**given, memory=memory)

    @staticmethod
    def initial(mesh: Mesh, density: Array, time: float = 0.0, openings: Openings | None = None) -> State:
        """The state at the start, at which the mass in absorbing cells is absorbed."""
        mass = inner(mesh.volume, density)
        if openings is None:
            return State(time, density, mass)
        outside = np.where(openings.closed < 0, density, 0.0)
        masses = np.append(inner(mesh.volume, outside), openings.initially_absorbed(mesh, density))
        return State(time, outside, mass, absorption=np.stack([masses, np.zeros_like(masses)]))

    def changed(self, **values: Any) -> State:
        """A copy with other values, as by `dataclasses.replace` but in a tenth of its time, which short steps notice.

        Raises TypeError for names that a state has not.
        """
        copy = object.__new__(State)
        copy.__dict__.update(self.__dict__, **values)
        if len(copy.__dict__) > len(self.__dict__):
            raise TypeError(f"a state has no {', '.join(sorted(values.keys() - self.__dict__.keys()))}")
        return copy

    def advanced(
        self,
        length: float,
        density: Array,
        *,
        potential: Array | None = None,
        iterations: int = 0,
        correction: float = 0.0,
        residual: float = 0.0,
        optimality: float = 0.0,
        gap: float = math.nan,
        dissipated: float = 0.0,
        absorption: Array | None = None,
        crossed: Array | None = None,
        movement: Movement | None = None,
    ) -> State:
        """The state after one more step of this length; statistics of the step that are not given are reset."""
        return self.changed(
            time=self.time + length,
            density=density,
            step=self.step + 1,
            potential=potential,
            iterations=iterations,
            correction=correction,
            residual=residual,
            optimality=optimality,
            gap=gap,
            dissipated=dissipated,
            absorption=absorption,
            crossed=crossed,
            movement=movement,
            stride=None,
            halvings=0,
            switches=0,
            reduced=0,
            rejections=0,
            damped=0,
            fallback="",
        )
