"""Mesh kinds that cut a box along the axes, into equal or graded cells."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Annotated, Any, Literal

import numpy as np
from annotated_types import Ge, Gt, MaxLen, MinLen

from fvflow.errors import CaseError
from fvflow.mesh.arrays import Array
from fvflow.mesh.base import MAX_DIMENSION, MeshDescription, coarser, entries_per_axis
from fvflow.mesh.core import Mesh
from fvflow.mesh.extent import Extent
from fvflow.mesh.grid import Grid, require_radius
from fvflow.mesh.revolution import DISC, Revolution

Corner = Annotated[tuple[float, ...], MinLen(1), MaxLen(MAX_DIMENSION)]
Counts = Annotated[tuple[Annotated[int, Ge(1)], ...], MinLen(1), MaxLen(MAX_DIMENSION)]
Axes = tuple[Literal["x", "y", "z"], ...]
Ratios = Annotated[tuple[Annotated[float, Gt(0)], ...], MinLen(1), MaxLen(MAX_DIMENSION)]

MAX_CELLS = 2**29  # keeps every index of cells, faces and nodes within int32
_SMALL, _KEPT = 2**15, 4  # cells of a grid that is kept for the next case with equal edges, and how many are


class GridDescription(MeshDescription):
    """A box cut into cells along each axis: what `box`, `graded` and `fipy` know before the mesh is built."""

    lower: Corner
    upper: Corner
    cells: Counts
    periodic: Axes = ()
    axisymmetric: bool = False

    def __post_init__(self) -> None:
        check_box(self.lower, self.upper, self.cells)
        if self.axisymmetric:
            if len(self.cells) > 2:
                raise CaseError("axisymmetric: x is the distance from the axis and y the place along it; give two axes")
            require_radius(self.lower[0], "x" in self.periodic)
        for axis in self.periodic:
            if "xyz".index(axis) >= len(self.cells):
                raise CaseError(f"periodic: there is no axis {axis} in {len(self.cells)} dimension(s); leave it out")

    @classmethod
    def declared_dimension(cls, values: Mapping[str, Any]) -> int | None:
        """The number of entries of `lower`, or of `upper` or `cells` if `lower` is missing."""
        return entries_per_axis(values, "lower", "upper", "cells")

    @property
    def extent(self) -> Extent:
        """Dimension and number of cells of the grid."""
        return Extent.of(self.cells)

    @property
    def revolution(self) -> Revolution | None:
        """What x stands for where it is the distance from an axis."""
        return Revolution.whole(DISC) if self.axisymmetric else None

    @property
    def periodic_axes(self) -> tuple[int, ...]:
        """The periodic axes, 0 for x, in increasing order."""
        return tuple(number for number, axis in enumerate("xyz") if axis in self.periodic)

    def describe(self, mesh: Mesh) -> str:
        """One line on the mesh that was built, with its periodic axes."""
        along = ", ".join(sorted(self.periodic))
        return super().describe(mesh) + (f", periodic along {along}" if along else "")


@dataclass(frozen=True)
class Box(GridDescription):
    """A box cut into equal cells along each axis.

    >>> Box(lower=(0.0,), upper=(1.0,), cells=(4,)).build().volume
    array([0.25, 0.25, 0.25, 0.25])
    """

    lower: Corner
    """Lower corner of the box, one coordinate per axis."""
    upper: Corner
    """Upper corner of the box, one coordinate per axis."""
    cells: Counts
    """Number of cells along each axis."""
    periodic: Axes = ()
    """Axes whose ends are joined: what leaves at the one comes in at the other, and there are no walls."""
    axisymmetric: bool = False
    """Whether x is the distance from an axis along y, so that volumes are those of rings, 2 pi x dx dy."""
    kind: Literal["box"] = "box"

    def build(self) -> Mesh:
        """The grid with the edges x_i = lower + (upper - lower) i/cells."""
        return _grid(tuple(map(_even, self.lower, self.upper, self.cells)), self.periodic_axes, self.revolution)

    def refined(self, factor: int = 2) -> Box:
        """The same box with `factor` times as many cells along each axis."""
        return replace(self, cells=tuple(factor * count for count in self.cells))

    def coarsened(self, factor: int = 2) -> Box:
        """The same box with 1/`factor` of the cells along each axis, rounded up."""
        return replace(self, cells=coarser(self.cells, factor))


@dataclass(frozen=True)
class Graded(GridDescription):
    """A box whose cells grow along each axis: x(s) = lower + (upper - lower) (ratio^s - 1)/(ratio - 1), s in [0, 1].

    The edges of a graded box are among those of its refinements.

    >>> Graded(lower=(0.0,), upper=(3.0,), cells=(2,), ratio=(4.0,)).build().volume
    array([1., 2.])
    """

    lower: Corner
    """Lower corner of the box, one coordinate per axis."""
    upper: Corner
    """Upper corner of the box, one coordinate per axis."""
    cells: Counts
    """Number of cells along each axis."""
    ratio: Ratios
    """Spacing dx/ds at the upper end over that at the lower end, one ratio per axis; 1 gives equal cells."""
    periodic: Axes = ()
    """Axes whose ends are joined: what leaves at the one comes in at the other, and there are no walls."""
    axisymmetric: bool = False
    """Whether x is the distance from an axis along y, so that volumes are those of rings, 2 pi x dx dy."""
    kind: Literal["graded"] = "graded"

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.ratio) != len(self.cells):
            raise CaseError(f"ratio has {len(self.ratio)} entries and cells {len(self.cells)}; give one per axis")

    def build(self) -> Mesh:
        """The grid with the edges x(i/cells); raises CaseError if a ratio makes cells too thin for doubles."""
        return _grid(
            tuple(map(_geometric, self.lower, self.upper, self.cells, self.ratio)), self.periodic_axes, self.revolution
        )

    def refined(self, factor: int = 2) -> Graded:
        """The same grading with `factor` times as many cells along each axis."""
        return replace(self, cells=tuple(factor * count for count in self.cells))

    def coarsened(self, factor: int = 2) -> Graded:
        """The same grading with 1/`factor` of the cells along each axis, rounded up."""
        return replace(self, cells=coarser(self.cells, factor))


def _grid(edges: tuple[Array, ...], periodic: tuple[int, ...], revolution: Revolution | None) -> Grid:
    """The grid with these edges; of the small ones of the last cases the same again, with what it has computed."""
    if math.prod(len(edge) - 1 for edge in edges) > _SMALL:
        return Grid(edges, periodic, revolution)
    return _kept_grid(tuple(edge.tobytes() for edge in edges), periodic, revolution)


@lru_cache(maxsize=_KEPT)
def _kept_grid(edges: tuple[bytes, ...], periodic: tuple[int, ...], revolution: Revolution | None) -> Grid:
    return Grid(tuple(np.frombuffer(edge).copy() for edge in edges), periodic, revolution)


def check_box(lower: tuple[float, ...], upper: tuple[float, ...], cells: tuple[int, ...]) -> None:
    """Raise CaseError if the box is empty or inverted, or its cells are too many or too thin."""
    if not len(lower) == len(upper) == len(cells) or not 1 <= len(cells) <= MAX_DIMENSION:
        raise CaseError(
            f"lower, upper and cells have {len(lower)}, {len(upper)} and {len(cells)} entries; "
            "give one, two or three of each, one per axis"
        )
    for axis, low, high, count in zip("xyz", lower, upper, cells, strict=False):
        if not math.isfinite(high - low):
            raise CaseError(f"upper - lower along {axis} is too large for doubles; make the box smaller")
        if not low < high:
            raise CaseError(f"lower {low:g} is not below upper {high:g} along {axis}; swap or separate them")
        if count < 1:
            raise CaseError(f"{count} cells along {axis}; give at least 1")
        if not (high - low) / count > 4 * np.finfo(float).eps * max(abs(low), abs(high)):
            raise CaseError(f"{count} cells along {axis} are too thin for double precision; use fewer")
    if math.prod(cells) > MAX_CELLS:
        raise CaseError(f"{math.prod(cells)} cells exceed the maximum of {MAX_CELLS}; use fewer")


def _even(lower: float, upper: float, count: int) -> Array:
    """Uniformly spaced edges (count + 1,)."""
    return np.linspace(lower, upper, count + 1)


def _geometric(lower: float, upper: float, count: int, ratio: float) -> Array:
    """Edges (count + 1,) whose spacing grows geometrically by `ratio` from end to end."""
    if math.isclose(ratio, 1.0, rel_tol=1e-12):
        return _even(lower, upper, count)
    share = np.expm1(math.log(ratio) * np.linspace(0.0, 1.0, count + 1)) / math.expm1(math.log(ratio))
    edges = lower + (upper - lower) * share
    edges[-1] = upper
    if not np.all(np.diff(edges) > 0):
        raise CaseError(f"ratio {ratio:g} makes cells thinner than double precision; use one nearer to 1")
    return edges
