"""The energies that a case can specify."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Gt, Le

from fvflow.energies.base import EnergyKind
from fvflow.energies.interaction import InteractionTerm, convolution
from fvflow.energies.terms import EntropyTerm, PotentialTerm, PowerTerm
from fvflow.errors import CaseError, placed
from fvflow.fields import (
    Drift,
    Expression,
    FunctionKind,
    Kernel,
    KernelFormula,
    Parameters,
    SteadyFunction,
    as_function,
    files_of,
)
from fvflow.mesh import Extent, Mesh

LARGEST_EXPONENT = 1000.0
"""Exponent beyond which powers of densities near 1 overflow or vanish."""
_CLOSEST = 1e-6  # distance of an exponent from 1 below which it is the entropy up to round-off


@dataclass(frozen=True)
class Entropy(EnergyKind):
    """E(rho) = eps int rho log rho; its gradient flow is the heat equation (notes, equation (139))."""

    epsilon: Annotated[float, Gt(0)]
    """Diffusion coefficient eps, length^2/time."""
    kind: Literal["entropy"] = "entropy"
    described = True
    strictly_convex = True

    @property
    def diffusion(self) -> float:
        """eps."""
        return self.epsilon

    def on(self, mesh: Mesh, parameters: Parameters) -> EntropyTerm:
        """eps rho log rho in each cell."""
        return EntropyTerm(self.epsilon)


@dataclass(frozen=True)
class Potential(EnergyKind):
    """E(rho) = int V rho; its gradient flow is transport with the velocity -grad V."""

    potential: SteadyFunction
    """External potential V, an expression in x, y, z or a table."""
    kind: Literal["potential"] = "potential"
    described = True

    @property
    def external_potential(self) -> str | float | FunctionKind:
        """V."""
        return self.potential

    @property
    def files(self) -> tuple[str, ...]:
        """Path of the table of V."""
        return files_of(self.potential)

    def on(self, mesh: Mesh, parameters: Parameters) -> PotentialTerm:
        """V rho in each cell, V at its centre; raises CaseError if V is not finite."""
        drift = Drift(as_function(self.potential, "potential"), parameters=parameters)
        drift = Drift(as_function(self.potential, "potential"), parameters=parameters)
        return PotentialTerm(drift.cell_potential(mesh, 0.0))


@dataclass(frozen=True)
class PorousMedium(EnergyKind):
    """E(rho) = c int rho^m/(m - 1); its gradient flow is d_t rho = c Lap rho^m.

    m > 1 is the porous medium equation, whose fronts move at finite speed; m < 1 is fast diffusion; for m = 1 use
    `entropy`. The energy is convex along geodesics, as a JKO step requires, for m >= 1 - 1/dimension (McCann, A
    convexity principle for interacting gases, Adv. Math. 128 (1997)).
    """

    exponent: Annotated[float, Gt(0), Le(LARGEST_EXPONENT)]
    """Exponent m, not 1 and at least 1 - 1/dimension."""
    coefficient: Annotated[float, Gt(0)] = 1.0
    """Coefficient c."""
    kind: Literal["porous-medium"] = "porous-medium"
    described = True
    strictly_convex = True

    def __post_init__(self) -> None:
        if self.exponent == 1.0:
            raise CaseError("porous-medium with exponent 1 is linear diffusion; use {kind: entropy, epsilon: ...}")
        if abs(self.exponent - 1.0) < _CLOSEST:
            raise CaseError(
                f"exponent {self.exponent:.12g} differs from 1 by less than {_CLOSEST:g}: differences of "
                "rho^(m - 1)/(m - 1) are lost to round-off; use {kind: entropy, epsilon: ...}"
            )

    def on(self, mesh: Mesh, parameters: Parameters) -> PowerTerm:
        """c rho^m/(m - 1) in each cell; raises CaseError if the energy is not convex along geodesics."""
        least = 1.0 - 1.0 / mesh.dimension
        if self.exponent < least:
            raise CaseError(
                f"exponent {self.exponent:g} is below {least:.3g} = 1 - 1/{mesh.dimension}: the energy is not convex "
                "along geodesics and a JKO step has no unique minimum; use a larger exponent"
            ).at("exponent")
        return PowerTerm(*self.power_laws[0])

    @property
    def power_laws(self) -> tuple[tuple[float, float], ...]:
        """(c, m)."""
        return ((self.coefficient, self.exponent),)


@dataclass(frozen=True)
class PowerLaw(EnergyKind):
    """E(rho) = c int rho^m, m > 1: the energy porous-medium with coefficient c (m - 1)."""

    exponent: Annotated[float, Gt(1), Le(LARGEST_EXPONENT)]
    """Exponent m > 1."""
    coefficient: Annotated[float, Gt(0)] = 1.0
    """Coefficient c."""
    kind: Literal["power-law"] = "power-law"
    described = True
    strictly_convex = True

    def on(self, mesh: Mesh, parameters: Parameters) -> PowerTerm:
        """c rho^m in each cell."""
        return PowerTerm(*self.power_laws[0])

    @property
    def power_laws(self) -> tuple[tuple[float, float], ...]:
        """(c (m - 1), m)."""
        return ((self.coefficient * (self.exponent - 1.0), self.exponent),)


@dataclass(frozen=True)
class Interaction(EnergyKind):
    """E(rho) = 1/2 int int W(x - y) rho(x) rho(y); its gradient flow is transport with the velocity -grad (W*rho).

    The kernel must be even, since its odd part contributes nothing to the energy.
    Carrillo, McCann, Villani, Kinetic equilibration rates for granular media and related equations, Rev. Mat.
    Iberoamericana 19 (2003).
    """

    kernel: KernelFormula
    """Kernel W, an even expression in the displacement x, y, z or its length r."""
    kind: Literal["interaction"] = "interaction"
    described = True

    def on(self, mesh: Mesh, parameters: Parameters) -> InteractionTerm:
        """rho (W*rho)/2 in each cell; raises CaseError if the kernel is not even, or not finite away from 0."""
        (kernel,) = self.kernels(parameters)
        with placed("kernel"):
            return InteractionTerm(mesh.volume, convolution(kernel, mesh), kernel)

    def kernels(self, parameters: Parameters) -> tuple[Kernel, ...]:
        """(W,)."""
        return (Kernel(Expression(self.kernel), parameters),)

    def memory(self, extent: Extent) -> int:
        """Estimated memory of the Fourier transforms, bytes; they take twice the cells along each axis."""
        return 80 * (1 << extent.dimension) * extent.cells


Energy = Entropy | Potential | PorousMedium | PowerLaw | Interaction
