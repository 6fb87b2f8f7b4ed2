"""Newton's method for one JKO step: the iterate, its residuals and the Newton step."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fvflow.energies import TotalEnergy
from fvflow.errors import NumericsError
from fvflow.linalg import inner, solve_second_kind
from fvflow.linalg.reused import Map
from fvflow.mesh import Array
from fvflow.problems import GradientFlow, State
from fvflow.steppers.mesh_system import MeshSystemSolver
from fvflow.steppers.schur import CentredSchurComplement
from fvflow.steppers.step_energy import OCCUPIED
from fvflow.steppers.transport_step import CentredTransportStep

_VACUUM = 1e-14  # relative to the mean: cells predicted below it are excluded if E'(0) is infinite
_LARGEST_ROUND_OFF = 1e-6  # beyond it a residual says nothing
FLOOR = 1e-6  # relative to the mean: smallest density of the first iterate if E'(0) is finite
_MAX_DECREASE = 0.1  # smallest ratio of a cell's new density to its old one in a Newton step
_MAX_INCREASE = 3.0  # largest such ratio, unless the density stays below the mean


class CentredNewton:
    """phi and rho of Newton's method for a step tau with centred mobility, on all cells that are not vacuum.

    rho_s = (rho_K + rho_L + rho^n_K + rho^n_L)/4, and in the Hamilton-Jacobi equation each of the two cells of a face
    has the kinetic term (tau/8) T_s D_s^2.
    """

    def __init__(self, solver: MeshSystemSolver, problem: GradientFlow, state: State, start: Array, tau: float) -> None:
        mesh, total = problem.mesh, problem.total
        mean = state.mass / float(mesh.volume.sum())
        self.volume, self.owner, self.neighbour = mesh.volume, mesh.owner, mesh.neighbour
        self._solver, self._total, self._before = solver, total, state.density
        self._mass, self._mean = state.mass, mean
        self._local = TotalEnergy(total.volume, tuple(term for term in total.terms if not term.nonlocal_))
        if np.isfinite(total.first(np.zeros_like(start))).all():  # empty cells are regular
            self.density = np.maximum(start, FLOOR * mean)
            self.density *= state.mass / inner(mesh.volume, self.density)
            self._vacuum = np.zeros(len(start), dtype=bool)
        else:
            self.density = np.maximum(start, np.finfo(float).tiny)
            self._vacuum = np.maximum(self.density, state.density) <= _VACUUM * mean
        self._active_volume = np.where(self._vacuum, 0.0, mesh.volume)
        closed = self._vacuum[mesh.owner] | self._vacuum[mesh.neighbour]
        self._conductance = np.where(closed, 0.0, tau * problem.conductance)
        self._step = CentredTransportStep(mesh, state.density, state.mass, self._conductance)
        self.phi = total.first(self.density)
        variation_range = total.variation_range(np.maximum(self.density, _VACUUM * mean))
        self._scale = variation_range + total.stiffness(mean)
        self._error = np.inf
        self._drop = self.phi[self.owner] - self.phi[self.neighbour]

    def flow(self) -> Array:
        """tau T_s rho_s (face,)."""
        return self._step.flow(self.density)

    def flux(self) -> Array:
        """Mass through each face in the step (face,)."""
        return self.flow() * self._drop

    def cost(self) -> float:
        """(tau/2) sum_s T_s rho_s D_s^2."""
        return 0.5 * inner(self.flux(), self._drop)

    def end_potential(self) -> Array:
        """phi at the end of the step (cell,), E'(rho) at the minimum."""
        return self._step.hamilton_jacobi(self.phi, self._drop)

    def residuals(self) -> tuple[Array, Array]:
        """Residuals of continuity and of Hamilton-Jacobi (cell,), zero in vacuum."""
        continuity = self._step.continuity(self.density, self._drop)
        optimality = self.volume * (self.phi - self._total.first(self.density)) + self._step.kinetic(self._drop)
        continuity[self._vacuum] = 0.0
        optimality[self._vacuum] = 0.0
        return continuity, optimality

    def errors(self, continuity: Array, optimality: Array) -> tuple[float, float]:
        """Norms of the residuals relative to the mass and to the range of E'; infinite if a value is not finite.

        The round-off in differences of phi is subtracted from the first. The second counts cells below 1e-12 of the
        mean density only where phi would fill them to that.
        """
        errors = self._relative_errors(continuity, self._required(optimality), self.flow(), self.phi)
        self._error = max(errors)
        return errors

    def _required(self, optimality: Array) -> Array:
        """The residual of Hamilton-Jacobi (cell,) as far as it has to vanish: in empty cells it may be negative."""
        least = OCCUPIED * self._mean
        empty = ~self._vacuum & (self.density <= least)
        if not empty.any():
            return optimality
        filled = self._local.first(np.where(empty, least, self.density)) - self._local.first(self.density)
        return np.where(empty, np.maximum(optimality - self.volume * filled, 0.0), optimality)

    def _relative_errors(self, continuity: Array, optimality: Array, flow: Array, phi: Array) -> tuple[float, float]:
        mass_error = max(float(np.abs(continuity).sum()) - round_off(self, flow, phi, self._mass), 0.0) / self._mass
        potential_error = float(np.abs(optimality / self.volume).max()) / self._scale
        finite = np.isfinite(mass_error + potential_error)
        return (mass_error, potential_error) if finite else (np.inf, np.inf)

    def advance(self, continuity: Array, optimality: Array) -> None:
        """One Newton step, limited in rho to ratios between 1/10 and 3. Raises NumericsError."""
        weight = np.where(self._vacuum, 0.0, 1.0 / (self.volume * self._total.second(self.density)))
        speed, flow = 0.25 * self._conductance * self._drop, self.flow()
        schur = CentredSchurComplement(self._solver, self, self._active_volume, speed, flow, weight)
        inverse = schur.inverse(self._error, self._total.interacting)
        self._newton_step(inverse, schur.coupling, schur.coupling_transpose, weight, continuity, optimality)

    def _newton_step(
        self, inverse: Map, coupling: Map, transpose: Map, weight: Array, continuity: Array, optimality: Array
    ) -> None:
        """Apply the Newton step, given S^-1, B and B'.

        An interaction adds z = N change to the second equation, where N is the off-diagonal part of the Hessian. The
        change G(z) is affine in z, hence z + (N (G(0) - G))(z) = N G(0).
        """

        def local_step(continuity: Array | float, optimality: Array) -> tuple[Array, Array]:
            step = -inverse(continuity + coupling(weight * optimality))
            return step, weight * (optimality + transpose(step))

        if self._total.interacting:
            right = self._interaction(local_step(continuity, optimality)[1])
            optimality = optimality - solve_second_kind(lambda z: self._interaction(local_step(0.0, z)[1]), right)
        step, change = local_step(continuity, optimality)
        self.phi = self.phi + step
        self.density = limited(self.density, change, self._mean)
        self._drop = self.phi[self.owner] - self.phi[self.neighbour]

    def _interaction(self, change: Array) -> Array:
        return self.volume * self._total.offdiagonal_hessian_product(change)


