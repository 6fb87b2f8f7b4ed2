"""The Delaunay mesh of the nodes of another, on which two-point fluxes are consistent and monotone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fvflow.errors import CaseError
from fvflow.mesh.core import Array, Index
from fvflow.mesh.elements import Elements

_NEGATIVE = -1e-12  # cotangents below which an edge is flipped
_SWEEPS = 1000
_FLAT = 1e-9  # volume of a tetrahedron that has none, of the cube about it
_GROWN = 0.02  # by how much the hull of the nodes may be larger than the mesh, which is thus not convex
_Numbers = NDArray[np.int64]


def retriangulated(elements: Elements) -> Elements:
    """The elements replaced by Delaunay ones of the same nodes.

    In the plane by flipping edges, but those of the walls and between regions (Lawson, Software for C1 surface
    interpolation, 1977); in space as a whole, for convex domains of one region. Raises CaseError for other cells.
    """
    if elements.cell_points.shape[1] != elements.points.shape[1] + 1:
        raise CaseError("delaunay is for triangles or tetrahedra alone; leave it out")
    return _flipped(elements) if elements.points.shape[1] == 2 else _filled(elements)


def _flipped(elements: Elements) -> Elements:
    points, triangles = elements.points, _counter_clockwise(elements.points, elements.cell_points)
    member = np.array([*elements.regions.values(), np.zeros(len(triangles))])
    for _ in range(_SWEEPS):
        edge, one, other = _inner_edges(triangles, len(points))
        within = (member[:, one] == member[:, other]).all(axis=0)
        edge, one, other = edge[within], one[within], other[within]
        tips = [triangles[side].sum(axis=1) - edge.sum(axis=1) for side in (one, other)]
        cotangents = _cotangent(points, edge, tips[0]) + _cotangent(points, edge, tips[1])
        chosen = _independent(cotangents, one, other, len(triangles))
        if not len(chosen):
            return replace(elements, cell_points=triangles)
        (a, b), (c, d) = edge[chosen].T, (tip[chosen] for tip in tips)
        swapped = _turn(points, a, b, c) < 0
        a, b = np.where(swapped, b, a), np.where(swapped, a, b)
        triangles[one[chosen]] = np.stack([a, d, c], axis=1)
        triangles[other[chosen]] = np.stack([d, b, c], axis=1)
    raise CaseError("the edges of the mesh cannot be flipped into a Delaunay mesh; is it folded?")


def _turn(points: Array, a: Index, b: Index, c: Index) -> Array:
    """Twice the signed area of the triangles a b c."""
    p, q = points[b] - points[a], points[c] - points[a]
    return np.asarray(p[:, 0] * q[:, 1] - p[:, 1] * q[:, 0])


def _counter_clockwise(points: Array, triangles: Index) -> Index:
    back = _turn(points, *triangles.T) < 0
    return np.where(back[:, None], triangles[:, [0, 2, 1]], triangles)


def _inner_edges(triangles: Index, count: int) -> tuple[Index, _Numbers, _Numbers]:
    """The nodes of each edge of two triangles (edge, 2), and these."""
    sides = np.sort(np.concatenate([triangles[:, [1, 2]], triangles[:, [2, 0]], triangles[:, [0, 1]]]), axis=1)
    key = sides[:, 0].astype(np.int64) * count + sides[:, 1]
    order = np.argsort(key, kind="stable")
    twice = np.flatnonzero(key[order][1:] == key[order][:-1])
    one, other = order[twice], order[twice + 1]
    return sides[one], one % len(triangles), other % len(triangles)


def _cotangent(points: Array, edge: Index, tip: Index) -> Array:
    """Of the angle at the tip of the triangle on each edge."""
    p, q = points[edge[:, 0]] - points[tip], points[edge[:, 1]] - points[tip]
    return np.asarray((p * q).sum(axis=1) / np.abs(p[:, 0] * q[:, 1] - p[:, 1] * q[:, 0]))


def _independent(cotangents: Array, one: _Numbers, other: _Numbers, count: int) -> _Numbers:
    """Edges that are not Delaunay, the worst of both triangles that they belong to."""
    bad = np.flatnonzero(cotangents < _NEGATIVE)
    bad = bad[np.argsort(cotangents[bad])]
    rank, best = np.arange(len(bad)), np.full(count, len(bad))
    np.minimum.at(best, one[bad], rank)
    np.minimum.at(best, other[bad], rank)
    return np.asarray(bad[(best[one[bad]] == rank) & (best[other[bad]] == rank)])


def _filled(elements: Elements) -> Elements:
    from scipy.spatial import Delaunay

    if any((inside != 1).any() for inside in elements.regions.values()):
        raise CaseError("delaunay is for one region in three dimensions; leave it out")
    used = np.unique(elements.cell_points)
    points = elements.points[used]
    cells = Delaunay((points - points.mean(axis=0)) / np.ptp(points, axis=0).max()).simplices
    volume, size = _volumes(points, cells), np.ptp(points[cells], axis=1).max(axis=1)
    cells = cells[volume > _FLAT * size**3]
    before, after = _volumes(elements.points, elements.cell_points).sum(), _volumes(points, cells).sum()
    if after > (1 + _GROWN) * before:
        raise CaseError(
            f"the hull of the nodes has the volume {after:.4g}, the mesh {before:.4g}: delaunay is for convex domains "
            "in three dimensions; leave it out"
        )
    return Elements(
        elements.points,
        used[cells].astype(np.int32),
        {name: np.ones(len(cells)) for name in elements.regions},
        {name: _faces_within(used[cells], nodes) for name, nodes in elements.boundaries.items()},
    )


def _volumes(points: Array, cells: Index) -> Array:
    return np.asarray(np.abs(np.linalg.det(points[cells[:, 1:]] - points[cells[:, :1]])) / 6)


def _faces_within(cells: Index, nodes: Index) -> Index:
    """The faces of tetrahedra all of whose nodes are among those given; inner ones name no wall."""
    faces = np.concatenate([cells[:, [j for j in range(4) if j != k]] for k in range(4)])
    return np.asarray(faces[np.isin(faces, nodes).all(axis=1)], np.int32)
