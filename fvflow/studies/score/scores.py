"""The scores of a prediction, beside what perfect predictions of its size score."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fvflow.errors import CaseError
from fvflow.studies.score.metric import Metric, Noise, Reading

_HEADING = ("score", "perfect predictions", "verdict")


@dataclass(frozen=True)
class Score:
    """The value of one metric."""

    metric: Metric
    """The metric, with its definition and source."""
    reading: Reading
    """The value, that at each time, and what it is made of."""
    noise: Noise
    """What perfect predictions of the same form and size score."""
    bound: float | None = None
    """The bound that it has to keep; None if there is none."""

    @property
    def value(self) -> float:
        """The value over all times."""
        return self.reading.value

    @property
    def told_apart(self) -> bool:
        """Whether it is worse than perfect predictions by more than noise: see `Noise.tells_apart`."""
        return self.noise.tells_apart(self.value, self.metric.higher)

    @property
    def missed(self) -> bool:
        """Whether it does not keep its bound; a value that is not a number keeps none."""
        if self.bound is None:
            return False
        return not (self.value >= self.bound if self.metric.higher else self.value <= self.bound)

    @property
    def sentence(self) -> str:
        """The bound that is missed."""
        side = "below" if self.metric.higher else "above"
        return f"{self.metric.name} is {self.value:.6g}, {side} the bound {self.bound:g}"

    @property
    def json(self) -> dict[str, Any]:
        """All of it as plain values."""
        found: dict[str, Any] = {
            "value": self.value,
            "by_time": list(self.reading.by_time),
            "perfect": self.noise.mean,
            "spread": self.noise.spread,
            "told_apart": self.told_apart,
            **self.reading.details,
            "definition": self.metric.definition,
            "source": self.metric.source,
        }
        return found if self.bound is None else {**found, "bound": self.bound, "missed": self.missed}

    @property
    def row(self) -> tuple[str, str]:
        """Name and columns of a table."""
        perfect = f"{self.noise.mean:.4g} +- {self.noise.spread:.2g}" if self.noise.spread else f"{self.noise.mean:.4g}"
        verdict = "worse" if self.told_apart else "within noise" if self.noise.spread else "as good"
        limit = "" if self.bound is None else f"  (allowed {self.bound:g})  {'missed' if self.missed else 'ok'}"
        return self.metric.name, f"{self.value:>12.6g}{perfect:>26}{verdict:>16}{limit}"


@dataclass(frozen=True)
class Scores(Mapping[str, Score]):
    """Scores by the names of their metrics.

    >>> found = Scores("m.npy", "100 samples", (0.5,), {}, {"jko": "needs log_det"})
    >>> len(found), found.left_out
    (0, {'jko': 'needs log_det'})
    """

    prediction: str
    """Its name."""
    size: str
    """How much there is of it, in words."""
    times: tuple[float, ...]
    """The times that are scored."""
    scores: Mapping[str, Score]
    """The scores by name."""
    left_out: Mapping[str, str]
    """Metrics that cannot be computed, and why."""

    def __getitem__(self, name: str) -> Score:
        """The score by a metric; raises CaseError if there is none."""
        if name not in self.scores:
            reason = self.left_out.get(name, "was not asked for")
            raise CaseError(f"metric {name}: {reason}; there are {', '.join(self.scores)}")
        return self.scores[name]

    def __iter__(self) -> Iterator[str]:
        """The names of the metrics."""
        return iter(self.scores)

    def __len__(self) -> int:
        """The number of scores."""
        return len(self.scores)

    @property
    def missed(self) -> list[Score]:
        """The scores that do not keep their bounds."""
        return [score for score in self.scores.values() if score.missed]

    @property
    def json(self) -> dict[str, Any]:
        """All of it as plain values."""
        return {
            "prediction": self.prediction,
            "size": self.size,
            "times": list(self.times),
            "metrics": {name: score.json for name, score in self.scores.items()},
            "left_out": dict(self.left_out),
            "bounds_missed": [score.sentence for score in self.missed],
        }

    def rows(self) -> list[tuple[str, str]]:
        """A table: each score beside what perfect predictions score."""
        heading = ("metric", f"{_HEADING[0]:>12}{_HEADING[1]:>26}{_HEADING[2]:>16}")
        return [heading, *(score.row for score in self.scores.values()), *_details(self.scores)]


def _details(scores: Mapping[str, Score]) -> Iterator[tuple[str, str]]:
    """What scores are made of, as rows of a table."""
    for name, score in scores.items():
        for part, value in score.reading.details.items():
            yield f"{name}: {part.replace('_', ' ')}", f"{value:>12.6g}"
