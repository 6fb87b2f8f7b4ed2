"""The transport part of one minimising-movement step, with directional or with centred mobility."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

import numpy as np

from fvflow.linalg import FaceMatrix, UpwindTriangular, divergence, inner
from fvflow.mesh import Array, Index, Mesh
from fvflow.steppers.mesh_system import MeshSystemSolver
from fvflow.steppers.schur import CentredSchurComplement, Schur, SchurComplement


@dataclass(frozen=True, eq=False)
class Faces:
    """What a potential phi makes of the faces: its drop, the cells that mass leaves and enters, and tau T theta."""

    drop: Array
    """phi_K - phi_L (face,), K the owner."""
    source: Index
    """Upstream cell (face,)."""
    target: Index
    """Downstream cell (face,)."""
    conductance: Array
    """tau T_s theta_s (face,) in the direction of the flow."""

    @property
    def speed(self) -> Array:
        """tau T_s theta_s |D_s| (face,)."""
        return np.asarray(self.conductance * np.abs(self.drop))


class Point(NamedTuple):
    """An iterate."""

    phi: Array
    """Potential (cell,)."""
    density: Array
    """rho > 0 (cell,)."""


class MinimisingTransport(Protocol):
    """The transport part of a step as the interior point sees it; `faces` is whatever its other methods take."""

    @property
    def mesh(self) -> Mesh:
        """The mesh."""

    @property
    def mass(self) -> float:
        """Total mass."""

    @property
    def mean(self) -> float:
        """Mean density."""

    @property
    def before(self) -> Array:
        """rho^n (cell,)."""

    def faces(self, phi: Array) -> Any:
        """What a potential (cell,) makes of the faces."""

    def continuity(self, density: Array, faces: Any) -> Array:
        """|K| (rho - rho^n) + outflow (cell,)."""

    def hamilton_jacobi(self, phi: Array, faces: Any) -> Array:
        """q (cell,), which equals E' at the minimiser."""

    def schur(self, solver: MeshSystemSolver, density: Array, faces: Any, weight: Array) -> Schur:
        """The Schur complement of Newton's method at a density (cell,), `weight` = 1/(|K| E'') (cell,)."""


@dataclass(frozen=True, eq=False)
class _StepData:
    """What is moved in a step, and where."""

    mesh: Mesh
    before: Array
    """rho^n (cell,)."""
    mass: float
    """Total mass."""

    @property
    def mean(self) -> float:
        """Mean density."""
        return self.mass / float(self.mesh.volume.sum())


