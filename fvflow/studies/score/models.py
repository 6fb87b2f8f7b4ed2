"""Predictions by functions of Python: densities, steps and maps."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from itertools import pairwise
from typing import Any, Literal

import numpy as np

from fvflow.errors import CaseError
from fvflow.fields.weighted_samples import WeightedSamples
from fvflow.input_files import admission
from fvflow.mesh import Array
from fvflow.studies.score.map_prediction import MapPrediction
from fvflow.studies.score.predictions import DensityPrediction, Prediction, SamplePrediction
from fvflow.studies.score.timing import Timing

Role = Literal["density", "step", "map"]
ROLES: tuple[Role, ...] = ("density", "step", "map")


def of_function(function: Callable[..., Any], role: str, timing: Timing, count: int, seed: int) -> Prediction:
    """The prediction of a function, at the times that are given or at all times of the reference.

    A density is f(points (point, dim), t) -> (point,), taken at the centres of the cells; a step f(points, t, s) ->
    points (point, dim) moves `count` samples of the reference from each time t to the next one s; a map f(points, t,
    s) -> points, or (points, log_det), does it from the first to the last time. Raises CaseError for other values.
    """
    if role not in ROLES:
        raise CaseError(f"role {role!r} does not exist; a function is one of {', '.join(ROLES)}")
    makers = {"density": _density, "step": _steps, "map": _map}
    name = getattr(function, "__name__", type(function).__name__)
    return makers[role](name, function, timing, count, seed)


def imported(text: str) -> Callable[..., Any]:
    """The function `module:name`; raises CaseError unless the user trusts it, since importing runs code.

    The module may be in the working directory.
    """
    if not admission().trust:
        raise CaseError(f"{text}: is code, which scoring it would run; give --trust if you trust it, or its values")
    module, _, attribute = text.partition(":")
    if (here := os.getcwd()) not in sys.path:
        sys.path.insert(0, here)
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise CaseError(f"{text}: cannot be imported ({error}); give module:function") from None
    if not callable(found):
        raise CaseError(f"{text}: is {type(found).__name__} and no function; give module:function")
    return found  # type: ignore[no-any-return]


def _frames(timing: Timing, name: str) -> tuple[int, ...]:
    return timing.frames(name, timing.reference.times if timing.given is None else timing.given)


def _density(name: str, function: Callable[..., Any], timing: Timing, count: int, seed: int) -> DensityPrediction:
    mesh, times = timing.reference.mesh, timing.reference.times
    frames = _frames(timing, name)
    found = [np.asarray(function(mesh.centre, float(times[frame])), float) for frame in frames]
    for each in found:
        if each.shape != (mesh.cells,):
            raise CaseError(f"{name}: returned the shape {each.shape} for {mesh.cells} points; return one value each")
    return DensityPrediction(name, timing.reference, frames, np.array([found]))


def _steps(name: str, function: Callable[..., Any], timing: Timing, count: int, seed: int) -> SamplePrediction:
    reference, frames = timing.reference, _frames(timing, name)
    if len(frames) < 2:
        raise CaseError(f"{name}: a step leads from one time to the next, and there is one time; give two or more")
    sets = {}
    for before, after in pairwise(frames):
        points = reference.draw(before, count, reference.key(seed, 6))
        start, end = (float(reference.times[frame]) for frame in (before, after))
        sets[after] = WeightedSamples.of(name, _moved(name, function(points.copy(), start, end), points))
    return SamplePrediction(name, reference, sets)


def _map(name: str, function: Callable[..., Any], timing: Timing, count: int, seed: int) -> MapPrediction:
    reference = timing.reference
    start, end = timing.of_map(name, None)
    points = reference.draw(start, count, reference.key(seed, 7))
    found = function(points.copy(), float(reference.times[start]), float(reference.times[end]))
    images, log_det = found if isinstance(found, tuple) else (found, None)
    return MapPrediction(
        name,
        reference,
        start,
        end,
        points,
        _moved(name, images, points),
        None if log_det is None else np.asarray(log_det, float),
    )


def _moved(name: str, values: Any, points: Array) -> Array:
    found = np.asarray(values, float)
    if found.shape != points.shape:
        raise CaseError(f"{name}: returned the shape {found.shape} for points {points.shape}; return a point for each")
    return found
