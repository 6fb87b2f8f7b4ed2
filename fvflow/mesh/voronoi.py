"""Voronoi meshes: every place of a convex polygon belongs to the nearest of given sites."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Annotated, Literal, NamedTuple

import numpy as np
from annotated_types import Ge, Lt, MaxLen, MinLen
from numpy.typing import NDArray

from fvflow.errors import CaseError
from fvflow.mesh.core import Array, Extent, Index, Mesh
from fvflow.mesh.grid import check_extent
from fvflow.mesh.polytopes import assembled

Pair = Annotated[tuple[float, ...], MinLen(2), MaxLen(2)]
SpaceTimeGrid = Annotated[tuple[Annotated[int, Ge(1)], ...], MinLen(2), MaxLen(2)]

_Numbers = NDArray[np.intp]
_Flags = NDArray[np.bool_]

_SAME = 2e-10  # distance of nodes that are one, of the size; more than what fvflow.mesh.polytopes refuses
_APART = 1e-6  # distance of sites, of the size; on the paraboloid of the triangulation its square has to show
_STRAIGHT = 1e-6  # turn at a corner that is none


class _Walls(NamedTuple):
    """The sides of a convex polygon, each from a corner to the next."""

    corner: Array  # (wall, 2)
    normal: Array  # (wall, 2) inward, of length one

    @staticmethod
    def of(polygon: Array) -> _Walls:
        side = np.roll(polygon, -1, axis=0) - polygon
        return _Walls(polygon, np.stack([-side[:, 1], side[:, 0]], axis=1) / np.hypot(*side.T)[:, None])

    @property
    def size(self) -> float:
        return float(np.ptp(self.corner, axis=0).max())

    def depth(self, points: Array) -> Array:
        """Distances from the walls (point, wall), positive inside."""
        return np.asarray(points @ self.normal.T - (self.corner * self.normal).sum(axis=1))


def bounded(sites: Array, polygon: Array) -> tuple[Array, Index]:
    """The Voronoi cells of sites (site, 2) inside a convex counter-clockwise polygon (corner, 2).

    Points (node, 2) and the nodes of each cell, counter-clockwise, padded with -1 (cell, corner). Each wall bisects a
    site and its image, and no place inside is nearer to an image than to its site: the cells among sites and images
    are those of the sites, cut off at the walls. Only sites whose cells reach a wall need an image in it. The sites lie
    inside; raises CaseError where two coincide.
    """
    origin, area = polygon.mean(axis=0), 0.5 * _cross(polygon, np.roll(polygon, -1, axis=0)).sum()
    local, walls = sites - origin, _Walls.of(polygon - origin)
    depth, distance = walls.depth(local), _SAME * walls.size
    near = depth <= np.maximum(3.0 * math.sqrt(area / len(sites)), depth.min(axis=0))
    corners, middle, centre, reach = _triangulated(local, walls, near)
    if (reach & ~near).any():
        corners, middle, centre, _ = _triangulated(local, walls, near | reach)
    site, triangle = _around(local, corners, middle)
    points, node = _merged(centre, triangle, triangle[_before(site)], distance)
    on_wall = walls.depth(points) <= distance
    return _snapped(points + origin, on_wall, _Walls(polygon, walls.normal)), _rows(site, node[triangle])


def _triangulated(sites: Array, walls: _Walls, near: _Flags) -> tuple[Index, Array, Array, _Flags]:
    """The Delaunay triangles of sites, and images of those near a wall, that have a site.

    Their corners (triangle, 3), centroids and circumcentres (triangle, 2), and whether the region of a site extends up
    to a wall or beyond (site, wall).
    """
    from scipy.spatial import Delaunay

    site, wall = np.nonzero(near)
    points = np.concatenate([sites, sites[site] - 2.0 * walls.depth(sites)[site, wall, None] * walls.normal[wall]])
    found = Delaunay(points)
    if (found.coplanar[:, 0] < len(sites)).any():
        raise CaseError(f"site {found.coplanar[:, 0].min()} is at the place of another; leave it out")
    corners = np.sort(found.simplices, axis=1)
    corners = corners[corners[:, 0] < len(sites)]
    centre, rim = _circumcentres(*points[corners.T]), np.unique(found.convex_hull)
    reach = np.zeros_like(near)
    reach[rim[rim < len(sites)]] = True
    for wall_reach, inside in zip(reach.T, (walls.depth(centre) > _SAME * walls.size).T, strict=True):
        touched = corners[~inside].ravel()
        wall_reach[touched[touched < len(sites)]] = True
    return corners, points[corners].mean(axis=1), centre, reach


def _circumcentres(first: Array, second: Array, third: Array) -> Array:
    a, b = second - first, third - first
    right = 0.5 * (b * (a**2).sum(axis=1)[:, None] - a * (b**2).sum(axis=1)[:, None])
    with np.errstate(divide="ignore", invalid="ignore"):  # flat ones on the convex hull: their sites get more images
        return np.asarray(first + np.stack([right[:, 1], -right[:, 0]], axis=1) / _cross(a, b)[:, None])


def _around(sites: Array, corners: Index, middle: Array) -> tuple[_Numbers, _Numbers]:
    """The triangles about each site, counter-clockwise, as pairs of a site and a triangle.

    They are sorted by their centroids: unlike circumcentres, round-off cannot exchange these.
    """
    site, triangle = corners.ravel().astype(np.intp), np.repeat(np.arange(len(corners)), 3)
    site, triangle = site[site < len(sites)], triangle[site < len(sites)]
    ahead = middle[triangle] - sites[site]
    order = np.lexsort((np.arctan2(ahead[:, 1], ahead[:, 0]), site))
    return site[order], triangle[order]


def _before(site: _Numbers) -> _Numbers:
    """For entries ordered by site, the place of the entry before, cyclically about each site."""
    last = np.flatnonzero(np.diff(site, append=-1))
    before = np.arange(-1, len(site) - 1)
    before[np.append(0, last[:-1] + 1)] = last
    return before


def _merged(centre: Array, one: _Numbers, other: _Numbers, distance: float) -> tuple[Array, Index]:
    """The nodes (node, 2) and that of each triangle: a face joins two triangles, and if it is short they share one."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    short = np.hypot(*(centre[one] - centre[other]).T) <= distance
    links = coo_array((np.ones(short.sum(), np.int8), (one[short], other[short])), shape=(len(centre),) * 2)
    _, node = connected_components(links, directed=False)
    return centre[np.unique(node, return_index=True)[1]], node


