"""What a file of trajectories tells of the domain of a case: its boundaries, and the cells that absorb."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from fvflow.mesh import Mesh
from fvflow.mesh.extent import SIDES
from fvflow.studies.formats.base import OPEN, PERIODIC, WALL, Boundary, x_first
from fvflow.walls import CellSet


def boundaries_of(case: Mapping[str, Any], mesh: Mesh) -> list[tuple[Boundary, Boundary]]:
    """What is at both ends of each axis, from the plain values of a case: an absorbing or a partial wall is open."""
    walls = mapping(case.get("walls"))
    ends: list[tuple[Boundary, Boundary]] = []
    for axis, (lower, upper) in enumerate(SIDES[: mesh.dimension]):
        periodic = axis in mesh.periodic
        ends.append((PERIODIC, PERIODIC) if periodic else (_boundary(walls, lower), _boundary(walls, upper)))
    return ends


def absorbing_cells(case: Mapping[str, Any], mesh: Mesh) -> Any:
    """Whether each cell absorbs (x[, y[, z]]), from the plain values of a case; None if none does."""
    given = case.get("absorbing") or []
    sets = [CellSet(**mapping(each)) for each in (given if isinstance(given, list) else [given])]
    if not sets or mesh.edges is None:
        return None
    parameters = {str(name): float(value) for name, value in mapping(case.get("parameters")).items()}
    return x_first(np.any([each.on(mesh, parameters) for each in sets], axis=0), mesh)


def mapping(value: Any) -> Mapping[str, Any]:
    """The value if it is a mapping, otherwise an empty one."""
    return value if isinstance(value, Mapping) else {}


def _boundary(walls: Mapping[str, Any], side: str) -> Boundary:
    kind = walls.get(side, walls.get("rest", "no-flux"))
    kind = kind.get("kind") if isinstance(kind, Mapping) else kind
    return WALL if kind == "no-flux" else OPEN
