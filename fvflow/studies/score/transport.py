"""Metrics by optimal transport: of samples, and proved for densities."""

from __future__ import annotations

from math import sqrt
from typing import ClassVar

import numpy as np

from fvflow.studies.score.assignment import line_cost, transport_cost
from fvflow.studies.score.metric import Comparison, Metric, Reading, TimedMetric
from fvflow.studies.score.predictions import DENSITIES, SAMPLES, Form
from fvflow.wasserstein import CellwiseDensity, EmpiricalMeasure, Measure, distance_between

_DIRECTIONS = 100
_WIDTH = 1e-2  # relative width of the interval that is aimed at
_CELLS = 2**16  # of the finest grid on which samples are compared
_SECONDS = 20.0  # after which the interval so far is taken
_SAME_MASS = 1e-5  # relative difference of masses up to which W2 is told, as in files of single precision


class W1(TimedMetric):
    """The Wasserstein distance of order 1, also called EMD."""

    name = "w1"
    definition = "min sum_ij P_ij |x_i - y_j| over plans P, y independent samples of the reference, as many"
    source = "TrajectoryNet and conditional flow matching (`1-Wasserstein`), by ot.emd2 with Euclidean costs"
    takes = SAMPLES
    pairs = True
    usual: ClassVar[tuple[Form, ...]] = (SAMPLES,)

    def at(self, comparison: Comparison, frame: int) -> float:
        """W1 at a time."""
        return transport_cost(comparison.clouds(frame), 1)


class W2(TimedMetric):
    """The Wasserstein distance of order 2."""

    name = "w2"
    definition = "(min sum_ij P_ij |x_i - y_j|^2 over plans P)^1/2, y independent samples of the reference, as many"
    source = "conditional flow matching (`2-Wasserstein`), by ot.emd2 with squared costs"
    takes = SAMPLES
    pairs = True
    usual: ClassVar[tuple[Form, ...]] = (SAMPLES,)

    def at(self, comparison: Comparison, frame: int) -> float:
        """W2 at a time."""
        return sqrt(max(transport_cost(comparison.clouds(frame), 2), 0.0))


class OneStepEmd(Metric):
    """W1 of predictions that start one saved time earlier from the true samples."""

    name = "emd-one-step"
    definition = "mean over the times but the first of the run of w1, of samples predicted from those one time before"
    source = "Terpin, Lanzetti, Gadea, Dorfler, Learning diffusion at lightspeed (JKOnet*), NeurIPS 2024"
    takes = SAMPLES
    pairs = True

    def own_fault(self, comparison: Comparison) -> str:
        """That nothing is predicted but the start."""
        later = any(frame > 0 for frame in comparison.frames)
        return "" if later else "needs a time after the first of the run; give the samples of one"

    def reading(self, comparison: Comparison) -> Reading:
        """The mean, and W1 at each time."""
        later = [frame for frame in comparison.frames if frame > 0]
        found = tuple(transport_cost(comparison.clouds(frame), 1) for frame in later)
        return Reading(float(np.mean(found)), found, {"spread_over_times": float(np.std(found))})


class SlicedW2(TimedMetric):
    """The mean over directions of W2 of projections."""

    name = "sliced-w2"
    definition = f"(mean over {_DIRECTIONS} random unit vectors d of W2^2 of d.x and d.y)^1/2"
    source = "Bonneel, Rabin, Peyre, Pfister, Sliced and Radon Wasserstein barycenters, J. Math. Imaging Vis. 51 (2015)"
    takes = SAMPLES
    usual: ClassVar[tuple[Form, ...]] = (SAMPLES,)
    euclidean = True

    def at(self, comparison: Comparison, frame: int) -> float:
        """The distance at a time."""
        clouds = comparison.clouds(frame)
        towards = directions(clouds.points.shape[1], comparison.seed)
        first, second = clouds.points @ towards, clouds.others @ towards
        if clouds.weight is None:
            return sqrt(float(((np.sort(first, axis=0) - np.sort(second, axis=0)) ** 2).mean()))
        costs = [line_cost(x, clouds.weight, y, 2) for x, y in zip(first.T, second.T, strict=True)]
        return sqrt(float(np.mean(costs)))


def directions(dimension: int, seed: int) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """The unit vectors of `sliced-w2` (dim, direction), uniform on the sphere."""
    random = np.random.default_rng(seed).standard_normal((dimension, _DIRECTIONS))
    return np.asarray(random / np.linalg.norm(random, axis=0))


class W2Interval(Metric):
    """Proved bounds of W2 between the prediction and the density of the reference."""

    name = "w2-interval"
    definition = "an upper bound of W2 between the prediction and the density itself; details have the lower one"
    source = "`fvflow.wasserstein.distance_between`: both bounds are proved, for samples too"
    takes = DENSITIES
    usual: ClassVar[tuple[Form, ...]] = (DENSITIES,)
    draws = 3

    def own_fault(self, comparison: Comparison) -> str:
        """That densities are negative, or of another mass."""
        if comparison.prediction.counted:
            return ""
        for frame in comparison.frames:
            found, mass = comparison.densities(frame), comparison.reference.mass(frame)
            if len(found) > 1:
                return "takes one density at each time; give one member of the batch"
            if (found < 0).any():
                return f"needs densities >= 0, and the least is {found.min():.3g}; use rmse"
            if not abs(float(comparison.reference.mesh.volume @ found[0]) / mass - 1.0) <= _SAME_MASS:
                return "needs the mass of the reference at each time; see the metric mass"
        return ""

    def reading(self, comparison: Comparison) -> Reading:
        """The mean of the upper bounds, those of each time, and the mean of the lower ones."""
        found = [self._bounds(comparison, frame) for frame in comparison.frames]
        lower, upper = zip(*found, strict=True)
        return Reading(float(np.mean(upper)), tuple(upper), {"lower": float(np.mean(lower))})

    def _bounds(self, comparison: Comparison, frame: int) -> tuple[float, float]:
        reference, prediction = comparison.reference, comparison.prediction
        density = CellwiseDensity(reference.mesh, reference.density(frame))
        if prediction.counted:
            points, weight = prediction.samples(frame, comparison.most, comparison.seed)
            measure: Measure = EmpiricalMeasure(points, weight)
        else:
            measure = CellwiseDensity(reference.mesh, comparison.densities(frame)[0])
        found = distance_between(measure, density, _WIDTH, _CELLS, _SAME_MASS, seconds=_SECONDS)
        return found.lower, found.upper
