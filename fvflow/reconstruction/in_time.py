"""Functions of position and time, from the values of cells at saved times and their derivatives in time."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Literal, NamedTuple

import numpy as np

from fvflow.mesh import Array
from fvflow.reconstruction.base import Derivatives, Slopes, SpaceInterpolant
from fvflow.reconstruction.trend import WallTrend

InTime = Literal["hermite", "linear"]
_KEPT = 3  # intervals whose coefficients are kept at least
_KEPT_VALUES = 2**24  # numbers among them up to which more are kept, for many batches of points
_LARGEST_BEND = 8.0  # of dt l' beside the change of l, beyond which the saves are too far apart for a derivative


class SavedValues(NamedTuple):
    """Cell values at a saved time."""

    values: Array
    """(cell,)"""
    rate: Array | None = None
    """Their derivatives in time (cell,); None if they are not known."""
    slopes: Slopes = {}  # noqa: RUF012 - never changed
    """Their derivatives along the axes at walls."""


class Place(NamedTuple):
    """Points between two saved times."""

    interval: int
    """The index of the saved time before them."""
    points: Array
    """(point, dim)"""
    times: Array
    """One for all (1,), or of each (point,)."""


class FieldInTime:
    """l(x, t), linear or cubic in time between saves; with bends a and b, for 0 <= s <= 1 in an interval dt,

        l = (1 - s) l_0 + s l_1 + s (1 - s)^2 a - s^2 (1 - s) b,    a = dt l_0' - l_1 + l_0,    b = dt l_1' - l_1 + l_0,

    which is Hermite's cubic, of order 4. Bends, which are of order dt^2, are replaced by 8 tanh(a/8), so that a
    derivative that is far beyond the change to the next save, as in the tails of a density at the start, does not
    take over. Without derivatives, or with `in_time` "linear", a = b = 0. A trend in space is taken off before and put
    back after.
    """

    def __init__(
        self,
        space: SpaceInterpolant,
        times: Array,
        saved: Callable[[int], SavedValues],
        in_time: InTime = "hermite",
        watch: Callable[[int, Array], None] = lambda interval, difference: None,
        trend: WallTrend | None = None,
    ) -> None:
        self.space, self.times, self._trend = space, times, trend
        self._saved, self._cubic, self._watch = saved, in_time == "hermite", watch
        self._known: OrderedDict[int, Any] = OrderedDict()
        self._smooth = lru_cache(2)(self._without_trend)  # the next interval begins or ends with one of them

    def at(self, place: Place, order: int = 0) -> Derivatives:
        """Value, with order 1 the gradient, with order 2 also second derivatives in space.

        Tells `watch` of each interval once, with the difference of the cubic and the linear l in its middle (cell,).
        """
        coefficients, fields = self._coefficients(place.interval)
        found = self.space.at(coefficients, self._weights(place, fields), place.points, order)
        if self._trend is None:
            return found
        return Derivatives(*map(np.add, found, self._trend.at(place.points, order)))

    def _weights(self, place: Place, fields: int) -> Array:
        """The weights of l_0, l_1, a and b, (1, field) or (point, field)."""
        if fields == 1:
            return np.ones((1, 1))
        start, end = self.times[place.interval : place.interval + 2]
        s = (place.times - start) / (end - start)
        return np.stack([1.0 - s, s, s * (1.0 - s) ** 2, -(s**2) * (1.0 - s)][:fields], axis=1)

    def _coefficients(self, interval: int) -> tuple[Any, int]:
        """The coefficients in an interval, and their number of fields."""
        if interval in self._known:
            self._known.move_to_end(interval)
        else:
            made = self._computed(interval)
            while len(self._known) >= max(_KEPT, _KEPT_VALUES // made[0].size):
                self._known.popitem(last=False)
            self._known[interval] = made
        found: tuple[Any, int] = self._known[interval]
        return found

    def _without_trend(self, frame: int) -> SavedValues:
        """What is saved, without the trend."""
        saved, trend = self._saved(frame), self._trend
        if trend is None:
            return saved
        values = saved.values - trend.at(trend.mesh.centre, 0).value
        return saved._replace(values=values, slopes=trend.removed_from(saved.slopes))

    def _computed(self, interval: int) -> tuple[Any, int]:
        before = self._smooth(interval)
        if len(self.times) == 1:
            return self.space.coefficients([before.values], [before.slopes]), 1
        after = self._smooth(interval + 1)
        fields, slopes = [before.values, after.values], [before.slopes, after.slopes]
        if before.rate is not None and after.rate is not None:
            length, change = self.times[interval + 1] - self.times[interval], after.values - before.values
            rates = before.rate, after.rate
            bends = [_LARGEST_BEND * np.tanh((length * rate - change) / _LARGEST_BEND) for rate in rates]
            self._watch(interval, 0.125 * (bends[0] - bends[1]))
            if self._cubic:
                fields += bends
                slopes += [_without(part) for part in slopes]
        return self.space.coefficients(fields, slopes), len(fields)


def _without(slopes: Slopes) -> Slopes:
    """0 where a slope is known at a wall: there it is linear in time."""
    return {axis: (0.0 * lower, 0.0 * upper) for axis, (lower, upper) in slopes.items()}
