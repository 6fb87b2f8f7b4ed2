"""Matrix-free geometric multigrid for long steps on a grid."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from fvflow.jit import kernel, parallel_for
from fvflow.linalg.direct.factorisation import factorise
from fvflow.linalg.grid.multigrid_transfer import Faces, coarsen
from fvflow.linalg.grid.ring_lines import RingLines, with_seams
from fvflow.linalg.grid.ring_stencil import stencil_of
from fvflow.linalg.matrix import FaceMatrix
from fvflow.mesh import Array

_COARSEST = 256  # cells up to which a level is solved by elimination
_LEAST_RING = 4  # cells
_WEAK = 0.2  # of the strongest rate: an axis with a smaller one is not coarsened
_VISITS = 2  # of the coarser level in each cycle: a W-cycle
_LINES = (8, 512, 512)  # lines side by side in a strip, for x, y, z; each line along x is one stream of memory
_VIEWS = ((0, 2, 1), (0, 1, 2), (1, 0, 2))  # (z, y, x) seen with x, y, z in the middle; each its own inverse


class GeometricMultigrid:
    """r -> about N^-1 r, N = |K|^-1 M on a grid, by one W-cycle.

    Local equilibrium. Each level relaxes M w = |K| once from w = 1. The result is close to exp(-V/eps) up to a slowly
    varying factor if the drift is a gradient, and 1 if it is divergence-free. In u = rho/w the flux A u_K - B u_L,
    A = down w_K, B = up w_L, consists of diffusion and a circulation, and smooth errors are smooth in u.

    Coarsening. Pairs of cells merge in u, axis by axis: masses |K| w add up, and so do faces side by side. Faces in
    series, between the centres of two pairs, compose to (A1 A2, B1 B2)/(B1 + A2), with half a face A + sqrt(A B),
    B + sqrt(A B); this is exact for the exponential profiles of Scharfetter and Gummel in one dimension. The difference
    between A - B and the flow through the face between the pairs is added to its upstream side. So the coarse level
    keeps mass and balanced flow, and is an M-matrix. Axes whose rates are less than a fifth of the largest are left to
    a coarser level (semicoarsening).

    Cycle. Residuals are summed, corrections interpolated linearly in u. Line solves smooth the errors, in zebra order
    for x, y, z in turn, and after the correction in exactly the reverse order. Trottenberg, Oosterlee, Schueller,
    Multigrid, 2001, sections 5.1 and 7.7 (line smoothing, semicoarsening, operator-dependent transfer).

    Iterations of BiCGStab for noise and a step of 1e3, at 256^2: double well 8; rotation at cell Peclet numbers up to
    30: 17; on cells stretched by 30 both ways 19; in 48^3 stretched along all axes 25, as no line connects the cells
    that are strongly coupled in planes. Without w a constant wind takes more than 100 instead of 11. Without the
    correction of the flow that rotation does not converge; it takes 31 with V-cycles, and the stretched one 79 with the
    same order of lines before and after. In 48^3 with no drift along z it takes 11, and 38 if all axes merge at once.
    Weights from the balance along one axis alone are better for gradients (5) but do not converge in cellular flow.
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
        """Bytes of the levels beside the matrix itself."""
        return sum(level.nbytes for level in self._levels)

    def __call__(self, residual: Array, out: Array | None = None) -> Array:
        """The correction (cell,) for a residual N e (cell,), in `out` if that is given."""
        out = np.empty_like(residual) if out is None else out
        out[:] = 0.0
        self._cycle(0, residual, out)
        return out

    def _cycle(self, depth: int, right: Array, x: Array) -> None:
        """Improve x, with N x = right, on a level, in place."""
        if depth == len(self._levels):
            x[:] = self._factors.solve(self._masses * right)
            return
        level = self._levels[depth]
        level.smooth(x, right)
        coarse = level.restrict(right, x)
        correction = np.zeros_like(coarse)
        for _ in range(_VISITS if depth + 1 < len(self._levels) else 1):
            self._cycle(depth + 1, coarse, correction)
        level.correct(x, correction)
        level.smooth(x, right, reverse=True)


