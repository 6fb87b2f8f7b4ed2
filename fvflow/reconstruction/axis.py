"""Cubic splines along one axis of a grid: their pieces, and their coefficients from values at the cell centres."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from fvflow.mesh import Array
from fvflow.reconstruction.kernels import solve_banded

_NEAREST = 4  # centres that a slope at a wall is extrapolated from
_COPIED = 64  # cells before and behind a periodic axis; what a value changes halves from cell to cell, at least


@dataclass(frozen=True, eq=False)
class SplineAxis:
    """The cubic splines between two walls, or around a periodic axis, that values at the cell centres determine.

    Between walls the first and the last piece reach from a wall to the second centre; the two slopes at the walls are
    given beside the values. Around a periodic axis there is a piece between any two centres.
    """

    edges: Array
    """Cell boundaries (cell + 1,)."""
    periodic: bool = False
    """Whether the ends are joined."""

    @cached_property
    def centres(self) -> Array:
        """Midpoints of the cells (cell,)."""
        return np.asarray(0.5 * (self.edges[1:] + self.edges[:-1]))

    @property
    def count(self) -> int:
        """Number of cells."""
        return len(self.edges) - 1

    @property
    def period(self) -> float:
        """Length of a periodic axis; 0 between walls."""
        return float(self.edges[-1] - self.edges[0]) if self.periodic else 0.0

    @cached_property
    def breaks(self) -> Array:
        """Where the pieces meet, both ends included (piece + 1,)."""
        if self.periodic:
            return np.append(self.centres, self.centres[0] + self.period)
        return np.concatenate([self.edges[:1], self.centres[1:-1], self.edges[-1:]])

    @property
    def size(self) -> int:
        """Number of coefficients, three of them repeated on a periodic axis: piece j uses j, ..., j + 3."""
        return len(self.breaks) + 2

    @cached_property
    def _unrolled(self) -> SplineAxis:
        """A periodic axis with copies of its cells before and behind, beyond which nothing reaches but round-off."""
        copies = -(-_COPIED // self.count)
        shifts = self.period * np.arange(-copies, copies + 1)
        return SplineAxis(np.append((self.edges[:-1] + shifts[:, None]).ravel(), self.edges[-1] + shifts[-1]))

    def _middle(self, more: int) -> slice:
        """The cells of the axis itself, and some more, among those of the unrolled one."""
        first = (self._unrolled.count - self.count) // 2
        return slice(first, first + self.count + more)

    @cached_property
    def pieces(self) -> Array:
        """The four B-splines of each piece as polynomials (piece, spline, power) of the distance from its start."""
        if self.periodic:
            return self._unrolled.pieces[self._middle(0)]
        knots, count = np.pad(self.breaks, 3, mode="edge"), len(self.breaks) - 1
        start = np.arange(3, count + 3)  # knots[start] is where a piece begins
        lower = [np.tile([1.0, 0.0, 0.0, 0.0], (count, 1))]  # B-splines of degree 0, then 1, 2, 3, on each piece
        for degree in (1, 2, 3):
            raised = [np.zeros((count, 4)) for _ in range(degree + 1)]
            for place, part in enumerate(lower):
                first = knots[start - degree + 1 + place]  # of the support, as far as it is shared
                width = knots[start + 1 + place] - first
                times_u = np.roll(part, 1, axis=1)  # the highest power is still 0
                rising = (times_u + (knots[start] - first)[:, None] * part) / width[:, None]
                raised[place + 1] += rising
                raised[place] += part - rising
            lower = raised
        return np.stack(lower, axis=1)

    @cached_property
    def _equations(self) -> Array:
        """The equations for the coefficients between walls: slope, values, slope; their diagonals (size, -2 ... 2)."""
        last = len(self.breaks) - 2
        piece = np.clip(np.arange(self.count), 0, last)
        u = self.centres - self.breaks[piece]
        span = self.breaks[-1] - self.breaks[last]
        rows = np.einsum("jip,jp->ji", self.pieces[piece], u[:, None] ** np.arange(4))
        lower, upper = self.pieces[0, :, 1], self.pieces[last] @ np.array([0.0, 1.0, 2.0 * span, 3.0 * span**2])
        rows, piece = np.concatenate([[lower], rows, [upper]]), np.concatenate([[0], piece, [last]])
        band = np.zeros((self.size, 5))
        for spline in range(4):
            diagonal = piece + spline - np.arange(self.size) + 2
            inside = (diagonal >= 0) & (diagonal < 5)  # what is outside of it is 0
            band[np.flatnonzero(inside), diagonal[inside]] = rows[inside, spline]
        return band

    @cached_property
    def _extrapolation(self) -> tuple[Array, Array]:
        """Weights of values at the centres nearest to each wall: the slope there of the polynomial through them."""
        count = min(_NEAREST, self.count)
        weights = []
        for centres, wall in ((self.centres[:count], self.edges[0]), (self.centres[-count:], self.edges[-1])):
            scale = np.ptp(self.edges)
            powers = ((centres - wall) / scale) ** np.arange(count)[:, None]
            right = np.zeros(count)
            right[1:2] = 1.0 / scale
            weights.append(np.linalg.solve(powers, right))
        return weights[0], weights[1]

    def extrapolated(self, values: Array) -> tuple[Array, Array]:
        """The slopes at the lower and the upper wall, each (other,), that values (cell, other) suggest, of order 3."""
        lower, upper = self._extrapolation
        return lower @ values[: len(lower)], upper @ values[-len(upper) :]

    def coefficients(self, values: Array, slopes: tuple[Array, Array] | None = None) -> Array:
        """The coefficients (size, other) of the splines with values (cell, other) and slopes (other,) at the walls.

        Slopes that are not given, or nan, are extrapolated; on a periodic axis there are none, and a single cell has
        none.
        """
        if self.periodic:
            repeats = self._unrolled.count // self.count
            return self._unrolled.coefficients(np.tile(values, (repeats, 1)))[self._middle(3)]
        if self.count == 1:
            return np.repeat(values, 4, axis=0)
        guess = self.extrapolated(values)
        ends = guess if slopes is None else [np.where(np.isnan(s), g, s) for s, g in zip(slopes, guess, strict=True)]
        found = np.concatenate([ends[0][None], values, ends[1][None]])
        solve_banded(found, self._equations.copy())
        return found

    def derivatives(self, values: Array) -> tuple[Array, Array]:
        """First and second derivative (cell, other) at the centres of the parabola through the three nearest centres.

        Zero where there are fewer than three cells.
        """
        if self.count < 3:
            return np.zeros_like(values), np.zeros_like(values)
        x, f = self.centres, values
        if self.periodic:
            x = np.concatenate([x[-1:] - self.period, x, x[:1] + self.period])
            f = np.concatenate([f[-1:], f, f[:1]])
        slope = np.diff(f, axis=0) / np.diff(x)[:, None]
        second = 2.0 * np.diff(slope, axis=0) / (x[2:] - x[:-2])[:, None]
        first = slope[1:] - 0.5 * second * np.diff(x)[1:, None]
        if self.periodic:
            return first, second
        ends = first[:1] - second[:1] * (x[1] - x[0]), first[-1:] + second[-1:] * (x[-1] - x[-2])
        return np.concatenate([ends[0], first, ends[1]]), np.concatenate([second[:1], second, second[-1:]])

    @cached_property
    def buckets(self) -> tuple[Any, float]:
        """The first piece that meets each of equal intervals (bucket,) from the first break on, and 1/their length."""
        count = 2 * len(self.breaks)
        span = float(self.breaks[-1] - self.breaks[0])
        starts = self.breaks[0] + span * np.arange(count) / count
        first = np.clip(np.searchsorted(self.breaks, starts, side="right") - 1, 0, len(self.breaks) - 2)
        return first.astype(np.int64), count / span
