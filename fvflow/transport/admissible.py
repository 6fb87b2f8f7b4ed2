"""The repair that makes a path admissible: densities >= 0, mass and continuity to round-off."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np

from fvflow.linalg import divergence, factorise
from fvflow.mesh import Array, Mesh
from fvflow.transport.space_time_grid import Laplacian, SpaceTimeGrid


class SpaceOperators(Protocol):
    """The discrete operators of one time interval, on densities and momenta as the solver stores them."""

    size: float
    """Total of the density 1."""

    def total(self, density: Array) -> float:
        """Integral of a density, up to a constant factor."""

    def add_divergence(self, momentum: Array, out: Array) -> None:
        """out <- out + div m, in place, with no flux through the walls."""

    def solve_poisson(self, right: Array) -> Array:
        """psi with -div grad psi = right, of the same shape, for a right-hand side of total 0."""

    def add_gradient(self, momentum: Array, psi: Array) -> None:
        """m <- m + grad psi, in place."""


class AdmissiblePath(NamedTuple):
    """A path that satisfies the constraints, and how far it is from the one given."""

    density: Array
    momentum: Array
    change: float
    """Largest L1 change of a density, relative to the mass."""


def admissible_path(density: Array, momentum: Array, space: SpaceOperators, floor: float = 0.0) -> AdmissiblePath:
    """An admissible path next to N + 1 densities and N momenta, whose first and last densities are kept.

    At the inner nodes rho <- (1 - floor) max(rho, 0) M/M' + floor M/|Omega|, so that the action is finite for
    floor > 0. Then m <- m + grad psi with -div grad psi = (rho^{k+1} - rho^k)/dt + div m, a Poisson problem for each
    interval.
    """
    path, flux, intervals = density.copy(), momentum.copy(), len(momentum)
    mass, dt = space.total(path[0]), 1.0 / intervals
    for k in range(1, intervals):
        path[k] = np.maximum(path[k], 0.0)
        path[k] = path[k] * ((1.0 - floor) * mass / space.total(path[k])) + floor * mass / space.size
    for k in range(intervals):
        imbalance = (path[k + 1] - path[k]) / dt
        space.add_divergence(flux[k], imbalance)
        space.add_gradient(flux[k], space.solve_poisson(imbalance))
    change = max(space.total(np.abs(after - before)) for after, before in zip(path, density, strict=True))
    return AdmissiblePath(path, flux, change / mass)


class GridOperators:
    """Those of a uniform grid, by transforms: densities `shape`, momenta (axis, *shape) at the upper faces."""

    def __init__(self, grid: SpaceTimeGrid) -> None:
        self._spacing, self.size = grid.spacing, float(grid.rows * grid.shape[-1])
        self._laplacian, self._joined = Laplacian(grid), grid.joined
        self._eigenvalues = self._laplacian.eigenvalues.copy()
        self._eigenvalues.flat[0] = np.inf  # drops the constant mode

    def total(self, density: Array) -> float:
        """Sum over the cells."""
        return float(density.sum())

    def add_divergence(self, momentum: Array, out: Array) -> None:
        """Differences of upper and lower faces over the spacing."""
        for axis, part in enumerate(momentum):
            out += (part - np.roll(part, 1, -1 - axis)) / self._spacing[-1 - axis]

    def solve_poisson(self, right: Array) -> Array:
        """psi (..., y, x) by the transform that diagonalises the Laplacian."""
        return self._laplacian.backward(self._laplacian.forward(right) / self._eigenvalues)

    def add_gradient(self, momentum: Array, psi: Array) -> None:
        """Differences of neighbouring cells over the spacing; the walls stay at zero."""
        for axis, part in enumerate(momentum):
            if self._joined[-1 - axis]:
                part += (np.roll(psi, -1, -1 - axis) - psi) / self._spacing[-1 - axis]
            else:
                part[inner_faces(part.ndim, axis)] += np.diff(psi, axis=-1 - axis) / self._spacing[-1 - axis]


class MeshOperators:
    """Those of any mesh, by a sparse factorisation: densities (cell,), momenta (face,)."""

    def __init__(self, mesh: Mesh) -> None:
        from scipy.sparse import csr_matrix

        self._mesh, self.size = mesh, float(mesh.volume.sum())
        rows, ones = np.arange(mesh.faces), np.ones(mesh.faces)
        pair = np.concatenate([rows, rows]), np.concatenate([mesh.owner, mesh.neighbour])
        entries = np.concatenate([-ones, ones])
        self.difference: Any = csr_matrix((entries, pair), (mesh.faces, mesh.cells))  # phi_L - phi_K of each face
        self._factors: Any = None

    def total(self, density: Array) -> float:
        """Integral over the mesh."""
        return float(density @ self._mesh.volume)

    def add_divergence(self, momentum: Array, out: Array) -> None:
        """Sum of the outward fluxes of each cell over its volume."""
        out += divergence(self._mesh, self._mesh.area * momentum) / self._mesh.volume

    def solve_poisson(self, right: Array) -> Array:
        """By factors that are kept; psi is 0 in the first cell."""
        from scipy.sparse import csc_matrix, diags

        if self._factors is None:
            stiffness = csc_matrix(self.difference.T @ diags(self._mesh.transmissibility) @ self.difference)
            self._factors = factorise(stiffness[1:, 1:].tocsc())
        psi = np.zeros(len(right))
        psi[1:] = self._factors.solve((self._mesh.volume * right)[1:])
        return psi

    def add_gradient(self, momentum: Array, psi: Array) -> None:
        """Differences of neighbouring cells over the distance of their centres."""
        momentum += (self.difference @ psi) / self._mesh.distance


def inner_faces(dimension: int, axis: int) -> tuple[slice, ...]:
    """The index of the upper faces along an axis (0: x, stored last) that are not walls."""
    index = [slice(None)] * dimension
    index[-1 - axis] = slice(-1)
    return tuple(index)
