"""Openings of a mesh: faces through which mass leaves for good."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from fvflow.errors import CaseError
from fvflow.mesh.arrays import Array, Index, freeze, freeze_index
from fvflow.mesh.core import Mesh
from fvflow.mesh.extent import SIDES
from fvflow.parallel import world
from fvflow.sums import inner, total

_ON_WALL = 1e-9  # distance of a centre from its wall, relative to the size of the mesh, that counts as 0


@dataclass(frozen=True, eq=False)
class Openings:
    """Absorbing walls, partly absorbing walls and the faces of absorbing cells, in groups by name.

    What leaves the cell K of an opening through its face s at the distance d never comes back. A partly absorbing wall
    of permeability kappa lets |s| kappa rho pass per unit time, rho being the density at the wall.
    """

    names: tuple[str, ...]
    """Names of the groups: of a wall, or of a set of absorbing cells."""
    group: Index
    """The group of each opening (opening,)."""
    cell: Index
    """The cell K that it is an opening of (opening,)."""
    area: Array
    """Measures |s| (opening,)."""
    distance: Array
    """Distances (opening,) from the centre of K to the face along its normal, > 0."""
    normal: Array
    """Unit normals (opening, dim) that leave K."""
    position: Array
    """Points of the faces (opening, dim) straight ahead of the centres of their cells."""
    permeability: Array
    """kappa (opening,), length/time; infinite where all that reaches the face is absorbed."""
    face: Index
    """The interior face, or the link, that it is (opening,); -1 if it lies in a wall, or no link is cut."""
    closed: Any
    """The group of each absorbing cell (cell,), in which there is no density; -1 for all other cells."""
    in_wall: Any
    """Whether each is in a wall of the mesh (opening,), rather than between a cell and one that absorbs."""
    walls: int
    """The number of groups that are walls; they come first."""
    what: str = "face"
    """What each is: a face, or a link between cells that is cut."""

    @cached_property
    def axis(self) -> Index:
        """The axis x, y, z to which each normal is nearest (opening,): on a grid, the one along which mass leaves."""
        return freeze_index(np.abs(self.normal).argmax(axis=1))

    def leaks(self, toward: Callable[[Array], Array], w: Array) -> Array:
        """The coefficient (opening,) of rho_K in what leaves per unit time, for the B-function `toward` of a flux.

            T B(-w) |s| kappa/(T B(w) + |s| kappa),    T = |s|/d,    w = V_K - V on the face,

        which is T B(-w) where kappa is infinite and |s| kappa where d is 0: with the density rho_s at the wall,
        T (B(-w) rho_K - B(w) rho_s) = |s| kappa rho_s.
        """
        through = self.area * self.permeability
        with np.errstate(divide="ignore", invalid="ignore"):
            conductance = self.area / self.distance
            down, up = conductance * toward(-w), conductance * toward(w)
            partly = down / (1.0 + up / through)
            partly = np.where(up < through, partly, through * (down / up) / (1.0 + through / up))
        return np.where(self.distance > 0, np.where(np.isinf(through), down, partly), through)

    def variation(self, density: Array) -> float:
        """sum |s| |rho_K| over the openings in walls, beyond which there is no density: see `total_variation`."""
        return float(self.by_group(np.where(self.in_wall, self.area * np.abs(density[self.cell]), 0.0)).sum())

    @cached_property
    def _in_order(self) -> tuple[Index, Index]:
        """The openings of this process's own cells, by cells, and the group of each of all processes."""
        order = np.argsort(self.cell, kind="stable")
        order = order[world().owned(self.cell[order])]
        return order, world().gathered(self.group[order].astype(float)).astype(np.intp)

    def by_group(self, values: Array) -> Array:
        """The sum (group,) of values (opening,) over the openings of each group, those of all processes."""
        order, group = self._in_order
        return np.asarray(np.bincount(group, world().gathered(values[order]), len(self.names)))

    def least_by_group(self, values: Array) -> Array:
        """The smallest of values (opening,) of each group (group,), of all processes; infinite if it has none."""
        least = np.full(len(self.names), math.inf)
        np.minimum.at(least, self.group, values)
        return np.array([-world().highest(-float(value)) for value in least])

    def by_cell(self, values: Array) -> Array:
        """The sum (cell,) of values (opening,) over the openings of each cell."""
        return np.asarray(np.bincount(self.cell, values, len(self.closed)))

    def initially_absorbed(self, mesh: Mesh, density: Array) -> Array:
        """The mass (group,) of a density (cell,) in the absorbing cells."""
        groups = range(len(self.names))
        return np.array([inner(mesh.volume, np.where(self.closed == group, density, 0.0)) for group in groups], float)

    def cells_by_group(self) -> list[int]:
        """The number of absorbing cells of each group."""
        return [round(total((self.closed == group).astype(float))) for group in range(len(self.names))]


