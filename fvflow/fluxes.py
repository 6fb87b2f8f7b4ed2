"""Two-point fluxes as B-functions.

The flux of rho v - eps grad rho over the face s = K|L is

    F = T_s (B(-w) rho_K - B(w) rho_L),    w = (v.n) d  (w = V_K - V_L for v = -grad V),

which is consistent if B(0) = eps and B(-w) - B(w) = w + O(w^3). If B >= 0, the matrix of implicit Euler is an M-matrix
and the scheme keeps rho >= 0 (Chatard, Asymptotic behavior of the Scharfetter-Gummel scheme, FVCA 2011).
"""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass
from typing import ClassVar, Literal

import numpy as np

from fvflow.errors import CaseError
from fvflow.mesh import Array, Mesh

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
class FaceResolution:
    """How well the cells resolve the drift where the mass is."""

    peclet: float
    """Largest Peclet number |w|/eps of a face with mass."""
    share: float
    """Share of the faces with a Peclet number above 2, weighted by the mass of their cells."""
    diffusion: float
    """Mean numerical diffusion over eps, with the same weights."""
    largest_diffusion: float
    """Largest numerical diffusion over eps of a face with mass."""

    @property
    def faces(self) -> str:
        """The share in words."""
        return f"above 2 at {100 * self.share:.3g} % of the faces, weighted by mass"

    @property
    def added(self) -> str:
        """The numerical diffusion in words."""
        return f"{self.diffusion:.3g} times epsilon on average and up to {self.largest_diffusion:.3g} times"

    @property
    def finer(self) -> str:
        """The mesh that resolves the drift, in words; empty if no mesh of a reasonable size does."""
        ratio = math.ceil(self.peclet / RESOLVED * (1 - 1e-9))
        return f"cells {ratio} times as small" if ratio <= _FINEST else ""

    def largest(self, other: FaceResolution) -> FaceResolution:
        """The larger of each number."""
        return FaceResolution(*map(max, astuple(self), astuple(other)))

    @property
    def noticeable(self) -> bool:
        """Whether it lowers the order or adds diffusion that is worth a word."""
        return self.share > 0 or self.diffusion > _LITTLE


_FINEST = 100  # times smaller cells that are an advice
_LITTLE = 0.05  # numerical diffusion over eps of upwinding that is not worth a word
_MASSLESS = 1e-6  # mass of a cell, relative to the mean, below which its faces do not count for the largest numbers
RESOLVED = 2.0  # Peclet number of a face up to which the drift is resolved


@dataclass(frozen=True, eq=False)
class CellResolution:
    """What a drift does at the faces of each cell, from which any density on them is judged in a few operations."""

    faces: Array
    """Number of faces (cell,)."""
    coarse: Array
    """Number of those with a Peclet number above 2 (cell,)."""
    peclet: Array
    """Largest Peclet number (cell,)."""
    diffusion: Array
    """Numerical diffusion over eps, summed over the faces (cell,)."""
    largest_diffusion: Array
    """Largest numerical diffusion over eps (cell,)."""

    @staticmethod
    def of(mesh: Mesh, flux: FluxKind, down: Array, up: Array, eps: float) -> CellResolution:
        """From the coefficients T B(-w) and T B(w) of each face (face,); numerical diffusion is their mean less eps."""
        peclet = flux.peclet((down - up) / (mesh.transmissibility * eps))
        diffusion = (down + up) / (2.0 * mesh.transmissibility * eps) - 1.0
        sides = mesh.owner, mesh.neighbour

        def sums(values: Array) -> Array:
            return np.asarray(sum(np.bincount(side, values, mesh.cells) for side in sides))

        def largest(values: Array) -> Array:
            found = np.zeros(mesh.cells)
            for side in sides:
                np.maximum.at(found, side, values)
            return found

        coarse = (peclet > RESOLVED).astype(float)
        return CellResolution(
            sums(np.ones(mesh.faces)), sums(coarse), largest(peclet), sums(diffusion), largest(diffusion)
        )

    def seen_by(self, mass: Array) -> FaceResolution:
        """The resolution where the mass (cell,) is: each face counts with the mass of its two cells."""
        weights = float((self.faces * mass).sum())
        total, present = max(weights, np.finfo(float).tiny), mass > _MASSLESS * weights / self.faces.sum()
        return FaceResolution(
            float(self.peclet.max(where=present, initial=0.0)),
            float((self.coarse * mass).sum()) / total,
            float((self.diffusion * mass).sum()) / total,
            float(self.largest_diffusion.max(where=present, initial=0.0)),
        )


