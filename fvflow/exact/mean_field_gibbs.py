"""Closed form: the Gibbs equilibrium of particles with a quadratic interaction."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from fvflow.errors import CaseError
from fvflow.exact.base import ClosedForm, Reference, refusal
from fvflow.exact.facts import Facts
from fvflow.exact.gibbs import Equilibrium
from fvflow.mesh import Array

_ITERATIONS = 20_000
_CONVERGED = 1e-13  # change of the mean in one iteration, relative to the extent of the mesh


@dataclass(frozen=True)
class MeanFieldGibbs(ClosedForm):
    """rho = M exp(-(V + M (x - m).Q(x - m)/2)/eps)/Z with W(d) = d.Q d/2 and the mean m of rho itself.

    The discrete equilibrium of the McKean-Vlasov equation, V taken at the cell centres: the limit as t -> infinity.
    There may be several: below a critical epsilon particles in a double well choose a side (Dawson, Critical dynamics
    and fluctuations for a mean-field model of cooperative behavior, J. Stat. Phys. 31, 1983). m is the limit of the
    iteration m <- (m + mean of rho)/2 from the mean of the initial density, on a line with attraction the first one in
    the direction in which that mean is driven; the initial density `exact` starts it from the middle of the mesh.
    """

    kind: Literal["mean-field-gibbs"] = "mean-field-gibbs"
    derived_for = frozenset({"linear diffusion", "a drift", "an interaction"})
    stationary = True

    def requires(self, facts: Facts) -> Iterator[str]:
        """Diffusion, a steady potential, quadratic kernels and a mean that the iteration finds."""
        if facts.epsilon <= 0 or not (facts.drift.gradient and facts.drift.steady):
            yield "exact mean-field-gibbs needs epsilon > 0 and no drift other than that of a potential without t"
        elif facts.mesh.edges is None and facts.mesh.components.max() > 0:
            yield "exact mean-field-gibbs is for a connected mesh; this mesh has parts that exchange no mass"
        else:
            yield from refusal(_density, facts)

    def reference(self, facts: Facts) -> Reference:
        """The equilibrium on the mesh of the case."""
        return Equilibrium(_density(facts))


def _density(facts: Facts) -> Array:
    """The equilibrium (cell,); raises CaseError if a kernel is not quadratic or the mean is not found."""
    mesh, mass = facts.mesh, facts.mass
    extent = np.ptp(mesh.points, axis=0)
    form = sum((kernel.curvature(extent) for kernel in facts.kernels), np.zeros((mesh.dimension,) * 2))
    potential, mean = facts.drift.cell_potential(mesh, 0.0), _first_mean(facts)
    for _ in range(_ITERATIONS):
        offset = mesh.centre - mean
        exponent = -(potential + 0.5 * mass * ((offset @ form) * offset).sum(axis=1)) / facts.epsilon
        weight = mesh.volume * np.exp(exponent - exponent.max())
        weight /= weight.sum()
        change = 0.5 * (weight @ mesh.centre - mean)
        mean = mean + change
        if float(np.abs(change / extent).max()) <= _CONVERGED:
            return np.asarray(mass * weight / mesh.volume)
    raise CaseError(
        f"exact mean-field-gibbs found no mean of the equilibrium in {_ITERATIONS} iterations: epsilon is critical, or "
        "the particles repel each other more than V holds them; change epsilon or leave out exact"
    )


def _first_mean(facts: Facts) -> Array:
    """The mean (dim,) of the initial density; the middle of the mesh if that is this equilibrium."""
    mesh = facts.mesh
    if facts.initial.is_exact:
        return np.asarray(0.5 * (mesh.points.min(axis=0) + mesh.points.max(axis=0)))
    masses = mesh.volume * np.asarray(facts.initial.on(facts, None, facts.start))
    return np.asarray(masses @ mesh.centre / masses.sum())
