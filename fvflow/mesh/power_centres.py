"""Power centres: triangles of which a few hold wrong circumcentres, with centres that are in the right order.

With a weight w_k at each node, the centre c of a triangle where |c - x_k|^2 - w_k is equal at all corners x_k keeps the
lines between centres orthogonal to the faces, and is linear in w: c(w) = c(0) + B w (Glickenstein, Geometric
triangulations and discrete Laplacians on manifolds, 2005). Where distances d between centres are not positive, w is the
solution of a linear program: min sum |w|/h^2 such that d/h is at least 0.1, or what it was.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fvflow.mesh.arrays import Array, Index
from fvflow.mesh.core import Mesh

_BAD = 1e-3  # distance of centres, in heights |K|/(largest side), below which they are moved apart
_APART = 0.1  # distance that they get
_MOST_BAD = 0.02  # share of bad faces above which moved centres do not converge
_FARTHEST = 2.0  # distance of a centre from its centroid, in sizes |K|^(1/2)
_RINGS = (1, 2, 4, 8)  # of triangles about bad faces whose nodes have weights, the next where one is not enough
_SLACK = 1e4  # weight of the constraints beside that of the weights
_MET = 1e-7  # sum of what constraints lack that counts as none


def power_centres(mesh: Mesh) -> tuple[Array, int] | None:
    """Centres (cell, dim) of triangles that are in the right order, and the number of faces that asked for it.

    None where more than 2 % of the faces do, where there are no such centres nearby, and for cells of other shapes.
    """
    if mesh.dimension != 2 or mesh.cell_points.shape[1] != 3 or not mesh.faces:
        return None
    height = _height(mesh)
    bad = ~(mesh.distance / height >= _BAD)
    if bad.sum() > _MOST_BAD * mesh.faces:
        return None
    weight = np.zeros(len(mesh.points))
    for rings in _RINGS:
        for patch in _patches(mesh, np.flatnonzero(bad), rings):
            _solve(mesh, patch, height, weight)
        centre, distance = _moved(mesh, weight)
        if (distance / height >= _BAD).all():
            break
    else:
        return None
    middle = mesh.points[mesh.cell_points].mean(axis=1)
    off = np.linalg.norm(centre - middle, axis=1)
    moved = (weight[mesh.cell_points] != 0).any(axis=1)
    return (centre, int(bad.sum())) if (off[moved] <= _FARTHEST * np.sqrt(mesh.volume[moved])).all() else None


def _height(mesh: Mesh) -> Array:
    """|K|/(largest side) of the flatter of the triangles beside each face (face,)."""
    x = mesh.points[mesh.cell_points]
    height = mesh.volume / np.linalg.norm(x - np.roll(x, 1, axis=1), axis=2).max(axis=1)
    return np.asarray(np.minimum(height[mesh.owner], height[mesh.neighbour]))


def _slopes(mesh: Mesh, cells: Any) -> Array:
    """B (cell, axis, corner) of some triangles."""
    x = mesh.points[mesh.cell_points[cells]]
    inverse = np.linalg.inv(2.0 * (x[:, 1:] - x[:, :1]))
    return np.concatenate([inverse.sum(axis=2, keepdims=True), -inverse], axis=2)


def _moved(mesh: Mesh, weight: Array) -> tuple[Array, Array]:
    """The centres (cell, dim) for weights of the nodes, and the distances along the normals (face,)."""
    moved = np.flatnonzero((weight[mesh.cell_points] != 0).any(axis=1))
    centre = mesh.centre.copy()
    centre[moved] += np.einsum("cak,ck->ca", _slopes(mesh, moved), weight[mesh.cell_points[moved]])
    ahead = centre[mesh.neighbour] - centre[mesh.owner]
    return centre, (ahead * mesh.normal).sum(axis=1)


def _patches(mesh: Mesh, faces: Any, rings: int) -> list[Index]:
    """The nodes within some rings of triangles about faces, in groups that no triangle connects."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    count = len(mesh.points)
    near: Any = np.zeros(count, bool)
    near[mesh.cell_points[np.concatenate([mesh.owner[faces], mesh.neighbour[faces]])]] = True
    for _ in range(rings - 1):
        near[mesh.cell_points[near[mesh.cell_points].any(axis=1)]] = True
    cells = mesh.cell_points[near[mesh.cell_points].any(axis=1)]
    around = np.concatenate([cells[:, [0, 1]], cells[:, [1, 2]]])
    links = coo_array((np.ones(len(around), np.int8), tuple(around.T)), shape=(count, count))
    group = connected_components(links, directed=False)[1]
    nodes = np.flatnonzero(near)
    nodes = nodes[np.argsort(group[nodes], kind="stable")]
    return np.split(nodes, np.flatnonzero(np.diff(group[nodes])) + 1)


def _solve(mesh: Mesh, nodes: Index, height: Array, weight: Array) -> None:
    """Set the weights of the nodes of a patch."""
    from scipy.optimize import linprog
    from scipy.sparse import coo_array, eye_array, hstack

    number = np.full(len(mesh.points), -1)
    number[nodes] = np.arange(len(nodes))
    within: Any = (number[mesh.cell_points] >= 0).any(axis=1)
    faces = np.flatnonzero(within[mesh.owner] | within[mesh.neighbour])
    height, scale = height[faces], float(mesh.volume[within].mean())  # h^2
    rows, columns, entries = [], [], []
    for cells, sign in ((mesh.neighbour[faces], 1.0), (mesh.owner[faces], -1.0)):
        slope = sign * np.einsum("fa,fak->fk", mesh.normal[faces], _slopes(mesh, cells)) / height[:, None]
        corner = mesh.cell_points[cells]
        row, column = np.nonzero(number[corner] >= 0)
        rows.append(row)
        columns.append(number[corner[row, column]])
        entries.append(scale * slope[row, column])
    shape = (len(faces), len(nodes))
    change = coo_array((np.concatenate(entries), (np.concatenate(rows), np.concatenate(columns))), shape=shape)
    present = mesh.distance[faces] / height
    wanted = np.where(present < _BAD, _APART, np.minimum(present, _APART))
    cost = np.concatenate([np.ones(2 * len(nodes)), np.full(len(faces), _SLACK)])
    matrix = hstack([-change, change, -eye_array(len(faces))], format="csr")
    found = linprog(cost, A_ub=matrix, b_ub=present - wanted, method="highs")
    if found.x is not None and found.x[2 * len(nodes) :].sum() <= _MET:
        plus, minus = found.x[: len(nodes)], found.x[len(nodes) : 2 * len(nodes)]
        weight[nodes] = scale * (plus - minus)
