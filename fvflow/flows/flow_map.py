"""The flow map of a velocity, for many points at once."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal

import numpy as np
from annotated_types import MaxLen, MinLen

from fvflow.errors import CaseError, NumericsError
from fvflow.exact import Reference
from fvflow.fields import DensityKind, Drift, Function, Parameters, files_of
from fvflow.flows.base import BaseFlow
from fvflow.flows.drift_keys import drift_of, require_axes
from fvflow.flows.flow_map_problem import FlowMapProblem, OfResult
from fvflow.flows.starting_points import Points
from fvflow.lagrangian.extended import PeriodicVelocity, ReflectedVelocity, folded
from fvflow.lagrangian.flow_map import Integrator, ResultVelocity
from fvflow.lagrangian.identities import determinant_gap
from fvflow.march import Progress, given_steps, march
from fvflow.mesh import Array, Extent, Mesh, cells_of
from fvflow.problems import OutputVariable, State
from fvflow.times import TimeGrid, Times

_NEIGHBOURED = 100  # points at most whose Jacobian is found by differences too
_STEP = 1e-3  # of central differences of tables, relative to the smallest distance of centres


@dataclass(frozen=True)
class FlowMapFlow(BaseFlow):
    """dX/dt = v(X, t), v = -grad(potential) + velocity + (d_y stream, -d_x stream) + tilt, for many points at once.

    The map T_t takes a point x to X(t), X(start) = x. Beside the positions the result has log det of its Jacobian,
    d log det(dT)/dt = div v(X, t), and the log of the density along the path, that of `initial` (constant in each cell)
    less log det; rho is the histogram of the points on the mesh. Backward, the points and `initial` are those at the
    end, and the path leads back to the start. The notes, equations (3)-(4) and (20)-(24).
    """

    points: Points
    """Where the points begin: {kind: grid}, {kind: file} or {kind: initial}."""
    potential: Function | None = None
    """Potential V of the velocity -grad V, an expression in x, y, z, t or a table."""
    velocity: Annotated[tuple[Function, ...], MinLen(1), MaxLen(3)] | OfResult | None = None
    """Velocity, one expression or table per axis, or {of: NAME.nc} for that of a result."""
    stream: Function | None = None
    """Stream function psi in 2D, an expression or a table; adds (d_y psi, -d_x psi)."""
    tilt: Annotated[tuple[float, ...], MinLen(1), MaxLen(3)] | None = None
    """Constant velocity, one number per axis, which is added."""
    direction: Literal["forward", "backward"] = "forward"
    """Whether the points are given at the start and move forward, or at the end and move backward in time."""
    integrator: Integrator = Integrator()
    """How paths are computed."""
    outside: Literal["refuse", "tell"] = "refuse"
    """What happens if a point leaves the mesh: the run is refused, or goes on, and tells their share."""
    kind: Literal["flow-map"] = "flow-map"
    needs_initial: ClassVar[bool] = False
    refinement_fault = "its paths depend on neither mesh nor steps; compare two values of integrator.tolerance"
    homogeneous = True
    figures: ClassVar[Mapping[str, str]] = {"outside": "", "determinant_gap": "with a velocity of its own"}

    def __post_init__(self) -> None:
        others = {"potential": self.potential, "stream": self.stream, "tilt": self.tilt}
        given = [name for name, part in others.items() if part is not None]
        if self.moved_by is not None and given:
            raise CaseError(f"velocity {{of: ...}} is that of a result; leave out {', '.join(given)}")
        if self.velocity is None and not given:
            raise CaseError("there is no velocity; give velocity, potential, stream or tilt")

    def has_figure(self, name: str) -> bool:
        """Whether a run computes this figure."""
        return super().has_figure(name) and (name != "determinant_gap" or self.moved_by is None)

    @property
    def moved_by(self) -> str | None:
        """Path of the result whose velocity moves the points; None if the case has one of its own."""
        return self.velocity.of if isinstance(self.velocity, OfResult) else None

    @property
    def _components(self) -> tuple[Function, ...] | None:
        """The velocity as functions, one per axis; None if there is none, or if it is that of a result."""
        return None if isinstance(self.velocity, OfResult) else self.velocity

    @property
    def at_walls(self) -> str:
        """Nothing holds the points back."""
        return "none for the points, which may leave" if self.moved_by is None else ""

    @property
    def files(self) -> tuple[str, ...]:
        """Paths of the tables, the result and the points."""
        of_result = () if self.moved_by is None else (self.moved_by,)
        tables = files_of(self.potential, self.stream, *(self._components or ()))
        return (*tables, *of_result, *self.points.files)

    @property
    def steps_in_time(self) -> bool:  # type: ignore[override]
        """Whether a run can go on from any state: forward."""
        return self.direction == "forward"

    @property
    def looks_ahead(self) -> bool:  # type: ignore[override]
        """Whether positions depend on the end of the run: backward."""
        return self.direction == "backward"

    def drift(self, parameters: Parameters) -> Drift:
        """The velocity as functions; none of it if it is that of a result."""
        return drift_of(self.potential, self._components, self.stream, self.tilt, parameters)

    def steady(self, parameters: Parameters) -> bool:
        """Whether the velocity does not depend on t; that of a result does."""
        return self.moved_by is None and super().steady(parameters)

    def schedule(self, times: Times | None) -> Times:
        """The times of the run; raises CaseError if there are none, or steps chosen by their error."""
        found = super().schedule(times)
        assert isinstance(found, Times)
        if found.adaptive is not None:
            raise CaseError("the integrator chooses its steps within each step that is given: write step: 0.1, say")
        return found

    def problem(self, mesh: Mesh, parameters: Parameters, start: float = 0.0) -> FlowMapProblem:
        """The problem in arrays; raises CaseError if the velocity or the points do not fit the mesh."""
        try:
            points = self.points.on(mesh)
        except CaseError as error:
            raise CaseError(str(error)).at("flow", "points") from None
        if self.moved_by is not None:
            return FlowMapProblem(mesh, velocity=None, points=points)
        if mesh.revolution is not None:
            raise CaseError(
                "log_det of a velocity by formulas is that of lines and planes, and x is a radius; use a box, or the "
                "velocity {of: NAME.nc} of a result"
            ).at("flow", "velocity")
        drift = self.drift(parameters)
        require_axes(mesh, drift)
        drift.require_joined(mesh, start)
        step = _STEP * float(mesh.distance.min(initial=np.ptp(mesh.points, axis=0).max()))
        found = drift.motion(mesh.dimension, step)
        velocity = PeriodicVelocity(mesh, found) if mesh.periodic else found
        velocity.velocity_and_divergence(mesh.centre[:1], start)  # refused before the run if it has none
        return FlowMapProblem(mesh, velocity=velocity, points=points)

    def placed(
        self, problem: FlowMapProblem, density: DensityKind, values: Array, reference: Reference | None, times: TimeGrid
    ) -> FlowMapProblem:
        """The problem with the density that points may be drawn from."""
        return replace(problem, density=values)

    def moved(self, problem: FlowMapProblem, velocity: ResultVelocity, times: TimeGrid) -> FlowMapProblem:
        """The problem with the velocity of a result; raises CaseError if it has other dimensions or times."""
        known, mesh = velocity.mesh, problem.mesh
        if known.dimension != mesh.dimension:
            raise CaseError(f"{self.moved_by} has {known.dimension} dimension(s), the mesh {mesh.dimension}")
        if known.revolution != mesh.revolution:
            raise CaseError(f"x is a radius in one of the meshes, of {self.moved_by} and of the case; give the same")
        if not velocity.start <= times.save_time(0) < times.stop <= velocity.end:
            raise CaseError(
                f"{self.moved_by} goes from t = {velocity.start:g} to {velocity.end:g}, the run from "
                f"{times.save_time(0):g} to {times.stop:g}; give times within"
            )
        if not velocity.reflects:
            return replace(problem, velocity=velocity)
        return replace(problem, velocity=ReflectedVelocity(known, velocity), closed=known)

    @property
    def score_fault(self) -> str:
        """That rho is counted."""
        return "rho of flow flow-map is counted, and its gradient depends on where the points begin; leave score out"

    def positive_step(self, problem: FlowMapProblem) -> float:
        """Infinite: a histogram is not negative."""
        return math.inf

    def particles(self, problem: FlowMapProblem) -> int:
        """Number of points."""
        return problem.points.count

    def particle_fields(self, problem: FlowMapProblem) -> dict[str, OutputVariable]:
        """Positions, log det and log density."""
        return {
            "position": OutputVariable(("particle", "axis"), "position"),
            "log_det": OutputVariable(("particle",), "log of the Jacobian determinant of the map to here", signed=True),
            "log_density": OutputVariable(("particle",), "log of the density along the path", signed=True),
        }

    def states(
        self, problem: FlowMapProblem, initial: State, times: Times, progress: Progress | None = None
    ) -> Iterator[State]:
        """Every state of the run; backward the saved ones."""
        if self.direction == "backward":
            yield from self._backward(problem, initial, times)
            return

        def step(state: State, length: float) -> State:
            return self._moved(problem, replace(state, step=state.step + 1), state.time + length)

        first = initial if initial.particles else self._placed(problem, initial, initial.time)
        for state in march(step, first, times, problem.mesh.volume, 1):
            last = state.time == times.end
            yield self._finished(problem, state, (times.save_time(0), times.end), state) if last else state

    def _backward(self, problem: FlowMapProblem, initial: State, times: Times) -> Iterator[State]:
        """The saved states, from the start on, which are computed from the end on."""
        steps = list(given_steps(times, times.save_time(0)))
        begins, saves = [times.save_time(0), *(end for _, end in steps[:-1])], set(times.save_times)
        state = self._placed(problem, initial, times.end)
        found = [state]
        for begin in begins[::-1]:
            state = self._moved(problem, state, begin)
            if begin in saves:
                found.append(replace(state, time=begin))
        for saved in (replace(each, step=index) for index, each in enumerate(found[::-1])):
            last = saved.time == times.end
            yield self._finished(problem, saved, (times.end, times.save_time(0)), found[-1]) if last else saved

    def _placed(self, problem: FlowMapProblem, initial: State, time: float) -> State:
        """The state in which the points are given."""
        mesh, points = problem.mesh, problem.points.positions(initial.density)
        if problem.closed is not None and (outside := int((cells_of(problem.closed, points) < 0).sum())):
            raise NumericsError(f"{outside} of {len(points)} points are outside the mesh of {self.moved_by}")
        given = problem.points
        with np.errstate(divide="ignore"):
            log_density = np.log(initial.density[cells_of(mesh, points)])
        carried = {
            "position": points,
            "log_det": np.zeros(len(points)) if given.log_det is None else given.log_det,
            "log_density": log_density if given.log_density is None else given.log_density,
        }
        return self._counted(problem, replace(initial, time=time, particles=carried))

    def _moved(self, problem: FlowMapProblem, state: State, time: float) -> State:
        """The state at another time."""
        assert problem.velocity is not None
        mesh, carried = problem.mesh, state.particles
        position, log_det = self.integrator.carried(
            problem.velocity,
            carried["position"],
            carried["log_det"],
            state.time,
            time,
            size=float(np.ptp(mesh.points, axis=0).max()),
        )
        if problem.closed is not None:
            position, _ = folded(problem.closed, position)
        position = mesh.inside_period(position)
        density = carried["log_density"] + (carried["log_det"] - log_det)
        moved = {"position": position, "log_det": log_det, "log_density": density}
        return self._counted(problem, replace(state, time=time, particles=moved))

    def _counted(self, problem: FlowMapProblem, state: State) -> State:
        """The state with the histogram of its points for a density; raises NumericsError if one has left the mesh."""
        mesh, cell = problem.mesh, cells_of(problem.mesh, state.particles["position"])
        inside = cell[cell >= 0]
        if len(inside) < len(cell) and self.outside == "refuse":
            raise NumericsError(
                f"{len(cell) - len(inside)} of {len(cell)} points have left the mesh at t = {state.time:g}; use a mesh "
                "that holds their paths, or outside: tell"
            )
        count = np.bincount(inside, minlength=mesh.cells)
        return replace(state, density=state.mass / len(cell) * count / mesh.volume)

    def _finished(self, problem: FlowMapProblem, state: State, span: tuple[float, float], moved: State) -> State:
        """The last state, with the share of the points that are outside the mesh, and the error of log det.

        `moved` is the state at the end of the paths, which go from the first time of `span` to the other.
        """
        figures = {"outside": float((cells_of(problem.mesh, state.particles["position"]) < 0).mean())}
        if self.moved_by is None:
            figures["determinant_gap"] = self._determinant_gap(problem, span, moved.particles["log_det"])
        return replace(state, figures=figures)

    def _determinant_gap(self, problem: FlowMapProblem, span: tuple[float, float], log_det: Array) -> float:
        """How far log det is from that of central differences of paths beside some points; nan if one has no end."""
        mesh, velocity = problem.mesh, problem.velocity
        assert velocity is not None
        assert problem.density is not None
        start = problem.points.positions(problem.density)
        chosen = slice(None, None, -(-len(start) // _NEIGHBOURED))
        size = float(np.ptp(mesh.points, axis=0).max())
        distance = size * self.integrator.tolerance ** (1 / 3)  # errors of differences and of paths are alike
        shifts = distance * np.eye(mesh.dimension)[:, None]
        beside = np.concatenate([start[chosen] + shifts, start[chosen] - shifts]).reshape(-1, mesh.dimension)
        try:
            ends, _ = self.integrator.carried(velocity, beside, np.zeros(len(beside)), *span, size=size)
        except NumericsError:
            return math.nan
        plus, minus = ends.reshape(2, mesh.dimension, -1, mesh.dimension)
        return determinant_gap(mesh, plus, minus, distance, log_det[chosen])

    def error_in_time_note(self, problem: FlowMapProblem, times: TimeGrid) -> str:
        """The tolerance."""
        return f"at most {self.integrator.tolerance:g} of the size of the domain in each step of the integrator"

    def describe(self, extent: Extent) -> str:
        """A phrase that describes the scheme."""
        back = ", backward from the end" * (self.direction == "backward")
        return f"paths of points by the Runge-Kutta pair {self.integrator.method}{back}"
