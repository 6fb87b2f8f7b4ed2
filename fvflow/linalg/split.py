"""Products of one subtraction-free tridiagonal solve along each axis of a grid."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from fvflow.errors import CaseError
from fvflow.linalg.kernels import compiled
from fvflow.linalg.matrix import FaceMatrix, Solution, balanced
from fvflow.linalg.threads import shared
from fvflow.mesh import Array, Extent

_ROWS, _STRIP = 4, 512  # lines swept at once along x; cells beside each other across them
_ALIKE = 1e-13  # relative difference of rates that the rounding of a potential leaves between lines that are alike


@dataclass(frozen=True)
class Split:
    """What the split steppers solve with: one sweep along each axis of a grid."""

    kind: Literal["split"] = "split"

    def prepare(self, matrix: FaceMatrix) -> Sweeps:
        """Eliminate along each axis."""
        return Sweeps(matrix)

    def require(self, extent: Extent) -> None:
        """Raises CaseError if the mesh is no grid."""
        if not extent.grid:
            raise CaseError("split steppers sweep along the axes of a grid (box, graded); use implicit-euler")


class Sweeps:
    """rho -> S rho for each axis in turn, S = (|K| + A_axis)^-1 |K|, on a grid; or 2 S rho - rho.

    A_axis is what leaves a cell along the axis. The product is implicit Euler split by axis: S has no negative entry,
    its mass |K|'S is |K|', and S pi = pi where the fluxes of pi vanish. 2 S - 1 = (|K| + A)^-1 (|K| - A) is the factor
    of Crank-Nicolson. Yanenko, The Method of Fractional Steps, 1971.

    The elimination is that of `Tridiagonal`; kept are three multipliers of each cell and axis, so that a sweep only
    multiplies and adds. Where all lines along an axis have the same rates, one line's multipliers serve them all.
    """

    def __init__(self, matrix: FaceMatrix) -> None:
        assert matrix.shape is not None
        self._volume, self._stiffness = matrix.volume, matrix.stiffness
        self._factors = []
        for place, *rates in matrix.along():
            lines = _folded(matrix.shape, place)
            faces = (lines[0], lines[1] - 1, lines[2])
            self._factors.append(_Factor(matrix.volume.reshape(lines), *(part.reshape(faces) for part in rates)))

    @property
    def axes(self) -> tuple[int, ...]:
        """All axes, x first."""
        return tuple(range(len(self._factors)))

    @property
    def nbytes(self) -> int:
        """What the multipliers take."""
        return sum(factor.nbytes for factor in self._factors)

    def __call__(
        self,
        density: Array,
        axes: tuple[int, ...] | None = None,
        reflected: bool = False,
        out: Array | None = None,
    ) -> Array:
        """The density (cell,) after a sweep along each of the axes, by default each once, x first.

        Each is 2 S - 1 if `reflected`, and else S, with the result in `out` if that is given.
        """
        source, here = density, np.empty_like(density) if out is None else out
        there = np.empty_like(density) if reflected else here  # S may overwrite what it reads
        for axis in self.axes if axes is None else axes:
            self._factors[axis].sweep(source, here, reflected)
            source, here, there = here, there, here
        return source

    def balanced(self, density: Array, total: float) -> Solution:
        """The density with its mass made exact, in place, as `aggregated` does."""
        return balanced(self._volume, self._stiffness, density, total)


class _Factor:
    """The multipliers of one axis: forward, scale, backward, each (outer, along, inner), or (1, along, 1) if shared.

    y_i = rho_i + forward_i y_{i-1};  x_i = scale_i y_i + backward_i x_{i+1}
    """

    def __init__(self, volume: Array, down: Array, up: Array) -> None:
        self._shape = volume.shape
        if _alike(volume, down, up):
            volume, down, up = (_middle(part) for part in (volume, down, up))
        self._parts = [np.empty(volume.shape) for _ in range(3)]
        compiled(multipliers)(volume, down, up, *self._parts)

    @property
    def nbytes(self) -> int:
        return sum(part.nbytes for part in self._parts)

    def sweep(self, source: Array, target: Array, reflected: bool) -> None:
        """target = S source, or 2 S source - source; they may be the same array if not reflected."""
        outer, _, inner = self._shape
        own = int(self._parts[0].shape == self._shape)
        x, y, cells = source.reshape(self._shape), target.reshape(self._shape), len(source)
        if inner == 1:
            rows = compiled(sweep_rows)
            parts = [part[:, :, 0] for part in self._parts]
            shared(lambda *run: rows(x[:, :, 0], y[:, :, 0], *parts, own, reflected, *run), outer, cells, _ROWS)
            return
        strips = compiled(sweep_strips)
        number = outer * -(-inner // _STRIP)
        shared(lambda *run: strips(x, y, *self._parts, own, reflected, _STRIP, *run), number, cells)


def _folded(shape: tuple[int, ...], place: int) -> tuple[int, int, int]:
    """The shape as three: what is before the axis, the axis, what is behind it."""
    return math.prod(shape[:place]), shape[place], math.prod(shape[place + 1 :])


def _middle(lines: Array) -> Array:
    """The line in the middle (1, along, 1)."""
    o, k = lines.shape[0] // 2, lines.shape[2] // 2
    return np.ascontiguousarray(lines[o : o + 1, :, k : k + 1])


def _alike(volume: Array, down: Array, up: Array) -> bool:
    """Whether down/|K| and up/|L| are the same on all lines, to 1e-13; most often two lines tell that they are not."""
    end = [part[:1, :, :1] for part in (volume, down, up)]
    middle = [_middle(part) for part in (volume, down, up)]
    return _same_rates(end, middle) and _same_rates([volume, down, up], middle)


def _same_rates(lines: list[Array], line: list[Array]) -> bool:
    for part, behind in ((1, slice(-1)), (2, slice(1, None))):
        rate = lines[part] / lines[0][:, behind]
        known = line[part] / line[0][:, behind]
        if not (np.abs(rate - known) <= _ALIKE * np.abs(known)).all():
            return False
    return True


def multipliers(volume: Any, down: Any, up: Any, forward: Any, scale: Any, backward: Any) -> None:
    """Eliminate along the middle axis."""
    outer, count, inner = volume.shape
    for o in range(outer):
        carried = volume[o, 0].copy()
        forward[o, 0] = 0.0
        for i in range(count - 1):
            for k in range(inner):
                p = carried[k] + down[o, i, k]
                forward[o, i + 1, k] = down[o, i, k] / p * (volume[o, i, k] / volume[o, i + 1, k])
                scale[o, i, k] = volume[o, i, k] / p
                backward[o, i, k] = up[o, i, k] / p
                carried[k] = volume[o, i + 1, k] + up[o, i, k] * (carried[k] / p)
        for k in range(inner):
            scale[o, count - 1, k] = volume[o, count - 1, k] / carried[k]
        backward[o, count - 1] = 0.0


def sweep_rows(
    x: Any, y: Any, forward: Any, scale: Any, backward: Any, own: Any, reflected: Any, begin: Any, end: Any
) -> None:
    """Lines begin to end of x into y, four at once: in one alone each cell waits for the result of the last."""
    count, fours = x.shape[1], begin + (end - begin) // 4 * 4
    w, v = (2.0, -1.0) if reflected else (1.0, 0.0)
    for j in range(begin, fours, 4):
        p, q, r, s = own * j, own * (j + 1), own * (j + 2), own * (j + 3)
        a = b = c = d = 0.0
        for i in range(count):
            a = x[j, i] + forward[p, i] * a
            b = x[j + 1, i] + forward[q, i] * b
            c = x[j + 2, i] + forward[r, i] * c
            d = x[j + 3, i] + forward[s, i] * d
            y[j, i], y[j + 1, i], y[j + 2, i], y[j + 3, i] = a, b, c, d
        a = b = c = d = 0.0
        for i in range(count - 1, -1, -1):
            a = scale[p, i] * y[j, i] + backward[p, i] * a
            b = scale[q, i] * y[j + 1, i] + backward[q, i] * b
            c = scale[r, i] * y[j + 2, i] + backward[r, i] * c
            d = scale[s, i] * y[j + 3, i] + backward[s, i] * d
            y[j, i] = w * a + v * x[j, i]
            y[j + 1, i] = w * b + v * x[j + 1, i]
            y[j + 2, i] = w * c + v * x[j + 2, i]
            y[j + 3, i] = w * d + v * x[j + 3, i]
    for j in range(fours, end):
        p, a = own * j, 0.0
        for i in range(count):
            a = x[j, i] + forward[p, i] * a
            y[j, i] = a
        a = 0.0
        for i in range(count - 1, -1, -1):
            a = scale[p, i] * y[j, i] + backward[p, i] * a
            y[j, i] = w * a + v * x[j, i]


def sweep_strips(
    x: Any, y: Any, forward: Any, scale: Any, backward: Any, own: Any, reflected: Any, width: Any, begin: Any, end: Any
) -> None:
    """Strips begin to end of x into y along the middle axis, `width` cells beside each other at once."""
    count, inner = x.shape[1:]
    strips, ahead = (inner + width - 1) // width, np.empty(width)
    for strip in range(begin, end):
        o, first = strip // strips, strip % strips * width
        f, last = own * o, min(first + width, inner)
        y[o, 0, first:last] = x[o, 0, first:last]
        for i in range(1, count):
            if own:
                for k in range(first, last):
                    y[o, i, k] = x[o, i, k] + forward[f, i, k] * y[o, i - 1, k]
            else:
                for k in range(first, last):
                    y[o, i, k] = x[o, i, k] + forward[0, i, 0] * y[o, i - 1, k]
        ahead[:] = 0.0
        for i in range(count - 1, -1, -1):
            if own:
                for k in range(first, last):
                    ahead[k - first] = scale[f, i, k] * y[o, i, k] + backward[f, i, k] * ahead[k - first]
                    y[o, i, k] = ahead[k - first]
            else:
                for k in range(first, last):
                    ahead[k - first] = scale[0, i, 0] * y[o, i, k] + backward[0, i, 0] * ahead[k - first]
                    y[o, i, k] = ahead[k - first]
            if reflected:
                for k in range(first, last):
                    y[o, i, k] = 2.0 * ahead[k - first] - x[o, i, k]
