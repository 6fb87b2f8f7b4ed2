"""Methods that move particles: `stepper.start(problem)` returns the step, a function (state, length) -> state.

Particles are taken in blocks of a fixed number, by any number of threads; what becomes of one depends on its number,
the step and the seed alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from fvflow.errors import CaseError, NumericsError
from fvflow.jit import parallel_for
from fvflow.lagrangian.coefficients import STRATONOVICH, Coefficients
from fvflow.lagrangian.philox import NOISE, random_numbers
from fvflow.lagrangian.start import within_cells
from fvflow.lagrangian.walkers import Draw, Walk, Walkers
from fvflow.mesh import Array
from fvflow.problems import State

if TYPE_CHECKING:
    from fvflow.lagrangian.problem import ParticleProblem

Step = Callable[[State, float], State]
"""(state, length of the step) -> the state after the step."""

_BLOCK = 2**13  # particles whose arrays stay in the cache
_DIFFERENCE = 1e-5  # of the size of the mesh: step of the derivatives of tables


class ParticleStepperBase:
    """A method for the stochastic differential equation of a problem, as a case names it."""

    kind: str
    in_cells: ClassVar[bool] = False
    """Whether its law is that of the cells, so that the places in a cell mean nothing."""
    work_grows_with_step: ClassVar[bool] = False
    """Whether a longer step takes more work."""
    description: ClassVar[str] = ""
    """A phrase on the method and its order."""

    def check(self, problem: ParticleProblem) -> None:
        """Raise CaseError if the method does not fit the problem."""
        raise NotImplementedError

    def start(self, problem: ParticleProblem) -> Step:
        """The step as a function; raises CaseError as `check`."""
        raise NotImplementedError

    def saved(self, problem: ParticleProblem, state: State) -> State:
        """The state as it is stored."""
        return state


class _Walking(ParticleStepperBase):
    """Steps along straight lines."""

    def check(self, problem: ParticleProblem) -> None:
        """Raise CaseError for coefficients without values at points, and for meshes and walls that it does not take."""
        self._walk(problem)
        self._coefficients(problem)

    def _walk(self, problem: ParticleProblem) -> Walk:
        from fvflow.lagrangian.box_walk import BoxWalk
        from fvflow.lagrangian.mesh_walk import MeshWalk

        parts = problem.mesh, problem.openings
        try:
            if problem.mesh.revolution is not None:
                raise CaseError("it walks along straight lines, and x is a radius; use stepper: {kind: jump}")
            return BoxWalk.of(*parts) if BoxWalk.takes(*parts) else MeshWalk.of(*parts)
        except CaseError as error:
            raise CaseError(f"stepper {self.kind}: {error}") from None

    def _coefficients(self, problem: ParticleProblem) -> Coefficients:
        size = float(np.ptp(problem.mesh.points, axis=0).max())
        try:
            return Coefficients.of(problem, _DIFFERENCE * size)
        except CaseError as error:
            raise CaseError(f"stepper {self.kind}: {error}") from None

    def start(self, problem: ParticleProblem) -> Step:
        """The step as a function."""
        crowd = _Crowd(problem, self._coefficients(problem), self._walk(problem))

        def step(state: State, length: float) -> State:
            walkers = _copied(state)
            blocks = -(-problem.count // _BLOCK)

            def task(begin: int, end: int) -> None:
                for block in range(begin, end):
                    crowd.move(walkers, slice(block * _BLOCK, (block + 1) * _BLOCK), state, length, self._displacement)

            parallel_for(task, blocks, problem.count)
            return problem.state(state, walkers, length)

        return step

    def _displacement(
        self, crowd: _Crowd, walkers: Walkers, noise: Array, time: float, length: float
    ) -> tuple[Array, Array]:
        """The displacement of each particle by the drift, and the standard deviation of the rest (particle, dim)."""
        raise NotImplementedError


@dataclass(frozen=True)
class EulerMaruyama(_Walking):
    """X + b dt + sqrt(2 D dt) xi in the sense of Ito: weak order 1, at reflecting and absorbing walls too.

    Kloeden, Platen, Numerical Solution of Stochastic Differential Equations, 1992, section 14.1.
    """

    kind: Literal["euler-maruyama"] = "euler-maruyama"
    description: ClassVar[str] = "Euler-Maruyama, weak order 1"

    def _displacement(
        self, crowd: _Crowd, walkers: Walkers, noise: Array, time: float, length: float
    ) -> tuple[Array, Array]:
        drift, spread = crowd.coefficients.at(walkers.position, time)
        return drift * length, spread * np.sqrt(length)


@dataclass(frozen=True)
class StochasticHeun(_Walking):
    """X + (b(X) + b(X*)) dt/2 + (s(X) + s(X*)) sqrt(dt) xi/2 in the sense of Stratonovich, X* the end of Euler's step.

    Weak order 2 away from walls if D is the same everywhere, else 1. Where X* is behind a wall the step is Euler's.
    """

    kind: Literal["stochastic-heun"] = "stochastic-heun"
    description: ClassVar[str] = "stochastic Heun, weak order 2 away from walls where D is uniform, else 1"

    def _displacement(
        self, crowd: _Crowd, walkers: Walkers, noise: Array, time: float, length: float
    ) -> tuple[Array, Array]:
        drift, spread = crowd.coefficients.at(walkers.position, time)
        carried, deviation = drift * length, spread * np.sqrt(length)
        euler = carried + deviation * noise
        outside = crowd.walk.leaves(walkers, euler)
        inside = np.flatnonzero(~outside) if outside.any() else slice(None)
        here = walkers.position[inside]
        ahead = crowd.problem.mesh.inside_period(here + euler[inside])
        if crowd.coefficients.slopes:
            drift[inside], spread[inside] = crowd.coefficients.at(here, time, STRATONOVICH)
        drift_ahead, spread_ahead = crowd.coefficients.at(ahead, time + length, STRATONOVICH)
        carried[inside] = (0.5 * length) * (drift[inside] + drift_ahead)
        deviation[inside] = (0.5 * np.sqrt(length)) * (spread[inside] + spread_ahead)
        return carried, deviation


@dataclass(frozen=True)
class Jump(ParticleStepperBase):
    """Jumps from cell to cell at the rates of the scheme: at saved times the law is exactly that of implicit Euler.

    On any mesh, with any diffusion, walls and absorbing cells that the flux takes. Places within cells are drawn anew
    at each saved time.
    """

    kind: Literal["jump"] = "jump"
    in_cells: ClassVar[bool] = True
    work_grows_with_step: ClassVar[bool] = True
    description: ClassVar[str] = "jumps between cells, whose law is the density of implicit Euler"

    def check(self, problem: ParticleProblem) -> None:
        """Raise CaseError if a rate is negative at the start."""
        from fvflow.lagrangian.jump_process import JumpRates

        try:
            JumpRates.of(problem, problem.start)
        except NumericsError as error:
            raise CaseError(f"stepper {self.kind}: {error}") from None

    def start(self, problem: ParticleProblem) -> Step:
        """The step as a function."""
        from fvflow.lagrangian.jump_process import JumpRates

        openings, dimension = problem.openings, problem.mesh.dimension
        exits = np.zeros((0, dimension)) if openings is None else openings.position
        group = np.zeros(0, np.int32) if openings is None else openings.group
        steady = JumpRates.of(problem, problem.start) if problem.steady else None

        def step(state: State, length: float) -> State:
            walkers = _copied(state)
            rates = steady or JumpRates.of(problem, state.time + length)

            def task(begin: int, end: int) -> None:
                for block in range(begin, end):
                    part = walkers.part(slice(block * _BLOCK, (block + 1) * _BLOCK))
                    rates.run(part, length, state.step, problem.seed, exits, group)

            parallel_for(task, -(-problem.count // _BLOCK), problem.count)
            return problem.state(state, walkers, length)

        return step

    def saved(self, problem: ParticleProblem, state: State) -> State:
        """The state with places in the cells."""
        walkers = _copied(state)
        rows = np.flatnonzero(walkers.group < 0)
        place = within_cells(problem.mesh, rows, walkers.cell[rows], state.step, problem.seed)
        walkers.position[rows] = place
        return problem.with_walkers(state, walkers)


ParticleStepper = EulerMaruyama | StochasticHeun | Jump


@dataclass(frozen=True, eq=False)
class _Crowd:
    """What moves particles along straight lines."""

    problem: ParticleProblem
    coefficients: Coefficients
    walk: Walk

    def move(
        self,
        walkers: Walkers,
        rows: slice,
        state: State,
        length: float,
        displacement: Callable[[_Crowd, Walkers, Array, float, float], tuple[Array, Array]],
    ) -> None:
        """Take a step of those of a block that have not been absorbed, in place."""
        part = walkers.part(rows)
        moving = np.flatnonzero(part.group < 0)
        chosen = part if len(moving) == len(part.group) else part.part(moving)
        dimension, seed = self.problem.mesh.dimension, self.problem.seed
        noise = random_numbers(chosen.number, dimension, state.step, NOISE, seed, normal=True)
        try:
            carried, deviation = displacement(self, chosen, noise, state.time, length)
        except (CaseError, NumericsError) as error:
            raise self._first_fault(chosen, state.time, error) from None
        self._require_short(chosen, carried, state.time, length)
        draw = Draw(state.step, np.uint64(seed))
        if (stuck := self.walk.take(chosen, carried + deviation * noise, deviation, length, draw)) >= 0:
            raise NumericsError(
                f"particle {stuck} met too many faces in the step from t = {state.time:g}; use shorter steps"
            )
        if chosen is not part:
            part.position[moving], part.cell[moving], part.group[moving] = chosen[1:]

    def _first_fault(self, walkers: Walkers, time: float, error: Exception) -> NumericsError:
        """The error of the first particle at which the coefficients have none or an infinite value."""
        for row, number in enumerate(walkers.number):
            place = walkers.position[row : row + 1]
            try:
                self.coefficients.at(place, time)
            except (CaseError, NumericsError) as fault:
                return NumericsError(f"particle {number} at {_place(place[0])}, t = {time:g}: {fault}")
        return NumericsError(f"the step from t = {time:g}: {error}")

    def _require_short(self, walkers: Walkers, carried: Array, time: float, length: float) -> None:
        """Refuse a step in which the drift carries a particle farther than the mesh is wide."""
        size = np.ptp(self.problem.mesh.points, axis=0).max()
        if not max(carried.max(initial=0.0), -carried.min(initial=0.0)) <= size:
            row = int(np.argmax(np.abs(carried).max(axis=1) > size))
            speed = np.abs(carried[row]).max() / length
            raise NumericsError(
                f"particle {walkers.number[row]} at {_place(walkers.position[row])}, t = {time:g}: the velocity is "
                f"{speed:.3g} there, which in a step of {length:g} leads across the whole mesh; use shorter steps, or "
                "a velocity that does not blow up"
            )


def _place(point: Array) -> str:
    return ", ".join(f"{axis} = {value:.6g}" for axis, value in zip("xyz", point, strict=False))


def _copied(state: State) -> Walkers:
    """The particles of a state, in arrays of their own."""
    carried = state.particles
    arrays = (carried[name].copy() for name in ("position", "cell", "absorbed_by"))
    return Walkers(np.arange(len(carried["cell"])), *arrays)
