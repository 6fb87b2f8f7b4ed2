"""Steps that are exact in time for a steady drift: exp(-dt L) rho, L = |K|^-1 A, from products with one matrix.

P = 1 - A |K|^-1/lambda acts on the masses of the cells; lambda is the largest outflow rate of a cell. For a monotone
flux P is a stochastic matrix: no entry is negative, columns sum to 1, |P m|_1 <= |m|_1. With z = lambda dt

    exp(-dt L) = exp(-z) exp(z P) = sum_k Poisson_z(k) P^k = sum_k c_k T_k(P),   c_k = (2 - [k=0]) exp(-z) I_k(z).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Annotated, Literal, Self

import numpy as np
from annotated_types import Ge, Le

from fvflow.errors import CaseError, NumericsError
from fvflow.linalg import (
    FaceMatrix,
    RecurrenceStep,
    chebyshev_growth_bound,
    jump_rate,
    mean_after_jump,
    recurrence_step,
    rescale_to_mass,
)
from fvflow.mesh import Array, Extent
from fvflow.parallel import world
from fvflow.problems import FokkerPlanck, State
from fvflow.steppers.absorption import Absorption
from fvflow.steppers.base import AdjointStep, LinearStepperBase, Step
from fvflow.steppers.exponential_sums import (
    adjoint_poisson_sum,
    chebyshev_sum,
    chebyshev_terms,
    log_sum_exp,
    poisson_products,
    poisson_sum,
)
from fvflow.sums import total
from fvflow.times import Times

Tolerance = Annotated[float, Ge(1e-15), Le(1e-3)]
_PartialSum = Callable[[RecurrenceStep, Array, float, float, Array | None], tuple[Array, int]]
_EPS = float(np.finfo(float).eps)
_AT_GIBBS = 1e-13  # largest relative difference of a cell's mass from the Gibbs state that counts as round-off
_MAX_Z = 1e10  # of a step
_SHARP = 1e-15  # tolerance of a step whose adjoint is wanted too
_MAX_PARTS = 16  # of a `chebyshev` step far from the Gibbs state: after each part the distance is evaluated again
_MIN_PART_Z = 200.0  # of such a part: the evaluation costs more than it saves for shorter ones
_MAX_EXPANSION_Z = 1e8  # of one Chebyshev sum: I_k(z) is accurate to 1e-11 up to here


class _Propagator:
    """exp(-dt L) on the masses of the cells; also returns the number of products with P."""

    def __init__(self, problem: FokkerPlanck, tolerance: float) -> None:
        self.problem, self.tolerance = problem, tolerance
        self.matrix = _chain(problem)
        self.rate = jump_rate(self.matrix)
        self.recur: RecurrenceStep | None = recurrence_step(self.matrix, self.rate) if self.rate > 0 else None

    def __call__(self, masses: Array, mass: float, length: float, integral: Array | None = None) -> tuple[Array, int]:
        if self.recur is None:  # all rates are 0
            return masses, 0
        return self.propagate(self.recur, masses, mass, _allowed(self.rate, length), integral)

    def propagate(
        self, recur: RecurrenceStep, masses: Array, mass: float, z: float, integral: Array | None
    ) -> tuple[Array, int]:
        """exp(-z (1 - P)) m for masses m (cell,) of this total, and the number of products: its Poisson sum.

        int_0^z exp(-s (1 - P)) m ds (cell,) is added to `integral`, if that is given.
        """
        return poisson_sum(recur, masses, z, self.tolerance, integral)

    def crossed(self, integral: Array | None) -> Array | None:
        """`State.crossed` of a step, from the integral of its masses; None without one."""
        if integral is None:
            return None
        return self.matrix.flux(integral / self.matrix.volume) / (self.rate or 1.0)


def _chain(problem: FokkerPlanck) -> FaceMatrix:
    """|K| + A, with a cell for each group of openings."""
    return problem.matrix(0.0, 1.0) if problem.openings is None else problem.absorbing_chain(0.0)


def _allowed(rate: float, length: float) -> float:
    """The jumps z in a step; raises NumericsError if they are too many."""
    z = rate * length
    if z > _MAX_Z:
        raise NumericsError(
            f"a step of {length:.3g} is {z:.1e} jumps between cells long, {_MAX_Z:.0e} are allowed; use shorter "
            "steps, implicit-euler, or flow stationary"
        )
    return z


def _conservative_step(problem: FokkerPlanck, propagator: _Propagator) -> Step:
    """The step as a function; like a linear solve it restores the mass to round-off and reports the correction."""
    volume, absorption = problem.mesh.volume, Absorption(problem)

    def closed(state: State, length: float) -> State:
        integral = None if state.crossed is None else np.zeros_like(volume)
        masses, count = propagator(volume * state.density, state.mass, length, integral)
        solution = rescale_to_mass(problem.matrix(0.0, length), masses / volume, state.mass, count)
        return absorption.after(state, length, absorption.nothing, solution, crossed=propagator.crossed(integral))

    def opened(state: State, length: float) -> State:
        cells, total = problem.mesh.cells, state.remaining
        masses = np.append(volume * state.density, absorption.nothing)
        integral = None if state.crossed is None else np.zeros_like(masses)
        masses, count = propagator(masses, total, length, integral)
        matrix, allowed = propagator.matrix, 4 * _EPS * propagator.rate * length  # a product rounds the total
        both = rescale_to_mass(matrix, masses / matrix.volume, total, count, allowed)
        solution = replace(both, density=both.density[:cells])
        lost = both.density[cells:]
        return absorption.after(state, length, lost, solution, crossed=propagator.crossed(integral))

    return closed if problem.openings is None else opened


class ExactInTime(LinearStepperBase):
    """A method without a time discretisation error for steady drifts: one step per saved time suffices."""

    order = math.inf
    monotone = True
    tells_crossing = True
    work_grows_with_step = True
    requires_steady_drift = True

    def adjoint(self, problem: FokkerPlanck) -> AdjointStep:
        """phi^n = exp(-dt L*) phi^{n+1} by a Poisson sum of means after so many jumps, to round-off.

        Raises CaseError also for a flux that is not monotone, with which these are no means, and may grow without end.
        """
        self.check(problem)
        if not problem.monotone:
            raise CaseError(
                f"stepper {self.kind} has an exact adjoint for a monotone flux only; {problem.flux_kind.kind} is not "
                "monotone where the Peclet number is above 2; use flux scharfetter-gummel or stepper tr-bdf2"
            )
        matrix, cells = _chain(problem), problem.mesh.cells
        rate, absorbed = jump_rate(matrix), np.zeros(len(matrix.volume) - cells)
        jump = mean_after_jump(matrix, rate)

        def step(phi: Array, time: float, length: float) -> Array:
            if rate == 0:
                return phi
            z = _allowed(rate, length)
            return adjoint_poisson_sum(jump, np.append(phi, absorbed), z, _SHARP)[:cells]

        return step

    def for_adjoint(self, extent: Extent) -> Self:
        """The method to round-off: what the tolerance leaves open would differ between the two directions."""
        return replace(self, tolerance=_SHARP)  # type: ignore[type-var]

    def time_grid(self, times: Times) -> Times:
        """The longest possible steps if the case asks for error control, since there is no error to control."""
        return times.without_error_control()


@dataclass(frozen=True)
class Uniformisation(ExactInTime):
    """rho(t + dt) = sum_k Poisson_z(k) P^k rho(t), z = lambda dt: exact in time, positive at any step.

    Every P^k rho has the mass of rho and no negative entry, and so has their weighted mean. Weights in the two tails
    with a sum below `tolerance` are dropped and the others are scaled to sum to 1, which distributes the dropped mass
    over them in proportion: |error|_1 <= 2 tolerance mass, apart from a round-off of about 1e-16 per product. The sum
    ends early if the remaining j products cannot change the result by more than the tolerance; since |P|_1 = 1 they
    change it by at most j times the last change. It also ends if P^k rho is stationary to round-off in every cell,
    however small the cell's mass. Openings are cells that mass enters and does not leave. A step takes about z + 7
    sqrt(z) products. Jensen, Markoff chains as an aid in the study of Markoff processes, Skand. Aktuarietidskr. 36
    (1953); Fox, Glynn, Computing Poisson probabilities, Comm. ACM 31 (1988).
    """

    tolerance: Tolerance = 1e-12
    """Largest L1 error of a step, as a fraction of the mass, up to a factor 2."""
    kind: Literal["uniformisation"] = "uniformisation"
    divided = True
    takes_openings = collects_absorbed = True
    requires_monotone_flux = True

    def positive_step(self, problem: FokkerPlanck) -> float:
        """Infinite with a monotone flux, as every term of the sum is >= 0; otherwise 0."""
        return math.inf if problem.monotone else 0.0

    def start(self, problem: FokkerPlanck) -> Step:
        """The step as a function; raises CaseError if `check` does."""
        self.check(problem)
        return _conservative_step(problem, _Propagator(problem, self.tolerance))


@dataclass(frozen=True)
class Chebyshev(ExactInTime):
    """rho(t + dt) = sum_k c_k T_k(P) rho(t), c_k = (2 - [k=0]) exp(-z) I_k(z), z = lambda dt: exact in time.

    The sum ends when the remainder is below `tolerance`: |error|_1 <= 2 sum_{k > n} c_k max_j |T_j(P) rho|_1. The last
    T_n(P) rho takes the place of all later ones, so that no mass is lost. About sqrt(2 z log(1/tolerance)) products.

    Round-off grows with T_k(P). For a gradient drift and a flux that keeps exp(-V/eps) stationary, T_k(P) is bounded by
    1 in the weight 1/pi of the Gibbs state pi of mass 1, hence |T_k(P) rho|_1 <= |rho|_{1/pi}. For any drift the
    growth, weighted by c_k and summed, is at most (1 + sqrt 2) exp(s z), with s from
    `fvflow.linalg.chebyshev_growth_bound`. A step is divided into parts such that one of these bounds keeps round-off
    below the tolerance (at least 1e-12). If the parts need more products than the Poisson sum of `uniformisation`, and
    the flux is monotone, that sum is used. Densities are non-negative only up to the tolerance. A state that is the
    Gibbs state to round-off in every cell is returned unchanged. Tal-Ezer, Kosloff, An accurate and efficient scheme
    for propagating the time dependent Schroedinger equation, J. Chem. Phys. 81 (1984).
    """

    tolerance: Tolerance = 1e-12
    """Largest L1 error of a step, as a fraction of the mass, up to a factor 2."""
    kind: Literal["chebyshev"] = "chebyshev"
    divided = True
    openings_note = "its bound on round-off is that of a chain which conserves mass"

    @property
    def positivity_note(self) -> str:
        """Why no step length guarantees rho >= 0."""
        return "positive to its tolerance only; look at minimum, or use uniformisation"

    def start(self, problem: FokkerPlanck) -> Step:
        """The step as a function; raises CaseError if `check` does."""
        self.check(problem)
        return _conservative_step(problem, _ChebyshevPropagator(problem, self.tolerance))


class _ChebyshevPropagator(_Propagator):
    """exp(-dt L) by a Chebyshev sum for each part of the step."""

    def __init__(self, problem: FokkerPlanck, tolerance: float) -> None:
        super().__init__(problem, tolerance)
        self._log_growth = math.log(max(tolerance, 1e-12) / _EPS)  # allowed growth of round-off
        self._growth_rate = chebyshev_growth_bound(self.matrix, self.rate) if self.rate > 0 else 0.0

    def propagate(
        self, recur: RecurrenceStep, masses: Array, mass: float, z: float, integral: Array | None
    ) -> tuple[Array, int]:
        remaining, count = z, 0
        while remaining > 0 and not self._is_gibbs(masses, mass):
            part, partial_sum = self._next_part(masses, remaining, z)
            after, products = partial_sum(recur, masses, part, self.tolerance * part / z, integral)
            count += products
            if after is masses:  # stationary
                break
            remaining, masses = remaining - part, after
        if integral is not None:  # what is left of the step changes nothing
            integral += remaining * masses
        return masses, count

    def _next_part(self, masses: Array, remaining: float, z: float) -> tuple[float, _PartialSum]:
        """The z of the next part of a step, and its sum."""
        part = min(self._stable_part(masses, remaining), remaining)
        if part == remaining or not self.problem.monotone:
            return part, chebyshev_sum
        if poisson_products(remaining) >= remaining / part * self._chebyshev_products(part):
            return part, chebyshev_sum
        longer = remaining if self._log_gibbs is None else max(part, z / _MAX_PARTS, _MIN_PART_Z)
        return min(longer, remaining), poisson_sum

    def _stable_part(self, masses: Array, z: float) -> float:
        """The largest z of a Chebyshev sum that keeps the growth of round-off within its bound."""
        bounded = self._log_growth / max(self._growth_rate, 1e-300)
        if bounded < z and self._log_norm(masses) <= self._log_growth:
            return _MAX_EXPANSION_Z
        return min(bounded, _MAX_EXPANSION_Z)

    def _is_gibbs(self, masses: Array, mass: float) -> bool:
        """Whether every cell has the mass of the Gibbs state, to round-off.

        Later states are no further from it in any cell, since every P m/pi is a mean of m/pi; the step can end here.
        """
        if self._log_gibbs is None or not world().every(bool((masses > 0).all())):
            return False
        return world().largest(np.abs(np.log(masses / mass) - self._log_gibbs)) <= _AT_GIBBS

    def _chebyshev_products(self, z: float) -> float:
        """Estimated products of a Chebyshev sum whose T_k(P) grow as far as allowed."""
        return chebyshev_terms(z, self.tolerance * math.exp(-self._log_growth))

    def _log_norm(self, masses: Array) -> float:
        """log(|rho|_{1/pi}/mass), computed in logarithms because pi may be 1e-300; infinite if pi is not known."""
        if self._log_gibbs is None:
            return math.inf
        with np.errstate(divide="ignore"):
            return 0.5 * log_sum_exp(2.0 * np.log(np.abs(masses)) - self._log_gibbs) - math.log(total(np.abs(masses)))

    @cached_property
    def _log_gibbs(self) -> Array | None:
        """log of the masses of the Gibbs state pi (cell,); None unless P is symmetric in the weight 1/pi."""
        problem = self.problem
        if (exponent := problem.gibbs_exponent(0.0)) is None:
            return None
        log_masses = np.log(problem.mesh.volume) + exponent
        return np.asarray(log_masses - log_sum_exp(log_masses))
