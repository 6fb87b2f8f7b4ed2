"""The mesh of a tensor-product grid, whose arrays are computed on demand."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import cached_property, reduce
from itertools import product

import numpy as np

from fvflow.mesh.arrays import EVERY, Array, Index, Subset, freeze, freeze_index
from fvflow.mesh.core import Mesh
from fvflow.mesh.quadrature import REFERENCE_CORNERS

_Along = Callable[[int, Array], Array]
_Across = Callable[[Array], Array]


class Grid(Mesh):
    """The mesh of a tensor-product grid; each array is computed from the edges when it is first used.

    `edges` are the cell boundaries along x, y, z: one increasing array (cells along the axis + 1,) per axis.
    """

    def __init__(self, edges: tuple[Array, ...]) -> None:
        for name, value in {"edges": tuple(map(freeze, edges)), "regions": {}, "boundaries": {}}.items():
            object.__setattr__(self, name, value)

    @property
    def dimension(self) -> int:
        """Number of space dimensions: 1, 2 or 3."""
        return len(self._edges)

    @property
    def cells(self) -> int:
        """Number of cells: the product of those along each axis."""
        return math.prod(self.shape)

    @property
    def _edges(self) -> tuple[Array, ...]:
        assert self.edges is not None
        return self.edges

    @property
    def _widths(self) -> list[Array]:
        return [np.diff(edge) for edge in self._edges]

    @property
    def _midpoints(self) -> list[Array]:
        return [0.5 * (edge[1:] + edge[:-1]) for edge in self._edges]

    @cached_property
    def centre(self) -> Array:
        """Midpoints of the cells (cell, dim), x fastest."""
        return _tensor_points(self._midpoints)

    @cached_property
    def volume(self) -> Array:
        """Measures |K| (cell,): the product of the widths along each axis."""
        return _tensor_product(self._widths)

    @cached_property
    def owner(self) -> Index:
        """Cells K at the lower side of each face (face,), faces ordered by axis and then by owner."""
        number = np.arange(self.cells, dtype=np.int32).reshape(self.shape)
        return freeze_index(np.concatenate([_drop(number, axis, -1).ravel() for axis in self._axes]))

    @cached_property
    def neighbour(self) -> Index:
        """Cells L at the upper side of each face (face,)."""
        number = np.arange(self.cells, dtype=np.int32).reshape(self.shape)
        return freeze_index(np.concatenate([_drop(number, axis, 0).ravel() for axis in self._axes]))

    @cached_property
    def area(self) -> Array:
        """Measures |s| (face,): the product of the widths across the axis of the face; 1 in one dimension."""
        return self._by_axis(lambda axis, width: np.ones(len(width) - 1), lambda width: width)

    @cached_property
    def distance(self) -> Array:
        """Distances |x_L - x_K| of neighbouring midpoints (face,)."""
        midpoints = self._midpoints
        return self._by_axis(lambda axis, width: np.diff(midpoints[axis]), np.ones_like)

    @cached_property
    def normal(self) -> Array:
        """Unit normals (face, dim): the unit vector of the axis of each face."""
        unit = np.eye(self.dimension)
        counts = [_drop(np.empty(self.shape, np.int8), axis, 0).size for axis in self._axes]
        return freeze(np.repeat(unit, counts, axis=0))

    @cached_property
    def points(self) -> Array:
        """Nodes (node, dim), x fastest."""
        return _tensor_points(list(self._edges))

    @cached_property
    def cell_points(self) -> Index:
        """Nodes of each cell (cell, 2^dim), in VTK's order."""
        first = self._node_number()[tuple(slice(-1) for _ in self._edges)].ravel()
        return self._corners(first, list(range(self.dimension)))

    @cached_property
    def face_points(self) -> Index:
        """Nodes of each interior face (face, 2^(dim - 1)), in VTK's order."""
        node = self._node_number()
        parts = []
        for axis in self._axes:
            inside = [slice(1, -1) if other == axis else slice(-1) for other in reversed(self._axes)]
            first = node[tuple(inside)].ravel()
            parts.append(self._corners(first, [other for other in self._axes if other != axis]))
        return freeze_index(np.concatenate(parts))

    @cached_property
    def wall_points(self) -> Index:
        """Nodes of each wall face (wall, 2^(dim - 1)): by axis, the lower wall before the upper one."""
        node = self._node_number()
        parts = []
        for axis in self._axes:
            for layer in (0, node.shape[self.dimension - 1 - axis] - 1):
                on = [slice(layer, layer + 1) if other == axis else slice(-1) for other in reversed(self._axes)]
                parts.append(self._corners(node[tuple(on)].ravel(), [other for other in self._axes if other != axis]))
        return freeze_index(np.concatenate(parts))

    @cached_property
    def wall_cell(self) -> Index:
        """The cell of each wall face (wall,), in the order of `wall_points`."""
        number = np.arange(self.cells, dtype=np.int32).reshape(self.shape)
        layers = [number.take(layer, self.dimension - 1 - axis).ravel() for axis in self._axes for layer in (0, -1)]
        return freeze_index(np.concatenate(layers))

    @cached_property
    def walls(self) -> tuple[Array, Array]:
        """Centres and outward unit normals of the wall faces, each (wall, dim), in the order of `wall_points`."""
        midpoints, centres, normals = self._midpoints, [], []
        for axis in self._axes:
            for sign, wall in ((-1.0, self._edges[axis][:1]), (1.0, self._edges[axis][-1:])):
                centres.append(_tensor_points([wall if other == axis else m for other, m in enumerate(midpoints)]))
                normals.append(np.broadcast_to(sign * np.eye(self.dimension)[axis], centres[-1].shape))
        return np.concatenate(centres), np.concatenate(normals)

    def quadrature(self, count: int) -> Iterator[tuple[Array, Array, Subset]]:
        """Tensor Gauss points, `count` per axis, one point of every cell at a time, as `Mesh.quadrature`."""
        node, weight = np.polynomial.legendre.leggauss(count)
        midpoints, widths = self._midpoints, self._widths
        for choice in product(range(count), repeat=self.dimension):
            offsets = [node[index] for index in choice]
            axes = [m + 0.5 * w * x for m, w, x in zip(midpoints, widths, offsets, strict=True)]
            yield _tensor_points(axes), self.volume * math.prod(0.5 * weight[index] for index in choice), EVERY

    @property
    def _axes(self) -> range:
        return range(self.dimension)

    def _node_number(self) -> Index:
        """Numbers of the nodes as an array ([z,] [y,] x)."""
        shape = tuple(len(edge) for edge in reversed(self._edges))
        return np.arange(math.prod(shape), dtype=np.int32).reshape(shape)

    def _corners(self, first: Index, axes: list[int]) -> Index:
        """Corners (part, corner) of the boxes whose lowest corners are `first` and which extend along `axes`."""
        strides = np.cumprod([1] + [len(edge) for edge in self._edges])
        offsets = ((REFERENCE_CORNERS[len(axes)] + 1) / 2) @ strides[axes]
        return freeze_index(first[:, None] + offsets.astype(np.int32))

    def _by_axis(self, along: _Along, across: _Across) -> Array:
        """For the faces of each axis, the product of a factor along that axis and factors across it (face,)."""
        widths = self._widths
        parts = []
        for axis in self._axes:
            factors = [along(axis, w) if other == axis else across(w) for other, w in enumerate(widths)]
            parts.append(_tensor_product(factors))
        return freeze(np.concatenate(parts))


def _drop(array: Index, axis: int, index: int) -> Index:
    """The array without its first (index 0) or last (-1) layer along a space axis; x is the last array axis."""
    keep: list[slice] = [slice(None)] * array.ndim
    keep[array.ndim - 1 - axis] = slice(1, None) if index == 0 else slice(None, -1)
    return array[tuple(keep)]


def _tensor_points(axes: list[Array]) -> Array:
    """Points of a tensor-product grid (point, dim), x fastest."""
    fields = np.meshgrid(*reversed(axes), indexing="ij")
    return freeze(np.stack([field.ravel() for field in reversed(fields)], axis=1))


def _tensor_product(factors: list[Array]) -> Array:
    """Products of one factor per axis (point,), x fastest."""
    return freeze(reduce(lambda so_far, factor: np.multiply.outer(factor, so_far).ravel(), factors))
