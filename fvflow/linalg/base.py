"""The contracts of linear solvers."""

from __future__ import annotations

import math
from typing import ClassVar, Protocol

from fvflow.errors import CaseError
from fvflow.linalg.matrix import FaceMatrix, Solve, TransposedSolve
from fvflow.mesh import Extent


class LinearSolver:
    """A solver for a `FaceMatrix`, as a case names it; the defaults are those of an iteration on any mesh.

    A new solver is a frozen dataclass derived from this class, with `kind: Literal[...]` and `prepare`, added to the
    union `Solver` in `selection.py`.
    """

    kind: str
    divided: ClassVar[bool] = False
    """Whether it runs on several ranks."""
    shares_rows: ClassVar[bool] = False
    """Whether several ranks that all hold the whole mesh share the rows of its systems."""

    @property
    def missing(self) -> str:
        """What it needs that is not installed, and how to get it, as a sentence; empty if nothing is missing."""
        return ""

    def prepare(self, matrix: FaceMatrix) -> Solve:
        """Set up for one matrix: returns (right-hand side (cell,), its exact total) -> Solution."""
        raise NotImplementedError

    def prepare_transpose(self, matrix: FaceMatrix) -> TransposedSolve:
        """Set up for the transpose of one matrix, for a solver that `resolve_transpose` gives."""
        raise NotImplementedError

    def resolve_transpose(self, extent: Extent) -> LinearSolver:
        """The solver with an exact transpose on a mesh of this extent; raises CaseError if there is none."""
        raise CaseError(f"solver {self.kind} iterates and has no exact transpose; use direct, or auto")

    def fits(self, extent: Extent) -> None:
        """Raises CaseError if the solver does not work on a mesh of this extent, or is not installed."""
        if self.missing:
            raise CaseError(self.missing)

    def resolve(self, extent: Extent, steady: bool = True) -> LinearSolver:
        """The solver that does the work on a mesh of this extent; `steady` if one matrix serves many steps."""
        return self

    def reason(self, extent: Extent, steady: bool = True) -> str:
        """Why `resolve` chose its solver, as a clause; empty if the case named the solver itself."""
        return ""

    def memory(self, extent: Extent) -> int:
        """Estimated bytes of a run with this solver: mesh and matrix, 300 bytes per cell and dimension."""
        return mesh_memory(extent)


def mesh_memory(extent: Extent) -> int:
    """Estimated bytes of mesh and matrix: 300 per cell and dimension."""
    return 300 * extent.dimension * extent.cells


def factor_memory(extent: Extent) -> int:
    """Estimated bytes of the factors of a `FaceMatrix`: 12 per entry.

    Entries per cell, measured on grids of n cells: 22 to 64 (3.6 log2 n) from 32^2 to 512^2, 47 to 480 (0.5 n^(2/3))
    from 8^3 to 32^3.
    """
    cells = extent.cells
    fill = {1: 4.0, 2: 3.6 * math.log2(max(cells, 2)), 3: 0.5 * cells ** (2 / 3) + 10}[extent.dimension]
    return int(12 * fill * cells)


def symmetric_factor_memory(extent: Extent) -> int:
    """Estimated bytes of mesh, matrices, factors and hierarchies of Newton systems, of a run and its companion.

    Measured in two dimensions, a cell: 4.8 to 6.4 kB on grids of 60^2 to 125^2 cells, 15 to 28 kB on Voronoi cells,
    60^2 to 150^2. Otherwise four times the factors of a `FaceMatrix`.
    """
    if extent.dimension == 2:
        factors = (450 if extent.grid else 1900) * math.log2(max(extent.cells, 2)) * extent.cells
    else:
        factors = 4 * factor_memory(extent)
    return 2 * mesh_memory(extent) + int(factors)


class SymmetricSolver(Protocol):
    """A solver for a sequence of symmetric positive definite systems on one mesh, as in Newton's method.

    There are two ways: factorise each matrix, or iterate with a hierarchy that is reused (`ReusedAMG`).
    """

    @property
    def kind(self) -> str:
        """Its name in a case."""

    def resolve_symmetric(self, extent: Extent) -> SymmetricSolver:
        """The solver that does the work on a mesh of this extent."""

    def cg_iterations(self) -> int | None:
        """Largest number of CG iterations of one solve; None if it factorises."""

    def symmetric_memory(self, extent: Extent) -> int:
        """Estimated bytes of a run: mesh, matrix, and factors or hierarchy."""
