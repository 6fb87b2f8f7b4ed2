"""Metrics of maps: against the flow of the reference, and by the functional that a step minimises."""

from __future__ import annotations

from math import sqrt
from typing import ClassVar

import numpy as np

from fvflow.case import at
from fvflow.errors import NumericsError
from fvflow.fields import Drift
from fvflow.mesh import Array
from fvflow.problems import GradientFlow, State
from fvflow.steppers import JKO
from fvflow.studies.score.map_prediction import MapPrediction
from fvflow.studies.score.metric import Comparison, Metric, Noise, Reading
from fvflow.studies.score.predictions import MAP, Form
from fvflow.wasserstein import CellwiseDensity, distance_between

_KOROTIN = "Korotin et al., Do neural optimal transport solvers work? A continuous W2 benchmark, NeurIPS 2021"
_LARGEST = 4000  # points of which all pairs interact
_WIDTH = 1e-3  # relative width of the interval around W2
_STEP = JKO(intervals=2)


class L2Uvp(Metric):
    """The unexplained variance of a map, in per cent."""

    name = "l2-uvp"
    definition = "100 mean |T(x) - T*(x)|^2/tr S, T* the flow of the reference, S its covariance at the end, exact"
    source = f"{_KOROTIN}, section 4.2"
    takes = MAP
    usual: ClassVar[tuple[Form, ...]] = (MAP,)

    def reading(self, comparison: Comparison) -> Reading:
        """The percentage."""
        found = comparison.map
        _, covariance = comparison.reference.moments(found.end)
        error = float(((found.images - found.truth) ** 2).sum(axis=1).mean())
        return Reading(100.0 * error / float(np.trace(covariance)))

    def noise(self, comparison: Comparison, draws: int) -> Noise:
        """None: the truth is known at each point."""
        return Noise(0.0, 0.0, 1)


class Cosine(Metric):
    """The cosine of the angle between two displacements, in L2 of the points."""

    name = "cosine"
    definition = "mean (T(x) - x).(T*(x) - x)/(mean |T(x) - x|^2 mean |T*(x) - x|^2)^1/2"
    source = f"{_KOROTIN}, section 4.2"
    takes = MAP
    usual: ClassVar[tuple[Form, ...]] = (MAP,)
    higher = True

    def reading(self, comparison: Comparison) -> Reading:
        """The cosine; raises NumericsError if nothing moves."""
        found = comparison.map
        one, two = found.images - found.points, found.truth - found.points
        size = sqrt(float((one**2).sum(axis=1).mean()) * float((two**2).sum(axis=1).mean()))
        if size == 0:
            raise NumericsError("cosine: one of the maps moves no point, and has no direction; give another map")
        return Reading(float((one * two).sum(axis=1).mean()) / size)

    def noise(self, comparison: Comparison, draws: int) -> Noise:
        """None: the truth is known at each point."""
        return Noise(1.0, 0.0, 1)


class JkoFunctional(Metric):
    """How far the functional of a JKO step is above its minimum by finite volumes, at a map."""

    name = "jko"
    definition = "M mean |T(x) - x|^2/(2 tau) + E(T#rho) less its least value by finite volumes"
    source = "Jordan, Kinderlehrer, Otto, SIAM J. Math. Anal. 29 (1998); the notes, equations (2) and (140)"
    takes = MAP
    usual: ClassVar[tuple[Form, ...]] = (MAP,)

    def own_fault(self, comparison: Comparison) -> str:
        """That log det or an energy is missing, or time goes backward."""
        found = comparison.map
        flow, problem = comparison.reference.case.flow, comparison.reference.problem
        if found.log_det is None:
            return "needs log_det at each point, the log of |det DT|; add it to the file"
        if found.end <= found.start:
            return "takes a map to a later time; give times in ascending order"
        if not hasattr(problem, "energy") or problem.energy(0.0) is None or flow.undescribed():
            return "needs the energy of a gradient flow or of a fokker-planck with a potential; the reference has none"
        drift = flow.drift(dict(comparison.reference.case.parameters))
        if not isinstance(drift, Drift) or drift.regional:
            return "needs a potential that is known at points, and that of the reference is not"
        if flow.kernels({}) and len(found.points) > _LARGEST:
            return f"takes at most {_LARGEST} points where they interact; give fewer"
        return ""

    def reading(self, comparison: Comparison) -> Reading:
        """The excess; details have the functional, its transport cost and energy, and the minimum."""
        cost, energy = self._parts(comparison.map)
        transport, value = float(cost.mean()), float(energy.mean())
        minimum = self._minimum(comparison.map)
        details = {"functional": transport + value, "transport": transport, "energy": value, "minimum": minimum}
        return Reading(transport + value - minimum, (), details)

    def noise(self, comparison: Comparison, draws: int) -> Noise:
        """The standard error of the mean over the points."""
        cost, energy = self._parts(comparison.map)
        spread = float(np.std(cost + energy, ddof=1)) / sqrt(len(cost)) if len(cost) > 1 else 0.0
        return Noise(0.0, spread, len(cost))

    def _parts(self, found: MapPrediction) -> tuple[Array, Array]:
        """The transport cost and the energy (point,) whose means are those of the map."""
        reference, case = found.reference, found.reference.case
        times, mass, names = reference.times, reference.mass(found.start), dict(case.parameters)
        start, tau = float(times[found.start]), float(times[found.end] - times[found.start])
        cost = mass * ((found.images - found.points) ** 2).sum(axis=1) / (2.0 * tau)
        assert found.log_det is not None
        flow = case.flow
        log_density = at(reference.ds).log_density(found.points, start) - found.log_det
        energy = flow.linear_diffusion() * log_density
        drift = flow.drift(names)
        assert isinstance(drift, Drift)
        if drift.potential is not None:
            energy = energy + drift.potential.at(found.images, names, start)
        for factor, exponent in flow.power_laws():
            energy = energy + factor / (exponent - 1.0) * np.exp((exponent - 1.0) * log_density)
        for kernel in flow.kernels(names):
            offset = np.moveaxis(found.images[:, None] - found.images, -1, 0)
            pairs = kernel(*offset).copy()
            np.fill_diagonal(pairs, 0.0)
            energy = energy + 0.5 * mass * pairs.sum(axis=1) / max(len(pairs) - 1, 1)
        return cost, np.asarray(mass * energy)

    def _minimum(self, found: MapPrediction) -> float:
        """E + W2^2/(2 tau) at the end of a step of the same length by finite volumes.

        The step is that of `jko` with two intervals and W2 the middle of its proved interval: since the functional is
        stationary at its minimum, the error of the step, of order tau^2, changes it by its square.
        """
        reference = found.reference
        mesh, times, before = reference.mesh, reference.times, reference.density(found.start)
        start, tau = float(times[found.start]), float(times[found.end] - times[found.start])
        energy = reference.problem.energy(start)
        after = _STEP.start(GradientFlow(mesh, energy))(State.initial(mesh, before, start), tau).density
        w2 = distance_between(CellwiseDensity(mesh, before), CellwiseDensity(mesh, after), _WIDTH)
        return float(energy.value(after)) + (0.5 * (w2.lower + w2.upper)) ** 2 / (2.0 * tau)
