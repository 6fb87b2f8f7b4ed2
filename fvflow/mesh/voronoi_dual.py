"""The Voronoi dual of a Delaunay mesh: control volumes about the nodes of triangles or tetrahedra."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from fvflow.mesh.arrays import Array, Index, Subset, freeze, freeze_index
from fvflow.mesh.cell_geometry import circumcentric_areas
from fvflow.mesh.core import Mesh
from fvflow.mesh.pieces import Simplices
from fvflow.mesh.polytopes import coinciding, lowest_at_place, mesh_from_cells
from fvflow.mesh.quadrature import gauss
from fvflow.mesh.revolution import Revolution
from fvflow.mesh.revolved import revolved
from fvflow.mesh.sub_simplices import SubSimplices, sub_simplices

_ROUND_OFF = 1e-9  # area of a face that counts as zero, relative to that of a cube on the edge across it
_COINCIDENT = 1e-9  # distance below which circumcentres coincide, relative to the size of the mesh


def dual_mesh(elements: Mesh, revolution: Revolution | None = None) -> Mesh | None:
    """The mesh whose cells are the Voronoi boxes of the nodes of triangles or tetrahedra.

    The face between nodes i and j is the polygon of the circumcentres of the elements about their edge. It lies in the
    bisector of the edge, so it is orthogonal to it, and T = |s|/|x_i - x_j| >= 0 if the mesh is Delaunay and no
    circumcentre lies beyond a wall (Si, Gaertner, Fuhrmann, Boundary conforming Delaunay mesh generation, Comput. Math.
    Math. Phys. 50, 2010). In three dimensions `cell_points` of the boxes is empty and plots show values on the nodes.
    With a `revolution` they are turned, as by `revolved`. None for other cells, if a face has a negative area, and
    where walls touch in a node.
    """
    if elements.cell_points.shape[1] != elements.dimension + 1 or elements.cell_points.min() < 0:
        return None
    parts = sub_simplices(elements.points, elements.cell_points)
    area = np.asarray(np.bincount(parts.edge, parts.area), float)
    if not _nonnegative(elements.points, parts.edges, area) or _walls_touch(elements):
        return None
    made = _polygons(elements, parts) if elements.dimension == 2 else _polyhedra(elements, parts, area)
    mesh = revolved(made, revolution)
    count = len(elements.cell_points)
    inside = {name: np.tile(share, len(parts.edge) // count) for name, share in elements.regions.items()}
    regions = {name: freeze(_sum_at_nodes(parts, share, revolution) / mesh.volume) for name, share in inside.items()}
    return replace(mesh, regions=regions)


def _sum_at_nodes(parts: SubSimplices, factor: Array, revolution: Revolution | None = None) -> Array:
    """Sum over the sub-simplices of each box of their volumes, or of those of their rings, times a factor (node,)."""
    share = parts.volume * factor
    sides = [share, share]
    if revolution is not None:
        corners = (np.column_stack([end, parts.corners]) for end in parts.ends.T)
        sides = [share * revolution.around(parts.points, each) for each in corners]
    first, second = map(np.bincount, parts.ends.T, sides, [int(parts.ends.max()) + 1] * 2)
    return np.asarray(first + second)


def _nonnegative(points: Array, edges: Index, area: Array) -> bool:
    """Whether the dual faces of all edges have areas >= 0."""
    length = np.linalg.norm(points[edges[:, 0]] - points[edges[:, 1]], axis=1)
    return bool((area >= -_ROUND_OFF * length ** (points.shape[1] - 1)).all())


def _walls_touch(elements: Mesh) -> bool:
    """Whether two walls in the plane begin in one node."""
    start = elements.wall_points[:, 0]
    return elements.dimension == 2 and len(np.unique(start)) < len(start)


def _polygons(elements: Mesh, parts: SubSimplices) -> Mesh:
    """The boxes in the plane: the circumcentres about each node; at walls also the node and their midpoints."""
    points, triangles, walls = elements.points, elements.cell_points, elements.wall_points
    nodes, count = len(points), len(triangles)
    midpoint = points[walls].mean(axis=1)
    circumcentre = parts.points[nodes : nodes + count]
    start, end = walls.T  # the domain is on the left
    heading = np.zeros(nodes)
    heading[start] = _angle(midpoint - points[start])
    first_wall = nodes + np.arange(len(walls))
    first_circumcentre = nodes + len(walls) + np.arange(count)
    owner = np.concatenate([start, start, end, triangles.T.ravel()])
    corner = np.concatenate([start, first_wall, first_wall, np.tile(first_circumcentre, 3)])
    turn = _angle(np.tile(points[triangles].mean(axis=1), (3, 1)) - points[triangles.T.ravel()])
    turn = np.mod(turn - heading[triangles.T.ravel()], 2 * np.pi)
    size = len(walls)
    rank = np.concatenate([np.full(size, -2.0), np.full(size, -1.0), np.full(size, 7.0), turn])
    order = np.lexsort((rank, owner))
    everything = np.concatenate([points, midpoint, circumcentre])
    corner = lowest_at_place(everything, coinciding(everything, _COINCIDENT))[corner]
    rows = _table(owner[order], corner[order])
    halves = {
        name: np.concatenate([np.stack([start[part], first_wall[part]], 1), np.stack([first_wall[part], end[part]], 1)])
        for name, part in elements.boundaries.items()
    }
    return mesh_from_cells(everything, rows, points, boundaries=halves)


def _angle(direction: Array) -> Array:
    """Angle of each vector (vector, 2) with the x axis, in (-pi, pi]."""
    return np.asarray(np.arctan2(direction[:, 1], direction[:, 0]))


def _table(owner: Index, corner: Index) -> Index:
    """The corners of each owner as a table (owner, corner) padded with -1, without consecutive repetitions.

    Both arrays are sorted by owner.
    """
    last = np.append(owner[1:] != owner[:-1], True)
    first = np.append(True, last[:-1])
    opening = np.flatnonzero(first)
    following = np.where(last, corner[np.repeat(opening, np.diff(np.append(opening, len(owner))))], np.roll(corner, -1))
    kept = corner != following
    owner, corner = owner[kept], corner[kept]
    sizes = np.bincount(owner)
    rows = np.full((len(sizes), sizes.max()), -1, np.int32)
    column = np.arange(len(owner)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    rows[owner, column] = corner
    return rows


@dataclass(frozen=True, eq=False, repr=False)
class TetrahedralDual(Mesh):
    """Voronoi boxes of the nodes of tetrahedra, represented by their orthogonal sub-simplices."""

    elements: Index | None = None
    """Nodes of the tetrahedra (element, 4), which plots show."""
    parts: SubSimplices | None = None
    """The sub-simplices of all boxes."""
    face_of: Index | None = None
    """Face that the dual area of each pair of sub-simplices belongs to (pair,); -1 for an edge of zero dual area."""

    @property
    def plot_cells(self) -> Index:
        """The tetrahedra (element, 4)."""
        assert self.elements is not None
        return self.elements

    @property
    def point_data(self) -> bool:
        """True: values belong to the nodes."""
        return True

    def signed_simplices(self) -> tuple[Index, Array, Array]:
        """As `Mesh.signed_simplices`: the sub-simplices."""
        assert self.parts is not None
        node, corners = self.parts.at_nodes
        return node, self.parts.points[corners], np.tile(np.sign(self.parts.area), 2)

    def shelters(self) -> tuple[Array, None]:
        """As `Mesh.shelters`: the tetrahedra, whose points belong to the nearest node."""
        return self.points[self.plot_cells], None

    def wall_contacts(self, walls: Index) -> tuple[Index, Index, Array]:
        """As `Mesh.wall_contacts`: a wall triangle touches the boxes of its three nodes."""
        nodes = self.wall_points[walls, :3]
        return np.repeat(walls, 3), nodes.ravel(), circumcentric_areas(self.points[nodes]).ravel()

    @cached_property
    def pieces(self) -> Simplices:
        """The sub-simplices; raises CaseError if one of them counts negative."""
        assert self.parts is not None
        return self.parts.pieces()

    def quadrature(self, count: int) -> Iterator[tuple[Array, Array, Subset]]:
        """As `Mesh.quadrature`, with at most two points per axis in each sub-simplex; weights may be negative."""
        assert self.parts is not None
        for end in self.parts.ends.T:
            for corners, sign, part in self._blocks(np.column_stack([end, self.parts.corners]), end):
                for position, weight, _ in gauss(self.parts.points, corners, 3, min(count, 2)):
                    yield position, sign * np.abs(weight), part

    def face_quadrature(self, count: int) -> Iterator[tuple[Array, Array, Subset]]:
        """As `Mesh.face_quadrature`, with at most two points per axis in each sub-simplex; weights may be negative."""
        assert self.parts is not None
        assert self.face_of is not None
        for corners, sign, part in self._blocks(self.parts.corners, self.face_of):
            for position, weight, _ in gauss(self.parts.points, corners, 2, min(count, 2)):
                yield position[part >= 0], (sign * np.abs(weight))[part >= 0], part[part >= 0]

    def _blocks(self, corners: Index, part: Index) -> Iterator[tuple[Index, Array, Index]]:
        """Corners and signs of the sub-simplices and the cell or face of each, in blocks over all elements."""
        assert self.parts is not None
        size = len(self.plot_cells)
        for first in range(0, len(part), size):
            rows = slice(first, first + size)
            yield corners[rows], np.sign(self.parts.area[rows]), part[rows]


def _polyhedra(elements: Mesh, parts: SubSimplices, area: Array) -> TetrahedralDual:
    """The boxes in space; edges of zero dual area have no face."""
    points, edges = elements.points, parts.edges
    volume = _sum_at_nodes(parts, np.ones(len(parts.edge)))
    ahead = points[edges[:, 1]] - points[edges[:, 0]]
    length = np.linalg.norm(ahead, axis=1)
    kept = area > _ROUND_OFF * length**2
    face_of = np.where(kept, np.cumsum(kept) - 1, -1)[parts.edge]
    return TetrahedralDual(
        centre=points,
        volume=freeze(volume),
        owner=freeze_index(edges[kept, 0]),
        neighbour=freeze_index(edges[kept, 1]),
        area=freeze(area[kept]),
        distance=freeze(length[kept]),
        normal=freeze(ahead[kept] / length[kept, None]),
        points=points,
        cell_points=freeze_index(np.empty((len(points), 0))),
        face_points=freeze_index(np.empty((int(kept.sum()), 0))),
        wall_points=elements.wall_points,
        wall_cell=elements.wall_points[:, 0],
        boundaries=elements.boundaries,
        elements=elements.cell_points,
        parts=parts,
        face_of=freeze_index(face_of),
    )
