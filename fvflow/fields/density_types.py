"""Types of fields that densities share, and points of a mesh."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge, Gt, Lt, MaxLen, MinLen

from fvflow.errors import CaseError
from fvflow.mesh import Array, Mesh

Point = Annotated[tuple[float, ...], MinLen(1), MaxLen(3)]
"""Coordinates or a vector, one entry per axis."""
Matrix = Annotated[tuple[Point, ...], MinLen(1), MaxLen(3)]
"""A square matrix by rows."""
Mass = Annotated[float, Gt(0)]
OwnMass = Mass | Literal["integral"] | None
"""Total mass of a density with values of its own."""
Truncate = Annotated[float, Ge(0), Lt(1)]
"""A share of the mass that may be cut off."""


def checked_point(point: Point, mesh: Mesh, name: str) -> Array:
    """The point (dim,); raises CaseError if it has another number of entries than the mesh has axes."""
    if len(point) != mesh.dimension:
        raise CaseError(f"{name} has {len(point)} entries on a mesh of dimension {mesh.dimension}; give one per axis")
    return np.array(point)
