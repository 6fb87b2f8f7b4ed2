"""What a metric is: a number that tells a prediction from a reference, under the name and definition of a community."""

from __future__ import annotations

import difflib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import sqrt
from typing import ClassVar

import numpy as np

from fvflow.errors import CaseError
from fvflow.input_files import GIB
from fvflow.studies.score.map_prediction import MapPrediction
from fvflow.studies.score.predictions import DENSITIES, MAP, SAMPLES, Clouds, Form, Prediction
from fvflow.studies.score.reference import Reference
from fvflow.system import available_memory

_LEVEL = 0.99  # of perfect predictions that are told apart from noise in no more than one of 100 cases
_BYTES_A_PAIR = 40
_MOST_OF_MEMORY = 0.5
_CLOSE = 0.5  # likeness of a name to the one that was meant
_ROUND_OFF = 1e-6  # relative difference of scores that single precision may make


@dataclass(frozen=True)
class Reading:
    """The value of a metric, and what it is made of."""

    value: float
    """Over all times."""
    by_time: tuple[float, ...] = ()
    """At each time of the prediction; empty for a metric of the whole run."""
    details: Mapping[str, float] = field(default_factory=dict)
    """Further numbers by name."""


@dataclass(frozen=True)
class Noise:
    """What perfect predictions of the same form and size score, over seeded draws."""

    mean: float
    """Their mean."""
    spread: float
    """Their standard deviation."""
    draws: int
    """How many there are."""

    @staticmethod
    def of(values: Sequence[float]) -> Noise:
        """That of several scores."""
        spread = float(np.std(values, ddof=1)) if len(values) > 1 and np.isfinite(values).all() else 0.0
        return Noise(float(np.mean(values)), spread, len(values))

    def tells_apart(self, value: float, higher: bool) -> bool:
        """Whether a score is worse than the next perfect prediction would be in 99 of 100 cases, and than round-off.

        By Student's t for scores with a normal law: mean + t spread (1 + 1/draws)^1/2.
        """
        margin = _ROUND_OFF * max(abs(self.mean), 1e-6)
        if self.spread > 0:
            from scipy.special import stdtrit

            margin += float(stdtrit(self.draws - 1, _LEVEL)) * self.spread * sqrt(1.0 + 1.0 / self.draws)
        worse = self.mean - value if higher else value - self.mean
        return not worse <= margin


@dataclass(frozen=True, eq=False)
class Comparison:
    """A prediction beside its reference, as the metrics see them."""

    prediction: Prediction
    reference: Reference
    most: int
    """Most samples of each time that are compared; a random part of more is taken."""
    seed: int
    """Of the samples of the reference, and of what is drawn from a prediction."""
    _perfect: dict[int, Comparison] = field(default_factory=dict, init=False, repr=False)

    @property
    def frames(self) -> tuple[int, ...]:
        """The frames of the reference that are predicted, in their order."""
        return self.prediction.frames

    def clouds(self, frame: int) -> Clouds:
        """Samples of the prediction, and as many independent ones of the reference."""
        points, weight = self.prediction.samples(frame, self.most, self.seed)
        return Clouds(points, weight, self.reference.draw(frame, len(points), self.seed), self.reference.mesh)

    def densities(self, frame: int) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
        """The densities of the prediction on the mesh of the reference (member, cell)."""
        return self.prediction.densities(frame)

    @cached_property
    def map(self) -> MapPrediction:
        """The prediction, which has to be a map."""
        assert isinstance(self.prediction, MapPrediction)
        return self.prediction

    def perfect(self, draw: int) -> Comparison:
        """The same with a perfect prediction: the reference itself in the form of the prediction, drawn by a seed."""
        if draw not in self._perfect:
            seed = self.reference.key(self.seed, draw, 1)
            prediction = self.prediction.perfect(self.most, seed)
            self._perfect[draw] = Comparison(prediction, self.reference, self.most, seed)
        return self._perfect[draw]


