"""The absorbing facets of a mesh, and how far it is to the nearest of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from fvflow.jit import kernel
from fvflow.mesh import Array, Index, Mesh


@dataclass(frozen=True, eq=False)
class Exits:
    """Facets through which particles leave, with the one that is nearest to each cell on a way through the mesh."""

    corner: Array
    """Their corners (exit, corner, dim), around each, padded with the first."""
    normal: Array
    """Unit normals that leave the mesh (exit, dim)."""
    nearest: Index
    """The exit that is nearest to the middle of each cell (cell,); -1 if no way leads to any."""
    clearance: Array
    """A bound (cell,) from below of the distance from any point of a cell to any exit that is nearest to a cell."""

    @staticmethod
    def of(mesh: Mesh, cell: Index, corner: Array, normal: Array, first: Index, behind: Index) -> Exits:
        """Those of the given cells (exit,); `first` and `behind` are those of `MeshWalk`, -1 behind exits."""
        known = mesh.cell_points >= 0
        place = mesh.points[np.where(known, mesh.cell_points, mesh.cell_points[:, :1])]
        middle = (place * known[:, :, None]).sum(axis=1) / known.sum(axis=1)[:, None]
        radius = np.sqrt(((place - middle[:, None]) ** 2).sum(axis=2).max(axis=1))
        nearest, distance = np.full(mesh.cells, -1), np.full(mesh.cells, np.inf)
        _spread(middle, cell, corner, normal, first, behind, nearest, distance)
        return Exits(corner, normal, nearest, np.maximum(distance - radius, 0.0))


@kernel()
def _spread(
    middle: Any, cell: Any, corner: Any, normal: Any, first: Any, behind: Any, nearest: Any, distance: Any
) -> None:
    """Let each cell tell its neighbours which exit is nearest to it, until none has news; changes the last two."""
    cells, closest = len(middle), np.empty(middle.shape[1])
    waiting, queued = np.empty(cells, np.int64), np.zeros(cells, np.bool_)
    head, held = 0, 0
    for e in range(len(cell)):
        c = cell[e]
        d = nearest_point(middle[c], corner[e], normal[e], closest)
        if d < distance[c]:
            nearest[c], distance[c] = e, d
        if not queued[c]:
            waiting[held], queued[c] = c, True
            held += 1
    while held > 0:
        c = waiting[head]
        head, held, queued[c] = (head + 1) % cells, held - 1, False
        e = nearest[c]
        for facet in range(first[c], first[c + 1]):
            other = behind[facet]
            if other < 0:
                continue
            d = nearest_point(middle[other], corner[e], normal[e], closest)
            if d < distance[other]:
                nearest[other], distance[other] = e, d
                if not queued[other]:
                    waiting[(head + held) % cells], queued[other] = other, True
                    held += 1


@kernel()
def nearest_exit(
    position: Any, here: Any, corner: Any, normal: Any, nearest: Any, first: Any, behind: Any, closest: Any
) -> Any:
    """The exit nearest to a place in a cell, of those that its cell and the neighbours know, and its distance."""
    found, least = nearest[here], np.inf
    if found >= 0:
        least = nearest_point(position, corner[found], normal[found], closest)
    for facet in range(first[here], first[here + 1]):
        if behind[facet] < 0:
            continue
        e = nearest[behind[facet]]
        if e >= 0 and e != found:
            d = nearest_point(position, corner[e], normal[e], closest)
            if d < least:
                found, least = e, d
    return found, least


@kernel()
def nearest_point(position: Any, corner: Any, normal: Any, closest: Any) -> Any:
    """The distance from a place to a flat convex facet of corners (corner, dim); fills the point of it `closest`."""
    count, dimension = corner.shape
    if count > 2 and _above(position, corner, normal):
        ahead = 0.0
        for axis in range(dimension):
            ahead += normal[axis] * (corner[0, axis] - position[axis])
        for axis in range(dimension):
            closest[axis] = position[axis] + ahead * normal[axis]
        return abs(ahead)
    least = np.inf
    for k in range(count):
        a, b = corner[k], corner[(k + 1) % count]
        along, square = 0.0, 0.0
        for axis in range(dimension):
            along += (position[axis] - a[axis]) * (b[axis] - a[axis])
            square += (b[axis] - a[axis]) ** 2
        share = min(max(along / square, 0.0), 1.0) if square > 0.0 else 0.0
        distance = 0.0
        for axis in range(dimension):
            distance += (a[axis] + share * (b[axis] - a[axis]) - position[axis]) ** 2
        if distance < least:
            least = distance
            for axis in range(dimension):
                closest[axis] = a[axis] + share * (b[axis] - a[axis])
    return math.sqrt(least)


@kernel()
def _above(position: Any, corner: Any, normal: Any) -> Any:
    """Whether a place in space is straight above or below a facet."""
    left = right = False
    for number in range(len(corner)):
        a, b = corner[number], corner[(number + 1) % len(corner)]
        side = 0.0
        for i in range(3):
            j, k = (i + 1) % 3, (i + 2) % 3
            side += normal[i] * ((b[j] - a[j]) * (position[k] - a[k]) - (b[k] - a[k]) * (position[j] - a[j]))
        left, right = left or side > 0.0, right or side < 0.0
    return not (left and right)
