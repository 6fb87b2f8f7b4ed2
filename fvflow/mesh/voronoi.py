"""Voronoi meshes: every point of a convex polygon belongs to the cell of the nearest site."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

import numpy as np
from annotated_types import Ge, Lt, MaxLen, MinLen

from fvflow.errors import CaseError
from fvflow.mesh.arrays import Array
from fvflow.mesh.base import MeshDescription, coarser
from fvflow.mesh.box import check_box
from fvflow.mesh.core import Mesh
from fvflow.mesh.extent import Extent
from fvflow.mesh.polytopes import mesh_from_cells
from fvflow.mesh.revolution import DISC, Revolution
from fvflow.mesh.revolved import revolved
from fvflow.mesh.voronoi_cells import Walls, centroids, clipped_voronoi, cross

Pair = Annotated[tuple[float, ...], MinLen(2), MaxLen(2)]
LatticeCounts = Annotated[tuple[Annotated[int, Ge(1)], ...], MinLen(2), MaxLen(2)]

# Smallest distance of sites, relative to the size: its square must be resolved on the paraboloid of the triangulation.
_MIN_SPACING = 1e-6
_STRAIGHT = 1e-6  # angle in radians below which the polygon does not turn at a corner


@dataclass(frozen=True)
class Voronoi(MeshDescription):
    """Voronoi cells of a jittered lattice, or of given points, in a box or a convex polygon.

    Lattice sites that lie outside a polygon, or nearer to a wall than min(1/4, 1/2 - jitter) lattice cells, are
    dropped; a box keeps all sites.

    >>> sites, polygon = Voronoi(lower=(0.0, 0.0), upper=(2.0, 1.0), cells=(2, 1), jitter=0.0).sites()
    >>> sites
    array([[0.5, 0.5],
           [1.5, 0.5]])
    """

    lower: Pair | None = None
    """Lower corner (x, y) of a box; exclusive with `polygon`."""
    upper: Pair | None = None
    """Upper corner (x, y) of a box; exclusive with `polygon`."""
    cells: LatticeCounts | None = None
    """Number of lattice sites along x and y; exclusive with `points`."""
    polygon: Annotated[tuple[Pair, ...], MinLen(3)] | None = None
    """Corners (x, y) of a convex polygon in order; exclusive with `lower` and `upper`."""
    points: Annotated[tuple[Pair, ...], MinLen(1)] | None = None
    """Sites (x, y) of the cells; exclusive with `cells`."""
    jitter: Annotated[float, Ge(0), Lt(0.5)] = 0.3
    """Largest random displacement of a lattice site along each axis, in lattice spacings."""
    seed: Annotated[int, Ge(0)] = 0
    """Seed of the random displacements."""
    relaxations: Annotated[int, Ge(0)] = 0
    """Number of Lloyd iterations, each of which moves the sites to the centroids of their cells."""
    axisymmetric: bool = False
    """Whether x is the distance from an axis along y, so that volumes are those of rings, 2 pi x dx dy."""
    kind: Literal["voronoi"] = "voronoi"

    def __post_init__(self) -> None:
        if (self.lower is None) != (self.upper is None) or (self.lower is None) == (self.polygon is None):
            raise CaseError("the domain of voronoi is either lower and upper, or polygon; give one of the two")
        if (self.cells is None) == (self.points is None):
            raise CaseError("the sites of voronoi are either a lattice of cells, or points; give one of the two")
        corners = self._corners()
        low, high = corners[[0, 2]] if self.polygon is None else (corners.min(axis=0), corners.max(axis=0))
        check_box(tuple(low), tuple(high), self.cells or (1, 1))
        _require_convex(corners)
        if self.points is not None:
            _require_spacing(_pairs("points", self.points), Walls.of(corners), "move or remove it")

    @classmethod
    def declared_dimension(cls, values: Mapping[str, Any]) -> int:
        """2: Voronoi meshes are in the plane."""
        return 2

    @property
    def extent(self) -> Extent | None:
        """Dimension and number of cells; None for a lattice in a polygon, which drops sites near the walls."""
        if self.points is not None:
            return Extent(2, len(self.points))
        return None if self.lower is None or self.cells is None else Extent(2, math.prod(self.cells))

    def sites(self) -> tuple[Array, Array]:
        """The sites after relaxation (site, 2), and the polygon (corner, 2), counter-clockwise.

        Raises CaseError if no site is inside, or two are too close.
        """
        polygon = self._corners()
        walls = Walls.of(polygon)
        sites = self._lattice(walls) if self.points is None else _pairs("points", self.points)
        if not len(sites):
            raise CaseError(f"cells {self.cells}: no site is inside the polygon and clear of its walls; use more cells")
        _require_spacing(sites, walls, "use a smaller jitter or fewer cells")
        for _ in range(self.relaxations):
            sites = centroids(sites, *clipped_voronoi(sites, polygon))
        return sites, polygon

    def build(self) -> Mesh:
        """The mesh whose centres are the sites, so that the lines between them are orthogonal to the faces."""
        sites, polygon = self.sites()
        mesh = mesh_from_cells(*clipped_voronoi(sites, polygon), centre=sites)
        return revolved(mesh, Revolution.whole(DISC) if self.axisymmetric else None)

    def refined(self, factor: int = 2) -> Voronoi:
        """The same domain with `factor` times as many lattice sites per axis; raises CaseError for given points."""
        if self.cells is None:
            raise CaseError("a voronoi mesh of given points cannot be refined; give cells instead")
        return replace(self, cells=tuple(factor * count for count in self.cells))

    def coarsened(self, factor: int = 2) -> Voronoi:
        """The same domain with 1/`factor` of the lattice sites per axis; raises CaseError for given points."""
        if self.cells is None:
            raise CaseError("a voronoi mesh of given points cannot be coarsened; give cells instead")
        return replace(self, cells=coarser(self.cells, factor))

    def _corners(self) -> Array:
        """The corners of the domain (corner, 2), counter-clockwise."""
        if self.polygon is None:
            (left, low), (right, high) = _pairs("lower and upper", (self.lower or (), self.upper or ()))
            return np.array([[left, low], [right, low], [right, high], [left, high]])
        corners = _pairs("polygon", self.polygon)
        return corners[::-1] if cross(corners, np.roll(corners, -1, axis=0)).sum() < 0 else corners

    def _lattice(self, walls: Walls) -> Array:
        """The jittered lattice sites that are clear of the walls (site, 2)."""
        counts = self.cells or ()
        low = walls.corner.min(axis=0)
        spacing = (walls.corner.max(axis=0) - low) / counts
        number = np.stack(np.meshgrid(*map(np.arange, counts)), axis=-1).reshape(-1, 2)
        shift = np.random.default_rng(self.seed).uniform(-self.jitter, self.jitter, number.shape)
        sites = low + (number + 0.5 + shift) * spacing
        clear = min(0.25, 0.5 - self.jitter) * (np.abs(walls.normal) @ spacing)
        return np.asarray(sites[(walls.depth(sites) >= clear).all(axis=1)])


def _pairs(name: str, values: tuple[tuple[float, ...], ...]) -> Array:
    """The values as an array (point, 2); raises CaseError if they are not pairs."""
    if not values or {len(value) for value in values} != {2}:
        raise CaseError(f"{name} of voronoi: got {values}; give pairs of x and y")
    return np.array(values, float)


def _require_convex(polygon: Array) -> None:
    """Raise CaseError if the polygon does not turn left at each corner, or winds around more than once."""
    side = np.roll(polygon, -1, axis=0) - polygon
    previous = np.roll(side, 1, axis=0)
    turn = np.arctan2(cross(previous, side), (previous * side).sum(axis=1))
    faulty = (turn <= _STRAIGHT) | (turn >= math.pi - _STRAIGHT)
    if faulty.any():
        corner = polygon[np.argmax(faulty)].tolist()
        raise CaseError(
            f"the polygon does not turn left at its corner {corner}, so it is not convex; remove this corner"
        )
    if turn.sum() > 3.0 * math.pi:
        raise CaseError("the polygon winds around more than once; give its corners in order, once each")


def _require_spacing(sites: Array, walls: Walls, remedy: str) -> None:
    """Raise CaseError for sites outside, too close to a wall, or too close to each other for doubles."""
    from scipy.spatial import cKDTree

    limit, depth = _MIN_SPACING * walls.size, walls.depth(sites).min(axis=1)
    if not depth.min() >= limit:
        site = sites[np.argmin(depth)].tolist()
        raise CaseError(f"site {site} is not inside the polygon at least {limit:.2g} from its walls; {remedy}")
    spacing = np.asarray(cKDTree(sites).query(sites, 2)[0])[:, 1]
    if spacing.min() < limit:
        site = sites[np.argmin(spacing)].tolist()
        raise CaseError(f"site {site} is {spacing.min():.2g} from another, less than {limit:.2g}; {remedy}")
