"""The sum of energies."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fvflow.energies.base import EnergyTerm
from fvflow.mesh import Array

_APART = 1e-4  # relative change below which a difference of variations has lost its digits


@dataclass(frozen=True, eq=False)
class TotalEnergy:
    """The sum of energies over a mesh."""

    volume: Array  # (cell,)
    terms: tuple[EnergyTerm, ...]

    def value(self, density: Array) -> float:
        """E(rho)."""
        return float(sum(self.volume @ term.value(density) for term in self.terms))

    def first(self, density: Array) -> Array:
        """E'(rho) of each cell (cell,)."""
        return np.asarray(sum(term.first(density) for term in self.terms))

    def second(self, density: Array) -> Array:
        """E''(rho) of each cell (cell,), without what an interaction adds: see `offdiagonal_hessian_product`."""
        return np.asarray(sum(term.second(density) for term in self.terms))

    def secant(self, before: Array, after: Array) -> Array:
        """The discrete gradient (cell,): (e(b) - e(a))/(b - a) of each cell, W*(a + b)/2 of an interaction.

        Summed against |K| (b - a) it gives E(b) - E(a).
        """
        return np.asarray(sum(term.secant(before, after) for term in self.terms))

    @property
    def diffusion(self) -> float | None:
        """eps of E = eps int rho log rho + int V rho; None if the flow of E is not linear."""
        parts = [term.diffusion for term in self.terms]
        return None if None in parts else float(sum(part or 0.0 for part in parts))

    def convex_splitting_gradient(self, before: Array, after: Array) -> Array:
        """E'(b) of the local energies, the discrete gradient of the interactions (cell,).

        Summed against |K| (b - a) it gives at least E(b) - E(a) if the local energies are convex, whatever W is
        (Bailo, Carrillo, Hu, Fully discrete positivity-preserving and energy-dissipating schemes for
        aggregation-diffusion equations, Commun. Math. Sci. 18 (2020)).
        """
        return np.asarray(
            sum(term.secant(before, after) if term.nonlocal_ else term.first(after) for term in self.terms)
        )

    @property
    def interacting(self) -> bool:
        """Whether the Hessian has more than a diagonal."""
        return any(term.nonlocal_ for term in self.terms)

    def offdiagonal_hessian_product(self, change: Array) -> Array:
        """What an interaction adds to the product of the Hessian with a change of the density (cell,): W*change."""
        return np.asarray(sum(term.first(change) for term in self.terms if term.nonlocal_))

    def secant_slope(self, before: Array, after: Array) -> Array:
        """The derivative of the local discrete gradient in b (cell,), half of E'' where they are near."""
        local = TotalEnergy(self.volume, tuple(term for term in self.terms if not term.nonlocal_))
        change, middle = after - before, 0.5 * (before + after)
        with np.errstate(divide="ignore", invalid="ignore"):
            apart = (local.first(after) - local.secant(before, after)) / change
            return np.where(np.abs(change) <= _APART * middle, 0.5 * local.second(middle), apart)

    def variation_range(self, density: Array) -> float:
        """The sum over the energies of the range of their first variation: the scale of a potential."""
        return float(sum(np.ptp(term.first(density)) for term in self.terms))

    def potential(self, density: Array) -> Array:
        """The sum of the potentials, those of interactions with the density included (cell,)."""
        found = [term.first(density) for term in self.terms if term.external or term.nonlocal_]
        return np.sum(found, axis=0) if found else np.zeros_like(self.volume)
