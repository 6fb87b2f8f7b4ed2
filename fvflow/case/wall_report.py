"""What `check` reports about walls and absorbing cells."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from fvflow.errors import FvflowError
from fvflow.fields import BaseDrift
from fvflow.mesh import Mesh, Openings


def about_walls(mesh: Mesh, openings: Openings | None, drift: BaseDrift, time: float) -> str:
    """Which walls and cells absorb, and how hard the drift pushes against the walls that do not at a time."""
    mesh = mesh.whole
    if not len(mesh.wall_points) and openings is None:
        return "none: every axis is periodic"
    if openings is None:
        return _closed(mesh, np.ones(len(mesh.wall_points), bool), drift, time, "out of the domain")
    closed = np.ones(len(mesh.wall_points), bool)
    for name in openings.names:
        closed[mesh.named_walls.get(name, [])] = False
    clauses = list(_openings(openings))
    if closed.any():
        clauses.append(f"elsewhere {_closed(mesh, closed, drift, time, 'out there')}")
    return "; ".join(clauses)


def _openings(openings: Openings) -> Iterator[str]:
    """What each wall or set of cells does, as clauses."""
    counts = openings.by_group(openings.in_wall.astype(float)), openings.cells_by_group()
    kappas = openings.least_by_group(openings.permeability)
    for name, faces, cells, kappa in zip(openings.names, *counts, kappas, strict=True):
        does = "absorbs" if math.isinf(kappa) else f"lets kappa rho pass, kappa = {kappa:g}"
        parts = [_counted(count, what) for count, what in ((faces, openings.what), (cells, "cell")) if count]
        yield f"{name} {does} ({', '.join(parts)})" if parts else f"{name} is behind cells that absorb"


def _counted(count: float, what: str) -> str:
    return f"{count:.0f} {what}" if count == 1 else f"{count:.0f} {what}s"


def _closed(mesh: Mesh, faces: Any, drift: BaseDrift, time: float, beyond: str) -> str:
    """How hard the drift pushes against some of the wall faces (wall,), through which nothing passes."""
    if drift.absent or drift.regional:
        return "no flux"
    centre, outward = (part[faces] for part in mesh.walls)
    step = 1e-3 * float(mesh.cell_size.min())
    try:
        near, far = (drift.velocity_at(centre - depth * step * outward, time, step) for depth in (2, 4))
    except FvflowError:  # such as a table that covers the cell centres only
        return "no flux; the drift is not defined at the walls"
    out = float(((2 * near - far) * outward).sum(axis=1).max())  # from within, where the drift is defined
    if out <= 1e-4 * float(np.abs(near).max()):
        return f"no flux; the drift does not point {beyond} at t = {time:g}"
    return f"no flux; the drift points out with up to {out:.3g} at t = {time:g} and mass will pile up there"
