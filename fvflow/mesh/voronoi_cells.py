"""Voronoi cells of given sites, clipped to a convex polygon."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fvflow.errors import CaseError
from fvflow.mesh.arrays import Array, Index

_Numbers = NDArray[np.intp]
_Flags = NDArray[np.bool_]

# Distance below which nodes are merged, relative to the size; larger than the one that fvflow.mesh.polytopes refuses.
_COINCIDENT = 2e-10


class Walls(NamedTuple):
    """The sides of a convex polygon, each from one corner to the next."""

    corner: Array
    """First corner of each wall (wall, 2)."""
    normal: Array
    """Inward unit normals (wall, 2)."""

    @staticmethod
    def of(polygon: Array) -> Walls:
        """The walls of a counter-clockwise polygon (corner, 2)."""
        side = np.roll(polygon, -1, axis=0) - polygon
        return Walls(polygon, np.stack([-side[:, 1], side[:, 0]], axis=1) / np.hypot(*side.T)[:, None])

    @property
    def size(self) -> float:
        """The longer side of the bounding box."""
        return float(np.ptp(self.corner, axis=0).max())

    def depth(self, points: Array) -> Array:
        """Signed distances from the walls (point, wall), positive inside."""
        return np.asarray(points @ self.normal.T - (self.corner * self.normal).sum(axis=1))


def clipped_voronoi(sites: Array, polygon: Array) -> tuple[Array, Index]:
    """The Voronoi cells of sites (site, 2), clipped to a convex counter-clockwise polygon (corner, 2).

    Returns nodes (node, 2) and the nodes of each cell (cell, corner), counter-clockwise, padded with -1. Sites are
    reflected in the walls: each wall is the bisector of a site and its image, and no point inside is nearer to an image
    than to the site. The Voronoi cells of sites and images are therefore those of the sites, clipped at the walls. Only
    sites whose cells reach a wall need an image in it. All sites must lie inside; raises CaseError if two coincide.
    """
    origin, area = polygon.mean(axis=0), 0.5 * cross(polygon, np.roll(polygon, -1, axis=0)).sum()
    local, walls = sites - origin, Walls.of(polygon - origin)
    depth, distance = walls.depth(local), _COINCIDENT * walls.size
    near = depth <= np.maximum(3.0 * math.sqrt(area / len(sites)), depth.min(axis=0))
    corners, centroid, centre, reach = _triangulated(local, walls, near)
    if (reach & ~near).any():
        corners, centroid, centre, _ = _triangulated(local, walls, near | reach)
    site, triangle = _triangles_of_sites(local, corners, centroid)
    points, node = _merged(centre, triangle, triangle[_predecessor(site)], distance)
    on_wall = walls.depth(points) <= distance
    return _snapped(points + origin, on_wall, Walls(polygon, walls.normal)), _table(site, node[triangle])


def _triangulated(sites: Array, walls: Walls, near: _Flags) -> tuple[Index, Array, Array, _Flags]:
    """The Delaunay triangles of the sites and of the images of those near a wall, except triangles of images only.

    Returns their corners (triangle, 3), their centroids and circumcentres (triangle, 2), and whether the cell of a site
    reaches a wall or extends beyond it (site, wall).
    """
    from scipy.spatial import Delaunay

    site, wall = np.nonzero(near)
    points = np.concatenate([sites, sites[site] - 2.0 * walls.depth(sites)[site, wall, None] * walls.normal[wall]])
    delaunay = Delaunay(points)
    if (delaunay.coplanar[:, 0] < len(sites)).any():
        raise CaseError(f"site {delaunay.coplanar[:, 0].min()} coincides with another; remove it")
    corners = np.sort(delaunay.simplices, axis=1)
    corners = corners[corners[:, 0] < len(sites)]
    centre, rim = _circumcentres(*points[corners.T]), np.unique(delaunay.convex_hull)
    reach = np.zeros_like(near)
    reach[rim[rim < len(sites)]] = True
    for wall_reach, inside in zip(reach.T, (walls.depth(centre) > _COINCIDENT * walls.size).T, strict=True):
        touched = corners[~inside].ravel()
        wall_reach[touched[touched < len(sites)]] = True
    return corners, points[corners].mean(axis=1), centre, reach


def _circumcentres(first: Array, second: Array, third: Array) -> Array:
    """Circumcentres (triangle, 2); infinite or NaN for a flat triangle."""
    a, b = second - first, third - first
    right = 0.5 * (b * (a**2).sum(axis=1)[:, None] - a * (b**2).sum(axis=1)[:, None])
    # Triangles on the convex hull may be flat; their sites get more images.
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(first + np.stack([right[:, 1], -right[:, 0]], axis=1) / cross(a, b)[:, None])


def _triangles_of_sites(sites: Array, corners: Index, centroid: Array) -> tuple[_Numbers, _Numbers]:
    """The triangles about each site, counter-clockwise, as pairs of a site and a triangle (pair,).

    They are sorted by the angle of their centroids, whose order round-off cannot change, unlike that of circumcentres.
    """
    site, triangle = corners.ravel().astype(np.intp), np.repeat(np.arange(len(corners)), 3)
    site, triangle = site[site < len(sites)], triangle[site < len(sites)]
    ahead = centroid[triangle] - sites[site]
    order = np.lexsort((np.arctan2(ahead[:, 1], ahead[:, 0]), site))
    return site[order], triangle[order]


def _predecessor(site: _Numbers) -> _Numbers:
    """For entries sorted by site, the index of the previous entry, cyclically about each site (entry,)."""
    last = np.flatnonzero(np.diff(site, append=-1))
    previous = np.arange(-1, len(site) - 1)
    previous[np.append(0, last[:-1] + 1)] = last
    return previous


def _merged(centre: Array, start: _Numbers, end: _Numbers, distance: float) -> tuple[Array, Index]:
    """The nodes (node, 2), and that of each triangle (triangle,); the ends of a face that is too short share one."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    short = np.hypot(*(centre[start] - centre[end]).T) <= distance
    links = coo_array((np.ones(short.sum(), np.int8), (start[short], end[short])), shape=(len(centre),) * 2)
    _, node = connected_components(links, directed=False)
    return centre[np.unique(node, return_index=True)[1]], node


