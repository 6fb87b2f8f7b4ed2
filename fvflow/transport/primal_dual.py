"""Dynamic optimal transport on boxes: from coarse grids to fine ones, and to an admissible path."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import prod, sqrt
from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge, Gt, Lt

from fvflow.mesh import Array, Mesh
from fvflow.transport.chambolle_pock import ChambollePock, Residual, Watch
from fvflow.transport.geodesic import Geodesic, resting
from fvflow.transport.prolongation import halved
from fvflow.transport.space_time_grid import Iterate, Scheme, SpaceTimeGrid, eigenvalues

Progress = Callable[[int, float], None]  # (iterations, residual)

_RATIO = 0.02  # sigma/tau_m at the start, where the mean density and the displacement are one
_RELAXATION = 1.9
_EVERY = 10  # iterations between two looks at the residuals
_COARSE = 10.0  # factor of the tolerance on each coarser grid
_TIGHTER = 3.0  # by which the tolerance falls while the gap is too wide
_FLOOR = 1e-5  # of the mean: the least density of the path whose action is the upper bound
_LEVELS = 10  # at most so many coarser grids


@dataclass(frozen=True)
class PrimalDual:
    """Over-relaxed Chambolle-Pock iteration with a projection on the continuity equation by cosine transforms.

    `cell` takes averages of rho and m at the centres of cells and intervals and gives the best W2, `face` two-point
    fluxes, which keep a clean discrete Hamilton-Jacobi equation; see `fvflow.transport.chambolle_pock`. Starts from the
    solution on a grid half as fine in space and time, and so on; ends with a repair that makes rho >= 0 and the
    continuity equation hold to round-off. Papadakis, Peyre, Oudet, Optimal transport with proximal splitting, SIAM J.
    Imaging Sci. 7 (2014); notes, equations (73)-(127).

    It stops when both residuals are below the tolerance and, for `face`, W2 of the discrete problem is certified to a
    relative `gap`: from below by phi, from above by an admissible path near the iterate.
    """

    scheme: Scheme = "face"
    tolerance: Annotated[float, Gt(0), Lt(1)] = 1e-5
    gap: Annotated[float, Gt(0), Lt(1)] = 2e-3
    iterations: Annotated[int, Ge(1)] = 20_000
    kind: Literal["primal-dual"] = "primal-dual"

    def fits(self, mesh: Mesh) -> None:
        """Refuse a mesh that is no even box: CaseError."""
        SpaceTimeGrid.of(mesh, 2)

    def solve(
        self, mesh: Mesh, initial: Array, target: Array, intervals: int, progress: Progress | None = None
    ) -> Geodesic:
        """The geodesic between two densities (cell,) of the same mass."""
        lattice = SpaceTimeGrid.of(mesh, intervals)
        if (still := resting(mesh, initial, target, intervals)) is not None:
            return still
        start, end = (np.reshape(density, lattice.shape) for density in (initial, target))
        mean, scale = float(start.mean()), displacement(start, end, lattice.spacing)
        unit = SpaceTimeGrid(lattice.shape, tuple(h / scale for h in lattice.spacing), intervals)
        problems = [(unit, start / mean, end / mean)]
        while len(problems) <= _LEVELS and (coarse := problems[-1][0].coarsened()):
            problems.append((coarse, halved(problems[-1][1]), halved(problems[-1][2])))
        state: Iterate | None = None
        ratio, count = _RATIO, 0
        for level, (grid, first, last) in reversed(list(enumerate(problems))):
            iteration = ChambollePock(grid, first, last, self.scheme, ratio, _RELAXATION)
            iteration.start(state)
            watch = None if progress is None else _counting(progress, count)
            goal = self.tolerance * _COARSE**level
            residual, converged = iteration.run(goal, self.iterations, _EVERY, watch)
            state, ratio, count = iteration.state, iteration.ratio, count + iteration.count
        units, before = _Units(mesh, unit, mean, scale, (initial, target)), count - iteration.count
        while True:
            upper = units.upper(iteration) if self.scheme == "face" else np.nan
            found = units.path(iteration, residual, before + iteration.count, converged)
            gap = units.gap(upper, found)
            if not converged or not gap > self.gap:
                return replace(found, gap=gap)
            goal /= _TIGHTER
            residual, converged = iteration.run(goal, self.iterations, _EVERY, watch)


@dataclass(frozen=True, eq=False)
class _Units:
    """From the iteration's units, in which mean density and displacement are one, to those of the data."""

    mesh: Mesh
    lattice: SpaceTimeGrid
    mean: float
    scale: float
    ends: tuple[Array, Array]

    def path(
        self, iteration: ChambollePock, residual: Residual, count: int, converged: bool, floor: float = 0.0
    ) -> Geodesic:
        """The admissible path next to the iterate."""
        state, lattice = iteration.state, self.lattice
        shape, intervals = lattice.shape, lattice.intervals
        raw = state.rho.reshape(-1, *shape)
        rho, m = repaired(lattice, raw, state.m.reshape(-1, intervals, *shape), floor)
        changes = (float(np.abs(one - other).sum()) for one, other in zip(rho, raw, strict=True))
        repair = max(changes) / float(raw[0].sum())
        density = rho.reshape(intervals + 1, -1)
        density *= self.mean  # in place, as below: these are space-time fields
        density[0], density[-1] = self.ends
        mass = float(self.mesh.volume @ self.ends[0])
        w2 = self.scale * sqrt(max(2.0 * iteration.value() / prod(shape) * mass, 0.0))
        flux, phi = _by_face(m), state.phi.reshape(intervals, -1) * self.scale**2
        flux *= self.mean * self.scale
        return Geodesic(self.mesh, density, flux, phi, w2, max(residual), count, converged, repair=repair)

    def upper(self, iteration: ChambollePock) -> float:
        """An upper bound of the discrete W2, by a path of finite action."""
        return sqrt(2.0 * self.path(iteration, Residual(np.nan, np.nan), 0, False, _FLOOR).action())

    def gap(self, upper: float, found: Geodesic) -> float:
        """(upper - lower)/upper of the discrete W2; over a cell where W2 is less."""
        lower = sqrt(2.0 * max(found.dual_value(), 0.0))
        cell = min(self.lattice.spacing) * self.scale * sqrt(float(self.mesh.volume @ self.ends[0]))
        return (upper - lower) / max(upper, cell)