class FluxKind:
    """A two-point flux as a case specifies it; the defaults hold for a flux about which nothing is known.

    A new flux is a frozen dataclass derived from this class with `kind: Literal[...]` and `weight`, joined to the union
    `Flux` at the foot of this module.
    """

    kind: str
    order: ClassVar[int] = 1
    """Order in space for epsilon > 0."""
    monotone: ClassVar[bool] = False
    """Whether B >= 0 for all w, so that the matrix of implicit Euler is an M-matrix."""
    keeps_gibbs: ClassVar[bool] = False
    """Whether B(-w) = exp(w/eps) B(w), so that the discrete Gibbs state exp(-V/eps) is stationary."""
    requires_diffusion: ClassVar[bool] = False
    """Whether it is undefined or unstable at epsilon = 0, where cases with it are refused."""
    where: ClassVar[str] = ""
    """At which Peclet numbers it has its order, if not at all."""
    instead: ClassVar[str] = ""
    """A flux that does better where the cells do not resolve the drift, as "flux ..."; empty if none does."""
    max_peclet: ClassVar[float] = math.inf
    """Largest Peclet number |w|/eps of a face for which `weight` is defined."""

    def weight(self, w: Array, eps: float) -> Array:
        """B(w) of each face (face,), with B(0) = eps; raises CaseError if a Peclet number is above `max_peclet`."""
        raise NotImplementedError

    def peclet(self, net: Array) -> Array:
        """|w|/eps of each face (face,) from (B(-w) - B(w))/eps (face,)."""
        return np.abs(net)

    def unresolved(self, resolution: FaceResolution, stepper: str = "") -> str:
        """What it means that the cells do not resolve the drift, and what helps; empty if they do.

        `stepper` names one that needs no resolved drift, if the flow has one.
        """
        if resolution.share == 0:
            return ""
        cures = [cure for cure in (self.instead, stepper, resolution.finer) if cure]
        use = f"; use {', or '.join(filter(None, (', '.join(cures[:-1]), cures[-1])))}" if cures else ""
        return f"{resolution.faces}{self.consequence(resolution)}{use}"

    def consequence(self, resolution: FaceResolution) -> str:
        """What this flux does at faces with a Peclet number above 2."""
        return ""

    def valid(self, peclet: float) -> bool:
        """Whether faces may have this Peclet number |w|/eps."""
        return peclet <= self.max_peclet

    def describe(self, epsilon: float) -> str:
        """Its kind and order in space."""
        if epsilon > 0:
            return f"{self.kind} flux (order {self.order} in space{self.where})"
        return f"{self.kind} flux (upwind at epsilon 0: order 1 in space)"


@dataclass(frozen=True)
class Upwind(FluxKind):
    """B(w) = eps + max(-w, 0): first order, monotone, defined at eps = 0 too."""

    kind: Literal["upwind"] = "upwind"
    monotone = True

    def unresolved(self, resolution: FaceResolution, stepper: str = "") -> str:
        """The numerical diffusion |v| d/2, which there is at any Peclet number."""
        if resolution.diffusion < _LITTLE:
            return ""
        return f"such that upwinding adds a diffusion |v| d/2, {resolution.added}; use flux scharfetter-gummel"

    def weight(self, w: Array, eps: float) -> Array:
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

    def weight(self, w: Array, eps: float) -> Array:
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

    def weight(self, w: Array, eps: float) -> Array:
        """B(w) of each face (face,)."""
        return scharfetter_gummel(w, eps)


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

    def weight(self, w: Array, eps: float) -> Array:
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