def _table(site: _Numbers, corner: Index) -> Index:
    """Nodes sorted by site as a table (site, corner) padded with -1, without consecutive repetitions."""
    new = corner != corner[_predecessor(site)]
    site, corner = site[new], corner[new]
    count = np.bincount(site)
    table = np.full((len(count), count.max()), -1, np.int32)
    table[site, np.arange(len(site)) - np.repeat(np.cumsum(count) - count, count)] = corner
    return table


def _snapped(points: Array, on_wall: _Flags, walls: Walls) -> Array:
    """The nodes, projected onto their walls; nodes on two walls become the corner between these."""
    for touching, corner, normal in zip(on_wall.T, *walls, strict=True):
        points[touching] -= ((points[touching] - corner) @ normal)[:, None] * normal
    for touching, previous, corner in zip(on_wall.T, np.roll(on_wall.T, 1, axis=0), walls.corner, strict=True):
        points[touching & previous] = corner
    return points


def centroids(sites: Array, points: Array, cell_points: Index) -> Array:
    """The centroids (cell, 2) of convex cells, from the triangles between the site of each and its sides."""
    ahead = points[np.where(cell_points < 0, cell_points[:, :1], cell_points)] - sites[:, None]
    after = np.roll(ahead, -1, axis=1)
    weight = cross(ahead, after)
    return np.asarray(sites + (weight[..., None] * (ahead + after)).sum(axis=1) / (3.0 * weight.sum(axis=1)[:, None]))


def cross(a: Array, b: Array) -> Array:
    """Cross product of plane vectors (..., 2)."""
    return np.asarray(a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0])