def limited(density: Array, change: Array, mean: float) -> Array:
    """The density (cell,) after a Newton step, between 1/10 and 3 times the one before; up to the mean it may fill."""
    return np.clip(density + change, _MAX_DECREASE * density, np.maximum(_MAX_INCREASE * density, mean))


def round_off(mesh: Any, flow: Array, phi: Array, mass: float) -> float:
    """Bound on the round-off of the fluxes flow_s (phi_K - phi_L), summed over the cells; at most 1e-6 of the mass."""
    magnitude = np.abs(phi)
    bound = 4 * np.finfo(float).eps * inner(flow, magnitude[mesh.owner] + magnitude[mesh.neighbour])
    return min(bound, _LARGEST_ROUND_OFF * mass)


class NotConverged(NumericsError):
    """Newton's method gave up after so many iterations."""

    def __init__(self, iterations: int, message: str = "Newton's method gave up") -> None:
        super().__init__(message)
        self.iterations = iterations


class NewtonResult(NamedTuple):
    """The iterations of a converged Newton's method and its final errors, see `CentredNewton.errors`."""

    iterations: int
    residual: float
    optimality: float


def brisk(iteration: int) -> float:
    """Half a digit an iteration: those that end within 15 iterations from a prediction have been faster."""
    return np.inf if iteration < 4 else 10.0 ** (4 - 0.5 * iteration)


def run_newton(newton: CentredNewton, tolerance: float, max_iterations: int) -> NewtonResult:
    """Iterate until the errors are below `tolerance` (mass) and 100 `tolerance` (potential). Raises NotConverged.

    It gives up where an error has not become `brisk` after 8 iterations.
    """
    for iteration in range(max_iterations + 1):
        residuals = newton.residuals()
        mass_error, potential_error = newton.errors(*residuals)
        if mass_error <= tolerance and potential_error <= 100 * tolerance:
            return NewtonResult(iteration, mass_error, potential_error)
        hopeless = iteration >= 8 and max(mass_error, potential_error) > brisk(iteration)
        if mass_error == np.inf or iteration == max_iterations or hopeless:
            break
        newton.advance(*residuals)
    raise NotConverged(iteration)
