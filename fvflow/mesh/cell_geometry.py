"""Single cells: their faces, their orientation, and checks for degenerate shapes."""

from __future__ import annotations

import numpy as np

from fvflow.errors import CaseError
from fvflow.mesh.arrays import Array, Index

# The faces of each solid by its number of corners, both in VTK's order, with outward normals.
FACES = {
    4: [[0, 2, 1], [0, 1, 3], [1, 2, 3], [2, 0, 3]],
    5: [[0, 3, 2, 1], [0, 1, 4], [1, 2, 4], [2, 3, 4], [3, 0, 4]],
    6: [[0, 2, 1], [3, 4, 5], [0, 1, 4, 3], [1, 2, 5, 4], [2, 0, 3, 5]],
    8: [[0, 3, 2, 1], [4, 5, 6, 7], [0, 1, 5, 4], [1, 2, 6, 5], [2, 3, 7, 6], [3, 0, 4, 7]],
}
_MIRRORED = {4: [0, 2, 1, 3], 5: [0, 3, 2, 1, 4], 6: [0, 2, 1, 3, 5, 4], 8: [0, 3, 2, 1, 4, 7, 6, 5]}
_FLAT = 1e-10  # measure below which a cell is flat, relative to that of its bounding cube


def format_point(point: Array) -> str:
    """A position (dim,) in a message: (x, y, z) with four digits."""
    return "(" + ", ".join(f"{value:.4g}" for value in point) + ")"


def without_repeated_corners(cell_points: Index, dimension: int) -> Index:
    """The cells (cell, corner), where polygons lose each corner that repeats the one before it.

    A triangle is often written as a quadrilateral with a side of zero length. Raises CaseError for a solid with a
    repeated corner, and for a polygon that has fewer than three corners left or repeats one elsewhere.
    """
    ordered = np.sort(cell_points, axis=1)
    repeated = ((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)).any(axis=1)
    if not repeated.any():
        return cell_points
    cleaned = cell_points.copy()
    for cell in np.flatnonzero(repeated) if dimension == 2 else ():
        row = cell_points[cell][cell_points[cell] >= 0]
        row = row[row != np.roll(row, -1)]
        repeated[cell] = len(np.unique(row)) < max(len(row), 3)
        cleaned[cell] = -1
        cleaned[cell, : len(row)] = row
    if repeated.any():
        first = int(np.argmax(repeated))
        nodes = cell_points[first].tolist()
        raise CaseError(f"cell {first} has a node twice ({nodes}); write it as the polygon or solid that it is")
    return cleaned


def consistently_oriented(points: Array, cell_points: Index) -> Index:
    """The cells (cell, corner), all with the positive orientation: counter-clockwise, or as VTK orders solids.

    Raises CaseError for cells that are flat, folded or not star-shaped.
    """
    oriented = cell_points.copy()
    sizes = (cell_points >= 0).sum(axis=1)
    for size in np.unique(sizes):
        part = np.flatnonzero(sizes == size)
        corners, solid = cell_points[part, :size], points.shape[1] == 3
        least, most, scale = _signed(points, corners)
        inverted = -least > most
        corners[inverted] = corners[inverted][:, _MIRRORED[int(size)] if solid else [0, *range(int(size) - 1, 0, -1)]]
        if not solid:
            corners = _start_in_kernel(points, corners)
        least, most, scale = _signed(points, corners)
        solid_enough, star_shaped = most > _FLAT * scale, least >= -_FLAT * scale
        for good, fault in ((solid_enough, "is flat"), (star_shaped, "is folded or not star-shaped")):
            if not good.all():
                cell = int(np.argmin(good))
                at = format_point(points[corners[cell]].mean(axis=0))
                raise CaseError(f"cell {part[cell]} at {at} {fault} ({(~good).sum()} in all); repair the mesh")
        oriented[part, :size] = corners
    return oriented


def _start_in_kernel(points: Array, corners: Index) -> Index:
    """Polygons rotated to begin with a corner in their kernel, one that sees all others, if there is one."""
    for _ in range(corners.shape[1] - 1):
        least, _, scale = _signed(points, corners)
        hidden = least < -_FLAT * scale
        if not hidden.any():
            break
        corners[hidden] = np.roll(corners[hidden], -1, axis=1)
    return corners


def _signed(points: Array, corners: Index) -> tuple[Array, Array, Array]:
    """Minimum and maximum signed measure of the simplices of each cell, and the measure of its bounding cube (cell,).

    The simplices are the triangles about the first corner of a polygon, or the tetrahedra between the mean of the
    corners of a solid and its faces.
    """
    x = points[corners]
    scale = np.ptp(x, axis=1).max(axis=1) ** points.shape[1]
    if points.shape[1] == 2:
        ahead = x[:, 1:] - x[:, :1]
        parts = _cross(ahead[:, :-1], ahead[:, 1:]) / 2
    else:
        apex = x.mean(axis=1)
        parts = np.concatenate([_cones(x[:, face], apex) for face in FACES[corners.shape[1]]], axis=1)
    return parts.min(axis=1), parts.max(axis=1), scale


def _cones(face: Array, apex: Array) -> Array:
    """Signed volumes of the tetrahedra between an apex and the triangles of a face about its mean (cell, side)."""
    centre = face.mean(axis=1) - apex
    first = face - apex[:, None]
    return np.asarray(np.einsum("cd,csd->cs", centre, np.cross(first, np.roll(first, -1, axis=1))) / 6)


def _cross(a: Array, b: Array) -> Array:
    return np.asarray(a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0])


def circumcentric_areas(corners: Array) -> Array:
    """The area (triangle, 3) of a triangle that is nearest to each corner (triangle, 3, dim), if no angle is obtuse.

    The circumcentre has the barycentric coordinates l; the corner i has the part (1 - l_i)/2.
    """
    squares = ((np.roll(corners, -1, axis=1) - np.roll(corners, 1, axis=1)) ** 2).sum(axis=2)  # of the opposite sides
    weights = squares * (squares.sum(axis=1, keepdims=True) - 2.0 * squares)
    area = 0.25 * np.sqrt(weights.sum(axis=1, keepdims=True))
    return np.asarray(0.5 * area * (1.0 - weights / weights.sum(axis=1, keepdims=True)))
