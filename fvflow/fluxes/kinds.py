"""Two-point fluxes as B-functions.

The flux of rho v - eps grad rho over the face s = K|L is

    F = T_s (B(-w) rho_K - B(w) rho_L),    w = (v.n) d  (w = V_K - V_L for v = -grad V),

which is consistent if B(0) = eps and B(-w) - B(w) = w + O(w^3). If B >= 0, the matrix of implicit Euler is an M-matrix
and the scheme keeps rho >= 0 (Chatard, Asymptotic behavior of the Scharfetter-Gummel scheme, FVCA 2011).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from fvflow.errors import CaseError
from fvflow.fluxes.base import FluxKind
from fvflow.fluxes.resolution import LITTLE, FaceResolution
from fvflow.mesh import Array

_SERIES = 1e-8  # below it p^2/12, the first neglected term, is below round-off
_OVERFLOW = 700.0  # exp overflows beyond 709; B is below 1e-300 there


def bernoulli(p: Array) -> Array:
    """The Bernoulli function p/(exp(p) - 1), 1 at p = 0; never negative.

    >>> bernoulli(np.array([-800.0, 0.0, 1e-15, 800.0]))
    array([800.,   1.,   1.,   0.])
    """
    small = np.abs(p) < _SERIES
    value = np.where(small, 1.0 - 0.5 * p, p / np.expm1(np.where(small, 1.0, np.clip(p, -_OVERFLOW, _OVERFLOW))))
    return np.where(p > _OVERFLOW, 0.0, value)


@dataclass(frozen=True)
class Upwind(FluxKind):
    """B(w) = eps + max(-w, 0): first order, monotone, defined at eps = 0 too."""

    kind: Literal["upwind"] = "upwind"
    monotone = True

    def unresolved(self, resolution: FaceResolution, stepper: str = "") -> str:
        """The numerical diffusion |v| d/2, which there is at any Peclet number."""
        if resolution.diffusion < LITTLE:
            return ""
        return f"such that upwinding adds a diffusion |v| d/2, {resolution.added}; use flux scharfetter-gummel"

    def weight(self, w: Array, eps: float | Array) -> Array:
        """B(w) of each face (face,)."""
        return eps + np.maximum(-w, 0.0)


@dataclass(frozen=True)
class Centred(FluxKind):
    """B(w) = eps - w/2: second order; negative, hence not monotone, where the Peclet number |w|/eps exceeds 2."""

    kind: Literal["centred"] = "centred"
    instead = "flux scharfetter-gummel"
    order = 2
    requires_diffusion = True

    def consequence(self, resolution: FaceResolution) -> str:
        """It is not monotone there."""
        return ": the centred flux is not monotone there, so that the density may oscillate and become negative"

    def weight(self, w: Array, eps: float | Array) -> Array:
        """B(w) of each face (face,)."""
        return eps - 0.5 * w


@dataclass(frozen=True)
class ScharfetterGummel(FluxKind):
    """B(w) = w/(exp(w/eps) - 1): second order, monotone, and exp(-V/eps) is stationary.

    Scharfetter and Gummel, Large-signal analysis of a silicon Read diode oscillator, IEEE Trans. Electron Devices 16
    (1969). At eps = 0 it equals `upwind` and is of first order.
    """

    kind: Literal["scharfetter-gummel"] = "scharfetter-gummel"
    order = 2
    monotone = True
    keeps_gibbs = True
    where = " at Peclet numbers below 2"

    def consequence(self, resolution: FaceResolution) -> str:
        """It is upwind there, with the numerical diffusion of that."""
        return f": first order in space there, with numerical diffusion up to |v| d/2, {resolution.added}"

    def weight(self, w: Array, eps: float | Array) -> Array:
        """B(w) of each face (face,)."""
        return scharfetter_gummel(w, eps)

    def weights(self, w: Array, eps: float | Array) -> tuple[Array, Array]:
        """B(-w) and B(w) of each face (face,), the smaller one as exp(-|w|/eps) times the larger."""
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            peclet = np.where(w == 0.0, 0.0, np.abs(w) / eps)
        within = np.minimum(peclet, _OVERFLOW)
        series = within < _SERIES
        larger = np.where(series, 1.0 + 0.5 * within, within / -np.expm1(-np.where(series, 1.0, within)))
        larger *= eps
        smaller = larger * np.exp(-within)
        if within is not peclet and (beyond := peclet > _OVERFLOW).any():
            larger, smaller = np.where(beyond, np.abs(w), larger), np.where(beyond, 0.0, smaller)
        falls = w >= 0.0
        return np.where(falls, larger, smaller), np.where(falls, smaller, larger)


def scharfetter_gummel(w: Array, eps: float | Array) -> Array:
    """w/(exp(w/eps) - 1) (face,), eps being a number or (face,); the limit max(-w, 0) where eps is 0."""
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        peclet = np.where(w == 0.0, 0.0, w / eps)
    diffusive = eps * bernoulli(np.clip(peclet, -_OVERFLOW, _OVERFLOW))
    return np.where(np.abs(peclet) > _OVERFLOW, np.maximum(-w, 0.0), diffusive)


@dataclass(frozen=True)
class SquareRoot(FluxKind):
    """B(w) = eps exp(-w/(2 eps)): second order, monotone, and exp(-V/eps) is stationary, for small Peclet numbers.

    The square-root approximation, F = T eps sqrt(pi_K pi_L) (rho_K/pi_K - rho_L/pi_L), pi = exp(-V/eps). Lie,
    Fackeldey and Weber, A square root approximation of transition rates for a Markov state model, SIAM J. Matrix Anal.
    Appl. 34 (2013). It and Scharfetter-Gummel are Stolarsky means of pi (Heida, Kantner and Stephan, Consistency and
    convergence for a family of finite volume discretizations of the Fokker-Planck operator, ESAIM: M2AN 55, 2021).
    Where the drift is resolved its error is the smaller of the two, by up to a factor of three for Ornstein-Uhlenbeck
    flows; where it is not, its rates are exp(P/2) for a Peclet number P = |w|/eps instead of P.
    """

    kind: Literal["square-root"] = "square-root"
    instead = "flux scharfetter-gummel"
    order = 2
    monotone = True
    keeps_gibbs = True
    requires_diffusion = True
    max_peclet = 40.0

    def consequence(self, resolution: FaceResolution) -> str:
        """Its rates are too large there."""
        half = 0.5 * resolution.peclet
        return (
            ", where the rates of the square-root flux are exp(P/2), too large: the drift is (2 epsilon/d) sinh(P/2) "
            f"for v, up to {math.sinh(half) / half:.3g} times it, with a diffusion of {resolution.added}"
        )

    def peclet(self, net: Array) -> Array:
        """|w|/eps of each face (face,), as B(-w) - B(w) = 2 eps sinh(w/(2 eps))."""
        return np.asarray(2.0 * np.arcsinh(0.5 * np.abs(net)))

    def weight(self, w: Array, eps: float | Array) -> Array:
        """B(w) of each face; raises CaseError if a Peclet number |w|/eps is above 40."""
        peclet = w / eps
        largest = float(np.abs(peclet).max(initial=0.0))
        if not self.valid(largest):
            raise CaseError(
                f"flux square-root at a Peclet number |v| d/epsilon of {largest:.3g} (allowed: {self.max_peclet:g}), "
                "where its rates grow like exp(P/2); use a finer mesh or flux scharfetter-gummel"
            )
        return np.asarray(eps * np.exp(-0.5 * peclet))


Flux = Upwind | Centred | ScharfetterGummel | SquareRoot
