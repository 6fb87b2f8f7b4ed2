"""What convexity along geodesics promises of a gradient flow, measured where W2 is exact: on lines."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from fvflow.energies import TotalEnergy
from fvflow.mesh import Array, Mesh
from fvflow.problems import State
from fvflow.wasserstein import distance_1d


@dataclass
class EviMonitor:
    """The evolution variational inequality and contraction of JKO steps, for an energy convex with modulus lambda.

    For every sigma of the same mass a JKO step of length tau keeps

        (W2^2(rho', sigma) - W2^2(rho, sigma))/(2 tau) + (lambda/2) W2^2(rho', sigma) <= E(sigma) - E(rho')

    and so, with the equilibrium for sigma, (1 + lambda tau) W2^2(rho', sigma) <= W2^2(rho, sigma). What a run exceeds
    them by is what its discretisation is off by. sigma is the initial density and the equilibrium exp(-V/eps).
    Ambrosio, Gigli, Savare, Gradient Flows, 2005.
    """

    edges: Array
    energy: TotalEnergy
    modulus: float  # lambda, the least second difference of V
    references: tuple[Array, ...]  # sigma; the equilibrium last, if there is one
    equilibrium: bool
    evi_defect: float = -np.inf  # the worst left side minus right side
    contraction_defect: float = -np.inf  # the worst sqrt(1 + lambda tau) W2' - W2, relative to the first W2
    _before: list[float] = field(default_factory=list, repr=False)
    _first: float = field(default=math.nan, repr=False)
    _time: float = field(default=0.0, repr=False)

    @staticmethod
    def of(mesh: Mesh, energy: TotalEnergy, initial: State) -> EviMonitor | None:
        """For an entropy, power and potential energy on a line; None for others."""
        convex = all(term.displacement_convex or term.external for term in energy.terms)
        if mesh.edges is None or mesh.dimension != 1 or mesh.cells < 3 or not convex:
            return None
        potential, centre = energy.potential(initial.density), mesh.centre[:, 0]
        slope = np.diff(potential) / np.diff(centre)
        modulus = float((np.diff(slope) / (0.5 * (centre[2:] - centre[:-2]))).min())
        references = [initial.density]
        epsilon = energy.diffusion
        linear = epsilon is not None and epsilon > 0
        if epsilon is not None and linear:
            weight = np.exp((potential.min() - potential) / epsilon)
            references.append(initial.mass / float(mesh.volume @ weight) * weight)
        return EviMonitor(mesh.edges[0], energy, modulus, tuple(references), linear)

    def __call__(self, state: State) -> None:
        """Take a state into account."""
        distances = [distance_1d(self.edges, state.density, reference) for reference in self.references]
        tau = state.time - self._time
        if self._before and tau > 0:
            value = self.energy.value(state.density)
            for before, after, reference in zip(self._before, distances, self.references, strict=True):
                left = (after**2 - before**2) / (2 * tau) + 0.5 * self.modulus * after**2
                self.evi_defect = max(self.evi_defect, left - self.energy.value(reference) + value)
            if self.equilibrium and 1.0 + self.modulus * tau > 0 and self._first > 0:
                kept = math.sqrt(1.0 + self.modulus * tau) * distances[-1] - self._before[-1]
                self.contraction_defect = max(self.contraction_defect, kept / self._first)
        elif self.equilibrium:
            self._first = distances[-1]
        self._before, self._time = distances, state.time

    def figures(self) -> dict[str, float]:
        """Modulus and defects."""
        found = {"convexity": self.modulus, "evi_defect": self.evi_defect}
        told = self.equilibrium and np.isfinite(self.contraction_defect)
        return found | ({"contraction_defect": self.contraction_defect} if told else {})
