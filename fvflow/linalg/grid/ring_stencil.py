"""Matrix-free application of the matrix of a step on a grid with periodic axes."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np

from fvflow.jit import kernel, parallel_for
from fvflow.linalg.grid.stencil import Stencil
from fvflow.linalg.matrix import FaceMatrix
from fvflow.mesh import Array
from fvflow.parallel import world
from fvflow.sums import inner


class RingStencil:
    """|K|^-1 M of a FaceMatrix on a grid, as `Stencil`, one axis after the other; the last face of a line may close it.

    An axis is seen as the middle one of (outer, along, inner). In each sum a cell takes what comes from behind before
    what is ahead, over a seam too, so that the bits do not depend on where a ring is cut.
    """

    def __init__(self, matrix: FaceMatrix) -> None:
        assert matrix.shape is not None
        self._volume, self._diagonal = matrix.volume, matrix.diagonal()
        self._leak, self._leak_along = matrix.leak, matrix.leak_along
        self._axes: list[tuple[tuple[int, int, int], Array, Array]] = []
        for place, *rates in matrix.along():
            outer, size = math.prod(matrix.shape[:place]), math.prod(matrix.shape[place + 1 :])
            down, up = (part.reshape(outer, part.shape[place], size) for part in rates)
            self._axes.append(((outer, matrix.shape[place], size), down, up))

    def apply(self, density: Array, out: Array) -> Array:
        """out = rho + |K|^-1 div F(rho) (cell,), the same flux on both sides of a face."""
        out[:] = 0.0
        for axis in range(len(self._axes)):
            self._add(add_divergence, axis, density, out)
        if self._leak is not None:
            out += self._leak * density
        out /= self._volume
        out += density
        return out

    def jacobi(self, density: Array, right: Array, out: Array) -> Array:
        """A Jacobi sweep D^-1(b + (D - M) rho) (cell,), D the diagonal, b = |K| right; it only adds if b, rho >= 0."""
        np.multiply(self._volume, right, out=out)
        for axis in range(len(self._axes)):
            self._add(add_inflow, axis, density, out)
        out /= self._diagonal
        return world().refresh(out)

    def residual_after_sweeps(self, swept: list[Array], density: Array, fresh: bool, out: Array) -> float:
        """As that of `Stencil`: out = |K|^-1 sum_a div F_a(u_a - S r) (cell,), and its 1-norm."""
        last, left = swept[-1], np.zeros_like(density)
        for axis, part in enumerate(swept[:-1]):
            self._add(add_divergence, axis, part - last, left)
            if self._leak_along is not None:
                left += self._leak_along[axis] * (part - last)
        if fresh:
            density[:] = last
        else:
            density += last
        np.divide(left, self._volume, out=out)
        return inner(self._volume, np.abs(out))

    def _add(self, run: Any, axis: int, source: Array, target: Array) -> None:
        lines, down, up = self._axes[axis]
        run = partial(run, source.reshape(lines), target.reshape(lines), down, up)
        parallel_for(run, lines[0], len(source))


def stencil_of(matrix: FaceMatrix) -> Stencil | RingStencil:
    """The stencil of a matrix: a `RingStencil` if an axis of the whole grid is periodic."""
    division = world().division
    closed = matrix.periodic or (division is not None and division.periodic)
    return RingStencil(matrix) if closed else Stencil(matrix)


@kernel()
def add_divergence(x: Any, out: Any, down: Any, up: Any, begin: Any, end: Any) -> None:
    """out += div F(x) along the middle axis, for the outer indices begin to end."""
    _, count, size = x.shape
    last = count - 1
    for o in range(begin, end):
        if down.shape[1] == count:  # a ring: each cell first takes what comes from behind
            for k in range(size):
                out[o, 0, k] -= down[o, last, k] * x[o, last, k] - up[o, last, k] * x[o, 0, k]
        for i in range(last):
            for k in range(size):
                flux = down[o, i, k] * x[o, i, k] - up[o, i, k] * x[o, i + 1, k]
                out[o, i, k] += flux
                out[o, i + 1, k] -= flux
        if down.shape[1] == count:
            for k in range(size):
                out[o, last, k] += down[o, last, k] * x[o, last, k] - up[o, last, k] * x[o, 0, k]


@kernel()
def add_inflow(x: Any, out: Any, down: Any, up: Any, begin: Any, end: Any) -> None:
    """out += what comes in along the middle axis, for the outer indices begin to end."""
    _, count, size = x.shape
    last = count - 1
    for o in range(begin, end):
        if down.shape[1] == count:
            for k in range(size):
                out[o, 0, k] += down[o, last, k] * x[o, last, k]
        for i in range(last):
            for k in range(size):
                out[o, i, k] += up[o, i, k] * x[o, i + 1, k]
                out[o, i + 1, k] += down[o, i, k] * x[o, i, k]
        if down.shape[1] == count:
            for k in range(size):
                out[o, last, k] += up[o, last, k] * x[o, 0, k]
