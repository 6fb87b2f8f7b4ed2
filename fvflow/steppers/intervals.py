"""The Newton system of a JKO step with several time intervals: a small dynamic transport problem."""

from __future__ import annotations

from typing import Any

import numpy as np

from fvflow.errors import NumericsError
from fvflow.linalg import divergence, factorise, solve_second_kind
from fvflow.mesh import Array
from fvflow.problems import GradientFlow, State
from fvflow.steppers.newton import CentredIterate, sparse
from fvflow.steppers.schur import Pattern


class Intervals(CentredIterate):
    """phi_1 ... phi_Q in the middle, and rho_1 ... rho_Q at the end, of Q equal intervals tau/Q of a step.

        |K| (rho_q - rho_{q-1}) + (tau/Q) sum_s T_s m_s D_s = 0,     m_s the mean of the four densities beside s
        |K| (phi_q - phi_{q+1}) + (tau/8Q) sum_s T_s (D_{q,s}^2 + D_{q+1,s}^2) = 0                        (q < Q)
        |K| (phi_Q - E'(rho_Q)) + (tau/8Q) sum_s T_s D_{Q,s}^2 = 0

    Starts from the solution with one interval. Newton on all unknowns at once: between the ends the energy does not see
    the densities, so that no Schur complement in phi exists.
    """

    def __init__(
        self, pattern: Pattern, problem: GradientFlow, state: State, single: CentredIterate, tau: float, count: int
    ) -> None:
        super().__init__(pattern, problem, state, single.density, tau / count)
        self._count = count
        part = np.arange(1, count + 1)[:, None] / count
        self._densities = (1.0 - part) * state.density + part * self.density  # (Q, cell), at the ends
        self._potentials = np.tile(single.phi, (count, 1))  # (Q, cell)

    def _drops(self) -> Array:
        """D of each interval (Q, face)."""
        return self._potentials[:, self.owner] - self._potentials[:, self.neighbour]

    def _flows(self) -> Array:
        """(tau/Q) T_s m_s of each interval (Q, face)."""
        both = self._densities + np.concatenate([self._before[None], self._densities[:-1]])
        return np.asarray(0.25 * self._conductance * (both[:, self.owner] + both[:, self.neighbour]))

    def flux(self) -> Array:
        """What crosses each face in the whole step (face,)."""
        return np.asarray((self._flows() * self._drops()).sum(axis=0))

    def cost(self) -> float:
        """(tau/2Q) sum_q sum_s T_s m_s D_s^2."""
        return 0.5 * float((self._flows() * self._drops() ** 2).sum())

    def residuals(self) -> tuple[Array, Array]:
        """What continuity and Hamilton-Jacobi are off by (Q, cell), zero in vacuum."""
        flux, share = self._flows() * self._drops(), 0.125 * self._conductance * self._drops() ** 2
        change = np.diff(self._densities, axis=0, prepend=self._before[None])
        continuity = self.volume * change + np.stack([divergence(self, part) for part in flux])
        cells = len(self.volume)
        kinetic = np.stack([np.bincount(self.owner, s, cells) + np.bincount(self.neighbour, s, cells) for s in share])
        ahead = np.concatenate([self._potentials[1:], self._variation()[None]])
        optimality = self.volume * (self._potentials - ahead) + kinetic
        optimality[:-1] += kinetic[1:]
        continuity[:, self._vacuum] = 0.0
        optimality[:, self._vacuum] = 0.0
        return continuity, optimality

    def errors(self, continuity: Array, optimality: Array) -> tuple[float, float]:
        """As for one interval, of the worst of them."""
        parts = zip(continuity, optimality, self._flows(), self._potentials, strict=True)
        lost, off = np.max([self._measured(*part) for part in parts], axis=0)
        return float(lost), float(off)

    def advance(self, continuity: Array, optimality: Array) -> None:
        """One Newton step, limited as that of ljko. Raises NumericsError."""
        from scipy.sparse import block_array

        count, cells = self._count, len(self.volume)
        places = np.arange(cells, dtype=np.int32)
        owner, neighbour = [places, self.owner, self.neighbour], [places, self.neighbour, self.owner]
        speeds, flows = 0.25 * self._conductance * self._drops(), self._flows()
        vacuum = 1.0 * self._vacuum
        blocks: list[list[Any]] = [[None] * (2 * count) for _ in range(2 * count)]
        for q, (speed, flow) in enumerate(zip(speeds, flows, strict=True)):  # over the few intervals
            moved = divergence(self, speed)
            end = sparse([self._inner + moved, speed, -speed], owner, neighbour)
            start = sparse([moved - self._inner, speed, -speed], owner, neighbour)
            lost = np.bincount(self.owner, flow, cells) + np.bincount(self.neighbour, flow, cells) + vacuum
            blocks[q][q] = sparse([lost, -flow, -flow], owner, neighbour)
            blocks[q][count + q] = end
            blocks[count + q][q] = end.T
            if q > 0:
                blocks[q][count + q - 1] = start
                blocks[count + q - 1][q] = start.T
            if q < count - 1:
                blocks[count + q][count + q] = sparse([vacuum], [places], [places])
        second = np.where(self._vacuum, 1.0, self.volume * self._total.second(self.density))
        blocks[-1][-1] = sparse([-second], [places], [places])
        matrix: Any = block_array(blocks).tocsc()
        if not np.isfinite(matrix.data).all():
            raise NumericsError("the Newton matrix overflowed")
        factors = factorise(matrix, indefinite=True)

        def solved(continuity: Array, optimality: Array) -> Array:
            right = np.concatenate([continuity.ravel(), optimality.ravel()])
            return np.asarray(factors.solve(-right)).reshape(2 * count, cells)

        step = solved(continuity, optimality)
        if self._total.interacting:
            nothing = np.zeros_like(continuity)

            def of(far: Array) -> Array:
                shifted = np.zeros_like(optimality)
                shifted[-1] = far
                return solved(nothing, shifted)

            step = step - of(solve_second_kind(lambda z: self._distant(of(z)[-1]), self._distant(step[-1])))
        self._potentials = self._potentials + step[:count]
        self._densities = self._limited(self._densities, step[count:])
        self.phi, self.density = self._potentials[-1], self._densities[-1]
