"""Compiled sweeps along lines of cells of which several processes hold a part: as `sweep_kernels`, some rows at a time.

Lines are columns of arrays (along, line); a row before the first and one after the last of a part hold what the
neighbours send. The arithmetic is that of `sweep_kernels`, operation by operation, so that no bit differs.
"""

from __future__ import annotations

from typing import Any

from fvflow.jit import kernel

_fused = kernel(fastmath={"contract"})  # as in `sweep_kernels`


@_fused
def slab_multipliers(
    volume: Any,
    sums: Any,
    down: Any,
    up: Any,
    forward: Any,
    scale: Any,
    backward: Any,
    carried: Any,
    start: Any,
    last: Any,
    left: Any,
    right: Any,
) -> None:
    """Eliminate the rows start to last - 1 of the columns left to right; `carried` (line,) from row to row."""
    for i in range(start, last):
        for k in range(left, right):
            p = carried[k] + down[i, k]
            forward[i + 1, k] = down[i, k] / p * (volume[i, k] / volume[i + 1, k])
            scale[i, k] = volume[i, k] / p
            backward[i, k] = up[i, k] / p
            carried[k] = sums[i + 1, k] + up[i, k] * (carried[k] / p)


@_fused
def slab_forward(x: Any, y: Any, forward: Any, fresh: Any, begin: Any, end: Any, left: Any, right: Any) -> None:
    """The forward sweep of the rows begin to end, columns left to right; x is copied into y first if `fresh`."""
    shared = forward.shape[1] == 1
    for i in range(begin, end):
        row, before = y[i, left:right], y[max(i - 1, 0), left:right]
        if fresh:
            row[:] = x[i, left:right]
        if i > 0 and shared:
            f = forward[i, 0]
            for k in range(right - left):
                row[k] += f * before[k]
        elif i > 0:
            fs = forward[i, left:right]
            for k in range(right - left):
                row[k] += fs[k] * before[k]


@_fused
def slab_backward(y: Any, scale: Any, backward: Any, begin: Any, end: Any, left: Any, right: Any) -> None:
    """The backward sweep of the rows begin to end, columns left to right."""
    shared, count = scale.shape[1] == 1, len(y)
    for j in range(end - begin):
        i = end - 1 - j
        row = y[i, left:right]
        behind = y[min(i + 1, count - 1), left:right]
        if shared:
            s, b = scale[i, 0], backward[i, 0]
            for k in range(right - left):
                row[k] = s * row[k] + b * behind[k]
        else:
            ss, bs = scale[i, left:right], backward[i, left:right]
            for k in range(right - left):
                row[k] = ss[k] * row[k] + bs[k] * behind[k]


@_fused
def slab_reflect(x: Any, y: Any, begin: Any, end: Any) -> None:
    """y = 2 y - x on the rows begin to end."""
    for i in range(begin, end):
        row, before = y[i], x[i]
        for k in range(len(row)):
            row[k] = 2.0 * row[k] - before[k]
