"""The density that a map makes of one on a box, whose axes may be periodic."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fvflow.mesh import Array, Mesh
from fvflow.wasserstein.spline_dual import Boxes, tiles


def pushed(mesh: Mesh, density: Array, to: Array) -> Array:
    """The density (cell,) that a map with these values at the centres (cell, dim) makes of one, on the same box.

    The mass of each cell is spread over a box between the midpoints of the images of its neighbours, along periodic
    axes of those nearest to its own image.
    """
    assert mesh.edges is not None
    edges, rings = list(reversed(mesh.edges)), [mesh.dimension - 1 - axis for axis in mesh.periodic]
    places = [
        _place(to[:, axis], edge, axis in mesh.periodic).reshape(mesh.shape)
        for axis, edge in zip(reversed(range(mesh.dimension)), edges, strict=True)
    ]
    masses = _deposited(tiles(places, rings=rings), (mesh.volume * density).reshape(mesh.shape), edges, rings).ravel()
    return masses * (float(mesh.volume @ density) / float(masses.sum())) / mesh.volume


def _place(x: Array, edge: Array, periodic: bool) -> Array:
    """Coordinates (point,) in units of cells, beyond the ends of a periodic axis too."""
    count = np.arange(len(edge))
    if not periodic:
        return np.interp(x, edge, count)
    period = edge[-1] - edge[0]
    whole = np.floor((x - edge[0]) / period)
    return np.interp(x - whole * period, edge, count) + whole * (len(edge) - 1)


def _deposited(boxes: Boxes, mass: Array, edges: Sequence[Array], rings: Sequence[int]) -> Array:
    """Masses (cell, ...) deposited on periods in a row along the periodic axes, and added up."""
    if not rings:
        return boxes.deposited(mass, edges)
    low, high, long = boxes.low.copy(), boxes.high.copy(), list(edges)
    for axis in rings:
        field, n = axis + 3 - mass.ndim, mass.shape[axis]
        start = np.floor(low[field].min() / n)
        low[field] -= n * start
        high[field] -= n * start
        turns = np.arange(int(np.ceil(high[field].max() / n)))
        period = edges[axis][-1] - edges[axis][0]
        long[axis] = np.append((edges[axis][:-1] + turns[:, None] * period).ravel(), edges[axis][0] + len(turns) * period)
    found = Boxes(low, high).deposited(mass, long)
    for axis in rings:
        found = found.reshape(*found.shape[:axis], -1, mass.shape[axis], *found.shape[axis + 1 :]).sum(axis=axis)
    return found
