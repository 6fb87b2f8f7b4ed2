"""A path of densities with its momentum and potential, and measures of how far it is from a geodesic."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fvflow.linalg import divergence
from fvflow.mesh import Array, Grid, Mesh

_SAME = 1e-14  # L1 distance, relative to the mass, up to which two densities count as equal
SUPPORT = 1e-4  # relative to the largest density: above it the Hamilton-Jacobi equation has to hold


@dataclass(frozen=True, eq=False)
class Geodesic:
    """The result of a dynamic transport solver on N intervals of [0, 1].

    Densities are given at the time nodes k = 0..N, momenta and potentials in the intervals k = 0..N-1.
    """

    mesh: Mesh
    density: Array  # (N + 1, cell)
    flux: Array  # (N, face) momentum density m.n through each face, towards the neighbour
    potential: Array  # (N, cell) phi, v = grad phi
    w2: float  # the solver's value of W2: an approximation, not a bound
    residual: float  # relative residual of the solver's optimality conditions
    iterations: int
    converged: bool
    gap: float = np.nan  # (upper - lower)/upper of the discrete W2, both certified; nan if the solver certifies nothing
    repair: float = 0.0  # largest L1 change of a density by `admissible_path`, relative to the mass

    @property
    def step(self) -> float:
        """Length of an interval."""
        return 1.0 / len(self.flux)

    def continuity(self) -> float:
        """max_k sum_K |K| |rho^{k+1} - rho^k + dt div m^k|/mass."""
        mesh, mass = self.mesh, float(self.mesh.volume @ self.density[0])
        change = np.diff(self.density, axis=0)
        lost = (
            mesh.volume * delta + self.step * divergence(mesh, mesh.area * flux)
            for delta, flux in zip(change, self.flux, strict=True)
        )
        return max(float(np.abs(part).sum()) for part in lost) / mass

    def hamilton_jacobi(self) -> Array:
        """(phi^k - phi^{k-1})/dt + mean(|grad phi|^2)/2 at the inner nodes (N - 1, cell); notes, equation (71).

        The mean is over the two intervals. For a geodesic it is 0 where there is mass and at most 0 in vacuum.
        """
        kinetic = np.stack([kinetic_energy(self.mesh, phi) for phi in self.potential])
        return np.diff(self.potential, axis=0) / self.step + 0.5 * (kinetic[1:] + kinetic[:-1])

    def hamilton_jacobi_errors(self) -> tuple[float, float]:
        """The largest |residual| where rho > 1e-4 max rho, and the largest positive residual anywhere."""
        residual = self.hamilton_jacobi()
        inside = self.density[1:-1] > SUPPORT * self.density.max()
        return float(np.abs(residual[inside]).max(initial=0.0)), float(residual.max(initial=0.0))

    def nodal_potential(self) -> Array:
        """phi at the time nodes (N + 1, cell): means of two intervals, and half a Hamilton-Jacobi step at both ends."""
        phi, half = self.potential, 0.5 * self.step
        first = phi[0] + half * kinetic_energy(self.mesh, phi[0])
        last = phi[-1] - half * kinetic_energy(self.mesh, phi[-1])
        return np.concatenate([first[None], 0.5 * (phi[1:] + phi[:-1]), last[None]])

    def dual_value(self) -> float:
        """A lower bound of the least discrete action: (phi(1), rho^N) - (phi(0), rho^0) - M sum dt max(r^k, 0).

        Subtracting dt max_K r^k from phi at node k and all later ones makes the Hamilton-Jacobi residual r^k <= 0 and
        leaves grad phi unchanged, so that phi is feasible for the dual.
        """
        nodes, volume = self.nodal_potential(), self.mesh.volume
        excess = np.maximum(self.hamilton_jacobi().max(axis=1), 0.0).sum() * self.step
        ends = nodes[-1] @ (volume * self.density[-1]) - nodes[0] @ (volume * self.density[0])
        return float(ends - excess * (volume @ self.density[0]))

    def action(self) -> float:
        """dt sum_k sum_s |s| d_s m_s^2/(2 rho_s), rho_s the mean of the four densities around s and interval k.

        Infinite if there is momentum in vacuum.
        """
        mesh, share, total = self.mesh, owner_share(self.mesh), 0.0
        size = mesh.area * mesh.distance
        for before, after, flux in zip(self.density[:-1], self.density[1:], self.flux, strict=True):
            middle = 0.5 * (before + after)
            mean = share * middle[mesh.owner] + (1.0 - share) * middle[mesh.neighbour]
            with np.errstate(divide="ignore", invalid="ignore"):
                total += float(np.where(flux != 0.0, 0.5 * flux**2 / mean, 0.0) @ size)
        return self.step * total


def constant_geodesic(mesh: Mesh, initial: Array, target: Array, intervals: int) -> Geodesic | None:
    """The geodesic from a density to itself; None if the two differ by more than round-off."""
    if float(mesh.volume @ np.abs(initial - target)) > _SAME * float(mesh.volume @ initial):
        return None
    flux, potential = np.zeros((intervals, mesh.faces)), np.zeros((intervals, mesh.cells))
    return Geodesic(mesh, np.tile(initial, (intervals + 1, 1)), flux, potential, 0.0, 0.0, 0, True, 0.0)


def kinetic_energy(mesh: Mesh, phi: Array) -> Array:
    """|grad phi|^2/2 of each cell (cell,): T_s D_s^2/2 of each face, divided between its cells as the distance is."""
    energy, share = 0.5 * mesh.transmissibility * (phi[mesh.owner] - phi[mesh.neighbour]) ** 2, owner_share(mesh)
    total = np.bincount(mesh.owner, share * energy, mesh.cells)
    total += np.bincount(mesh.neighbour, (1.0 - share) * energy, mesh.cells)
    return np.asarray(total / mesh.volume)


def owner_share(mesh: Mesh) -> Array:
    """Fraction of the distance between the two centres of a face that lies in its owner (face,)."""
    ahead = ((mesh.face_centre - mesh.centre[mesh.owner]) * mesh.normal).sum(axis=1)
    return np.asarray(ahead / mesh.distance)


def cell_vectors(mesh: Mesh, normal: Array) -> Array:
    """Cell vectors (cell, dim) reconstructed from normal components (face,), which are 0 on walls.

    (1/|K|) sum_s |s| u_s.n_K (x_s - x_K), exact for constant fields in cells without walls. Of a grid it is the mean of
    the components on both sides; so it is along a radius, too, where the measures of both sides differ.
    """
    if mesh.edges is not None and mesh.revolution is not None:
        mesh = Grid(mesh.edges, mesh.periodic)
    ahead, behind = (mesh.nearest_image(mesh.face_centre - mesh.centre[side]) for side in (mesh.owner, mesh.neighbour))
    strength = mesh.area * normal
    vector = np.empty((mesh.cells, mesh.dimension))
    for axis in range(mesh.dimension):
        out, into = strength * ahead[:, axis], strength * behind[:, axis]
        total = np.bincount(mesh.owner, out, mesh.cells) - np.bincount(mesh.neighbour, into, mesh.cells)
        vector[:, axis] = total / mesh.volume
    return vector
