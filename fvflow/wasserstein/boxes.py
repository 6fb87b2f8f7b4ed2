"""A better plan from the same masses: boxes onto boxes instead of whole cells onto cells.

Cut each source cell into boxes, one for each cell it sends mass to: slabs along the first axis by the position of the
target along that axis, then each slab along the second, ..., with volumes in proportion to the masses; cut each target
cell in the same way by the positions of its sources. Mapping box onto box affinely couples the constant densities at

    pi_ij (|centre_ij - centre'_ij|^2 + sum_a (size_a - size'_a)^2/12).

In one dimension this is the monotone map, so the best plan of the cells becomes the exact distance.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fvflow.mesh import Array
from fvflow.wasserstein.legendre import Places


def box_cost(
    source: Places, target: Places, mass: Array, shape: tuple[int, ...], spacing: Sequence[float], order: Sequence[int]
) -> float:
    """The cost sum of pi |x - y|^2 of the plan of boxes, cutting along the axes in the given order."""
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


def _boxes(cell: Places, other: Sequence[Places], mass: Array, order: Sequence[int]) -> dict[int, tuple[Array, Array]]:
    """For each arc and axis the ends, in units of the cell, of the box of ``cell`` that goes to ``other``."""
    ends, parent = {}, np.unique(cell, return_inverse=True)[1]
    for axis in order:
        width = int(other[axis].max()) + 1
        # a slab: the arcs of one parent box with the same position of the other cell, in increasing position
        slabs, slab = np.unique(parent * width + other[axis], return_inverse=True)
        slab_mass = np.bincount(slab, mass)
        owner = slabs // width
        upto = np.cumsum(slab_mass)
        first = np.searchsorted(owner, owner)  # first slab of the same parent
        start = upto - slab_mass
        begin = start - start[first]
        whole = np.bincount(owner, slab_mass)[owner]
        ends[axis] = (begin / whole)[slab], ((begin + slab_mass) / whole)[slab]
        parent = slab
    return ends
