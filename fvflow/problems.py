"""What is solved, in arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import numpy as np

from fvflow.energies import EntropyTerm, PotentialTerm, TotalEnergy
from fvflow.errors import CaseError
from fvflow.fields import BaseDrift
from fvflow.fluxes import Flux
from fvflow.linalg import FaceMatrix, inner
from fvflow.mesh import Array, Mesh

T = TypeVar("T")


@dataclass(frozen=True)
class OutputVariable:
    """How a quantity is stored: dimensions beside time, a long name, units."""

    dims: tuple[str, ...]
    long_name: str
    units: str = "1"


@dataclass(frozen=True, eq=False)
class State:
    """All that a step needs to know of the past, and what the last one did."""

    time: float
    density: Array  # (cell,)
    mass: float  # what sum |K| rho_K is and stays
    step: int = 0
    potential: Array | None = None  # (cell,) phi of the last JKO step
    iterations: int = 0  # of the linear or nonlinear solver, in the last step
    correction: float = 0.0  # the largest relative mass that a linear solve of the last step was off by
    residual: float = 0.0  # of continuity, relative to the mass, when the last step had converged
    optimality: float = 0.0  # largest |phi + kinetic part - E'(rho)| where there is mass, relative to the range of E'
    halvings: int = 0  # how often the last step was cut in two because it did not converge
    rejections: int = 0  # how often the last step was tried at a greater length before, by adaptive steps
    fallbacks: int = 0  # 1 if the last step was left to the robust method
    previous: Array | None = None  # (cell,) the density before the last step, if the stepper needs it
    length: float = 0.0  # of the last step, if the stepper needs it
    fields: Mapping[str, Array] = field(default_factory=dict)  # what else is stored of this time, by name
    figures: Mapping[str, float] = field(default_factory=dict)  # of the whole run, as far as they are known
    dissipated: float = 0.0  # the energy that the last step accounts for: its transport cost, or its dissipation

    @staticmethod
    def initial(mesh: Mesh, density: Array) -> State:
        """The state at time 0."""
        return State(0.0, density, inner(mesh.volume, density))


class Problem(Protocol):
    """What the ledger asks of a problem."""

    @property
    def mesh(self) -> Mesh:
        """The mesh."""

    def energy(self, time: float) -> TotalEnergy | None:
        """The energy, at a time if it depends on it; None if the problem has none."""

    @property
    def monotone(self) -> bool:
        """Whether implicit Euler is an M-matrix at all times."""

    def numerical_diffusion(self) -> float | None:
        """Largest numerical diffusion of a first-order flux at time 0; None if there is none."""

    def flux(self, density: Array, time: float) -> Array:
        """What crosses each face per unit time (face,), towards the neighbour."""


def dissipation(problem: Problem, density: Array, time: float) -> float:
    """sum_s F_s (mu_K - mu_L), mu = E'(rho): -dE/dt with the potential held fixed.

    Infinite where mass flows into a void with entropy.
    """
    energy = problem.energy(time)
    assert energy is not None
    chemical = energy.first(density)
    with np.errstate(invalid="ignore", over="ignore"):
        flux = problem.flux(density, time)
        jump = chemical[problem.mesh.owner] - chemical[problem.mesh.neighbour]
        moving = flux != 0
        return float(flux[moving] @ jump[moving])


_REMEMBERED = 4


def _recalled(recent: dict[tuple[str, float], Any], name: str, time: float, compute: Callable[[float], T]) -> T:
    """compute(time), kept as one of the few values that were asked for last."""
    if (name, time) not in recent:
        while len(recent) >= _REMEMBERED:
            recent.pop(next(iter(recent)))
        recent[name, time] = compute(time)
    value: T = recent[name, time]
    return value


@dataclass(frozen=True, eq=False)
class FokkerPlanck:
    """d_t rho + div(rho v) = eps Lap rho with no flux through the walls; notes, equation (40)."""

    mesh: Mesh
    drift: BaseDrift
    epsilon: float
    scheme: Flux
    _recent: dict[tuple[str, float], Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if self.epsilon == 0.0 and self.scheme.requires_diffusion:
            raise CaseError(f"flux {self.scheme.kind} needs epsilon > 0; use flux upwind for the continuity equation")

    def coefficients(self, time: float) -> tuple[Array, Array]:
        """down = T B(-w), up = T B(w) of each face, so that F = down rho_K - up rho_L."""
        return _recalled(self._recent, "coefficients", self._moment(time), self._coefficients)

    def _coefficients(self, time: float) -> tuple[Array, Array]:
        w = self.drift.potential_drop(self.mesh, time)
        conductance = self.mesh.transmissibility
        down = conductance * self.scheme.weight(-w, self.epsilon)
        return down, conductance * self.scheme.weight(w, self.epsilon)

    def _moment(self, time: float) -> float:
        """The time at which to evaluate the drift: always 0 for a steady one."""
        return 0.0 if self.drift.steady else time

    def matrix(self, time: float, step: float) -> FaceMatrix:
        """diag(|K|) + step A, A rho being what leaves each cell per unit time."""
        down, up = self.coefficients(time)
        shape = None if self.mesh.edges is None else self.mesh.shape
        return FaceMatrix(self.mesh.volume, self.mesh.owner, self.mesh.neighbour, step * down, step * up, shape)

    def flux(self, density: Array, time: float) -> Array:
        """F of each face (face,)."""
        down, up = self.coefficients(time)
        flux: Array = down * density[self.mesh.owner] - up * density[self.mesh.neighbour]
        return flux

    def energy(self, time: float) -> TotalEnergy:
        """Free energy eps int rho log rho + int V rho; a velocity has no energy and adds none."""
        return _recalled(self._recent, "energy", self._moment(time), self._energy)

    def _energy(self, time: float) -> TotalEnergy:
        terms = (EntropyTerm(self.epsilon), PotentialTerm(self.drift.cell_potential(self.mesh, time)))
        return TotalEnergy(self.mesh.volume, terms)

    @property
    def monotone(self) -> bool:
        """Whether implicit Euler is an M-matrix at all times: always but for centred fluxes.

        These only where the drift is steady and no Peclet number is above 2.
        """
        if self.scheme.monotone or not self.drift.steady:
            return self.scheme.monotone
        down, up = self.coefficients(0.0)
        return bool((down >= 0).all() and (up >= 0).all())

    def numerical_diffusion(self) -> float | None:
        """Largest |v| d/2, which upwinding adds at epsilon 0, at time 0; None if epsilon > 0."""
        if self.epsilon > 0 or not self.mesh.faces:
            return None
        return float(np.abs(self.drift.potential_drop(self.mesh, 0.0)).max() / 2)

    def rate(self, time: float) -> float:
        """The largest rate at which a cell empties, max_K A_KK/|K|: what bounds the steps of conditional schemes."""
        return float((self.matrix(time, 1.0).diagonal() / self.mesh.volume - 1.0).max())


@dataclass(frozen=True, eq=False)
class GradientFlow:
    """d_t rho = div(rho grad E'(rho)) with no flux through the walls; notes, equation (139)."""

    mesh: Mesh
    total: TotalEnergy
    monotone = True

    def numerical_diffusion(self) -> None:
        """None: the order of the mobility says it."""

    def energy(self, time: float) -> TotalEnergy:
        """E."""
        return self.total

    def flux(self, density: Array, time: float) -> Array:
        """T rho_s (mu_K - mu_L) of each face (face,), rho_s from the side that the mass leaves."""
        owner, neighbour = self.mesh.owner, self.mesh.neighbour
        chemical = self.total.first(density)
        with np.errstate(invalid="ignore"):
            jump = chemical[owner] - chemical[neighbour]
            upstream = density[np.where(jump > 0, owner, neighbour)]
            return np.where(upstream > 0, self.mesh.transmissibility * upstream * jump, 0.0)


@dataclass(frozen=True, eq=False)
class Transport:
    """Densities that are carried without an energy: to a target, or by a potential."""

    mesh: Mesh
    target: Array | None = None  # (cell,) where a geodesic ends
    potential: Array | None = None  # (cell,) phi at time 0
    monotone = True

    def energy(self, time: float) -> None:
        """None: there is no energy."""

    def numerical_diffusion(self) -> None:
        """None: it is not told."""

    def flux(self, density: Array, time: float) -> Array:
        """Not available: what crosses a face is part of the result."""
        raise NotImplementedError