def _rows(site: _Numbers, corner: Index) -> Index:
    """Nodes ordered by site as a table (site, corner) padded with -1, without those that follow themselves."""
    new = corner != corner[_before(site)]
    site, corner = site[new], corner[new]
    count = np.bincount(site)
    table = np.full((len(count), count.max()), -1, np.int32)
    table[site, np.arange(len(site)) - np.repeat(np.cumsum(count) - count, count)] = corner
    return table


def _snapped(points: Array, on_wall: _Flags, walls: _Walls) -> Array:
    """The nodes, moved onto their walls, and those on two walls to the corner between."""
    for here, corner, normal in zip(on_wall.T, *walls, strict=True):
        points[here] -= ((points[here] - corner) @ normal)[:, None] * normal
    for here, before, corner in zip(on_wall.T, np.roll(on_wall.T, 1, axis=0), walls.corner, strict=True):
        points[here & before] = corner
    return points


def centroids(sites: Array, points: Array, cell_points: Index) -> Array:
    """The centroids of convex cells about sites (cell, 2), summed over the triangles from the site to each side."""
    ahead = points[np.where(cell_points < 0, cell_points[:, :1], cell_points)] - sites[:, None]
    after = np.roll(ahead, -1, axis=1)
    weight = _cross(ahead, after)
    return np.asarray(sites + (weight[..., None] * (ahead + after)).sum(axis=1) / (3.0 * weight.sum(axis=1)[:, None]))


def _cross(a: Array, b: Array) -> Array:
    return np.asarray(a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0])


