"""The contract of a solver of dynamic optimal transport."""

from __future__ import annotations

from fvflow.iterates import Iterate, Progress
from fvflow.linalg import Direct
from fvflow.mesh import Array, Extent, Mesh
from fvflow.transport.geodesic import Geodesic


class BaseTransportSolver:
    """A solver of the Benamou-Brenier problem on N intervals of [0, 1], as a case names it.

    A new solver is a frozen dataclass derived from this class, with `kind: Literal[...]`, `tolerance` and `solve`,
    joined to the union `TransportSolver` in `fvflow.transport`. It overrides each other answer that does not hold for
    it; the defaults are safe. `check_transport_solver` in the tests runs over the whole union.
    """

    kind: str
    tolerance: float

    def fits(self, mesh: Mesh) -> None:
        """Raise CaseError if the solver does not work on this mesh; by default it works on any."""

    def oscillates(self, mesh: Mesh) -> bool:
        """Whether densities between the ends oscillate from cell to cell on this mesh."""
        return False

    def solve(
        self,
        mesh: Mesh,
        initial: Array,
        target: Array,
        intervals: int,
        progress: Progress | None = None,
        start: Iterate | None = None,
    ) -> Geodesic:
        """The geodesic between two densities (cell,) of the same mass; the path is made admissible (`admissible_path`).

        `progress` is called in every iteration with their number, the relative residual as it was last evaluated, and
        the iterate, whose arrays hold until it returns. With such an iterate as `start`, whose arrays become its own,
        the solver goes on to the last bit as if it had not been stopped. Raises CaseError as `fits` does, OutputError
        if `start` is not an iterate of this problem. A solver that stops before its tolerance returns its last path
        with `converged` False.
        """
        raise NotImplementedError

    def memory(self, extent: Extent, intervals: int) -> int:
        """Estimated bytes of a run: four times the sparse factors of a matrix in space and time.

        An overestimate for a solver that does not factorise.
        """
        return 4 * Direct().memory(Extent(min(extent.dimension + 1, 3), extent.cells * intervals))

    @property
    def certified(self) -> bool:
        """Whether `Geodesic.gap` bounds the duality gap of the discrete problem; if not, it is nan."""
        return False

    def describe(self) -> str:
        """The kind and the settings that matter, as a phrase for `check`."""
        return f"{self.kind}, to the tolerance {self.tolerance:g}"
