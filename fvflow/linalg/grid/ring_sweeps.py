"""Sweeps along periodic axes: the subtraction-free elimination of rings of cells, many rings side by side.

As `sweep_kernels`, with two more multipliers per cell, to and from the last cell of a ring:

    y_i = rho_i + forward_i y_{i-1};  x_n = scale_n (rho_n + sum_i toward_i y_i);
    x_i = scale_i y_i + backward_i x_{i+1} + origin_i x_n

Kernels take some rows of a ring at a time, and what they carry from row to row, so that processes of which each holds
a part of the rows (`SlabRingFactor`) compute as one does.
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
        self._parts = [np.zeros(volume.shape) for _ in range(5)]
        last = self._shape[1] - 1
        for o in range(self._shape[0]):
            ring, parts = [part[o] for part in (volume, sums, down, up)], [part[o] for part in self._parts]
            carried = ring_start(ring[1][last], ring[2][last], ring[3][last], ring[1][0])
            eliminate_ring(*ring, *parts, ring[0][last], carried, 0, last, True)
            parts[1][last] = ring[0][last] / carried[1]
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


def ring_start(sums: Array, down: Array, up: Array, first: Array) -> Array:
    """What `eliminate_ring` carries into its first row (row, line): the sums of the first cell, and of the last one.

    Arrays (line,): sums and rates of the last cell, and the sums of the first one.
    """
    return np.stack([first, sums, up, down])


def _transpose(volume: Array, forward: Array, scale: Array, backward: Array, toward: Array, origin: Array) -> None:
    """Exchange the multipliers of the two sweeps, and those to and from the last cell, in place."""
    ahead, closing = volume[:, :-1] / volume[:, 1:], volume / volume[:, -1:]
    behind, back = forward[:, 1:] / ahead, toward / closing
    forward[:, 1:] = backward[:, :-1] * ahead
    backward[:, :-1] = behind
    toward[:] = origin * closing
    origin[:] = back


@_fused
def eliminate_ring(
    volume: Any,
    sums: Any,
    down: Any,
    up: Any,
    forward: Any,
    scale: Any,
    backward: Any,
    toward: Any,
    origin: Any,
    size_of_last: Any,
    carried: Any,
    begin: Any,
    end: Any,
    closes: Any,
) -> None:
    """Eliminate the rows begin to end - 1 of rings (along, line); the row `end` is the last cell if it `closes`.

    `carried` (4, line) goes from row to row: the sums of the row, those of the last cell, the rates to it and back.
    """
    for i in range(begin, end):
        for k in range(volume.shape[1]):
            to, back = carried[2, k], carried[3, k]
            p = carried[0, k] + down[i, k] + to
            part, size = carried[0, k] / p, volume[i, k]
            carried[1, k] += back * part
            scale[i, k] = size / p
            if i + 1 < end or not closes:
                forward[i + 1, k] = down[i, k] / p * (size / volume[i + 1, k])
                backward[i, k] = up[i, k] / p
                toward[i, k] = to / p * (size / size_of_last[k])
                origin[i, k] = back / p
                carried[0, k] = sums[i + 1, k] + up[i, k] * part
                carried[2, k] = up[i, k] * (to / p)
                carried[3, k] = back * (down[i, k] / p)
            else:  # its neighbour ahead is the last cell
                carried[1, k] += up[i, k] * part
                toward[i, k] = (down[i, k] + to) / p * (size / size_of_last[k])
                origin[i, k] = (up[i, k] + back) / p


@_fused
def ring_forward(
    x: Any,
    y: Any,
    forward: Any,
    toward: Any,
    carried: Any,
    closing: Any,
    o: Any,
    begin: Any,
    end: Any,
    left: Any,
    right: Any,
) -> None:
    """The forward sweep of the rows begin to end - 1, x into y; `carried` and `closing` (line,) go from row to row."""
    for i in range(begin, end):
        row, source = y[o, i, left:right], x[o, i, left:right]
        fs, ts = forward[o, i, left:right], toward[o, i, left:right]
        for k in range(right - left):
            carried[k] = source[k] + fs[k] * carried[k]
            closing[k] += ts[k] * carried[k]
        for k in range(right - left):
            row[k] = carried[k]


@_fused
def ring_end(x: Any, y: Any, scale: Any, closing: Any, reflected: Any, o: Any, i: Any, left: Any, right: Any) -> None:
    """Solve for the last cells, the row i: in `closing` (line,)."""
    for k in range(right - left):
        closing[k] *= scale[o, i, left + k]
    _store(x[o, i, left:right], y[o, i, left:right], closing, reflected)


@_fused
def ring_backward(
    x: Any,
    y: Any,
    scale: Any,
    backward: Any,
    origin: Any,
    carried: Any,
    closing: Any,
    reflected: Any,
    o: Any,
    begin: Any,
    end: Any,
    left: Any,
    right: Any,
) -> None:
    """The backward sweep of the rows end - 1 to begin; `carried` (line,) goes on, `closing` is of the last cells."""
    for j in range(end - begin):
        i = end - 1 - j
        row, source = y[o, i, left:right], x[o, i, left:right]
        ss, bs, os = scale[o, i, left:right], backward[o, i, left:right], origin[o, i, left:right]
        for k in range(right - left):
            carried[k] = ss[k] * row[k] + bs[k] * carried[k] + os[k] * closing[k]
        _store(source, row, carried, reflected)


@_fused
def _store(source: Any, row: Any, found: Any, reflected: Any) -> None:
    """Store what was found (line,) in a row, or its reflection 2 S rho - rho."""
    if reflected:
        for k in range(len(row)):
            row[k] = 2.0 * found[k] - source[k]
    else:
        for k in range(len(row)):
            row[k] = found[k]


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
        o, left = strip // strips, strip % strips * width
        right = min(left + width, inner)
        closing, carried = x[o, last, left:right].copy(), np.zeros(right - left)
        ring_forward(x, y, forward, toward, carried, closing, o, 0, last, left, right)
        ring_end(x, y, scale, closing, reflected, o, last, left, right)
        carried[:] = closing
        ring_backward(x, y, scale, backward, origin, carried, closing, reflected, o, 0, last, left, right)
