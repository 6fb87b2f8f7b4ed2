"""The face graph: what a finite-volume scheme needs to know of a mesh."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from fvflow.mesh.arrays import Array, Index, Subset, freeze, freeze_index
from fvflow.mesh.extent import SIDES, Extent
from fvflow.mesh.pieces import Pieces, Simplices, simplices
from fvflow.mesh.quadrature import along, difference_along, gauss, integrated, outward_normals
from fvflow.mesh.revolution import Revolution

_ON_SIDE = 1e-9  # distance from a side, relative to the size of the mesh, that counts as lying in it


@dataclass(frozen=True, eq=False, repr=False)
class Mesh:
    """A partition of the domain into control volumes K, seen as a graph whose edges are the interior faces s = K|L.

    The line between the centres of K and L is orthogonal to s (Eymard, Gallouet, Herbin, Finite Volume Methods, 2000),
    so that (rho_L - rho_K)/distance is a consistent normal derivative. Only interior faces are stored: the flux through
    the walls is zero by construction.

    Cells of a grid are numbered with x fastest, faces by axis and then by owner. Lengths have the unit of the nodes.
    """

    centre: Array
    """Points x_K that two-point fluxes join (cell, dim): circumcentres, centroids or Voronoi sites."""
    volume: Array
    """Measures |K| (cell,)."""
    owner: Index
    """Cell K that the normal of each face leaves (face,)."""
    neighbour: Index
    """Cell L that the normal of each face enters (face,); owner < neighbour but where a periodic axis is joined."""
    area: Array
    """Measures |s| (face,); 1 in one dimension."""
    distance: Array
    """Distances (x_L - x_K) . n (face,) of the centres along the normal."""
    normal: Array
    """Unit normals n of s from K to L (face, dim)."""
    points: Array
    """Nodes (node, dim)."""
    cell_points: Index
    """Nodes of each cell (cell, corner), in VTK's order; rows of fewer corners end with -1."""
    face_points: Index
    """Nodes of each interior face (face, corner), in VTK's order, padded as `cell_points`."""
    wall_points: Index
    """Nodes of each wall face, a face of one cell only (wall, corner), padded as `cell_points`."""
    wall_cell: Index
    """The cell of each wall face (wall,)."""
    edges: tuple[Array, ...] | None = None
    """Cell boundaries of a grid along x, y, z, each (cells along the axis + 1,); None if the mesh is not a grid."""
    regions: Mapping[str, Array] = field(default_factory=dict)
    """Volume fraction of each cell inside each named region (cell,)."""
    boundaries: Mapping[str, Index] = field(default_factory=dict)
    """Rows of `wall_points` that belong to each named boundary (wall,)."""
    remark: str = ""
    """What was done to make fluxes consistent on the mesh, if it was not as it was asked for."""
    periodic: tuple[int, ...] = ()
    """Axes of a grid, 0 for x, 1 for y, 2 for z, along which its last cells are joined to its first."""
    left_out: tuple[str, ...] = ()
    """Phrases for what the file of the mesh has besides, which is not used."""
    revolution: Revolution | None = None
    """What x stands for where it is a radius, and all measures are those of rings or shells; None if it is not."""
    flat: Mesh | None = None
    """The mesh in the plane that is turned, with its own measures, if this is one of rings and no grid."""

    @property
    def plot_cells(self) -> Index:
        """Nodes of the cells that plots show (part, corner), as `cell_points`; of a dual mesh the primal elements."""
        return self.cell_points

    @property
    def point_data(self) -> bool:
        """Whether values belong to the nodes of `plot_cells` rather than to the cells."""
        return False

    @property
    def face_regions(self) -> Mapping[str, Array]:
        """Fraction of each face inside each named region (face,); half of both cells where more is not known."""
        return {name: 0.5 * (part[self.owner] + part[self.neighbour]) for name, part in self.regions.items()}

    @property
    def cut_by_regions(self) -> bool:
        """Whether interfaces of regions cross cells and faces, of which `face_regions` knows the parts."""
        return False

    def signed_simplices(self) -> tuple[Index, Array, Array] | None:
        """Simplices that make up the cells, where `cell_points` do not tell them.

        The cell of each (part,), its corners (part, dim + 1, dim), and 1, or -1 where it is to be subtracted (part,).
        """
        return None

    def shelters(self) -> tuple[Array, Index | None] | None:
        """Simplices whose points lie in few cells, where `cell_points` do not tell which.

        Their corners (simplex, dim + 1, dim), and the cells (simplex, part), padded with -1, of which the one of the
        nearest centre holds a point of the simplex; None in place of these stands for all cells.
        """
        return None

    @property
    def dimension(self) -> int:
        """Number of space dimensions."""
        return int(self.points.shape[1])

    @property
    def space_dimension(self) -> int:
        """Number of dimensions of the space that it stands for: more than `dimension` where x is a radius."""
        return self.dimension if self.revolution is None else self.dimension - 1 + self.revolution.dimension

    @property
    def cells(self) -> int:
        """Number of cells."""
        return len(self.volume)

    @property
    def faces(self) -> int:
        """Number of interior faces."""
        return len(self.owner)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of a cell field as it is stored: (z, y, x) for a grid, (cell,) otherwise."""
        if self.edges is None:
            return (self.cells,)
        return tuple(len(edge) - 1 for edge in reversed(self.edges))

    @cached_property
    def nonuniformity(self) -> float:
        """Largest deviation of the edges from uniform spacing, in cell widths; infinite if the mesh is not a grid."""
        if self.edges is None:
            return np.inf
        ideal = (np.linspace(edge[0], edge[-1], len(edge)) for edge in self.edges)
        deviations = (
            np.abs(edge - even).max() / (even[1] - even[0]) for edge, even in zip(self.edges, ideal, strict=True)
        )
        return float(max(deviations))

    @property
    def product_edges(self) -> tuple[Array, ...] | None:
        """`edges`, each (edge,), if a volume is the product of the widths; else, or if it is not a grid, None."""
        return self.edges if self.revolution is None else None

    @property
    def whole(self) -> Mesh:
        """The mesh of the domain; itself, unless it is the part of it that one of several processes holds."""
        return self

    @property
    def rings(self) -> tuple[int, ...]:
        """The periodic axes on which faces of the arrays join the last cells to the first ones: all, but in a slab."""
        return self.periodic

    @cached_property
    def corners(self) -> tuple[Array, Array]:
        """The lower and the upper corner of the bounding box of the domain, each (dim,)."""
        return self.points.min(axis=0), self.points.max(axis=0)

    def held(self, axis: int, values: Array) -> Array:
        """The values of the cells that this mesh has, of those (interval,) of all cells along an axis of a grid."""
        return values

    @property
    def extent(self) -> Extent:
        """Dimension, number of cells, and whether the mesh is a grid."""
        return Extent(self.dimension, self.cells, self.edges is not None)

    @property
    def periods(self) -> Array:
        """Length of the mesh along each axis that is periodic, infinite along the others (dim,)."""
        lengths = [np.ptp(edge) if axis in self.periodic else np.inf for axis, edge in enumerate(self.edges or ())]
        return np.array(lengths or [np.inf] * self.dimension)

    def nearest_image(self, offset: Array) -> Array:
        """Offsets (point, dim) less the periods nearest to them: the shortest ones that lead to the same places."""
        return offset - self._whole_periods(offset, np.round) if self.periodic else offset

    def inside_period(self, position: Array) -> Array:
        """The positions (point, dim), moved by whole periods onto the mesh along periodic axes."""
        if not self.periodic:
            return position
        return position - self._whole_periods(position - self.corners[0], np.floor)

    def _whole_periods(self, offset: Array, rounded: Callable[[Array], Array]) -> Array:
        periods = self.periods
        return np.where(np.isfinite(periods), rounded(offset / periods) * np.where(np.isfinite(periods), periods, 0), 0)

    @cached_property
    def cell_size(self) -> Array:
        """The side of a cube of the measure of each cell (cell,), |K|^(1/dim); of its own, not of a ring or shell."""
        return freeze(self.volume ** (1.0 / self.dimension)) if self.flat is None else self.flat.cell_size

    @cached_property
    def coordinates(self) -> Array:
        """x, y, z of the cell centres (dim, cell)."""
        return freeze(self.centre.T)

    @cached_property
    def transmissibility(self) -> Array:
        """T = |s|/d of each face (face,)."""
        return freeze(self.area / self.distance)

    @cached_property
    def walls(self) -> tuple[Array, Array]:
        """Centres and outward unit normals of the wall faces, each (wall, dim)."""
        outward = outward_normals(self.points, self.wall_points)
        rule = list(gauss(self.points, self.wall_points, self.dimension - 1, 1))
        centre = np.empty_like(outward)
        for position, _, part in rule:
            centre[part] = position
        return centre, outward

    @cached_property
    def named_walls(self) -> Mapping[str, Index]:
        """Rows of `wall_points` (wall,) by name: the boundaries of the mesh, and the sides of its bounding box.

        left and right are the lower and upper x, bottom and top y, back and front z. A side holds the wall faces that
        lie in it.
        """
        lower, upper = self.corners
        corners = self.points[np.where(self.wall_points < 0, self.wall_points[:, :1], self.wall_points)]
        sides = {}
        for axis, names in enumerate(SIDES[: self.dimension]):
            for name, end in zip(names, (lower[axis], upper[axis]), strict=True):
                near = np.abs(corners[:, :, axis] - end) <= _ON_SIDE * (upper[axis] - lower[axis])
                sides[name] = freeze_index(np.flatnonzero(near.all(axis=1)))
        return {**{name: rows for name, rows in sides.items() if len(rows)}, **self.boundaries}

    @cached_property
    def wall_area(self) -> Array:
        """Measures |s| of the wall faces (wall,); 1 in one dimension."""
        rule = self._measured(gauss(self.points, self.wall_points, self.dimension - 1, 2))
        return freeze(integrated(rule, lambda at, part: np.ones(len(at)), len(self.wall_points)))

    def wall_contacts(self, walls: Index) -> tuple[Index, Index, Array]:
        """The wall face, the cell and the area (contact,) of each contact between some wall faces and the cells."""
        return walls, self.wall_cell[walls], self.wall_area[walls]

    @cached_property
    def components(self) -> Index:
        """Number of the connected component of each cell (cell,), from 0."""
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        pairs = np.ones(self.faces, np.int8), (self.owner, self.neighbour)
        return freeze_index(connected_components(coo_array(pairs, shape=(self.cells, self.cells)), directed=False)[1])

    @cached_property
    def pieces(self) -> Pieces:
        """The simplices that the cells are made of; raises CaseError if they are made of none."""
        vertices, corners, cell = simplices(self.points, self.cell_points)
        return Simplices(cell, vertices[corners], self.revolution)

    def quadrature(self, count: int) -> Iterator[tuple[Array, Array, Subset]]:
        """Gauss points, `count` per axis, in batches: positions (point, dim), weights (point,) and the cell of each.

        A slice over all cells stands for one point in each cell. The weights of a cell add up to its volume.
        """
        count = count if self.revolution is None else max(count, 2)  # one point does not tell the volume of a ring
        yield from self._measured(gauss(self.points, self.cell_points, self.dimension, count))

    def difference_along_faces(self, function: Callable[[Array], Array]) -> Array:
        """f(end) - f(start) of each face (face,) of a mesh in the plane, along its normal turned left.

        This is the flux of (d_y f, -d_x f) through the face; f takes positions (point, 2).
        """
        start, end = self.face_points.T
        return difference_along(self.points, function(self.points), start, end, self.normal)

    def face_quadrature(self, count: int) -> Iterator[tuple[Array, Array, Subset]]:
        """Gauss points of the interior faces, as `quadrature`; the weights of a face add up to its area."""
        yield from self._measured(gauss(self.points, self.face_points, self.dimension - 1, count))

    def _measured(self, rule: Iterator[tuple[Array, Array, Subset]]) -> Iterator[tuple[Array, Array, Subset]]:
        """A rule of lengths, areas or volumes as one of the measure of the mesh."""
        return rule if self.revolution is None else self.revolution.weighted(rule)

    @cached_property
    def face_centre(self) -> Array:
        """The centroid of each face (face, dim)."""
        axes = [self.face_integral(along(axis), 2) for axis in range(self.dimension)]
        return freeze(np.stack(axes, axis=1) / self.area[:, None])

    def integral(self, function: Callable[[Array, Subset], Array], count: int) -> Array:
        """int_K f dx of each cell (cell,), by `count` Gauss points per axis; f takes positions and their cells."""
        return integrated(self.quadrature(count), function, self.cells)

    def face_integral(self, function: Callable[[Array, Subset], Array], count: int) -> Array:
        """int_s f ds of each interior face (face,), as `integral`."""
        return integrated(self.face_quadrature(count), function, self.faces)
