"""Inequalities that follow from convexity along geodesics, monitored in 1D, where W2 is computed exactly."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fvflow.energies import TotalEnergy
from fvflow.linalg import inner
from fvflow.mesh import Array, Mesh
from fvflow.problems import State

_KEPT = ("evi_defect", "contraction_defect", "_before", "_first", "_time")  # in a checkpoint


@dataclass
class EviMonitor:
    """The evolution variational inequality and contraction of JKO steps, for a lambda-convex energy.

    For every sigma of the same mass a JKO step of length tau from rho to rho' satisfies

        (W2^2(rho', sigma) - W2^2(rho, sigma))/(2 tau) + (lambda/2) W2^2(rho', sigma) <= E(sigma) - E(rho')

    and hence, if sigma is the equilibrium, (1 + lambda tau) W2^2(rho', sigma) <= W2^2(rho, sigma). Any excess measures
    the discretisation error. sigma is the initial density and the equilibrium exp(-V/eps). Ambrosio, Gigli, Savare,
    Gradient Flows, 2005.
    """

    edges: Array
    """Cell edges (cell + 1,)."""
    energy: TotalEnergy
    """E."""
    modulus: float
    """lambda, the smallest second difference quotient of V."""
    references: tuple[Array, ...]
    """The densities sigma (cell,); the equilibrium is the last one, if it is known."""
    has_equilibrium: bool
    """Whether the last reference is the equilibrium."""
    evi_defect: float = -np.inf
    """Largest left side minus right side."""
    contraction_defect: float = -np.inf
    """Largest sqrt(1 + lambda tau) W2' - W2, relative to the first W2."""
    _before: list[float] = field(default_factory=list, repr=False)
    _first: float = field(default=math.nan, repr=False)
    _time: float = field(default=0.0, repr=False)

    @staticmethod
    def of(mesh: Mesh, energy: TotalEnergy, initial: State) -> EviMonitor | None:
        """The monitor for a sum of entropy, power-law and potential energies on a line; None otherwise."""
        convex = all(term.displacement_convex or term.external for term in energy.terms)
        if mesh.product_edges is None or mesh.periodic or mesh.dimension != 1 or mesh.cells < 3 or not convex:
            return None
        potential, centre = energy.potential(initial.density), mesh.centre[:, 0]
        slope = np.diff(potential) / np.diff(centre)
        modulus = float((np.diff(slope) / (0.5 * (centre[2:] - centre[:-2]))).min())
        references = [initial.density]
        epsilon = energy.diffusion
        linear = epsilon is not None and epsilon > 0
        if epsilon is not None and linear:
            weight = np.exp((potential.min() - potential) / epsilon)
            references.append(initial.mass / inner(mesh.volume, weight) * weight)
        return EviMonitor(mesh.product_edges[0], energy, modulus, tuple(references), linear)

    def __call__(self, state: State) -> None:
        """Update the defects with a state."""
        from fvflow.wasserstein import distance_1d

        distances = [distance_1d(self.edges, state.density, reference) for reference in self.references]
        tau = state.time - self._time
        if self._before and tau > 0:
            value = self.energy.value(state.density)
            for before, after, reference in zip(self._before, distances, self.references, strict=True):
                left = (after**2 - before**2) / (2 * tau) + 0.5 * self.modulus * after**2
                self.evi_defect = max(self.evi_defect, left - self.energy.value(reference) + value)
            if self.has_equilibrium and 1.0 + self.modulus * tau > 0 and self._first > 0:
                excess = math.sqrt(1.0 + self.modulus * tau) * distances[-1] - self._before[-1]
                self.contraction_defect = max(self.contraction_defect, excess / self._first)
        elif self.has_equilibrium:
            self._first = distances[-1]
        self._before, self._time = distances, state.time

    def to_tree(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {name: getattr(self, name) for name in _KEPT}

    def restore(self, tree: Mapping[str, Any]) -> None:
        """Go on from a checkpoint."""
        for name in _KEPT:
            setattr(self, name, tree[name])

    def figures(self) -> dict[str, float]:
        """The modulus and the defects by name; that of contraction only if it is known."""
        figures = {"convexity": self.modulus, "evi_defect": self.evi_defect}
        known = self.has_equilibrium and np.isfinite(self.contraction_defect)
        return figures | ({"contraction_defect": self.contraction_defect} if known else {})
