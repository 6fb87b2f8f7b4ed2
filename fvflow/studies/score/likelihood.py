"""Metrics of the logarithms of densities."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from fvflow.mesh import Array
from fvflow.studies.score.fields import FieldMetric
from fvflow.studies.score.metric import Comparison, TimedMetric
from fvflow.studies.score.predictions import DENSITIES, Form


def _negative(comparison: Comparison) -> str:
    """That a density is negative or zero everywhere, as `Metric.fault`."""
    for frame in comparison.frames:
        found = comparison.densities(frame)
        if (found < 0).any() or not found.any(axis=1).all():
            return f"needs densities >= 0 with some mass, and the least is {found.min():.3g}; use rmse"
    return ""


class SymmetricKl(TimedMetric):
    """The sum of both Kullback-Leibler divergences of the densities, each scaled to mass 1."""

    name = "symmetric-kl"
    definition = "int (q - p) log(q/p) of the densities scaled to mass 1; infinite where only one of them is 0"
    source = "Mokrov et al., Large-scale Wasserstein gradient flows, NeurIPS 2021, section 5.1"
    takes = DENSITIES
    usual: ClassVar[tuple[Form, ...]] = (DENSITIES,)
    needs_density = True

    def own_fault(self, comparison: Comparison) -> str:
        """That a density is negative."""
        return _negative(comparison)

    def at(self, comparison: Comparison, frame: int) -> float:
        """The divergence at a time, in the mean over the members."""
        volume = comparison.reference.mesh.volume
        true = comparison.reference.density(frame)
        true = true / float(volume @ true)
        found = [_symmetric(each / float(volume @ each), true, volume) for each in comparison.densities(frame)]
        return float(np.mean(found))


def _symmetric(one: Array, two: Array, volume: Array) -> float:
    held = (one > 0) | (two > 0)
    with np.errstate(divide="ignore"):
        return float(volume[held] @ ((one[held] - two[held]) * (np.log(one[held]) - np.log(two[held]))))


class LogLikelihood(TimedMetric):
    """The expected log density of the prediction, at points distributed as the reference."""

    name = "log-likelihood"
    definition = "int p log q, p scaled to mass 1 and q of its own mass; -infinite where q is 0 and p is not"
    source = "that of test samples in Grathwohl et al., FFJORD, ICLR 2019, with all points of p for samples"
    takes = DENSITIES
    higher = True
    needs_density = True

    def own_fault(self, comparison: Comparison) -> str:
        """That a density is negative."""
        return _negative(comparison)

    def at(self, comparison: Comparison, frame: int) -> float:
        """The log likelihood at a time, in the mean over the members."""
        weight = comparison.reference.mesh.volume * comparison.reference.density(frame)
        held = weight > 0
        with np.errstate(divide="ignore"):
            found = np.log(comparison.densities(frame)[:, held]) @ (weight[held] / weight.sum())
        return float(found.mean())


class Mass(FieldMetric):
    """The error of the mass on the mesh; of samples, the part of them that is outside of it."""

    name = "mass"
    definition = "|int q - int p|/int p"
    source = "conservation of mass: the notes, equation (8)"
    usual: ClassVar[tuple[Form, ...]] = (DENSITIES,)

    def of(self, predicted: Array, true: Array, share: Array) -> float:
        """The score of densities (member, cell)."""
        mass = float(true @ share)
        return float(np.abs(predicted @ share - mass).mean()) / mass
