"""Explicit Runge-Kutta pairs with steps chosen by their error, for large states.

The pairs and the choice of steps are those of scipy, whose `solve_ivp` multiplies by BLAS: between such calls the
threads of BLAS spin, and take more time of the processors than all the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from fvflow.mesh import Array

PairName = Literal["rk45", "dop853"]
Rate = Callable[[float, Array], Array]
_SAFETY, _SHRINKS, _GROWS = 0.9, 0.2, 10.0  # of the next step


def integrated(
    name: PairName,
    rate: Rate,
    values: Array,
    span: tuple[float, float],
    *,
    relative: float,
    absolute: Array,
    longest: float,
) -> Array | None:
    """Values (value,) at the end of dy/dt = rate(t, y); None if no step is short enough.

    The error of each step is at most `absolute` (value,) + `relative` |y|, in the root mean square over all values.
    Hairer, Norsett, Wanner, Solving Ordinary Differential Equations I, 1993, section II.4.
    """
    from scipy.integrate import DOP853, RK45

    pair: Any = DOP853 if name == "dop853" else RK45
    (time, end), direction = span, 1.0 if span[1] > span[0] else -1.0
    slopes = np.empty((pair.n_stages + 1, len(values)))
    slopes[0] = rate(time, values)
    length = _first_length(pair, rate, span, values, slopes[0], absolute + relative * np.abs(values))
    while time != end:
        shortest, rejected = 10.0 * abs(np.nextafter(time, direction * np.inf) - time), False
        length = max(min(length, longest), shortest)
        while True:
            if length < shortest:
                return None
            new = time + direction * length
            new = end if direction * (new - end) > 0 else new
            after = _step(pair, rate, time, new, values, slopes)
            error = _error(pair, slopes, new - time, absolute + relative * np.maximum(np.abs(values), np.abs(after)))
            factor = _GROWS if error == 0 else _SAFETY * error ** (-1.0 / (pair.error_estimator_order + 1))
            length = abs(new - time)
            if error < 1:
                break
            length, rejected = length * max(_SHRINKS, factor), True  # also where the error is nan
        length *= min(1.0 if rejected else _GROWS, factor)
        time, values = new, after
        slopes[0] = slopes[-1]
    return values


def _first_length(pair: Any, rate: Rate, span: tuple[float, float], values: Array, slope: Array, scale: Array) -> float:
    """The length of the first step, from the first and second derivatives."""
    (time, end), whole = span, abs(span[1] - span[0])
    sizes = _rms(values / scale), _rms(slope / scale)
    tried = min(1e-6 if min(sizes) < 1e-5 else 0.01 * sizes[0] / sizes[1], whole)
    if not tried:
        return 0.0
    towards = np.copysign(tried, end - time)
    bend = _rms((rate(time + towards, values + towards * slope) - slope) / scale) / tried
    steepest = max(sizes[1], bend)
    found = max(1e-6, 1e-3 * tried)
    if steepest > 1e-15:
        found = (0.01 / steepest) ** (1.0 / (pair.error_estimator_order + 1))
    return float(min(100.0 * tried, found, whole))


def _rms(values: Array) -> float:
    return float(np.sqrt(np.square(values).mean()))


def _weighted(weights: Array, slopes: Array) -> Array:
    return np.asarray(np.einsum("s,sn->n", weights, slopes[: len(weights)]))


def _step(pair: Any, rate: Rate, time: float, new: float, values: Array, slopes: Array) -> Array:
    """The values at the end of a step; fills in its slopes (stage + 1, value), of which the first is known."""
    length = new - time
    for stage in range(1, pair.n_stages):
        at = values + length * _weighted(pair.A[stage, :stage], slopes)
        slopes[stage] = rate(time + pair.C[stage] * length, at)
    after = values + length * _weighted(pair.B, slopes)
    slopes[-1] = rate(new, after)
    return np.asarray(after)


def _error(pair: Any, slopes: Array, length: float, scale: Array) -> float:
    """The root mean square of the error over what is allowed; for DOP853 of that of two estimates."""

    def square(weights: Array) -> float:
        return _rms(_weighted(weights, slopes) / scale) ** 2

    if not hasattr(pair, "E5"):
        return float(abs(length) * square(pair.E) ** 0.5)
    fifth, third = square(pair.E5), square(pair.E3)
    return float(abs(length) * fifth / (fifth + 0.01 * third) ** 0.5) if fifth or third else 0.0
