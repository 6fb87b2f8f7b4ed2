"""W2 of the densities of a step as a proved interval, for less work than between any two."""

from __future__ import annotations

from fvflow.errors import CaseError
from fvflow.mesh import Array, Mesh
from fvflow.wasserstein import bounds, bounds_available

_SPLIT, _MANY = 16, 65536  # small meshes are split into so many cells each, up to as many in all, large ones into 4


def require_w2(mesh: Mesh) -> None:
    """Raise CaseError unless `w2_interval` is known on a mesh."""
    if not bounds_available(mesh):
        raise CaseError(
            "W2 is proved on lines, and on boxes with walls on all sides, which this mesh is not; leave it out, or use "
            "a mesh of kind box or graded"
        )


def w2_interval(mesh: Mesh, first: Array, second: Array, width: float) -> tuple[float, float]:
    """lower <= W2 <= upper of two densities (cell,) of the same mass, as `bounds`; on a line exact, to round-off."""
    found = bounds(mesh, first, second, width=width, cells=max(4 * mesh.cells, min(_SPLIT * mesh.cells, _MANY)))
    return float(found.lower), float(found.upper)
