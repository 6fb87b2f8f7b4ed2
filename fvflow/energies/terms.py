"""Local energies E(rho) = sum_K |K| e_K(rho_K) on a mesh, and their variations; densities and results are (cell,)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fvflow.energies.base import EnergyTerm
from fvflow.mesh import Array

_SMALL_CHANGE = 1e-8  # relative change below which the first two terms of a series are exact to round-off
_BY_PRODUCTS = range(3, 9)  # exponents; numpy has a case of its own for 2
_LARGE_CHANGE = 1e8  # relative change beyond which a difference quotient is exact to round-off


@dataclass(frozen=True)
class EntropyTerm(EnergyTerm):
    """e(rho) = eps rho log rho."""

    epsilon: float
    label = "the variation of the entropy"
    displacement_convex = True

    @property
    def diffusion(self) -> float:
        """eps."""
        return self.epsilon

    def value(self, density: Array) -> Array:
        """eps rho log rho; 0 at rho = 0, infinite for rho < 0."""
        positive = density > 0
        value = self.epsilon * density * np.log(density, out=np.zeros_like(density), where=positive)
        return np.where(density < 0, np.inf, value) if self.epsilon > 0 else value

    def first(self, density: Array) -> Array:
        """eps (log rho + 1); minus infinity at rho = 0."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return self.epsilon * (np.log(density) + 1.0) if self.epsilon > 0 else np.zeros_like(density)

    def second(self, density: Array) -> Array:
        """eps/rho."""
        return self.epsilon / density

    def secant(self, before: Array, after: Array) -> Array:
        """eps (log a + (1 + 1/q) log(1 + q)), q = (b - a)/a; eps log b for a = 0."""
        with np.errstate(divide="ignore", invalid="ignore"):
            q = (after - before) / before
            quotient = np.where(np.abs(q) < _SMALL_CHANGE, 1.0 - 0.5 * q, np.log1p(q) / q)  # log(1 + q)/q
            value = np.log(before) + (1.0 + q) * quotient
            value = np.where(after > 0, value, np.log(before))
            return self.epsilon * np.where(before > 0, value, np.log(after))


@dataclass(frozen=True)
class PowerTerm(EnergyTerm):
    """e(rho) = c rho^m/(m - 1)."""

    coefficient: float
    exponent: float
    label = "the variation of the power energy"
    displacement_convex = True  # for m >= 1 - 1/d, which the kind requires

    def value(self, density: Array) -> Array:
        """c rho^m/(m - 1); infinite for rho < 0."""
        value = self._scaled(1.0 / (self.exponent - 1.0), np.maximum(density, 0.0), self.exponent)
        return np.where(density < 0, np.inf, value)

    def first(self, density: Array) -> Array:
        """c m rho^(m-1)/(m - 1); at rho = 0 it is 0 for m > 1, minus infinity for m < 1."""
        return self._scaled(self.exponent / (self.exponent - 1.0), density, self.exponent - 1.0)

    def second(self, density: Array) -> Array:
        """c m rho^(m-2)."""
        return self._scaled(self.exponent, density, self.exponent - 2.0)

    def _scaled(self, factor: float, density: Array, power: float) -> Array:
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            return np.asarray(self.coefficient * factor * _power(density, power))

    def secant(self, before: Array, after: Array) -> Array:
        """c a^(m-1) ((1 + q)^m - 1)/(q (m - 1)), q = (b - a)/a; c b^(m-1)/(m - 1) for a = 0."""
        m = self.exponent
        with np.errstate(divide="ignore", invalid="ignore"):
            q = (after - before) / before
            power = np.where(np.abs(q) < _SMALL_CHANGE, m + 0.5 * m * (m - 1) * q, np.expm1(m * np.log1p(q)) / q)
            value = _power(before, m - 1.0) * power
            quotient = (_power(after, m) - _power(before, m)) / (after - before)  # does not overflow, as q^m does
            value = np.where(q < _LARGE_CHANGE, value, quotient)
            return self.coefficient / (m - 1.0) * np.where(before > 0, value, _power(after, m - 1.0))


def _power(values: Array, exponent: float) -> Array:
    """values^exponent; by products for whole exponents up to 8, in a tenth to a half of the time."""
    if exponent not in _BY_PRODUCTS:
        return np.asarray(np.power(values, exponent))
    product = values * values
    for _ in range(int(exponent) - 2):
        product *= values
    return product


@dataclass(frozen=True, eq=False)
class PotentialTerm(EnergyTerm):
    """e_K(rho) = V_K rho."""

    potential: Array  # (cell,)
    label = "the potential"
    external = True

    @property
    def diffusion(self) -> float:
        """0."""
        return 0.0

    def value(self, density: Array) -> Array:
        """V rho."""
        return self.potential * density

    def first(self, density: Array) -> Array:
        """V."""
        return self.potential

    def second(self, density: Array) -> Array:
        """0."""
        return np.zeros_like(density)

    def secant(self, before: Array, after: Array) -> Array:
        """V."""
        return self.potential
