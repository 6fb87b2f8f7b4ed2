"""The cost of a better plan with the same masses, which maps boxes onto boxes instead of whole cells onto cells.

Each source cell is cut into boxes, one for each cell that it sends mass to: into slabs along the first axis, ordered by
the position of the target along that axis, then each slab along the second, ..., with volumes in proportion to the
masses. Each target cell is cut in the same way by the positions of its sources. Mapping box onto box affinely couples
the constant densities at the cost

    pi_ij (|centre_ij - centre'_ij|^2 + sum_a (size_a - size'_a)^2/12).

In one dimension this is the monotone map, so the best plan of the cells becomes the exact distance.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fvflow.mesh import Array
from fvflow.wasserstein.legendre import Indices


def box_cost(
    source: Indices,
    target: Indices,
    mass: Array,
    shape: tuple[int, ...],
    spacing: Sequence[float],
    order: Sequence[int],
) -> float:
    """The cost int |x - y|^2 dpi of the plan of boxes, with cells cut along the axes in the given order."""
    keep = mass > 0
    source, target, mass = source[keep], target[keep], mass[keep]
    here, there = np.unravel_index(source, shape), np.unravel_index(target, shape)
    left, right = _boxes(source, there, mass, order), _boxes(target, here, mass, order)
    total = np.zeros(len(mass))
    for axis, h in enumerate(spacing):
        (a0, a1), (b0, b1) = left[axis], right[axis]
        offset = (here[axis] - there[axis]) + 0.5 * (a0 + a1 - b0 - b1)
        total += h**2 * (offset**2 + ((a1 - a0) - (b1 - b0)) ** 2 / 12.0)
    return float(total @ mass)


def _boxes(
    cell: Indices, partner: Sequence[Indices], mass: Array, order: Sequence[int]
) -> dict[int, tuple[Array, Array]]:
    """For each axis the ends, in units of the cell, of the box of `cell` that is coupled to `partner`, for each arc."""
    ends, parent = {}, np.unique(cell, return_inverse=True)[1]
    for axis in order:
        width = int(partner[axis].max()) + 1
        # a slab: the arcs of one parent box with the same position of the partner, in increasing position
        slabs, slab = np.unique(parent * width + partner[axis], return_inverse=True)
        slab_mass = np.bincount(slab, mass)
        owner = slabs // width
        cumulative = np.cumsum(slab_mass)
        first = np.searchsorted(owner, owner)  # first slab of the same parent
        start = cumulative - slab_mass
        begin = start - start[first]
        whole = np.bincount(owner, slab_mass)[owner]
        ends[axis] = (begin / whole)[slab], ((begin + slab_mass) / whole)[slab]
        parent = slab
    return ends
