"""Minima of a convex H(x, p, t) over p, at many points at once."""

from __future__ import annotations

from typing import Any

import numpy as np

from fvflow.mesh import Array
from fvflow.transport.momentum_function import MomentumFunction

_FARTHEST = 1e8  # momentum beyond which no minimum is looked for
_BISECTIONS = 90  # from 2e8 down to the spacing of numbers about 1e-19
_DECREMENT = 1e-13  # of H: what a Newton step would still gain
_ITERATIONS, _HALVINGS = 200, 40


def least_along(function: MomentumFunction, axis: int) -> Array:
    """c (point,) at which H is least along an axis, the other momenta being 0; +-inf if H falls all the way to 1e8.

    By bisection on the sign of the derivative, so that kinks do no harm; 0 where H is level there.
    """
    points, axes = function.position.shape

    def slope(values: Array) -> Array:
        p = np.zeros((axes, points))
        p[axis] = values
        return function.slope(axis, p)

    at_zero = slope(np.zeros(points))
    lower = np.where(at_zero <= 0, 0.0, -_FARTHEST)
    upper = np.where(at_zero >= 0, 0.0, _FARTHEST)
    if not at_zero.any():
        return lower
    reach = np.where(at_zero > 0, -1.0, 1.0)
    while (beyond := (slope(reach) * at_zero > 0) & (np.abs(reach) < _FARTHEST)).any():
        reach = np.where(beyond, np.clip(4.0 * reach, -_FARTHEST, _FARTHEST), reach)
    lower, upper = np.where(at_zero > 0, reach, lower), np.where(at_zero < 0, reach, upper)
    without = (np.abs(reach) == _FARTHEST) & (slope(reach) * at_zero > 0)
    for _ in range(_BISECTIONS):
        middle = 0.5 * (lower + upper)
        s = slope(middle)
        lower, upper = np.where(s <= 0, middle, lower), np.where(s >= 0, middle, upper)
        if (lower == upper).all():
            break
    return np.where(without, np.copysign(np.inf, reach), 0.5 * (lower + upper))


def least_between(function: MomentumFunction, start: Array, lower: Array, upper: Array) -> Array:
    """p (axis, point) at which H is least for lower <= p <= upper, which may be infinite, from a start.

    Projected Newton steps with halving, until one would gain less than 1e-13 of H: a start that is the minimum stays as
    it is, and since H is convex, what is found is the minimum. Raises CaseError, or NumericsError after time 0, where
    none is reached, as at kinks that are not along the axes.
    """
    p = np.clip(start, lower, upper)
    left: Any = np.arange(p.shape[1], dtype=np.int32)
    for _ in range(_ITERATIONS):
        here, low, high = p[:, left], lower[:, left], upper[:, left]
        slope = function.gradient(here, left)
        held = ((here <= low) & (slope >= 0)) | ((here >= high) & (slope <= 0))
        slope = np.where(held, 0.0, slope)
        step = _newton_step(function.hessian(here, left), slope, held)
        value = function(here, left)
        going = -(slope * step).sum(axis=0) > _DECREMENT * (1.0 + np.abs(value))
        left = left[going]
        if not len(left):
            return p
        here, low, high, step, slope = (part[:, going] for part in (here, low, high, step, slope))
        p[:, left] = _descended(function, left, here, step, (low, high), value[going], slope)
        if np.abs(p[:, left]).max() > _FARTHEST:
            break
    place = function.place(p, int(left[0]))
    raise function.refusal(
        f"the least {function.expression.text} over {', '.join(f'p{axis}' for axis in function.axes)} is not found "
        f"at {place}; H needs a minimum, and kinks only where a single momentum has a value"
    )


def _newton_step(curvature: Array, slope: Array, held: Any) -> Array:
    """-Q^-1 g (axis, point) in the axes that are not held, Q lifted where it is singular; at kinks -g."""
    count = len(slope)
    q = np.where(np.isfinite(curvature), curvature, 0.0)
    rows = held.T
    q[rows[:, :, None] | rows[:, None, :]] = 0.0
    size = np.einsum("pii->p", q)
    lift = np.where(size > 0, 1e-13 * size, 1.0)
    q += lift[:, None, None] * np.eye(count)
    q += np.where(rows, 1.0, 0.0)[:, :, None] * np.eye(count)
    return np.asarray(-np.linalg.solve(q, slope.T[..., None])[..., 0].T)


def _descended(
    function: MomentumFunction, points: Any, p: Array, step: Array, bounds: tuple[Array, Array], value: Array, g: Array
) -> Array:
    """p after the longest of the halved steps, clipped to the bounds, that lowers H enough (axis, point)."""
    length, best, open_ = np.ones(len(value)), p.copy(), np.ones(len(value), bool)
    for _ in range(_HALVINGS):
        trial = np.clip(p + length * step, *bounds)
        gained = function(trial, points) <= value + 1e-4 * (g * (trial - p)).sum(axis=0)
        best = np.where(open_ & gained, trial, best)
        open_ &= ~gained
        if not open_.any():
            break
        length = np.where(open_, 0.5 * length, length)
    return best
