"""Dynamic optimal transport on boxes: a cascade of grids from coarse to fine, then an admissible path."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod, sqrt
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from annotated_types import Ge, Gt, Lt

from fvflow.iterates import Iterate, Progress, require_count, split
from fvflow.mesh import Array, Extent, Mesh
from fvflow.transport.base import BaseTransportSolver
from fvflow.transport.geodesic import Geodesic, constant_geodesic
from fvflow.transport.space_time_grid import Scheme

if TYPE_CHECKING:
    from fvflow.transport.chambolle_pock import ChambollePock, Residual
    from fvflow.transport.space_time_grid import SpaceTimeGrid

_RATIO = 0.02  # initial sigma/tau_m, in units in which the mean density and the displacement are 1
_RELAXATION = 1.9
_EVERY = 10  # iterations between two evaluations of the residuals
_COARSE = 10.0  # factor of the tolerance on each coarser grid
_LEAST_TOLERANCE = 1e-15  # below which a gap that remains is round-off
_TIGHTER = 3.0  # divisor of the tolerance as long as the gap is too wide
_FLOOR = 1e-5  # least density, relative to the mean, of the path whose action is the upper bound
_LEVELS = 10  # largest number of coarser grids
_LEVEL, _COARSER = "level", "coarser"  # in an iterate: the grid, 0 being the finest, and the iterations before it
_ARRAYS = 25  # space-time arrays held at once


@dataclass(frozen=True)
class PrimalDual(BaseTransportSolver):
    """Over-relaxed Chambolle-Pock iteration with a projection on the continuity equation by cosine transforms.

    It starts from the solution on a grid half as fine in space and time, recursively, and ends with a repair after
    which rho >= 0 and the continuity equation holds to round-off; see `fvflow.transport.chambolle_pock`. Papadakis,
    Peyre, Oudet, Optimal transport with proximal splitting, SIAM J. Imaging Sci. 7 (2014); notes, equations (73)-(127).

    It stops when both residuals are below the tolerance and, for `face`, W2 of the discrete problem is certified to a
    relative `gap`: from below by phi, from above by an admissible path near the iterate.
    """

    # A start on the finest grid from the static problem (displacement interpolation by the map of `bounds`, phi by the
    # Hopf-Lax formula) saves nothing: on 64 x 64 x 16 it takes 970, 230, 290, 1000 iterations there for four families,
    # for 740, 140, 170, 1010 after the coarser grids, since both starts err by about a cell.

    scheme: Scheme = "face"
    """`cell` averages rho and m at the centres of cells and intervals and gives the most accurate W2; `face` uses
    two-point fluxes, whose discrete Hamilton-Jacobi equation holds to the tolerance and whose W2 is certified."""
    tolerance: Annotated[float, Gt(0), Lt(1)] = 1e-5
    """Bound of the relative primal and dual residuals."""
    gap: Annotated[float, Gt(0), Lt(1)] = 2e-3
    """Bound of (upper - lower)/upper for W2 of the discrete problem; `face` only."""
    iterations: Annotated[int, Ge(1)] = 20_000
    """Largest number of iterations on each grid."""
    kind: Literal["primal-dual"] = "primal-dual"

    @property
    def certified(self) -> bool:
        """True for `face`, whose dual is the discrete Hamilton-Jacobi equation."""
        return self.scheme == "face"

    def describe(self) -> str:
        """Kind, scheme and tolerance."""
        return f"{self.kind}, scheme {self.scheme}, to the tolerance {self.tolerance:g}"

    def memory(self, extent: Extent, intervals: int) -> int:
        """Estimated bytes of a run: 25 space-time arrays."""
        return _ARRAYS * 8 * extent.cells * intervals

    def fits(self, mesh: Mesh) -> None:
        """Raise CaseError if the mesh is not a box of equal cells."""
        from fvflow.transport.space_time_grid import SpaceTimeGrid

        SpaceTimeGrid.of(mesh, 2)

    def solve(
        self,
        mesh: Mesh,
        initial: Array,
        target: Array,
        intervals: int,
        progress: Progress | None = None,
        start: Iterate | None = None,
    ) -> Geodesic:
        """The geodesic between two densities (cell,) of the same mass; raises CaseError as `fits` does."""
        from fvflow.transport.space_time_grid import SpaceTimeGrid

        grid = SpaceTimeGrid.of(mesh, intervals)
        if (constant := constant_geodesic(mesh, initial, target, intervals)) is not None:
            return constant
        units = _Units.of(mesh, grid, initial, target)
        cascade = _Cascade(units.cascade(), self, progress)
        cascade.begin(start)
        converged = cascade.run()
        iteration, coarser = cascade.iteration, cascade.coarser
        while True:
            upper = units.upper(iteration) if self.certified else np.nan
            path = units.path(iteration, iteration.residual, coarser + iteration.count, converged)
            gap = units.gap(upper, path)
            if not converged or not gap > self.gap or iteration.tolerance < _LEAST_TOLERANCE:
                return replace(path, gap=gap)
            iteration.aim_at(iteration.tolerance / _TIGHTER)
            converged = cascade.run()


class _Cascade:
    """The iterations from the coarsest grid to the finest."""

    def __init__(
        self, levels: Sequence[tuple[SpaceTimeGrid, Array, Array]], settings: PrimalDual, progress: Progress | None
    ) -> None:
        self._levels, self._settings, self._progress = levels, settings, progress
        self._level, self.coarser = len(levels) - 1, 0  # where it is, and the iterations on coarser grids
        self.iteration = self._on_level(_RATIO)

    def _on_level(self, ratio: float) -> ChambollePock:
        from fvflow.transport.chambolle_pock import ChambollePock

        settings, tolerance = self._settings, self._settings.tolerance * _COARSE**self._level
        return ChambollePock(*self._levels[self._level], settings.scheme, ratio, _RELAXATION, tolerance, _EVERY)

    def begin(self, start: Iterate | None) -> None:
        """Begin on the coarsest grid, or go on from an iterate; raises OutputError if it is not one of this problem."""
        if start is None:
            self.iteration.start(None)
            return
        place, iterate = split(start, {_LEVEL: 0, _COARSER: 0})
        require_count(place[_LEVEL], len(self._levels) - 1)
        self._level, self.coarser = place[_LEVEL], place[_COARSER]
        self.iteration = self._on_level(_RATIO)
        self.iteration.restore(iterate)

    def run(self) -> bool:
        """Iterate to the tolerance of each grid, down to the finest; whether that of the finest is met."""
        while True:
            converged = self.iteration.run(self._settings.iterations, self._report)
            if self._level == 0:
                return converged
            self._refine(self.iteration)

    def _refine(self, coarse: ChambollePock) -> None:
        self._level, self.coarser = self._level - 1, self.coarser + coarse.count
        self.iteration = self._on_level(coarse.ratio)
        self.iteration.start(coarse.iterate)

    def _report(self) -> None:
        if self._progress is not None:
            now = self.iteration
            place = {_LEVEL: self._level, _COARSER: self.coarser}
            self._progress(self.coarser + now.count, max(now.residual), {**now.to_tree(), **place})


@dataclass(frozen=True, eq=False)
class _Units:
    """The problem in the units of the iteration, in which mean density and displacement are 1, and the way back."""

    mesh: Mesh
    grid: SpaceTimeGrid
    mean: float
    scale: float
    ends: tuple[Array, Array]

    @staticmethod
    def of(mesh: Mesh, grid: SpaceTimeGrid, initial: Array, target: Array) -> _Units:
        """Those of two densities (cell,)."""
        start, end = (np.reshape(density, grid.shape) for density in (initial, target))
        scale = displacement_scale(start, end, grid.spacing)
        unit = replace(grid, spacing=tuple(h / scale for h in grid.spacing))
        return _Units(mesh, unit, float(start.mean()), scale, (initial, target))

    def cascade(self) -> list[tuple[SpaceTimeGrid, Array, Array]]:
        """Grid and both densities, from the finest to the coarsest."""
        from fvflow.transport.prolongation import restricted

        start, end = (np.reshape(density, self.grid.shape) / self.mean for density in self.ends)
        levels = [(self.grid, start, end)]
        while len(levels) <= _LEVELS and (coarse := levels[-1][0].coarsened()):
            levels.append((coarse, restricted(levels[-1][1]), restricted(levels[-1][2])))
        return levels

    def path(
        self, iteration: ChambollePock, residual: Residual, count: int, converged: bool, floor: float = 0.0
    ) -> Geodesic:
        """The admissible path next to the iterate."""
        from fvflow.transport.admissible import GridOperators, admissible_path

        iterate, shape, intervals = iteration.iterate, self.grid.shape, self.grid.intervals
        momentum = np.moveaxis(iterate.m.reshape(-1, intervals, *shape), 1, 0)  # (N, axis, *shape)
        path = admissible_path(iterate.rho.reshape(-1, *shape), momentum, GridOperators(self.grid), floor)
        density = path.density.reshape(intervals + 1, -1)
        density *= self.mean  # in place, as below: these are space-time fields
        density[0], density[-1] = self.ends
        mass = float(self.mesh.volume @ self.ends[0])
        w2 = self.scale * sqrt(max(2.0 * iteration.value() / prod(shape) * mass, 0.0))
        flux, phi = _in_mesh_order(path.momentum, self.grid.joined), iterate.phi.reshape(intervals, -1) * self.scale**2
        flux *= self.mean * self.scale
        return Geodesic(self.mesh, density, flux, phi, w2, max(residual), count, converged, repair=path.change)

    def upper(self, iteration: ChambollePock) -> float:
        """An upper bound of the discrete W2, by a path of finite action."""
        from fvflow.transport.chambolle_pock import Residual

        return sqrt(2.0 * self.path(iteration, Residual(np.nan, np.nan), 0, False, _FLOOR).action())

    def gap(self, upper: float, path: Geodesic) -> float:
        """(upper - lower)/upper of the discrete W2; relative to a cell width if W2 is smaller."""
        lower = sqrt(2.0 * max(path.dual_value(), 0.0))
        cell = min(self.grid.spacing) * self.scale * sqrt(float(self.mesh.volume @ self.ends[0]))
        return (upper - lower) / max(upper, cell)


def displacement_scale(initial: Array, target: Array, spacing: Sequence[float]) -> float:
    """A lower bound of W2 of the normalised densities, at least a cell width, as the unit of length.

    The root of |m - m'|^2 + sum_a (s_a - s'_a)^2, with the means m and the standard deviations s_a along each axis.
    """
    total = float(initial.sum())
    square = 0.0
    for axis, h in enumerate(spacing):
        x = (np.arange(initial.shape[axis]) + 0.5) * h
        others = tuple(i for i in range(initial.ndim) if i != axis)
        p, q = initial.sum(axis=others) / total, target.sum(axis=others) / total
        deviation = [sqrt(max(float(w @ x**2 - (w @ x) ** 2), 0.0)) for w in (p, q)]
        square += float(p @ x - q @ x) ** 2 + (deviation[0] - deviation[1]) ** 2
    return max(sqrt(square), min(spacing))


def _in_mesh_order(momentum: Array, joined: Sequence[bool]) -> Array:
    """Momenta through upper faces (N, axis, *shape) as those through the faces of the mesh (N, face), without walls."""
    from fvflow.transport.admissible import inner_faces

    parts = []
    for axis in range(momentum.shape[1]):
        m = momentum[:, axis]
        parts.append((m if joined[-1 - axis] else m[inner_faces(m.ndim, axis)]).reshape(len(m), -1))
    return np.concatenate(parts, axis=1)
