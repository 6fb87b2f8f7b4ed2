"""What is stored of one saved time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fvflow.mesh import Array


@dataclass(frozen=True, eq=False)
class Frame:
    """The data of one saved time. Its parts are separate mappings, so that no name can overwrite another.

    Their names are those of the `Layout` of the run.
    """

    time: float
    density: Array
    """Cell averages of rho, (cell,)."""
    diagnostics: Mapping[str, Any]
    """Numbers and small arrays by name, such as mass () and covariance (axis, axis)."""
    fields: Mapping[str, Array]
    """Cell fields besides rho by name, each (cell,)."""
    face_fields: Mapping[str, Array]
    """Face fields by name, each (face,)."""
    particle_fields: Mapping[str, Array] = field(default_factory=dict)
    """What particles carry by name, such as position (particle, axis), each (particle,) or (particle, axis)."""
