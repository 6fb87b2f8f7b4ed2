"""Energies E(rho) = sum_K |K| e_K(rho_K) and their variations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, Protocol

import numpy as np
from annotated_types import Gt

from fvflow.errors import CaseError
from fvflow.fields import Drift, Expression, Names, SteadyFormula
from fvflow.mesh import Array, Mesh

_NEAR = 1e-8  # relative change below which the first two terms of a series are exact
_APART = 1e-4  # relative change below which a difference of variations has lost its digits


class Term(Protocol):
    """One energy on one mesh, cell by cell."""

    def value(self, density: Array) -> Array:
        """e_K(rho_K) of each cell; infinite where rho_K < 0 is outside the energy's domain."""

    def first(self, density: Array) -> Array:
        """e_K'(rho_K), the first variation."""

    def second(self, density: Array) -> Array:
        """e_K''(rho_K), the second variation."""

    def secant(self, before: Array, after: Array) -> Array:
        """(e_K(after) - e_K(before))/(after - before), to round-off also where they are near; e_K' where equal."""


@dataclass(frozen=True)
class EntropyTerm:
    """eps rho log rho."""

    epsilon: float

    def value(self, density: Array) -> Array:
        """eps rho log rho; 0 at 0, infinite below."""
        positive = density > 0
        value = self.epsilon * density * np.log(density, out=np.zeros_like(density), where=positive)
        return np.where(density < 0, np.inf, value) if self.epsilon > 0 else value

    def first(self, density: Array) -> Array:
        """eps (log rho + 1); minus infinity at 0."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return self.epsilon * (np.log(density) + 1.0) if self.epsilon > 0 else np.zeros_like(density)

    def second(self, density: Array) -> Array:
        """eps/rho."""
        return self.epsilon / density

    def secant(self, before: Array, after: Array) -> Array:
        """eps (log a + (1 + 1/q) log(1 + q)), q = (b - a)/a."""
        with np.errstate(divide="ignore", invalid="ignore"):
            part = (after - before) / before
            quotient = np.where(np.abs(part) < _NEAR, 1.0 - 0.5 * part, np.log1p(part) / part)  # log(1 + q)/q
            value = np.log(before) + (1.0 + part) * quotient
            return self.epsilon * np.where(before > 0, value, np.log(after))


@dataclass(frozen=True)
class PowerTerm:
    """c rho^m/(m - 1)."""

    coefficient: float
    exponent: float

    def value(self, density: Array) -> Array:
        """c rho^m/(m - 1); infinite below 0."""
        value = self._scaled(1.0 / (self.exponent - 1.0), np.maximum(density, 0.0), self.exponent)
        return np.where(density < 0, np.inf, value)

    def first(self, density: Array) -> Array:
        """c m rho^(m-1)/(m - 1); 0 at 0 for m > 1, minus infinity for m < 1."""
        return self._scaled(self.exponent / (self.exponent - 1.0), density, self.exponent - 1.0)

    def second(self, density: Array) -> Array:
        """c m rho^(m-2)."""
        return self._scaled(self.exponent, density, self.exponent - 2.0)

    def _scaled(self, factor: float, density: Array, power: float) -> Array:
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(self.coefficient * factor * np.power(density, power))

    def secant(self, before: Array, after: Array) -> Array:
        """c a^(m-1) ((1 + q)^m - 1)/(q (m - 1)), q = (b - a)/a; c b^(m-1)/(m - 1) for a = 0."""
        m = self.exponent
        with np.errstate(divide="ignore", invalid="ignore"):
            part = (after - before) / before
            power = np.where(np.abs(part) < _NEAR, m + 0.5 * m * (m - 1) * part, np.expm1(m * np.log1p(part)) / part)
            value = np.power(before, m - 1.0) * power
            return self.coefficient / (m - 1.0) * np.where(before > 0, value, np.power(after, m - 1.0))


@dataclass(frozen=True, eq=False)
class PotentialTerm:
    """V rho."""

    potential: Array  # (cell,)

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


@dataclass(frozen=True, eq=False)
class Sum:
    """The sum of energies over a mesh."""

    volume: Array  # (cell,)
    terms: tuple[Term, ...]

    def value(self, density: Array) -> float:
        """E(rho)."""
        return float(sum(self.volume @ term.value(density) for term in self.terms))

    def first(self, density: Array) -> Array:
        """E'(rho) of each cell (cell,)."""
        return np.asarray(sum(term.first(density) for term in self.terms))

    def second(self, density: Array) -> Array:
        """E''(rho) of each cell (cell,); the Hessian is diagonal."""
        return np.asarray(sum(term.second(density) for term in self.terms))

    def secant(self, before: Array, after: Array) -> Array:
        """The discrete gradient (e(b) - e(a))/(b - a) of each cell (cell,)."""
        return np.asarray(sum(term.secant(before, after) for term in self.terms))

    def secant_slope(self, before: Array, after: Array) -> Array:
        """Its derivative in b (cell,): (e'(b) - secant)/(b - a), half of E'' where they are near."""
        change, middle = after - before, 0.5 * (before + after)
        with np.errstate(divide="ignore", invalid="ignore"):
            apart = (self.first(after) - self.secant(before, after)) / change
            return np.where(np.abs(change) <= _APART * middle, 0.5 * self.second(middle), apart)

    def spread(self, density: Array) -> float:
        """The sum over the energies of the range of their first variation: the scale of a potential."""
        return float(sum(np.ptp(term.first(density)) for term in self.terms))

    def potential(self) -> Array:
        """The sum of the potentials (cell,)."""
        found = [term.potential for term in self.terms if isinstance(term, PotentialTerm)]
        return np.sum(found, axis=0) if found else np.zeros_like(self.volume)


