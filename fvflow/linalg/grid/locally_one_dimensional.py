"""Locally one-dimensional splitting: one subtraction-free tridiagonal solve along each axis of a grid."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Literal, NamedTuple

import numpy as np

from fvflow.errors import CaseError
from fvflow.jit import MIN_PARALLEL_CELLS, parallel_for, thread_limit
from fvflow.linalg.base import LinearSolver
from fvflow.linalg.grid import leap_kernels, sweep_kernels
from fvflow.linalg.grid.ring_sweeps import RingFactor
from fvflow.linalg.grid.slab_rings import SlabRingFactor
from fvflow.linalg.grid.slab_sweeps import SlabFactor
from fvflow.linalg.matrix import FaceMatrix, Solution, Solve, largest_correction, rescale_to_mass
from fvflow.mesh import Array, Extent, Index
from fvflow.parallel import world

Lines = tuple[tuple[int, int, int], int, tuple[Array, ...]]

_MOST_AXES = 3
_SAME_RATES = 1e-13  # relative difference that the rounding of a potential leaves between equal lines


@dataclass(frozen=True)
class LocallyOneDimensional(LinearSolver):
    """One tridiagonal sweep along each axis of a grid: the solver of the split steppers."""

    kind: Literal["split"] = "split"
    divided = True

    def prepare(self, matrix: FaceMatrix) -> Solve:
        """Set up the split solve: one sweep along each axis, x first."""
        sweeps = SplitSweeps(matrix)
        return lambda right, total: sweeps.rescaled(sweeps(right / matrix.volume), total)

    def fits(self, extent: Extent) -> None:
        """Raises CaseError if the mesh is not a grid."""
        if not extent.grid:
            raise CaseError("split steppers sweep along the axes of a grid (box, graded); use implicit-euler")

    def memory(self, extent: Extent) -> int:
        """Estimated bytes of a run, without a matrix: 170 per cell and dimension, measured on 1024^2 and 128^3."""
        return 170 * extent.dimension * extent.cells


class SplitSweeps:
    """rho -> S rho for each axis in turn, S = (|K| + A_axis)^-1 |K|, on a grid; or 2 S rho - rho.

    A_axis is the net outflow along the axis, with what leaks along it. The product is implicit Euler split by axis: S
    has no negative entry, conserves mass, |K|'S = |K|' if nothing leaks, and S pi = pi if the fluxes of pi vanish. 2 S
    - 1 = (|K| + A)^-1 (|K| - A) is the factor of Crank-Nicolson. Yanenko, The Method of Fractional Steps, 1971.

    The elimination is that of `Tridiagonal`. It stores three multipliers per cell and axis, so that a sweep only
    multiplies and adds (`sweep_kernels`). If all lines along an axis have the same rates, they share the multipliers.
    Periodic axes have five multipliers (`RingFactor`).
    """

    def __init__(self, matrix: FaceMatrix, adjoint: bool = False) -> None:
        """With `adjoint`, S* = |K|^-1 S' |K| in place of S, so that sum |K| phi (S rho) = sum |K| (S* phi) rho."""
        assert matrix.shape is not None
        self.column_sums, self.max_relative_diagonal = matrix.volume, matrix.max_relative_diagonal
        self._factors: list[_Factor | RingFactor | SlabFactor | SlabRingFactor] = []
        for (place, *rates), along in zip(matrix.along(), matrix.sums_along(), strict=True):
            volume = matrix.volume.reshape(_as_three_axes(matrix.shape, place))
            sums = volume if along is matrix.volume else along.reshape(volume.shape)
            down, up = (part.reshape(_as_three_axes(part.shape, place)) for part in rates)
            if down.shape == volume.shape:  # as many faces as cells: periodic
                self._factors.append(RingFactor(volume, sums, down, up, adjoint))
            elif place == 0 and (division := world().division) is not None and division.periodic:
                self._factors.append(SlabRingFactor(volume, sums, down, up, adjoint))
            elif place == 0 and division is not None:
                shared = world().every(_same_rates([volume, sums, down, up], _middle_columns(volume, sums, down, up)))
                self._factors.append(SlabFactor(volume, sums, down, up, shared, adjoint))
            else:
                self._factors.append(_Factor(volume, sums, down, up, adjoint))

    @property
    def axes(self) -> tuple[int, ...]:
        """All axes, x first."""
        return tuple(range(len(self._factors)))

    @property
    def nbytes(self) -> int:
        """Bytes of the multipliers."""
        return sum(factor.nbytes for factor in self._factors)

    def __call__(
        self,
        density: Array,
        axes: tuple[int, ...] | None = None,
        reflected: bool = False,
        out: Array | None = None,
    ) -> Array:
        """The density (cell,) after a sweep along each of the axes, by default each once, x first.

        Each applies 2 S - 1 if `reflected`, otherwise S; the result is in `out` if that is given.
        """
        source, target = density, np.empty_like(density) if out is None else out
        spare = np.empty_like(density) if reflected else target  # S may work in place
        for axis in self.axes if axes is None else axes:
            self._factors[axis].sweep(source, target, reflected)
            source, target, spare = target, spare, target
        return source

    def rescaled(self, density: Array, total: float) -> Solution:
        """The density rescaled to the exact total mass, in place: see `rescale_to_mass`."""
        return rescale_to_mass(self, density, total)

    @cached_property
    def lines(self) -> tuple[Index, Index, tuple[Any, ...]]:
        """Shapes (axis, 3), ways of sweeping (axis,) and multipliers of the axes, for `leap_kernels`.

        There are multipliers for three axes, the last repeated, so that a kernel is compiled once for all dimensions.
        """
        shapes, kinds, parts = zip(*(factor.lines for factor in self._factors if factor.lines is not None), strict=True)
        return np.array(shapes), np.array(kinds), (*parts, *[parts[-1]] * (_MOST_AXES - len(parts)))

    @cached_property
    def leaps(self) -> bool:
        """Whether it can take several steps at once: `leap`."""
        return len(self.column_sums) < MIN_PARALLEL_CELLS and None not in [factor.lines for factor in self._factors]

    def leap(self, density: Array, total: float, looks: Array, resolution: tuple[Array, ...]) -> Leap | None:
        """As many steps as `looks` has entries, each rescaled to the total mass; None if one needs a closer look.

        `looks` says (step,) after which of them the density is judged by the arrays of a `CellResolution`: faces,
        coarse, diffusion, peclet and largest_diffusion (cell,).
        """
        after, before, watched = density.copy(), np.empty_like(density), np.zeros(7)
        watched[leap_kernels.LOWEST] = np.inf
        allowed = largest_correction(self)
        arrays = after, before, self.column_sums, *self.lines, sweep_kernels.WIDTH
        if not leap_kernels.leap(*arrays, total, allowed, looks, resolution, watched):
            return None
        return Leap(after, before, *watched.tolist())


