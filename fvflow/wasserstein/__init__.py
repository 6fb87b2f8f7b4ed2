"""Wasserstein distances of densities: exact on lines, circles and between Gaussians, as certified bounds on grids."""

from __future__ import annotations

from typing import Any

import numpy as np

from fvflow.errors import CaseError
from fvflow.mesh import CIRCULAR, RADIUS_OF, Grid
from fvflow.wasserstein.barycentre import Barycentre, barycentre
from fvflow.wasserstein.between import Distance, distance_between
from fvflow.wasserstein.bounds import Bounds, bounds, bounds_available, require_bounds
from fvflow.wasserstein.circle import distance_on_circle
from fvflow.wasserstein.gaussian import bures, transport_matrix
from fvflow.wasserstein.line import distance_1d, interpolated_1d
from fvflow.wasserstein.measures import CellwiseDensity, EmpiricalMeasure, Measure


def distance(ds: Any, first: int, second: int, width: float = 1e-3) -> Bounds:
    """Bounds of W2 between two frames, given by index, of a result of `fvflow.read` or `Case.run`; see `bounds`.

    `width` is the relative width to aim at. Raises CaseError if there is no such frame or the mesh is not a grid.
    """
    frames = ds.sizes["time"]
    for index in (first, second):
        if not hasattr(index, "__index__"):
            raise CaseError(f"frame {index!r} is not an integer; give one from 0 to {frames - 1}")
        if not -frames <= index < frames:
            raise CaseError(f"frame {index}: the result has {frames} frames; give an index from 0 to {frames - 1}")
    if "x_bnds" not in ds or RADIUS_OF in ds.x.attrs:
        raise CaseError("bounds of W2 need a box or a line; this result is on another mesh; use fvflow.distance")
    edges = tuple(
        np.append(ds[f"{axis}_bnds"].values[:, 0], ds[f"{axis}_bnds"].values[-1, 1]) for axis in "xyz" if axis in ds
    )
    start, end = (np.asarray(ds.rho[index], float).ravel() for index in (first, second))
    periodic = tuple(
        axis for axis, name in enumerate("xyz") if name in ds and ds[name].attrs.get("topology") == CIRCULAR
    )
    mesh = Grid(edges, periodic)
    if ds.rho.dtype == np.float32:  # the masses differ by round-off in single precision
        end = end * (float(mesh.volume @ start) / float(mesh.volume @ end))
    return bounds(mesh, start, end, width=width)


__all__ = [
    "Barycentre",
    "Bounds",
    "CellwiseDensity",
    "Distance",
    "EmpiricalMeasure",
    "Measure",
    "barycentre",
    "bounds",
    "bounds_available",
    "bures",
    "distance",
    "distance_1d",
    "distance_between",
    "distance_on_circle",
    "interpolated_1d",
    "require_bounds",
    "transport_matrix",
]
