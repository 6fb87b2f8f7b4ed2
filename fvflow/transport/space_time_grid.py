"""The space-time grid of dynamic transport on a box, and the iterate of the primal-dual method on it."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any, Literal

import numpy as np

from fvflow.errors import CaseError
from fvflow.mesh import Array, Mesh

Scheme = Literal["cell", "face"]
_UNIFORM = 1e-9  # of a cell: the nonuniformity up to which a grid counts as uniform


@dataclass(frozen=True)
class SpaceTimeGrid:
    """A uniform grid of [0, length]^d and N intervals of [0, 1]; axes in the order of storage (z, y, x).

    `joined` axes are periodic, the others lie between walls.
    """

    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    intervals: int
    joined: tuple[bool, ...]

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
        spacing = tuple(2 * h for h in self.spacing)
        return SpaceTimeGrid(tuple(n // 2 for n in self.shape), spacing, self.intervals // 2, self.joined)

    @staticmethod
    def of(mesh: Mesh, intervals: int) -> SpaceTimeGrid:
        """The grid of a box of equal cells; raises CaseError for any other mesh."""
        edges = mesh.product_edges
        if edges is None or mesh.nonuniformity > _UNIFORM:
            raise CaseError("solver primal-dual needs a box of equal cells; use a box, or solver interior-point")
        spacing = tuple(float(np.ptp(e)) / (len(e) - 1) for e in reversed(edges))
        joined = tuple(axis in mesh.periodic for axis in reversed(range(mesh.dimension)))
        return SpaceTimeGrid(mesh.shape, spacing, intervals, joined)


@dataclass
class PrimalDualIterate:
    """Primal u = (rho, m), dual y = (alpha, beta, gamma), and the potential of the last projection.

    rho, gamma (N+1, row, x); m, beta (axis, N, row, x) with axis 0 along x; alpha as rho in the intervals (cell) or as
    m (face); phi (N, row, x). Walls are stored as zeros in m, beta and (face) alpha, the faces of a seam as all others.
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


class Laplacian:
    """-div grad on a uniform grid by transforms: cosines between walls, exponentials along joined axes."""

    def __init__(self, grid: SpaceTimeGrid) -> None:
        first, count = -len(grid.shape), range(len(grid.shape))
        self._joined = tuple(first + axis for axis in count if grid.joined[axis])
        self._walled = tuple(first + axis for axis in count if not grid.joined[axis])
        self._shape = grid.shape
        values = []
        for axis, (n, h) in enumerate(zip(grid.shape, grid.spacing, strict=True)):
            full = (2.0 / h * np.sin(np.pi * np.arange(n) / n)) ** 2 if grid.joined[axis] else eigenvalues(n, h)
            values.append(full[: n // 2 + 1] if first + axis == max(self._joined, default=0) else full)
        self.eigenvalues = np.array(sum(np.ix_(*values)))
        """Its eigenvalues, in the shape of a transform."""

    def forward(self, field: Array, before: tuple[int, ...] = (), *, overwrite: bool = False) -> Any:
        """The transform of fields (..., cell), which may be lost; `before` are further axes, taken by cosines."""
        from scipy.fft import dctn, rfftn

        axes = (*before, *self._walled)
        hat = dctn(field, type=2, axes=axes, workers=1, overwrite_x=overwrite) if axes else field
        return rfftn(hat, axes=self._joined, workers=1) if self._joined else hat

    def backward(self, hat: Any, before: tuple[int, ...] = ()) -> Array:
        """The fields (..., cell) of a transform, which is lost: the inverse of `forward`."""
        from scipy.fft import idctn, irfftn

        if self._joined:
            hat = irfftn(hat, s=[self._shape[axis] for axis in self._joined], axes=self._joined, workers=1)
        axes = (*before, *self._walled)
        return np.asarray(idctn(hat, type=2, axes=axes, workers=1, overwrite_x=True) if axes else hat)