def _counting(progress: Progress, before: int) -> Watch:
    """The progress of one grid after so many iterations on coarser ones."""
    return lambda done, left: progress(before + done, max(left))


def displacement(initial: Array, target: Array, spacing: Sequence[float]) -> float:
    """The distance of the centres of mass plus the difference of the spreads: a lower bound of W2, a scale of lengths.

    At least a cell.
    """
    total = float(initial.sum())
    square = 0.0
    for axis, h in enumerate(spacing):
        x = (np.arange(initial.shape[axis]) + 0.5) * h
        other = tuple(i for i in range(initial.ndim) if i != axis)
        p, q = initial.sum(axis=other) / total, target.sum(axis=other) / total
        spread = [sqrt(max(float(w @ x**2 - (w @ x) ** 2), 0.0)) for w in (p, q)]
        square += float(p @ x - q @ x) ** 2 + (spread[0] - spread[1]) ** 2
    return max(sqrt(square), min(spacing))


def repaired(lattice: SpaceTimeGrid, rho: Array, m: Array, floor: float = 0.0) -> tuple[Array, Array]:
    """An admissible path next to (rho, m), rho (N + 1, *shape), m (axis, N, *shape) through upper faces.

    At the inner nodes rho <- (1 - floor) max(rho, 0) M/M' + floor M/cells, with a finite action for floor > 0. Then
    m <- m - grad psi with -div grad psi = -((rho^{k+1} - rho^k)/dt + div m), a Poisson problem in cosines for each
    interval.
    """
    from scipy.fft import dctn, idctn

    rho, m, axes = rho.copy(), m.copy(), len(lattice.shape)
    mass = float(rho[0].sum())
    for k in range(1, lattice.intervals):
        rho[k] = np.maximum(rho[k], 0.0)
        rho[k] = rho[k] * ((1.0 - floor) * mass / float(rho[k].sum())) + floor * mass / rho[k].size
    eigen = sum(np.ix_(*(eigenvalues(n, h) for n, h in zip(lattice.shape, lattice.spacing, strict=True))))
    eigen = np.array(eigen)
    eigen.flat[0] = np.inf
    for k in range(lattice.intervals):
        rest = (rho[k + 1] - rho[k]) / lattice.dt
        for axis in range(axes):
            rest += (m[axis, k] - np.roll(m[axis, k], 1, -1 - axis)) / lattice.spacing[-1 - axis]
        psi = idctn(dctn(rest, type=2) / eigen, type=2)
        for axis in range(axes):
            inner = [slice(None)] * axes
            inner[-1 - axis] = slice(-1)
            m[axis, k][tuple(inner)] += np.diff(psi, axis=-1 - axis) / lattice.spacing[-1 - axis]
    return rho, m


def _by_face(m: Array) -> Array:
    """Fluxes through upper faces (axis, N, *shape) in the order of the mesh's faces (N, face), without the walls."""
    parts = []
    for axis in range(len(m)):
        inner = [slice(None)] * m[axis].ndim
        inner[-1 - axis] = slice(-1)
        parts.append(m[axis][tuple(inner)].reshape(m.shape[1], -1))
    return np.concatenate(parts, axis=1)
