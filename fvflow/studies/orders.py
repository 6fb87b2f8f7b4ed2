"""Observed orders of convergence, and Richardson's estimate of the error that remains.

If the value on level k is u_k = u + C h_k^p + o(h_k^p), h_{k-1} = r h_k, then |u_k - u| falls by r^p with each level,
and so does d_k = |u_{k-1} - u_k|, which needs no u; what remains on the finest level is d_n/(r^p - 1). Richardson, The
deferred approach to the limit, Phil. Trans. R. Soc. A 226 (1927). As a bound it is taken 1.25 times where three levels
show the order of the method, 3 times otherwise: the grid convergence index of Roache, Perspective: a method for uniform
reporting of grid refinement studies, J. Fluids Eng. 116 (1994), equations (9) and (10).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

WITHIN = 0.15
"""How far an observed order may be below the declared one."""
_AGREEING, _DIFFERING = 1.25, 3.0  # the factors of Roache
_SLOWEST = 0.1  # an order below which differences do not tell what remains


@dataclass(frozen=True)
class Remaining:
    """What remains on the finest level, as the differences of levels tell it."""

    estimate: float
    """The error; nan if the differences do not tell it."""
    factor: float
    """How many times the estimate is taken as a bound; nan if there is none."""
    sentence: str
    """How far it can be trusted."""


def observed_orders(errors: Sequence[float], sizes: Sequence[float], least: float = 0.0) -> tuple[float, ...]:
    """log(e_{k-1}/e_k)/log(h_{k-1}/h_k) of each level; nan for the first, and where an error is at most `least`.

    >>> observed_orders([0.4, 0.1, 0.05], [1.0, 0.5, 0.25])
    (nan, 2.0, 1.0)
    """
    orders = [math.nan]
    for (e, finer_e), (h, finer_h) in zip(pairwise(errors), pairwise(sizes), strict=True):
        told = min(e, finer_e) > least and h > finer_h
        orders.append(math.log(e / finer_e) / math.log(h / finer_h) if told else math.nan)
    return tuple(orders)


def remaining(
    differences: Sequence[float], sizes: Sequence[float], declared: float | None, least: float = 0.0
) -> Remaining:
    """What remains on the finest level; `differences` are those of each level from the one before, nan for the first.

    The order that counts is the observed one, at most the declared one.

    >>> round(remaining([math.nan, 0.3, 0.075], [1.0, 0.5, 0.25], 2.0).estimate, 6)
    0.025
    """
    last, ratio = differences[-1], sizes[-2] / sizes[-1]
    if last <= least:
        return Remaining(last, 1.0, "the last two levels differ by round-off")
    orders = observed_orders(differences[1:], sizes[1:], least)
    order = orders[-1]
    if math.isnan(order):
        if declared is None:
            return Remaining(math.nan, math.nan, "not estimated: three levels tell an order, and none is declared")
        estimate = last / (ratio**declared - 1.0)
        return Remaining(estimate, _DIFFERING, "by the declared order, which two levels do not show: times 3 a bound")
    if order < _SLOWEST:
        return Remaining(
            math.nan, math.nan, f"not estimated: the levels do not approach each other (order {order:.2f})"
        )
    taken = order if declared is None else min(order, declared)
    estimate = last / (ratio**taken - 1.0)
    if declared is not None and abs(order - declared) <= WITHIN:
        return Remaining(estimate, _AGREEING, "three levels show the declared order: 1.25 times it is taken as a bound")
    if declared is None and len(orders) > 2 and abs(order - orders[-2]) <= WITHIN:
        return Remaining(estimate, _AGREEING, "four levels show the same order: 1.25 times it is taken as a bound")
    return Remaining(estimate, _DIFFERING, f"the levels fall at order {order:.2f}: 3 times it is taken as a bound")
