"""Control volumes about the nodes of a simplicial mesh: the Voronoi boxes of a Delaunay mesh."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import combinations, permutations

import numpy as np

from fvflow.errors import CaseError
from fvflow.mesh.cell_geometry import place
from fvflow.mesh.core import Array, Index, Mesh, Part, freeze, freeze_index, gauss
from fvflow.mesh.polytopes import assembled, circumcentres

_NEGATIVE = 1e-9  # how negative the area of a face may come out, of that of a cube on the edge orthogonal to it
_TOUCHING = 1e-9  # distance of circumcentres that coincide, of the size of the mesh
_REMEDY = (
    "nodes needs a Delaunay mesh whose cells at the walls are not obtuse there: use delaunay: true, another size, or "
    "gmsh's Mesh.Algorithm = 6 (in space also Mesh.Algorithm3D = 1, Mesh.Optimize = 0)"
)


@dataclass(frozen=True, eq=False)
class _Pieces:
    """Simplices between a node, the middle of an edge at it, and the circumcentres of (a face and) an element there.

    A box is the sum of those at its node, with a sign: negative where a circumcentre is beyond its edge or face.
    """

    points: Array  # (node, dim) of the mesh, then middles and circumcentres
    ends: Index  # (piece, 2) nodes of the edge
    corners: Index  # (piece, dim) middle of the edge, (circumcentre of the face,) circumcentre of the element
    area: Array  # (piece,) signed measure of the part of the dual face
    length: Array  # (piece,) of the edge
    edge: Index  # (piece,) number of the edge
    edges: Index  # (edge, 2) nodes, the lower number first

    @property
    def volume(self) -> Array:
        """Signed measure of the half of the piece on either side of the dual face (piece,)."""
        return np.asarray(self.area * self.length / (2 * self.points.shape[1]))


def boxes(elements: Mesh) -> Mesh:
    """The mesh whose cells are the Voronoi boxes of the nodes of triangles or tetrahedra.

    The face between nodes i and j is what the circumcentres of the elements about their edge span in its bisector:
    orthogonal to it, and T = |s|/|x_i - x_j| >= 0 if the mesh is Delaunay and no circumcentre is beyond a wall (Si,
    Gaertner, Fuhrmann, Boundary conforming Delaunay mesh generation, Comput. Math. Math. Phys. 50, 2010). In three
    dimensions the boxes have no corners of their own and values are drawn on the nodes. Raises CaseError.
    """
    if elements.cell_points.shape[1] != elements.dimension + 1 or elements.cell_points.min() < 0:
        raise CaseError("control_volumes nodes is for triangles or tetrahedra alone; use control_volumes cells")
    pieces = _pieces(elements.points, elements.cell_points)
    area = np.asarray(np.bincount(pieces.edge, pieces.area), float)
    _require_positive(elements.points, pieces.edges, area)
    mesh = _polygons(elements, pieces) if elements.dimension == 2 else _polyhedra(elements, pieces, area)
    count = len(elements.cell_points)
    inside = {name: np.tile(part, len(pieces.edge) // count) for name, part in elements.regions.items()}
    regions = {name: freeze(_gathered(pieces, part) / mesh.volume) for name, part in inside.items()}
    return replace(mesh, regions=regions)


def _pieces(points: Array, elements: Index) -> _Pieces:
    """All pieces, one block of them for each way to choose an edge (and a face at it) in an element."""
    dimension, count = points.shape[1], len(points)
    summit = circumcentres(points, elements)
    first_summit = count
    blocks, added, ends, corners, areas, lengths = count + len(elements), [points, summit], [], [], [], []
    for a, b in combinations(range(dimension + 1), 2):
        rest = [k for k in range(dimension + 1) if k not in (a, b)]
        for others in permutations(rest):
            chain = [points[elements[:, k]] for k in (a, b, *others)]
            middle, along = 0.5 * (chain[0] + chain[1]), chain[1] - chain[0]
            length = np.linalg.norm(along, axis=1)
            steps, area = [middle], np.ones(len(elements))
            if dimension == 3:
                steps.append(_of_triangle(*chain[:3]))
                normal = np.cross(along, chain[2] - chain[0])
                area = 0.5 * _ahead(chain[3] - chain[0], normal, summit - steps[1])
            inward = chain[2] - middle
            inward -= ((inward * along).sum(axis=1) / length**2)[:, None] * along
            area *= _ahead(inward, inward, (summit if dimension == 2 else steps[1]) - middle)
            number = np.arange(len(elements), dtype=np.int32)
            ids = [blocks + place * len(elements) + number for place in range(len(steps))]
            blocks += len(steps) * len(elements)
            added += steps
            ends.append(elements[:, [a, b]])
            corners.append(np.stack([*ids, first_summit + number], axis=1))
            areas.append(area)
            lengths.append(length)
    pairs = np.sort(np.concatenate(ends), axis=1)
    edges, edge = np.unique(pairs[:, 0].astype(np.int64) * count + pairs[:, 1], return_inverse=True)
    return _Pieces(
        np.concatenate(added),
        np.concatenate(ends),
        np.concatenate(corners),
        np.concatenate(areas),
        np.concatenate(lengths),
        freeze_index(edge),
        freeze_index(np.stack(np.divmod(edges, count), axis=1)),
    )


def _ahead(towards: Array, normal: Array, step: Array) -> Array:
    """The step along the normal, turned to the side that `towards` points to (piece,)."""
    unit = normal * (np.sign((normal * towards).sum(axis=1)) / np.linalg.norm(normal, axis=1))[:, None]
    return np.asarray((step * unit).sum(axis=1))


def _of_triangle(a: Array, b: Array, c: Array) -> Array:
    """Circumcentres of triangles in space."""
    p, q = b - a, c - a
    normal = np.cross(p, q)
    pp, qq = (p**2).sum(axis=1)[:, None], (q**2).sum(axis=1)[:, None]
    return np.asarray(
        a + (qq * np.cross(normal, p) + pp * np.cross(q, normal)) / (2 * (normal**2).sum(axis=1))[:, None]
    )


def _gathered(pieces: _Pieces, factor: Array) -> Array:
    """Sum over the pieces of each box of their volumes times a factor (node,)."""
    count = int(pieces.ends.max()) + 1
    part = pieces.volume * factor
    return np.asarray(np.bincount(pieces.ends[:, 0], part, count) + np.bincount(pieces.ends[:, 1], part, count))


def _require_positive(points: Array, edges: Index, area: Array) -> None:
    """Refuse edges whose dual face has a negative area: CaseError."""
    length = np.linalg.norm(points[edges[:, 0]] - points[edges[:, 1]], axis=1)
    share = area / length ** (points.shape[1] - 1)
    if share.min() < -_NEGATIVE:
        worst = int(np.argmin(share))
        at = place(points[edges[worst]].mean(axis=0))
        raise CaseError(
            f"the face between the boxes of nodes {edges[worst, 0]} and {edges[worst, 1]} at {at}, the worst of "
            f"{(share < -_NEGATIVE).sum()} of {len(edges)}, has an area of {share[worst]:.2g} of its edge's; {_REMEDY}"
        )


def _polygons(elements: Mesh, pieces: _Pieces) -> Mesh:
    """The boxes in the plane: circumcentres about each node, at walls between the node and the middles of its walls."""
    points, triangles, walls = elements.points, elements.cell_points, elements.wall_points
    nodes, count = len(points), len(triangles)
    middle = points[walls].mean(axis=1)
    summit = pieces.points[nodes : nodes + count]
    start, end = _along_the_wall(elements)
    heading = np.zeros(nodes)
    heading[start] = _angle(middle - points[start])
    first_wall = nodes + np.arange(len(walls))
    first_summit = nodes + len(walls) + np.arange(count)
    owner = np.concatenate([start, start, end, triangles.T.ravel()])
    corner = np.concatenate([start, first_wall, first_wall, np.tile(first_summit, 3)])
    turn = _angle(np.tile(points[triangles].mean(axis=1), (3, 1)) - points[triangles.T.ravel()])
    turn = np.mod(turn - heading[triangles.T.ravel()], 2 * np.pi)
    size = len(walls)
    rank = np.concatenate([np.full(size, -2.0), np.full(size, -1.0), np.full(size, 7.0), turn])
    order = np.lexsort((rank, owner))
    everything, corner = _merged(np.concatenate([points, middle, summit]), corner)
    rows = _padded(owner[order], corner[order])
    halves = {
        name: np.concatenate([np.stack([start[part], first_wall[part]], 1), np.stack([first_wall[part], end[part]], 1)])
        for name, part in elements.boundaries.items()
    }
    return assembled(everything, rows, points, boundaries=halves)


def _along_the_wall(elements: Mesh) -> tuple[Index, Index]:
    """The nodes of each wall (wall,), the domain on the left; raises CaseError where walls touch in a node."""
    walls, points = elements.wall_points, elements.points
    start, end = walls.T
    if len(np.unique(start)) < len(start):
        node = int(start[np.flatnonzero(np.bincount(start)[start] > 1)[0]])
        raise CaseError(f"the walls touch at {place(points[node])}: node {node} has no box; use control_volumes cells")
    return start, end


def _angle(direction: Array) -> Array:
    return np.asarray(np.arctan2(direction[:, 1], direction[:, 0]))


def _merged(points: Array, corner: Index) -> tuple[Array, Index]:
    """The points, and the corners with those that coincide replaced by one of them."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components
    from scipy.spatial import cKDTree

    pairs = cKDTree(points).query_pairs(_TOUCHING * float(np.ptp(points, axis=0).max()), output_type="ndarray")
    graph = coo_array((np.ones(len(pairs), np.int8), tuple(pairs.T)), shape=(len(points), len(points)))
    _, group = connected_components(graph, directed=False)
    first = np.full(group.max() + 1, len(points))
    np.minimum.at(first, group, np.arange(len(points)))
    return points, first[group[corner]]


