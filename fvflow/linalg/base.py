"""The contract of a linear solver."""

from __future__ import annotations

from fvflow.linalg.matrix import FaceMatrix, Solve
from fvflow.mesh import Extent


class LinearSolver:
    """A solver for a `FaceMatrix`, as a case names it; the defaults are those of an iteration on any mesh.

    A new solver is a frozen dataclass derived from this class, with `kind: Literal[...]` and `prepare`, added to the
    union `Solver` in `selection.py`.
    """

    kind: str

    def prepare(self, matrix: FaceMatrix) -> Solve:
        """Set up for one matrix: returns (right-hand side (cell,), its exact total) -> Solution."""
        raise NotImplementedError

    def fits(self, extent: Extent) -> None:
        """Raises CaseError if the solver does not work on a mesh of this extent."""

    def resolve(self, extent: Extent, steady: bool = True) -> LinearSolver:
        """The solver that does the work on a mesh of this extent; `steady` if one matrix serves many steps."""
        return self

    def reason(self, extent: Extent, steady: bool = True) -> str:
        """Why `resolve` chose its solver, as a clause; empty if the case named the solver itself."""
        return ""

    def memory(self, extent: Extent) -> int:
        """Estimated bytes of a run with this solver: mesh and matrix, 300 bytes per cell and dimension."""
        return 300 * extent.dimension * extent.cells
