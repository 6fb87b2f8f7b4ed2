"""The energy of one step: local, convex, and finite in empty cells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from fvflow.energies import EnergyTerm, PotentialTerm, TotalEnergy
from fvflow.mesh import Array

VACUUM = 1e-13  # relative to the mean density: below it E' is continued linearly
OCCUPIED = 1e-12  # relative to the mean density: cells above it hold mass
_BISECTIONS = 60


@dataclass(frozen=True, eq=False)
class _Proximity(EnergyTerm):
    """(c/2) (rho - rho^n)^2."""

    coefficient: float
    before: Array  # (cell,) rho^n
    external: ClassVar[bool] = False

    def value(self, density: Array) -> Array:
        """(c/2) (rho - rho^n)^2."""
        return 0.5 * self.coefficient * (density - self.before) ** 2

    def first(self, density: Array) -> Array:
        """c (rho - rho^n)."""
        return self.coefficient * (density - self.before)

    def second(self, density: Array) -> Array:
        """c."""
        return np.full_like(density, self.coefficient)


def local_majorant(total: TotalEnergy, before: Array) -> TotalEnergy:
    """A local energy with the value of E at rho^n and its slope there, and at least E at any density of that mass.

    Interactions are taken at rho^n: int (W*rho^n) rho is the tangent of a concave energy, which attraction is, on
    densities of one mass; where W has positive eigenvalues (repulsion), (c/2) |rho - rho^n|^2 is added, c the largest
    of them. So a step that lowers the majorant lowers E, at any length and without an iteration over W.
    """
    nonlocal_ = [term for term in total.terms if term.nonlocal_]
    if not nonlocal_:
        return total
    local = tuple(term for term in total.terms if not term.nonlocal_)
    terms: list[EnergyTerm] = [PotentialTerm(np.asarray(sum(term.first(before) for term in nonlocal_)))]
    repulsion = sum(term.largest_eigenvalue for term in nonlocal_)
    if repulsion > 0:
        terms.append(_Proximity(repulsion, before))
    return TotalEnergy(total.volume, (*local, *terms))


class ContinuedEnergy:
    """A local energy whose variation is continued linearly below 1e-13 of the mean density, so that E'(0) is finite.

    The minimiser then exists in doubles even where the true one is exp(-V/eps) with V/eps in the thousands; the mass
    that it concerns is below 1e-13 of the total.
    """

    interacting = False

    def __init__(self, total: TotalEnergy, mean: float) -> None:
        cells = len(total.volume)
        self.mean, self.volume, self._total = mean, total.volume, total
        self._floor = np.full(cells, VACUUM * mean)
        self._slope = total.second(self._floor)
        self.largest = 2.0 * mean * float(total.volume.sum() / total.volume.min())  # density of all mass in one cell
        self.stiffness = float((mean * total.second(np.full(cells, mean))).max())  # rho E'' at the mean density

    def first(self, density: Array) -> Array:
        """E' (cell,)."""
        below = np.minimum(density - self._floor, 0.0)
        return np.asarray(self._total.first(np.maximum(density, self._floor)) + self._slope * below)

    def second(self, density: Array) -> Array:
        """E'' (cell,)."""
        return np.asarray(self._total.second(np.maximum(density, self._floor)))

    def offdiagonal_hessian_product(self, change: Array) -> Array:
        """0 (cell,): the energy is local."""
        return np.zeros_like(change)

    def variation_range(self, density: Array) -> float:
        """Sum over the energies of max - min of their first variation."""
        return self._total.variation_range(np.maximum(density, self._floor))

    def occupied(self, density: Array) -> NDArray[np.bool_]:
        """Whether a cell holds more than 1e-12 of the mean density (cell,)."""
        return np.asarray(density > OCCUPIED * self.mean)

    def scale(self, variation: Array, density: Array) -> float:
        """Range of a variation (cell,) over the cells that hold mass, plus rho E'' at the mean: the scale of E'."""
        return float(np.ptp(variation[self.occupied(density)])) + self.stiffness

    def inverse(self, variation: Array, barrier: float = 0.0) -> Array:
        """rho > 0 (cell,) with E'(rho) - barrier/rho = q, by bisection of log rho; close to 0 where E'(0) exceeds q."""
        low = np.full(len(variation), np.log(self._floor[0]) - 60.0)
        high = np.full(len(variation), np.log(self.largest))
        for _ in range(_BISECTIONS):
            middle = 0.5 * (low + high)
            density = np.exp(middle)
            below = self.first(density) - barrier / density < variation
            low, high = np.where(below, middle, low), np.where(below, high, middle)
        return np.asarray(np.exp(0.5 * (low + high)))

    def level(self, mass: float) -> float:
        """c such that the density with E'(rho) = c has the mass."""
        low, high = float(np.log(self._floor[0])) - 30.0, float(np.log(self.largest))
        cells, level = len(self._floor), 0.0
        for _ in range(_BISECTIONS):  # over the density in the cell of the lowest variation
            middle = 0.5 * (low + high)
            level = float(self.first(np.full(cells, np.exp(middle))).min())
            if float(self.volume @ self.inverse(np.full(cells, level))) < mass:
                low = middle
            else:
                high = middle
        return level
