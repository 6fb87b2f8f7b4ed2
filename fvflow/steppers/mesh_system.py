"""Solver for the symmetric systems of Newton's method on a mesh, reused from one to the next."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cached_property, partial
from typing import Any

import numpy as np

from fvflow.errors import NumericsError
from fvflow.linalg import (
    LARGEST_DIRECT,
    Auto,
    Direct,
    Multigrid,
    ReusedAMG,
    ReusedFactors,
    SymmetricSolver,
    assemble_symmetric,
    elimination_order,
    factorise,
    invert_on_chain,
    is_chain,
    least_degree_order,
)
from fvflow.linalg.reused import Map
from fvflow.mesh import Array, Index, Mesh
from fvflow.problems import State
from fvflow.steppers.fallible import FallibleStep

NewtonSolver = Auto | Direct | Multigrid

_MIN_COUPLING = 1e-18  # next to a unit diagonal: smaller entries only give denormal numbers, ten times slower
_SHIFT = 1e-14  # added to the unit diagonal of the scaled matrix
_TRANSPORT_DOMINATED = 1.0  # Newton errors beyond which CG with multigrid would take hundreds of iterations
_NEAR_CONVERGENCE, _EARLY_TOLERANCE, _LATE_TOLERANCE = 1e-2, 1e-5, 1e-3  # Newton error; CG tolerance above and below it
_ACCURATE_TOLERANCE = 1e-10  # of CG inside the iteration for an interaction
_LEAST_REUSED = 1000  # cells from which on factorising takes longer than some iterations
_NEAR_MATRICES, _REUSED_TOLERANCE = 0.1, 1e-6  # Newton error below which factors serve again; CG tolerance then
_EXTRA_ITERATIONS = 10  # factor on the largest number of CG iterations if factorisation is not possible


class MeshSystemSolver:
    """Solver for symmetric systems that couple a cell with its neighbours and their neighbours.

    It holds everything that depends on the mesh alone, and the multigrid hierarchy from one system to the next.
    """

    def __init__(self, mesh: Mesh, solver: SymmetricSolver = Auto()) -> None:
        self.first, self.second, self.shared_cell = _face_pairs(mesh)
        self._chain = is_chain(mesh)
        self._factorable = mesh.dimension < 3 or mesh.cells <= LARGEST_DIRECT
        iterations = solver.resolve_symmetric(mesh.extent).cg_iterations()
        self._mesh, self._multigrid = mesh, None if iterations is None else ReusedAMG()
        reused = iterations is None and mesh.dimension > 1 and mesh.cells >= _LEAST_REUSED
        self._factors = ReusedFactors() if reused else None
        self._max_iterations = (iterations or 0) * (1 if self._factorable else _EXTRA_ITERATIONS)

    @cached_property
    def _order(self) -> Index:
        """The order of elimination (cell,): that of a grid, or of least degree for a matrix with all couplings."""
        mesh = self._mesh
        if (order := elimination_order(mesh)) is not None:
            return order
        faces = mesh.owner + mesh.neighbour
        rows = np.concatenate([mesh.owner, faces[self.first] - self.shared_cell])
        columns = np.concatenate([mesh.neighbour, faces[self.second] - self.shared_cell])
        rows, columns = rows[rows != columns], columns[rows != columns]
        scale, place = np.ones(mesh.cells), np.arange(mesh.cells, dtype=np.int32)
        degree = np.bincount(rows, minlength=mesh.cells) + np.bincount(columns, minlength=mesh.cells)
        values = np.full(len(rows), -1.0)
        return least_degree_order(assemble_symmetric(rows, columns, values, scale, place, 1.0 + degree.max(), 0.0))

    @cached_property
    def _place(self) -> Index:
        """The place (cell,) of each cell in that order."""
        return np.argsort(self._order).astype(np.int32)

    def remembering(self, method: str, step: FallibleStep) -> FallibleStep:
        """The step with what this solver learns kept in the states, for the method of this name."""
        reused = self._factors if self._multigrid is None else self._multigrid
        if reused is None:
            return step

        def remembered(state: State, length: float) -> State:
            reused.recall(state.memory.get(method))
            after, memory = step(state, length), reused.memory()
            others = {name: value for name, value in after.memory.items() if name != method}
            return replace(after, memory=others if memory is None else {**others, method: memory})

        return remembered

    def inverse(
        self,
        rows: Index,
        columns: Index,
        values: Array,
        diagonal: Array,
        newton_error: float = 0.0,
        accurate: bool = True,
    ) -> Map:
        """x -> M^-1 x for a symmetric M whose entries off the diagonal are given once per pair.

        M is scaled to a unit diagonal. Unless `accurate`, the tolerance of multigrid depends on the error of the Newton
        iterate before this step, and factors of an earlier matrix serve again once that is small. Raises NumericsError
        if M is singular or not finite.
        """
        scale, kept = 1.0 / np.sqrt(diagonal), (1.0 + _SHIFT, _MIN_COUPLING)
        if not np.isfinite(scale.sum() + newton_error):
            raise NumericsError("the Newton matrix overflowed")
        if self._chain and self._multigrid is None:
            solve = invert_on_chain(rows, columns, values, scale, *kept)
            return lambda x: scale * solve(scale * x)

        def assembled(place: Index) -> Any:
            matrix = assemble_symmetric(rows, columns, values, scale, place, *kept)
            if not np.isfinite(matrix.data.sum()):
                raise NumericsError("the Newton matrix overflowed")
            return matrix

        if self._multigrid is None or (self._factorable and newton_error > _TRANSPORT_DOMINATED):
            return self._factorised(assembled, scale, not accurate and newton_error <= _NEAR_MATRICES)
        return self._iterative(self._multigrid, assembled, scale, _cg_tolerance(newton_error, accurate))

    def _iterative(
        self, multigrid: ReusedAMG, assembled: Callable[[Index], Any], scale: Array, tolerance: float
    ) -> Map:
        """x -> M^-1 x by CG; if it stalls, by factorisation where that is possible."""
        matrix = assembled(np.arange(len(scale), dtype=np.int32)).T  # symmetric: now in rows

        def solve(x: Array) -> Array:
            try:
                return scale * multigrid.solve(matrix, scale * x, tolerance, self._max_iterations)
            except NumericsError:
                if not self._factorable:
                    raise
            return self._factorised(assembled, scale)(x)

        return solve

    def _factorised(self, assembled: Callable[[Index], Any], scale: Array, near: bool = False) -> Map:
        """x -> M^-1 x by factors, if M is `near` an earlier matrix by those of that."""
        order, place, reused = self._order, self._place, self._factors
        matrix = assembled(place)
        if reused is None:
            solve: Map = factorise(matrix, ordered=True).solve
        elif near:
            solve = partial(reused.solve, matrix.T, tolerance=_REUSED_TOLERANCE)
        else:
            solve = reused.renew(matrix.T)
        return lambda x: np.asarray(scale * solve((scale * x)[order])[place])


def _cg_tolerance(newton_error: float, accurate: bool) -> float:
    if accurate:
        return _ACCURATE_TOLERANCE
    return _LATE_TOLERANCE if newton_error < _NEAR_CONVERGENCE else _EARLY_TOLERANCE


def _face_pairs(mesh: Mesh) -> tuple[Index, Index, Index]:
    """All pairs of faces that share a cell, and that cell."""
    cell = np.concatenate([mesh.owner, mesh.neighbour])
    face = np.tile(np.arange(mesh.faces, dtype=np.int32), 2)
    by_cell = np.argsort(cell, kind="stable")
    cell, face = cell[by_cell], face[by_cell]
    pairs = [np.empty((3, 0), np.int32)]
    for gap in range(1, int(np.bincount(cell, minlength=1).max())):
        same_cell = np.flatnonzero(cell[gap:] == cell[:-gap])
        pairs.append(np.stack([face[same_cell], face[same_cell + gap], cell[same_cell]]))
    first, second, shared_cell = np.concatenate(pairs, axis=1)
    return first, second, shared_cell
