"""The Fokker-Planck equation in arrays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np

from fvflow.energies import EntropyTerm, PotentialTerm, TotalEnergy
from fvflow.errors import CaseError
from fvflow.fields import BaseDrift
from fvflow.fluxes import CellResolution, Flux
from fvflow.linalg import FaceMatrix
from fvflow.mesh import Array, Mesh, Openings

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
    """Diffusion coefficient eps, length^2/time."""
    flux_kind: Flux
    """The two-point flux."""
    start: float = field(default=0.0, kw_only=True)
    """Time at which a run starts."""
    openings: Openings | None = field(default=None, kw_only=True)
    """Where mass leaves for good; None if it does not."""
    _cache: dict[tuple[str, float], Any] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.epsilon == 0.0 and self.flux_kind.requires_diffusion:
            raise CaseError(f"flux {self.flux_kind.kind} needs epsilon > 0; use flux upwind, which allows epsilon 0")

    def coefficients(self, time: float) -> tuple[Array, Array]:
        """down = T B(-w) and up = T B(w) of each face (face,), so that F = down rho_K - up rho_L."""
        return _cached(self._cache, "coefficients", self._drift_time(time), self._coefficients)

    def _coefficients(self, time: float) -> tuple[Array, Array]:
        w = self.drift.potential_drop(self.mesh, time)
        conductance = self.mesh.transmissibility
        down = conductance * self.flux_kind.weight(-w, self.epsilon)
        up = conductance * self.flux_kind.weight(w, self.epsilon)
        if self.openings is not None and (closed := self.openings.closed >= 0).any():
            shut = closed[self.mesh.owner] | closed[self.mesh.neighbour]
            down[shut] = up[shut] = 0.0
        return down, up

    def leaks(self, time: float) -> Array:
        """The coefficient (opening,) of the density in what leaves through each opening per unit time."""
        return _cached(self._cache, "leaks", self._drift_time(time), self._leaks)

    def _leaks(self, time: float) -> Array:
        assert self.openings is not None
        w = self.drift.drop_to_openings(self.mesh, self.openings, time)
        return self.openings.leaks(lambda drop: self.flux_kind.weight(drop, self.epsilon), w)

    def outflow_rates(self, density: Array, time: float) -> Array:
        """What leaves through each group of openings per unit time (group,)."""
        assert self.openings is not None
        return self.openings.by_group(self.leaks(time) * density[self.openings.cell])

    def resolution(self, time: float) -> CellResolution:
        """How well the faces of each cell resolve the drift, for eps > 0."""

        def compute(at: float) -> CellResolution:
            return CellResolution.of(self.mesh, self.flux_kind, *self.coefficients(at), self.epsilon)

        return _cached(self._cache, "resolution", self._drift_time(time), compute)

    def _drift_time(self, time: float) -> float:
        """The time at which the drift is evaluated: that of the start if it is steady."""
        return self.start if self.drift.steady else time

    def matrix(self, time: float, step: float) -> FaceMatrix:
        """diag(|K|) + step A, where A rho is the outflow of each cell per unit time."""
        mesh, (down, up) = self.mesh, self.coefficients(time)
        shape = None if mesh.edges is None else mesh.shape
        matrix = FaceMatrix(mesh.volume, mesh.owner, mesh.neighbour, step * down, step * up, shape)
        if self.openings is None:
            return matrix
        leaks = step * self.leaks(time)
        if shape is None:
            return replace(matrix, leak=self.openings.by_cell(leaks))
        along = [self.openings.by_cell(leaks * (self.openings.axis == axis)) for axis in range(mesh.dimension)]
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
        """F of each face (face,), positive from owner to neighbour."""
        down, up = self.coefficients(time)
        return np.asarray(down * density[self.mesh.owner] - up * density[self.mesh.neighbour])

    def energy(self, time: float) -> TotalEnergy:
        """Free energy eps int rho log rho + int V rho; a velocity or stream function does not contribute."""
        return _cached(self._cache, "energy", self._drift_time(time), self._energy)

    def _energy(self, time: float) -> TotalEnergy:
        terms = (EntropyTerm(self.epsilon), PotentialTerm(self.drift.cell_potential(self.mesh, time)))
        return TotalEnergy(self.mesh.volume, terms)

    @property
    def monotone(self) -> bool:
        """Whether the matrix of implicit Euler is an M-matrix at all times.

        A monotone flux guarantees it. With a flux that is not monotone it holds if the drift is steady and all
        coefficients are non-negative, for centred fluxes if no Peclet number exceeds 2.
        """
        if self.flux_kind.monotone or not self.drift.steady:
            return self.flux_kind.monotone
        down, up = self.coefficients(self.start)
        return bool((down >= 0).all() and (up >= 0).all())

    def numerical_diffusion(self) -> float | None:
        """Largest numerical diffusion |v| d/2 of upwinding at the start if epsilon = 0; None if epsilon > 0."""
        if self.epsilon > 0 or not self.mesh.faces:
            return None
        return float(np.abs(self.drift.potential_drop(self.mesh, self.start)).max() / 2)

    def max_outflow_rate(self, time: float) -> float:
        """max_K A_KK/|K|, 1/time: the largest outflow rate of a cell, which bounds conditionally positive steps."""
        return float((self.matrix(time, 1.0).diagonal() / self.mesh.volume - 1.0).max())
