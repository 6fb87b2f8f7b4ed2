"""Whether two-point fluxes are consistent and monotone on a mesh."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from fvflow.errors import CaseError
from fvflow.mesh.arrays import Array
from fvflow.mesh.cell_geometry import format_point
from fvflow.mesh.core import Mesh

_COINCIDENT = 1e-6  # distance below which two centres coincide, in cell sizes


@dataclass(frozen=True, eq=False)
class Admissibility:
    """Measures of how close a mesh is to an admissible one.

    A mesh is admissible if its faces are orthogonal to the lines between the centres and T = |s|/d is positive and
    finite (Eymard, Gallouet, Herbin, Finite Volume Methods, 2000, Definition 9.1).
    """

    mesh: Mesh
    MAX_ANGLE: ClassVar[float] = 1e-3
    """Largest angle in radians between x_L - x_K and the normal of the face that counts as orthogonal."""

    @property
    def angle(self) -> Array:
        """Angle between x_L - x_K and the normal of each face, in radians (face,)."""
        mesh = self.mesh
        ahead = mesh.centre[mesh.neighbour] - mesh.centre[mesh.owner]
        across = np.linalg.norm(ahead - mesh.distance[:, None] * mesh.normal, axis=1)
        return np.asarray(np.arctan2(across, mesh.distance))

    @property
    def relative_distance(self) -> Array:
        """Distance of the centres beside each face, in sizes |K|^(1/dim) of the smaller cell (face,)."""
        mesh = self.mesh
        size = mesh.cell_size
        return np.asarray(mesh.distance / np.minimum(size[mesh.owner], size[mesh.neighbour]))

    @property
    def relative_area(self) -> Array:
        """Area of each face over that of a cube of the volume of the smaller cell beside it (face,)."""
        mesh = self.mesh
        size = mesh.cell_size
        return np.asarray(mesh.area / np.minimum(size[mesh.owner], size[mesh.neighbour]) ** (mesh.dimension - 1))

    @property
    def monotone(self) -> bool:
        """Whether T is positive and finite."""
        return bool((self.relative_distance > _COINCIDENT).all())  # NaN is not

    @property
    def orthogonal(self) -> bool:
        """Whether the faces are orthogonal to the lines between the centres."""
        return bool((self.angle <= self.MAX_ANGLE).all())

    def require(self, remedy: str, orthogonal: bool = True) -> None:
        """Raise CaseError with the remedy if T <= 0 or T is infinite, or if `orthogonal` and the mesh is not."""
        distance, angle = self.relative_distance, self.angle
        bad = ~(distance > _COINCIDENT)  # NaN is bad too
        if bad.any():
            order = ", in the wrong order" if distance.min() < -_COINCIDENT else ""
            fault = f"have centres {abs(distance.min()):.2g} cell sizes apart along their normal{order}"
            self._refuse(bad, distance, f"{fault}; {remedy}")
        bad = ~(angle <= self.MAX_ANGLE)
        if orthogonal and bad.any():
            fault = f"are joined by a line {angle.max():.2g} rad off their normal: two-point fluxes are not consistent"
            self._refuse(bad, -angle, f"{fault}; {remedy}")

    def _refuse(self, bad: NDArray[np.bool], measure: Array, fault: str) -> None:
        """Raise CaseError that names the cells beside the face of the smallest measure."""
        mesh, worst = self.mesh, int(np.argmin(measure))
        at = format_point(mesh.centre[mesh.owner[worst]])
        cells = f"cells {mesh.owner[worst]} and {mesh.neighbour[worst]} at {at}"
        raise CaseError(f"{cells}, the worst of {bad.sum()} pairs of {mesh.faces}, {fault}")
