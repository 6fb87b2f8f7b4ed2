"""Distances between densities: exact on lines and between Gaussians, as a proved interval on grids."""

from __future__ import annotations

from typing import Any

import numpy as np

from fvflow.errors import CaseError
from fvflow.mesh import Grid
from fvflow.wasserstein.bounds import Bounds, bounds, provable
from fvflow.wasserstein.gaussian import bures, transport_matrix
from fvflow.wasserstein.line import distance_1d, interpolated_1d


def distance(ds: Any, first: int, second: int, width: float = 1e-3) -> Bounds:
    """W2 between two frames of a result (`fvflow.read`, `Case.run`), by their indices; see `bounds`.

    Raises CaseError where there is no such frame, and for results on meshes that are no grids.
    """
    frames = ds.sizes["time"]
    for index in (first, second):
        if not hasattr(index, "__index__"):
            raise CaseError(f"frame {index!r} is no whole number; give one from 0 to {frames - 1}")
        if not -frames <= index < frames:
            raise CaseError(f"frame {index}: the result has {frames}; give one from 0 to {frames - 1}")
    if "x_bnds" not in ds:
        raise CaseError("bounds of W2 need a box of equal cells, or a line; this result is on another mesh")
    edges = tuple(
        np.append(ds[f"{axis}_bnds"].values[:, 0], ds[f"{axis}_bnds"].values[-1, 1]) for axis in "xyz" if axis in ds
    )
    one, other = (np.asarray(ds.rho[index], float).ravel() for index in (first, second))
    mesh = Grid(edges)
    if ds.rho.dtype == np.float32:  # whose masses differ by their round-off
        other = other * (float(mesh.volume @ one) / float(mesh.volume @ other))
    return bounds(mesh, one, other, width=width)


__all__ = ["Bounds", "bounds", "bures", "distance", "distance_1d", "interpolated_1d", "provable", "transport_matrix"]
