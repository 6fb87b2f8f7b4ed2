"""The mesh of a tensor-product grid, whose arrays are computed on demand."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import cached_property, reduce
from itertools import product
from typing import Any

import numpy as np

from fvflow.errors import CaseError
from fvflow.mesh.arrays import EVERY, Array, Index, Subset, freeze, freeze_index
from fvflow.mesh.core import Mesh
from fvflow.mesh.pieces import Boxes
from fvflow.mesh.quadrature import REFERENCE_CORNERS
from fvflow.mesh.revolution import Revolution

_Along = Callable[[int, Array], Array]
_Across = Callable[[Array], Array]
CIRCULAR = "circular"
"""How results mark the coordinate of a periodic axis, in its attribute `topology`."""
LEAST_PERIODIC = 3
"""The least number of cells along a periodic axis: with fewer, two of them would share two faces."""


class Grid(Mesh):
    """The mesh of a tensor-product grid; each array is computed from the edges when it is first used.

    `edges` are the cell boundaries along x, y, z: one increasing array (cells along the axis + 1,) per axis. Along the
    `periodic` axes a face more, the last of its line, joins the last cell to the first; it lies at the upper end.
    With a `revolution` x is a radius: it begins at 0 or above, is not periodic, and has no wall at 0.
    Raises CaseError if there are fewer than three cells along a periodic axis, or if x cannot be a radius.
    """

    def __init__(
        self, edges: tuple[Array, ...], periodic: tuple[int, ...] = (), revolution: Revolution | None = None
    ) -> None:
        parts = {
            "edges": tuple(map(freeze, edges)),
            "periodic": tuple(periodic),
            "regions": {},
            "boundaries": {},
        }
        for name, value in {**parts, "revolution": revolution}.items():
            object.__setattr__(self, name, value)
        if revolution is not None:
            require_radius(float(edges[0][0]), 0 in self.periodic)
        for axis in self.periodic:
            if len(edges[axis]) <= LEAST_PERIODIC:
                raise CaseError(
                    f"{len(edges[axis]) - 1} cells along {'xyz'[axis]}; a periodic axis needs at least {LEAST_PERIODIC}"
                )

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
        return self.edges or ()

    @cached_property
    def corners(self) -> tuple[Array, Array]:
        """The lower and the upper corner of the domain, each (dim,)."""
        lower, upper = (np.array([edge[end] for edge in self._edges]) for end in (0, -1))
        return lower, upper

    @property
    def widths(self) -> list[Array]:
        """The widths of the cells along each axis, each (interval,)."""
        return [np.diff(edge) for edge in self._edges]

    @property
    def _measures(self) -> list[Array]:
        """The measures of the intervals along each axis, whose products are the volumes."""
        widths = self.widths
        return widths if self.revolution is None else [self.revolution.between(self._edges[0]), *widths[1:]]

    @property
    def midpoints(self) -> list[Array]:
        """The middles of the cells along each axis, each (interval,)."""
        return [0.5 * (edge[1:] + edge[:-1]) for edge in self._edges]

    @cached_property
    def centre(self) -> Array:
        """Midpoints of the cells (cell, dim), x fastest."""
        return _tensor_points(self.midpoints)

    @cached_property
    def volume(self) -> Array:
        """Measures |K| (cell,): the product of the widths along each axis, or of a ring or shell and the others."""
        return _tensor_product(self._measures)

    @cached_property
    def cell_size(self) -> Array:
        """As `Mesh.cell_size`: the geometric mean of the widths."""
        return freeze(_tensor_product(self.widths) ** (1.0 / self.dimension))

    @cached_property
    def owner(self) -> Index:
        """Cells K at the lower side of each face (face,), faces ordered by axis and then by owner."""
        number = np.arange(self.cells, dtype=np.int32).reshape(self.shape)
        return freeze_index(np.concatenate([self._behind(number, axis).ravel() for axis in self._axes]))

    @cached_property
    def neighbour(self) -> Index:
        """Cells L at the upper side of each face (face,)."""
        number = np.arange(self.cells, dtype=np.int32).reshape(self.shape)
        return freeze_index(np.concatenate([self._ahead(number, axis).ravel() for axis in self._axes]))

    @cached_property
    def area(self) -> Array:
        """Measures |s| (face,): the product of the widths across the axis of the face; 1 in one dimension."""
        return self._by_axis(lambda axis, width: self._across(axis), lambda width: width)

    @cached_property
    def distance(self) -> Array:
        """Distances |x_L - x_K| of neighbouring midpoints (face,)."""
        return self._by_axis(lambda axis, width: self.gaps(axis), np.ones_like)

    @cached_property
    def normal(self) -> Array:
        """Unit normals (face, dim): the unit vector of the axis of each face."""
        unit = np.eye(self.dimension)
        counts = [self._behind(np.empty(self.shape, np.int8), axis).size for axis in self._axes]
        return freeze(np.repeat(unit, counts, axis=0))

    @cached_property
    def points(self) -> Array:
        """Nodes (node, dim), x fastest."""
        return _tensor_points(list(self._edges))

    @cached_property
    def cell_points(self) -> Index:
        """Nodes of each cell (cell, 2^dim), in VTK's order."""
        first = self._node_number()[tuple(self._lower_node(axis) for axis in self._axes[::-1])].ravel()
        return self._corners(first, list(range(self.dimension)))

    @cached_property
    def face_points(self) -> Index:
        """Nodes of each interior face (face, 2^(dim - 1)), in VTK's order."""
        node = self._node_number()
        parts = []
        for axis in self._axes:
            inside = [self._lower_node(other) for other in self._axes[::-1]]
            inside[self.dimension - 1 - axis] = self._upper_node(axis)
            first = node[tuple(inside)].ravel()
            parts.append(self._corners(first, [other for other in self._axes if other != axis]))
        return freeze_index(np.concatenate(parts))

    @cached_property
    def wall_points(self) -> Index:
        """Nodes of each wall face (wall, 2^(dim - 1)): by axis, the lower wall before the upper one."""
        node = self._node_number()
        parts = [np.empty((0, 2 ** (self.dimension - 1)), np.int32)]
        for axis, end in self.ends:
            on = [self._lower_node(other) for other in self._axes[::-1]]
            on[self.dimension - 1 - axis] = slice(end, None if end else 1)
            parts.append(self._corners(node[tuple(on)].ravel(), [other for other in self._axes if other != axis]))
        return freeze_index(np.concatenate(parts))

    @cached_property
    def wall_cell(self) -> Index:
        """The cell of each wall face (wall,), in the order of `wall_points`."""
        number = np.arange(self.cells, dtype=np.int32).reshape(self.shape)
        layers = [number.take(end, self.dimension - 1 - axis).ravel() for axis, end in self.ends]
        return freeze_index(np.concatenate([np.empty(0, np.int32), *layers]))

    @cached_property
    def walls(self) -> tuple[Array, Array]:
        """Centres and outward unit normals of the wall faces, each (wall, dim), in the order of `wall_points`."""
        midpoints, none = self.midpoints, np.empty((0, self.dimension))
        centres, normals = [none], [none]
        for axis, end in self.ends:
            wall, sign = self._edges[axis][[end]], 1.0 if end else -1.0
            centres.append(_tensor_points([wall if other == axis else m for other, m in enumerate(midpoints)]))
            normals.append(np.broadcast_to(sign * np.eye(self.dimension)[axis], centres[-1].shape))
        return np.concatenate(centres), np.concatenate(normals)

    @cached_property
    def pieces(self) -> Boxes:
        """The cells themselves."""
        return Boxes(self._edges, self.revolution)

    def quadrature(self, count: int) -> Iterator[tuple[Array, Array, Subset]]:
        """Tensor Gauss points, `count` per axis, one point of every cell at a time, as `Mesh.quadrature`."""
        if self.revolution is not None:
            yield from self._scaled_quadrature(count)
            return
        node, weight = np.polynomial.legendre.leggauss(count)
        midpoints, widths = self.midpoints, self.widths
        for choice in product(range(count), repeat=self.dimension):
            offsets = [node[index] for index in choice]
            axes = [m + 0.5 * w * x for m, w, x in zip(midpoints, widths, offsets, strict=True)]
            yield _tensor_points(axes), self.volume * math.prod(0.5 * weight[index] for index in choice), EVERY

    def _scaled_quadrature(self, count: int) -> Iterator[tuple[Array, Array, Subset]]:
        """The quadrature with x as a radius; the weights of each cell are scaled to its volume, for one point too."""
        plain, total = Grid(self._edges, self.periodic), np.zeros(self.cells)
        for _, weight, _ in self._measured(plain.quadrature(count)):
            total += weight
        scale = self.volume / total
        for at, weight, part in self._measured(plain.quadrature(count)):
            yield at, weight * scale, part

    @property
    def _axes(self) -> range:
        return range(self.dimension)

    @property
    def ends(self) -> list[tuple[int, int]]:
        """The walls: the axis, and 0 at its lower end or -1 at its upper one; a radius that begins at 0 has one."""
        open_axes = (axis for axis in self._axes if axis not in self.periodic)
        centre = self.revolution is not None and self._edges[0][0] == 0.0
        return [(axis, end) for axis in open_axes for end in (0, -1) if (axis, end) != (0, 0) or not centre]

    def _lower_node(self, axis: int) -> Any:
        """Index along an axis of the node at the lower side of each cell."""
        return slice(-1)

    def _upper_node(self, axis: int) -> Any:
        """Index along an axis of the node at each face."""
        return slice(1, None if axis in self.rings else -1)

    def _across(self, axis: int) -> Array:
        """The measures across an axis of the faces on a line along it: 1, or those of circles or spheres."""
        if axis > 0 or self.revolution is None:
            return np.ones(self._faces_along(axis))
        return self.revolution.measure(self._edges[0][1:-1])

    def _faces_along(self, axis: int) -> int:
        """The number of faces on a line along an axis."""
        return self.shape[self.dimension - 1 - axis] - (axis not in self.rings)

    def gaps(self, axis: int) -> Array:
        """The distances (face,) of neighbouring midpoints on a line along an axis."""
        width, gaps = self.widths[axis], np.diff(self.midpoints[axis])
        return np.append(gaps, 0.5 * (width[-1] + width[0])) if axis in self.rings else gaps

    def _behind(self, cells: Any, axis: int) -> Any:
        """The values of cells ([z,] [y,] x) at the lower side of the faces of an axis."""
        return cells if axis in self.rings else _drop(cells, axis, -1)

    def _ahead(self, cells: Any, axis: int) -> Any:
        """The values of cells ([z,] [y,] x) at the upper side of the faces of an axis."""
        return np.roll(cells, -1, self.dimension - 1 - axis) if axis in self.rings else _drop(cells, axis, 0)

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
        widths = self._measures
        parts = []
        for axis in self._axes:
            factors = [along(axis, w) if other == axis else across(w) for other, w in enumerate(widths)]
            parts.append(_tensor_product(factors))
        return freeze(np.concatenate(parts))


def require_radius(lower: float, periodic: bool) -> None:
    """Raise CaseError unless an axis with this lower end can be a radius."""
    if lower < 0:
        raise CaseError(f"x is a radius and begins at {lower:g}; let it begin at 0 or above")
    if periodic:
        raise CaseError("x is a radius and cannot be periodic; leave x out of periodic")


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
