"""Steps that are exact in time: exp(-dt L) rho for a steady drift, L = |K|^-1 A, from products with one matrix.

P = 1 - A |K|^-1/lambda on the masses of the cells, lambda being the largest rate at which one empties, is a stochastic
matrix for a monotone flux: no entry is negative, columns add up to 1, |P m|_1 <= |m|_1. With z = lambda dt

    exp(-dt L) = exp(-z) exp(z P) = sum_k Poisson_z(k) P^k = sum_k c_k T_k(P),   c_k = (2 - [k=0]) exp(-z) I_k(z).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge, Le

from fvflow.errors import NumericsError
from fvflow.linalg import RecurrenceStep, chebyshev_growth_bound, jump_rate, recurrence_step, rescale_to_mass
from fvflow.mesh import Array
from fvflow.problems import FokkerPlanck, State
from fvflow.steppers.base import LinearStepperBase, Step
from fvflow.steppers.linear import advanced
from fvflow.times import Times

Tolerance = Annotated[float, Ge(1e-15), Le(1e-3)]
_EPS = float(np.finfo(float).eps)
_AT_REST = 8 * _EPS  # what a product with P changes by round-off alone, of each cell's mass
_AT_GIBBS = 1e-13  # from the Gibbs state, of each cell's mass
_SELDOM = 16  # products from one look at every cell to the next
_LONGEST = 1e10  # z of a step
_LEAST = 200.0  # z of such a part: shorter ones cost more than they tell
_GROWTH = 1e-30  # what T_k(P) may grow by before a sum ends, inverted
_LOOKS = 16  # into how many parts `chebyshev` cuts a step that starts far from the Gibbs state, to look again
_LARGEST = 1e8  # z of one expansion: I_k(z) is known to 1e-11 up to there


class _Advance:
    """exp(-dt L) on the masses of the cells, and the number of products that it took."""

    def __init__(self, problem: FokkerPlanck, tolerance: float) -> None:
        self.problem, self.tolerance = problem, tolerance
        self.matrix = problem.matrix(0.0, 1.0)
        self.rate = jump_rate(self.matrix)
        self.product: RecurrenceStep | None = recurrence_step(self.matrix, self.rate) if self.rate > 0 else None

    def __call__(self, masses: Array, length: float) -> tuple[Array, int]:
        if self.product is None:  # nothing moves
            return masses, 0
        z = self.rate * length
        if z > _LONGEST:
            raise NumericsError(
                f"a step of {length:.3g} is {z:.1e} jumps between cells long, {_LONGEST:.0e} are allowed; use shorter "
                "steps, implicit-euler, or flow stationary"
            )
        return self.advanced(self.product, masses, z)

    def advanced(self, times: RecurrenceStep, masses: Array, z: float) -> tuple[Array, int]:
        """exp(-z (1 - P)) m and the number of products: its Poisson sum."""
        return poisson_sum(times, masses, z, self.tolerance)


def _started(problem: FokkerPlanck, advance: _Advance) -> Step:
    """The step that ends as a linear solve does: with the mass right to round-off, and the correction reported."""
    volume = problem.mesh.volume

    def step(state: State, length: float) -> State:
        masses, count = advance(volume * state.density, length)
        solution = rescale_to_mass(problem.matrix(0.0, length), masses / volume, state.mass, count)
        return advanced(state, length, solution)

    return step


class ExactInTime(LinearStepperBase):
    """A method without an error in time for steady drifts: as many steps as there are saved times will do."""

    order = math.inf
    work_grows_with_step = True
    requires_steady_drift = True

    def time_grid(self, times: Times) -> Times:
        """Steps as long as possible if the case asks for steps chosen by their error."""
        return times.without_error_control()


@dataclass(frozen=True)
class Uniformisation(ExactInTime):
    """rho(t + dt) = sum_k Poisson_z(k) P^k rho(t), z = lambda dt: exact in time, positive at any step.

    Every P^k rho has the mass of rho and no negative entry, and so has their weighted mean. Weights are left out on
    both sides where they add up to less than `tolerance`; those kept are scaled to add up to 1, so that the mass left
    out is put on them in proportion: |error|_1 <= 2 tolerance mass, beside a round-off of about 1e-16 a product. The
    sum ends early where what the j products to come may change, at most j times what the last one did as |P|_1 = 1, is
    below the tolerance, and where P^k rho is at rest to round-off in every cell, however little mass it has. About
    z + 7 sqrt(z) products of a step. Jensen, Markoff chains as an aid in the study of Markoff processes, Skand.
    Aktuarietidskr. 36 (1953); Fox, Glynn, Computing Poisson probabilities, Comm. ACM 31 (1988).
    """

    tolerance: Tolerance = 1e-12
    kind: Literal["uniformisation"] = "uniformisation"
    requires_monotone_flux = True

    def positive_step(self, problem: FokkerPlanck) -> float:
        """The longest step that keeps rho >= 0 whatever rho is."""
        return math.inf

    def start(self, problem: FokkerPlanck) -> Step:
        """The step as a function; raises CaseError as `check` does."""
        self.check(problem)
        return _started(problem, _Advance(problem, self.tolerance))


def poisson_sum(times: RecurrenceStep, masses: Array, z: float, tolerance: float) -> tuple[Array, int]:
    """sum_k Poisson_z(k) P^k m, ended early where P^k m is at rest, and the number of products."""
    first, weights = poisson(z, tolerance)
    last, bound = first + len(weights) - 1, float(masses.sum())
    x, other = masses.copy(), np.zeros_like(masses)
    total = weights[0] * masses if first == 0 else np.zeros_like(masses)
    for k in range(1, last + 1):
        _, change = times(x, other, 1.0, 0.0, weights[k - first] if k >= first else 0.0, total)
        x, other = other, x
        if change <= tolerance / (last - k + 1) * bound or (k % _SELDOM == 1 and _rests(x, other, change, bound)):
            total += weights[max(k + 1 - first, 0) :].sum() * x
            return total, k
    return total, last


def _rests(x: Array, other: Array, change: float, bound: float) -> bool:
    """Whether no cell's mass changed by more than round-off: in a well that fills slowly the least ones still do."""
    return change <= _AT_REST * bound and bool((np.abs(x - other) <= _AT_REST * np.abs(x)).all())


