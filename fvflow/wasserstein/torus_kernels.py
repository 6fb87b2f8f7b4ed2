"""Differences and windows on grids some axes of which are periodic; `periods` is (3,), inf between walls, or None.

numba compiles them for None apart from the others: grids between walls on all sides do without them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fvflow.jit import kernel


@kernel()
def image(y: float, x: float, periods: Any, axis: int) -> Any:
    """The image of y next to x along an axis; both are within one period."""
    if periods is None:
        return y
    if x - y > 0.5 * periods[axis]:
        return y + periods[axis]
    if x - y < -0.5 * periods[axis]:
        return y - periods[axis]
    return y


@kernel()
def apart(x: float, y: float, periods: Any, axis: int) -> Any:
    """x - y to the image of y next to x."""
    return x - image(y, x, periods, axis)


@kernel()
def window(middle: int, reach: int, cells: int, periods: Any, axis: int) -> Any:
    """Start and stop of the cells within the reach of one along an axis, each once, and beyond periodic ends."""
    if periods is None or periods[axis] == np.inf:
        return max(middle - reach, 0), min(middle + reach + 1, cells)
    near = min(reach, cells // 2)
    return middle - near, min(middle + near + 1, middle - near + cells)


@kernel()
def between(index: int, cells: int, periods: Any) -> int:
    """The cell of which a cell beyond a periodic end is the image."""
    if periods is None:
        return index
    if index < 0:
        return index + cells
    return index - cells if index >= cells else index


@kernel()
def cells_apart(index: int, other: int, cells: int, periods: Any, axis: int) -> int:
    """|index - other|, the shorter way along a periodic axis."""
    distance = abs(index - other)
    if periods is None or periods[axis] == np.inf:
        return distance
    return min(distance, cells - distance)
