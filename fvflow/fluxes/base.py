"""The contract of a two-point flux."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from fvflow.fluxes.resolution import RESOLVED, ROUND_OFF, FaceResolution
from fvflow.mesh import Array
from fvflow.parallel import world
from fvflow.sums import inner, total

_MASSLESS = 1e-6  # mass of a cell, relative to the mean, below which its faces do not count for the largest numbers


class FluxKind:
    """A two-point flux as a case specifies it; the defaults hold for a flux about which nothing is known.

    A new flux is a frozen dataclass derived from this class with `kind: Literal[...]` and `weight`, joined to the union
    `Flux` at the foot of `fvflow/fluxes/kinds.py`.
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

    def weight(self, w: Array, eps: float | Array) -> Array:
        """B(w) of each face (face,), with B(0) = eps, a number or (face,).

        Raises CaseError if a Peclet number is above `max_peclet`.
        """
        raise NotImplementedError

    def weights(self, w: Array, eps: float | Array) -> tuple[Array, Array]:
        """B(-w) and B(w) of each face (face,)."""
        return self.weight(-w, eps), self.weight(w, eps)

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
    bare: Array
    """Number of the faces with eps = 0, which do not count above (cell,)."""
    bare_diffusion: Array
    """Numerical diffusion |v| d/2 of those over the largest eps of all faces, summed (cell,)."""

    @cached_property
    def _some_bare(self) -> bool:
        return world().some(self.bare)

    @cached_property
    def _some_coarse(self) -> bool:
        return world().some(self.coarse)

    @cached_property
    def _count(self) -> float:
        return total(self.faces)

    @staticmethod
    def of(
        graph: Any, flux: FluxKind, down: Array, up: Array, conductance: Array, eps: Array | float
    ) -> CellResolution:
        """From the coefficients T B(-w), T B(w), T and eps of each face (face,) of a graph, eps > 0 on some.

        Numerical diffusion is the mean of the first two over T less eps.
        """
        scale = conductance * eps
        seen, largest_eps = scale > 0, world().highest(float(np.max(eps, initial=0.0)))
        bare = np.where(seen, 0.0, (down + up) / (2.0 * conductance * (largest_eps or 1.0)))
        scale = np.where(seen, scale, 1.0)
        peclet = np.where(seen, flux.peclet((down - up) / scale), 0.0)
        diffusion = np.where(seen, (down + up) / (2.0 * scale) - 1.0, 0.0)
        sides, cells = (graph.owner, graph.neighbour), len(graph.volume)

        def sums(values: Array) -> Array:
            return np.asarray(sum(np.bincount(side, values, cells) for side in sides))

        def largest(values: Array) -> Array:
            found = np.zeros(cells)
            for side in sides:
                np.maximum.at(found, side, values)
            return found

        coarse = (peclet > RESOLVED * (1 + ROUND_OFF)).astype(float)
        return CellResolution(
            sums(seen.astype(float)),
            sums(coarse),
            largest(peclet),
            sums(diffusion),
            largest(diffusion),
            sums((~seen).astype(float)),
            sums(bare),
        )

    def seen_by(self, mass: Array) -> FaceResolution:
        """The resolution where the mass (cell,) is: each face counts with the mass of its two cells.

        All of it is 0 if there is no mass, as after too long steps of a method that is not positive towards open walls.
        """
        weights = inner(self.faces, mass)
        if weights <= 0:
            return FaceResolution(0.0, 0.0, 0.0, 0.0)
        without = inner(self.bare, mass) if self._some_bare else 0.0
        whole, present = max(weights, np.finfo(float).tiny), mass > _MASSLESS * weights / self._count
        return FaceResolution(
            world().largest(np.where(present, self.peclet, 0.0)),
            inner(self.coarse, mass) / whole if self._some_coarse else 0.0,
            inner(self.diffusion, mass) / whole,
            world().largest(np.where(present, self.largest_diffusion, 0.0)),
            inner(self.bare_diffusion, mass) / without if without > 0 else 0.0,
        )
