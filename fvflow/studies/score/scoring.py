"""Scoring a prediction against a result: `fvflow.score`."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from fvflow.dataset import opened
from fvflow.errors import CaseError
from fvflow.mesh.arrays import real_number
from fvflow.studies.score.arrays import grid, prediction_of, sample_sets
from fvflow.studies.score.files import of_dataset, read_prediction
from fvflow.studies.score.kinds import METRICS
from fvflow.studies.score.metric import Comparison, Metric, named
from fvflow.studies.score.models import imported, of_function
from fvflow.studies.score.predictions import Prediction
from fvflow.studies.score.reference import Reference
from fvflow.studies.score.scores import Score, Scores
from fvflow.studies.score.timing import Timing

_MODULE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
_ALL = "all"


def score(
    prediction: Any,
    against: Any,
    *,
    metrics: Sequence[str] | str | None = None,
    times: Sequence[float] | None = None,
    labels: Any = None,
    role: str = "density",
    samples: int = 1000,
    draws: int = 10,
    seed: int = 0,
    bounds: Mapping[str, float] | None = None,
) -> Scores:
    """The scores of a prediction against a result, by the metrics of its community or by others.

    `prediction` is a path (`read_prediction`), samples (n, dim) as an array, or by time in a dictionary, densities
    (b, t, x[, y]), named arrays in a dictionary, a result as a dataset, or a function with its `role` (`of_function`).
    `against` is a result or its path; `metrics` are names, "all", or by default the usual ones of the form of the
    prediction. `times` and `labels` (n,) tell the times of what does not. At most `samples` of each time are compared,
    with as many of the reference by a `seed`; so many `draws` of perfect predictions tell the noise. `bounds` by name
    are what the scores have to keep. Raises CaseError for what cannot be compared, OutputError for files that cannot
    be read.

    >>> from fvflow import Case
    >>> run = Case.parse("mesh: {kind: box, lower: [-6], upper: [6], cells: [60]}\\n"
    ...     "flow: {kind: fokker-planck, epsilon: 1, potential: 0.5*x**2}\\n"
    ...     "initial: {kind: gaussian, mean: [1], covariance: [[0.5]]}\\ntimes: {end: 1, step: 0.1}").run()
    >>> found = score(run.rho.values[None, :], run, metrics=["rmse", "vrmse"])
    >>> found["rmse"].value, found["rmse"].told_apart
    (0.0, False)
    """
    limits = {name: real_number(f"bound of {name}", limit) for name, limit in (bounds or {}).items()}
    asked = _asked(metrics)
    bounded = named(limits, METRICS)
    for name, value, least in (("samples", samples, 1), ("draws", draws, 2), ("seed", seed, 0)):
        if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < least:
            raise CaseError(f"{name} is {value!r}; give a whole number from {least} on")
    with _reference(against) as reference:
        timing = Timing(reference, None if times is None else tuple(real_number("time", time) for time in times))
        found = _prediction(prediction, timing, labels, role, samples, seed)
        comparison = Comparison(found, reference, samples, seed)
        chosen = _chosen(asked, found)
        required = list(dict.fromkeys([*(chosen if metrics not in (None, _ALL) else ()), *bounded]))
        scores, left_out = {}, {}
        for metric in dict.fromkeys([*chosen, *bounded]):
            if fault := metric.fault(comparison):
                if metric in required:
                    raise CaseError(f"{found.name}: metric {metric.name} {fault}")
                left_out[metric.name] = fault
                continue
            scores[metric.name] = Score(
                metric, metric.reading(comparison), metric.noise(comparison, draws), limits.get(metric.name)
            )
        at = tuple(float(reference.times[frame]) for frame in found.frames)
        return Scores(found.name, found.size, at, scores, left_out)


def _asked(metrics: Sequence[str] | str | None) -> list[Metric] | None:
    """The metrics that are asked for; None for the usual ones."""
    if metrics is None:
        return None
    if metrics == _ALL:
        return list(METRICS.values())
    names: Iterable[str] = [metrics] if isinstance(metrics, str) else metrics
    return named(names, METRICS)


def _chosen(asked: list[Metric] | None, prediction: Prediction) -> list[Metric]:
    if asked is not None:
        return asked
    return [metric for metric in METRICS.values() if prediction.form in metric.usual]


@contextmanager
def _reference(against: Any) -> Iterator[Reference]:
    if isinstance(against, str | os.PathLike):
        with opened(against) as ds:
            yield Reference.of(ds)
    elif hasattr(against, "data_vars"):
        yield Reference.of(against)
    else:
        raise CaseError(f"against is {type(against).__name__}; give a result of fvflow, or the path of one")


def _prediction(given: Any, timing: Timing, labels: Any, role: str, samples: int, seed: int) -> Prediction:
    """The prediction in whatever is given."""
    if isinstance(given, str | os.PathLike):
        path = os.fspath(given)
        if _MODULE.fullmatch(path) and not os.path.exists(path):
            return of_function(imported(path), role, timing, samples, seed)
        return read_prediction(path, timing, None if labels is None else os.fspath(labels))
    own = None if labels is None else np.asarray(labels, float)
    if hasattr(given, "data_vars"):
        return of_dataset("the prediction", given, timing)
    if callable(given):
        return of_function(given, role, timing, samples, seed)
    if isinstance(given, Mapping) and given:
        if all(isinstance(key, str) for key in given):
            return prediction_of("the prediction", {key: np.asarray(each) for key, each in given.items()}, timing, own)
        sizes = {float(time): np.atleast_1d(np.asarray(points, float)) for time, points in given.items()}
        together = np.concatenate(list(sizes.values()))
        at = np.repeat(list(sizes), [len(points) for points in sizes.values()])
        return sample_sets("the prediction", together, timing, at)
    values = np.asarray(given)
    if values.dtype.kind not in "iuf":
        raise CaseError(f"the prediction is {type(given).__name__}; give a path, an array, a dictionary or a function")
    if values.ndim <= 2:
        return sample_sets("the prediction", values, timing, own)
    return grid("the prediction", values, timing, None, {})
