"""Metrics by the equation of the reference: what a density has to fulfil, whether or not it is near the reference."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

import numpy as np

from fvflow.case import measure, residual
from fvflow.diagnostics import dissipation
from fvflow.errors import NumericsError
from fvflow.evi import EviMonitor
from fvflow.mesh import Array
from fvflow.problems import State
from fvflow.studies.score.metric import Comparison, Metric, Noise, Reading
from fvflow.studies.score.predictions import DENSITIES, DensityPrediction


class LawMetric(Metric):
    """A metric of the densities at all times together."""

    takes = DENSITIES
    needs_density = True
    least_times: ClassVar[int] = 2

    def own_fault(self, comparison: Comparison) -> str:
        """That there are too few times, or several members."""
        if len(comparison.frames) < self.least_times:
            return f"needs {self.least_times} times or more, and there are {len(comparison.frames)}; give more"
        if len(comparison.densities(comparison.frames[0])) > 1:
            return "takes one density at each time; give one member of the batch"
        return self.law_fault(comparison)

    def law_fault(self, comparison: Comparison) -> str:
        """What else is missing, as `fault`."""
        return ""

    @abstractmethod
    def reading(self, comparison: Comparison) -> Reading:
        """The score."""


def dataset_of(comparison: Comparison) -> Any:
    """The densities of a prediction as a dataset like that of the reference, without what else it has in time."""
    ds, frames = comparison.reference.ds, list(comparison.frames)
    rho = ds["rho"]
    values = np.stack([comparison.densities(frame)[0] for frame in frames]).reshape(len(frames), *rho.shape[1:])
    static = ds.drop_dims("time")
    found = static.assign_coords(time=ds["time"].values[frames]).assign(rho=(rho.dims, values))
    found.attrs, found.encoding = dict(ds.attrs), dict(ds.encoding)
    return found


class WeakResidual(LawMetric):
    """How far the densities are from the equation of the case in weak form."""

    name = "weak-residual"
    definition = (
        "max over phi, t of |int phi (q(t) - q(0)) - int_0^t d/dt int phi q|/(mass max |phi|), by Simpson's rule"
    )
    source = "`fvflow.residual`; the notes, equation (12)"
    least_times = 3

    def law_fault(self, comparison: Comparison) -> str:
        """That the flow has no rate of change."""
        flow = comparison.reference.case.flow
        if flow.stores_fluxes and flow.steps_in_time:
            return ""
        return f"needs a rate of change that depends on rho alone, and flow {flow.kind} has none"

    def reading(self, comparison: Comparison) -> Reading:
        """The largest residual by Simpson's rule; details have that by the trapezoidal rule."""
        found = {rule: float(each.max()) for rule, each in residual(dataset_of(comparison)).residual.items()}
        return Reading(found.get("simpson", found["trapezoid"]), (), found)


class Continuity(LawMetric):
    """How far momenta that come with the densities are from moving them."""

    name = "continuity"
    definition = "largest residual of |K| (q(t) - q(s)) + (t - s) sum of the mean fluxes out of K, over the mass"
    source = "`fvflow.measure`; the notes, equations (44)-(46)"

    def law_fault(self, comparison: Comparison) -> str:
        """That there are no momenta."""
        prediction = comparison.prediction
        if isinstance(prediction, DensityPrediction) and prediction.fluxes:
            return ""
        return "needs momenta m_x, m_y, m_z or flux_mean beside rho and time; add them to the file"

    def reading(self, comparison: Comparison) -> Reading:
        """The residual."""
        prediction = comparison.prediction
        assert isinstance(prediction, DensityPrediction)
        found = measure(dataset_of(comparison).assign(prediction.fluxes), case=comparison.reference.case)
        assert found.by_fluxes is not None
        return Reading(float(found.by_fluxes.residual))

    def noise(self, comparison: Comparison, draws: int) -> Noise:
        """None."""
        return Noise(0.0, 0.0, 1)


