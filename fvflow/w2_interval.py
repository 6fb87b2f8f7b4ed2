"""W2 of two densities as a proved interval, by whichever bounds are the narrowest."""

from __future__ import annotations

from fvflow.errors import CaseError
from fvflow.mesh import Array, Mesh
from fvflow.wasserstein import bounds, bounds_available
from fvflow.wasserstein.small_distance import small_distance_bounds

_SPLIT, _MANY = 16, 65536  # small meshes are split into so many cells each, up to as many in all, large ones into 4
_EQUAL = 1e-6  # of a cell: nonuniformity of a grid up to which its cells count as equal


def require_w2(mesh: Mesh) -> None:
    """Raise CaseError unless `w2_interval` is known on a mesh."""
    if not bounds_available(mesh):
        raise CaseError(
            "W2 is proved on lines, and on boxes with walls on all sides, which this mesh is not; leave it out, or use "
            "a mesh of kind box or graded"
        )


def w2_interval(mesh: Mesh, first: Array, second: Array, width: float) -> tuple[float, float]:
    """lower <= W2 <= upper of two densities (cell,) of the same mass; on a line exact, to round-off.

    On boxes plans and potentials (`bounds`) to a relative `width`; where they do not reach it, as below a cell, also
    `small_distance_bounds`, if the cells are equal. Raises CaseError if the masses differ or the mesh is no box.
    """
    found = bounds(mesh, first, second, width=width, cells=max(4 * mesh.cells, min(_SPLIT * mesh.cells, _MANY)))
    if mesh.dimension == 1 or found.width <= width or not mesh.nonuniformity <= _EQUAL:
        return float(found.lower), float(found.upper)
    lower, upper = small_distance_bounds(mesh, first, second, width)
    return float(max(lower, found.lower)), float(min(upper, found.upper))
