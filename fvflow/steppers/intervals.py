"""Newton's method for a JKO step with several time intervals, a small dynamic transport problem."""

from __future__ import annotations

from typing import Any

import numpy as np

from fvflow.errors import NumericsError
from fvflow.linalg import FixedPattern, divergence, factorise, solve_second_kind
from fvflow.mesh import Array, Index, Mesh
from fvflow.problems import GradientFlow, State
from fvflow.steppers.mesh_system import MeshSystemSolver
from fvflow.steppers.newton import CentredNewton, limited


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
        pattern: FixedPattern,
    ) -> None:
        super().__init__(solver, problem, state, single.density, tau / count)
        self._count, self._pattern, self._banded = count, pattern, problem.mesh.dimension == 1
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
        count, cells = self._count, len(self.volume)
        unit = np.array([np.sqrt(self._scale / self._mass), self._mean / np.sqrt(self._scale * self._mass)])
        scale = np.tile(np.repeat(unit, count), cells)  # of potentials, densities: pivots do not depend on the units
        matrix = self._matrix(scale)
        if not np.isfinite(matrix.data).all():
            raise NumericsError("the Newton matrix overflowed")
        factors = factorise(matrix, ordered=self._banded, indefinite=True)

        def local_step(continuity: Array, optimality: Array) -> Array:
            right = np.concatenate([continuity, optimality]).T.ravel()
            return np.asarray(scale * factors.solve(-scale * right)).reshape(cells, 2 * count).T

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

    def _matrix(self, scale: Array) -> Any:
        """The Newton matrix in CSC, scaled, its entries in the order of `interval_pattern`."""
        volume, vacuum, values = self._active_volume, 1.0 * self._vacuum, []
        for q, (speed, flow) in enumerate(zip(0.25 * self._conductance * self._drops(), self._flows(), strict=True)):
            outflow, cells = divergence(self, speed), len(volume)
            total = np.bincount(self.owner, flow, cells) + np.bincount(self.neighbour, flow, cells) + vacuum
            values += [total, -flow, -flow]
            values += 2 * [volume + outflow, speed, -speed]
            if q > 0:
                values += 2 * [outflow - volume, speed, -speed]
            if q < self._count - 1:
                values.append(vacuum)
        values.append(-np.where(self._vacuum, 1.0, self.volume * self._total.second(self.density)))
        return self._pattern.matrix(values, scale)


def interval_pattern(mesh: Mesh, count: int) -> FixedPattern:
    """That of the Newton matrix for `count` intervals, cell by cell, so that in one dimension it is a band.

    Within a cell, rows are of continuity, then of optimality, and columns of potentials, then of densities. For each
    interval q come the entries between (q, q), between (q, count + q) with those of the transpose, for q > 0 the same
    of (q, count + q - 1), and the diagonal of (count + q, count + q).
    """
    cells, owner, neighbour = (
        2 * count * part for part in (np.arange(mesh.cells, dtype=np.int32), mesh.owner, mesh.neighbour)
    )
    rows: list[Index] = []
    columns: list[Index] = []

    def add(row: int, column: int) -> None:
        rows.extend(row + part for part in (cells, owner, neighbour))
        columns.extend(column + part for part in (cells, neighbour, owner))

    for q in range(count):
        add(q, q)
        for column in (count + q, count + q - 1)[: 1 + (q > 0)]:
            add(q, column)
            block = rows[-3:], columns[-3:]
            rows.extend(block[1])
            columns.extend(block[0])
        rows.append(count + q + cells)
        columns.append(rows[-1])
    return FixedPattern(rows, columns, 2 * count * mesh.cells)
