"""The Fokker-Planck equation in arrays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Self, TypeVar

import numpy as np

from fvflow.energies import EntropyTerm, PotentialTerm, TotalEnergy
from fvflow.errors import CaseError, NumericsError
from fvflow.fields import BaseDrift
from fvflow.fluxes import CellResolution, Flux
from fvflow.linalg import FaceMatrix, divergence, flux_between
from fvflow.linalg.markov.stationary import rates_underflow
from fvflow.mesh import Array, Extent, Mesh, Openings
from fvflow.parallel import world
from fvflow.problems.base import Graph
from fvflow.problems.diffusivity import Diffusivity

T = TypeVar("T")
_CACHE_SIZE = 4


def _cached(cache: dict[tuple[str, float], Any], name: str, time: float, compute: Callable[[float], T]) -> T:
    """compute(time), from a cache of the last few results."""
    if (name, time) not in cache:
        while len(cache) >= _CACHE_SIZE:
            cache.pop(next(iter(cache)))
        cache[name, time] = compute(time)
    value: T = cache[name, time]
    return value


@dataclass(frozen=True, eq=False)
class FokkerPlanck:
    """d_t rho + div(rho v) = eps Lap rho with no flux through the walls but their openings; notes, equation (40)."""

    mesh: Mesh
    """The mesh."""
    drift: BaseDrift
    """The drift v."""
    epsilon: float
    """Diffusion coefficient eps, length^2/time, where `diffusivity` does not say another."""
    flux_kind: Flux
    """The two-point flux."""
    start: float = field(default=0.0, kw_only=True)
    """Time at which a run starts."""
    openings: Openings | None = field(default=None, kw_only=True)
    """Where mass leaves for good; None if it does not."""
    final: Array | None = field(default=None, kw_only=True)
    """phi (cell,) at the end of a run of the backward equation; None if there is none."""
    diffusivity: Diffusivity | None = field(default=None, kw_only=True)
    """The diffusion where it is not the number `epsilon`; None if it is."""
    _cache: dict[tuple[str, float], Any] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.epsilon == 0.0 and self.flux_kind.requires_diffusion:
            raise CaseError(f"flux {self.flux_kind.kind} needs epsilon > 0; use flux upwind, which allows epsilon 0")

    @property
    def graph(self) -> Graph:
        """The links between cells that mass flows through: the faces of the mesh, or more."""
        return self.mesh if self.diffusivity is None else self.diffusivity.graph

    @property
    def conductance(self) -> Array:
        """T of each link (link,)."""
        return self.mesh.transmissibility if self.diffusivity is None else self.diffusivity.conductance

    @property
    def extent(self) -> Extent:
        """The extent of the graph: that of the mesh, without its grid if there are more links than faces."""
        return self.mesh.extent if self.graph is self.mesh else self.mesh.extent._replace(grid=False)

    @cached_property
    def steady(self) -> bool:
        """Whether neither drift nor diffusion depends on t."""
        return self.drift.steady and (self.diffusivity is None or self.diffusivity.steady)

    def on_links(self, time: float) -> tuple[Array, float | Array]:
        """w of each link (link,), and eps, a number or (link,)."""
        if self.diffusivity is None:
            return self.drift.potential_drop(self.mesh, time), self.epsilon
        w, eps = self.diffusivity.on_links(self.drift, time)
        if self.flux_kind.requires_diffusion and not (eps > 0).all():
            raise NumericsError(
                f"flux {self.flux_kind.kind} needs a diffusion > 0 on every face, and it is 0 on "
                f"{np.count_nonzero(eps <= 0)} at t = {time:g}; use flux scharfetter-gummel or upwind"
            )
        return w, eps

    def coefficients(self, time: float) -> tuple[Array, Array]:
        """down = T B(-w) and up = T B(w) of each link (link,), so that F = down rho_K - up rho_L."""
        return _cached(self._cache, "coefficients", self._drift_time(time), self._coefficients)

    def _coefficients(self, time: float) -> tuple[Array, Array]:
        w, eps = self.on_links(time)
        conductance = self.conductance
        forth, back = self.flux_kind.weights(w, eps)
        down, up = conductance * forth, conductance * back
        if self.openings is not None and (shut := self.shut).any():
            down[shut] = up[shut] = 0.0
        return down, up

    @property
    def shut(self) -> Any:
        """Whether each link (link,) ends in a cell that absorbs, or is cut by one."""
        if self.openings is None or not (closed := self.openings.closed >= 0).any():
            return np.zeros(len(self.graph.owner), bool)
        shut = closed[self.graph.owner] | closed[self.graph.neighbour]
        shut[self.openings.face[self.openings.face >= 0]] = True
        return shut

    def opened(self, openings: Openings) -> Self:
        """The same with openings, given by the faces of the mesh."""
        return replace(self, openings=openings if self.diffusivity is None else self.diffusivity.opened(openings))

    def leaks(self, time: float) -> Array:
        """The coefficient (opening,) of the density in what leaves through each opening per unit time."""
        return _cached(self._cache, "leaks", self._drift_time(time), self._leaks)

    def _leaks(self, time: float) -> Array:
        assert self.openings is not None
        eps: float | Array = self.epsilon
        if self.diffusivity is None:
            w = self.drift.drop_to_openings(self.mesh, self.openings, time)
        else:
            w, eps = self.diffusivity.at_openings(self.openings, self.drift, time)
        return self.openings.leaks(lambda drop: self.flux_kind.weight(drop, eps), w)

    def outflow_rates(self, density: Array, time: float) -> Array:
        """What leaves through each group of openings per unit time (group,)."""
        assert self.openings is not None
        return self.openings.by_group(self.leaks(time) * density[self.openings.cell])

    def resolution(self, time: float) -> CellResolution:
        """How well the faces of each cell resolve the drift, for eps > 0."""

        def compute(at: float) -> CellResolution:
            eps = self.epsilon if self.diffusivity is None else self.on_links(at)[1]
            return CellResolution.of(self.graph, self.flux_kind, *self.coefficients(at), self.conductance, eps)

        return _cached(self._cache, "resolution", self._drift_time(time), compute)

    def _drift_time(self, time: float) -> float:
        """The time at which drift and diffusion are evaluated: that of the start if they are steady."""
        return self.start if self.steady else time

    def matrix(self, time: float, step: float) -> FaceMatrix:
        """diag(|K|) + step A, where A rho is the outflow of each cell per unit time."""
        graph, (down, up) = self.graph, self.coefficients(time)
        shape, periodic = (self.mesh.shape, self.mesh.rings) if self.extent.grid else (None, ())
        ends = graph.owner, graph.neighbour
        matrix = FaceMatrix(graph.volume, *ends, step * down, step * up, shape, periodic=periodic)
        if self.openings is None:
            return matrix
        leaks = step * self.leaks(time)
        if shape is None:
            return replace(matrix, leak=self.openings.by_cell(leaks))
        along = [self.openings.by_cell(leaks * (self.openings.axis == axis)) for axis in range(self.mesh.dimension)]
        return replace(matrix, leak=np.sum(along, axis=0), leak_along=np.stack(along))

    def absorbing_chain(self, time: float) -> FaceMatrix:
        """diag(|K|) + A with a cell of measure 1 for each group of openings, which collects what that absorbs.

        It conserves mass: what leaves the other cells is in these.
        """
        matrix, openings = self.matrix(time, 1.0), self.openings
        assert openings is not None
        absorbing = self.mesh.cells + openings.group
        return FaceMatrix(
            np.concatenate([matrix.volume, np.ones(len(openings.names))]),
            np.concatenate([matrix.owner, openings.cell]),
            np.concatenate([matrix.neighbour, absorbing]),
            np.concatenate([matrix.down, self.leaks(time)]),
            np.concatenate([matrix.up, np.zeros(len(absorbing))]),
        )

    def flux(self, density: Array, time: float) -> Array:
        """F of each link (link,), positive from owner to neighbour."""
        down, up = self.coefficients(time)
        return flux_between(down, up, self.graph.owner, self.graph.neighbour, density)

    def face_velocity(self, density: Array, time: float) -> Array:
        """v.n = (w - eps (log rho_L - log rho_K))/d of each face (face,), nan where a density is not positive.

        The velocity of the probability flow, v = drift - eps grad log rho, at second order. Where eps is 0 it is the
        drift, whatever the density.
        """
        logarithm = np.log(density, out=np.full_like(density, np.nan), where=density > 0)
        return self.velocity_along(logarithm, time)

    def velocity_along(self, logarithm: Array, time: float) -> Array:
        """(w - eps (l_L - l_K))/d of each face (face,), for a function l (cell,) in place of log rho."""
        w, eps = self.on_links(time)
        rise = logarithm[self.mesh.neighbour] - logarithm[self.mesh.owner]
        return np.asarray((w - np.where(np.asarray(eps) > 0, eps * rise, 0.0)) / self.mesh.distance)

    def rate(self, density: Array, time: float) -> Array:
        """d_t rho (cell,) by the fluxes and what leaves through openings."""
        leaving = divergence(self.graph, self.flux(density, time))
        if self.openings is not None:
            leaving += self.openings.by_cell(self.leaks(time) * density[self.openings.cell])
        return -leaving / self.mesh.volume

    def crossing(self, density: Array, time: float, axis: int | None = None) -> Array:
        """What leaves through each link and each opening per unit time (link + opening,).

        With an axis of a grid, 0 through those along other axes.
        """
        rates = self.flux(density, time)
        if axis is not None:
            rates *= self.mesh.normal[:, axis] != 0
        if self.openings is None:
            return rates
        leaving = self.leaks(time) * density[self.openings.cell]
        return np.concatenate([rates, leaving if axis is None else leaving * (self.openings.axis == axis)])

    def energy(self, time: float) -> TotalEnergy | None:
        """Free energy eps int rho log rho + int V rho; a velocity or stream function does not contribute.

        Where D is not one number, that of a temperature T and the equilibrium exp(-U/T) of the convention, T int rho
        log rho + int U rho; None without a temperature.
        """
        return _cached(self._cache, "energy", self._drift_time(time), self._energy)

    def _energy(self, time: float) -> TotalEnergy | None:
        if self.diffusivity is None:
            terms = (EntropyTerm(self.epsilon), PotentialTerm(self.drift.cell_potential(self.mesh, time)))
            return TotalEnergy(self.mesh.volume, terms)
        temperature, exponent = self.diffusivity.temperature, self.diffusivity.gibbs_exponent(self.drift, time)
        if temperature is None or exponent is None:
            return None
        return TotalEnergy(self.mesh.volume, (EntropyTerm(temperature), PotentialTerm(-temperature * exponent)))

    def gibbs_exponent(self, time: float) -> Array | None:
        """log pi (cell,) up to a constant, pi being stationary with zero net flux on each link; None if unknown."""
        if not (self.drift.gradient and self.flux_kind.keeps_gibbs):
            return None
        if self.diffusivity is not None:
            return self.diffusivity.gibbs_exponent(self.drift, time)
        return -self.drift.cell_potential(self.mesh, time) / self.epsilon if self.epsilon > 0 else None

    @property
    def monotone(self) -> bool:
        """Whether the matrix of implicit Euler is an M-matrix at all times.

        A monotone flux guarantees it. With a flux that is not monotone it holds if all is steady and all
        coefficients are non-negative, for centred fluxes if no Peclet number exceeds 2.
        """
        if self.flux_kind.monotone or not self.steady:
            return self.flux_kind.monotone
        down, up = self.coefficients(self.start)
        leaving = np.zeros(0) if self.openings is None else self.leaks(self.start)
        return world().every(bool((down >= 0).all() and (up >= 0).all() and (leaving >= 0).all()))

    def numerical_diffusion(self) -> float | None:
        """Largest numerical diffusion |v| d/2 of upwinding at the start where epsilon is 0; None if it is nowhere."""
        if self.graph is not self.mesh or not self.mesh.faces:
            return None
        w, eps = self.on_links(self.start)
        upwinded = np.abs(w)[np.broadcast_to(np.asarray(eps) == 0, w.shape)]
        largest = world().highest(float(upwinded.max() / 2) if len(upwinded) else -1.0)
        return None if largest < 0 else largest

    def without_rates(self) -> str:
        """Why nothing passes between some cells at the start, and what helps: no diffusion there, or underflow."""
        eps = np.asarray(self.on_links(self.start)[1])
        bare = int(np.count_nonzero(np.broadcast_to(eps == 0, self.graph.owner.shape)))
        if bare:
            return (
                f"{bare} {'face has' if bare == 1 else 'faces have'} no diffusion, so that mass crosses them with the "
                "drift or not at all; use a diffusion above 0 there"
            )
        return rates_underflow()

    def max_outflow_rate(self, time: float) -> float:
        """max_K A_KK/|K|, 1/time: the largest outflow rate of a cell, which bounds conditionally positive steps."""
        return world().largest(self.matrix(time, 1.0).diagonal() / self.mesh.volume - 1.0)