class EnergyMetric(LawMetric):
    """A metric of the energy of the case."""

    def law_fault(self, comparison: Comparison) -> str:
        """That the case has no energy, or densities are negative."""
        reference = comparison.reference
        problem = reference.problem
        if not hasattr(problem, "energy") or problem.energy(float(reference.times[0])) is None:
            return f"needs an energy, and flow {reference.case.flow.kind} of the reference has none"
        if problem.openings is not None:
            return "needs closed walls, and mass leaves through those of the reference"
        least = min(float(comparison.densities(frame).min()) for frame in comparison.frames)
        return f"needs densities >= 0, and the least is {least:.3g}" if least < 0 else self.energy_fault(comparison)

    def energy_fault(self, comparison: Comparison) -> str:
        """What else is missing, as `fault`."""
        return ""


class EnergyDissipation(EnergyMetric):
    """How far the energy is from falling at the rate of its dissipation."""

    name = "energy-dissipation"
    definition = "sum of |E(t) - E(s) + (t - s)(D(s) + D(t))/2|, D the dissipation, over |E(first) - E(last)| of p"
    source = "Ambrosio, Gigli, Savare, Gradient flows, 2005, energy dissipation equality; the notes, equation (139)"

    def reading(self, comparison: Comparison) -> Reading:
        """The defect; details have the largest increase of the energy between two times."""
        reference = comparison.reference
        times = [float(reference.times[frame]) for frame in comparison.frames]
        own = [comparison.densities(frame)[0] for frame in comparison.frames]
        energy = [self._energy(comparison, density, time) for density, time in zip(own, times, strict=True)]
        rate = [dissipation(reference.problem, density, time) for density, time in zip(own, times, strict=True)]
        change, length = np.diff(energy), np.diff(times)
        defect = float(np.abs(change + 0.5 * length * (np.array(rate[1:]) + rate[:-1])).sum())
        ends = [comparison.frames[0], comparison.frames[-1]]
        start, end = (self._energy(comparison, reference.density(f), float(reference.times[f])) for f in ends)
        if start == end:
            raise NumericsError("energy-dissipation: the energy of the reference does not change; score other times")
        return Reading(defect / abs(end - start), tuple(energy), {"largest_increase": float(change.max())})

    def _energy(self, comparison: Comparison, density: Array, time: float) -> float:
        return float(comparison.reference.problem.energy(time).value(density))


class EvolutionInequality(EnergyMetric):
    """The largest violation of the evolution variational inequality, on a line."""

    name = "evi"
    definition = "max over steps and two s of (W2^2(q', s) - W2^2(q, s))/(2 tau) + lambda W2^2(q', s)/2 + E(q') - E(s)"
    source = "Ambrosio, Gigli, Savare, Gradient flows, 2005, theorem 4.0.4; `EviMonitor` in fvflow/evi.py"

    def energy_fault(self, comparison: Comparison) -> str:
        """That the mesh is no line, the energy is not convex, or masses differ."""
        if self._monitor(comparison) is None:
            return "needs a line with walls at its ends, entropies, power laws and a potential"
        masses = [comparison.reference.mesh.volume @ comparison.densities(frame)[0] for frame in comparison.frames]
        return "" if np.ptp(masses) <= 1e-9 * max(masses) else "needs one mass at all times; see the metric mass"

    def _monitor(self, comparison: Comparison) -> EviMonitor | None:
        reference, frame = comparison.reference, comparison.frames[0]
        time = float(reference.times[frame])
        start = State.initial(reference.mesh, comparison.densities(frame)[0], time)
        return EviMonitor.of(reference.mesh, reference.problem.energy(time), start)

    def reading(self, comparison: Comparison) -> Reading:
        """The largest left side less right side: at most 0 for exact JKO steps from each time to the next."""
        monitor, reference = self._monitor(comparison), comparison.reference
        assert monitor is not None
        for frame in comparison.frames:
            time = float(reference.times[frame])
            monitor(State.initial(reference.mesh, comparison.densities(frame)[0], time))
        return Reading(float(monitor.evi_defect), (), {"convexity": monitor.modulus})
