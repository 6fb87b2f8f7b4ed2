"""The contract of a solver of dynamic optimal transport."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from fvflow.errors import OutputError
from fvflow.linalg import Direct
from fvflow.mesh import Array, Extent, Mesh
from fvflow.transport.geodesic import Geodesic

Iterate = Mapping[str, Any]
"""All that a solver needs to go on from an iteration: numbers and arrays in double precision, by name."""

Progress = Callable[[int, float, Iterate], None]  # (iterations, relative residual, iterate)


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


def require_iterate(given: Iterate, own: Iterate) -> None:
    """Raise OutputError unless an iterate has the names, kinds and shapes of another one of the same problem."""
    for name in {**own, **given}:
        if _kind(given.get(name)) != _kind(own.get(name)):
            raise OutputError(
                f"the checkpoint does not hold an iterate of this problem: {name} is {_kind(given.get(name))}, not "
                f"{_kind(own.get(name))}; run the case again"
            )


def require_count(count: int, most: int) -> None:
    """Raise OutputError unless a number of an iterate is from 0 to `most`."""
    if not 0 <= count <= most:
        raise OutputError(
            f"the checkpoint does not hold an iterate of this problem: {count} is not from 0 to {most}; run the case "
            "again"
        )


def _kind(value: Any) -> str:
    """What a part of an iterate is."""
    return f"{value.dtype} {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__
