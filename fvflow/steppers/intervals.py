"""Newton's method for a JKO step with several time intervals, a small dynamic transport problem."""

from __future__ import annotations

from typing import Any

import numpy as np

from fvflow.errors import NumericsError
from fvflow.linalg import divergence, factorise, solve_second_kind
from fvflow.mesh import Array
from fvflow.problems import GradientFlow, State
from fvflow.steppers.newton import CentredNewton, limited
from fvflow.steppers.schur import MeshSystemSolver, sparse


class IntervalsNewton(CentredNewton):
    """phi_1 ... phi_Q at the midpoints, and rho_1 ... rho_Q at the ends, of Q equal intervals tau/Q of a step.

        |K| (rho_q - rho_{q-1}) + (tau/Q) sum_s T_s m_s D_s = 0
        |K| (phi_q - phi_{q+1}) + (tau/8Q) sum_s T_s (D_{q,s}^2 + D_{q+1,s}^2) = 0                        (q < Q)
        |K| (phi_Q - E'(rho_Q)) + (tau/8Q) sum_s T_s D_{Q,s}^2 = 0

    m_s is the mean of the four densities beside s. Newton's method starts from the solution with one interval and
    solves for all unknowns at once: the energy does not depend on the intermediate densities, so that there is no Schur
    complement in phi.
    """

    def __init__(
        self,
        solver: MeshSystemSolver,
        problem: GradientFlow,
        state: State,
        single: CentredNewton,
        tau: float,
        count: int,
    ) -> None:
        super().__init__(solver, problem, state, single.density, tau / count)
        self._count = count
        part = np.arange(1, count + 1)[:, None] / count
        self._densities = (1.0 - part) * state.density + part * self.density  # (Q, cell)
        self._potentials = np.tile(single.phi, (count, 1))  # (Q, cell)

    def _drops(self) -> Array:
        """D of each interval (Q, face)."""
        return self._potentials[:, self.owner] - self._potentials[:, self.neighbour]

    def _flows(self) -> Array:
        """(tau/Q) T_s m_s of each interval (Q, face)."""
        both = self._densities + np.concatenate([self._before[None], self._densities[:-1]])
        return np.asarray(0.25 * self._conductance * (both[:, self.owner] + both[:, self.neighbour]))

    def flux(self) -> Array:
        """Mass through each face in the whole step (face,)."""
        return np.asarray((self._flows() * self._drops()).sum(axis=0))

    def cost(self) -> float:
        """(tau/2Q) sum_q sum_s T_s m_s D_s^2."""
        return 0.5 * float((self._flows() * self._drops() ** 2).sum())

    def end_potential(self) -> Array:
        """phi at the end of the step (cell,), half an interval after phi_Q."""
        return self._step.hamilton_jacobi(self.phi, self._drops()[-1])

    def residuals(self) -> tuple[Array, Array]:
        """Residuals of continuity and of Hamilton-Jacobi (Q, cell), zero in vacuum."""
        flux, share = self._flows() * self._drops(), 0.125 * self._conductance * self._drops() ** 2
        change = np.diff(self._densities, axis=0, prepend=self._before[None])
        continuity = self.volume * change + np.stack([divergence(self, part) for part in flux])
        cells = len(self.volume)
        kinetic = np.stack([np.bincount(self.owner, s, cells) + np.bincount(self.neighbour, s, cells) for s in share])
        following = np.concatenate([self._potentials[1:], self._total.first(self.density)[None]])
        optimality = self.volume * (self._potentials - following) + kinetic
        optimality[:-1] += kinetic[1:]
        continuity[:, self._vacuum] = 0.0
        optimality[:, self._vacuum] = 0.0
        return continuity, optimality

    def errors(self, continuity: Array, optimality: Array) -> tuple[float, float]:
        """The largest errors of all intervals."""
        required = np.concatenate([optimality[:-1], self._required(optimality[-1])[None]])
        parts = zip(continuity, required, self._flows(), self._potentials, strict=True)
        mass_error, potential_error = np.max([self._relative_errors(*part) for part in parts], axis=0)
        return float(mass_error), float(potential_error)

    def advance(self, continuity: Array, optimality: Array) -> None:
        """One Newton step, limited as for upwind mobility. Raises NumericsError."""
        from scipy.sparse import diags_array

        count, cells = self._count, len(self.volume)
        unit = np.array([np.sqrt(self._scale / self._mass), self._mean / np.sqrt(self._scale * self._mass)])
        scale = np.repeat(unit, count * cells)  # of potentials and of densities: pivots do not depend on the units
        matrix = (diags_array(scale) @ self._matrix() @ diags_array(scale)).tocsc()
        if not np.isfinite(matrix.data).all():
            raise NumericsError("the Newton matrix overflowed")
        factors = factorise(matrix, indefinite=True)

        def local_step(continuity: Array, optimality: Array) -> Array:
            right = np.concatenate([continuity.ravel(), optimality.ravel()])
            return np.asarray(scale * factors.solve(-scale * right)).reshape(2 * count, cells)

        step = local_step(continuity, optimality)
        if self._total.interacting:

            def response(last: Array) -> Array:
                """The step for a right-hand side in the last optimality condition alone, 0 in vacuum."""
                shifted = np.zeros_like(optimality)
                shifted[-1] = np.where(self._vacuum, 0.0, last)
                return local_step(np.zeros_like(continuity), shifted)

            right = self._interaction(step[-1])
            step = step - response(solve_second_kind(lambda z: self._interaction(response(z)[-1]), right))
        self._potentials = self._potentials + step[:count]
        self._densities = limited(self._densities, step[count:], self._mean)
        self.phi, self.density = self._potentials[-1], self._densities[-1]

    def _matrix(self) -> Any:
        """The Newton matrix in CSC: blocks of potentials, then of densities; continuity, then optimality."""
        from scipy.sparse import block_array

        count, cells = self._count, len(self.volume)
        places = np.arange(cells, dtype=np.int32)
        rows, columns = [places, self.owner, self.neighbour], [places, self.neighbour, self.owner]
        speeds, flows = 0.25 * self._conductance * self._drops(), self._flows()
        vacuum = 1.0 * self._vacuum
        blocks: list[list[Any]] = [[None] * (2 * count) for _ in range(2 * count)]
        for q, (speed, flow) in enumerate(zip(speeds, flows, strict=True)):
            outflow = divergence(self, speed)
            end = sparse([self._active_volume + outflow, speed, -speed], rows, columns)
            start = sparse([outflow - self._active_volume, speed, -speed], rows, columns)
            total = np.bincount(self.owner, flow, cells) + np.bincount(self.neighbour, flow, cells) + vacuum
            blocks[q][q] = sparse([total, -flow, -flow], rows, columns)
            blocks[q][count + q] = end
            blocks[count + q][q] = end.T
            if q > 0:
                blocks[q][count + q - 1] = start
                blocks[count + q - 1][q] = start.T
            if q < count - 1:
                blocks[count + q][count + q] = sparse([vacuum], [places], [places])
        second = np.where(self._vacuum, 1.0, self.volume * self._total.second(self.density))
        blocks[-1][-1] = sparse([-second], [places], [places])
        return block_array(blocks).tocsc()
