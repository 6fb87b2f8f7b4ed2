"""Transport down a potential: the matrix is triangular if cells are ordered by the potential."""

from __future__ import annotations

from typing import Any

import numpy as np

from fvflow.jit import kernel
from fvflow.linalg.eikonal import march_upstream
from fvflow.linalg.matrix import FaceMatrix
from fvflow.mesh import Array, Index, Mesh


class UpwindTriangular:
    """Flow from cells of higher to cells of lower phi: it has no cycles, so one pass over the cells suffices."""

    def __init__(self, mesh: Mesh) -> None:
        cell = np.concatenate([mesh.owner, mesh.neighbour])
        face = np.tile(np.arange(mesh.faces, dtype=np.int32), 2)
        self._face = face[np.argsort(cell, kind="stable")]  # the faces of each cell, in compressed rows
        self._first = np.concatenate([[0], np.cumsum(np.bincount(cell, minlength=mesh.cells))])

        self._owner, self._neighbour = mesh.owner, mesh.neighbour

    def solve(self, matrix: FaceMatrix, phi: Array, right: Array) -> Array:
        """x (cell,) with M x = b, M triangular with the cells in order of descending phi.

        Only adds and divides numbers >= 0: every entry is accurate to a few ulp, and none is negative.
        """
        x = right.copy()
        faces = self._first, self._face, self._owner, self._neighbour
        substitute_downstream(_descending_order(phi), *faces, matrix.down, matrix.up, matrix.volume, x)
        return x

    def potential(self, q: Array, forward: Array, backward: Array, volume: Array) -> Array:
        """phi (cell,) with phi_K + sum_s a_s (phi_K - phi_L)_+^2/(2 |K|) = q_K, for any q (cell,).

        a (face,) is `forward` where K is the owner and `backward` where it is the neighbour.
        """
        phi = q.copy()
        faces = self._first, self._face, self._owner, self._neighbour
        march_upstream(*faces, forward, backward, volume, q, phi)
        return phi

    def limit_outflow(self, flux: Array, phi: Array, mass: Array) -> tuple[Array, Array, float]:
        """The masses (cell,) after the fluxes (face,), each cell's outflow scaled down to the mass that it has.

        Returns them, the scaled fluxes, and the total outflow held back, which is 0 unless a mass would have become
        negative.
        """
        x, limited, faces = mass.copy(), flux.copy(), (self._first, self._face, self._owner, self._neighbour)
        kept = limit_outflow(_descending_order(phi), *faces, limited, x)
        return x, limited, float(kept)


def _descending_order(phi: Array) -> Index:
    return np.argsort(-phi, kind="stable").astype(np.int32)


@kernel()
def substitute_downstream(
    order: Any, first: Any, face: Any, owner: Any, neighbour: Any, down: Any, up: Any, volume: Any, x: Any
) -> None:
    """Replace the masses x by the densities after the step, in place."""
    for cell in order:
        total = volume[cell]
        for index in range(first[cell], first[cell + 1]):
            total += down[face[index]] if owner[face[index]] == cell else up[face[index]]
        x[cell] /= total
        for index in range(first[cell], first[cell + 1]):
            s = face[index]
            if owner[s] == cell:
                x[neighbour[s]] += down[s] * x[cell]
            else:
                x[owner[s]] += up[s] * x[cell]


@kernel()
def limit_outflow(order: Any, first: Any, face: Any, owner: Any, neighbour: Any, flux: Any, x: Any) -> Any:
    """Limit the fluxes and replace the masses x by those after them, in place; returns the outflow held back."""
    kept = 0.0
    for cell in order:
        leaving = 0.0
        for index in range(first[cell], first[cell + 1]):
            s = face[index]
            leaving += max(flux[s] if owner[s] == cell else -flux[s], 0.0)
        part = 1.0
        if leaving > x[cell]:
            part = x[cell] / leaving
            kept += leaving - x[cell]
            x[cell] = 0.0
        else:
            x[cell] -= leaving
        for index in range(first[cell], first[cell + 1]):
            s = face[index]
            ahead = owner[s] == cell
            leaving = max(flux[s] if ahead else -flux[s], 0.0)
            x[neighbour[s] if ahead else owner[s]] += part * leaving
            if part < 1.0 and leaving > 0.0:
                flux[s] *= part
    return kept
