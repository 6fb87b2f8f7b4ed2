"""The union of solvers, the choice made by `auto`, and how `check` reports it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fvflow.linalg.amg import Multigrid
from fvflow.linalg.base import LinearSolver, SymmetricSolver
from fvflow.linalg.direct.factorisation import Direct
from fvflow.linalg.direct.tridiagonal import Tridiagonal
from fvflow.linalg.krylov import Krylov
from fvflow.linalg.matrix import FaceMatrix, Solve
from fvflow.linalg.petsc import Petsc
from fvflow.mesh import Extent

LARGEST_DIRECT = 4096  # cells in 3D up to which factorising pays
_LARGEST_DIRECT_GRID_2D = 16_384  # the same for a 2D grid
_LARGEST_DIRECT_UNSTEADY = 400  # the same for a grid if the factors serve one step only
_LARGEST_DIRECT_SYMMETRIC = {1: 2**31, 2: 6400, 3: 1000}  # the same for Newton systems, by dimension


@dataclass(frozen=True)
class Auto(LinearSolver):
    """Chooses the solver from the dimension and size of the mesh and from whether the drift is steady.

    1D: `tridiagonal`. 2D: `direct` up to 16384 cells, and on every mesh that is not a grid. 3D: `direct` up to 4096
    cells. Otherwise `krylov`; also on grids of more than 400 cells if the drift depends on time, because the factors
    would then serve a single step (three times slower on 128^2).
    """

    kind: Literal["auto"] = "auto"

    def prepare(self, matrix: FaceMatrix) -> Solve:
        """Raises TypeError: `auto` has to be resolved first, by the extent of the mesh."""
        raise TypeError("resolve `auto` by resolve_solver(solver, extent) before preparing a matrix")

    def resolve(self, extent: Extent, steady: bool = True) -> LinearSolver:
        """The solver for a mesh of this extent."""
        if extent.dimension == 1:
            return Tridiagonal()
        small = extent.cells <= _largest_direct(extent, steady)
        return Direct() if small or (extent.dimension == 2 and not extent.grid) else Krylov()

    def resolve_transpose(self, extent: Extent) -> LinearSolver:
        """`tridiagonal` in one dimension, else `direct`: iterations have no exact transpose."""
        return Tridiagonal() if extent.dimension == 1 else Direct()

    def reason(self, extent: Extent, steady: bool = True) -> str:
        """Why this solver was chosen, as a clause."""
        if extent.dimension == 1:
            return "elimination on a chain of cells takes linear time"
        if extent.cells <= _largest_direct(extent, steady):
            return f"up to {_largest_direct(extent, steady)} cells the factors are small and accurate in every tail"
        if extent.cells <= _largest_direct(extent):
            return "the matrix depends on time, so factors would serve one step only"
        if extent.dimension == 2 and not extent.grid:
            return "the factors of a 2D mesh serve every step"
        return (
            "on a grid, by sweeps along its axes" if extent.grid else "in 3D a factorisation costs more than it saves"
        )

    def memory(self, extent: Extent) -> int:
        """Estimated bytes of a run with the chosen solver."""
        return self.resolve(extent).memory(extent)

    def resolve_symmetric(self, extent: Extent) -> SymmetricSolver:
        """For Newton systems: direct in 1D and on small meshes, multigrid on larger ones."""
        return Direct() if extent.cells <= _LARGEST_DIRECT_SYMMETRIC[extent.dimension] else Multigrid()

    def cg_iterations(self) -> int | None:
        """Raises TypeError: `auto` has to be resolved first, by the extent of the mesh."""
        raise TypeError("resolve `auto` by resolve_symmetric(extent) before solving symmetric systems")

    def symmetric_memory(self, extent: Extent) -> int:
        """Estimated bytes of a run with the solver chosen for Newton systems."""
        return self.resolve_symmetric(extent).symmetric_memory(extent)


def _largest_direct(extent: Extent, steady: bool = True) -> int:
    """Largest number of cells for which `auto` factorises."""
    if extent.grid and not steady:
        return _LARGEST_DIRECT_UNSTEADY
    return _LARGEST_DIRECT_GRID_2D if extent.dimension == 2 else LARGEST_DIRECT


Solver = Auto | Tridiagonal | Direct | Krylov | Petsc


def resolve_solver(solver: LinearSolver, extent: Extent, steady: bool = True) -> LinearSolver:
    """The solver itself, or what `auto` chooses for the mesh; raises CaseError if it does not fit the mesh."""
    solver.fits(extent)
    return solver.resolve(extent, steady)


def describe_solver(solver: LinearSolver, extent: Extent, steady: bool = True) -> str:
    """The name of the solver, and why `auto` chose it; raises CaseError if it does not fit the mesh."""
    resolved, reason = resolve_solver(solver, extent, steady), solver.reason(extent, steady)
    return f"{resolved.kind} ({solver.kind}: {reason})" if reason else resolved.kind
