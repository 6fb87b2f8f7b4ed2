"""The order of points along a space-filling curve."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fvflow.mesh.arrays import Array, Index, freeze_index

_MARGIN = 2  # bits per axis beyond those that tell evenly spread points apart
_MOST = 30  # bits of a place along an axis


def hilbert_order(points: Array) -> Index:
    """The points (point, dim) in their order along a Hilbert curve through their bounding box (point,).

    Points that are close in this order are close in space; those in the same of 2^bits parts of each axis keep theirs.
    (J. Skilling, Programming the Hilbert curve, AIP Conf. Proc. 707, 2004)
    """
    count, dimension = points.shape
    bits = min((count - 1).bit_length() // dimension + _MARGIN, _MOST)
    lower, size = points.min(axis=0), np.ptp(points, axis=0)
    share = (points - lower) / np.where(size > 0, size, 1.0)
    place = [np.minimum((2**bits * axis).astype(np.int32), 2**bits - 1) for axis in share.T]
    _rotate(place, bits)
    key = np.zeros(count, np.int64)
    for bit in reversed(range(bits)):
        for axis in place:
            key = key << 1 | axis >> bit & 1
    return freeze_index(np.argsort(key, kind="stable"))


def _rotate(place: list[NDArray[np.int32]], bits: int) -> None:
    """Turn places along each axis, in place, to numbers whose interleaved bits are the place along the curve."""
    for bit in range(bits - 1, 0, -1):
        below = (1 << bit) - 1
        for axis in place:
            upper = -(axis >> bit & 1) & below  # all lower bits, or none
            swapped = (place[0] ^ axis) & below & ~upper
            axis ^= swapped  # swap the first axis with this one, or reflect it
            place[0] ^= swapped | upper
    for one, other in zip(place[1:], place, strict=False):
        one ^= other
    parity = np.zeros_like(place[0])
    for bit in range(bits - 1, 0, -1):
        parity ^= (place[-1] >> bit & 1) * ((1 << bit) - 1)
    for axis in place:
        axis ^= parity
