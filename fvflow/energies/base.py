"""The contracts of an energy: as a case specifies it, and on a mesh.

A new energy is a frozen dataclass derived from `EnergyKind` with `kind: Literal[...]` and `on`, joined to the union
`Energy` in `kinds.py`; what `on` returns derives from `EnergyTerm` and gives value, first and second variation.
One defined by a user in Python runs in the same way, without touching fvflow:

    >>> import numpy as np
    >>> class Quadratic(EnergyKind):
    ...     kind = "quadratic"
    ...     strictly_convex = True
    ...
    ...     def on(self, mesh, parameters):
    ...         return QuadraticTerm()
    >>> class QuadraticTerm(EnergyTerm):
    ...     def value(self, density):
    ...         return 0.5 * density**2
    ...
    ...     def first(self, density):
    ...         return density
    ...
    ...     def second(self, density):
    ...         return np.ones_like(density)
    >>> from fvflow import Box, Case
    >>> from fvflow.fields import Gaussian
    >>> from fvflow.flows import WassersteinFlow
    >>> from fvflow.steppers import JKO, LJKO, Midpoint
    >>> from fvflow.times import Times
    >>> for stepper in (LJKO(), JKO(), Midpoint()):
    ...     flow = WassersteinFlow((Quadratic(),), stepper)
    ...     case = Case(Box((-2.0,), (2.0,), (40,)), flow, Gaussian((0.0,), ((0.1,),)), Times(0.1, 0.05))
    ...     ds = case.run()
    ...     print(stepper.kind, bool(ds.energy[-1] < ds.energy[0]), ds.mass.values.round(12))
    ljko True [1. 1.]
    jko True [1. 1.]
    midpoint True [1. 1.]
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from fvflow.fields import FunctionKind, Kernel, Parameters
from fvflow.mesh import Array, Extent, Mesh

_SMALL_CHANGE = 1e-2  # relative change below which the secant is computed as the mean of the derivative
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(6)  # exact to degree 11: round-off level for changes of 1 %


class EnergyTerm:
    """One energy E(rho) = sum_K |K| e_K(rho_K) on one mesh, cell by cell; densities and results are (cell,).

    The defaults hold for an energy about which nothing is known.
    """

    label: ClassVar[str] = "the variation of an energy"
    """What `first` is, in messages."""
    nonlocal_: ClassVar[bool] = False
    """Whether the Hessian has entries off the diagonal; `first` is then linear in the density."""
    external: ClassVar[bool] = False
    """Whether E is linear in the density, so that `first` does not depend on it."""
    displacement_convex: ClassVar[bool] = False
    """Whether E is convex along generalised geodesics of W2, in the dimension of its mesh."""

    @property
    def diffusion(self) -> float | None:
        """eps if E = eps int rho log rho, 0 if E is an external potential; None if its gradient flow is not linear."""
        return None

    def interaction_modulus(self, mesh: Mesh) -> float:
        """lambda with D^2 W >= lambda if E = 1/2 int int W rho rho; nan if it is not known."""
        return np.nan

    def value(self, density: Array) -> Array:
        """e_K(rho_K); infinite where rho_K is outside the domain of the energy."""
        raise NotImplementedError

    def first(self, density: Array) -> Array:
        """First variation e_K'(rho_K)."""
        raise NotImplementedError

    def second(self, density: Array) -> Array:
        """Second variation e_K''(rho_K)."""
        raise NotImplementedError

    def secant(self, before: Array, after: Array) -> Array:
        """(e_K(after) - e_K(before))/(after - before), e_K' where they are equal.

        By default the quotient; for changes below 1 %, where it suffers from cancellation, the mean of e_K' by Gauss's
        rule. An energy with a formula that is accurate to round-off should override it.
        """
        change = after - before
        small = np.abs(change) <= _SMALL_CHANGE * np.maximum(np.abs(before), np.abs(after))
        mean = np.zeros_like(before)
        for node, weight in zip(_NODES, _WEIGHTS, strict=True):
            mean += 0.5 * weight * self.first(before + 0.5 * (1.0 + node) * change)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(small, mean, (self.value(after) - self.value(before)) / np.where(small, 1.0, change))


class EnergyKind:
    """An energy as a case specifies it; the defaults hold for an energy about which nothing is known.

    Closed forms and `initial: gibbs` refuse an energy that is not `described` by its diffusion, its external potential,
    its power laws and its kernels.
    """

    kind: str
    described: ClassVar[bool] = False
    """Whether diffusion, external_potential, power_laws and kernels describe it completely."""
    strictly_convex: ClassVar[bool] = False
    """Whether a JKO step with it alone has a unique minimum."""

    @property
    def diffusion(self) -> float:
        """eps of its part eps int rho log rho; 0 if it has none."""
        return 0.0

    @property
    def external_potential(self) -> str | float | FunctionKind | None:
        """V of its part int V rho, as a case gives it: an expression or a table; None if it has none."""
        return None

    @property
    def power_laws(self) -> tuple[tuple[float, float], ...]:
        """(c, m) of each of its parts c int rho^m/(m - 1)."""
        return ()

    def kernels(self, parameters: Parameters) -> tuple[Kernel, ...]:
        """W of each of its parts 1/2 int int W(x - y) rho(x) rho(y)."""
        return ()

    @property
    def files(self) -> tuple[str, ...]:
        """Paths of the files that it reads."""
        return ()

    def on(self, mesh: Mesh, parameters: Parameters) -> EnergyTerm:
        """The energy on a mesh; raises CaseError if it is not defined there."""
        raise NotImplementedError

    def memory(self, extent: Extent) -> int:
        """Estimated memory that it adds to a run, bytes."""
        return 0