@lru_cache(maxsize=2)
def poisson(z: float, tolerance: float) -> tuple[int, Array]:
    """The first k and the weights Poisson_z(k) from there on, less than `tolerance` left out, scaled to add up to 1.

    From the largest weight outwards by w_{k+1} = w_k z/(k+1), so that they are right to round-off.
    """
    top, reach = int(z), int(9 * math.sqrt(z)) + 50  # beyond lies less than 1e-16
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


@dataclass(frozen=True)
class Chebyshev(ExactInTime):
    """rho(t + dt) = sum_k c_k T_k(P) rho(t), c_k = (2 - [k=0]) exp(-z) I_k(z), z = lambda dt: exact in time.

    The sum ends where what is left out is below `tolerance`: |error|_1 <= 2 sum_{k > n} c_k max_j |T_j(P) rho|_1, the
    last T_n(P) rho standing in for those to come, so that no mass is lost. About sqrt(2 z log(1/tolerance)) products.

    Round-off grows as T_k(P) does. For a gradient drift with a flux that balances exp(-V/eps) T_k(P) is bounded by
    1 in the weight 1/pi of the Gibbs state, hence |T_k(P) rho|_1 <= |rho|_{1/pi} for pi of mass 1. For any drift
    that growth, weighted by c_k and summed, is at most (1 + sqrt 2) exp(s z), s from
    `fvflow.linalg.chebyshev_growth_bound`. A step is cut into parts such that one of the two keeps round-off below the
    tolerance (at least 1e-12); where these together take more products than the Poisson sum of `uniformisation`, and
    that is stable, it is that sum.
    Not positive: only down to -tolerance. A state that is Gibbs to round-off in every cell is left as it is.
    Tal-Ezer, Kosloff, An accurate and efficient scheme for propagating the time dependent Schroedinger equation,
    J. Chem. Phys. 81 (1984).
    """

    tolerance: Tolerance = 1e-12
    kind: Literal["chebyshev"] = "chebyshev"

    @property
    def positivity_note(self) -> str:
        """Why no step length guarantees rho >= 0."""
        return "positive to its tolerance only; look at minimum, or use uniformisation"

    def start(self, problem: FokkerPlanck) -> Step:
        """The step as a function; raises CaseError as `check` does."""
        self.check(problem)
        return _started(problem, _Expanded(problem, self.tolerance))


