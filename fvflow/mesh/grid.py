"""Grids: boxes cut along the axes, evenly or graded."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, reduce
from itertools import product
from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge, Gt, MaxLen, MinLen

from fvflow.errors import CaseError
from fvflow.mesh.core import EVERY, REFERENCE_CORNERS, Array, Extent, Index, Mesh, Part, freeze, freeze_index

_Along = Callable[[int, Array], Array]
_Across = Callable[[Array], Array]
Corner = Annotated[tuple[float, ...], MinLen(1), MaxLen(3)]
Counts = Annotated[tuple[Annotated[int, Ge(1)], ...], MinLen(1), MaxLen(3)]
Ratios = Annotated[tuple[Annotated[float, Gt(0)], ...], MinLen(1), MaxLen(3)]

LARGEST = 2**29  # cells; keeps every index of cells, faces and nodes within int32


class Grid(Mesh):
    """The mesh of a tensor grid: each array is computed from the edges when it is first asked for."""

    def __init__(self, edges: tuple[Array, ...]) -> None:
        for name, value in {"edges": tuple(map(freeze, edges)), "regions": {}, "boundaries": {}}.items():
            object.__setattr__(self, name, value)

    @property
    def dimension(self) -> int:
        return len(self._edges)

    @property
    def cells(self) -> int:
        return math.prod(self.shape)

    @property
    def _edges(self) -> tuple[Array, ...]:
        assert self.edges is not None
        return self.edges

    @property
    def _widths(self) -> list[Array]:
        return [np.diff(edge) for edge in self._edges]

    @property
    def _middles(self) -> list[Array]:
        return [0.5 * (edge[1:] + edge[:-1]) for edge in self._edges]

    @cached_property
    def centre(self) -> Array:
        return _tensor_points(self._middles)

    @cached_property
    def volume(self) -> Array:
        return _tensor_product(self._widths)

    @cached_property
    def owner(self) -> Index:
        number = np.arange(self.cells, dtype=np.int32).reshape(self.shape)
        return freeze_index(np.concatenate([_drop(number, axis, -1).ravel() for axis in self._axes]))

    @cached_property
    def neighbour(self) -> Index:
        number = np.arange(self.cells, dtype=np.int32).reshape(self.shape)
        return freeze_index(np.concatenate([_drop(number, axis, 0).ravel() for axis in self._axes]))

    @cached_property
    def area(self) -> Array:
        return self._by_axis(lambda axis, width: np.ones(len(width) - 1), lambda width: width)

    @cached_property
    def distance(self) -> Array:
        middles = self._middles
        return self._by_axis(lambda axis, width: np.diff(middles[axis]), np.ones_like)

    @cached_property
    def normal(self) -> Array:
        unit = np.eye(self.dimension)
        counts = [_drop(np.empty(self.shape, np.int8), axis, 0).size for axis in self._axes]
        return freeze(np.repeat(unit, counts, axis=0))

    @cached_property
    def points(self) -> Array:
        return _tensor_points(list(self._edges))

    @cached_property
    def cell_points(self) -> Index:
        first = self._node_number()[tuple(slice(-1) for _ in self._edges)].ravel()
        return self._corners(first, list(range(self.dimension)))

    @cached_property
    def face_points(self) -> Index:
        node = self._node_number()
        parts = []
        for axis in self._axes:
            inside = [slice(1, -1) if other == axis else slice(-1) for other in reversed(self._axes)]
            first = node[tuple(inside)].ravel()
            parts.append(self._corners(first, [other for other in self._axes if other != axis]))
        return freeze_index(np.concatenate(parts))

    @cached_property
    def wall_points(self) -> Index:
        node = self._node_number()
        parts = []
        for axis in self._axes:
            for layer in (0, node.shape[self.dimension - 1 - axis] - 1):
                on = [slice(layer, layer + 1) if other == axis else slice(-1) for other in reversed(self._axes)]
                parts.append(self._corners(node[tuple(on)].ravel(), [other for other in self._axes if other != axis]))
        return freeze_index(np.concatenate(parts))

    @cached_property
    def walls(self) -> tuple[Array, Array]:
        middles, centres, normals = self._middles, [], []
        for axis in self._axes:
            for sign, wall in ((-1.0, self._edges[axis][:1]), (1.0, self._edges[axis][-1:])):
                centres.append(_tensor_points([wall if other == axis else m for other, m in enumerate(middles)]))
                normals.append(np.broadcast_to(sign * np.eye(self.dimension)[axis], centres[-1].shape))
        return np.concatenate(centres), np.concatenate(normals)

    def quadrature(self, count: int) -> Iterator[tuple[Array, Array, Part]]:
        node, weight = np.polynomial.legendre.leggauss(count)
        middles, widths = self._middles, self._widths
        for choice in product(range(count), repeat=self.dimension):
            picked = [node[index] for index in choice]
            axes = [m + 0.5 * w * x for m, w, x in zip(middles, widths, picked, strict=True)]
            yield _tensor_points(axes), self.volume * math.prod(0.5 * weight[index] for index in choice), EVERY

    @property
    def _axes(self) -> range:
        return range(self.dimension)

    def _node_number(self) -> Index:
        shape = tuple(len(edge) for edge in reversed(self._edges))
        return np.arange(math.prod(shape), dtype=np.int32).reshape(shape)

    def _corners(self, first: Index, axes: list[int]) -> Index:
        """Nodes of the boxes that start at the nodes `first` and extend along the axes given."""
        strides = np.cumprod([1] + [len(edge) for edge in self._edges])
        offsets = ((REFERENCE_CORNERS[len(axes)] + 1) / 2) @ strides[axes]
        return freeze_index(first[:, None] + offsets.astype(np.int32))

    def _by_axis(self, along: _Along, across: _Across) -> Array:
        """For the faces of each axis, the product of a factor along it and factors across it."""
        widths = self._widths
        parts = []
        for axis in self._axes:
            factors = [along(axis, w) if other == axis else across(w) for other, w in enumerate(widths)]
            parts.append(_tensor_product(factors))
        return freeze(np.concatenate(parts))


def _drop(array: Index, axis: int, index: int) -> Index:
    """The array without its first (0) or last (-1) layer along a space axis (x is the last array axis)."""
    keep: list[slice] = [slice(None)] * array.ndim
    keep[array.ndim - 1 - axis] = slice(1, None) if index == 0 else slice(None, -1)
    return array[tuple(keep)]


def _tensor_points(axes: list[Array]) -> Array:
    """Points of a tensor grid, x fastest: (point, dim)."""
    fields = np.meshgrid(*reversed(axes), indexing="ij")
    return freeze(np.stack([field.ravel() for field in reversed(fields)], axis=1))


def _tensor_product(factors: list[Array]) -> Array:
    """Products of one factor an axis, x fastest: (point,)."""
    return freeze(reduce(lambda so_far, factor: np.multiply.outer(factor, so_far).ravel(), factors))


@dataclass(frozen=True)
class Box:
    """A box cut into equal cells along each axis.

    >>> Box(lower=(0.0,), upper=(1.0,), cells=(4,)).build().volume
    array([0.25, 0.25, 0.25, 0.25])
    """

    lower: Corner
    upper: Corner
    cells: Counts
    kind: Literal["box"] = "box"

    def __post_init__(self) -> None:
        check_extent(self.lower, self.upper, self.cells)

    @property
    def extent(self) -> Extent:
        """Its dimension and number of cells."""
        return Extent.of(self.cells)

    def build(self) -> Mesh:
        """The mesh; edges x_i = lower + (upper - lower) i/cells."""
        return Grid(tuple(map(_even, self.lower, self.upper, self.cells)))

    def refined(self, factor: int = 2) -> Box:
        """The same box with `factor` times as many cells along each axis."""
        return replace(self, cells=tuple(factor * count for count in self.cells))


@dataclass(frozen=True)
class Graded:
    """A box whose cells grow along each axis: x(s) = lower + (upper - lower) (ratio^s - 1)/(ratio - 1).

    `ratio` is the spacing at the upper end over that at the lower end; 1 is even. Edges of a graded box are among those
    of its refinements.

    >>> Graded(lower=(0.0,), upper=(3.0,), cells=(2,), ratio=(4.0,)).build().volume
    array([1., 2.])
    """

    lower: Corner
    upper: Corner
    cells: Counts
    ratio: Ratios
    kind: Literal["graded"] = "graded"

    def __post_init__(self) -> None:
        check_extent(self.lower, self.upper, self.cells)
        if len(self.ratio) != len(self.cells):
            raise CaseError(f"ratio has {len(self.ratio)} entries and cells {len(self.cells)}; give one per axis")

    @property
    def extent(self) -> Extent:
        """Its dimension and number of cells."""
        return Extent.of(self.cells)

    def build(self) -> Mesh:
        """The mesh."""
        return Grid(tuple(map(_geometric, self.lower, self.upper, self.cells, self.ratio)))

    def refined(self, factor: int = 2) -> Graded:
        """The same grading with `factor` times as many cells along each axis."""
        return replace(self, cells=tuple(factor * count for count in self.cells))


def check_extent(lower: tuple[float, ...], upper: tuple[float, ...], cells: tuple[int, ...]) -> None:
    """Refuse boxes that are empty, inside out, or too many cells to count."""
    if not len(lower) == len(upper) == len(cells) or not 1 <= len(cells) <= 3:
        raise CaseError(
            f"lower, upper and cells have {len(lower)}, {len(upper)} and {len(cells)} entries; "
            "give one, two or three of each, one per axis"
        )
    for axis, low, high, count in zip("xyz", lower, upper, cells, strict=False):
        if not math.isfinite(high - low):
            raise CaseError(f"upper - lower along {axis} is too large for doubles; make the box smaller")
        if not low < high:
            raise CaseError(f"lower {low:g} is not below upper {high:g} along {axis}; exchange or separate them")
        if count < 1:
            raise CaseError(f"{count} cells along {axis}; give at least 1")
        if not (high - low) / count > 4 * np.finfo(float).eps * max(abs(low), abs(high)):
            raise CaseError(f"{count} cells along {axis} are too thin for double precision; use fewer")
    if math.prod(cells) > LARGEST:
        raise CaseError(f"{math.prod(cells)} cells are more than the {LARGEST} that fvflow can count; use fewer")


def _even(lower: float, upper: float, count: int) -> Array:
    return np.linspace(lower, upper, count + 1)


def _geometric(lower: float, upper: float, count: int, ratio: float) -> Array:
    if math.isclose(ratio, 1.0, rel_tol=1e-12):
        return _even(lower, upper, count)
    share = np.expm1(math.log(ratio) * np.linspace(0.0, 1.0, count + 1)) / math.expm1(math.log(ratio))
    edges = lower + (upper - lower) * share
    edges[-1] = upper
    if not np.all(np.diff(edges) > 0):
        raise CaseError(f"ratio {ratio:g} makes cells thinner than double precision; use one nearer to 1")
    return edges
