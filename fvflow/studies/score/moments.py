"""Metrics of means and covariances."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from fvflow.studies.score.metric import Comparison, TimedMetric
from fvflow.studies.score.predictions import SAMPLES, Form
from fvflow.wasserstein import bures


class BuresUvp(TimedMetric):
    """The unexplained variance of the Gaussian with the mean and covariance of the prediction, in per cent."""

    name = "bw2-uvp"
    definition = "100 W2^2(N(mean x, cov x), N(m, S))/tr S, m and S those of the reference, exact; cov by n - 1"
    source = (
        "Korotin et al., Continuous Wasserstein-2 barycenter estimation without minimax optimization, ICLR 2021; "
        "Gushchin et al., Building the bridge of Schrodinger (`BW-UVP`), NeurIPS 2023"
    )
    takes = SAMPLES
    usual: ClassVar[tuple[Form, ...]] = (SAMPLES,)
    euclidean = True

    def own_fault(self, comparison: Comparison) -> str:
        """That there are fewer samples than a covariance takes."""
        least = comparison.reference.mesh.dimension + 1
        found = min(comparison.prediction.count(frame, comparison.most) for frame in comparison.frames)
        return "" if found >= least else f"needs {least} samples at each time or more, and there are {found}; give more"

    def at(self, comparison: Comparison, frame: int) -> float:
        """The percentage at a time."""
        mean, covariance = comparison.reference.moments(frame)
        own = comparison.prediction.moments(frame, comparison.most, comparison.seed)
        return 100.0 * bures(*own, mean, covariance) ** 2 / float(np.trace(covariance))
