"""The space-time grid of dynamic transport on a box, and the fields on it."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Literal

import numpy as np

from fvflow.errors import CaseError
from fvflow.mesh import Array, Mesh

Scheme = Literal["cell", "face"]
_EVEN = 1e-9  # of a cell: the unevenness of a grid that counts as none


@dataclass(frozen=True)
class SpaceTimeGrid:
    """A uniform grid of [0, length]^d and N intervals of [0, 1]; axes in the order of storage (z, y, x)."""

    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    intervals: int

    @property
    def rows(self) -> int:
        """Rows of cells along x."""
        return prod(self.shape[:-1])

    @property
    def plane(self) -> int:
        """Rows in one (y, x) plane."""
        return self.shape[-2] if len(self.shape) > 1 else 1

    @property
    def volume(self) -> float:
        """Volume of a cell."""
        return prod(self.spacing)

    @property
    def dt(self) -> float:
        """Length of an interval."""
        return 1.0 / self.intervals

    def coarsened(self) -> SpaceTimeGrid | None:
        """Half as many cells along each axis and half as many intervals, or None if they are odd or few."""
        if any(n % 2 or n < 8 for n in self.shape) or self.intervals % 2 or self.intervals < 8:
            return None
        return SpaceTimeGrid(tuple(n // 2 for n in self.shape), tuple(2 * h for h in self.spacing), self.intervals // 2)

    @staticmethod
    def of(mesh: Mesh, intervals: int) -> SpaceTimeGrid:
        """That of an even box; raises CaseError for any other mesh."""
        edges = mesh.edges
        if edges is None or mesh.nonuniformity > _EVEN:
            raise CaseError("solver primal-dual needs a box of equal cells; use a box, or solver interior-point")
        return SpaceTimeGrid(mesh.shape, tuple(float(np.ptp(e)) / (len(e) - 1) for e in reversed(edges)), intervals)


@dataclass
class Iterate:
    """The iterate: u = (rho, m), y = (alpha, beta, gamma), and the potential of the last projection.

    rho, gamma (N+1, row, x); m, beta (axis, N, row, x) with axis 0 along x; alpha as rho (cell) or as m (face);
    phi (N, row, x). Walls are stored as zeros in m, beta and (face) alpha.
    """

    rho: Array
    m: Array
    alpha: Array
    beta: Array
    gamma: Array
    phi: Array


def eigenvalues(n: int, h: float) -> Array:
    """(2 - 2 cos(pi k/n))/h^2 of the Laplacian between walls, without cancellation (n,)."""
    return np.asarray((2.0 / h * np.sin(0.5 * np.pi * np.arange(n) / n)) ** 2)
