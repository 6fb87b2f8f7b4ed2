"""Elements of any shape as triangles or tetrahedra, and the sides that these share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from fvflow.errors import CaseError
from fvflow.mesh.arrays import Array, Index
from fvflow.mesh.cell_geometry import FACES, format_point
from fvflow.mesh.clipped_pieces import ElementSimplices
from fvflow.mesh.core import Mesh
from fvflow.mesh.pieces import fan, surface
from fvflow.mesh.polytopes import coinciding, lowest_at_place, row_numbers

_FLAT = 1e-13  # determinant of a simplex that counts as 0, relative to a cube about it


@dataclass(frozen=True, eq=False)
class Sides:
    """The sides of simplices, in space the triangle opposite each corner, in the plane the line after it."""

    number: Any
    """Number of each side (simplex, dim + 1), the same for the two simplices that share it."""
    nodes: Index
    """Its nodes (side, dim), in increasing order."""
    inner: Any
    """Whether two simplices share it (side,)."""


def places(points: Array) -> tuple[Array, Index]:
    """The distinct positions of the nodes (site, dim), and that of each node (node,).

    Nodes on the two sides of a crack are at one place.
    """
    lowest, number = np.unique(lowest_at_place(points, coinciding(points)), return_inverse=True)
    return points[lowest], number.astype(np.int32)


def split(mesh: Mesh, sites: Array, site: Index) -> tuple[ElementSimplices, Index]:
    """The simplices of all elements of a mesh, whose nodes are at some sites (site, dim), by their numbers (node,).

    A polygon is a fan about a corner that sees the others, a solid is cut from its lowest node to triangles of its
    faces, which neighbours cut alike. Where a simplex would be flat or inverted, the element is cut from the mean of
    its corners, which belongs to no site; if this does not help, all faces of four corners are cut from theirs, and
    returned (face, 4). Raises CaseError for an element that is still folded.
    """
    for warped in (False, True)[: mesh.dimension - 1]:
        nodes, element, points, homes, faces = _all_cut(mesh, sites, site, warped)
        corners = points[nodes]
        good = _determinant(corners) > _FLAT * np.ptp(corners, axis=1).max(axis=1) ** mesh.dimension
        if good.all():
            return ElementSimplices(nodes, corners, homes[nodes], element), faces
    cell = int(element[np.argmin(good)])
    at = format_point(mesh.centre[cell])
    raise CaseError(f"cell {cell} at {at} has no point that sees all its sides ({(~good).sum()} in all); repair it")


def _all_cut(mesh: Mesh, sites: Array, site: Index, warped: bool) -> tuple[Index, Index, Array, Index, Index]:
    """Nodes of the simplices (simplex, dim + 1), their element (simplex,), positions and sites of all nodes, faces.

    The nodes are those of the mesh, the middles of its elements, and those of the faces that are cut from them.
    """
    sizes = (mesh.cell_points >= 0).sum(axis=1)
    faces, number = _quadrilaterals(mesh) if warped else (np.empty((0, 4), np.int32), {})
    points = np.empty((len(site) + mesh.cells + len(faces), mesh.dimension))
    points[: len(site)] = sites[site]
    points[len(site) + mesh.cells :] = points[faces].mean(axis=1)
    parts: list[Index] = []
    elements: list[Any] = []
    for size in np.unique(sizes).tolist():
        same = np.flatnonzero(sizes == size)
        nodes, middle = mesh.cell_points[same, :size], len(site) + same
        points[middle] = points[nodes].mean(axis=1)
        cut = _about_faces(nodes, middle, number[size]) if warped else _cut(nodes, middle, points)
        parts += [rows for rows, _ in cut]
        elements += [rows - len(site) for _, rows in cut]
    element = np.concatenate(elements)
    order = np.argsort(element, kind="stable")
    homes = np.append(site, np.full(len(points) - len(site), -1, np.int32))
    nodes = np.concatenate(parts)[order].astype(np.int32)
    return nodes, element[order].astype(np.int32), points, homes, faces


def _determinant(corners: Array) -> Array:
    return np.asarray(np.linalg.det(corners[..., 1:, :] - corners[..., :1, :]))


def _cut(nodes: Index, middle: Any, points: Array) -> list[tuple[Index, Any]]:
    """Simplices of elements of one shape: their nodes (simplex, dim + 1), and the middle of each (simplex,)."""
    dimension, scale = points.shape[1], np.ptp(points[nodes], axis=1).max(axis=1) ** points.shape[1]
    fits, parts = np.zeros(len(nodes), bool), []
    for choice in _fans(nodes, dimension):
        ordered = np.sort(choice, axis=2)
        real = (ordered[..., 1:] != ordered[..., :-1]).all(axis=2)  # others hold the tip twice
        better = ~fits & (~real | (_determinant(points[choice]) > _FLAT * scale)).all(axis=0)
        parts += [(rows[each & better], middle[each & better]) for rows, each in zip(choice, real, strict=True)]
        fits |= better
    rest = nodes[~fits]
    sides = [rest[:, [k, (k + 1) % rest.shape[1]]] for k in range(rest.shape[1])] if dimension == 2 else surface(rest)
    return [*parts, *((np.column_stack([middle[~fits], side]), middle[~fits]) for side in sides)]


def _quadrilaterals(mesh: Mesh) -> tuple[Index, dict[int, Any]]:
    """The faces of four corners (face, 4), and the number of the middle of each, by the corners of solids.

    The numbers (solid, face) are -1 for a face of three corners.
    """
    sizes = (mesh.cell_points >= 0).sum(axis=1)
    rows, places = [], []
    for size in np.unique(sizes).tolist():
        nodes = mesh.cell_points[sizes == size, :size]
        for at, face in enumerate(FACES[size]):
            if len(face) == 4:
                rows.append(nodes[:, face])
                places.append((size, at))
    every = np.concatenate([np.empty((0, 4), np.int32), *rows])
    group, first = row_numbers(np.sort(every, axis=1))
    number = {size: np.full((int((sizes == size).sum()), len(FACES[size])), -1) for size in np.unique(sizes).tolist()}
    ends = np.cumsum([len(row) for row in rows])[:-1]
    for (size, at), middles in zip(places, np.split(group, ends), strict=True):
        number[size][:, at] = len(mesh.points) + mesh.cells + middles
    return every[first], number


def _about_faces(nodes: Index, middle: Any, number: Any) -> list[tuple[Index, Any]]:
    """Tetrahedra from the middles of solids of one shape to triangles of their faces, about the middles of these."""
    parts = []
    for at, face in enumerate(FACES[nodes.shape[1]]):
        corner = nodes[:, face]
        if len(face) == 3:
            parts.append((np.column_stack([middle, corner]), middle))
        else:
            for k in range(4):
                parts.append((np.column_stack([middle, corner[:, [k, (k + 1) % 4]], number[:, at]]), middle))
    return parts


def _fans(nodes: Index, dimension: int) -> Iterator[Index]:
    """Ways to cut elements of one shape (simplex, element, dim + 1)."""
    size = nodes.shape[1]
    if size == dimension + 1:
        yield nodes[None]
    elif dimension == 3:
        lowest = nodes.min(axis=1)
        yield np.stack([np.column_stack([lowest, side]) for side in surface(nodes)])
    else:
        for turn in range(size):
            turned = np.roll(nodes, -turn, axis=1)
            yield np.stack([turned[:, [0, k, k + 1]] for k in range(1, size - 1)])


def sides_of(simplices: ElementSimplices) -> Sides:
    """The sides that simplices share."""
    nodes, count = simplices.nodes, simplices.nodes.shape[1]
    takes = [[k, (k + 1) % 3] for k in range(3)] if count == 3 else [[j for j in range(4) if j != k] for k in range(4)]
    rows = np.sort(nodes[:, takes].reshape(-1, count - 1), axis=1)
    number, first = row_numbers(rows)
    return Sides(number.reshape(nodes.shape), rows[first], np.bincount(number) == 2)


def walls_of(sides: Sides, faces: Index, mesh: Mesh) -> Any:
    """The wall face of a mesh that each side of its simplices is part of (side,); -1 inside.

    `faces` are those of four corners that were cut from their middles.
    """
    sizes = (mesh.wall_points >= 0).sum(axis=1)
    rows, owners = [np.empty((0, mesh.dimension), np.int64)], [np.empty(0, np.int64)]
    for size in np.unique(sizes).tolist():
        wall = np.flatnonzero(sizes == size)
        nodes = mesh.wall_points[wall, :size]
        if mesh.dimension == 2:
            parts = [nodes]
        elif size == 4 and len(faces):
            middle = len(mesh.points) + mesh.cells + _same_rows(np.sort(faces, axis=1), np.sort(nodes, axis=1))
            parts = [np.column_stack([nodes[:, [k, (k + 1) % 4]], middle]) for k in range(4)]
        else:
            parts = fan(nodes)
        rows += [np.sort(part, axis=1) for part in parts]
        owners += [wall] * len(parts)
    found = _same_rows(np.concatenate(rows), sides.nodes)
    return np.where(found >= 0, np.concatenate(owners)[found], -1)


def _same_rows(rows: Any, wanted: Any) -> Any:
    """The index of each of the wanted rows (row, entry) in others; -1 for one that is not there."""
    number, first = row_numbers(np.concatenate([rows, wanted]))
    place = np.full(len(first), -1)
    place[number[: len(rows)]] = np.arange(len(rows))
    return place[number[len(rows) :]]
