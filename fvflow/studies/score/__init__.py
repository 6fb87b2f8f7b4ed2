"""Predictions of models against a result, by the metrics of their communities, beside what sampling noise scores."""

from fvflow.studies.score.kinds import METRICS
from fvflow.studies.score.metric import Comparison, Metric, Noise, Reading
from fvflow.studies.score.scores import Score, Scores
from fvflow.studies.score.scoring import score

__all__ = ["METRICS", "Comparison", "Metric", "Noise", "Reading", "Score", "Scores", "score"]
