"""Metrics of densities on grids of equal cells: at the walls and by frequencies, as PDEBench defines them.

The arrays are those of the benchmark, x before y; its factors L of the size of the domain are 1, their default.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import numpy as np

from fvflow.mesh import Array
from fvflow.studies.score.fields import PDEBENCH
from fvflow.studies.score.metric import Comparison, TimedMetric
from fvflow.studies.score.predictions import DENSITIES

_LOW, _HIGH = 4, 12  # modes: low below the first, high from the second on
_UNIFORM = 1e-6  # nonuniformity of a grid of equal cells, of a cell


class GridMetric(TimedMetric):
    """A metric of the error on a grid of equal cells."""

    takes = DENSITIES

    def own_fault(self, comparison: Comparison) -> str:
        """That the mesh is another."""
        mesh = comparison.reference.mesh
        if mesh.edges is None or not mesh.nonuniformity <= _UNIFORM:
            return "is one of grids of equal cells; use rmse on this mesh"
        return self.grid_fault(mesh.shape)

    def grid_fault(self, shape: tuple[int, ...]) -> str:
        """What the grid lacks, as `fault`."""
        return ""

    @abstractmethod
    def of(self, error: Array) -> float:
        """The score of an error of the shape (member, x[, y[, z]])."""

    def at(self, comparison: Comparison, frame: int) -> float:
        """The score at a time."""
        error = comparison.densities(frame) - comparison.reference.density(frame)
        grid = error.reshape(-1, *comparison.reference.mesh.shape)
        return self.of(grid.transpose(0, *range(grid.ndim - 1, 0, -1)))


class Boundary(GridMetric):
    """The root mean square error in the cells at the walls, where cells at edges count for each of their walls."""

    name = "boundary"
    definition = "root mean square of q - p over the first and the last cells along each axis"
    source = PDEBENCH

    def of(self, error: Array) -> float:
        """The score of an error of the shape (member, x[, y[, z]])."""
        sums, count = np.zeros(len(error)), 0
        for axis in range(1, error.ndim):
            for end in (0, -1):
                side = error.take(end, axis=axis).reshape(len(error), -1)
                sums += (side**2).sum(axis=1)
                count += side.shape[1]
        return float(np.sqrt(sums / count).mean())


class Fourier(GridMetric):
    """The error in a band of frequencies."""

    band: ClassVar[slice]
    """The modes."""

    def grid_fault(self, shape: tuple[int, ...]) -> str:
        """That there are no such modes."""
        modes = shape[0] // 2 + 1 if len(shape) == 1 else min(shape) // 2
        first = self.band.start or 0
        return "" if modes > first else f"needs modes from {first} on, and the grid has {modes}; use a finer one"

    def of(self, error: Array) -> float:
        """The score of an error of the shape (member, x[, y[, z]])."""
        return float(spectrum(error)[self.band].mean())


def spectrum(error: Array) -> Array:
    """The root mean square over members of the Fourier coefficients (mode,) of an error (member, x[, y[, z]]).

    On a line of each mode; else with the squares summed over the modes (i, j[, k]), each below half the number of
    cells, whose length is between k and k + 1. Divided by the number of cells.
    """
    cells = error[0].size
    if error.ndim == 2:
        return np.asarray(np.sqrt((np.abs(np.fft.rfft(error, axis=1)) ** 2).mean(axis=0)) / cells)
    axes = tuple(range(1, error.ndim))
    halves = tuple(size // 2 for size in error.shape[1:])
    power = np.abs(np.fft.fftn(error, axes=axes))[(slice(None), *(slice(half) for half in halves))] ** 2
    length = np.sqrt(sum(index.astype(float) ** 2 for index in np.indices(halves)))
    shell, modes = np.floor(length).astype(int).ravel(), min(halves)
    kept = shell < modes
    mean = power.mean(axis=0).ravel()
    return np.asarray(np.sqrt(np.bincount(shell[kept], mean[kept], modes)) / cells)


class FourierLow(Fourier):
    """The error at low frequencies."""

    name = "fourier-low"
    definition = f"mean over the modes below {_LOW} of the root mean square of the Fourier coefficients of q - p"
    source = PDEBENCH
    band = slice(0, _LOW)


class FourierMid(Fourier):
    """The error at middle frequencies."""

    name = "fourier-mid"
    definition = f"the same over the modes from {_LOW} to {_HIGH - 1}"
    source = PDEBENCH
    band = slice(_LOW, _HIGH)


class FourierHigh(Fourier):
    """The error at high frequencies."""

    name = "fourier-high"
    definition = f"the same over the modes from {_HIGH} on"
    source = PDEBENCH
    band = slice(_HIGH, None)
