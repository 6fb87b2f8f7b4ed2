"""The cells of a mesh in which given points lie."""

from __future__ import annotations

import numpy as np

from fvflow.mesh.arrays import Array, Index, freeze_index
from fvflow.mesh.core import Mesh
from fvflow.mesh.overlap import candidates
from fvflow.mesh.pieces import simplices

_ROUND_OFF = 1e-10  # distance from a wall, relative to the height of a simplex, within which a point is inside
_CHUNK = 2**18  # points at a time


def cells_of(mesh: Mesh, points: Array) -> Index:
    """The cell in which each point (point, dim) lies (point,), -1 for points outside the mesh.

    A point between cells belongs to one of them: on a grid to the upper one, unless it is on the wall. Along periodic
    axes no point is outside.
    """
    if mesh.edges is not None:
        return _cells_of_grid(mesh, points)
    shelters = mesh.shelters()
    if shelters is not None:  # cells about nodes, which no list of corners describes
        return _nearest_centres(mesh, points, *shelters)
    vertices, corners, cell = simplices(mesh.points, mesh.cell_points)
    return _in_chunks(points, cell, vertices[corners].transpose(1, 2, 0))


def _cells_of_grid(mesh: Mesh, points: Array) -> Index:
    assert mesh.edges is not None
    number, stride, inside = np.zeros(len(points), np.int64), 1, np.ones(len(points), bool)
    for edge, x in zip(mesh.edges, mesh.inside_period(points).T, strict=True):
        count = len(edge) - 1
        inside &= (x >= edge[0]) & (x <= edge[-1])
        number += stride * np.clip(np.searchsorted(edge, x, side="right") - 1, 0, count - 1)
        stride *= count
    return freeze_index(np.where(inside, number, -1))


def _nearest_centres(mesh: Mesh, points: Array, corners: Array, owners: Index | None) -> Index:
    """The cell of the nearest centre among those of the simplex that each point lies in."""
    number = np.arange(len(corners), dtype=np.int32)
    simplex = _in_chunks(points, number, corners.transpose(1, 2, 0))
    if owners is None:
        from scipy.spatial import cKDTree

        return freeze_index(np.where(simplex >= 0, cKDTree(mesh.centre).query(points)[1], -1))
    least, found = np.full(len(points), np.inf), np.full(len(points), -1, np.int32)
    for column in owners.T:
        cell = np.where(simplex >= 0, column[simplex], -1)
        distance = np.where(cell >= 0, ((points - mesh.centre[cell]) ** 2).sum(axis=1), np.inf)
        found = np.where(distance < least, cell, found)
        least = np.minimum(distance, least)
    return freeze_index(found)


def _in_chunks(points: Array, cell: Index, corner: Array) -> Index:
    """The cell of the simplex that each point lies deepest in (point,), -1 if it lies in none."""
    from scipy.spatial import KDTree

    order = KDTree(corner.mean(axis=0).T, leafsize=1).indices  # those close in space are close in memory
    cell, corner = cell[order], np.ascontiguousarray(corner[:, :, order])
    with np.errstate(all="ignore"):  # a flat simplex contains no point
        frame = _inverse(np.moveaxis(corner[1:] - corner[0], 2, 0))
    found = np.full(len(points), -1, np.int32)
    for first in range(0, len(points), _CHUNK):
        part = points[first : first + _CHUNK]
        inner = KDTree(part, leafsize=1).indices
        found[first + inner] = _located(part[inner], cell, corner, frame)
    return freeze_index(found)


def _inverse(edges: Array) -> Array:
    """The inverses of matrices (simplex, axis, axis), NaN for singular ones."""
    regular = np.linalg.det(edges) != 0
    inverse = np.full_like(edges, np.nan)
    inverse[regular] = np.linalg.inv(edges[regular])
    return inverse


def _located(points: Array, cell: Index, corner: Array, frame: Array) -> Index:
    depth, found = np.full(len(points), -_ROUND_OFF), np.full(len(points), -1, np.int32)
    margin = _ROUND_OFF * np.ptp(corner, axis=(0, 2))[:, None]
    for here, there in candidates(corner, np.stack([points.T - margin, points.T + margin])):
        local = np.einsum("pa,pac->pc", points[there] - corner[0][:, here].T, frame[here])
        least = np.minimum(local.min(axis=1), 1.0 - local.sum(axis=1))  # of the barycentric coordinates
        deeper = least > depth[there]  # False for NaN
        point, least, owner = there[deeper], least[deeper], cell[here[deeper]]
        order = np.lexsort((-owner, least))  # of equals, the lowest cell comes last and is kept
        depth[point[order]], found[point[order]] = least[order], owner[order]
    return found
