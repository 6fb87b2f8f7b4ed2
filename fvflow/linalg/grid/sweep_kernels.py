"""Compiled sweeps along lines of cells, many lines side by side.

    y_i = rho_i + forward_i y_{i-1};  x_i = scale_i y_i + backward_i x_{i+1}

Along one line each cell depends on the one before. Loops over lines side by side have no such dependence, and
vectorise.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fvflow.jit import kernel

LANES = 32  # rows that are transposed and swept side by side
_TILE = 8  # rows and columns transposed at once, as many as a vector register holds
WIDTH = 1024  # columns swept at once: a row of so many stays in the L1 cache until the next row has used it


_fused = kernel(fastmath={"contract"})  # the only difference here, 2 x - rho, has no need to cancel


@_fused
def multipliers(volume: Any, sums: Any, down: Any, up: Any, forward: Any, scale: Any, backward: Any) -> None:
    """Eliminate along the middle axis of (outer, along, inner); the sums of the columns are beside the volumes."""
    outer, count, inner = volume.shape
    for o in range(outer):
        carried = sums[o, 0].copy()
        forward[o, 0] = 0.0
        for i in range(count - 1):
            for k in range(inner):
                p = carried[k] + down[o, i, k]
                forward[o, i + 1, k] = down[o, i, k] / p * (volume[o, i, k] / volume[o, i + 1, k])
                scale[o, i, k] = volume[o, i, k] / p
                backward[o, i, k] = up[o, i, k] / p
                carried[k] = sums[o, i + 1, k] + up[o, i, k] * (carried[k] / p)
        for k in range(inner):
            scale[o, count - 1, k] = volume[o, count - 1, k] / carried[k]
        backward[o, count - 1] = 0.0


@_fused
def sweep_line(x: Any, y: Any, forward: Any, scale: Any, backward: Any, reflected: Any) -> None:
    """A single line x into y (along,)."""
    count, carried = len(x), 0.0
    for i in range(count):
        carried = x[i] + forward[i] * carried
        y[i] = scale[i] * carried
    carried = 0.0
    for j in range(count):
        i = count - 1 - j
        carried = y[i] + backward[i] * carried
        y[i] = 2.0 * carried - x[i] if reflected else carried


@_fused
def sweep_rows(x: Any, y: Any, forward: Any, scale: Any, backward: Any, reflected: Any, begin: Any, end: Any) -> None:
    """Groups begin to end of LANES rows (row, along), x into y; multipliers (group, along, lane) or (1, along, 1)."""
    rows, count = x.shape
    cells = np.zeros((count, LANES))
    for group in range(begin, end):
        first, last = group * LANES, min((group + 1) * LANES, rows)
        for row in range(first, last, _TILE):
            for left in range(0, count, _TILE):
                if row + _TILE <= last and left + _TILE <= count:
                    for i in range(_TILE):
                        for j in range(_TILE):
                            cells[left + i, row - first + j] = x[row + j, left + i]
                else:
                    for j in range(row, min(row + _TILE, last)):
                        for i in range(left, min(left + _TILE, count)):
                            cells[i, j - first] = x[j, i]
        if forward.shape[2] == 1:
            _sweep_lanes_shared(cells, forward[0, :, 0], scale[0, :, 0], backward[0, :, 0])
        else:
            _sweep_lanes(cells, forward[group], scale[group], backward[group])
        for row in range(first, last, _TILE):
            for left in range(0, count, _TILE):
                if row + _TILE <= last and left + _TILE <= count and not reflected:
                    for j in range(_TILE):
                        for i in range(_TILE):
                            y[row + j, left + i] = cells[left + i, row - first + j]
                else:
                    for j in range(row, min(row + _TILE, last)):
                        for i in range(left, min(left + _TILE, count)):
                            y[j, i] = 2.0 * cells[i, j - first] - x[j, i] if reflected else cells[i, j - first]


@_fused
def _sweep_lanes(cells: Any, forward: Any, scale: Any, backward: Any) -> None:
    """Forward and backward sweep of lanes (along, lane), in place."""
    carried = np.zeros(LANES)
    for i in range(len(cells)):
        for k in range(LANES):
            carried[k] = cells[i, k] + forward[i, k] * carried[k]
            cells[i, k] = scale[i, k] * carried[k]
    carried[:] = 0.0
    for j in range(len(cells)):
        i = len(cells) - 1 - j
        for k in range(LANES):
            carried[k] = cells[i, k] + backward[i, k] * carried[k]
            cells[i, k] = carried[k]


@_fused
def _sweep_lanes_shared(cells: Any, forward: Any, scale: Any, backward: Any) -> None:
    """The same with multipliers that all lanes share (along,)."""
    carried = np.zeros(LANES)
    for i in range(len(cells)):
        for k in range(LANES):
            carried[k] = cells[i, k] + forward[i] * carried[k]
            cells[i, k] = scale[i] * carried[k]
    carried[:] = 0.0
    for j in range(len(cells)):
        i = len(cells) - 1 - j
        for k in range(LANES):
            carried[k] = cells[i, k] + backward[i] * carried[k]
            cells[i, k] = carried[k]


@_fused
def sweep_strips(
    x: Any,
    y: Any,
    forward: Any,
    scale: Any,
    backward: Any,
    width: Any,
    fresh: Any,
    reflected: Any,
    begin: Any,
    end: Any,
) -> None:
    """Strips begin to end of `width` columns (outer, along, inner), x into y; multipliers alike or (1, along, 1).

    Works on y in place, after copying the rows of x there if `fresh`.
    """
    _, count, inner = y.shape
    strips, shared = (inner + width - 1) // width, forward.shape[2] == 1
    for strip in range(begin, end):
        o, first = strip // strips, strip % strips * width
        last = min(first + width, inner)
        for i in range(count):
            row, before = y[o, i, first:last], y[o, max(i - 1, 0), first:last]
            if fresh:
                row[:] = x[o, i, first:last]
            if i > 0 and shared:
                f = forward[0, i, 0]
                for k in range(last - first):
                    row[k] += f * before[k]
            elif i > 0:
                fs = forward[o, i, first:last]
                for k in range(last - first):
                    row[k] += fs[k] * before[k]
        for j in range(count):
            i = count - 1 - j
            row = y[o, i, first:last]
            behind = y[o, min(i + 1, count - 1), first:last]
            if shared:
                s, b = scale[0, i, 0], backward[0, i, 0]
                for k in range(last - first):
                    row[k] = s * row[k] + b * behind[k]
            else:
                ss, bs = scale[o, i, first:last], backward[o, i, first:last]
                for k in range(last - first):
                    row[k] = ss[k] * row[k] + bs[k] * behind[k]
        if reflected:
            for i in range(count):
                row, before = y[o, i, first:last], x[o, i, first:last]
                for k in range(last - first):
                    row[k] = 2.0 * row[k] - before[k]