class Metric(ABC):
    """A metric, which answers for itself: what it takes and needs, its value, what perfect predictions score."""

    name: ClassVar[str]
    """The name by which it is asked for."""
    definition: ClassVar[str]
    """The formula, in one line."""
    source: ClassVar[str]
    """Where it is defined."""
    takes: ClassVar[Form]
    """What it takes of a prediction: samples, densities or a map."""
    usual: ClassVar[tuple[Form, ...]] = ()
    """The forms of predictions that are scored by it unless others are asked for."""
    higher: ClassVar[bool] = False
    """Whether a higher value is better."""
    fewest: ClassVar[int] = 1
    """The least number of samples at each time."""
    weighted: ClassVar[bool] = True
    """Whether samples may have weights."""
    pairs: ClassVar[bool] = False
    """Whether it takes the distances of all pairs of samples."""
    euclidean: ClassVar[bool] = False
    """Whether it makes no sense where axes are periodic."""
    needs_density: ClassVar[bool] = False
    """Whether numbers of samples in cells do not do as densities."""
    draws: ClassVar[int] = 1000
    """Most perfect predictions that are scored for its noise."""

    def fault(self, comparison: Comparison) -> str:
        """Why it cannot be computed, as a sentence without subject; empty if it can."""
        prediction, mesh = comparison.prediction, comparison.reference.mesh
        if self.takes not in prediction.offers:
            return f"takes {_WORDS[self.takes]}, and the prediction is {prediction.what}"
        if self.euclidean and mesh.periodic:
            return "is one of space without periodic axes; use w1, w2 or energy-distance"
        if self.needs_density and prediction.counted:
            return "takes a density, and numbers of samples in cells are none; give the density as a grid or a function"
        if self.takes == SAMPLES:
            return self._sample_fault(comparison)
        return self.own_fault(comparison)

    def _sample_fault(self, comparison: Comparison) -> str:
        least = min(comparison.prediction.count(frame, comparison.most) for frame in comparison.frames)
        if least < self.fewest:
            return f"needs {self.fewest} samples at each time or more, and there are {least}; give more"
        if lacking := comparison.prediction.sample_fault:
            return lacking
        most = max(comparison.prediction.count(frame, comparison.most) for frame in comparison.frames)
        if self.pairs and (needed := _BYTES_A_PAIR * most**2) > _MOST_OF_MEMORY * available_memory():
            return f"needs {needed / GIB:.3g} GiB for all pairs of {most} samples; compare fewer by --samples"
        if not self.weighted and comparison.prediction.weighted:
            return "takes samples of equal weight; leave the weights out, or use mmd-rbf"
        return self.own_fault(comparison)

    def own_fault(self, comparison: Comparison) -> str:
        """What else it needs that is not there, as `fault`."""
        return ""

    @abstractmethod
    def reading(self, comparison: Comparison) -> Reading:
        """The score."""

    def noise(self, comparison: Comparison, draws: int) -> Noise:
        """What perfect predictions score: as many draws as asked for, one where there is nothing random in it."""
        random = comparison.prediction.random_as(self.takes)
        count = min(draws, self.draws) if random else 1
        return Noise.of([self.reading(comparison.perfect(draw)).value for draw in range(count)])


class TimedMetric(Metric):
    """A metric of each time, of which the mean over the times is told."""

    @abstractmethod
    def at(self, comparison: Comparison, frame: int) -> float:
        """The score at one time."""

    def reading(self, comparison: Comparison) -> Reading:
        """The mean, and the score at each time."""
        found = tuple(self.at(comparison, frame) for frame in comparison.frames)
        return Reading(float(np.mean(found)), found)


_WORDS = {SAMPLES: "samples", DENSITIES: "densities", MAP: "a map: points, images and perhaps log_det"}


def named(names: Iterable[str], known: Mapping[str, Metric]) -> list[Metric]:
    """The metrics of these names; raises CaseError for one that does not exist, with the nearest."""
    found = []
    for name in names:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1, cutoff=_CLOSE)
            hint = f"did you mean {close[0]}? " if close else ""
            raise CaseError(f"metric {name!r} does not exist; {hint}there are {', '.join(known)}")
        found.append(known[name])
    return list(dict.fromkeys(found))
