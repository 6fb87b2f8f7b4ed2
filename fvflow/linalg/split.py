"""Implicit Euler split by axis: one subtraction-free tridiagonal sweep along each axis of a grid."""

from __future__ import annotations

from typing import Any

import numpy as np

from fvflow.linalg.kernels import compiled
from fvflow.linalg.matrix import FaceMatrix
from fvflow.mesh import Array


def swept(matrix: FaceMatrix, shape: tuple[int, ...], right: Array) -> Array:
    """(|K| + A_y)^-1 |K| (|K| + A_x)^-1 right on a grid of the shape (z, y, x): first order, positive, conservative.

    A_x is what leaves a cell along x per step. Each factor is solved as in `Tridiagonal`. Yanenko, The Method of
    Fractional Steps, 1971.
    """
    sweep, x, first = compiled(sweep_lines), right.copy(), 0
    for axis in range(len(shape)):  # x, y, z, as the faces are counted
        place = len(shape) - 1 - axis
        lines = _folded(shape, place)
        count = len(right) // shape[place] * (shape[place] - 1)
        faces = (lines[0], lines[1] - 1, lines[2])
        down, up = (part[first : first + count].reshape(faces) for part in (matrix.down, matrix.up))
        if axis > 0:
            x *= matrix.volume
        sweep(x.reshape(lines), matrix.volume.reshape(lines), down, up, np.empty(lines[1:]))
        first += count
    return x


def _folded(shape: tuple[int, ...], place: int) -> tuple[int, int, int]:
    """The shape as three: what is before the axis, the axis, what is behind it."""
    return int(np.prod(shape[:place])), shape[place], int(np.prod(shape[place + 1 :]))


def sweep_lines(x: Any, volume: Any, down: Any, up: Any, pivot: Any) -> None:
    """Replace x by the solution along its middle axis."""
    outer, count, inner = x.shape
    for o in range(outer):
        carried = volume[o, 0].copy()
        for i in range(count - 1):
            for k in range(inner):
                p = carried[k] + down[o, i, k]
                pivot[i, k] = p
                carried[k] = volume[o, i + 1, k] + up[o, i, k] * (carried[k] / p)
                x[o, i + 1, k] += down[o, i, k] / p * x[o, i, k]
        for k in range(inner):
            x[o, count - 1, k] /= carried[k]
        for i in range(count - 2, -1, -1):
            for k in range(inner):
                x[o, i, k] = (x[o, i, k] + up[o, i, k] * x[o, i + 1, k]) / pivot[i, k]
