"""Matrix-free application of the matrix of a step on a grid."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property, partial
from typing import Any

import numpy as np

from fvflow.jit import Kernel, kernel, parallel_for
from fvflow.linalg.matrix import FaceMatrix
from fvflow.mesh import Array, Index
from fvflow.mesh.arrays import freeze_index
from fvflow.parallel import world
from fvflow.sums import inner


class Stencil:
    """|K|^-1 M of a FaceMatrix on a grid of one to three axes, from the coefficients of its faces."""

    def __init__(self, matrix: FaceMatrix) -> None:
        assert matrix.shape is not None
        self._shape = (1,) * (3 - len(matrix.shape)) + matrix.shape
        self._volume, self._dimension = matrix.volume, len(matrix.shape)
        full = replace(matrix, shape=self._shape)
        self._faces = [part for _, down, up in full.along() for part in (down, up)]
        self._sums, self._leak, self._leak_along = matrix.column_sums, matrix.leak, matrix.leak_along

    def apply(self, density: Array, out: Array) -> Array:
        """out = rho + |K|^-1 (div F(rho) + leak rho) (cell,), the same flux on both sides of a face."""
        self._run(apply_rows, density, self._volume, out)
        if self._leak is not None:
            leaky = self._leaky
            out[leaky] += self._leak[leaky] / self._volume[leaky] * density[leaky]
        return out

    def jacobi(self, density: Array, right: Array, out: Array) -> Array:
        """A Jacobi sweep D^-1(b + (D - M) rho) (cell,), D the diagonal, b = |K| right; it only adds if b, rho >= 0."""
        return world().refresh(self._run(jacobi_rows, density, self._volume, self._sums, right, out))

    def residual_after_sweeps(self, swept: list[Array], density: Array, fresh: bool, out: Array) -> float:
        """out = r - |K|^-1 M S r (cell,), from the results u_x, u_y, ..., S r of the sweeps of S; returns its 1-norm.

            r - |K|^-1 M S r = |K|^-1 sum_a A_a (u_a - S r),   A_a u = div F_a(u) + leak_a u,

        since the sweep along a started from u_a + |K|^-1 A_a u_a; the last axis contributes nothing. S r is added
        to the density, or replaces it if that is `fresh`. `out` may be the memory of u_x.
        """
        leaking = self._leaking(swept)
        layers, second = self._planes[0], swept[max(len(swept) - 2, 0)]
        views = [part.reshape(self._planes) for part in (swept[0], second, swept[-1], out, density)]
        norms = np.empty(layers)
        parallel_for(partial(residual_planes, *views, self._inverse, fresh, norms, *self._within), layers, len(out))
        if leaking is None:
            return world().total_of_layers(norms)
        out[self._leaky] += leaking / self._volume[self._leaky]
        return inner(self._volume, np.abs(out))

    @cached_property
    def _leaky(self) -> Index:
        """The cells that leak."""
        assert self._leak is not None
        return freeze_index(np.flatnonzero(self._leak))

    def _leaking(self, swept: list[Array]) -> Array | None:
        """sum_a leak_a (u_a - S r) of the cells that leak (leaky,); None if none does."""
        if self._leak_along is None:
            return None
        end, cells = swept[-1][self._leaky], self._leaky
        parts = zip(self._leak_along[:-1], swept[:-1], strict=True)
        return np.asarray(sum((leak[cells] * (u[cells] - end) for leak, u in parts), np.zeros(len(cells))))

    @cached_property
    def _planes(self) -> tuple[int, int, int]:
        """(z, y, x) in three dimensions; (y, 1, x) in two, where each row is a plane because the last axis is y."""
        layers, rows, count = self._shape
        return (layers, rows, count) if self._dimension == 3 else (layers * rows, 1, count)

    @cached_property
    def _within(self) -> list[Array]:
        """The coefficients of the faces within planes."""
        layers, rows, count = self._planes
        along = [part.reshape(layers, rows, count - 1) for part in self._faces[:2]]
        across = [part.ravel()[: layers * (rows - 1) * count] for part in self._faces[2:4]]  # empty if a plane is a row
        return along + [part.reshape(layers, rows - 1, count) for part in across]

    @cached_property
    def _inverse(self) -> Array:
        """1/|K| (plane, row, cell), or (1, row, cell) if all planes are the same."""
        volume = self._volume.reshape(self._planes)
        return np.asarray(1.0 / (volume[:1] if (volume == volume[:1]).all() else volume))

    def _run(self, run: Kernel[None], *cells: Array) -> Array:
        views = [part.reshape(self._shape) for part in cells]
        rows = self._shape[0] * self._shape[1]
        parallel_for(lambda begin, end: run(*views, *self._faces, begin, end), rows, len(cells[0]))
        return cells[-1]


@kernel()
def apply_rows(
    x: Any, volume: Any, out: Any, dx: Any, ux: Any, dy: Any, uy: Any, dz: Any, uz: Any, begin: Any, end: Any
) -> None:
    """out = x + |K|^-1 div F(x) on the rows begin to end, counted with y fastest."""
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


@kernel(fastmath={"reassoc", "contract"})
def residual_planes(
    first: Any,
    second: Any,
    last: Any,
    out: Any,
    density: Any,
    inverse: Any,
    fresh: Any,
    norms: Any,
    dx: Any,
    ux: Any,
    dy: Any,
    uy: Any,
    begin: Any,
    end: Any,
) -> None:
    """The loop of `Stencil.residual_after_sweeps` over planes begin to end; the inner loops run over whole planes."""
    _, rows, count = out.shape
    cells, inner = rows * count, (rows - 1) * count
    off, along, across = np.empty((rows, count)), np.zeros((rows, count + 1)), np.empty(inner)
    flat = off.reshape(cells)
    for z in range(begin, end):
        left, swept, known = out[z].reshape(cells), last[z].reshape(cells), density[z].reshape(cells)
        before, per = first[z].reshape(cells), inverse[min(z, len(inverse) - 1)].reshape(cells)
        if fresh:
            for k in range(cells):
                flat[k] = before[k] - swept[k]
                known[k] = swept[k]
        else:
            for k in range(cells):
                flat[k] = before[k] - swept[k]
                known[k] += swept[k]
        down, up, row = dx[z], ux[z], out[z]
        for y in range(rows):
            for k in range(count - 1):
                along[y, k + 1] = down[y, k] * off[y, k] - up[y, k] * off[y, k + 1]
            for k in range(count):
                row[y, k] = along[y, k + 1] - along[y, k]
        if rows > 1:
            before, d, u = second[z].reshape(cells), dy[z].reshape(inner), uy[z].reshape(inner)
            for k in range(cells):
                flat[k] = before[k] - swept[k]
            for k in range(inner):
                across[k] = d[k] * flat[k] - u[k] * flat[k + count]
            for k in range(inner):
                left[k] += across[k]
            for k in range(inner):
                left[k + count] -= across[k]
        norm = 0.0
        for k in range(cells):
            norm += abs(left[k])
            left[k] *= per[k]
        norms[z] = norm


@kernel()
def jacobi_rows(
    x: Any,
    volume: Any,
    sums: Any,
    b: Any,
    out: Any,
    dx: Any,
    ux: Any,
    dy: Any,
    uy: Any,
    dz: Any,
    uz: Any,
    begin: Any,
    end: Any,
) -> None:
    """A Jacobi sweep on the rows begin to end, counted with y fastest."""
    layers, rows, count = x.shape
    total = np.empty(count)
    for row in range(begin, end):
        z, y = row // rows, row % rows
        for k in range(count):
            out[z, y, k] = volume[z, y, k] * b[z, y, k]
            total[k] = sums[z, y, k]
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
