"""The energy of one step: local, convex, and finite in empty cells."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fvflow.energies import EnergyTerm, PotentialTerm, TotalEnergy
from fvflow.errors import NumericsError
from fvflow.linalg import inner
from fvflow.mesh import Array
from fvflow.problems import GradientFlow

VACUUM = 1e-16  # relative to the mean density: below it E' is continued linearly
OCCUPIED = 1e-12  # relative to the mean density: cells above it hold mass
_MAX_BISECTIONS = 100
_LEAST = 1e-26  # smallest density of a barrier problem, relative to the floor
_CLOSE = 1e-10  # change of log rho at which `inverse` ends
_MISSED = 1.0  # logarithm of the mass of a level to that asked for: more than the next cell to fill may bring


@dataclass(frozen=True, eq=False)
class _Proximity(EnergyTerm):
    """(c/2) (rho - rho^n)^2."""

    coefficient: float
    before: Array  # (cell,) rho^n

    def value(self, density: Array) -> Array:
        """(c/2) (rho - rho^n)^2."""
        return 0.5 * self.coefficient * (density - self.before) ** 2

    def first(self, density: Array) -> Array:
        """c (rho - rho^n)."""
        return self.coefficient * (density - self.before)

    def second(self, density: Array) -> Array:
        """c."""
        return np.full_like(density, self.coefficient)


def grounded(problem: GradientFlow) -> tuple[GradientFlow, float]:
    """The problem with V - min V in place of the external potential V, and min V: the flow is the same.

    A large constant would hide differences of E' in its round-off.
    """
    external = TotalEnergy(problem.total.volume, tuple(term for term in problem.total.terms if term.external))
    if not external.terms:
        return problem, 0.0
    constant = float(external.first(np.zeros(problem.mesh.cells)).min())
    return replace(problem, total=problem.total.shifted(constant)), constant


def linearised(total: TotalEnergy, before: Array, proximity: float) -> TotalEnergy:
    """A local energy: E with its interactions replaced by their tangent at rho^n, plus (proximity/2) |rho - rho^n|^2.

    The potential is shifted to the minimum 0.

    It is at least E, up to a constant, along the change h = rho - rho^n where the `curvature` of h is at most the
    proximity; then a step that lowers it lowers E. Along attraction, which is concave on densities of one mass, that
    is so without proximity.
    """
    potential = total.potential(before)
    local = tuple(term for term in total.terms if not (term.nonlocal_ or term.external))
    shifted = PotentialTerm(potential - float(potential.min()))  # a constant would hide differences in its round-off
    proximal = (_Proximity(proximity, before),) if proximity > 0 else ()
    return TotalEnergy(total.volume, (*local, shifted, *proximal))


def curvature(total: TotalEnergy, change: Array) -> float:
    """sum |K| h_K (W*h)_K / sum |K| h_K^2 of the interactions along a change h (cell,) of the density."""
    square = inner(total.volume, change**2)
    return inner(total.volume * change, total.offdiagonal_hessian_product(change)) / square if square > 0 else 0.0


class ContinuedEnergy:
    """A local energy whose variation is continued linearly below 1e-16 of the mean density, so that E'(0) is finite.

    The minimiser then exists in doubles even where the true one is exp(-V/eps) with V/eps in the thousands; the mass
    that it concerns is below 1e-16 of the total.
    """

    def __init__(self, total: TotalEnergy, mean: float) -> None:
        cells = len(total.volume)
        self.mean, self.volume, self.floor, self._total = mean, total.volume, VACUUM * mean, total
        self.regular = bool(np.isfinite(total.first(np.zeros(cells))).all())
        self._floor = np.full(cells, self.floor)
        self._slope = total.second(self._floor)
        self._at_floor = total.first(self._floor)
        self.least_occupied = total.first(np.full(cells, OCCUPIED * mean))  # E' at the least density that holds mass
        self._empty = self._at_floor - self._slope * self._floor  # E'(0)
        self.largest = 2.0 * mean * float(total.volume.sum() / total.volume.min())  # density of all mass in one cell
        self._at_largest = total.first(np.full(cells, self.largest))
        self.stiffness = total.stiffness(mean)

    def shifted(self, constant: float) -> ContinuedEnergy:
        """The same energy less a constant times the mass."""
        return ContinuedEnergy(self._total.shifted(constant), self.mean)

    def first(self, density: Array) -> Array:
        """E' (cell,)."""
        below = np.minimum(density - self._floor, 0.0)
        return np.asarray(self._total.first(np.maximum(density, self._floor)) + self._slope * below)

    def second(self, density: Array) -> Array:
        """E'' (cell,)."""
        return np.asarray(self._total.second(np.maximum(density, self._floor)))

    def potential(self, density: Array) -> Array:
        """The part of E' that does not depend on the density of the same cell (cell,)."""
        return self._total.potential(density)

    def occupied(self, density: Array) -> NDArray[np.bool_]:
        """Whether a cell holds more than 1e-12 of the mean density (cell,)."""
        return np.asarray(density > OCCUPIED * self.mean)

    def scale(self, variation: Array, density: Array) -> float:
        """Range of a variation (cell,) over the cells that hold mass, plus rho E'' at the mean: the scale of E'.

        Raises NumericsError if it is 0 or overflows or no cell holds mass, so that nothing can be measured by it.
        """
        occupied = self.occupied(density)
        found = float(np.ptp(variation[occupied])) + self.stiffness if occupied.any() else np.nan
        if not 0.0 < found < np.inf:
            raise NumericsError(f"the variation of the energy has the range {found:g} in double precision")
        return found

    def inverse(self, variation: Array, barrier: float = 0.0, near: Array | None = None) -> Array:
        """rho >= 0 (cell,) with E'(rho) - barrier/rho = q, or 0 where E'(0) - barrier/0 exceeds q. `near` is a guess.

        It is at most `largest`, also where q exceeds E' there. By Newton's method in log rho, with bisection where its
        steps do not halve from one to the next.
        """
        least = self.floor if barrier == 0.0 else self.floor * _LEAST
        low, high = (np.full(len(variation), np.log(place)) for place in (least, self.largest))
        low = np.where(variation >= self._at_largest - barrier / self.largest, high, low)
        place = 0.5 * (low + high) if near is None else np.clip(np.log(np.clip(near, least, self.largest)), low, high)
        linear = np.maximum((variation - self._empty) / self._slope, 0.0)  # the solution below the floor
        below = (variation < self._at_floor) & (barrier == 0.0)
        moved = high - low
        for _ in range(_MAX_BISECTIONS):
            density = np.exp(place)
            error = self.first(density) - barrier / density - variation
            low, high = np.where(error < 0, place, low), np.where(error < 0, high, place)
            step = -error / (density * self.second(density) + barrier / density)
            newton = place + step
            halved = np.abs(step) <= np.maximum(0.5 * np.abs(moved), _CLOSE)
            taken = (newton >= low) & (newton <= high) & halved
            new = np.where(taken, newton, 0.5 * (low + high))
            moved, place = new - place, new
            if not (np.abs(moved) > _CLOSE)[~below].any():
                break
        return np.asarray(np.where(below, linear, np.exp(place)))

    def level(self, mass: float) -> float:
        """c such that the density with E'(rho) = c has the mass; raises NumericsError if round-off hides it."""
        from scipy.optimize import brentq

        cells = len(self._floor)
        near: list[Array | None] = [None]

        def variation(place: float) -> float:
            """c, from the logarithm of the density in the cell where E' is least."""
            return float(self.first(np.full(cells, np.exp(place))).min())

        def excess(place: float) -> float:
            near[0] = density = self.inverse(np.full(cells, variation(place)), near=near[0])
            return float(np.log(inner(self.volume, density) / mass))

        low, high = float(np.log(self.floor)), float(np.log(self.largest))
        lost = NumericsError("the diffusion is lost to round-off beside the potential")
        if not excess(low) < 0.0 < excess(high):
            raise lost
        try:
            place = brentq(excess, low, high, xtol=_CLOSE)
        except ValueError:
            raise lost from None
        if not abs(excess(place)) < _MISSED:  # E' is constant in doubles, so that the density of a level is any
            raise lost
        return variation(place)