@dataclass(frozen=True, eq=False)
class TransportStep(_StepData):
    """One step tau from rho^n on a mesh, with theta_s for either direction; see `UpstreamRatio`."""

    triangular: UpwindTriangular
    forward: Array
    """tau T_s theta_s for mass that leaves the owner (face,)."""
    backward: Array
    """tau T_s theta_s for mass that leaves the neighbour (face,)."""

    def scaled(self, part: float) -> TransportStep:
        """The step of a part of the length."""
        return replace(self, forward=part * self.forward, backward=part * self.backward)

    def faces(self, phi: Array) -> Faces:
        """The faces as a potential (cell,) sees them."""
        owner, neighbour = self.mesh.owner, self.mesh.neighbour
        drop = phi[owner] - phi[neighbour]
        ahead = drop > 0
        source, target = np.where(ahead, owner, neighbour), np.where(ahead, neighbour, owner)
        return Faces(drop, source, target, np.where(ahead, self.forward, self.backward))

    def outflow(self, density: Array, faces: Faces) -> Array:
        """Mass that leaves each cell in the step (cell,), upstream densities taken from `density`."""
        return divergence(self.mesh, faces.conductance * density[faces.source] * faces.drop)

    def continuity(self, density: Array, faces: Faces) -> Array:
        """|K| (rho - rho^n) + outflow (cell,), 0 for a density that the step carries."""
        return self.mesh.volume * (density - self.before) + self.outflow(density, faces)

    def hamilton_jacobi(self, phi: Array, faces: Faces) -> Array:
        """q_K = phi_K + 1/(2|K|) sum_{s leaving K} tau T_s theta_s D_s^2 (cell,), which equals E' at the minimiser."""
        kinetic = np.bincount(faces.source, 0.5 * faces.speed * np.abs(faces.drop), len(phi))
        return np.asarray(phi + kinetic / self.mesh.volume)

    def potential(self, q: Array) -> Array:
        """phi (cell,) of which `hamilton_jacobi` is q (cell,), in the order of ascending phi."""
        return self.triangular.potential(q, self.forward, self.backward, self.mesh.volume)

    def schur(
        self, solver: MeshSystemSolver, density: Array, faces: Faces, weight: Array, last: Faces | None = None
    ) -> SchurComplement:
        """The Schur complement of Newton's method at a density (cell,), `weight` = 1/(|K| E'') (cell,).

        A face whose flow has turned since the iterate of `last` counts in A with the larger density of its two cells.
        """
        upstream = density[faces.source]
        if last is not None:
            turned = faces.source != last.source
            upstream = np.where(turned, np.maximum(upstream, density[faces.target]), upstream)
        flow = faces.conductance * upstream
        return SchurComplement(solver, self.mesh.volume, faces.source, faces.target, faces.speed, flow, weight)

    def matrix(self, phi: Array) -> FaceMatrix:
        """The matrix of implicit upwind transport along phi, an M-matrix."""
        drop = phi[self.mesh.owner] - phi[self.mesh.neighbour]
        down, up = self.forward * np.maximum(drop, 0.0), self.backward * np.maximum(-drop, 0.0)
        return FaceMatrix(self.mesh.volume, self.mesh.owner, self.mesh.neighbour, down, up)

    def transported(self, phi: Array) -> Array:
        """The density (cell,) that phi carries: of the mass of rho^n, and non-negative, for any phi."""
        return self.triangular.solve(self.matrix(phi), phi, self.mesh.volume * self.before)

    def cost(self, phi: Array, density: Array) -> float:
        """1/2 sum_s tau T_s theta_s rho_s D_s^2, the discrete W2^2(rho^n, rho)/(2 tau)."""
        faces = self.faces(phi)
        return 0.5 * inner(faces.conductance * density[faces.source], faces.drop**2)


@dataclass(frozen=True, eq=False)
class CentredTransportStep(_StepData):
    """One step tau from rho^n on a mesh with the mobility (rho_K + rho_L + rho^n_K + rho^n_L)/4; see `JKO`."""

    conductance: Array
    """tau T_s (face,)."""

    def faces(self, phi: Array) -> Array:
        """The drop phi_K - phi_L of a potential (cell,) over each face (face,)."""
        return phi[self.mesh.owner] - phi[self.mesh.neighbour]

    def flow(self, density: Array) -> Array:
        """tau T_s m_s (face,)."""
        both = density + self.before
        return 0.25 * self.conductance * (both[self.mesh.owner] + both[self.mesh.neighbour])

    def continuity(self, density: Array, drop: Array) -> Array:
        """|K| (rho - rho^n) + outflow (cell,)."""
        return self.mesh.volume * (density - self.before) + divergence(self.mesh, self.flow(density) * drop)

    def hamilton_jacobi(self, phi: Array, drop: Array) -> Array:
        """q_K = phi_K + tau/(8|K|) sum_s T_s D_s^2 (cell,), which equals E' at the minimiser."""
        return phi + self.kinetic(drop) / self.mesh.volume

    def kinetic(self, drop: Array) -> Array:
        """(tau/8) sum_s T_s D_s^2 of each cell (cell,)."""
        share, cells = 0.125 * self.conductance * drop**2, self.mesh.cells
        kinetic = np.bincount(self.mesh.owner, share, cells) + np.bincount(self.mesh.neighbour, share, cells)
        return np.asarray(kinetic)

    def schur(self, solver: MeshSystemSolver, density: Array, drop: Array, weight: Array) -> CentredSchurComplement:
        """The Schur complement of Newton's method at a density (cell,), `weight` = 1/(|K| E'') (cell,)."""
        speed = 0.25 * self.conductance * drop
        return CentredSchurComplement(solver, self.mesh, self.mesh.volume, speed, self.flow(density), weight)
