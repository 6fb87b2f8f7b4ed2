"""The space-time grid of dynamic transport on a box, and the iterate of the primal-dual method on it."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Literal

import numpy as np

from fvflow.errors import CaseError
from fvflow.mesh import Array, Mesh

Scheme = Literal["cell", "face"]
_UNIFORM = 1e-9  # of a cell: the nonuniformity up to which a grid counts as uniform


@dataclass(frozen=True)
class SpaceTimeGrid:
    """A uniform grid of [0, length]^d and N intervals of [0, 1]; axes in the order of storage (z, y, x)."""

    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    intervals: int

    @property
    def rows(self) -> int:
        """Number of rows of cells along x."""
        return prod(self.shape[:-1])

    @property
    def rows_per_plane(self) -> int:
        """Number of rows in one (y, x) plane."""
        return self.shape[-2] if len(self.shape) > 1 else 1

    @property
    def dt(self) -> float:
        """Length of an interval."""
        return 1.0 / self.intervals

    def coarsened(self) -> SpaceTimeGrid | None:
        """Half as many cells along each axis and half as many intervals; None if a count is odd or below 8."""
        if any(n % 2 or n < 8 for n in self.shape) or self.intervals % 2 or self.intervals < 8:
            return None
        return SpaceTimeGrid(tuple(n // 2 for n in self.shape), tuple(2 * h for h in self.spacing), self.intervals // 2)

    @staticmethod
    def of(mesh: Mesh, intervals: int) -> SpaceTimeGrid:
        """The grid of a box of equal cells; raises CaseError for any other mesh."""
        edges = mesh.product_edges
        if edges is None or mesh.nonuniformity > _UNIFORM:
            raise CaseError("solver primal-dual needs a box of equal cells; use a box, or solver interior-point")
        if mesh.periodic:
            raise CaseError(
                "solver primal-dual takes no periodic axes; use solver interior-point, or leave out periodic"
            )
        return SpaceTimeGrid(mesh.shape, tuple(float(np.ptp(e)) / (len(e) - 1) for e in reversed(edges)), intervals)


@dataclass
class PrimalDualIterate:
    """Primal u = (rho, m), dual y = (alpha, beta, gamma), and the potential of the last projection.

    rho, gamma (N+1, row, x); m, beta (axis, N, row, x) with axis 0 along x; alpha as rho in the intervals (cell) or as
    m (face); phi (N, row, x). Walls are stored as zeros in m, beta and (face) alpha.
    """

    rho: Array
    m: Array
    alpha: Array
    beta: Array
    gamma: Array
    phi: Array

    @staticmethod
    def zero(grid: SpaceTimeGrid, scheme: Scheme) -> PrimalDualIterate:
        """That of a grid, filled with zeros."""
        axes, shape = len(grid.shape), (grid.intervals, grid.rows, grid.shape[-1])
        rho, gamma = (np.zeros((grid.intervals + 1, *shape[1:])) for _ in range(2))
        m, beta = (np.zeros((axes, *shape)) for _ in range(2))
        alpha, phi = np.zeros(m.shape if scheme == "face" else shape), np.zeros(shape)
        return PrimalDualIterate(rho, m, alpha, beta, gamma, phi)


def eigenvalues(n: int, h: float) -> Array:
    """(2 - 2 cos(pi k/n))/h^2 of the negative Laplacian between walls (n,), evaluated without cancellation."""
    return np.asarray((2.0 / h * np.sin(0.5 * np.pi * np.arange(n) / n)) ** 2)
