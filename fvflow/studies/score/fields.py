"""Metrics of densities as fields on a mesh, as benchmarks of neural operators define them.

|| ||^2 is the mean over the cells with their volumes as weights, which is the plain mean on grids of equal cells. All
are means over the members of a batch and over the times, where nothing else is said.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import numpy as np

from fvflow.mesh import Array
from fvflow.studies.score.metric import Comparison, TimedMetric
from fvflow.studies.score.predictions import DENSITIES, Form

PDEBENCH = "Takamoto et al., PDEBench, NeurIPS 2022, appendix B; its `metric_func`"
_THE_WELL = "Ohana et al., The Well, NeurIPS 2024, appendix E.3; its `{}`"
_LEAST = 1e-7  # added by The Well to denominators


class FieldMetric(TimedMetric):
    """A metric of the difference of two densities."""

    takes = DENSITIES

    @abstractmethod
    def of(self, predicted: Array, true: Array, share: Array) -> float:
        """The score of densities (member, cell) and (cell,), for the shares (cell,) that cells have of the volume."""

    def at(self, comparison: Comparison, frame: int) -> float:
        """The score at a time."""
        volume = comparison.reference.mesh.volume
        return self.of(comparison.densities(frame), comparison.reference.density(frame), volume / volume.sum())


def _square(values: Array, share: Array) -> Array:
    """Mean squares (member,)."""
    return np.asarray((values**2) @ share)


def _variance(values: Array, share: Array) -> Array:
    """Unbiased variances (member,)."""
    count = values.shape[-1]
    return np.asarray(_square(values - (values @ share)[..., None], share) * (count / (count - 1.0)))


class Rmse(FieldMetric):
    """The root mean square error."""

    name = "rmse"
    definition = "|| q - p ||"
    source = PDEBENCH
    usual: ClassVar[tuple[Form, ...]] = (DENSITIES,)

    def of(self, predicted: Array, true: Array, share: Array) -> float:
        """The score of densities (member, cell)."""
        return float(np.sqrt(_square(predicted - true, share)).mean())


class Nrmse(FieldMetric):
    """The normalised root mean square error."""

    name = "nrmse"
    definition = "|| q - p ||/|| p ||"
    source = PDEBENCH
    usual: ClassVar[tuple[Form, ...]] = (DENSITIES,)

    def of(self, predicted: Array, true: Array, share: Array) -> float:
        """The score of densities (member, cell)."""
        return float((np.sqrt(_square(predicted - true, share)) / np.sqrt(_square(true, share))).mean())


class Nmse(FieldMetric):
    """The normalised mean square error."""

    name = "nmse"
    definition = "|| q - p ||^2/(|| p ||^2 + 1e-7)"
    source = _THE_WELL.format("NMSE")

    def of(self, predicted: Array, true: Array, share: Array) -> float:
        """The score of densities (member, cell)."""
        return float((_square(predicted - true, share) / (_square(true, share) + _LEAST)).mean())


class Vrmse(FieldMetric):
    """The root mean square error scaled by the variance."""

    name = "vrmse"
    definition = "(|| q - p ||^2/(Var p + 1e-7))^1/2, Var over the cells by n - 1"
    source = _THE_WELL.format("VRMSE")
    usual: ClassVar[tuple[Form, ...]] = (DENSITIES,)

    def of(self, predicted: Array, true: Array, share: Array) -> float:
        """The score of densities (member, cell)."""
        return float(np.sqrt(_square(predicted - true, share) / (_variance(true, share) + _LEAST)).mean())


class PearsonR(FieldMetric):
    """The correlation of two densities over the cells."""

    name = "pearson-r"
    definition = "mean (q - mean q)(p - mean p)/(std q std p + 1e-7), std over the cells by n - 1"
    source = _THE_WELL.format("PearsonR")
    usual: ClassVar[tuple[Form, ...]] = (DENSITIES,)
    higher = True

    def of(self, predicted: Array, true: Array, share: Array) -> float:
        """The score of densities (member, cell)."""
        covariance = (predicted - (predicted @ share)[:, None]) @ (share * (true - true @ share))
        spread = np.sqrt(_variance(predicted, share) * _variance(true, share))
        return float((covariance / (spread + _LEAST)).mean())


class Crmse(FieldMetric):
    """The error of what is conserved, the mass over the volume."""

    name = "crmse"
    definition = "root mean square over the members of mean q - mean p"
    source = PDEBENCH

    def of(self, predicted: Array, true: Array, share: Array) -> float:
        """The score of densities (member, cell)."""
        return float(np.sqrt((((predicted - true) @ share) ** 2).mean()))


class MaxError(FieldMetric):
    """The largest error over cells and members."""

    name = "max-error"
    definition = "max |q - p|, over cells and members"
    source = f"{PDEBENCH}; The Well's `LInfinity`"
    usual: ClassVar[tuple[Form, ...]] = (DENSITIES,)

    def of(self, predicted: Array, true: Array, share: Array) -> float:
        """The score of densities (member, cell)."""
        return float(np.abs(predicted - true).max())
