"""Measures between which W2 is bounded: densities on meshes of any kind, and samples; what each becomes on a grid."""

from __future__ import annotations

from abc import ABC, abstractmethod
from math import pi, sqrt

import numpy as np

from fvflow.errors import CaseError
from fvflow.mesh import Array, Grid, Mesh, overlaps

_ROUND_OFF = 1e-13  # share of the mass that round-off in intersections of cells may misplace


class Measure(ABC):
    """A measure on a part of space, of a mass that may be open (None) until it is compared with another."""

    dimension: int
    mass: float | None
    periods: tuple[float, ...] = ()
    """Lengths of the periodic axes, inf for the others; () if none is periodic."""

    @property
    @abstractmethod
    def extent(self) -> tuple[Array, Array]:
        """The lower and the upper corner of a box around the measure, each (dim,)."""

    @property
    def edges(self) -> tuple[Array, ...] | None:
        """Edges (edge,) along x, y, z of a grid in whose cells the density is constant; None if there is none."""
        return None

    @abstractmethod
    def on(self, grid: Grid, mass: float) -> tuple[Array, float]:
        """The density (cell,) of that mass on a grid that covers the measure, and a bound of W2 between the two."""


class CellwiseDensity(Measure):
    """A density rho (cell,) >= 0 that is constant in each cell of a mesh."""

    def __init__(self, mesh: Mesh, density: Array) -> None:
        if mesh.revolution is not None:
            raise CaseError("x of this mesh is a radius; bounds of W2 need a mesh of the space itself")
        if not (np.isfinite(density).all() and (density >= 0).all() and density.any()):
            raise CaseError("bounds of W2 need a density that is finite, non-negative and not zero everywhere")
        self.mesh, self.density = mesh, np.asarray(density, float)
        self.dimension, self.mass = mesh.dimension, float(mesh.volume @ self.density)
        self.periods = tuple(mesh.periods.tolist()) if np.isfinite(mesh.periods).any() else ()

    @property
    def extent(self) -> tuple[Array, Array]:
        """Of the mesh."""
        if self.mesh.edges is None:
            return self.mesh.points.min(axis=0), self.mesh.points.max(axis=0)
        return np.array([edge[0] for edge in self.mesh.edges]), np.array([edge[-1] for edge in self.mesh.edges])

    @property
    def edges(self) -> tuple[Array, ...] | None:
        """Those of the mesh, each (edge,), if it is a grid."""
        return self.mesh.edges

    def on(self, grid: Grid, mass: float) -> tuple[Array, float]:
        """Means over the cells I of the grid, g_I; what is not constant in I is moved there, at the least of two costs.

        sum_I min(e_I diam(I)^2, 4 (h_I/pi)^2 int_I (rho - g_I)^2/g_I), e_I = int_I |rho - g_I|/2 the mass that differs
        and h_I the longest side: W2 <= 2 |rho - g|_{H^-1(g)} (Peyre, Comparison between W2 distance and H^-1 norm,
        ESAIM COCV 24, 2018, theorem 1) with the inequality of Poincare on a box.
        """
        density, scale = self.density, mass / (self.mass or mass)
        if self.mesh.edges is not None and all(map(np.array_equal, self.mesh.edges, grid.edges or ())):
            return density * scale, 0.0
        cell, other, volume = overlaps(self.mesh, grid)
        found = np.bincount(other, volume * density[cell], grid.cells) / grid.volume
        covered = np.bincount(other, volume, grid.cells)
        rest = np.maximum(grid.volume - covered, 0.0)
        apart = np.abs(density[cell] - found[other])
        excess = 0.5 * (np.bincount(other, volume * apart, grid.cells) + rest * found)
        square = np.bincount(other, volume * apart**2, grid.cells) + rest * found**2
        longest, diagonal = _sides(grid)
        poincare = np.divide(square, found, out=np.zeros_like(square), where=found > 0) * (2.0 * longest / pi) ** 2
        cost = np.minimum(excess * diagonal**2, poincare).sum()
        total = float(grid.volume @ found)
        lower, upper = self.extent
        misplaced = _ROUND_OFF + abs(total / float(self.mass or total) - 1.0)
        moved = scale * (float(cost) + misplaced * total * float(((upper - lower) ** 2).sum()))
        return found * (mass / total), sqrt(moved)


class EmpiricalMeasure(Measure):
    """Samples (n, dim) with weights (n,), equal ones by default; its mass is that of what it is compared with."""

    mass = None

    def __init__(self, points: Array, weight: Array | None = None) -> None:
        weight = np.ones(len(points)) if weight is None else weight
        if not (weight >= 0).all() or not weight.any():
            raise CaseError("samples need weights >= 0 that are not all 0")
        self.points, self.weight, self.dimension = points, weight / weight.sum(), points.shape[1]

    @property
    def extent(self) -> tuple[Array, Array]:
        """Of the samples."""
        return self.points.min(axis=0), self.points.max(axis=0)

    def on(self, grid: Grid, mass: float) -> tuple[Array, float]:
        """Samples spread over the cell that they are in: W2^2 <= sum_i w_i (|x_i - c|^2 + sum_a h_a^2/12)."""
        assert grid.edges is not None
        index, square, stride = np.zeros(len(self.points), int), np.zeros(len(self.points)), 1
        for axis, edge in enumerate(grid.edges):
            x = self.points[:, axis]
            if axis in grid.periodic:
                x = edge[0] + np.mod(x - edge[0], edge[-1] - edge[0])
            place = np.clip(np.searchsorted(edge, x, side="right") - 1, 0, len(edge) - 2)
            width, centre = np.diff(edge)[place], 0.5 * (edge[1:] + edge[:-1])[place]
            square += (x - centre) ** 2 + width**2 / 12.0
            index, stride = index + stride * place, stride * (len(edge) - 1)
        masses = np.bincount(index, self.weight, grid.cells)
        return mass * masses / grid.volume, sqrt(mass * float(self.weight @ square))


def _sides(grid: Grid) -> tuple[Array, Array]:
    """The longest side and the diagonal of the cells of a grid, each (cell,)."""
    assert grid.edges is not None
    sides = np.meshgrid(*(np.diff(edge) for edge in reversed(grid.edges)), indexing="ij")
    return np.maximum.reduce(sides).ravel(), np.sqrt(sum(side**2 for side in sides)).ravel()
