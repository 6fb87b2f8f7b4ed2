"""A primal-dual interior point for one minimising-movement step, from a start that knows no earlier step."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import NamedTuple

import numpy as np

from fvflow.linalg import inner
from fvflow.mesh import Array
from fvflow.steppers.mesh_system import MeshSystemSolver
from fvflow.steppers.step_energy import ContinuedEnergy
from fvflow.steppers.transport_step import MinimisingTransport, Point

_START_BARRIER = 0.1  # of the first iterate, relative to potential range times mean density
_START_DENSITY = 0.01  # smallest density of the first iterate, relative to the mean
_BOUNDED = 1e-6  # densities and multipliers above it, relative to their scales, limit the step
_KEPT = 0.01  # smallest ratio of the others in one step
_TO_BOUNDARY = 0.995  # part of the step to the boundary that is taken
_REGULARISATION = 1e-8  # of the Hessian, relative to the potential range over the density
_LEAST_BARRIER = 1e-20
_GROWTH = 100.0  # by which the merit function may grow in one iteration
_CORRECTED = 0.25  # largest merit of the second-order correction, relative to that of the residual
_SHORTENINGS = 8
_FILLED = 1e-3  # of the mean: cells of constant E' above it count in the scale of the potential
_FALLING = 3.0  # fall of the barrier in one iteration that is worth another

_Direction = Callable[[Array, Array, Array], tuple[Array, Array, Array]]


class Iterate(NamedTuple):
    """phi, rho > 0 and the multiplier s > 0 of rho >= 0 (cell,)."""

    phi: Array
    density: Array
    multiplier: Array


class InteriorPoint:
    """min E(rho) + transport cost of rho^n to rho with rho >= 0: Newton's method on the conditions with rho s = mu > 0.

        r1 = |K| (rho - rho^n) + outflow = 0,    r2 = E'(rho) - s - q(phi) = 0,    r3 = rho s - mu = 0,   mu -> 0

    with predictor and corrector (Mehrotra, On the implementation of a primal-dual interior point method, SIAM J. Optim.
    2, 1992). Eliminating rho and s leaves the same Schur complement in phi as in `UpwindNewton`, with the weight
    1/(E'' + s/rho) instead of 1/E''. It starts from phi = 0 and the density of constant E' + barrier, not from rho^n:
    vacuum, spikes and steps of any length look alike to it. The energy is shifted so that the density of E' = 0 has the
    mass (`ContinuedEnergy.level`); otherwise the round-off of large constants is left in r1.
    """

    def __init__(self, solver: MeshSystemSolver, step: MinimisingTransport, energy: ContinuedEnergy) -> None:
        self._solver, self._step, self._energy = solver, step, energy
        self._volume, self._mean = step.mesh.volume, step.mean
        level = energy.inverse(np.zeros(len(self._volume)))
        occupied = step.before + np.where(level > _FILLED * self._mean, level, 0.0)
        self._spread = energy.scale(energy.potential(occupied), occupied)  # scale of the potential

    def start(self) -> Iterate:
        """The first iterate: E' is constant up to the barrier."""
        barrier = _START_BARRIER * self._spread * self._mean
        density = self._energy.inverse(np.zeros(len(self._volume)), barrier)
        density = np.maximum(density, _START_DENSITY * self._mean)
        density *= self._step.mass / inner(self._volume, density)
        multiplier = np.maximum(self._energy.first(density), barrier / density)
        return Iterate(np.zeros(len(density)), density, multiplier)

    def solve(self, point: Iterate, accepted: Callable[[Point], bool], iterations: int) -> tuple[Iterate, int, bool]:
        """The last iterate from a point, the iterations, and whether the iterate is accepted.

        More than `iterations` are made only while the mean of rho s falls to a third in each.
        """
        barrier = np.inf
        for iteration in count():
            if accepted(Point(point.phi, point.density)):
                return point, iteration, True
            before, barrier = barrier, _barrier(point)
            falling = _FALLING * barrier < before
            if not np.isfinite(point.phi.sum()) or (iteration >= iterations and not falling):
                break
            point = self._advanced(point)
        return point, iteration, False

    def without_barrier(self, point: Iterate) -> Point:
        """The iterate with q raised to E'(rho): where s > 0 there is no mass that the higher phi would move.

        Almost empty cells get the density of E' = q instead, and q is raised only to E' of the least density: their
        rho is that of the barrier, mu/s, above the one sought by orders of magnitude that Newton's method would go one
        by one.
        """
        energy, density = self._energy, point.density
        q = energy.first(density) - point.multiplier
        raised = np.maximum(q, energy.first(np.full_like(q, energy.floor)))
        emptied = energy.inverse(raised, near=density)
        almost_empty = density < _BOUNDED * self._mean
        phi = point.phi + np.where(almost_empty, raised - q, point.multiplier)
        return Point(phi, np.maximum(np.where(almost_empty, emptied, density), energy.floor))

    def _residuals(self, point: Iterate) -> tuple[Array, Array]:
        """r1 and r2 (cell,)."""
        faces = self._step.faces(point.phi)
        q = self._step.hamilton_jacobi(point.phi, faces)
        continuity = self._step.continuity(point.density, faces)
        return continuity, self._energy.first(point.density) - point.multiplier - q

    def _merit(self, continuity: Array, optimality: Array) -> float:
        mass, potential = continuity / self._mean, optimality / self._spread
        return float((mass**2 / self._volume + self._volume * potential**2).sum() / self._volume.sum())

    def _advanced(self, point: Iterate) -> Iterate:
        """One predictor-corrector step."""
        r1, r2 = self._residuals(point)
        density, multiplier = point.density, point.multiplier
        direction, barrier = self._direction(point), _barrier(point)
        predicted = direction(r1, r2, density * multiplier)
        length = self._boundary(point, predicted)
        after = self._moved(point, predicted, length)
        ratio = _barrier(after) / barrier
        target = max(ratio**3 * barrier, _LEAST_BARRIER * self._spread * self._mean)
        r3 = density * multiplier + length**2 * predicted[1] * predicted[2] - target
        corrected = self._second_order(after, length, r1, r2)
        step = direction(*corrected, r3)
        return self._accepted(point, step, _TO_BOUNDARY * self._boundary(point, step), self._merit(r1, r2))

    def _second_order(self, after: Iterate, length: float, r1: Array, r2: Array) -> tuple[Array, Array]:
        """r1 and r2 plus what the predictor leaves of them beyond its linear model, if that is small beside them."""
        n1, n2 = (part - (1.0 - length) * r for part, r in zip(self._residuals(after), (r1, r2), strict=True))
        if length > 0.1 and self._merit(n1, n2) <= _CORRECTED * self._merit(r1, r2):
            return r1 + n1, r2 + n2
        return r1, r2

    def _accepted(self, point: Iterate, step: tuple[Array, Array, Array], length: float, merit: float) -> Iterate:
        """The next point: the step is halved only while the merit grows a hundredfold, as monotone search stalls."""
        for _ in range(_SHORTENINGS):
            after = self._moved(point, step, length)
            if self._merit(*self._residuals(after)) <= _GROWTH * max(merit, _LEAST_BARRIER):
                break
            length *= 0.5
        return after

    def _boundary(self, point: Iterate, step: tuple[Array, Array, Array]) -> float:
        """The longest step, at most 1, that keeps rho and s positive where they are not close to 0."""
        scales = (point.density, step[1], self._mean), (point.multiplier, step[2], self._spread)
        length = 1.0
        for value, change, scale in scales:
            falling = (value > _BOUNDED * scale) & (change < 0)
            length = min(length, float((-value[falling] / change[falling]).min(initial=np.inf)))
        return length

    def _moved(self, point: Iterate, step: tuple[Array, Array, Array], length: float) -> Iterate:
        density = np.maximum(point.density + length * step[1], _KEPT * point.density)
        return Iterate(
            point.phi + length * step[0],
            density,
            np.maximum(point.multiplier + length * step[2], _KEPT * point.multiplier),
        )

    def _direction(self, point: Iterate) -> _Direction:
        """(r1, r2, r3) -> the Newton step in phi, rho and s, refined once."""
        volume, density, multiplier = self._volume, point.density, point.multiplier
        regular = _REGULARISATION * self._spread / np.maximum(density, self._mean)
        weight = 1.0 / (self._energy.second(density) + multiplier / density + regular)
        schur = self._step.schur(self._solver, density, self._step.faces(point.phi), weight / volume)
        inverse = schur.inverse(0.0, True)

        def solve(continuity: Array, optimality: Array) -> tuple[Array, Array]:
            dphi = -inverse(continuity - schur.coupling(weight * optimality))
            return dphi, weight * (schur.coupling_transpose(dphi) / volume - optimality)

        def direction(r1: Array, r2: Array, r3: Array) -> tuple[Array, Array, Array]:
            reduced = r2 + r3 / density
            dphi, drho = solve(r1, reduced)
            left1 = r1 + schur.coupling(drho) + schur.laplacian(dphi)
            left2 = drho / weight - schur.coupling_transpose(dphi) / volume + reduced
            more_phi, more_rho = solve(left1, left2)
            drho = drho + more_rho
            return dphi + more_phi, drho, -(r3 + multiplier * drho) / density

        return direction


def _barrier(point: Iterate) -> float:
    """Mean of rho s."""
    return float((point.density * point.multiplier).mean())
