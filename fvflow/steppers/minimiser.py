"""The minimum of one minimising-movement step by a chain of methods, the cheapest first."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np

from fvflow.errors import NumericsError
from fvflow.mesh import Array
from fvflow.problems import State
from fvflow.steppers import implicit_upwind
from fvflow.steppers.carried import Carried
from fvflow.steppers.interior_point import InteriorPoint
from fvflow.steppers.mesh_system import MeshSystemSolver
from fvflow.steppers.newton import NotConverged
from fvflow.steppers.optimality import Certificate, certificate
from fvflow.steppers.step_energy import ContinuedEnergy
from fvflow.steppers.transport_step import Point, TransportStep
from fvflow.steppers.upwind_newton import Hidden, UpwindNewton

_REASON = "neither Newton's method nor the interior point converged"
_ROUND = 15  # iterations of the interior point after which Newton's method is tried from its iterate
_PATIENCE = 35  # largest number of iterations of Newton's method from any start but the prediction
_LONG = 1e7, 1e9, 1e10, 1e11  # lengths beyond which steps may be at rest, in units of the squared width over rho E''


class TooLong(NumericsError):
    """A step so long that double precision does not hold its potential; half of it would be no better."""


def _brisk(iteration: int) -> float:
    """A fifth of a digit an iteration, of which a thousandth is left after thirty."""
    return np.inf if iteration < 4 else 10.0 ** (3 - iteration / 5)


def _patient(iteration: int) -> float:
    return np.inf if iteration < _PATIENCE else 0.0


@dataclass(frozen=True, eq=False)
class Minimiser:
    """(state, length, step, energy) -> the minimum of energy plus transport cost, for `LJKO`.

    1. Newton's method from the prediction, while it has gained a fifth of a digit an iteration, or soon will have.
       Where it has solved the equations, but the round-off of phi hides the minimum, it goes on from there once the
       energy is shifted.
    2. A primal-dual interior point, which knows nothing of the step before: at most `iterations`, or more while its
       barrier falls fast, and Newton's method from there after each fifteen.
    3. The implicit upwind step by continuation in the length, of the same order and with a solution for any data, and
       Newton's method from that.

    A potential of Newton's method or of the interior point has to pass one strict test, `Certificate.accepted`; the
    density is the one that the potential carries. If none does, the step is the implicit upwind one, which does not
    minimise: its certificate says how far it is from that. From 2. on the energy is shifted so that E' = 0 has the
    mass: where the density is close to equilibrium, phi is then close to 0, and its differences are free of round-off.

    The transport cost varies E' over a mesh of the width L by about L^2/(2 tau). A step longer than 1e7 L^2/(rho E'')
    is therefore solved as one of that length, and its potential scaled so that it carries the same density in the whole
    step, where it has to pass the same test; if it does not, as where mass has to cross vacuum, as a longer one.
    """

    tolerance: float
    iterations: int
    system: MeshSystemSolver
    predict: Callable[[State, float], Array]

    def __call__(self, state: State, length: float, step: TransportStep, energy: ContinuedEnergy) -> Carried:
        """The density and its potential; raises NumericsError if every method fails."""
        width = np.ptp(step.mesh.centre, axis=0)
        unit = float(width @ width) / energy.stiffness if energy.stiffness > 0 else math.inf  # it may underflow
        if not length > _LONG[0] * unit > 0.0:
            return self._minimum(state, length, step, energy)
        for multiple in _LONG:
            part = min(1.0, multiple * unit / length)
            with suppress(NumericsError):
                return self._at_rest(state, length, part, step, energy)
            if part == 1.0:
                break
        raise TooLong(f"so long a step is beyond double precision; use one of at most {_LONG[0] * unit:.1g}")

    def _at_rest(
        self, state: State, length: float, part: float, step: TransportStep, energy: ContinuedEnergy
    ) -> Carried:
        """The minimum of a step which comes to rest in that part of its length; raises NumericsError if it does not."""
        level = energy.level(step.mass)
        energy = energy.shifted(level)
        found = self._minimum(state, part * length, step.scaled(part), energy)
        phi = part * (found.phi + found.level)
        last = certificate(step, energy, phi)
        if not last.accepted:
            raise NumericsError("the step does not come to rest")
        cost, end = step.cost(phi, last.density), step.hamilton_jacobi(phi, step.faces(phi))
        return replace(
            found,
            phi=phi,
            level=level,
            density=last.density,
            dissipated=cost,
            cost=cost,
            end=end,
            optimality=last.optimality,
            gap=last.gap,
        )

    def _minimum(self, state: State, length: float, step: TransportStep, energy: ContinuedEnergy) -> Carried:
        """By the chain of methods."""
        attempts = _Attempts(self.system, self.tolerance, step, energy)
        if found := attempts.newton(attempts.start(self.predict(state, length)), _brisk, explicit=False):
            return found
        try:
            attempts.shift()
            if found := attempts.unhidden():
                return found
            if found := attempts.interior(self.iterations):
                return found
        except NumericsError:
            attempts.switches += 1
        return attempts.implicit_upwind(lambda part: self.predict(state, part * length))


class _Attempts:
    """The methods of `Minimiser` for one step, with the iterations and the changes of method so far."""

    def __init__(
        self, system: MeshSystemSolver, tolerance: float, step: TransportStep, energy: ContinuedEnergy
    ) -> None:
        self._system, self._tolerance, self._step = system, tolerance, step
        self.spent, self.switches = 0, 0
        self._hidden: Point | None = None
        self._level = 0.0
        self._set(energy)

    def _set(self, energy: ContinuedEnergy) -> None:
        self._energy, self._test = energy, _Test(self._step, energy)
        self._newton = UpwindNewton(self._system, self._step, energy)

    def shift(self) -> None:
        """Shift the energy so that the density of E' = 0 has the mass; raises NumericsError if round-off hides it."""
        self._level = self._energy.level(self._step.mass)
        self._set(self._energy.shifted(self._level))

    def start(self, density: Array) -> Point:
        """The first iterate of Newton's method from a density (cell,)."""
        return self._newton.from_density(density)

    def newton(self, start: Point, pace: Callable[[int], float], explicit: bool = True) -> Carried | None:
        """By Newton's method; None if it failed."""
        try:
            self.spent += self._newton.solve(start, self._test, self._tolerance, pace, explicit)
            return self._carried(self._test.phi, self._test.last)
        except NotConverged as failure:
            self.spent, self.switches = self.spent + failure.iterations, self.switches + 1
            self._hidden = failure.point if isinstance(failure, Hidden) else None
        return None

    def unhidden(self) -> Carried | None:
        """By Newton's method from an iterate whose minimum only the round-off of phi has hidden, once it is shifted."""
        if self._hidden is None:
            return None
        phi, density = self._hidden
        return self.newton(Point(phi - self._level, density), _patient)

    def interior(self, iterations: int) -> Carried | None:
        """By the interior point in rounds, and Newton's method after each; None if all failed.

        A round has 15 iterations, or more while the barrier falls fast: the interior point may stay at kinks of the
        equations, where Newton's method does not.
        """
        method = InteriorPoint(self._system, self._step, self._energy)
        point, done = method.start(), 0
        while done < iterations and np.isfinite(point.phi.sum()):
            point, count, solved = method.solve(point, self._test, min(_ROUND, iterations - done))
            self.spent, done = self.spent + count, done + count
            if solved:
                return self._carried(self._test.phi, self._test.last)
            self.switches += 1
            if found := self.newton(method.without_barrier(point), _patient):
                return found
        return None

    def implicit_upwind(self, predict: Callable[[float], Array]) -> Carried:
        """By Newton's method from the implicit upwind step, or else that step itself; raises NotConverged."""
        try:
            phi, density, count = implicit_upwind.solve(self._step, self._energy, predict)
        except NotConverged as failure:
            raise NotConverged(self.spent + failure.iterations, str(failure)) from None
        self.spent += count
        if found := self.newton(Point(phi, np.maximum(density, self._energy.floor)), _patient):
            return found
        other = self._carried(phi, certificate(self._step, self._energy, phi))
        return replace(other, dissipated=2.0 * other.dissipated, fallback=_REASON)

    def _carried(self, phi: Array, last: Certificate) -> Carried:
        cost = self._step.cost(phi, last.density)
        return Carried(
            phi=phi,
            density=last.density,
            dissipated=cost,
            iterations=self.spent,
            optimality=last.optimality,
            gap=last.gap,
            switches=self.switches,
            level=self._level,
            end=self._step.hamilton_jacobi(phi, self._step.faces(phi)),
            cost=cost,
        )


class _Test:
    """Whether the potential of an iterate is optimal; `phi` and `last` are the last one and its certificate."""

    phi: Array
    last: Certificate

    def __init__(self, step: TransportStep, energy: ContinuedEnergy) -> None:
        self._step, self._energy = step, energy

    def __call__(self, point: Point) -> bool:
        self.phi, self.last = point.phi, certificate(self._step, self._energy, point.phi)
        return self.last.accepted