def _padded(owner: Index, corner: Index) -> Index:
    """Rows of corners by owner, both sorted by it, without repetitions of neighbours, padded with -1."""
    last = np.append(owner[1:] != owner[:-1], True)
    first = np.append(True, last[:-1])
    opening = np.flatnonzero(first)
    following = np.where(last, corner[np.repeat(opening, np.diff(np.append(opening, len(owner))))], np.roll(corner, -1))
    kept = corner != following
    owner, corner = owner[kept], corner[kept]
    sizes = np.bincount(owner)
    rows = np.full((len(sizes), sizes.max()), -1, np.int32)
    place_in_row = np.arange(len(owner)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    rows[owner, place_in_row] = corner
    return rows


@dataclass(frozen=True, eq=False, repr=False)
class NodeBoxes(Mesh):
    """Boxes about the nodes of tetrahedra, known by their pieces; `elements` are what values are drawn on."""

    elements: Index | None = None  # (element, corner)
    pieces: _Pieces | None = None
    face_of: Index | None = None  # (piece,) the face that it is part of, -1 for those of no area

    @property
    def plot_cells(self) -> Index:
        """The elements (element, corner)."""
        assert self.elements is not None
        return self.elements

    @property
    def point_data(self) -> bool:
        """Values belong to nodes."""
        return True

    def quadrature(self, count: int) -> Iterator[tuple[Array, Array, Part]]:
        """As of any mesh, by at most two points an axis of each piece; weights may be negative."""
        assert self.pieces is not None
        pieces = self.pieces
        for end in pieces.ends.T:
            for corners, sign, part in self._blocks(np.column_stack([end, pieces.corners]), end):
                for position, weight, _ in gauss(pieces.points, corners, 3, min(count, 2)):
                    yield position, sign * np.abs(weight), part

    def face_quadrature(self, count: int) -> Iterator[tuple[Array, Array, Part]]:
        """As of any mesh, by at most two points an axis of each piece; weights may be negative."""
        assert self.pieces is not None
        assert self.face_of is not None
        for corners, sign, part in self._blocks(self.pieces.corners, self.face_of):
            for position, weight, _ in gauss(self.pieces.points, corners, 2, min(count, 2)):
                yield position[part >= 0], (sign * np.abs(weight))[part >= 0], part[part >= 0]

    def _blocks(self, corners: Index, part: Index) -> Iterator[tuple[Index, Array, Index]]:
        """Corners, signs and homes of the pieces, as many at a time as there are elements."""
        assert self.pieces is not None
        assert self.elements is not None
        size = len(self.elements)
        for first in range(0, len(part), size):
            rows = slice(first, first + size)
            yield corners[rows], np.sign(self.pieces.area[rows]), part[rows]


def _polyhedra(elements: Mesh, pieces: _Pieces, area: Array) -> NodeBoxes:
    points, edges = elements.points, pieces.edges
    volume = _gathered(pieces, np.ones(len(pieces.edge)))
    ahead = points[edges[:, 1]] - points[edges[:, 0]]
    length = np.linalg.norm(ahead, axis=1)
    kept = area > _NEGATIVE * length**2
    face_of = np.where(kept, np.cumsum(kept) - 1, -1)[pieces.edge]
    return NodeBoxes(
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
        boundaries=elements.boundaries,
        elements=elements.cell_points,
        pieces=pieces,
        face_of=freeze_index(face_of),
    )
