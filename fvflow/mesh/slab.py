"""The layers of a grid that one of several processes holds."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from itertools import accumulate
from typing import Any

import numpy as np

from fvflow.errors import CaseError
from fvflow.mesh.arrays import Array, Index, freeze_index
from fvflow.mesh.core import Mesh
from fvflow.mesh.extent import SIDES, Extent
from fvflow.mesh.grid import Grid
from fvflow.parallel import arrange, world


class Slab(Grid):
    """Neighbouring layers of a grid, across its last axis: those of this process, and some of its neighbours' beside.

    Cells and faces are those of the layers that it holds. `extent` and `whole` are those of the whole grid.
    """

    _whole: Grid
    _last: int
    _layers: Index
    _lower: Index

    def __init__(self, whole: Grid, layers: range) -> None:
        edges, last = list(whole.edges or ()), whole.dimension - 1
        count = len(edges[last]) - 1
        lower, nodes = list[int](), list[int]()  # of each layer; on both sides of a seam there is a node
        for layer in (each % count for each in layers):
            if not nodes or nodes[-1] != layer:
                nodes.append(layer)
            lower.append(len(nodes) - 1)
            nodes.append(layer + 1)
        edges[last] = edges[last][nodes]
        own = {"_whole": whole, "_last": last, "_layers": np.array(layers) % count, "_lower": np.array(lower)}
        for name, value in own.items():
            object.__setattr__(self, name, value)
        super().__init__(tuple(edges), whole.periodic, whole.revolution)

    @property
    def whole(self) -> Grid:
        """The grid that it is a part of."""
        return self._whole

    @property
    def extent(self) -> Extent:
        """The extent of the whole grid."""
        return self.whole.extent

    @property
    def shape(self) -> tuple[int, ...]:
        """The layers that it holds, and the cells along the other axes: ([z,] y, x)."""
        return (len(self._layers), *self.whole.shape[1:])

    @property
    def rings(self) -> tuple[int, ...]:
        """The periodic axes but the last one, on which the layers of neighbours stand for the joined ends."""
        return tuple(axis for axis in self.periodic if axis != self._last)

    @property
    def corners(self) -> tuple[Array, Array]:
        """The lower and the upper corner of the whole grid, each (dim,)."""
        return self.whole.corners

    @property
    def periods(self) -> Array:
        """Those of the whole grid (dim,)."""
        return self.whole.periods

    @property
    def widths(self) -> list[Array]:
        """The widths of the cells that it holds along each axis, each (interval,)."""
        return [self.held(axis, width) for axis, width in enumerate(self.whole.widths)]

    def held(self, axis: int, values: Array) -> Array:
        """The values (interval,) of its layers, of those of all along the last axis; along others all."""
        return values[self._layers] if axis == self._last else values

    def gaps(self, axis: int) -> Array:
        """The distances (face,) of neighbouring midpoints on a line along an axis, those over a seam included."""
        gaps = self.whole.gaps(axis)
        return gaps[self._layers[:-1]] if axis == self._last else gaps

    @property
    def ends(self) -> list[tuple[int, int]]:
        """The walls of the whole grid that it holds a part of, as `Grid.ends`."""
        place = {0: 0, -1: self.whole.shape[0] - 1}
        return [(a, end) for a, end in self.whole.ends if a != self._last or self._layers[end] == place[end]]

    @cached_property
    def named_walls(self) -> Mapping[str, Index]:
        """As `Mesh.named_walls`, by the names of the whole grid; empty where none of its cells is at a wall."""
        sizes = {(axis, end): self.cells // self.shape[self._last - axis] for axis, end in self.ends}
        marks = dict(zip(sizes, accumulate([0, *sizes.values()]), strict=False))
        return {
            SIDES[axis][end]: freeze_index(marks.get((axis, end), 0) + np.arange(sizes.get((axis, end), 0)))
            for axis, end in self.whole.ends
        }

    @property
    def midpoints(self) -> list[Array]:
        """The middles of the cells that it holds along each axis, each (interval,)."""
        return [self.held(axis, each) for axis, each in enumerate(self.whole.midpoints)]

    def _lower_node(self, axis: int) -> Any:
        return self._lower if axis == self._last else slice(-1)

    def _upper_node(self, axis: int) -> Any:
        return self._lower[:-1] + 1 if axis == self._last else super()._upper_node(axis)


def indivisible(mesh: Mesh) -> str:
    """Why a mesh is not divided among several processes; empty if it is."""
    if mesh.edges is None:
        return "only grids (box, graded) are divided among ranks; run this mesh on one"
    if mesh.revolution is not None:
        return "a grid whose x is a radius is not divided among ranks; run it on one"
    return ""


def divided(mesh: Mesh, reach: int = 1) -> Mesh:
    """What this process holds of a mesh: all of it, or a slab of a grid with `reach` layers of each neighbour.

    Raises CaseError if there are several processes and the mesh cannot be divided among them.
    """
    comm = world()
    if comm.holds_all:
        return mesh
    if sentence := indivisible(mesh):
        raise CaseError(sentence)
    assert isinstance(mesh, Grid)
    if mesh.cells == mesh.shape[0]:  # a line is solved from end to end
        arrange(True)
        return mesh
    comm.divide(mesh.shape[0], mesh.cells // mesh.shape[0], reach, mesh.dimension - 1 in mesh.periodic)
    assert comm.division is not None
    return Slab(mesh, comm.division.held(comm.rank))
