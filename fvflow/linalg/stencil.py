"""The matrix of a step on a grid, applied without being stored."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from fvflow.linalg.kernels import compiled
from fvflow.linalg.matrix import FaceMatrix
from fvflow.linalg.threads import shared
from fvflow.mesh import Array


class Stencil:
    """|K|^-1 M of a FaceMatrix on a grid of one to three axes, from the coefficients of its faces."""

    def __init__(self, matrix: FaceMatrix) -> None:
        assert matrix.shape is not None
        self._shape = (1,) * (3 - len(matrix.shape)) + matrix.shape
        self._volume = matrix.volume
        full = replace(matrix, shape=self._shape)
        self._faces = [part for _, down, up in full.along() for part in (down, up)]

    def apply(self, density: Array, out: Array) -> Array:
        """out = rho + |K|^-1 div F(rho) (cell,), the same flux on both sides of a face."""
        return self._run(applied, density, self._volume, out)

    def relaxed(self, density: Array, right: Array, out: Array) -> Array:
        """A Jacobi sweep D^-1(b + (D - M) rho) (cell,), D the diagonal, b = |K| right: it adds only, if b, rho >= 0."""
        return self._run(jacobi, density, self._volume, right, out)

    def _run(self, kernel: Any, *cells: Array) -> Array:
        run, views = compiled(kernel), [part.reshape(self._shape) for part in cells]
        rows = self._shape[0] * self._shape[1]
        shared(lambda begin, end: run(*views, *self._faces, begin, end), rows, len(cells[0]))
        return cells[-1]


def applied(
    x: Any, volume: Any, out: Any, dx: Any, ux: Any, dy: Any, uy: Any, dz: Any, uz: Any, begin: Any, end: Any
) -> None:
    """Rows begin to end, counted with y fastest."""
    layers, rows, count = x.shape
    for row in range(begin, end):
        z, y = row // rows, row % rows
        if count == 1:
            out[z, y, 0] = 0.0
        else:
            out[z, y, 0] = dx[z, y, 0] * x[z, y, 0] - ux[z, y, 0] * x[z, y, 1]
            out[z, y, count - 1] = ux[z, y, count - 2] * x[z, y, count - 1] - dx[z, y, count - 2] * x[z, y, count - 2]
        for k in range(1, count - 1):
            ahead = dx[z, y, k] * x[z, y, k] - ux[z, y, k] * x[z, y, k + 1]
            out[z, y, k] = ahead - (dx[z, y, k - 1] * x[z, y, k - 1] - ux[z, y, k - 1] * x[z, y, k])
        if y < rows - 1:
            for k in range(count):
                out[z, y, k] += dy[z, y, k] * x[z, y, k] - uy[z, y, k] * x[z, y + 1, k]
        if y > 0:
            for k in range(count):
                out[z, y, k] -= dy[z, y - 1, k] * x[z, y - 1, k] - uy[z, y - 1, k] * x[z, y, k]
        if z < layers - 1:
            for k in range(count):
                out[z, y, k] += dz[z, y, k] * x[z, y, k] - uz[z, y, k] * x[z + 1, y, k]
        if z > 0:
            for k in range(count):
                out[z, y, k] -= dz[z - 1, y, k] * x[z - 1, y, k] - uz[z - 1, y, k] * x[z, y, k]
        for k in range(count):
            out[z, y, k] = x[z, y, k] + out[z, y, k] / volume[z, y, k]


def jacobi(
    x: Any, volume: Any, b: Any, out: Any, dx: Any, ux: Any, dy: Any, uy: Any, dz: Any, uz: Any, begin: Any, end: Any
) -> None:
    """Rows begin to end, counted with y fastest: what comes in over what may leave."""
    layers, rows, count = x.shape
    total = np.empty(count)
    for row in range(begin, end):
        z, y = row // rows, row % rows
        for k in range(count):
            out[z, y, k] = volume[z, y, k] * b[z, y, k]
            total[k] = volume[z, y, k]
        for k in range(count - 1):
            out[z, y, k] += ux[z, y, k] * x[z, y, k + 1]
            total[k] += dx[z, y, k]
        for k in range(1, count):
            out[z, y, k] += dx[z, y, k - 1] * x[z, y, k - 1]
            total[k] += ux[z, y, k - 1]
        if y < rows - 1:
            for k in range(count):
                out[z, y, k] += uy[z, y, k] * x[z, y + 1, k]
                total[k] += dy[z, y, k]
        if y > 0:
            for k in range(count):
                out[z, y, k] += dy[z, y - 1, k] * x[z, y - 1, k]
                total[k] += uy[z, y - 1, k]
        if z < layers - 1:
            for k in range(count):
                out[z, y, k] += uz[z, y, k] * x[z + 1, y, k]
                total[k] += dz[z, y, k]
        if z > 0:
            for k in range(count):
                out[z, y, k] += dz[z - 1, y, k] * x[z - 1, y, k]
                total[k] += uz[z - 1, y, k]
        for k in range(count):
            out[z, y, k] /= total[k]
