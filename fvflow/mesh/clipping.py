"""Simplices clipped to the Voronoi cells of sites: the convex pieces e n V_i (compiled).

A piece is left of its simplex e by the half-spaces a.x <= a.(x_i + x_j)/2, a = (x_j - x_i)/|x_j - x_i|, of the sites j
that are listed as neighbours of i. Every site whose bisector bounds a piece is the site of another piece.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fvflow.jit import kernel

MOST_SITES = 1024  # of the pieces of one simplex
_MOST_CORNERS = 256  # of a piece


@kernel()
def clip_triangles(
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
    """The pieces of triangles, appended to arrays; the position in `which` that it came to before one was full.

    which: numbers of the triangles; corners (triangle, 3, 2); homes (triangle, 3), the site at each corner or -1
    sites (site, 2); start, neighbours: lists of sites by row, which is the site i or, if `by_simplex`, the position in
        `which`
    snap: distance from a bisector, relative to the size of the triangle, that counts as none
    used: how many rows there are of the following arrays, which grows
    piece (piece, 2): triangle and site; facet (facet, 2): piece and the site j across it, or -1 - k on side k
    vertex (vertex, 2); fan (part, 3): the two ends of a facet, and the facet
    """
    queue = np.empty(MOST_SITES + 1, np.int64)
    x = np.empty((2, _MOST_CORNERS, 2))
    plane = np.empty((2, _MOST_CORNERS), np.int64)
    height = np.empty(_MOST_CORNERS)
    centre = np.empty(2)
    for position in range(len(which)):
        e, before, head = which[position], used.copy(), 0
        length, radius = begin(corners[e], homes[e], queue, centre)
        while head < length and length <= MOST_SITES:
            i = queue[head]
            head += 1
            for k in range(3):
                x[0, k, 0], x[0, k, 1] = corners[e, k, 0] - centre[0], corners[e, k, 1] - centre[1]
                plane[0, k] = -1 - k
            row = position if by_simplex else i
            list_of_i = neighbours[start[row] : start[row + 1]]
            count, now = _polygon(x, plane, height, i, sites, centre, list_of_i, snap * radius)
            if count < 0:
                length = MOST_SITES + 1
            if count <= 0:
                continue
            if used[0] + 1 > len(piece) or used[1] + count > len(facet) or used[2] + count > len(vertex):
                used[:] = before
                return position
            for k in range(count):
                vertex[used[2] + k, 0], vertex[used[2] + k, 1] = x[now, k, 0] + centre[0], x[now, k, 1] + centre[1]
                facet[used[1] + k, 0], facet[used[1] + k, 1] = used[0], plane[now, k]
                fan[used[1] + k, 0], fan[used[1] + k, 1] = used[2] + k, used[2] + (k + 1) % count
                fan[used[1] + k, 2] = used[1] + k
                length = queued(queue, length, plane[now, k])
            piece[used[0], 0], piece[used[0], 1] = e, i
            used[0] += 1
            for array in range(1, 4):
                used[array] += count
        if length > MOST_SITES:  # left without pieces: the caller sees that they do not fill the triangle
            used[:] = before
    return len(which)


@kernel()
def begin(corners: Any, homes: Any, queue: Any, centre: Any) -> tuple[int, float]:
    """Queue the sites at the corners of a simplex, and set its centre; the number of sites, and the radius."""
    length = 0
    centre[:] = 0.0
    for k in range(len(corners)):
        for axis in range(len(centre)):
            centre[axis] += corners[k, axis] / len(corners)
        length = queued(queue, length, homes[k])
    return length, np.sqrt(farthest(corners, len(corners), centre))


@kernel()
def _polygon(
    x: Any, plane: Any, height: Any, i: int, sites: Any, centre: Any, neighbours: Any, tiny: float
) -> tuple[int, int]:
    """Clip the triangle x[0] to the site i; the number of corners, negative if too many, and where in x they are."""
    count, now = 3, 0
    site = np.array([sites[i, 0] - centre[0], sites[i, 1] - centre[1]])
    reach = 4.0 * farthest(x[0], count, site)
    for j in neighbours:
        a0, a1 = sites[j, 0] - sites[i, 0], sites[j, 1] - sites[i, 1]
        square = a0 * a0 + a1 * a1
        if j == i or square > reach:
            continue
        distance = np.sqrt(square)
        a0, a1 = a0 / distance, a1 / distance
        level = a0 * site[0] + a1 * site[1] + 0.5 * distance
        highest, lowest = 0.0, 0.0
        for k in range(count):
            h = a0 * x[now, k, 0] + a1 * x[now, k, 1] - level
            height[k] = 0.0 if abs(h) <= tiny else h
            highest, lowest = max(highest, height[k]), min(lowest, height[k])
        if highest <= 0.0:
            continue
        if lowest >= 0.0:
            return 0, now
        count = _cut_polygon(x[now], plane[now], height, count, j, x[1 - now], plane[1 - now])
        now = 1 - now
        if count > _MOST_CORNERS - 2:
            return -1, now
        reach = 4.0 * farthest(x[now], count, site)
    return count, now


@kernel()
def queued(queue: Any, length: int, site: int) -> int:
    """The new length of a queue with a site that it may have already; -1 - k is none."""
    if site < 0 or length > MOST_SITES:
        return length
    for at in range(length):
        if queue[at] == site:
            return length
    queue[length] = site
    return length + 1


@kernel()
def farthest(x: Any, count: int, site: Any) -> float:
    """The square of the largest distance of the points from a site."""
    most = 0.0
    for k in range(count):
        square = 0.0
        for axis in range(x.shape[1]):
            square += (x[k, axis] - site[axis]) ** 2
        most = max(most, square)
    return most


@kernel()
def _cut_polygon(x: Any, plane: Any, height: Any, count: int, cut: int, y: Any, label: Any) -> int:
    """The part y of a polygon x of height <= 0, and what each side lies on; the number of its corners."""
    size = 0
    for k in range(count):
        after = (k + 1) % count
        h, g = height[k], height[after]
        if h <= 0.0:
            y[size, 0], y[size, 1] = x[k, 0], x[k, 1]
            label[size] = cut if h == 0.0 and g > 0.0 else plane[k]
            size += 1
        if (h < 0.0 and g > 0.0) or (h > 0.0 and g < 0.0):
            share = h / (h - g)
            y[size, 0], y[size, 1] = (
                x[k, 0] + share * (x[after, 0] - x[k, 0]),
                x[k, 1] + share * (x[after, 1] - x[k, 1]),
            )
            label[size] = cut if h < 0.0 else plane[k]
            size += 1
    return size
