"""The density on a face, as a ratio to that of the upstream cell."""

from __future__ import annotations

from typing import Literal

import numpy as np

from fvflow.linalg import inner
from fvflow.mesh import Array, Mesh
from fvflow.problems.gradient_flow import FaceDensity
from fvflow.steppers.reconstruction import reconstruction

Mobility = Literal["limited", "upwind"]

_LEAST, _LARGEST = 0.5, 2.0  # ratios of a face density to that of the upstream cell
_RESOLVED = 1e-6  # relative to the mean: slopes of much smaller densities are the round-off of steps that subtract


class UpstreamRatio:
    """theta_{K->L} with rho_s = theta_{K->L} rho_K for a face that the mass leaves K through.

    `upwind`: 1. `limited`: clip(1 + rise/max(rho^n_K, 1e-6 mean), 1/2, 2), the rise from K to the face being that of a
    limited reconstruction of the density before the step: second order in space where the density is smooth and
    neighbours differ less than threefold, 1 at extrema and in cells that are empty but for round-off. Each face has one
    ratio for either direction, so that the transport matrix of a step remains an M-matrix and its transport cost
    convex.
    """

    def __init__(self, mesh: Mesh, mobility: Mobility) -> None:
        self._mesh = mesh
        self._upwind = mobility == "upwind" or not mesh.faces
        if not self._upwind:
            self._sides = reconstruction(mesh, "monotonised-central" if mesh.edges is None else "van-leer")

    def density(self, density: Array, drop: Array) -> Array:
        """rho_s (face,) for mass that leaves the owner where the drop (face,) is positive, else the neighbour."""
        forward, backward = self(density)
        own, other = density[self._mesh.owner], density[self._mesh.neighbour]
        return np.where(drop > 0, forward * own, backward * other)

    def __call__(self, density: Array) -> tuple[Array, Array]:
        """The ratios (face,) for mass that leaves the owner, and for mass that leaves the neighbour."""
        mesh = self._mesh
        if self._upwind:
            return np.ones(mesh.faces), np.ones(mesh.faces)
        scale = np.maximum(density, _RESOLVED * inner(mesh.volume, density) / float(mesh.volume.sum()))
        own, other = (
            np.clip(1.0 + rise / scale[cell], _LEAST, _LARGEST)
            for cell, rise in zip((mesh.owner, mesh.neighbour), self._sides.rises(density), strict=True)
        )
        return own, other


def face_mean(mesh: Mesh) -> FaceDensity:
    """(rho_K + rho_L)/2 of each face (face,), whichever way the mass goes."""
    return lambda density, drop: 0.5 * (density[mesh.owner] + density[mesh.neighbour])