@dataclass(frozen=True)
class Entropy:
    """E(rho) = eps int rho log rho; its gradient flow is the heat equation (notes, equation (139))."""

    epsilon: Annotated[float, Gt(0)]
    kind: Literal["entropy"] = "entropy"

    def on(self, mesh: Mesh, names: Names) -> EntropyTerm:
        """The energy on a mesh."""
        return EntropyTerm(self.epsilon)


@dataclass(frozen=True)
class Potential:
    """E(rho) = int V rho; its gradient flow is transport by -grad V."""

    potential: SteadyFormula
    kind: Literal["potential"] = "potential"

    def on(self, mesh: Mesh, names: Names) -> PotentialTerm:
        """The energy on a mesh, V at the cell centres; raises CaseError where V is not finite."""
        return PotentialTerm(Drift(Expression(self.potential), names=names).energy(mesh, 0.0))


@dataclass(frozen=True)
class PorousMedium:
    """E(rho) = c int rho^m/(m - 1); its gradient flow is d_t rho = c Lap rho^m.

    m > 1 is the porous medium equation, whose fronts move at finite speed, m < 1 fast diffusion. Convex along
    geodesics, as a JKO step needs it, for m >= 1 - 1/dimension (McCann, A convexity principle for interacting gases,
    Adv. Math. 128 (1997)). m = 1 is `entropy`.
    """

    exponent: Annotated[float, Gt(0)]
    coefficient: Annotated[float, Gt(0)] = 1.0
    kind: Literal["porous-medium"] = "porous-medium"

    def __post_init__(self) -> None:
        if self.exponent == 1.0:
            raise CaseError("porous-medium with exponent 1 is linear diffusion; use {kind: entropy, epsilon: ...}")

    def on(self, mesh: Mesh, names: Names) -> PowerTerm:
        """The energy on a mesh; raises CaseError where it is not convex along geodesics."""
        least = 1.0 - 1.0 / mesh.dimension
        if self.exponent < least:
            raise CaseError(
                f"exponent {self.exponent:g} is below {least:.3g} = 1 - 1/{mesh.dimension}: the energy is not convex "
                "along geodesics and a JKO step has no unique minimum; use a larger exponent"
            )
        return PowerTerm(self.coefficient, self.exponent)


Energy = Entropy | Potential | PorousMedium
