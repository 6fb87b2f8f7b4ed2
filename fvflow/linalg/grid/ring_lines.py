"""Lines of cells that close to rings, in the smoother of geometric multigrid."""

from __future__ import annotations

from typing import Any

import numpy as np

from fvflow.jit import kernel, parallel_for
from fvflow.linalg.grid.multigrid_transfer import Faces
from fvflow.mesh import Array


class RingLines:
    """The lines of a periodic axis, as open ones with the pivots p' and a term of rank one (Sherman, Morrison).

    With the rates d and u of the seam, from the last cell to the first one and back, and s = max(d, u), the matrix of a
    line is T - c v', c = (s, 0, ..., 0, u), v = (1, 0, ..., 0, d/s). T is that of an open line whose ends lose s and
    u d/s more, an M-matrix, and a solution y of T y = b becomes y + q (v.y)/(1 - v.q), q = T^-1 c >= 0.
    """

    def __init__(self, faces: Faces, axis: int) -> None:
        place = 2 - axis
        self._place = place
        down, up = (part.take(-1, axis=place) for part in faces[axis])
        self._first = np.maximum(down, up)
        self._first = np.where(self._first > 0.0, self._first, 1.0)
        self._back, self._ratio = up, down / self._first

    def add_ends(self, sums: Array) -> None:
        """Add what the ends of the open lines lose beside the faces between their cells, to sums (z, y, x)."""
        lines = np.moveaxis(sums, self._place, 0)
        lines[0] += self._back + self._first
        lines[-1] += self._first * self._ratio + self._back * self._ratio

    def prepare(self, faces: Faces, inverse: Array) -> None:
        """Solve for q, from the inverse pivots (z, y, x) of the open lines."""
        place = self._place
        down, up = (np.moveaxis(part, place, 0) for part in faces[2 - place])
        pivots, self.correction = np.moveaxis(inverse, place, 0), np.zeros_like(inverse)
        q = np.moveaxis(self.correction, place, 0)
        q[0], q[-1] = self._first, self._back
        q[0] *= pivots[0]
        for i in range(1, len(q)):
            q[i] = (q[i] + down[i - 1] * q[i - 1]) * pivots[i]
        for i in range(len(q) - 2, -1, -1):
            q[i] += pivots[i] * up[i] * q[i + 1]
        left = 1.0 - (q[0] + self._ratio * q[-1])
        self._scale = 1.0 / np.maximum(left, np.finfo(float).eps)

    def close(self, x: Array, view: tuple[int, int, int], colour: int) -> None:
        """Turn solutions of the open lines of a colour into those of the rings, in place; x (z, y, x)."""
        lines = np.moveaxis(x, self._place, 0)
        share = (lines[0] + self._ratio * lines[-1]) * self._scale
        first, second = np.ogrid[: share.shape[0], : share.shape[1]]
        share[(first + second) % 2 != colour] = 0.0
        cells, correction = x.transpose(view), self.correction.transpose(view)
        parallel_for(lambda begin, end: add_shares(cells, correction, share, begin, end), len(cells), x.size)


def with_seams(right: Array, volume: Array, faces: Faces, x: Array, rings: list[int]) -> Array:
    """b (z, y, x) with what comes in over the seams of some axes from x (z, y, x), in a copy unless there are none."""
    if not rings:
        return right
    right = right.copy()
    for axis in rings:
        lines, cells, masses = (np.moveaxis(part, 2 - axis, 0) for part in (right, x, volume))
        down, up = (np.moveaxis(part, 2 - axis, 0) for part in faces[axis])
        lines[0] += down[-1] * cells[-1] / masses[0]
        lines[-1] += up[-1] * cells[0] / masses[-1]
    return right


@kernel()
def add_shares(x: Any, correction: Any, share: Any, begin: Any, end: Any) -> None:
    """x (outer, along, inner) += correction times the share (outer, inner), for the outer indices begin to end."""
    _, count, size = x.shape
    for o in range(begin, end):
        for i in range(count):
            for k in range(size):
                x[o, i, k] += correction[o, i, k] * share[o, k]
