"""Exact Wasserstein distances of piecewise constant densities on a circle."""

from __future__ import annotations

from typing import Any

import numpy as np

from fvflow.mesh import Array
from fvflow.wasserstein.line import cell_means, quantile, require_masses

_Ends = tuple[Array, Array]
_MOST = 200  # iterations, of which every other one halves the interval of turns
_ENOUGH = 1e-17  # relative error of the cost


def distance_on_circle(edges: Array, first: Array, second: Array) -> float:
    """W2 of two densities that are constant on the cells between the edges, whose ends are joined.

    With the quantile functions X and Y continued by X(u + M) = X(u) + L on a circle of length L,

        W2^2 = min over s of int_0^M |X(u) - Y(u + s)|^2 du,

    which is convex in the turn s. The zero of its derivative is found by secants and bisection; the integral is exact,
    as X and Y are linear between their merged levels. Delon, Salomon, Sobolevskii, Fast transport optimization for
    Monge costs on the circle, SIAM J. Appl. Math. 70 (2010), Theorem 2.2. edges (cell + 1,), densities (cell,) of the
    same mass M. Raises CaseError for negative densities and unequal masses.
    """
    return float(np.sqrt(_best_turn(_Turned(edges, first, second))[1]))


def map_on_circle(edges: Array, first: Array, second: Array) -> Array:
    """The mean (cell,) of where optimal transport on the circle moves the mass of each cell, not reduced to one turn.

    Cells without mass have values between those of their neighbours.
    """
    turned = _Turned(edges, first, second)
    width, ((x0, x1), (y0, y1)) = turned.merged(_best_turn(turned)[0])
    return np.asarray(edges[0] + cell_means(edges - edges[0], 0.5 * (x0 + x1), 0.5 * (y0 + y1), width))


def _best_turn(turned: _Turned) -> tuple[Any, Any]:
    """The turn of least cost, and its cost."""
    low, high = -turned.total, turned.total  # where Y is behind, or ahead of, X everywhere
    at_low, at_high, best, cost = turned.cost(low)[2], turned.cost(high)[1], low, np.inf
    for iteration in range(_MOST):
        turn = 0.5 * (low + high)
        if iteration % 2:
            turn = np.clip(low + (high - low) * (at_low / (at_low - at_high)), low, high)
        value, left, right = turned.cost(turn)
        if value < cost:
            best, cost = turn, value
        if left <= 0.0 <= right or 2.0 * min(abs(left), abs(right)) * (high - low) <= _ENOUGH * cost:
            break
        if right < 0.0:
            low, at_low = turn, right
        else:
            high, at_high = turn, left
    return best, cost


class _Turned:
    """The cost of each turn, in extended precision, as thin tails need."""

    def __init__(self, edges: Array, first: Array, second: Array) -> None:
        edges = np.asarray(edges - edges[0], np.longdouble)
        masses = [np.diff(edges) * np.asarray(density, np.longdouble) for density in (first, second)]
        self.total: Any = np.longdouble(require_masses(*masses))
        levels = [np.concatenate([np.zeros(1, np.longdouble), np.cumsum(mass)]) for mass in masses]
        self._edges = edges
        self._first, self._second = (level * (self.total / level[-1]) for level in levels)

    def cost(self, turn: Any) -> tuple[Any, Any, Any]:
        """The cost of a turn, and half its derivative from the left and from the right.

        The derivative is -2 int (X - Y) dY, where Y jumps too. If X jumps at the same place, it is X after the jump
        from the left, and X before it from the right.
        """
        width, ((x0, x1), (y0, y1)) = self.merged(turn)
        near, far = x0 - y0, x1 - y1
        value = (width * (near**2 + near * far + far**2)).sum() / 3.0
        smooth = (0.5 * (near + far) * (y1 - y0)).sum()
        x_next, y_next = (np.append(part[1:], part[0] + self._edges[-1]) for part in (x0, y0))
        middle, jump = 0.5 * (y1 + y_next), y_next - y1
        return value, -(smooth + ((x_next - middle) * jump).sum()), -(smooth + ((x1 - middle) * jump).sum())

    def merged(self, turn: Any) -> tuple[Array, tuple[_Ends, _Ends]]:
        """The widths of the merged levels of X(u) and Y(u + turn), and both at the two ends of each."""
        total = self.total
        levels = np.unique(np.concatenate([self._first, np.mod(self._second - turn, total), [0.0, total]]))
        start, end = levels[:-1], levels[1:]
        whole = np.floor((0.5 * (start + end) + turn) / total)  # the turns of Y in each interval
        moved, lift = turn - whole * total, whole * self._edges[-1]
        x = quantile(self._first, self._edges, start, end)
        y0, y1 = quantile(self._second, self._edges, start + moved, end + moved)
        return end - start, (x, (y0 + lift, y1 + lift))