def openings(mesh: Mesh, walls: Mapping[str, float], cells: Mapping[str, Any]) -> Openings:
    """The openings of a mesh: walls by name with their permeability, sets of absorbing cells (cell,) by name.

    A cell whose centre lies on an absorbing wall, as Voronoi boxes at walls have them, absorbs as a whole. Raises
    CaseError for names that the mesh does not have, sets that are empty or overlap, and centres outside of the domain.
    """
    names = (*walls, *cells)
    closed = np.full(mesh.cells, -1)
    for name, chosen in cells.items():
        _close(closed, np.asarray(chosen, bool), names, names.index(name))
    contacts = {name: _contacts(mesh, name) for name in walls}
    for name, contact in contacts.items():
        on_wall = contact.distance <= _ON_WALL * _size(mesh)
        if math.isinf(walls[name]):
            closed[contact.cell[on_wall & (closed[contact.cell] < 0)]] = names.index(name)
    parts = [_of_wall(contact, names.index(name), walls[name], closed) for name, contact in contacts.items()]
    parts.append(_of_cells(mesh, closed, np.isin(closed, [names.index(name) for name in walls])))
    if world().every(bool((closed >= 0).all())):
        raise CaseError(f"{', '.join(names)} absorb in every cell of the mesh; leave some")
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    group, cell, area, distance, normal, permeability, face = columns
    in_wall = np.arange(len(group)) < len(group) - len(parts[-1][0])
    return Openings(
        names,
        freeze_index(group),
        freeze_index(cell),
        freeze(area),
        freeze(distance),
        freeze(normal),
        freeze(mesh.centre[cell] + distance[:, None] * normal),
        freeze(permeability),
        freeze_index(face),
        closed,
        in_wall,
        len(walls),
    )


def _size(mesh: Mesh) -> float:
    """The longest side of the bounding box of a mesh."""
    lower, upper = mesh.corners
    return float((upper - lower).max())


def _close(closed: Any, chosen: Any, names: tuple[str, ...], group: int) -> None:
    """Mark the chosen cells as absorbing, in place."""
    if not world().some(chosen):
        raise CaseError(f"{names[group]} holds the centre of no cell; choose a larger set, or a finer mesh")
    other = int(world().highest(float(closed[chosen].max(initial=-1))))
    if other >= 0:
        first = names[other]
        raise CaseError(f"{first} and {names[group]} overlap; let each cell belong to one of them")
    closed[chosen] = group


def unknown_name(what: str, name: str, known: Iterable[str]) -> str:
    """A sentence on a name that the mesh does not have."""
    import difflib

    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1)
    it_has = f"did you mean {close[0]}? It has" if close else "it has"
    return f"the mesh has no {what} {name}; {it_has} {', '.join(names) or 'none'}"


def require_wall(mesh: Mesh, name: str) -> None:
    """Raise CaseError if the mesh has no wall of this name."""
    for axis in mesh.periodic:
        if name in SIDES[axis]:
            raise CaseError(f"axis {'xyz'[axis]} is periodic and has no wall named {name}; leave out either")
    if name not in mesh.named_walls:
        raise CaseError(unknown_name("wall", name, mesh.named_walls))


@dataclass(frozen=True, eq=False)
class _Contacts:
    """Where the faces of a wall touch cells, as columns (contact,)."""

    cell: Index
    area: Array
    distance: Array
    normal: Array


def _contacts(mesh: Mesh, name: str) -> _Contacts:
    """The contacts of a named wall; raises CaseError if there is no such wall, or a centre lies behind it."""
    require_wall(mesh, name)
    centre, outward = mesh.walls
    wall, cell, area = mesh.wall_contacts(mesh.named_walls[name])
    distance = ((centre[wall] - mesh.centre[cell]) * outward[wall]).sum(axis=1)
    behind = (distance < -_ON_WALL * _size(mesh)) | (area < -_ON_WALL * np.abs(area).max(initial=0.0))
    if behind.any():
        remedy = "use " + ("" if mesh.point_data else "control_volumes: nodes, or ") + "a finer mesh there"
        raise CaseError(
            f"the centres of {behind.sum()} cells lie behind wall {name}, so that its distance is not defined; {remedy}"
        )
    return _Contacts(cell, np.maximum(area, 0.0), np.maximum(distance, 0.0), outward[wall])


_Columns = tuple[Any, Index, Array, Array, Array, Array, Any]


def _of_wall(contact: _Contacts, group: int, permeability: float, closed: Any) -> _Columns:
    """The openings of the cells at a wall, without those that absorb as a whole."""
    kept = closed[contact.cell] < 0
    count = int(kept.sum())
    return (
        np.full(count, group),
        contact.cell[kept],
        contact.area[kept],
        contact.distance[kept],
        contact.normal[kept],
        np.full(count, permeability),
        np.full(count, -1),
    )


def _of_cells(mesh: Mesh, closed: Any, on_wall: Any) -> _Columns:
    """The openings between cells that absorb as a whole and the others.

    The density is 0 on the face, or, if the centre of the absorbing cell lies on a wall, at that centre.
    """
    parts = []
    for inside, outside, sign in ((mesh.owner, mesh.neighbour, -1.0), (mesh.neighbour, mesh.owner, 1.0)):
        face = np.flatnonzero((closed[inside] >= 0) & (closed[outside] < 0))
        cell, absorbing = outside[face], inside[face]
        ahead = mesh.nearest_image(mesh.face_centre[face] - mesh.centre[cell])
        to_face = np.abs((ahead * mesh.normal[face]).sum(axis=1))
        distance = np.where(on_wall[absorbing], mesh.distance[face], to_face)
        parts.append((closed[absorbing], cell, mesh.area[face], distance, sign * mesh.normal[face], face))
    group, cell, area, distance, normal, face = (np.concatenate(column) for column in zip(*parts, strict=True))
    return group, cell, area, distance, normal, np.full(len(group), math.inf), face
