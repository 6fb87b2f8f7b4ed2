"""What a flow map consists of: a velocity, of formulas or of a result, and the points that it moves."""

from __future__ import annotations

from dataclasses import dataclass

from fvflow.flows.starting_points import PlacedPoints
from fvflow.lagrangian.flow_map import Velocity
from fvflow.mesh import Array, FilePath, Mesh
from fvflow.problems import Transport


@dataclass(frozen=True)
class OfResult:
    """The velocity of the probability flow of a result, see `fvflow.at`."""

    of: FilePath
    """Path of the .nc file of a run, relative to the case file."""


@dataclass(frozen=True, eq=False, kw_only=True)
class FlowMapProblem(Transport):
    """A velocity and the points that it moves."""

    velocity: Velocity | None
    """v and div v at points; None until the result that it comes from is known."""
    points: PlacedPoints
    """Where the points begin."""
    density: Array | None = None
    """The density (cell,) that points may be drawn from; None until it is known."""
    closed: Mesh | None = None
    """The grid at whose walls the velocity is reflected; None if there is none."""