@dataclass(frozen=True)
class Voronoi:
    """Voronoi cells of a jittered lattice, or of given points, in a box or a convex polygon.

    Lattice sites move by up to `jitter` spacings along each axis. Those then nearer to a wall of the polygon than
    min(1/4, 1/2 - jitter) lattice cells, or outside, are left out; in a box none is. Each relaxation moves the sites to
    the centroids of their cells (Lloyd).

    >>> sites, polygon = Voronoi(lower=(0.0, 0.0), upper=(2.0, 1.0), cells=(2, 1), jitter=0.0).sites()
    >>> sites
    array([[0.5, 0.5],
           [1.5, 0.5]])
    """

    lower: Pair | None = None
    upper: Pair | None = None
    cells: SpaceTimeGrid | None = None
    polygon: Annotated[tuple[Pair, ...], MinLen(3)] | None = None
    points: Annotated[tuple[Pair, ...], MinLen(1)] | None = None
    jitter: Annotated[float, Ge(0), Lt(0.5)] = 0.3
    seed: Annotated[int, Ge(0)] = 0
    relaxations: Annotated[int, Ge(0)] = 0
    kind: Literal["voronoi"] = "voronoi"

    def __post_init__(self) -> None:
        if (self.lower is None) != (self.upper is None) or (self.lower is None) == (self.polygon is None):
            raise CaseError("the domain of voronoi is either lower and upper, or polygon; give one of the two")
        if (self.cells is None) == (self.points is None):
            raise CaseError("the sites of voronoi are either a lattice of cells, or points; give one of the two")
        corners = self._corners()
        low, high = corners[[0, 2]] if self.polygon is None else (corners.min(axis=0), corners.max(axis=0))
        check_extent(tuple(low), tuple(high), self.cells or (1, 1))
        _require_convex(corners)
        if self.points is not None:
            _require_apart(_pairs("points", self.points), _Walls.of(corners), "move it or leave it out")

    @property
    def extent(self) -> Extent | None:
        """Its dimension and number of cells, if it is known before the mesh."""
        if self.points is not None:
            return Extent(2, len(self.points))
        return None if self.lower is None or self.cells is None else Extent(2, math.prod(self.cells))

    def sites(self) -> tuple[Array, Array]:
        """The sites (site, 2), relaxed, and the polygon (corner, 2), counter-clockwise."""
        polygon = self._corners()
        walls = _Walls.of(polygon)
        sites = self._lattice(walls) if self.points is None else _pairs("points", self.points)
        if not len(sites):
            raise CaseError(f"cells {self.cells}: no site is inside the polygon and clear of its walls; use more cells")
        _require_apart(sites, walls, "use a smaller jitter or fewer cells")
        for _ in range(self.relaxations):
            sites = centroids(sites, *bounded(sites, polygon))
        return sites, polygon

    def build(self) -> Mesh:
        """The mesh; centres are the sites, so that lines between them are orthogonal to the faces."""
        sites, polygon = self.sites()
        return assembled(*bounded(sites, polygon), centre=sites)

    def refined(self, factor: int = 2) -> Voronoi:
        """The same domain with a lattice of `factor` times as many cells along each axis."""
        if self.cells is None:
            raise CaseError("voronoi cannot be refined where points are its sites; give cells instead")
        return replace(self, cells=tuple(factor * count for count in self.cells))

    def _corners(self) -> Array:
        if self.polygon is None:
            (left, low), (right, high) = _pairs("lower and upper", (self.lower or (), self.upper or ()))
            return np.array([[left, low], [right, low], [right, high], [left, high]])
        corners = _pairs("polygon", self.polygon)
        return corners[::-1] if _cross(corners, np.roll(corners, -1, axis=0)).sum() < 0 else corners

    def _lattice(self, walls: _Walls) -> Array:
        counts = self.cells or ()
        low = walls.corner.min(axis=0)
        spacing = (walls.corner.max(axis=0) - low) / counts
        number = np.stack(np.meshgrid(*map(np.arange, counts)), axis=-1).reshape(-1, 2)
        shift = np.random.default_rng(self.seed).uniform(-self.jitter, self.jitter, number.shape)
        sites = low + (number + 0.5 + shift) * spacing
        clear = min(0.25, 0.5 - self.jitter) * (np.abs(walls.normal) @ spacing)
        return np.asarray(sites[(walls.depth(sites) >= clear).all(axis=1)])


def _pairs(name: str, values: tuple[tuple[float, ...], ...]) -> Array:
    if not values or {len(value) for value in values} != {2}:
        raise CaseError(f"{name} of voronoi: got {values}; give pairs of x and y")
    return np.array(values, float)


def _require_convex(polygon: Array) -> None:
    """Refuse polygons that do not turn left at each corner, or wind about themselves: CaseError."""
    side = np.roll(polygon, -1, axis=0) - polygon
    before = np.roll(side, 1, axis=0)
    turn = np.arctan2(_cross(before, side), (before * side).sum(axis=1))
    faulty = (turn <= _STRAIGHT) | (turn >= math.pi - _STRAIGHT)
    if faulty.any():
        corner = polygon[np.argmax(faulty)].tolist()
        raise CaseError(f"the polygon does not turn at {corner} as convex ones do; leave this corner out")
    if turn.sum() > 3.0 * math.pi:
        raise CaseError("the polygon winds about itself; give its corners in order, once each")


def _require_apart(sites: Array, walls: _Walls, remedy: str) -> None:
    """Refuse sites outside, on the walls, or too near to each other for doubles: CaseError."""
    from scipy.spatial import cKDTree

    limit, depth = _APART * walls.size, walls.depth(sites).min(axis=1)
    if not depth.min() >= limit:
        site = sites[np.argmin(depth)].tolist()
        raise CaseError(f"site {site} is not inside the polygon, at least {limit:.2g} off its walls; {remedy}")
    apart = np.asarray(cKDTree(sites).query(sites, 2)[0])[:, 1]
    if apart.min() < limit:
        site = sites[np.argmin(apart)].tolist()
        raise CaseError(f"site {site} is {apart.min():.2g} from another, and not at least {limit:.2g}; {remedy}")
