"""Metrics by kernels: maximum mean discrepancies with the published kernels, and the energy distance."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import numpy as np

from fvflow.mesh import Array
from fvflow.studies.score.assignment import distances
from fvflow.studies.score.metric import Comparison, TimedMetric
from fvflow.studies.score.predictions import SAMPLES, Clouds, Form

_SIGMAS = (0.01, 0.1, 1.0, 10.0, 100.0)
_GAMMAS = (2.0, 1.0, 0.5, 0.1, 0.01, 0.005)
_FLOW_MATCHING = (
    "Tong et al., Improving and generalizing flow-based generative models with minibatch optimal transport, TMLR 2024"
)
_GRETTON = "Gretton et al., A kernel two-sample test, J. Mach. Learn. Res. 13 (2012)"


class PairMetric(TimedMetric):
    """Twice the mean of a function of pairs x, y, less those of the pairs x, x and y, y; means by the weights."""

    takes = SAMPLES
    pairs = True

    @abstractmethod
    def of_distances(self, distance: Array) -> Array:
        """The function of distances, of the same shape."""

    def at(self, comparison: Comparison, frame: int) -> float:
        """2 k(x, y) - k(x, x) - k(y, y), in the mean over all pairs, those of a sample with itself included."""
        clouds = comparison.clouds(frame)
        points, others, weight, mesh = clouds.points, clouds.others, clouds.weight, clouds.mesh
        first = np.full(len(points), 1.0 / len(points)) if weight is None else weight
        second = np.full(len(others), 1.0 / len(others))
        sides = (points, others, first, second), (points, points, first, first), (others, others, second, second)
        between, one, two = (
            float(left @ self.of_distances(distances(Clouds(x, None, y, mesh))) @ right) for x, y, left, right in sides
        )
        return 2.0 * between - one - two


class EnergyDistance(PairMetric):
    """The energy distance, as the squared quantity."""

    name = "energy-distance"
    definition = "2 E|x - y| - E|x - x'| - E|y - y'|, over all pairs"
    source = (
        "Szekely, Rizzo, Energy statistics, J. Stat. Plan. Inference 143 (2013); Mokrov et al., Large-scale "
        "Wasserstein gradient flows, NeurIPS 2021"
    )
    usual: ClassVar[tuple[Form, ...]] = (SAMPLES,)

    def of_distances(self, distance: Array) -> Array:
        """The distance, of the same shape."""
        return distance


class RbfMmd(PairMetric):
    """The squared discrepancy with a sum of Gaussian kernels."""

    name = "mmd-rbf"
    definition = "E k(x, x') + E k(y, y') - 2 E k(x, y), k the sum over s in .01, .1, 1, 10, 100 of exp(-r^2/(2 s^2))"
    source = f"{_FLOW_MATCHING} (`RBF_MMD`); {_GRETTON}"
    usual: ClassVar[tuple[Form, ...]] = (SAMPLES,)
    euclidean = True

    def of_distances(self, distance: Array) -> Array:
        """-k, of the same shape."""
        return -sum((np.exp(-(distance**2) / (2.0 * sigma**2)) for sigma in _SIGMAS), np.zeros_like(distance))


class ScalarMmd(PairMetric):
    """The mean over six widths of the squared discrepancy."""

    name = "mmd-gammas"
    definition = "the same with k = mean over g in 2, 1, .5, .1, .01, .005 of exp(-g r^2)"
    source = "Bunne et al., Learning single-cell perturbation responses, Nat. Methods 20 (2023) (CellOT, `mmd`)"
    euclidean = True

    def of_distances(self, distance: Array) -> Array:
        """-k, of the same shape."""
        found = sum((np.exp(-gamma * distance**2) for gamma in _GAMMAS), np.zeros_like(distance))
        return -found / len(_GAMMAS)


class LinearMmd(TimedMetric):
    """The discrepancy of the linear kernel, estimated in linear time from neighbours in the list."""

    name = "mmd-linear"
    definition = "mean over i of (x_i - y_i).(x_{i+1} - y_{i+1})"
    source = f"{_FLOW_MATCHING} (`Linear_MMD`); {_GRETTON}, section 6"
    takes = SAMPLES
    fewest = 2
    weighted = False
    euclidean = True

    def at(self, comparison: Comparison, frame: int) -> float:
        """The estimate at a time."""
        clouds = comparison.clouds(frame)
        delta = clouds.points - clouds.others
        return float((delta[:-1] * delta[1:]).sum(axis=1).mean())


class PolynomialMmd(TimedMetric):
    """The discrepancy of a quadratic kernel, estimated in linear time from neighbours in the list."""

    name = "mmd-poly"
    definition = "mean over i of k(x_i, x_{i+1}) + k(y_i, y_{i+1}) - k(x_i, y_{i+1}) - k(y_i, x_{i+1}), k = (x.y + 2)^2"
    source = f"{_FLOW_MATCHING} (`Poly_MMD`); {_GRETTON}, section 6"
    takes = SAMPLES
    fewest = 2
    weighted = False
    euclidean = True

    def at(self, comparison: Comparison, frame: int) -> float:
        """The estimate at a time."""
        clouds = comparison.clouds(frame)
        x, y = clouds.points, clouds.others

        def mean(first: Array, second: Array) -> float:
            return float((((first[:-1] * second[1:]).sum(axis=1) + 2.0) ** 2).mean())

        return mean(x, x) + mean(y, y) - mean(x, y) - mean(y, x)
