"""Poisson and Chebyshev sums for exp(-z (1 - P)) m, from products with the stochastic matrix P of one jump.

The coefficients are those of `fvflow.steppers.exponential`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np

from fvflow.errors import NumericsError
from fvflow.linalg import RecurrenceStep
from fvflow.mesh import Array
from fvflow.parallel import world
from fvflow.sums import total as total_of

_STATIONARY = 8 * float(np.finfo(float).eps)  # relative change of a cell's mass in one product due to round-off alone
_CHECK_INTERVAL = 16  # products between two comparisons of all cells
_MIN_WEIGHT = 1e-30  # relative to the tolerance, of the last Chebyshev term kept: T_k(P) may grow by the inverse


def poisson_sum(
    recur: RecurrenceStep, masses: Array, z: float, tolerance: float, integral: Array | None = None
) -> tuple[Array, int]:
    """sum_k w_k P^k m, w_k = Poisson_z(k), and the number of products; it ends early if P^k m becomes stationary.

    The integral of this over z from 0 is added to `integral` (cell,), if that is given: sum_k (sum_{j > k} w_j) P^k m,
    with the same weights, so that 1 - P takes it to the change of m, whatever the tolerance leaves out.
    """
    first, weights = poisson(z, tolerance)
    last, norm = first + len(weights) - 1, total_of(np.abs(masses))
    x, previous = masses.copy(), np.zeros_like(masses)
    total = weights[0] * masses if first == 0 else np.zeros_like(masses)
    later = np.zeros(0) if integral is None else np.append(np.cumsum(weights[:0:-1])[::-1], 0.0)
    for k in range(1, last + 1):
        if integral is not None:
            integral += (later[k - 1 - first] if k > first else 1.0) * x
        _, change = recur(x, previous, 1.0, 0.0, weights[k - first] if k >= first else 0.0, total)
        x, previous = previous, x
        negligible = change <= tolerance / (last - k + 1) * norm
        if negligible or (k % _CHECK_INTERVAL == 1 and _is_stationary(x, previous, change, norm)):
            total += weights[max(k + 1 - first, 0) :].sum() * x
            if integral is not None:
                integral += (max(first - k, 0) + later[max(k - first, 0) :].sum()) * x
            return world().refresh(total), k
    return world().refresh(total), last


def adjoint_poisson_sum(jump: Callable[[Array], Array], values: Array, z: float, tolerance: float) -> Array:
    """sum_k Poisson_z(k) (P*)^k phi for a function phi (cell,), `jump` being phi -> P* phi, its mean after a jump.

    Each mean lies between the least and the largest value, and so do all later ones: the sum ends early where they
    cannot change it by more than the tolerance times the largest |phi|.
    """
    first, weights = poisson(z, tolerance)
    last, size = first + len(weights) - 1, float(np.abs(values).max(initial=0.0))
    total = weights[0] * values if first == 0 else np.zeros_like(values)
    for k in range(1, last + 1):
        before, values = values, jump(values)
        if k >= first:
            total += weights[k - first] * values
        if float(np.abs(values - before).max(initial=0.0)) <= tolerance / (last - k + 1) * size:
            return np.asarray(total + weights[max(k + 1 - first, 0) :].sum() * values)
    return total


def _is_stationary(x: Array, previous: Array, change: float, norm: float) -> bool:
    """Whether no cell's mass changed by more than round-off.

    The total change alone would not tell: cells of little mass still change in a well that fills slowly.
    """
    return change <= _STATIONARY * norm and world().every(bool((np.abs(x - previous) <= _STATIONARY * np.abs(x)).all()))


@lru_cache(maxsize=2)
def poisson(z: float, tolerance: float) -> tuple[int, Array]:
    """The first k and the weights Poisson_z(k) from there on, without tails of sum `tolerance`, scaled to sum to 1.

    The recurrence w_{k+1} = w_k z/(k+1) starts at the largest weight and runs outwards, so that the weights are
    accurate to round-off.
    """
    top, reach = int(z), int(9 * math.sqrt(z)) + 50  # the weights beyond sum to less than 1e-16
    low = max(top - reach, 0)
    right = np.cumprod(z / np.arange(top + 1, top + reach + 1))
    left = np.cumprod(np.arange(top, low, -1) / z)[::-1]
    weights = np.concatenate([left, [1.0], right])
    weights /= weights.sum()
    below, above = np.cumsum(weights), np.cumsum(weights[::-1])[::-1]
    kept = (below > 0.5 * tolerance) & (above > 0.5 * tolerance)
    first, last = int(np.argmax(kept)), len(kept) - 1 - int(np.argmax(kept[::-1]))
    weights = weights[first : last + 1]
    return low + first, weights / weights.sum()


def chebyshev_sum(
    recur: RecurrenceStep, masses: Array, z: float, tolerance: float, integral: Array | None = None
) -> tuple[Array, int]:
    """sum_k c_k T_k(P) m and the number of products; raises NumericsError if it does not converge.

    Returns the masses themselves if they are stationary: if P m - m is round-off in every cell, or if z |P m - m|_1,
    which bounds the change in the step, is below the tolerance.

    The integral of this over z from 0 is added to `integral` (cell,), if that is given and the masses are not
    stationary: Q = sum_{k < n} (2 - [k=0]) b_k T_k(P) m with b_k = sum_{j > k} (j - k) c_j, the weight c_n including
    all later ones, so that (1 - P) Q is the change of m, whatever the tolerance leaves out.
    """
    weights, tails = bessel(z, _MIN_WEIGHT * tolerance)
    initial_norm, largest = total_of(np.abs(masses)), 1.0
    x, previous, total = masses.copy(), np.zeros_like(masses), weights[0] * masses
    terms = None if integral is None else _ChebyshevIntegral(tails, masses)
    for k in range(1, len(weights)):
        norm, change = recur(x, previous, min(k, 2), min(k, 2) - 1, weights[k], total)
        if k == 1 and (change <= tolerance / z * initial_norm or _is_stationary(x, previous, change, initial_norm)):
            return masses, 1
        x, previous = previous, x
        largest = max(largest, norm / initial_norm)
        if 2 * tails[k] * largest <= tolerance:
            total += tails[k] * x
            if terms is not None and integral is not None:
                integral += terms.up_to(k)
            return world().refresh(total), k
        if terms is not None:
            terms.add(k, x)
    raise NumericsError(f"a Chebyshev sum grew to {largest:.1e} of the mass; use stepper uniformisation")


class _ChebyshevIntegral:
    """The sum Q of `chebyshev_sum`, while it is not known yet how many terms there are.

    b_k = sum_{k <= i < n} t_i with the tails t_i = sum_{j > i} c_j, as sum_{i >= k} t_i - sum_{i >= n} t_i.
    """

    def __init__(self, tails: Array, masses: Array) -> None:
        self._sums = np.cumsum(tails[::-1])[::-1]
        self._plain, self._weighted = masses.copy(), self._sums[0] * masses

    def add(self, k: int, term: Array) -> None:
        """Take note of T_k(P) m (cell,), k > 0."""
        self._plain += 2.0 * term
        self._weighted += 2.0 * self._sums[k] * term

    def up_to(self, n: int) -> Array:
        """Q (cell,), n being the last term of the sum."""
        return np.asarray(self._weighted - self._sums[n] * self._plain)


@lru_cache(maxsize=2)
def bessel(z: float, tolerance: float) -> tuple[Array, Array]:
    """c_k = (2 - [k=0]) exp(-z) I_k(z) and the tail sums of all later weights, as long as these exceed `tolerance`."""
    from scipy.special import ive

    weights = 2.0 * ive(np.arange(chebyshev_terms(z, 1e-9 * tolerance) + 1), z)
    weights[0] *= 0.5
    tails = np.append(np.cumsum(weights[:0:-1])[::-1], 0.0)
    count = max(int(np.count_nonzero(tails > tolerance)), 2)
    return weights[:count] / (weights[0] + tails[0]), tails[:count]


def chebyshev_terms(z: float, tolerance: float) -> int:
    """An upper bound on the terms of a Chebyshev sum: c_k decays like exp(-k^2/(2 z)), later like 1/k!."""
    log = -math.log(tolerance)
    return int(math.sqrt(2 * log * z) + log) + 10


def poisson_products(z: float) -> float:
    """Estimated products of a Poisson sum."""
    return z + 7 * math.sqrt(z) + 10


def log_sum_exp(x: Array) -> float:
    """log sum_K exp(x_K)."""
    top = world().largest(x)
    return top + math.log(total_of(np.exp(x - top)))
