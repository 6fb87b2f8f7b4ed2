"""Two-point fluxes as B-functions.

The flux of rho v - eps grad rho over the face s = K|L is

    F = T_s (B(-w) rho_K - B(w) rho_L),    w = (v.n) d  (w = V_K - V_L for v = -grad V),

with B(0) = eps and B(-w) - B(w) = w for consistency. B >= 0 makes implicit Euler an M-matrix, hence positive
(Chatard, Asymptotic behavior of the Scharfetter-Gummel scheme, FVCA 2011).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from fvflow.mesh import Array

_SERIES = 1e-8  # below it w^2/12, the first term left out, is under round-off
_OVERFLOW = 700.0  # exp overflows beyond 709; B is below 1e-300 there


def bernoulli(p: Array) -> Array:
    """p/(exp(p) - 1), the Bernoulli function; 1 - p/2 for small p, never negative.

    >>> bernoulli(np.array([-800.0, 0.0, 1e-15, 800.0]))
    array([800.,   1.,   1.,   0.])
    """
    small = np.abs(p) < _SERIES
    value = np.where(small, 1.0 - 0.5 * p, p / np.expm1(np.where(small, 1.0, np.clip(p, -_OVERFLOW, _OVERFLOW))))
    return np.where(p > _OVERFLOW, 0.0, value)


@dataclass(frozen=True)
class Upwind:
    """B(w) = eps + max(-w, 0): first order, monotone, works at eps = 0."""

    kind: Literal["upwind"] = "upwind"
    order = 1
    monotone = True

    def weight(self, w: Array, eps: float) -> Array:
        """B(w) of each face."""
        return eps + np.maximum(-w, 0.0)


@dataclass(frozen=True)
class Centred:
    """B(w) = eps - w/2: second order; negative, so not monotone, where the Peclet number |w|/eps exceeds 2."""

    kind: Literal["centred"] = "centred"
    order = 2
    monotone = False

    def weight(self, w: Array, eps: float) -> Array:
        """B(w) of each face."""
        return eps - 0.5 * w


@dataclass(frozen=True)
class ScharfetterGummel:
    """B(w) = w/(exp(w/eps) - 1): second order, monotone, and exp(-V/eps) is stationary.

    Scharfetter and Gummel, Large-signal analysis of a silicon Read diode oscillator, IEEE Trans. Electron Devices 16
    (1969). At eps = 0 it is `upwind`, whose order it then has.
    """

    kind: Literal["scharfetter-gummel"] = "scharfetter-gummel"
    order = 2
    monotone = True

    def weight(self, w: Array, eps: float) -> Array:
        """B(w) of each face."""
        return scharfetter_gummel(w, eps)


def scharfetter_gummel(w: Array, eps: float | Array) -> Array:
    """w/(exp(w/eps) - 1) of each face, eps one number or one a face (face,); its limit max(-w, 0) where eps is 0."""
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        peclet = np.where(w == 0.0, 0.0, w / eps)
    diffusive = eps * bernoulli(np.clip(peclet, -_OVERFLOW, _OVERFLOW))
    return np.where(np.abs(peclet) > _OVERFLOW, np.maximum(-w, 0.0), diffusive)


Flux = Upwind | Centred | ScharfetterGummel
