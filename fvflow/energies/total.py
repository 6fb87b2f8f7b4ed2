"""The total energy: the sum of several energies on a mesh."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from fvflow.energies.base import EnergyTerm
from fvflow.energies.convexity import Convexity, least_curvature
from fvflow.energies.terms import PotentialTerm
from fvflow.mesh import Array, Mesh
from fvflow.sums import inner

_CANCELLATION = 1e-4  # relative change below which a difference of variations is lost to cancellation


@dataclass(frozen=True, eq=False)
class TotalEnergy:
    """E(rho) = sum over the terms of sum_K |K| e_K(rho_K); densities (cell,)."""

    volume: Array  # (cell,)
    terms: tuple[EnergyTerm, ...]

    def value(self, density: Array) -> float:
        """E(rho); infinite if the value of a term is, as at a density below 0."""
        with np.errstate(over="ignore"):
            values = [inner(self.volume, term.value(density)) for term in self.terms]
        return math.inf if math.inf in values else math.fsum(values)

    def round_off(self, density: Array) -> float:
        """Bound on the round-off of `value`: 1e-14 of the sum of the magnitudes of its parts."""
        return 1e-14 * sum(inner(self.volume, np.abs(term.value(density))) for term in self.terms)

    def first(self, density: Array) -> Array:
        """E'(rho) of each cell (cell,)."""
        return np.asarray(sum(term.first(density) for term in self.terms))

    def second(self, density: Array) -> Array:
        """Diagonal of E''(rho) (cell,); for the off-diagonal part see `offdiagonal_hessian_product`."""
        return np.asarray(sum(term.second(density) for term in self.terms))

    def stiffness(self, density: float) -> float:
        """max_K rho E'' at a uniform density: the scale of E' at equilibrium, where its range is 0."""
        return float((density * self.second(np.full(len(self.volume), density))).max())

    def secant(self, before: Array, after: Array) -> Array:
        """The discrete gradient (cell,): (e(b) - e(a))/(b - a) of local energies, W*(a + b)/2 of interactions.

        Its sum with the weights |K| (b - a) is E(b) - E(a).
        """
        return np.asarray(sum(term.secant(before, after) for term in self.terms))

    @property
    def diffusion(self) -> float | None:
        """eps if E = eps int rho log rho + int V rho; None if the gradient flow of E is not linear."""
        coefficients = [term.diffusion for term in self.terms]
        return None if None in coefficients else float(sum(value or 0.0 for value in coefficients))

    @property
    def interacting(self) -> bool:
        """Whether the Hessian has off-diagonal entries."""
        return any(term.nonlocal_ for term in self.terms)

    def offdiagonal_hessian_product(self, change: Array) -> Array:
        """Product of the off-diagonal part of the Hessian with a change of the density (cell,): W*change."""
        return np.asarray(sum(term.first(change) for term in self.terms if term.nonlocal_))

    def secant_slope(self, before: Array, after: Array) -> Array:
        """Derivative in b of the local part of `secant` (cell,); E''/2 at the mean where a and b nearly agree."""
        local = TotalEnergy(self.volume, tuple(term for term in self.terms if not term.nonlocal_))
        change, middle = after - before, 0.5 * (before + after)
        with np.errstate(divide="ignore", invalid="ignore"):
            quotient = (local.first(after) - local.secant(before, after)) / change
            return np.where(np.abs(change) <= _CANCELLATION * middle, 0.5 * local.second(middle), quotient)

    def variation_range(self, density: Array) -> float:
        """Sum over the energies of max - min of their first variation: the scale of a potential."""
        return float(sum(np.ptp(term.first(density)) for term in self.terms))

    def potential(self, density: Array) -> Array:
        """V + W*rho (cell,): the external potentials and those of the interactions."""
        potentials = [term.first(density) for term in self.terms if term.external or term.nonlocal_]
        if len(potentials) == 1:
            return potentials[0]
        return np.sum(potentials, axis=0) if potentials else np.zeros_like(self.volume)

    def convexity(self, mesh: Mesh) -> Convexity | None:
        """Moduli of E along geodesics, by differences of V and W; None if they are not known, as for W on a torus."""
        external = [term.first(np.zeros(mesh.cells)) for term in self.terms if term.external]
        edges = mesh.product_edges
        if edges is None:
            return None
        centres = [0.5 * (edge[1:] + edge[:-1]) for edge in reversed(edges)]
        periods = mesh.periods[::-1]
        potential = least_curvature(np.sum(external, axis=0).reshape(mesh.shape), centres, periods) if external else 0.0
        others = [term for term in self.terms if not (term.external or term.displacement_convex)]
        found = Convexity(potential, math.fsum(term.interaction_modulus(mesh) for term in others))
        return None if math.isnan(sum(found)) else found

    def shifted(self, constant: float) -> TotalEnergy:
        """The energy with V - constant in place of the external potential V; its gradient flow is the same."""
        others = tuple(term for term in self.terms if not term.external)
        external = [term.first(np.zeros_like(self.volume)) for term in self.terms if term.external]
        potential = np.sum(external, axis=0) if external else np.zeros_like(self.volume)
        return TotalEnergy(self.volume, (*others, PotentialTerm(potential - constant)))
