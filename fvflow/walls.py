"""What a case says of its walls and of sets of cells that absorb."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from annotated_types import Gt

from fvflow.errors import CaseError
from fvflow.fields import Expression, Parameters, SteadyFormula
from fvflow.mesh import Mesh, Openings, openings, require_wall, unknown_name

REST = "rest"
"""The name that stands for all walls that are not named."""


class WallKind:
    """What a wall does with the mass that reaches it.

    A new one is a frozen dataclass derived from this class, joined to the union `Wall`.
    """

    kind: str

    @property
    def permeability(self) -> float:
        """kappa, length/time: what passes per area and time is kappa rho; 0 if nothing does, infinite if all does."""
        raise NotImplementedError


@dataclass(frozen=True)
class NoFlux(WallKind):
    """A wall that no mass crosses."""

    kind: Literal["no-flux"] = "no-flux"
    permeability = 0.0


@dataclass(frozen=True)
class AbsorbingWall(WallKind):
    """A wall that absorbs all that reaches it: rho = 0 there."""

    kind: Literal["absorbing"] = "absorbing"
    permeability = math.inf


@dataclass(frozen=True)
class PartialWall(WallKind):
    """A wall that lets kappa rho pass per area and time (Robin): between no flux, kappa = 0, and absorbing."""

    rate: Annotated[float, Gt(0)]
    """Permeability kappa, length/time."""
    kind: Literal["partial"] = "partial"

    @property
    def permeability(self) -> float:
        """kappa, length/time."""
        return self.rate


Wall = Literal["no-flux", "absorbing"] | NoFlux | AbsorbingWall | PartialWall


def wall_kind(given: Wall) -> WallKind:
    """The kind of a wall that a value of a case stands for."""
    if isinstance(given, str):
        return NoFlux() if given == "no-flux" else AbsorbingWall()
    return given


@dataclass(frozen=True)
class CellSet:
    """Cells of a mesh: those in a region, or those whose centres fulfil a condition."""

    region: str | None = None
    """A region of the mesh; it holds the cells of which it covers at least half."""
    where: SteadyFormula | None = None
    """A condition on x, y, z; it holds the cells at whose centres its value is not 0."""

    def __post_init__(self) -> None:
        if (self.region is None) == (self.where is None):
            raise CaseError("give either region or where")

    @property
    def name(self) -> str:
        """The name of the set in results."""
        return self.region or "where"

    def on(self, mesh: Mesh, parameters: Parameters) -> Any:
        """Whether each cell belongs to it (cell,); raises CaseError if the mesh has no such region."""
        if self.region is not None:
            if self.region not in mesh.regions:
                raise CaseError(unknown_name("region", self.region, mesh.regions))
            return mesh.regions[self.region] >= 0.5
        assert self.where is not None
        return Expression(self.where).at(mesh.centre, parameters, 0.0, mesh.regions) != 0.0


def case_openings(
    mesh: Mesh, walls: Mapping[str, Wall], cells: Iterable[CellSet], parameters: Parameters
) -> Openings | None:
    """The openings of a mesh, as a case describes them; None if all walls are closed and no cell absorbs.

    Raises CaseError as `fvflow.mesh.openings`.
    """
    kinds = {name: wall_kind(given) for name, given in walls.items()}
    for name in kinds.keys() - {REST}:
        require_wall(mesh, name)
    _require_apart(mesh, kinds)
    rest = kinds.pop(REST, NoFlux())
    if rest.permeability > 0 and not mesh.named_walls:
        raise CaseError("rest: every axis is periodic, so that there are no walls; leave it out")
    if rest.permeability > 0:
        kinds |= dict.fromkeys(_unnamed(mesh, kinds), rest)
    permeable = {name: kind.permeability for name, kind in kinds.items() if kind.permeability > 0}
    sets = named(cells, permeable)
    chosen = {name: part.on(mesh, parameters) for name, part in sets.items()}
    return openings(mesh, permeable, chosen) if permeable or chosen else None


def _require_apart(mesh: Mesh, kinds: Mapping[str, WallKind]) -> None:
    """Raise CaseError if two of the named walls share a face."""
    owner = np.full(len(mesh.wall_points), -1)
    names = [name for name in kinds if name != REST]
    for number, name in enumerate(names):
        rows = mesh.named_walls[name]
        if (taken := owner[rows][owner[rows] >= 0]).size:
            raise CaseError(f"walls {names[int(taken[0])]} and {name} share {taken.size} faces; name one of them")
        owner[rows] = number


def named(cells: Iterable[CellSet], taken: Iterable[str] = ()) -> dict[str, CellSet]:
    """The sets by name, none of which is taken; the second one of a name gets the number 2, and so on."""
    sets: dict[str, CellSet] = {}
    known = set(taken)
    for part in cells:
        numbered = (f"{part.name}_{number}" for number in itertools.count(2))
        name = next(name for name in itertools.chain((part.name,), numbered) if name not in known)
        sets[name] = part
        known.add(name)
    return sets


def _unnamed(mesh: Mesh, taken: Iterable[str]) -> list[str]:
    """Names of walls that together hold all faces that the taken ones do not hold."""
    free = np.ones(len(mesh.wall_points), bool)
    for name in taken:
        free[mesh.named_walls[name]] = False
    names = []
    for name, rows in {**mesh.boundaries, **mesh.named_walls}.items():  # names of the mesh before sides of its box
        if free[rows].all() and (len(rows) or name not in mesh.boundaries):
            names.append(name)
            free[rows] = False
    if free.any():
        raise CaseError(
            f"rest: {free.sum()} wall faces belong to no wall, or to one that overlaps with a named one; name the walls"
        )
    return names
