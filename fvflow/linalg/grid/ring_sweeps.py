"""Sweeps along periodic axes: the subtraction-free elimination of rings of cells, many rings side by side.

As `sweep_kernels`, with two more multipliers per cell, to and from the last cell of a ring:

    y_i = rho_i + forward_i y_{i-1};  x_n = scale_n (rho_n + sum_i toward_i y_i);
    x_i = scale_i y_i + backward_i x_{i+1} + origin_i x_n
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from fvflow.jit import kernel, parallel_for, thread_limit
from fvflow.linalg.grid.sweep_kernels import WIDTH
from fvflow.mesh import Array

_fused = kernel(fastmath={"contract"})  # as in `sweep_kernels`


class RingFactor:
    """The multipliers of one periodic axis, each (outer, along, inner); the elimination is that of `Tridiagonal`."""

    def __init__(self, volume: Array, sums: Array, down: Array, up: Array, adjoint: bool) -> None:
        self._rows = volume.shape[2] == 1  # turned into columns, so that inner loops run over many rings
        volume, sums, down, up = (self._turned(part) for part in (volume, sums, down, up))
        self._shape = volume.shape
        self._parts = [np.empty(volume.shape) for _ in range(5)]
        ring_multipliers(volume, sums, down, up, *self._parts)
        if adjoint:
            _transpose(volume, *self._parts)

    lines: None = None
    """None: its steps are taken one at a time."""

    @property
    def nbytes(self) -> int:
        """Bytes of the multipliers."""
        return sum(part.nbytes for part in self._parts)

    def sweep(self, source: Array, target: Array, reflected: bool) -> None:
        """target = S source, or 2 S source - source; they may be the same array if not reflected."""
        outer, _, inner = self._shape
        if self._rows:
            x = np.ascontiguousarray(source.reshape(inner, -1).T)[None]
            y = np.empty_like(x)
        else:
            x, y = source.reshape(self._shape), target.reshape(self._shape)
        width = min(WIDTH, -(-outer * inner // thread_limit()))  # of strips for all threads
        strips = partial(sweep_rings, x, y, *self._parts, width, reflected)
        parallel_for(strips, outer * -(-inner // width), len(source))
        if self._rows:
            target.reshape(inner, -1)[...] = y[0].T

    def _turned(self, part: Array) -> Array:
        """Rows (row, along, 1) as columns (1, along, row); other arrays as they are."""
        return np.ascontiguousarray(part[:, :, 0].T)[None] if self._rows else part


def _transpose(volume: Array, forward: Array, scale: Array, backward: Array, toward: Array, origin: Array) -> None:
    """Exchange the multipliers of the two sweeps, and those to and from the last cell, in place."""
    ahead, closing = volume[:, :-1] / volume[:, 1:], volume / volume[:, -1:]
    behind, back = forward[:, 1:] / ahead, toward / closing
    forward[:, 1:] = backward[:, :-1] * ahead
    backward[:, :-1] = behind
    toward[:] = origin * closing
    origin[:] = back


@_fused
def ring_multipliers(
    volume: Any,
    sums: Any,
    down: Any,
    up: Any,
    forward: Any,
    scale: Any,
    backward: Any,
    toward: Any,
    origin: Any,
) -> None:
    """Eliminate along the middle axis of (outer, along, inner)."""
    outer, count, inner = volume.shape
    last = count - 1
    for o in range(outer):
        carried, closing = sums[o, 0].copy(), sums[o, last].copy()
        to, back = up[o, last].copy(), down[o, last].copy()
        forward[o, 0] = 0.0
        for i in range(last):
            for k in range(inner):
                p = carried[k] + down[o, i, k] + to[k]
                part, size = carried[k] / p, volume[o, i, k]
                closing[k] += back[k] * part
                scale[o, i, k] = size / p
                if i + 1 < last:
                    forward[o, i + 1, k] = down[o, i, k] / p * (size / volume[o, i + 1, k])
                    backward[o, i, k] = up[o, i, k] / p
                    toward[o, i, k] = to[k] / p * (size / volume[o, last, k])
                    origin[o, i, k] = back[k] / p
                    carried[k] = sums[o, i + 1, k] + up[o, i, k] * part
                    to[k] = up[o, i, k] * (to[k] / p)
                    back[k] = back[k] * (down[o, i, k] / p)
                else:  # its neighbour ahead is the last cell
                    closing[k] += up[o, i, k] * part
                    backward[o, i, k] = 0.0
                    toward[o, i, k] = (down[o, i, k] + to[k]) / p * (size / volume[o, last, k])
                    origin[o, i, k] = (up[o, i, k] + back[k]) / p
        for k in range(inner):
            scale[o, last, k] = volume[o, last, k] / closing[k]
        forward[o, last] = backward[o, last] = toward[o, last] = origin[o, last] = 0.0


@_fused
def sweep_rings(
    x: Any,
    y: Any,
    forward: Any,
    scale: Any,
    backward: Any,
    toward: Any,
    origin: Any,
    width: Any,
    reflected: Any,
    begin: Any,
    end: Any,
) -> None:
    """Strips begin to end of `width` columns (outer, along, inner), x into y, which may be the same array."""
    _, count, inner = y.shape
    strips, last = (inner + width - 1) // width, count - 1
    for strip in range(begin, end):
        o, first = strip // strips, strip % strips * width
        stop = min(first + width, inner)
        size = stop - first
        closing, carried = x[o, last, first:stop].copy(), np.zeros(size)
        for i in range(last):
            row, source = y[o, i, first:stop], x[o, i, first:stop]
            fs, ts = forward[o, i, first:stop], toward[o, i, first:stop]
            for k in range(size):
                carried[k] = source[k] + fs[k] * carried[k]
                closing[k] += ts[k] * carried[k]
            for k in range(size):
                row[k] = carried[k]
        for k in range(size):
            closing[k] *= scale[o, last, first + k]
            carried[k] = closing[k]
        for j in range(count):
            i = last - j
            row, source = y[o, i, first:stop], x[o, i, first:stop]
            if i < last:
                ss, bs, os = scale[o, i, first:stop], backward[o, i, first:stop], origin[o, i, first:stop]
                for k in range(size):
                    carried[k] = ss[k] * row[k] + bs[k] * carried[k] + os[k] * closing[k]
            if reflected:
                for k in range(size):
                    row[k] = 2.0 * carried[k] - source[k]
            else:
                for k in range(size):
                    row[k] = carried[k]