class _Level:
    """One grid: the pivots of its lines, the local equilibrium w, and the matrix of the next coarser grid."""

    def __init__(self, matrix: FaceMatrix) -> None:
        shape = matrix.shape or ()
        self._shape, self._volume = shape, matrix.volume.reshape(shape)
        self._faces: Faces = [(down, up) for _, down, up in matrix.along()]
        self._stencil = stencil_of(matrix)
        self._image = np.empty(len(matrix.volume))
        self._axes = [axis for axis in range(3) if shape[2 - axis] > 1]
        sums = matrix.column_sums.reshape(shape)
        self._rings = {axis: RingLines(self._faces, axis) for axis in matrix.periodic}
        self._inverse = {axis: inverse_pivots(sums, self._faces, axis, self._rings.get(axis)) for axis in self._axes}
        for axis, lines in self._rings.items():
            lines.prepare(self._faces, self._inverse[axis])
        self._equilibrium = np.ones(len(matrix.volume))
        self.smooth(self._equilibrium, np.ones(len(matrix.volume)))
        merged = self._merging_axes()
        self._factor = [2 if axis in merged else 1 for axis in (2, 1, 0)]  # z, y, x
        leak = None if matrix.leak is None else matrix.leak.reshape(shape)
        self.coarse = coarsen(self._volume, self._faces, self._equilibrium.reshape(shape), merged, leak)
        rings = [axis in self._rings for axis in (2, 1, 0)]
        self._parents = [_parents(*each) for each in zip(shape, self._factor, rings, strict=True)]

    @property
    def nbytes(self) -> int:
        """Bytes of the level beside its matrix."""
        kept: list[Array] = [self._equilibrium, self._image, self.coarse.volume, self.coarse.down, self.coarse.up]
        kept += [*self._inverse.values(), *(lines.correction for lines in self._rings.values())]
        return sum(part.nbytes for part in kept) + self.coarse.owner.nbytes + self.coarse.neighbour.nbytes

    def _merging_axes(self) -> list[int]:
        """The axes to coarsen, by their mean rates; rings of two and three cells stay as they are."""
        axes = [axis for axis in self._axes if axis not in self._rings or self._shape[2 - axis] >= _LEAST_RING]
        strength = {axis: float(sum(part.sum() for part in self._faces[axis])) for axis in axes}
        return [axis for axis in axes if strength[axis] >= _WEAK * max(strength.values())]

    def smooth(self, x: Array, right: Array, reverse: bool = False) -> None:
        """Zebra line relaxation along each axis in turn, in place: the even lines, then the odd ones."""
        for axis in reversed(self._axes) if reverse else self._axes:
            for colour in (1, 0) if reverse else (0, 1):
                self._relax(x.reshape(self._shape), right.reshape(self._shape), axis, colour)

    def _relax(self, x: Array, right: Array, axis: int, colour: int) -> None:
        """Solve along the lines of a colour; over a seam the last one takes what was there before."""
        right = with_seams(right, self._volume, self._faces, x, [other for other in self._rings if other != axis])
        across, width = [other for other in (2, 1, 0) if other != axis], _LINES[axis]
        parts = [x, right, self._volume, self._inverse[axis]]
        parts += (part for other in (axis, *across) for part in self._faces[other])
        views = [part.transpose(_VIEWS[axis]) for part in parts]
        outer, _, inner = views[0].shape
        strips = outer * -(-inner // width)
        parallel_for(lambda begin, end: relax_lines(*views, colour, width, begin, end), strips, len(self._image))
        if axis in self._rings:
            self._rings[axis].close(x, _VIEWS[axis], colour)

    def restrict(self, right: Array, x: Array) -> Array:
        """The residual summed over the cells that merge, per coarse mass."""
        image = self._stencil.apply(x, self._image)
        coarse = np.empty(self.coarse.shape or ())
        cells = [part.reshape(self._shape) for part in (right, image, self._volume)]
        masses, rows = self.coarse.volume.reshape(coarse.shape), coarse.shape[0] * coarse.shape[1]
        parallel_for(
            lambda begin, end: restrict_residual(coarse, masses, *cells, *self._factor, begin, end), rows, len(x)
        )
        return coarse.ravel()

    def correct(self, x: Array, coarse: Array) -> None:
        """x += w u, u interpolated linearly from the coarser grid."""
        cells = [
            x.reshape(self._shape),
            self._equilibrium.reshape(self._shape),
            coarse.reshape(self.coarse.shape or ()),
        ]
        parents = [part for pair in self._parents for part in pair]
        rows = self._shape[0] * self._shape[1]
        parallel_for(lambda begin, end: interpolate_correction(*cells, *parents, begin, end), rows, len(x))


def _monotone(matrix: FaceMatrix) -> FaceMatrix:
    """The matrix, or one with just enough diffusion added to be an M-matrix."""
    if matrix.monotone:
        return matrix
    lack = np.maximum(-np.minimum(matrix.down, matrix.up), 0.0)
    return replace(matrix, down=matrix.down + lack, up=matrix.up + lack)


def inverse_pivots(sums: Array, faces: Faces, axis: int, ring: RingLines | None = None) -> Array:
    """1/p of the subtraction-free elimination along an axis, with the whole outflow on the diagonal (z, y, x).

    The column sums are |K| and what leaks.
    """
    rest = sums.copy()
    for other, (down, up) in enumerate(faces):
        if other != axis:
            _add_leaving(rest, down, up, other)
    if ring is not None:
        ring.add_ends(rest)
    inverse = np.empty_like(rest)
    rest, lines, down, up = (np.moveaxis(part, 2 - axis, 0) for part in (rest, inverse, *faces[axis]))
    for i in range(len(lines) - 1):
        lines[i] = 1.0 / (rest[i] + down[i])
        rest[i + 1] += up[i] * (rest[i] * lines[i])
    lines[-1] = 1.0 / rest[-1]
    return inverse


def _add_leaving(sums: Array, down: Array, up: Array, axis: int) -> None:
    """Add the outflow along an axis, in place."""
    lines, down, up = (np.moveaxis(part, 2 - axis, 0) for part in (sums, down, up))
    inside = len(lines) - 1
    lines[:-1] += down[:inside]
    lines[1:] += up[:inside]
    if len(down) > inside:  # they close a ring
        lines[-1] += down[-1]
        lines[0] += up[-1]


def _parents(count: int, factor: int, ring: bool = False) -> tuple[Array, Array]:
    """The two nearest coarse cells of each cell (2, cell), and the weight of the second (cell,): 1/4, 0 at a wall.

    On a ring the first and the last coarse cell are side by side.
    """
    cells = np.arange(count)
    near, last = cells // factor, (count - 1) // factor
    if factor == 1:
        return np.stack([near, near]), np.zeros(count)
    far = near + np.where(cells % 2 == 0, -1, 1)
    far = far % (last + 1) if ring else far
    alone = (far < 0) | (far > last) | ((cells == count - 1) & (count % 2 == 1))
    return np.stack([near, np.where(alone, near, far)]), np.where(alone, 0.0, 0.25)


@kernel()
def relax_lines(
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
def restrict_residual(
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
def interpolate_correction(
    x: Any, w: Any, u: Any, pz: Any, sz: Any, py: Any, sy: Any, px: Any, sx: Any, begin: Any, end: Any
) -> None:
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
