"""What a process has to reach: walls, and sets of cells."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from fvflow.errors import CaseError
from fvflow.fields import SteadyFormula
from fvflow.walls import CellSet, Wall, wall_kind


@dataclass(frozen=True)
class Target:
    """A wall, or the cells in a region or under a condition; it is reached at its faces."""

    wall: str | None = None
    """A wall: a side of a box, or a boundary of the mesh."""
    region: str | None = None
    """A region of the mesh; it holds the cells of which it covers at least half."""
    where: SteadyFormula | None = None
    """A condition on x, y, z; it holds the cells at whose centres its value is not 0."""

    def __post_init__(self) -> None:
        if sum(part is not None for part in (self.wall, self.region, self.where)) != 1:
            raise CaseError("give one of wall, region and where")


Targets = Target | tuple[Target, ...]


def listed(targets: Targets) -> tuple[Target, ...]:
    """One or several targets as a tuple."""
    return (targets,) if isinstance(targets, Target) else targets


def target_walls(targets: Iterable[Target]) -> list[str]:
    """The walls among targets, by name."""
    return [target.wall for target in targets if target.wall is not None]


def target_cells(targets: Iterable[Target]) -> list[CellSet]:
    """The sets of cells among targets."""
    return [CellSet(target.region, target.where) for target in targets if target.wall is None]


def absorbing_too(walls: Mapping[str, Wall], names: Iterable[str]) -> dict[str, Wall]:
    """Walls by name, those with the given names absorbing unless they let mass pass anyway, in the order given."""
    closed = [name for name in names if name not in walls or wall_kind(walls[name]).permeability == 0]
    return {**walls, **dict.fromkeys(closed, "absorbing")}
