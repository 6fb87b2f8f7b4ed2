"""Delaunay meshes of given nodes, on which two-point fluxes are consistent and monotone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fvflow.errors import CaseError
from fvflow.mesh.arrays import Array, Index
from fvflow.mesh.elements import Elements

_FLIP_BELOW = -1e-12  # sum of the opposite cotangents below which an edge is flipped
_MAX_SWEEPS = 1000
_FLAT = 1e-9  # volume below which a tetrahedron is flat, relative to its bounding cube
_HULL_EXCESS = 0.02  # volume of the convex hull beyond that of the mesh, relative, above which the mesh is not convex
_Numbers = NDArray[np.int64]


def retriangulated(elements: Elements) -> Elements:
    """The Delaunay mesh of the nodes of triangles or tetrahedra.

    In the plane, edges are flipped, except those of walls and between regions (Lawson, Software for C1 surface
    interpolation, 1977). In space, the nodes are triangulated anew, which requires a convex domain of one region.
    Raises CaseError for other cells, regions and domains.
    """
    if elements.cell_points.shape[1] != elements.points.shape[1] + 1:
        raise CaseError("delaunay is for triangles or tetrahedra only; remove delaunay")
    return _flip_edges(elements) if elements.points.shape[1] == 2 else _triangulate_anew(elements)


def _flip_edges(elements: Elements) -> Elements:
    """Flip edges until the triangles are a constrained Delaunay mesh."""
    points, triangles = elements.points, _counter_clockwise(elements.points, elements.cell_points)
    member = np.array([*elements.regions.values(), np.zeros(len(triangles))])
    for _ in range(_MAX_SWEEPS):
        edge, first, second = _inner_edges(triangles, len(points))
        same_region = (member[:, first] == member[:, second]).all(axis=0)
        edge, first, second = edge[same_region], first[same_region], second[same_region]
        tips = [triangles[side].sum(axis=1) - edge.sum(axis=1) for side in (first, second)]
        cotangents = _cotangent(points, edge, tips[0]) + _cotangent(points, edge, tips[1])
        chosen = _independent(cotangents, first, second, len(triangles))
        if not len(chosen):
            return replace(elements, cell_points=triangles)
        (a, b), (c, d) = edge[chosen].T, (tip[chosen] for tip in tips)
        swapped = _signed_area(points, a, b, c) < 0
        a, b = np.where(swapped, b, a), np.where(swapped, a, b)
        triangles[first[chosen]] = np.stack([a, d, c], axis=1)
        triangles[second[chosen]] = np.stack([d, b, c], axis=1)
    raise CaseError(f"{_MAX_SWEEPS} sweeps of edge flips reach no Delaunay mesh; check the mesh for folded triangles")


def _signed_area(points: Array, a: Index, b: Index, c: Index) -> Array:
    """Twice the signed area of the triangles a b c (triangle,)."""
    p, q = points[b] - points[a], points[c] - points[a]
    return np.asarray(p[:, 0] * q[:, 1] - p[:, 1] * q[:, 0])


def _counter_clockwise(points: Array, triangles: Index) -> Index:
    clockwise = _signed_area(points, *triangles.T) < 0
    return np.where(clockwise[:, None], triangles[:, [0, 2, 1]], triangles)


def _inner_edges(triangles: Index, count: int) -> tuple[Index, _Numbers, _Numbers]:
    """The nodes of each edge between two triangles (edge, 2), and the numbers of these triangles (edge,)."""
    sides = np.sort(np.concatenate([triangles[:, [1, 2]], triangles[:, [2, 0]], triangles[:, [0, 1]]]), axis=1)
    key = sides[:, 0].astype(np.int64) * count + sides[:, 1]
    order = np.argsort(key, kind="stable")
    twice = np.flatnonzero(key[order][1:] == key[order][:-1])
    first, second = order[twice], order[twice + 1]
    return sides[first], first % len(triangles), second % len(triangles)


def _cotangent(points: Array, edge: Index, tip: Index) -> Array:
    """Cotangent of the angle opposite to each edge (edge,), at the node `tip`."""
    p, q = points[edge[:, 0]] - points[tip], points[edge[:, 1]] - points[tip]
    return np.asarray((p * q).sum(axis=1) / np.abs(p[:, 0] * q[:, 1] - p[:, 1] * q[:, 0]))


def _independent(cotangents: Array, first: _Numbers, second: _Numbers, count: int) -> _Numbers:
    """Edges to flip, no two of one triangle: each is the worst of both triangles beside it."""
    bad = np.flatnonzero(cotangents < _FLIP_BELOW)
    bad = bad[np.argsort(cotangents[bad])]
    rank, best = np.arange(len(bad)), np.full(count, len(bad))
    np.minimum.at(best, first[bad], rank)
    np.minimum.at(best, second[bad], rank)
    return np.asarray(bad[(best[first[bad]] == rank) & (best[second[bad]] == rank)])


def _triangulate_anew(elements: Elements) -> Elements:
    """The Delaunay tetrahedra of all nodes; raises CaseError if they fill more than the mesh."""
    from scipy.spatial import Delaunay

    if any((inside != 1).any() for inside in elements.regions.values()):
        raise CaseError("delaunay in three dimensions is for a single region; remove delaunay")
    used = np.unique(elements.cell_points)
    points = elements.points[used]
    cells = Delaunay((points - points.mean(axis=0)) / np.ptp(points, axis=0).max()).simplices
    volume, size = _volumes(points, cells), np.ptp(points[cells], axis=1).max(axis=1)
    cells = cells[volume > _FLAT * size**3]
    before, after = _volumes(elements.points, elements.cell_points).sum(), _volumes(points, cells).sum()
    if after > (1 + _HULL_EXCESS) * before:
        raise CaseError(
            f"the convex hull of the nodes has volume {after:.4g}, the mesh {before:.4g}: delaunay in three dimensions "
            "is for convex domains; remove delaunay"
        )
    return Elements(
        elements.points,
        used[cells].astype(np.int32),
        {name: np.ones(len(cells)) for name in elements.regions},
        {name: _faces_within(used[cells], nodes) for name, nodes in elements.boundaries.items()},
        elements.left_out,
        elements.remark,
    )


def _volumes(points: Array, cells: Index) -> Array:
    """Volumes of tetrahedra (cell,)."""
    return np.asarray(np.abs(np.linalg.det(points[cells[:, 1:]] - points[cells[:, :1]])) / 6)


def _faces_within(cells: Index, nodes: Index) -> Index:
    """The faces of tetrahedra all of whose nodes are among those given; interior faces name no wall."""
    faces = np.concatenate([cells[:, [j for j in range(4) if j != k]] for k in range(4)])
    return np.asarray(faces[np.isin(faces, nodes).all(axis=1)], np.int32)
