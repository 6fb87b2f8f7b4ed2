"""Tetrahedra clipped to the Voronoi cells of sites (compiled), as `fvflow.mesh.clipping` does it with triangles.

A convex polyhedron is kept as the graph of its corners, each where three planes meet. A plane that cuts it removes a
connected part of the graph; a corner comes to be on every edge that leaves this part. Four and more planes through one
point are corners at the same place (after Ray, Sokolov, Lefebvre, Levy, Meshless Voronoi on the GPU, 2018).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fvflow.jit import kernel
from fvflow.mesh.clipping import MOST_SITES, begin, farthest, queued

_MOST_CORNERS = 256  # of a piece
_SIDES = np.array([[1, 2, 3], [0, 3, 2], [0, 1, 3], [0, 2, 1]])  # that meet in each corner, all turning alike


@kernel()
def clip_tetrahedra(
    which: Any,
    corners: Any,
    homes: Any,
    sites: Any,
    start: Any,
    neighbours: Any,
    by_simplex: bool,
    snap: float,
    used: Any,
    piece: Any,
    facet: Any,
    vertex: Any,
    fan: Any,
) -> int:
    """As `clip_triangles`: corners (tetrahedron, 4, 3), vertex (vertex, 3); side k is opposite corner k.

    fan (part, 4): the corners of the triangles that make up a facet, and the facet.
    """
    queue = np.empty(MOST_SITES + 1, np.int64)
    x = np.empty((_MOST_CORNERS, 3))
    plane = np.empty((_MOST_CORNERS, 3), np.int64)
    link = np.empty((_MOST_CORNERS, 3), np.int64)
    height = np.empty(_MOST_CORNERS)
    seen = np.empty((_MOST_CORNERS, 3), np.bool_)
    number = np.empty(_MOST_CORNERS, np.int64)
    centre = np.empty(3)
    for position in range(len(which)):
        e, before, head = which[position], used.copy(), 0
        length, radius = begin(corners[e], homes[e], queue, centre)
        while head < length and length <= MOST_SITES:
            i = queue[head]
            head += 1
            for k in range(4):
                for axis in range(3):
                    x[k, axis] = corners[e, k, axis] - centre[axis]
                    plane[k, axis] = -1 - _SIDES[k, axis]
                    link[k, axis] = _SIDES[k, (axis + 2) % 3]
            row = position if by_simplex else i
            list_of_i = neighbours[start[row] : start[row + 1]]
            count = _polyhedron(x, plane, link, height, number, i, sites, centre, list_of_i, snap * radius)
            if count < 0:
                length = MOST_SITES + 1
            if count <= 0:
                continue
            rows = np.array([1, count, count, 2 * count])  # the most that a polyhedron of so many corners takes
            if (used + rows > np.array([len(piece), len(facet), len(vertex), len(fan)])).any():
                used[:] = before
                return position
            for k in range(count):
                for axis in range(3):
                    vertex[used[2] + k, axis] = x[k, axis] + centre[axis]
                    seen[k, axis] = False
            for corner in range(3 * count):
                k, axis = divmod(corner, 3)
                if not seen[k, axis]:
                    facet[used[1], 0], facet[used[1], 1] = used[0], plane[k, axis]
                    used[3] += _fan_of_face(plane, link, seen, k, axis, used[2], used[1], fan[used[3] :])
                    used[1] += 1
                    length = queued(queue, length, plane[k, axis])
            piece[used[0], 0], piece[used[0], 1] = e, i
            used[0] += 1
            used[2] += count
        if length > MOST_SITES:  # left without pieces: the caller sees that they do not fill the tetrahedron
            used[:] = before
    return len(which)


@kernel()
def _polyhedron(
    x: Any,
    plane: Any,
    link: Any,
    height: Any,
    number: Any,
    i: int,
    sites: Any,
    centre: Any,
    neighbours: Any,
    tiny: float,
) -> int:
    """Clip the tetrahedron x to the site i; the number of corners, -1 if they are no polyhedron or too many."""
    count, site = 4, np.empty(3)
    for axis in range(3):
        site[axis] = sites[i, axis] - centre[axis]
    reach = 4.0 * farthest(x, count, site)
    for j in neighbours:
        a0, a1, a2 = sites[j, 0] - sites[i, 0], sites[j, 1] - sites[i, 1], sites[j, 2] - sites[i, 2]
        square = a0 * a0 + a1 * a1 + a2 * a2
        if j == i or square > reach:
            continue
        distance = np.sqrt(square)
        a0, a1, a2 = a0 / distance, a1 / distance, a2 / distance
        level = a0 * site[0] + a1 * site[1] + a2 * site[2] + 0.5 * distance
        highest, lowest = 0.0, 0.0
        for k in range(count):
            h = a0 * x[k, 0] + a1 * x[k, 1] + a2 * x[k, 2] - level
            height[k] = 0.0 if abs(h) <= tiny else h
            highest, lowest = max(highest, height[k]), min(lowest, height[k])
        if highest <= 0.0:
            continue
        if lowest >= 0.0:
            return 0
        count = _cut_polyhedron(x, plane, link, height, number, count, j)
        if count < 0:
            return -1
        reach = 4.0 * farthest(x, count, site)
    return count


@kernel()
def _cut_polyhedron(x: Any, plane: Any, link: Any, height: Any, number: Any, count: int, cut: int) -> int:
    """Remove the corners of height > 0, in place; the number of corners left, -1 if they are no polyhedron.

    The edge between the planes plane[v, k] and plane[v, k + 1] leads from v to link[v, k].
    """
    total = _new_corners(x, plane, link, height, count, cut)
    if total < 0:
        return -1
    for w in range(count, total):  # around the new face
        for other in range(count, total):
            if plane[other, 0] == plane[w, 1]:
                if link[w, 1] >= 0 or link[other, 2] >= 0:
                    return -1
                link[w, 1], link[other, 2] = other, w
        if link[w, 1] < 0:
            return -1
    left = 0
    for v in range(total):
        number[v] = -1
        if v >= count or height[v] <= 0.0:
            number[v] = left
            for axis in range(3):
                x[left, axis], plane[left, axis], link[left, axis] = x[v, axis], plane[v, axis], link[v, axis]
            left += 1
    for corner in range(3 * left):
        v, k = divmod(corner, 3)
        link[v, k] = number[link[v, k]]
        if link[v, k] < 0:
            return -1
    return left


@kernel()
def _new_corners(x: Any, plane: Any, link: Any, height: Any, count: int, cut: int) -> int:
    """Add a corner on every edge that leaves the part of height > 0; the number of all, -1 if there are too many."""
    total = count
    for leaving in range(3 * count):
        v, k = divmod(leaving, 3)
        u = link[v, k]
        if height[v] <= 0.0 or height[u] > 0.0:
            continue
        if total == len(x):
            return -1
        first, second = plane[v, k], plane[v, (k + 1) % 3]
        share = height[u] / (height[u] - height[v])
        for axis in range(3):
            x[total, axis] = x[u, axis] + share * (x[v, axis] - x[u, axis])
        plane[total, 0], plane[total, 1], plane[total, 2] = first, second, cut
        link[total, 0], link[total, 1], link[total, 2] = u, -1, -1
        for back in range(3):
            if plane[u, back] == second and plane[u, (back + 1) % 3] == first:
                link[u, back] = total
        total += 1
    return total


@kernel()
def _fan_of_face(plane: Any, link: Any, seen: Any, v: int, k: int, first: int, facet: int, fan: Any) -> int:
    """The triangles of the face on plane[v, k]; their number. Nodes and facets are counted from `first` and `facet`."""
    wanted, begin, last, size = plane[v, k], v, -1, 0
    for _ in range(len(plane)):
        seen[v, k] = True
        if last >= 0 and last != begin:
            fan[size, 0], fan[size, 1], fan[size, 2], fan[size, 3] = first + begin, first + last, first + v, facet
            size += 1
        last, v = v, link[v, k]
        if v == begin:
            break
        k = 0
        while k < 2 and plane[v, k] != wanted:
            k += 1
    return size
