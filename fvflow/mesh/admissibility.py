"""Whether two-point fluxes are consistent and monotone on a mesh."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from fvflow.errors import CaseError
from fvflow.mesh.cell_geometry import place
from fvflow.mesh.core import Array, Mesh

_COINCIDENT = 1e-6  # distance of centres that counts as none, of the cells' size


@dataclass(frozen=True, eq=False)
class Admissibility:
    """How far a mesh is from one whose faces are orthogonal to the lines between centres, T > 0."""

    mesh: Mesh
    SLANTED: ClassVar[float] = 1e-3  # radians that the line between two centres may be off the normal of their face

    @property
    def angle(self) -> Array:
        """Angle between x_L - x_K and the normal of each face, in radians (face,)."""
        mesh = self.mesh
        ahead = mesh.centre[mesh.neighbour] - mesh.centre[mesh.owner]
        across = np.linalg.norm(ahead - mesh.distance[:, None] * mesh.normal, axis=1)
        return np.asarray(np.arctan2(across, mesh.distance))

    @property
    def closeness(self) -> Array:
        """Distance of the centres beside each face, in cell sizes |K|^(1/dim) (face,)."""
        mesh = self.mesh
        size = mesh.volume ** (1 / mesh.dimension)
        return np.asarray(mesh.distance / np.minimum(size[mesh.owner], size[mesh.neighbour]))

    @property
    def smallness(self) -> Array:
        """Area of each face over that of a cube as large as the smaller cell beside it (face,)."""
        mesh = self.mesh
        size = mesh.volume ** (1 / mesh.dimension)
        return np.asarray(mesh.area / np.minimum(size[mesh.owner], size[mesh.neighbour]) ** (mesh.dimension - 1))

    def require(self, remedy: str, slanted: bool = False) -> None:
        """Refuse a mesh with T <= 0 or infinite, or, unless `slanted`, one without orthogonality: CaseError."""
        close, angle = self.closeness, self.angle
        bad = ~(close > _COINCIDENT)  # NaN is bad too
        if bad.any():
            order = ", in the wrong order" if close.min() < -_COINCIDENT else ""
            told = f"have centres {abs(close.min()):.2g} cell sizes apart along their normal{order}"
            self._refuse(bad, close, f"{told}; {remedy}")
        bad = ~(angle <= self.SLANTED)
        if not slanted and bad.any():
            told = f"are joined by a line {angle.max():.2g} rad off their normal: two-point fluxes are not consistent"
            self._refuse(bad, -angle, f"{told}; {remedy}")

    def _refuse(self, bad: NDArray[np.bool], measure: Array, told: str) -> None:
        """A sentence on the face of the least measure."""
        mesh, worst = self.mesh, int(np.argmin(measure))
        cells = f"cells {mesh.owner[worst]} and {mesh.neighbour[worst]} at {place(mesh.centre[mesh.owner[worst]])}"
        raise CaseError(f"{cells}, the worst of {bad.sum()} pairs of {mesh.faces}, {told}")
