"""Dynamic optimal transport on any mesh: a primal-dual interior point for two-point fluxes.

    minimise  sum_k dt sum_s T_s d_s^2 m_s^2 / (2 rho_s)   under   |K| (rho^{k+1} - rho^k)/dt + sum_s (+-) area m_s = 0

with rho_s the weighted mean of the two cells of s, at the middle of the interval. Eliminating m = rho_s grad phi and
adding -mu sum |K| log rho leaves, with (G phi)_s = phi_L - phi_K, R the mean to faces, M that in time, slack z,

    continuity       |K| D rho / dt - G^T (T (R M rho) G phi) = 0                          for each interval
    Hamilton-Jacobi  |K| (phi^k - phi^{k-1})/dt + M^T R^T (T (G phi)^2/2) + |K| z = 0       at each inner node
    complementarity  rho z = mu.

Newton: with B the derivative of continuity in rho, C = |K| z/rho and A = G^T T (R M rho) G, the unknowns rho and z
are eliminated and S = A + B C^-1 B^T is symmetric positive definite once one phi is fixed. The step goes .995 of the
way to the boundary rho, z >= 0 and mu follows the mean of rho z. Natale, Todeschi, Computation of optimal transport
with finite volumes, ESAIM: M2AN 55 (2021).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt
from typing import Annotated, Any, Literal

import numpy as np
from annotated_types import Ge, Gt, Lt

from fvflow.linalg import factorise
from fvflow.mesh import Array, Mesh
from fvflow.transport.geodesic import Geodesic, owner_share, resting

_CENTERING = 0.15  # mu aims at this part of the mean of rho z
_BOUNDARY = 0.995
_PATIENCE = 100.0  # mu waits while the residual is so many times the gap


@dataclass(frozen=True)
class InteriorPoint:
    """Newton steps along the central path, each a sparse factorisation in space and time: exact, for small meshes."""

    tolerance: Annotated[float, Gt(0), Lt(1)] = 1e-9
    iterations: Annotated[int, Ge(1)] = 200
    kind: Literal["interior-point"] = "interior-point"

    def fits(self, mesh: Mesh) -> None:
        """Any mesh does."""

    def solve(
        self,
        mesh: Mesh,
        initial: Array,
        target: Array,
        intervals: int,
        progress: Callable[[int, float], None] | None = None,
    ) -> Geodesic:
        """The geodesic between two densities (cell,) of the same mass."""
        if (still := resting(mesh, initial, target, intervals)) is not None:
            return still
        return _Newton(mesh, initial, target, intervals, self).run(progress)


class _Newton:
    def __init__(self, mesh: Mesh, initial: Array, target: Array, intervals: int, settings: InteriorPoint) -> None:
        from scipy.sparse import csr_matrix, diags, eye, kron

        self.mesh, self.settings, self.count = mesh, settings, intervals
        self.dt = 1.0 / intervals
        self.mean = float(initial @ mesh.volume / mesh.volume.sum())
        self.ends = initial / self.mean, target / self.mean
        cells, faces, share = mesh.cells, mesh.faces, owner_share(mesh)
        rows, ones = np.arange(faces), np.ones(faces)
        pair = np.concatenate([rows, rows]), np.concatenate([mesh.owner, mesh.neighbour])
        self.G = csr_matrix((np.concatenate([-ones, ones]), pair), (faces, cells))
        self.R = csr_matrix((np.concatenate([share, 1.0 - share]), pair), (faces, cells))
        inner, one = intervals - 1, np.ones(intervals - 1)
        shape = (intervals, inner)
        change: Any = diags([one, -one], [0, -1], shape=shape)
        mean: Any = diags([0.5 * one, 0.5 * one], [0, -1], shape=shape)
        self.D = kron(change / self.dt, diags(mesh.volume)).tocsr()
        self.M = kron(mean, eye(cells)).tocsr()

    def run(self, progress: Callable[[int, float], None] | None) -> Geodesic:
        """Newton steps until gap and residuals are below the tolerance."""
        from scipy.sparse import block_diag, csc_matrix, diags

        g, s, n = self.mesh, self.settings, self.count
        weight = np.tile(g.volume, n - 1)
        t = self.dt * np.arange(1, n)[:, None]
        rho = 0.5 * ((1.0 - t) * self.ends[0] + t * self.ends[1] + 1.0)
        phi = np.tile(self._potential(), (n, 1))
        z = float(phi[0] @ (g.volume * (self.ends[1] - self.ends[0]))) / float(g.volume.sum()) / rho
        for iteration in range(s.iterations + 1):
            balance, jacobi, faces, slope = self._residuals(rho, phi)
            dual = jacobi + g.volume * z
            action = self.dt * float((0.5 * g.transmissibility * faces * slope**2).sum())
            gap = self.dt * float(weight @ (rho * z).ravel())
            relative = gap / max(action, 1e-300)
            # in the units of the action: what a change of phi, rho of their own size would make of the residuals
            size = max(np.ptp(phi), 1e-300) * g.volume.sum()
            residual = max(
                self.dt * float(np.abs(balance).sum()) / g.volume.sum(),
                self.dt * float((np.abs(dual) * np.maximum(rho, 1.0)).sum()) / size,
            )
            if progress is not None:
                progress(iteration, max(relative, residual))
            if max(relative, residual) <= s.tolerance or iteration == s.iterations:
                break
            mean = gap / (self.dt * weight.sum())
            mu = mean * (_CENTERING if residual <= _PATIENCE * relative else 1.0)
            target = (jacobi + g.volume * mu / rho).ravel()
            inverse = (rho / (g.volume * z)).ravel()  # C^-1
            B = self._transport(slope)
            A = block_diag([self.G.T @ diags(g.transmissibility * f) @ self.G for f in faces])
            S = csc_matrix(A + B @ diags(inverse) @ B.T)
            right = balance.ravel() + B @ (inverse * target)
            step = np.zeros(phi.size)
            step[1:] = factorise(S[1:, 1:].tocsc()).solve(right[1:])
            d_rho = (inverse * (target - B.T @ step)).reshape(rho.shape)
            d_z = mu / rho - z - z / rho * d_rho
            length = min(1.0, _BOUNDARY * _reach(rho, d_rho), _BOUNDARY * _reach(z, d_z))
            rho, z, phi = rho + length * d_rho, z + length * d_z, phi + length * step.reshape(phi.shape)
        whole = np.concatenate([self.ends[:1], rho, self.ends[1:]]) * self.mean
        flux = self.mean * faces * slope / g.distance
        left = max(relative, residual)
        w2 = sqrt(2.0 * action * self.mean)
        return Geodesic(g, whole, flux, phi, w2, left, iteration, left <= s.tolerance, 0.5 * relative)

    def _potential(self) -> Array:
        """phi that moves the one density into the other where both meet a rho of 1: -div grad phi = rho^0 - rho^N."""
        from scipy.sparse import csc_matrix, diags

        g = self.mesh
        right = g.volume * (self.ends[1] - self.ends[0])
        stiffness = csc_matrix(self.G.T @ diags(g.transmissibility) @ self.G)
        phi = np.zeros(len(right))
        phi[1:] = factorise(stiffness[1:, 1:].tocsc()).solve(right[1:])
        return phi

    def _residuals(self, rho: Array, phi: Array) -> tuple[Array, Array, Array, Array]:
        """Continuity, Hamilton-Jacobi without slack, rho on the faces and G phi, each by interval or node."""
        g = self.mesh
        whole = np.concatenate([self.ends[:1], rho, self.ends[1:]])
        faces = (self.R @ (0.5 * (whole[1:] + whole[:-1])).T).T
        slope = (self.G @ phi.T).T
        balance = g.volume * np.diff(whole, axis=0) / self.dt - (self.G.T @ (g.transmissibility * faces * slope).T).T
        kinetic = (self.R.T @ (0.5 * g.transmissibility * slope**2).T).T
        jacobi = g.volume * np.diff(phi, axis=0) / self.dt + 0.5 * (kinetic[1:] + kinetic[:-1])
        return balance, jacobi, faces, slope

    def _transport(self, slope: Array) -> Any:
        """B, the derivative of continuity in rho at the inner nodes."""
        from scipy.sparse import block_diag, csr_matrix, diags

        flux = block_diag([self.G.T @ diags(self.mesh.transmissibility * v) @ self.R for v in slope], "csr")
        return csr_matrix(self.D - flux @ self.M)


def _reach(value: Array, step: Array) -> float:
    """How many steps there are to the boundary."""
    falling = step < 0.0
    return float((-value[falling] / step[falling]).min()) if falling.any() else np.inf
