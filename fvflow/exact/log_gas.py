"""Closed form: the equilibrium of a gas of particles that repel each other by a logarithm."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from fvflow.exact.base import ClosedForm, Reference
from fvflow.exact.facts import Facts
from fvflow.exact.gibbs import Equilibrium
from fvflow.fields import Kernel, Sampling, cell_values
from fvflow.mesh import Array, Subset

_FIT = 1e-8  # of a potential or a kernel to its formula, relative to its range


@dataclass(frozen=True)
class LogGas(ClosedForm):
    """The density to which V = k r^2/2 - q log r and W = -c log r lead a mass M as t -> infinity and epsilon -> 0.

        on a line (q = 0)   rho = k/(pi c) sqrt(R^2 - x^2), R^2 = 2 c M/k: Wigner's semicircle
        in the plane        rho = k/(pi c) where q/k < r^2 < (q + c M)/k: a disc, or an annulus about the charge q

    Minimisers of int V rho + 1/2 int int W(x - y) rho(x) rho(y); Saff, Totik, Logarithmic Potentials with External
    Fields, 1997, sections I.1 and IV. Diffusion, which a mesh needs to spread the mass over its cells, adds a boundary
    layer to it.
    """

    sampling: Sampling = "average"
    """Cell averages, or values at the cell centres."""
    kind: Literal["log-gas"] = "log-gas"
    derived_for = frozenset({"linear diffusion", "a drift", "an interaction"})
    stationary = True

    def requires(self, facts: Facts) -> Iterator[str]:
        """Potential and kernel of this form, on a line or in the plane."""
        if facts.mesh.dimension > 2:
            yield "exact log-gas is for a line or the plane; in space the logarithm is no Coulomb potential"
        elif not (facts.drift.gradient and facts.drift.steady) or facts.drift.absent or (gas := _gas(facts)) is None:
            charge = "" if facts.mesh.dimension == 1 else " - q*log(r)"
            yield f"exact log-gas needs the potential k*r**2/2{charge} and the kernel -c*log(r), with k and c > 0"
        elif (radius := gas.outer_square(facts) ** 0.5) > float(np.abs(facts.mesh.points).max(axis=0).min()):
            yield f"exact log-gas fills a radius of {radius:.3g} about the origin, which the mesh does not hold"

    def reference(self, facts: Facts) -> Reference:
        """The equilibrium on the mesh of the case."""
        gas = _gas(facts)
        assert gas is not None
        inner, outer = gas.charge / gas.stiffness, gas.outer_square(facts)
        height = gas.stiffness / (np.pi * gas.repulsion)

        def density(position: Array, part: Subset) -> Array:
            square = (position**2).sum(axis=1)
            if facts.mesh.dimension == 1:
                return np.asarray(height * np.sqrt(np.maximum(outer - square, 0.0)))
            return np.where((square > inner) & (square < outer), height, 0.0)

        return Equilibrium(cell_values(facts.mesh, density, self.sampling, 8))


class _Gas(NamedTuple):
    """k, q and c."""

    stiffness: float
    charge: float
    repulsion: float

    def outer_square(self, facts: Facts) -> float:
        """R^2 of the support."""
        line = facts.mesh.dimension == 1
        return (self.charge + (2.0 if line else 1.0) * self.repulsion * facts.mass) / self.stiffness


def _gas(facts: Facts) -> _Gas | None:
    """k, q and c of potential and kernel; None if they are not of this form."""
    mesh = facts.mesh
    square = (mesh.centre**2).sum(axis=1)
    away = square > 1e-12 * square.max()
    square, potential = square[away], facts.drift.cell_potential(mesh, 0.0)[away]
    terms = [0.5 * square, np.ones_like(square), *([-0.5 * np.log(square)] if mesh.dimension == 2 else [])]
    fitted, *_ = np.linalg.lstsq(np.stack(terms, axis=1), potential, rcond=None)
    stiffness, charge = float(fitted[0]), float(fitted[2]) if len(fitted) == 3 else 0.0
    if np.abs(np.stack(terms, axis=1) @ fitted - potential).max() > _FIT * np.ptp(potential):
        return None
    attraction = [logarithmic_coefficient(kernel, mesh.dimension) for kernel in facts.kernels]
    if len(attraction) != 1 or attraction[0] is None or attraction[0] >= 0:
        return None
    if stiffness <= 0 or charge < -_FIT * stiffness:
        return None
    return _Gas(stiffness, max(charge, 0.0), -attraction[0])


def logarithmic_coefficient(kernel: Kernel, dimension: int) -> float | None:
    """c of a kernel c log r up to a constant; None if it is another one."""
    radius, angle, height = np.array([0.3, 1.0, 2.0, 0.7]), np.array([0.0, 0.0, 1.0, 2.5]), np.array([0, 0.5, -0.3, 1])
    level = radius * np.sqrt(1.0 - height**2) if dimension == 3 else radius
    place = [level * np.cos(angle), level * np.sin(angle), radius * height][:dimension] if dimension > 1 else [radius]
    value = np.broadcast_to(kernel(*place), radius.shape)
    slope = (value[2] - value[1]) / np.log(radius[2] / radius[1])
    expected = value[1] + slope * np.log(radius)
    return float(slope) if np.abs(value - expected).max() <= _FIT * np.ptp(value) else None
