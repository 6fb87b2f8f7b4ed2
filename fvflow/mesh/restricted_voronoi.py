"""Voronoi cells of the nodes, restricted to a mesh: admissible control volumes for any elements.

The cell of a node is the part of the mesh that is nearer to it than to other nodes, and connected with it (Yan, Levy,
Liu, Sun, Wang, Isotropic remeshing with fast and exact computation of restricted Voronoi diagram, Comput. Graph. Forum
28, 2009). Faces lie in bisectors of nodes, so that T = |s|/|x_i - x_j| > 0 and fluxes are consistent.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np

from fvflow.mesh.arrays import Array, Index, freeze, freeze_index
from fvflow.mesh.clipped_pieces import ClippedPieces, ElementSimplices, measures
from fvflow.mesh.connected_pieces import Cut, connected_pieces, on_sides
from fvflow.mesh.core import Mesh
from fvflow.mesh.node_cells import NodeCells
from fvflow.mesh.revolution import Revolution
from fvflow.mesh.revolved import off_axis, revolved
from fvflow.mesh.splitting import Sides, places, sides_of, split, walls_of

_SMALLEST_FACE = 1e-11  # area, relative to |K|^((dim - 1)/dim), of a face through which nothing flows
_EQUAL = 1e-9  # difference of squared distances that counts as none, relative to the larger one


def restricted_voronoi(mesh: Mesh, revolution: Revolution | None = None) -> NodeCells:
    """The mesh whose cells are the Voronoi cells of the nodes, restricted to the elements of a mesh.

    The cells are numbered as the nodes; nodes on both sides of a crack, or where walls touch, have several. With a
    `revolution` they are turned, as by `revolved`. Raises CaseError for elements that cannot be divided.
    """
    sites, site = places(mesh.points)
    simplices, faces = split(mesh, sites, site)
    sides = sides_of(simplices)
    cut = connected_pieces(simplices, sites, sides)
    contents = _Contents.of(cut.pieces, revolution)
    found = _mesh(mesh, cut, sides, walls_of(sides, faces, mesh), contents)
    return found if revolution is None else _turned(found, revolution)


def _turned(mesh: NodeCells, revolution: Revolution) -> NodeCells:
    """The mesh, turned about its axis, where the shares and contacts are those of rings already."""
    kept, (wall, cell, area) = off_axis(mesh), mesh.contacts
    here = kept[wall]
    contacts = (np.cumsum(kept) - 1)[wall[here]], cell[here], area[here]
    return replace(cast(NodeCells, revolved(mesh, revolution)), contacts=contacts)


@dataclass(frozen=True, eq=False)
class _Contents:
    """Measures of pieces, of which shares are taken: their own, or those of the rings that they make."""

    piece: Array
    """Of the pieces (piece,)."""
    facet: Array
    """Of their facets (facet,)."""
    fan: Array
    """Of the simplices that make up facets (part,)."""

    @staticmethod
    def of(pieces: ClippedPieces, revolution: Revolution | None) -> _Contents:
        """Those of the pieces, turned if there is a revolution."""
        fan, (solid, piece) = measures(pieces.vertex, pieces.fan), pieces.solids
        if revolution is None:
            return _Contents(pieces.volume, pieces.area, fan)
        ring = measures(pieces.vertex, solid) * revolution.around(pieces.vertex, solid)
        fan = fan * revolution.around(pieces.vertex, pieces.fan)
        whole = np.bincount(piece, ring, len(pieces.simplex)).astype(float)
        return _Contents(whole, np.bincount(pieces.fan_facet, fan, len(pieces.area)).astype(float), fan)


@dataclass(frozen=True, eq=False)
class _Numbering:
    """The cells that the connected parts are."""

    cell: Index
    """The cell of each piece (piece,)."""
    site: Index
    """The site of each cell (cell,)."""
    elements: Index
    """The cell at each corner of each element (element, corner), -1 where there is no corner."""
    walls: Index
    """The cell at each corner of each wall face (wall, corner), padded as `elements`."""


def _numbered(mesh: Mesh, cut: Cut) -> _Numbering:
    """Cells numbered as the nodes."""
    simplex, corner, piece = cut.homes
    node, part = cut.simplices.nodes[simplex, corner].astype(np.int64), cut.part[piece]
    count = int(cut.part.max()) + 1
    lowest = np.full(count, len(mesh.points))
    np.minimum.at(lowest, part, node)
    order = np.argsort(lowest, kind="stable")
    number = np.empty(count, np.int32)
    number[order] = np.arange(count)
    site = np.empty(count, np.int32)
    site[number[cut.part]] = cut.pieces.site
    key, first = np.unique(cut.simplices.element[simplex].astype(np.int64) * len(mesh.points) + node, return_index=True)
    cell_at = number[part[first]]

    def cells(element: Any, nodes: Index) -> Index:
        at = np.searchsorted(key, element.astype(np.int64)[:, None] * len(mesh.points) + nodes)
        return freeze_index(np.where(nodes >= 0, cell_at[np.minimum(at, len(key) - 1)], -1))

    elements = cells(np.arange(mesh.cells), mesh.cell_points)
    return _Numbering(number[cut.part], site, elements, cells(mesh.wall_cell, mesh.wall_points))


def _mesh(mesh: Mesh, cut: Cut, sides: Sides, wall_of_side: Any, contents: _Contents) -> NodeCells:
    """The mesh of the cells."""
    pieces, simplices, numbered = cut.pieces, cut.simplices, _numbered(mesh, cut)
    filled = np.bincount(pieces.simplex, pieces.volume, len(simplices.nodes))
    stretch = (simplices.volume / filled)[pieces.simplex]  # by round-off: the pieces add up to the simplex
    count = len(numbered.site)
    volume = np.bincount(numbered.cell, pieces.volume * stretch, count).astype(float)
    element, content = simplices.element[pieces.simplex], contents.piece * stretch
    whole = np.bincount(numbered.cell, content, count)
    shares = {
        name: np.bincount(numbered.cell, content * inside[element], count) / whole
        for name, inside in mesh.regions.items()
    }
    solid, piece = pieces.solids
    facet, side = on_sides(simplices, sides, pieces)
    wall = wall_of_side[side]
    on_wall = wall >= 0
    contact = facet[on_wall]
    centre = cut.sites[numbered.site]
    faces = _faces(cut, sides, numbered.cell, volume, contents)
    ahead = centre[faces.neighbour] - centre[faces.owner]
    distance = np.linalg.norm(ahead, axis=1)
    return NodeCells(
        centre=freeze(centre),
        volume=freeze(volume),
        owner=faces.owner,
        neighbour=faces.neighbour,
        area=faces.area,
        distance=freeze(distance),
        normal=freeze(ahead / distance[:, None]),
        points=freeze(centre),
        cell_points=freeze_index(np.empty((count, 0))),
        face_points=freeze_index(np.empty((len(distance), 0))),
        wall_points=numbered.walls,
        wall_cell=freeze_index(numbered.walls[:, 0]),
        regions={name: freeze(share) for name, share in shares.items()},
        boundaries=mesh.boundaries,
        elements=numbered.elements,
        vertex=pieces.vertex,
        solids=solid,
        solid_cell=numbered.cell[piece],
        stretch=stretch[piece],
        fans=pieces.fan[faces.fan],
        face_of=faces.face,
        shares={name: _share_of_faces(cut, faces, inside, contents) for name, inside in mesh.regions.items()},
        contacts=(wall[on_wall], numbered.cell[pieces.facet_piece[contact]], contents.facet[contact]),
        simplices=simplices.corners,
        owners=_owners(pieces.simplex, numbered.cell, len(simplices.nodes)),
    )


@dataclass(frozen=True, eq=False)
class _Faces:
    """The faces between cells, and the fans that make each up."""

    owner: Index
    neighbour: Index
    area: Array
    content: Array
    """Measures by `_Contents` (face,)."""
    fan: Any
    """Rows of fans (part,)."""
    face: Index
    """The face of each (part,)."""


def _faces(cut: Cut, sides: Sides, cell: Index, volume: Array, contents: _Contents) -> _Faces:
    """The faces in bisectors, which lie within simplices or on their sides."""
    pieces = cut.pieces
    within = np.flatnonzero(pieces.facet_plane > pieces.site[pieces.facet_piece])  # of the two, that of the lower site
    here = pieces.facet_piece[within]
    there = cut.find(pieces.simplex[here], pieces.facet_plane[within])
    within, here, there = within[there >= 0], here[there >= 0], there[there >= 0]
    facet, left, right = _across_sides(cut, sides)
    facet = np.concatenate([within, facet])
    first, second = cell[np.concatenate([here, left])], cell[np.concatenate([there, right])]
    pair = np.minimum(first, second).astype(np.int64) * len(volume) + np.maximum(first, second)
    keys, face = np.unique(pair, return_inverse=True)
    area, content = (np.bincount(face, each[facet], len(keys)) for each in (pieces.area, contents.facet))
    owner, neighbour = np.divmod(keys, len(volume))
    power = (cut.sites.shape[1] - 1) / cut.sites.shape[1]
    kept = area > _SMALLEST_FACE * np.minimum(volume[owner], volume[neighbour]) ** power
    face_of_facet = np.full(len(pieces.facet_piece), -1)
    face_of_facet[facet] = np.where(kept, np.cumsum(kept) - 1, -1)[face]
    of_fan = face_of_facet[pieces.fan_facet]
    fan = np.flatnonzero(of_fan >= 0)
    return _Faces(
        freeze_index(owner[kept]),
        freeze_index(neighbour[kept]),
        freeze(area[kept]),
        content[kept],
        fan,
        freeze_index(of_fan[fan]),
    )


def _share_of_faces(cut: Cut, faces: _Faces, inside: Array, contents: _Contents) -> Array:
    """The fraction of each face that lies in elements of a region (face,), which is 1 in them."""
    pieces = cut.pieces
    facet = pieces.fan_facet[faces.fan]
    part = inside[cut.simplices.element[pieces.simplex[pieces.facet_piece[facet]]]]
    return freeze(np.bincount(faces.face, contents.fan[faces.fan] * part, len(faces.area)) / faces.content)


def _across_sides(cut: Cut, sides: Sides) -> tuple[Any, Any, Any]:
    """Facets on sides of simplices that are bisectors: the facet, and the pieces on its two sides (facet,).

    There the piece of a site on one side of it meets that of the mirror image of the site on the other.
    """
    pieces, simplices, sites = cut.pieces, cut.simplices, cut.sites
    facet, side = on_sides(simplices, sides, pieces)
    inner = sides.inner[side]
    facet, side = facet[inner], side[inner]
    _, group, size = np.unique(
        side * len(sites) + pieces.site[pieces.facet_piece[facet]], return_inverse=True, return_counts=True
    )
    alone = size[group] == 1
    facet, side = facet[alone], side[alone]
    order = np.argsort(side, kind="stable")
    facet, side = facet[order], side[order]
    begin, end = np.searchsorted(side, side), np.searchsorted(side, side, side="right")
    repeat = end - begin
    one = np.repeat(np.arange(len(facet)), repeat)
    two = np.arange(len(one)) - np.repeat(np.cumsum(repeat) - repeat, repeat) + np.repeat(begin, repeat)
    left, right = pieces.facet_piece[facet[one]], pieces.facet_piece[facet[two]]
    apart = pieces.simplex[left] < pieces.simplex[right]
    one, left, right = one[apart], left[apart], right[apart]
    corner = _corners_of(sides, simplices)[side[one]]  # (facet, corner, dim)
    near, far = (((corner - sites[pieces.site[piece]][:, None]) ** 2).sum(axis=2) for piece in (left, right))
    equal = (np.abs(near - far) <= _EQUAL * np.maximum(near, far).max(axis=1)[:, None]).all(axis=1)
    return facet[one[equal]], left[equal], right[equal]


def _corners_of(sides: Sides, simplices: ElementSimplices) -> Array:
    """The positions of the corners of each side (side, dim, dim)."""
    position = np.empty((int(simplices.nodes.max()) + 1, simplices.corners.shape[2]))
    position[simplices.nodes] = simplices.corners
    return np.asarray(position[sides.nodes])


def _owners(simplex: Index, cell: Index, count: int) -> Index:
    """The cells that have a piece in each simplex (simplex, piece), padded with -1."""
    order = np.argsort(simplex, kind="stable")
    sizes = np.bincount(simplex, minlength=count)
    table = np.full((count, sizes.max()), -1, np.int32)
    column = np.arange(len(order)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    table[simplex[order], column] = cell[order]
    return table
