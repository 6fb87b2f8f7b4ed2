"""A path of densities with its fluxes and potential, and how far it is from a geodesic."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fvflow.linalg import divergence
from fvflow.mesh import Array, Mesh

_SAME = 1e-14  # L1 distance of densities that are the same, of the mass
SUPPORT = 1e-4  # of the largest density: above it the Hamilton-Jacobi equation has to hold


@dataclass(frozen=True, eq=False)
class Geodesic:
    """What a dynamic transport solver found, on N intervals of [0, 1].

    Densities live at the time nodes k = 0..N, fluxes and potentials in the intervals k = 0..N-1.
    """

    mesh: Mesh
    density: Array  # (N + 1, cell)
    flux: Array  # (N, face) momentum density m.n through each face, towards the neighbour
    potential: Array  # (N, cell) phi, v = grad phi
    w2: float  # the solver's value: near W2, no bound
    residual: float  # relative, of the solver's optimality conditions
    iterations: int
    converged: bool
    gap: float = np.nan  # (upper - lower)/upper of the discrete W2, both certified; nan where not at hand
    repair: float = 0.0  # the largest L1 change that made the solver's densities admissible, of the mass

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
        """(phi^k - phi^{k-1})/dt + mean(|grad phi|^2)/2 of inner nodes and cells (N - 1, cell); notes, equation (71).

        The mean is over the two intervals. At most 0 in vacuum, 0 where there is mass.
        """
        kinetic = np.stack([kinetic_energy(self.mesh, phi) for phi in self.potential])
        return np.diff(self.potential, axis=0) / self.step + 0.5 * (kinetic[1:] + kinetic[:-1])

    def hamilton_jacobi_errors(self) -> tuple[float, float]:
        """The largest |residual| where rho is above 1e-4 of its largest value, the largest positive one anywhere."""
        residual = self.hamilton_jacobi()
        inside = self.density[1:-1] > SUPPORT * self.density.max()
        return float(np.abs(residual[inside]).max(initial=0.0)), float(residual.max(initial=0.0))

    def nodal_potential(self) -> Array:
        """phi at the time nodes (N + 1, cell): means of the intervals; half a step of Hamilton-Jacobi at the ends."""
        phi, half = self.potential, 0.5 * self.step
        first = phi[0] + half * kinetic_energy(self.mesh, phi[0])
        last = phi[-1] - half * kinetic_energy(self.mesh, phi[-1])
        return np.concatenate([first[None], 0.5 * (phi[1:] + phi[:-1]), last[None]])

    def dual_value(self) -> float:
        """A lower bound of the least discrete action: (phi(1), rho^N) - (phi(0), rho^0) - M sum dt max(r^k, 0).

        Lowering phi from node k on by dt max_K r^k makes the Hamilton-Jacobi residual r^k <= 0 and leaves grad phi, so
        that it is feasible for the dual.
        """
        nodes, volume = self.nodal_potential(), self.mesh.volume
        excess = np.maximum(self.hamilton_jacobi().max(axis=1), 0.0).sum() * self.step
        ends = nodes[-1] @ (volume * self.density[-1]) - nodes[0] @ (volume * self.density[0])
        return float(ends - excess * (volume @ self.density[0]))

    def action(self) -> float:
        """dt sum_k sum_s |s| d_s m_s^2/(2 rho_s), rho_s the mean of the four densities beside s; infinite in vacuum."""
        mesh, share, total = self.mesh, owner_share(self.mesh), 0.0
        size = mesh.area * mesh.distance
        for before, after, flux in zip(self.density[:-1], self.density[1:], self.flux, strict=True):
            middle = 0.5 * (before + after)
            mean = share * middle[mesh.owner] + (1.0 - share) * middle[mesh.neighbour]
            with np.errstate(divide="ignore", invalid="ignore"):
                total += float(np.where(flux != 0.0, 0.5 * flux**2 / mean, 0.0) @ size)
        return self.step * total


def resting(mesh: Mesh, initial: Array, target: Array, intervals: int) -> Geodesic | None:
    """The geodesic of a density to itself, where nothing moves; None where the ends differ by more than round-off."""
    if float(mesh.volume @ np.abs(initial - target)) > _SAME * float(mesh.volume @ initial):
        return None
    flux, potential = np.zeros((intervals, mesh.faces)), np.zeros((intervals, mesh.cells))
    return Geodesic(mesh, np.tile(initial, (intervals + 1, 1)), flux, potential, 0.0, 0.0, 0, True, 0.0)


def kinetic_energy(mesh: Mesh, phi: Array) -> Array:
    """|grad phi|^2/2 of each cell (cell,): each face gives T_s D_s^2/2, shared by its cells as the distance is."""
    energy, share = 0.5 * mesh.transmissibility * (phi[mesh.owner] - phi[mesh.neighbour]) ** 2, owner_share(mesh)
    total = np.bincount(mesh.owner, share * energy, mesh.cells)
    total += np.bincount(mesh.neighbour, (1.0 - share) * energy, mesh.cells)
    return np.asarray(total / mesh.volume)


def owner_share(mesh: Mesh) -> Array:
    """The part of the line between the centres beside a face that is in its owner (face,)."""
    ahead = ((mesh.face_centre - mesh.centre[mesh.owner]) * mesh.normal).sum(axis=1)
    return np.asarray(ahead / mesh.distance)


def cell_vectors(mesh: Mesh, normal: Array) -> Array:
    """Vectors in the cells from normal components (face,) on the faces, 0 on walls: (cell, dim).

    (1/|K|) sum_s |s| u_s.n_K (x_s - x_K), exact for constant fields on cells without walls.
    """
    centre = mesh.face_centre
    strength = mesh.area * normal
    vector = np.empty((mesh.cells, mesh.dimension))
    for axis in range(mesh.dimension):
        out = strength * (centre[:, axis] - mesh.centre[mesh.owner, axis])
        into = strength * (centre[:, axis] - mesh.centre[mesh.neighbour, axis])
        total = np.bincount(mesh.owner, out, mesh.cells) - np.bincount(mesh.neighbour, into, mesh.cells)
        vector[:, axis] = total / mesh.volume
    return vector
