"""The density that a map makes of one on a box, whose axes may be periodic."""

from __future__ import annotations

import numpy as np

from fvflow.mesh import Array, Mesh
from fvflow.wasserstein.spline_dual import tiles


def pushed(mesh: Mesh, density: Array, to: Array) -> Array:
    """The density (cell,) that a map with these values at the centres (cell, dim) makes of one, on the same box.

    The mass of each cell is spread over a box between the midpoints of the images of its neighbours, along periodic
    axes of those nearest to its own image.
    """
    assert mesh.edges is not None
    edges, rings = list(reversed(mesh.edges)), tuple(mesh.dimension - 1 - axis for axis in mesh.periodic)
    places = [
        _place(to[:, axis], edge, axis in mesh.periodic).reshape(mesh.shape)
        for axis, edge in zip(reversed(range(mesh.dimension)), edges, strict=True)
    ]
    masses = tiles(places, rings=rings).deposited((mesh.volume * density).reshape(mesh.shape), edges).ravel()
    return masses * (float(mesh.volume @ density) / float(masses.sum())) / mesh.volume


def _place(x: Array, edge: Array, periodic: bool) -> Array:
    """Coordinates (point,) in units of cells, beyond the ends of a periodic axis too."""
    count = np.arange(len(edge))
    if not periodic:
        return np.asarray(np.interp(x, edge, count))
    period = edge[-1] - edge[0]
    whole = np.floor((x - edge[0]) / period)
    return np.asarray(np.interp(x - whole * period, edge, count) + whole * (len(edge) - 1))
