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
_DONE, _FULL, _LOST = 0, 1, 2  # a piece, or a simplex: complete; no room for it; more corners or sites than the most


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
    sites (site, 2); start, neighbours: lists of sites by row, the row being the site i or, if `by_simplex`, the position
        in `which`
    snap: distance from a bisector, relative to the size of the triangle, that counts as none
    used: how many rows there are of the following arrays, which grows
    piece (piece, 2): triangle and site; facet (facet, 2): piece and the site j across it, or -1 - k on side k
    vertex (vertex, 2); fan (part, 3): the two ends of a facet, and the facet
    """
    queue = np.empty(MOST_SITES, np.int64)
    x = np.empty((2, _MOST_CORNERS, 2))
    plane = np.empty((2, _MOST_CORNERS), np.int64)
    height = np.empty(_MOST_CORNERS)
    for position in range(len(which)):
        e = which[position]
        c0 = (corners[e, 0, 0] + corners[e, 1, 0] + corners[e, 2, 0]) / 3.0
        c1 = (corners[e, 0, 1] + corners[e, 1, 1] + corners[e, 2, 1]) / 3.0
        radius = 0.0
        for k in range(3):
            radius = max(radius, np.hypot(corners[e, k, 0] - c0, corners[e, k, 1] - c1))
        length = 0
        for k in range(3):
            if homes[e, k] >= 0:
                queue[length] = homes[e, k]
                length += 1
        before = used.copy()
        head = 0
        while head < length:
            i = queue[head]
            head += 1
            count, now = 3, 0
            for k in range(3):
                x[0, k, 0], x[0, k, 1] = corners[e, k, 0] - c0, corners[e, k, 1] - c1
                plane[0, k] = -1 - k
            s0, s1 = sites[i, 0] - c0, sites[i, 1] - c1
            reach = 4.0 * _farthest(x[0], count, sites[i] - np.array([c0, c1]))
            row = position if by_simplex else i
            for entry in range(start[row], start[row + 1]):
                j = neighbours[entry]
                d0, d1 = sites[j, 0] - sites[i, 0], sites[j, 1] - sites[i, 1]
                square = d0 * d0 + d1 * d1
                if j == i or square > reach:
                    continue
                distance = np.sqrt(square)
                a0, a1 = d0 / distance, d1 / distance
                level = a0 * s0 + a1 * s1 + 0.5 * distance
                highest, lowest = 0.0, 0.0
                for k in range(count):
                    h = a0 * x[now, k, 0] + a1 * x[now, k, 1] - level
                    height[k] = 0.0 if abs(h) <= snap * radius else h
                    highest, lowest = max(highest, height[k]), min(lowest, height[k])
                if highest <= 0.0:
                    continue
                if lowest >= 0.0:
                    count = 0
                    break
                count = _cut_polygon(x[now], plane[now], height, count, j, x[1 - now], plane[1 - now])
                now = 1 - now
                if count >= _MOST_CORNERS - 2:
                    break
                reach = 4.0 * _farthest(x[now], count, sites[i] - np.array([c0, c1]))
            if count >= _MOST_CORNERS - 2:
                length = MOST_SITES + 1
                break
            if count == 0:
                continue
            if used[0] + 1 > len(piece) or used[1] + count > len(facet) or used[2] + count > len(vertex):
                used[:] = before
                return position
            for k in range(count):
                vertex[used[2] + k, 0], vertex[used[2] + k, 1] = x[now, k, 0] + c0, x[now, k, 1] + c1
                facet[used[1] + k, 0], facet[used[1] + k, 1] = used[0], plane[now, k]
                fan[used[1] + k, 0], fan[used[1] + k, 1] = used[2] + k, used[2] + (k + 1) % count
                fan[used[1] + k, 2] = used[1] + k
                length = _queued(queue, length, plane[now, k])
            piece[used[0], 0], piece[used[0], 1] = e, i
            used[0] += 1
            used[1] += count
            used[2] += count
            used[3] += count
            if length > MOST_SITES:
                break
        if length > MOST_SITES:  # left without pieces: the caller sees that they do not fill the triangle
            used[:] = before
    return len(which)


@kernel()
def _queued(queue: Any, length: int, site: int) -> int:
    """The new length of a queue with a site that it may have already; -1 - k is none."""
    if site < 0 or length > MOST_SITES:
        return length
    for at in range(length):
        if queue[at] == site:
            return length
    if length < MOST_SITES:
        queue[length] = site
    return length + 1


@kernel()
def _farthest(x: Any, count: int, site: Any) -> float:
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