class Leap(NamedTuple):
    """What several steps made of a density, and what was watched of them."""

    after: Array
    """The density (cell,) after the last step."""
    before: Array
    """The density (cell,) before the last step."""
    lowest: float
    """The smallest density after any step."""
    drift: float
    """The largest |m/total - 1|."""
    correction: float
    """The largest correction of the mass."""
    peclet: float
    """The largest number of `CellResolution.seen_by` of the steps that were looked at, and so are those that follow."""
    share: float
    """Share of the faces with a Peclet number above 2."""
    diffusion: float
    """Mean numerical diffusion."""
    largest_diffusion: float
    """Largest numerical diffusion."""


class _Factor:
    """The multipliers of one axis: forward, scale, backward, each (outer, along, inner), or (1, along, 1) if shared.

    Those of rows, inner = 1, are stored by groups (group, along, lane), unless there are few rows.
    """

    def __init__(self, volume: Array, sums: Array, down: Array, up: Array, adjoint: bool) -> None:
        outer, count, inner = volume.shape
        self._shape = outer, count, inner
        self._few = inner == 1 and outer < sweep_kernels.LANES // 2
        if _lines_are_equal(volume, sums, down, up):
            volume, sums, down, up = (world().middle_line(part) for part in (volume, sums, down, up))
        self._parts: list[Array] = [np.empty(volume.shape) for _ in range(3)]
        sweep_kernels.multipliers(volume, sums, down, up, *self._parts)
        if adjoint:
            _transpose(volume, self._parts[0], self._parts[2])
        if inner == 1 and len(volume) > 1 and not self._few:
            self._parts = [_interleaved(part[:, :, 0]) for part in self._parts]

    @property
    def nbytes(self) -> int:
        return sum(part.nbytes for part in self._parts)

    @property
    def lines(self) -> Lines:
        """Shape, way of sweeping and multipliers, for `leap_kernels`."""
        kind = leap_kernels.LINES if self._few else leap_kernels.ROWS
        kind = leap_kernels.STRIPS if self._shape[2] > 1 else kind
        return self._shape, kind, tuple(self._parts)

    def sweep(self, source: Array, target: Array, reflected: bool) -> None:
        """target = S source, or 2 S source - source; they may be the same array if not reflected."""
        parts, (outer, count, inner) = self._parts, self._shape
        if inner > 1:
            x, y, fresh = source.reshape(self._shape), target.reshape(self._shape), source is not target
            width = min(sweep_kernels.WIDTH, -(-outer * inner // thread_limit()))  # of strips for all threads
            strips = partial(sweep_kernels.sweep_strips, x, y, *parts, width, fresh, reflected)
            parallel_for(strips, outer * -(-inner // width), len(source))
            return
        before, after = source.reshape(outer, count), target.reshape(outer, count)
        if self._few:
            for row in range(outer):
                line = (part[min(row, len(part) - 1), :, 0] for part in parts)
                sweep_kernels.sweep_line(before[row], after[row], *line, reflected)
        else:
            rows = partial(sweep_kernels.sweep_rows, before, after, *parts, reflected)
            parallel_for(rows, -(-outer // sweep_kernels.LANES), len(source))


def _transpose(volume: Array, forward: Array, backward: Array) -> None:
    """Exchange the multipliers of the two sweeps along the middle axis, weighted by the volumes, in place."""
    ratio = volume[:, :-1] / volume[:, 1:]
    behind = forward[:, 1:] / ratio
    forward[:, 1:] = backward[:, :-1] * ratio
    backward[:, :-1] = behind


def _as_three_axes(shape: tuple[int, ...], place: int) -> tuple[int, int, int]:
    """The shape (outer, along, inner): the axes before the given one merged, the axis, and those after it merged."""
    return math.prod(shape[:place]), shape[place], math.prod(shape[place + 1 :])


def _interleaved(rows: Array) -> Array:
    """Rows (row, along) interleaved by groups (group, along, lane), the last group padded with zeros."""
    groups, along = -(-len(rows) // sweep_kernels.LANES), rows.shape[1]
    filled = np.zeros((groups * sweep_kernels.LANES, along))
    filled[: len(rows)] = rows
    return np.ascontiguousarray(filled.reshape(groups, sweep_kernels.LANES, along).transpose(0, 2, 1))


def _middle_columns(*parts: Array) -> list[Array]:
    """What this process holds of the line in the middle (1, along, 1), of each of some arrays (1, along, line)."""
    middle = parts[0].shape[2] // 2
    return [part[:, :, middle : middle + 1] for part in parts]


def _lines_are_equal(*parts: Array) -> bool:
    """Whether down/|K|, up/|L| and the sums over |K| are the same on all lines, to 1e-13, of volume, sums, down, up.

    Comparing two lines settles most cases.
    """
    end, comm = [part[:1, :, :1] for part in parts], world()
    middle = [comm.middle_line(part) for part in parts]
    return comm.every(_same_rates(end, middle)) and comm.every(_same_rates(list(parts), middle))


def _same_rates(lines: list[Array], line: list[Array]) -> bool:
    for part, behind in ((1, slice(None)), (2, slice(-1)), (3, slice(1, None))):
        if lines[part] is lines[0]:  # nothing leaks
            continue
        rate = lines[part] / lines[0][:, behind]
        known = line[part] / line[0][:, behind]
        if not (np.abs(rate - known) <= _SAME_RATES * np.abs(known)).all():
            return False
    return True
