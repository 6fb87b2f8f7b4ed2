"""The parts of cells that lie in a box."""

from __future__ import annotations

from functools import reduce

import numpy as np

from fvflow.mesh.arrays import Array
from fvflow.mesh.core import Mesh
from fvflow.mesh.grid import Grid
from fvflow.mesh.overlap import overlaps

_EDGE = 1e-9  # share of a cell that round-off of the corners of a box may make


def box_share(mesh: Mesh, lower: Array, upper: Array) -> Array:
    """|K cap B|/|K| of each cell K (cell,) and the box B between two corners (dim,).

    A share that differs from 0 or 1 by round-off is 0 or 1. Along periodic axes the box goes on through the seam.
    """
    if mesh.edges is not None:
        sides = zip(mesh.edges, lower, upper, mesh.periods, strict=True)
        parts = [_overlap(*side) / np.diff(side[0]) for side in sides]
        if mesh.revolution is not None:
            edge = mesh.edges[0]
            parts[0] = mesh.revolution.between(np.clip(edge, lower[0], upper[0])) / mesh.revolution.between(edge)
        share = reduce(lambda so_far, part: np.multiply.outer(part, so_far).ravel(), parts)
    else:
        box = [np.array([low, high]) for low, high in zip(lower, upper, strict=True)]
        if mesh.revolution is not None:  # there is nothing beyond the axis
            box[0] = np.maximum(box[0], 0.0)
            if not box[0][1] > box[0][0]:
                return np.zeros(mesh.cells)
        _, cell, volume = overlaps(Grid(tuple(box), revolution=mesh.revolution), mesh)
        share = np.bincount(cell, volume, mesh.cells) / mesh.volume
    return np.where(share < _EDGE, 0.0, np.where(share > 1.0 - _EDGE, 1.0, share))


def _overlap(edge: Array, low: float, high: float, period: float) -> Array:
    """The length (interval,) of the parts of the intervals between edges that lie between two ends, or their images.

    The edges span a period, or it is infinite. Parts in several images, of ends more than a period apart, count once.
    """
    if not np.isfinite(period):
        return np.asarray(np.maximum(np.minimum(edge[1:], high) - np.maximum(edge[:-1], low), 0.0))
    images = np.arange(np.ceil((edge[0] - high) / period), np.floor((edge[-1] - low) / period) + 1)
    total = sum(_overlap(edge, low + k * period, high + k * period, np.inf) for k in images)
    return np.asarray(np.minimum(total, np.diff(edge)))


def box_outside(mesh: Mesh, lower: Array, upper: Array) -> float:
    """The part of a box between two corners (dim,) that is outside the mesh."""
    widths = upper - lower
    if mesh.revolution is not None:
        widths[0] = mesh.revolution.between(np.maximum([lower[0], upper[0]], 0.0))[0]
    inside = float(mesh.volume @ box_share(mesh, lower, upper)) / float(np.prod(widths))
    return max(1.0 - inside, 0.0)
