"""Geometric multigrid for a long step on a grid, without a matrix."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from fvflow.jit import kernel, parallel_for
from fvflow.linalg.direct.factorisation import factorise
from fvflow.linalg.grid.multigrid_transfer import Faces, coarsened
from fvflow.linalg.grid.stencil import Stencil
from fvflow.linalg.matrix import FaceMatrix
from fvflow.mesh import Array

_COARSEST = 256  # cells that are eliminated
_WEAK = 0.2  # of the strongest rate: along an axis weaker than that the cells stay as they are
_VISITS = 2  # of a coarser level in each cycle
_LINES = (8, 512, 512)  # lines side by side in a strip; along x each is one stream of memory
_VIEWS = ((0, 2, 1), (0, 1, 2), (1, 0, 2))  # (z, y, x) seen with x, y, z in the middle; each its own inverse


class GeometricMultigrid:
    """r -> about N^-1 r, N = |K|^-1 M on a grid, by one W-cycle.

    On each level M w = |K| is relaxed once from w = 1: a density in balance with its neighbours, near exp(-V/eps) up to
    a slow factor where the drift is a gradient, 1 where it is free of divergence. In u = rho/w the flux A u_K - B u_L,
    A = down w_K, B = up w_L, is diffusion and a circulation, and smooth errors are smooth in u. So pairs of cells merge
    in u, axis by axis: masses |K| w add up, and so do faces side by side. Faces in a row, from middle to middle of the
    pairs, compose to (A1 A2, B1 B2)/(B1 + A2), half a face being A + sqrt(A B), B + sqrt(A B), which is exact for the
    exponential profiles of Scharfetter and Gummel in one dimension; what A - B then lacks of the flow through the face
    between the pairs is added to the side it comes from. So mass and flow in balance are kept, and every level is an
    M-matrix. Residuals are summed, corrections interpolated linearly in u. Errors are smoothed by solves along lines,
    every second one and then those between, for x, y, z in turn, and after the correction in exactly the reverse order.
    Axes whose rates are less than a fifth of the largest wait for a coarser level (Trottenberg, Oosterlee, Schueller,
    Multigrid, 2001, sections 5.1 and 7.7; line smoothing, semicoarsening, operator-dependent transfer).

    Iterations of BiCGStab for noise and a step of 1e3, at 256^2: double well 8, rotation at cell Peclet numbers up to
    30 17, on cells stretched by 30 both ways 19; in 48^3 stretched along all axes 25, as no line joins what is strong
    in planes. Without w a wind takes more than 100 instead of 11; without the flow made up for, that rotation does not
    converge; it takes 31 by V-cycles, and the stretched one 79 with the same order of lines before and after. In 48^3,
    with no drift along z, it takes 11, and 38 if all axes merge at once. Weights from the balance along one axis alone
    do better for gradients (5) but do not converge in cellular flow.
    """

    def __init__(self, matrix: FaceMatrix) -> None:
        assert matrix.shape is not None
        matrix = _monotone(replace(matrix, shape=(1,) * (3 - len(matrix.shape)) + matrix.shape))
        self._levels: list[_Level] = []
        while len(matrix.volume) > _COARSEST:
            self._levels.append(_Level(matrix))
            matrix = self._levels[-1].coarse
        self._masses, self._factors = matrix.volume, factorise(matrix.sparse())

    @property
    def nbytes(self) -> int:
        """What the levels keep beside the matrix itself."""
        return sum(level.nbytes for level in self._levels)

    def __call__(self, residual: Array, out: Array | None = None) -> Array:
        """The correction (cell,) of a residual N e (cell,), in `out` if that is given."""
        out = np.empty_like(residual) if out is None else out
        out[:] = 0.0
        self._cycle(0, residual, out)
        return out

    def _cycle(self, depth: int, right: Array, x: Array) -> None:
        """Improve x, of N x = right, on a level."""
        if depth == len(self._levels):
            x[:] = self._factors.solve(self._masses * right)
            return
        level = self._levels[depth]
        level.smooth(x, right)
        coarse = level.restricted(right, x)
        correction = np.zeros_like(coarse)
        for _ in range(_VISITS if depth + 1 < len(self._levels) else 1):
            self._cycle(depth + 1, coarse, correction)
        level.correct(x, correction)
        level.smooth(x, right, reverse=True)


class _Level:
    """One grid: its lines eliminated, the balanced density w, and the matrix of the grid below."""

    def __init__(self, matrix: FaceMatrix) -> None:
        shape = matrix.shape or ()
        self._shape, self._volume = shape, matrix.volume.reshape(shape)
        self._faces: Faces = [(down, up) for _, down, up in matrix.along()]
        self._stencil, self._image = Stencil(matrix), np.empty(len(matrix.volume))
        self._axes = [axis for axis in range(3) if shape[2 - axis] > 1]
        self._inverse = {axis: pivots(self._volume, self._faces, axis) for axis in self._axes}
        self._balanced = np.ones(len(matrix.volume))
        self.smooth(self._balanced, np.ones(len(matrix.volume)))
        merged = self._merged()
        self._halved = [2 if axis in merged else 1 for axis in (2, 1, 0)]  # z, y, x
        self.coarse = coarsened(self._volume, self._faces, self._balanced.reshape(shape), merged)
        self._parents = [_parents(count, factor) for count, factor in zip(shape, self._halved, strict=True)]

    @property
    def nbytes(self) -> int:
        """What the level keeps beside its matrix."""
        kept: list[Array] = [self._balanced, self._image, self.coarse.volume, self.coarse.down, self.coarse.up]
        kept += self._inverse.values()
        return sum(part.nbytes for part in kept) + self.coarse.owner.nbytes + self.coarse.neighbour.nbytes

    def _merged(self) -> list[int]:
        """The axes along which cells merge, from their mean rates."""
        strength = {axis: float(sum(part.sum() for part in self._faces[axis])) for axis in self._axes}
        return [axis for axis in self._axes if strength[axis] >= _WEAK * max(strength.values())]

    def smooth(self, x: Array, right: Array, reverse: bool = False) -> None:
        """Solve along the lines of each axis in turn, the others held: every second line, and then those between."""
        for axis in reversed(self._axes) if reverse else self._axes:
            across = [other for other in (2, 1, 0) if other != axis]
            cells = (x.reshape(self._shape), right.reshape(self._shape), self._volume, self._inverse[axis])
            parts = [*cells, *(part for other in (axis, *across) for part in self._faces[other])]
            views = [part.transpose(_VIEWS[axis]) for part in parts]
            outer, _, inner = views[0].shape
            for colour in (1, 0) if reverse else (0, 1):
                self._relax(views, colour, _LINES[axis], outer * -(-inner // _LINES[axis]))

    def _relax(self, views: list[Array], colour: int, width: int, strips: int) -> None:
        parallel_for(lambda begin, end: relaxed_lines(*views, colour, width, begin, end), strips, len(self._image))

    def restricted(self, right: Array, x: Array) -> Array:
        """What is left of the right-hand side, summed over the cells that merge, per mass."""
        image = self._stencil.apply(x, self._image)
        coarse = np.empty(self.coarse.shape or ())
        cells = [part.reshape(self._shape) for part in (right, image, self._volume)]
        masses, rows = self.coarse.volume.reshape(coarse.shape), coarse.shape[0] * coarse.shape[1]
        parallel_for(lambda begin, end: summed(coarse, masses, *cells, *self._halved, begin, end), rows, len(x))
        return coarse.ravel()

    def correct(self, x: Array, coarse: Array) -> None:
        """x += w u, u linear between the cells of the coarser grid."""
        cells = [x.reshape(self._shape), self._balanced.reshape(self._shape), coarse.reshape(self.coarse.shape or ())]
        parents = [part for pair in self._parents for part in pair]
        rows = self._shape[0] * self._shape[1]
        parallel_for(lambda begin, end: added(*cells, *parents, begin, end), rows, len(x))


def _monotone(matrix: FaceMatrix) -> FaceMatrix:
    """The matrix, or one with as much more diffusion as makes it an M-matrix."""
    if matrix.monotone:
        return matrix
    lack = np.maximum(-np.minimum(matrix.down, matrix.up), 0.0)
    return replace(matrix, down=matrix.down + lack, up=matrix.up + lack)


def pivots(volume: Array, faces: Faces, axis: int) -> Array:
    """1/p of the elimination along an axis, with all that leaves on the diagonal, without a subtraction (z, y, x)."""
    stay = volume.copy()
    for other, (down, up) in enumerate(faces):
        if other != axis:
            lines = np.moveaxis(stay, 2 - other, 0)
            lines[:-1] += np.moveaxis(down, 2 - other, 0)
            lines[1:] += np.moveaxis(up, 2 - other, 0)
    inverse = np.empty_like(stay)
    stay, lines, down, up = (np.moveaxis(part, 2 - axis, 0) for part in (stay, inverse, *faces[axis]))
    for i in range(len(lines) - 1):
        lines[i] = 1.0 / (stay[i] + down[i])
        stay[i + 1] += up[i] * (stay[i] * lines[i])
    lines[-1] = 1.0 / stay[-1]
    return inverse


def _parents(count: int, factor: int) -> tuple[Array, Array]:
    """The coarse cells next to each cell (2, cell), and the weight of the second (cell,): 1/4, 0 beside a wall."""
    cells = np.arange(count)
    near, last = cells // factor, (count - 1) // factor
    if factor == 1:
        return np.stack([near, near]), np.zeros(count)
    far = near + np.where(cells % 2 == 0, -1, 1)
    alone = (far < 0) | (far > last) | ((cells == count - 1) & (count % 2 == 1))
    return np.stack([near, np.where(alone, near, far)]), np.where(alone, 0.0, 0.25)


@kernel()
def relaxed_lines(
    x: Any,
    b: Any,
    volume: Any,
    inverse: Any,
    down: Any,
    up: Any,
    down_o: Any,
    up_o: Any,
    down_k: Any,
    up_k: Any,
    colour: Any,
    width: Any,
    begin: Any,
    end: Any,
) -> None:
    """Solve along the middle axis on the lines o + k = colour (mod 2) of strips begin to end, `width` lines each."""
    outer, count, inner = x.shape
    strips = (inner + width - 1) // width
    for strip in range(begin, end):
        o, first = strip // strips, strip % strips * width
        last = min(first + width, inner)
        start = first + (o + first + colour) % 2
        for i in range(count):
            for k in range(start, last, 2):
                total = volume[o, i, k] * b[o, i, k]
                if o > 0:
                    total += down_o[o - 1, i, k] * x[o - 1, i, k]
                if o < outer - 1:
                    total += up_o[o, i, k] * x[o + 1, i, k]
                if k > 0:
                    total += down_k[o, i, k - 1] * x[o, i, k - 1]
                if k < inner - 1:
                    total += up_k[o, i, k] * x[o, i, k + 1]
                if i > 0:
                    total += down[o, i - 1, k] * x[o, i - 1, k]
                x[o, i, k] = total * inverse[o, i, k]
        for i in range(count - 2, -1, -1):
            for k in range(start, last, 2):
                x[o, i, k] += inverse[o, i, k] * up[o, i, k] * x[o, i + 1, k]


@kernel()
def summed(
    coarse: Any, masses: Any, b: Any, image: Any, volume: Any, fz: Any, fy: Any, fx: Any, begin: Any, end: Any
) -> None:
    """|K| (b - N x) of the f cells merged along each axis, over their mass; coarse rows begin to end."""
    rows, (layers, lines, count) = coarse.shape[1], b.shape
    for row in range(begin, end):
        o, j = row // rows, row % rows
        coarse[o, j] = 0.0
        for z in range(o * fz, min(o * fz + fz, layers)):
            for y in range(j * fy, min(j * fy + fy, lines)):
                for k in range(count):
                    coarse[o, j, k // fx] += volume[z, y, k] * (b[z, y, k] - image[z, y, k])
        for k in range(coarse.shape[2]):
            coarse[o, j, k] /= masses[o, j, k]


@kernel()
def added(x: Any, w: Any, u: Any, pz: Any, sz: Any, py: Any, sy: Any, px: Any, sx: Any, begin: Any, end: Any) -> None:
    """x += w u between the parents p, the second of weight s, along each axis; rows begin to end."""
    rows, count, coarse = x.shape[1], x.shape[2], u.shape[2]
    line = np.empty(coarse)
    for row in range(begin, end):
        z, y = row // rows, row % rows
        for k in range(coarse):
            near = (1.0 - sy[y]) * u[pz[0, z], py[0, y], k] + sy[y] * u[pz[0, z], py[1, y], k]
            far = (1.0 - sy[y]) * u[pz[1, z], py[0, y], k] + sy[y] * u[pz[1, z], py[1, y], k]
            line[k] = (1.0 - sz[z]) * near + sz[z] * far
        for k in range(count):
            x[z, y, k] += w[z, y, k] * ((1.0 - sx[k]) * line[px[0, k]] + sx[k] * line[px[1, k]])
