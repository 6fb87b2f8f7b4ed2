"""Weighted samples, and the densities that they are estimates of."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from fvflow.errors import CaseError
from fvflow.fields.point_file import checked_points
from fvflow.fields.sampling import cell_values, interval_mass, widest
from fvflow.mesh import Array, Index, Mesh, Subset, cells_of
from fvflow.mesh.arrays import freeze

_CHUNK = 2**22  # numbers in an array of samples by cells
_BLOCK = 512  # samples at a time
_REACH = 10.0  # bandwidths from a sample beyond which its kernel is cut off
_NARROWEST = 0.5  # least bandwidth in widths of a cell, where the quadrature is wrong by 3e-4
_GAUSS_POINTS = 4  # per axis of a cell, as for a Gaussian


@dataclass(frozen=True, eq=False)
class WeightedSamples:
    """Samples x_i with weights w_i: the measure sum_i w_i delta(x_i)/sum_i w_i."""

    name: str
    """The name in messages: that of the file."""
    positions: Array
    """Positions (sample, dim)."""
    weights: Array
    """Weights (sample,), which sum to 1."""

    @staticmethod
    def of(name: str, positions: ArrayLike, weights: ArrayLike | None = None) -> WeightedSamples:
        """The samples, checked; raises CaseError unless they are finite and the weights are a measure.

        Positions are (sample, dim), or (sample,) on a line.
        """
        points = checked_points(name, positions, "sample")
        mass = np.ones(len(points)) if weights is None else np.array(weights, float)
        if mass.shape != (len(points),):
            raise CaseError(f"{name}: has {len(points)} samples and weights of shape {mass.shape}; give one for each")
        right = (mass >= 0) & np.isfinite(mass)
        if not right.all():
            bad = int(np.argmin(right))
            raise CaseError(f"{name}: sample {bad} has the weight {mass[bad]:g}; give finite weights >= 0")
        largest = float(mass.max())
        if largest == 0:
            raise CaseError(f"{name}: all weights are 0; give a positive one")
        mass /= largest  # so that the sum does not overflow
        return WeightedSamples(name, points, freeze(mass / mass.sum()))

    def cells(self, mesh: Mesh) -> Index:
        """The cell that each sample lies in (sample,), -1 outside the mesh; raises CaseError for another dimension."""
        self._require_dimension(mesh)
        return cells_of(mesh, self.positions)

    def histogram(self, mesh: Mesh) -> tuple[Array, float]:
        """Density of each cell (cell,), the weight of the samples in it over its volume; and the weight outside."""
        cell = self.cells(mesh)
        inside = cell >= 0
        density = np.bincount(cell[inside], self.weights[inside], mesh.cells) / mesh.volume
        return density, float(self.weights[~inside].sum())

    def mixture(self, mesh: Mesh, bandwidth: float) -> Array:
        """Cell averages (cell,) of sum_i w_i N(x_i, h^2 I), h the bandwidth.

        Exact on grids, as products of error functions; elsewhere by four Gauss points per axis. Kernels are cut off at
        10 h, where they are below 1e-21 of their maximum. Memory does not grow with samples times cells. Raises
        CaseError if the quadrature does not resolve a kernel.
        """
        self._require_dimension(mesh)
        if mesh.edges is not None:
            return self._with_images(mesh, _REACH * bandwidth)._mixture_on_grid(mesh, mesh.edges, bandwidth)
        self._require_resolved(mesh, bandwidth)

        def density(at: Array, cells: Subset) -> Array:
            total = np.zeros(len(at))
            for x, weight in self._blocks(len(at)):
                lower, upper = x.min(axis=0) - _REACH * bandwidth, x.max(axis=0) + _REACH * bandwidth
                near = np.flatnonzero(((at >= lower) & (at <= upper)).all(axis=1))
                square = np.zeros((len(near), len(weight)))
                for axis in range(mesh.dimension):
                    away = (at[near, axis, None] - x[:, axis]) / bandwidth
                    square += np.square(away, out=away)
                total[near] += np.exp(-0.5 * square) @ weight
            return np.asarray(total / (bandwidth * math.sqrt(2 * math.pi)) ** mesh.dimension)

        return cell_values(mesh, density, "average", _GAUSS_POINTS)

    def _with_images(self, mesh: Mesh, reach: float) -> WeightedSamples:
        """The samples and their images by whole periods of the mesh, as far as they lie within a reach of it."""
        positions, weights = mesh.inside_period(self.positions), self.weights
        for axis in mesh.periodic:
            period, count = mesh.periods[axis], math.ceil(reach / mesh.periods[axis])
            lower, upper = mesh.points[:, axis].min() - reach, mesh.points[:, axis].max() + reach
            shifts = period * np.eye(mesh.dimension)[axis] * np.arange(-count, count + 1)[:, None]
            positions, weights = (
                (shifts[:, None] + positions).reshape(-1, mesh.dimension),
                np.tile(weights, len(shifts)),
            )
            near = (positions[:, axis] >= lower) & (positions[:, axis] <= upper)
            positions, weights = positions[near], weights[near]
        return WeightedSamples(self.name, positions, weights) if mesh.periodic else self

    def _mixture_on_grid(self, mesh: Mesh, edges: tuple[Array, ...], bandwidth: float) -> Array:
        mass, values = np.zeros(mesh.shape), len(self.weights) * sum(map(len, edges))
        for x, weight in self._blocks(max(mesh.cells // (len(edges[-1]) - 1), *map(len, edges))):
            windows = [_window(*each, _REACH * bandwidth) for each in zip(edges, x.T, strict=True)]
            first, *others = (
                interval_mass(edge[window.start : window.stop + 1, None], part, bandwidth, values)
                for edge, part, window in zip(edges, x.T, windows, strict=True)
            )
            inner = first * weight  # (x cell, sample), then (y cell, x cell, sample)
            for factor in others[:-1]:
                inner = factor[:, None, :] * inner
            part = np.tensordot(others[-1], inner, (1, -1)) if others else inner.sum(axis=1)
            mass[tuple(windows[::-1])] += part
        return np.asarray(mass.ravel() / mesh.volume)

    def _blocks(self, size: int) -> Iterator[tuple[Array, Array]]:
        """Positions (sample, dim) and weights (sample,) in blocks close in space; each sample takes `size` numbers."""
        from scipy.spatial import KDTree

        order = KDTree(self.positions, leafsize=1).indices
        count = min(max(1, _CHUNK // size), _BLOCK)
        for first in range(0, len(order), count):
            part = order[first : first + count]
            yield self.positions[part], self.weights[part]

    def _require_resolved(self, mesh: Mesh, bandwidth: float) -> None:
        """Raise CaseError if a cell with samples is so wide that its mean of a kernel is wrong by 1e-3 or more."""
        cell = self.cells(mesh)
        least = _NARROWEST * widest(mesh, cell[cell >= 0])
        if bandwidth < least:
            raise CaseError(
                f"bandwidth {bandwidth:g} is not resolved by the cells of this mesh; use {least:.2g} or more, a finer "
                "mesh, or bandwidth: none"
            )

    def _require_dimension(self, mesh: Mesh) -> None:
        if self.positions.shape[1] != mesh.dimension:
            raise CaseError(
                f"{self.name}: its samples have {self.positions.shape[1]} coordinate(s), the mesh {mesh.dimension} "
                "dimension(s); give one coordinate per axis"
            )


def _window(edge: Array, x: Array, reach: float) -> slice:
    """The cells between `edge` (cell + 1,) within a reach of points x (point,)."""
    first = int(np.searchsorted(edge, x.min() - reach, side="right")) - 1
    last = int(np.searchsorted(edge, x.max() + reach, side="left"))
    count = len(edge) - 1
    first = min(max(first, 0), count)
    return slice(first, max(min(last, count), first))
