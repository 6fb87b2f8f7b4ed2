"""The equations in arrays, and the state of a run."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeVar

import numpy as np

from fvflow.energies import EntropyTerm, PotentialTerm, TotalEnergy
from fvflow.errors import CaseError
from fvflow.fields import BaseDrift
from fvflow.fluxes import CellResolution, Flux
from fvflow.linalg import FaceMatrix, SolverMemory, inner
from fvflow.mesh import Array, Mesh

T = TypeVar("T")
_CACHE_SIZE = 4


@dataclass(frozen=True)
class OutputVariable:
    """How a quantity is stored: its dimensions besides time, a long name, units; `signed` if 0 is the middle of it."""

    dims: tuple[str, ...]
    long_name: str
    units: str = "1"
    signed: bool = False


@dataclass(frozen=True, eq=False)
class State:
    """The state of a run after a step: everything that the next step needs, and statistics of the last one."""

    time: float
    """Time t."""
    density: Array
    """rho (cell,)."""
    mass: float
    """Conserved total mass sum_K |K| rho_K."""
    step: int = 0
    """Number of steps so far."""
    potential: Array | None = None
    """phi (cell,) of the last step; None if the stepper does not compute one."""
    iterations: int = 0
    """Iterations of the linear or nonlinear solver in the last step."""
    correction: float = 0.0
    """Largest relative correction of the mass after the linear solves of the last step."""
    residual: float = 0.0
    """Final residual of the continuity equation in the last step, as a fraction of the mass."""
    optimality: float = 0.0
    """Final residual max |phi + kinetic - E'(rho)| of the last step outside vacuum, relative to the range of E'."""
    gap: float = math.nan
    """Bound on energy plus transport cost of the last step above their minimum, over range of E' times mass; or nan."""
    halvings: int = 0
    """Number of times that the last step was halved because it did not converge."""
    rejections: int = 0
    """Number of longer attempts that error control rejected before the last step."""
    fallback: str = ""
    """Why the last step was taken by a fallback method; empty if it was not."""
    damped: int = 0
    """1 if the last step was damped because the data are rough, otherwise 0."""
    previous: Array | None = None
    """Density (cell,) before the last step, for two-step methods."""
    next_length: float = 0.0
    """Length that error control proposes for the next step; 0 if none has been proposed, nan within a step."""
    memory: Mapping[str, SolverMemory] = field(default_factory=dict)
    """What iterative solvers keep from step to step, by the method that uses them."""
    length: float = 0.0
    """Length of the last step, for two-step methods."""
    fields: Mapping[str, Array] = field(default_factory=dict)
    """Further arrays to store at this time, by name."""
    figures: Mapping[str, float] = field(default_factory=dict)
    """Scalar results of the whole run, as far as they are known."""
    dissipated: float = 0.0
    """Transport cost or dissipation of the last step: the part of the energy decrease that the scheme accounts for."""
    switches: int = 0
    """Number of methods that failed before one solved the last step."""
    reduced: int = 0
    """1 if the last step kept less than the order or the accuracy that its method promises, otherwise 0."""
    iterate: Mapping[str, Any] | None = None
    """What a solver that does not advance in time goes on from, in the midst of its iteration; else None."""

    @staticmethod
    def initial(mesh: Mesh, density: Array, time: float = 0.0) -> State:
        """The state at the start."""
        return State(time, density, inner(mesh.volume, density))

    def advanced(
        self,
        length: float,
        density: Array,
        *,
        potential: Array | None = None,
        iterations: int = 0,
        correction: float = 0.0,
        residual: float = 0.0,
        optimality: float = 0.0,
        gap: float = math.nan,
        dissipated: float = 0.0,
    ) -> State:
        """The state after one more step of this length; statistics of the step that are not given are reset."""
        return replace(
            self,
            time=self.time + length,
            density=density,
            step=self.step + 1,
            potential=potential,
            iterations=iterations,
            correction=correction,
            residual=residual,
            optimality=optimality,
            gap=gap,
            dissipated=dissipated,
            halvings=0,
            switches=0,
            reduced=0,
            rejections=0,
            damped=0,
            fallback="",
        )


class Problem(Protocol):
    """What the diagnostics require of a problem."""

    @property
    def mesh(self) -> Mesh:
        """The mesh."""

    def energy(self, time: float) -> TotalEnergy | None:
        """The energy functional at this time; None if the problem has none."""

    @property
    def monotone(self) -> bool:
        """Whether the matrix of implicit Euler is an M-matrix at all times."""

    def numerical_diffusion(self) -> float | None:
        """Largest numerical diffusion of a first-order flux at the start, length^2/time; None if not applicable."""

    def flux(self, density: Array, time: float) -> Array:
        """Mass through each face per unit time (face,), positive from owner to neighbour."""


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
    """d_t rho + div(rho v) = eps Lap rho with no flux through the walls; notes, equation (40)."""

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
        return down, conductance * self.flux_kind.weight(w, self.epsilon)

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
        down, up = self.coefficients(time)
        shape = None if self.mesh.edges is None else self.mesh.shape
        return FaceMatrix(self.mesh.volume, self.mesh.owner, self.mesh.neighbour, step * down, step * up, shape)

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


@dataclass(frozen=True, eq=False)
class GradientFlow:
    """d_t rho = div(rho grad E'(rho)) with no flux through the walls; notes, equation (139)."""

    mesh: Mesh
    """The mesh."""
    total: TotalEnergy
    """The energy E, a sum of terms."""
    monotone = True

    def numerical_diffusion(self) -> None:
        """None: `check` reports the order of the mobility instead."""

    def energy(self, time: float) -> TotalEnergy:
        """E; it does not depend on time."""
        return self.total

    def flux(self, density: Array, time: float) -> Array:
        """T rho_s (mu_K - mu_L) of each face (face,), with the upstream density rho_s."""
        owner, neighbour = self.mesh.owner, self.mesh.neighbour
        chemical = self.total.first(density)
        with np.errstate(invalid="ignore"):
            jump = chemical[owner] - chemical[neighbour]
            upstream = density[np.where(jump > 0, owner, neighbour)]
            return np.where(upstream > 0, self.mesh.transmissibility * upstream * jump, 0.0)


@dataclass(frozen=True, eq=False)
class Transport:
    """Transport without an energy: to a target density, or along a potential."""

    mesh: Mesh
    """The mesh."""
    target: Array | None = None
    """Density (cell,) at the end of a geodesic."""
    potential: Array | None = None
    """phi (cell,) at time 0."""
    monotone = True

    def energy(self, time: float) -> None:
        """None: there is no energy."""

    def numerical_diffusion(self) -> None:
        """None: it is not computed."""

    def flux(self, density: Array, time: float) -> Array:
        """Not available: the face fluxes are part of the result."""
        raise NotImplementedError
