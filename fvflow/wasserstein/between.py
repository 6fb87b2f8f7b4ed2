"""W2 of two measures of any kind, as an interval, through grids on which both are known up to a distance."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import inf, prod
from time import monotonic

import numpy as np

from fvflow.errors import CaseError
from fvflow.mesh import Array, Grid
from fvflow.wasserstein.bounds import Bounds, bounds
from fvflow.wasserstein.line import EQUAL_MASSES
from fvflow.wasserstein.measures import Measure

_MOST_CELLS = 2**18
_COARSEST = 32  # cells along the longest axis of the first grid, where neither measure has one
_SAME_EDGE = 1e-12  # of the length of an axis: edges of two grids that are one
_SHARE = 0.25  # of the width asked for that may be due to the grid
_LIMITS = {
    "cells": "have more cells than are allowed",
    "time": "take more time than is allowed",
    "memory": "take more memory than is allowed",
}
Report = Callable[[tuple[int, ...], float, float], None]
"""Called with the cells of a level along x, y, z, and the bounds so far."""


@dataclass(frozen=True)
class Distance:
    """lower <= W2 <= upper of two measures."""

    lower: float
    upper: float
    moved: float
    """What both bounds allow for the grid, on which each measure is constant in each cell."""
    grid: Grid
    densities: tuple[Array, Array]
    """What the two became on the grid, each (cell,)."""
    bounds: Bounds
    """The bounds on the grid, with the map between the two."""
    reason: str
    """Why it stopped, in a sentence."""
    proved: bool
    """Whether the width that was asked for is reached."""
    remarks: tuple[str, ...] = ()
    """Sentences on what was compared with what."""

    @property
    def width(self) -> float:
        """(upper - lower)/upper; 0 where both are 0."""
        return (self.upper - self.lower) / self.upper if self.upper > 0 else 0.0


def distance_between(
    first: Measure,
    second: Measure,
    width: float = 1e-3,
    cells: int | None = None,
    mass_tolerance: float = EQUAL_MASSES,
    *,
    seconds: float = inf,
    report: Report | None = None,
) -> Distance:
    """Bounds of W2 of two measures of one mass M, of a relative width if that can be reached.

    |W2(a, b) - W2(a', b')| <= W2(a, a') + W2(b, b') with a', b' the measures on a grid, on which `bounds` applies.
    Two grids have one of the edges of both, in whose cells both are constant; other measures get ever finer grids of
    equal cells around both, until what that moves is a quarter of the width, or the next one has more than `cells`
    cells, 262144 by default. After so many `seconds` the interval so far is returned; `report` is called as by
    `bounds`. Raises CaseError for measures of different dimensions, periods or masses (relative `mass_tolerance`), and
    as `bounds` does.
    """
    mass = _common_mass(first, second, mass_tolerance)
    most = _MOST_CELLS if cells is None else cells
    lower, upper, found, began = 0.0, inf, None, monotonic()
    grids = list(_grids(first, second, most))
    for count, grid in enumerate(grids):
        (a, moved_a), (b, moved_b) = (measure.on(grid, mass) for measure in (first, second))
        moved, last = moved_a + moved_b, count == len(grids) - 1
        if found is not None and not last and moved > _SHARE * width * found.upper:
            continue
        left = seconds - (monotonic() - began)
        inner = width * (1.0 - 2.0 * _SHARE) if moved else width
        found = bounds(grid, a, b, width=inner, seconds=left, report=report)
        lower, upper = max(lower, found.lower - moved), min(upper, found.upper + moved)
        proved = upper - lower <= width * upper
        if proved or last or monotonic() - began > seconds:
            break
    assert found is not None
    size = " x ".join(map(str, reversed(grid.shape)))
    if proved:
        reason = f"the width {width:g} is proved, on {size} cells"
    elif moved > _SHARE * width * upper:
        reason = f"the largest grid allowed, {size} cells, leaves {moved:.3g} in doubt: use more cells"
    else:
        reason = f"on {size} cells, in whose parts the next level would {_LIMITS.get(found.reason, 'gain nothing')}"
    return Distance(lower, upper, moved, grid, (a, b), found, reason, proved, tuple(_remarks(first, second, grid)))


def _remarks(first: Measure, second: Measure, grid: Grid) -> Iterator[str]:
    """That the boxes of two meshes differ."""
    if first.mass is None or second.mass is None:
        return
    corners = np.array([first.extent, second.extent])
    if np.abs(corners[0] - corners[1]).max() > _SAME_EDGE * np.ptp(corners):
        box = " x ".join(f"[{edge[0]:.6g}, {edge[-1]:.6g}]" for edge in grid.edges or ())
        yield f"the meshes lie in different boxes; they are compared on {box}, without mass where they are not"


def _common_mass(first: Measure, second: Measure, tolerance: float) -> float:
    """The mass of both measures."""
    if first.dimension != second.dimension:
        raise CaseError(f"the measures have {first.dimension} and {second.dimension} dimensions; give two of one space")
    if first.mass is None or second.mass is None:
        return first.mass or second.mass or 1.0
    if not abs(first.mass - second.mass) <= tolerance * max(first.mass, second.mass):
        raise CaseError(f"the masses {first.mass:.12g} and {second.mass:.12g} differ; W2 needs measures of one mass")
    return first.mass


def _grids(first: Measure, second: Measure, most: int) -> Iterator[Grid]:
    """Grids around both measures, the first at any size, the others of at most so many cells."""
    periodic = _periodic_axes(first, second)
    given = [measure.edges for measure in (first, second) if measure.edges is not None]
    if len(given) == 2:
        merged = tuple(map(_merged, *given))
        if prod(len(edge) - 1 for edge in merged) <= max(most, *(prod(len(e) - 1 for e in own) for own in given)):
            yield Grid(merged, periodic)
            return
    lattice = min((_lattice(edges) for edges in given), key=lambda found: float(found[1].min()), default=None)
    lower, upper = _box(first, second, periodic)
    if lattice is None:
        lengths = np.where(upper > lower, upper - lower, 1.0)
        lattice = lower, np.full(len(lengths), float(lengths.max()) / _COARSEST)
    origin, spacing = lattice
    below = np.ceil((origin - lower) / spacing - _SAME_EDGE).clip(0)
    counts = np.ceil((upper - origin) / spacing - _SAME_EDGE).clip(1) + below
    level = 0
    while not level or prod(counts.astype(int).tolist()) * 2 ** (level * len(counts)) <= most:
        edges = (
            start + step / 2**level * np.arange(int(count) * 2**level + 1)
            for start, step, count in zip(origin - below * spacing, spacing, counts, strict=True)
        )
        yield Grid(tuple(edges), periodic)
        level += 1


def _box(first: Measure, second: Measure, periodic: tuple[int, ...]) -> tuple[Array, Array]:
    """The corners (dim,) of a box around both, which along periodic axes is that of the mesh."""
    lowers, uppers = zip(first.extent, second.extent, strict=True)
    lower, upper = np.minimum(*lowers), np.maximum(*uppers)
    for measure in (measure for measure in (first, second) if measure.mass is not None):
        for axis in periodic:
            lower[axis], upper[axis] = (corner[axis] for corner in measure.extent)
    return lower, upper


def _periodic_axes(first: Measure, second: Measure) -> tuple[int, ...]:
    """The axes along which both are periodic; samples have no periods of their own."""
    periods = [measure.periods for measure in (first, second) if measure.mass is not None]
    if len(periods) == 2 and periods[0] != periods[1]:
        raise CaseError("the meshes have other periodic axes, or other periods; give two of one space")
    axes = tuple(np.flatnonzero(np.isfinite(periods[0])).tolist()) if periods and periods[0] else ()
    if len(periods) == 2 and any(first.extent[0][axis] != second.extent[0][axis] for axis in axes):
        raise CaseError("the meshes begin at other places along a periodic axis; give two that begin at the same")
    return axes


def _lattice(edges: tuple[Array, ...]) -> tuple[Array, Array]:
    """The lower corner of a grid, and the mean width of its cells along each axis."""
    return np.array([edge[0] for edge in edges]), np.array([np.ptp(edge) / (len(edge) - 1) for edge in edges])


def _merged(edge: Array, other: Array) -> Array:
    """All edges of two, without those that round-off keeps apart."""
    both = np.union1d(edge, other)
    return np.asarray(both[np.append(True, np.diff(both) > _SAME_EDGE * (both[-1] - both[0]))])