class _Expanded(_Advance):
    """exp(-dt L) by Chebyshev sums of parts of the step."""

    def __init__(self, problem: FokkerPlanck, tolerance: float) -> None:
        super().__init__(problem, tolerance)
        self._growth = math.log(max(tolerance, 1e-12) / _EPS)  # that round-off may have
        self._stretch = chebyshev_growth_bound(self.matrix, self.rate) if self.rate > 0 else 0.0

    def advanced(self, times: RecurrenceStep, masses: Array, z: float) -> tuple[Array, int]:
        left, count = z, 0
        while left > 0 and not self._settled(masses):
            part, summed = min(self._part(masses, left), left), chebyshev_sum
            if part < left and self.problem.monotone and _products(left) < left / part * self._cost(part):
                part, summed = min(left if self._gibbs is None else max(part, z / _LOOKS, _LEAST), left), poisson_sum
            after, products = summed(times, masses, part, self.tolerance * part / z)
            left, count = left - part, count + products
            if after is masses:  # at rest
                break
            masses = after
        return masses, count

    def _part(self, masses: Array, z: float) -> float:
        """The longest z of one sum."""
        bounded = self._growth / max(self._stretch, 1e-300)
        return _LARGEST if bounded < z and self._distance(masses) <= self._growth else min(bounded, _LARGEST)

    def _settled(self, masses: Array) -> bool:
        """Whether every cell has the mass of the Gibbs state, to round-off.

        Later states are no further from it in any cell, as every P m/pi is a mean of m/pi; so this is left as it is.
        """
        level = self._gibbs
        if level is None or not (masses > 0).all():
            return False
        return float(np.abs(np.log(masses / masses.sum()) - level).max()) <= _AT_GIBBS

    def _cost(self, z: float) -> float:
        """About how many products a part takes whose T_k(P) grow as far as they may."""
        return _terms(z, self.tolerance * math.exp(-self._growth))

    def _distance(self, masses: Array) -> float:
        """log |rho|_{1/pi}/mass, in logarithms as pi may be 1e-300; infinite where no pi is known."""
        level = self._gibbs
        if level is None:
            return math.inf
        with np.errstate(divide="ignore"):
            return 0.5 * _log_sum_exp(2.0 * np.log(np.abs(masses)) - level) - math.log(np.abs(masses).sum())

    @cached_property
    def _gibbs(self) -> Array | None:
        """log of the masses of the Gibbs state (cell,), if the product is symmetric in the weight 1/pi."""
        problem = self.problem
        if not (problem.drift.gradient and problem.epsilon > 0 and problem.scheme.keeps_gibbs):
            return None
        level = np.log(problem.mesh.volume) - problem.drift.cell_potential(problem.mesh, 0.0) / problem.epsilon
        return np.asarray(level - _log_sum_exp(level))


def chebyshev_sum(times: RecurrenceStep, masses: Array, z: float, tolerance: float) -> tuple[Array, int]:
    """sum_k c_k T_k(P) m and the number of products; raises NumericsError if that does not converge.

    At rest where P m - m is round-off in every cell, or where z of it, which bounds what the step does, is below the
    tolerance: then the masses themselves.
    """
    weights, tails = bessel(z, _GROWTH * tolerance)
    bound, largest = float(np.abs(masses).sum()), 1.0
    x, other, total = masses.copy(), np.zeros_like(masses), weights[0] * masses
    for k in range(1, len(weights)):
        norm, change = times(x, other, min(k, 2), min(k, 2) - 1, weights[k], total)
        if k == 1 and (change <= tolerance / z * bound or _rests(x, other, change, bound)):
            return masses, 1
        x, other = other, x
        largest = max(largest, norm / bound)
        if 2 * tails[k] * largest <= tolerance:
            total += tails[k] * x
            return total, k
    raise NumericsError(f"a Chebyshev sum grew to {largest:.1e} of the mass; use stepper uniformisation")


@lru_cache(maxsize=2)
def bessel(z: float, tolerance: float) -> tuple[Array, Array]:
    """c_k = (2 - [k=0]) exp(-z) I_k(z), and what those after each add up to, while that is above `tolerance`."""
    from scipy.special import ive

    weights = 2.0 * ive(np.arange(_terms(z, 1e-9 * tolerance) + 1), z)
    weights[0] *= 0.5
    tails = np.append(np.cumsum(weights[:0:-1])[::-1], 0.0)
    count = max(int(np.count_nonzero(tails > tolerance)), 2)
    return weights[:count] / (weights[0] + tails[0]), tails[:count]


def _terms(z: float, tolerance: float) -> int:
    """More terms than a Chebyshev sum needs: c_k falls like exp(-k^2/(2 z)), later like 1/k!."""
    log = -math.log(tolerance)
    return int(math.sqrt(2 * log * z) + log) + 10


def _products(z: float) -> float:
    """About how many products a Poisson sum takes."""
    return z + 7 * math.sqrt(z) + 10


def _log_sum_exp(x: Array) -> float:
    top = float(x.max())
    return top + math.log(float(np.exp(x - top).sum()))
