"""The cells in which there may be a density, where others absorb: a part of a mesh to reconstruct on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from fvflow.mesh import Array, Grid, Mesh, Openings
from fvflow.reconstruction.base import Slopes, SpaceInterpolant
from fvflow.reconstruction.simplices import NodeLeastSquares, NodeMeans
from fvflow.reconstruction.spline import GridLinear, GridSpline
from fvflow.reconstruction.trend import Side


@dataclass(frozen=True, eq=False)
class LiveCells:
    """The cells of a mesh that may hold mass; a density on them vanishes on their boundary with those that absorb."""

    mesh: Mesh
    """The whole mesh."""
    cells: Any
    """The cells (live,), or a slice over all of them."""

    @staticmethod
    def of(mesh: Mesh, openings: Openings | None) -> LiveCells:
        """Those beside sets of cells that absorb.

        All if there are none, if cells absorb as they touch a wall, which have some mass inside, for cells about nodes,
        and for parts of a line that are not joined.
        """
        whole = LiveCells(mesh, slice(None))
        if openings is None or mesh.point_data or not (closed := openings.closed >= 0).any():
            return whole
        found = LiveCells(mesh, np.flatnonzero(~closed))
        touching = (openings.closed[closed] < openings.walls).any()
        return whole if touching or (mesh.dimension == 1 and found.box is None) else found

    @property
    def partial(self) -> bool:
        """Whether some cells are left out."""
        return not isinstance(self.cells, slice)

    @cached_property
    def box(self) -> tuple[slice, ...] | None:
        """The cells along each axis of a grid, if they are all of a box; else None."""
        if self.mesh.edges is None:
            return None
        if not self.partial:
            return tuple(slice(0, count) for count in reversed(self.mesh.shape))
        places = np.unravel_index(self.cells, self.mesh.shape)[::-1]
        parts = tuple(slice(int(place.min()), int(place.max()) + 1) for place in places)
        return parts if np.prod([part.stop - part.start for part in parts]) == len(self.cells) else None

    @cached_property
    def grid(self) -> Mesh:
        """The grid of that box."""
        mesh = self.mesh
        assert mesh.edges is not None
        assert self.box is not None
        if not self.partial:
            return mesh
        edges = tuple(edge[part.start : part.stop + 1] for edge, part in zip(mesh.edges, self.box, strict=True))
        whole = (axis for axis in mesh.periodic if len(edges[axis]) == len(mesh.edges[axis]))
        return Grid(edges, tuple(whole), mesh.revolution)

    @property
    def cut_sides(self) -> tuple[Side, ...]:
        """The sides of that box beyond which cells absorb; none if there is no box."""
        ends = enumerate(zip(self.box or (), reversed(self.mesh.shape), strict=False))
        found = []
        for axis, (part, count) in ends:
            found += [(axis, -1.0)] * (part.start > 0) + [(axis, 1.0)] * (part.stop < count)
        return tuple(found)

    def smooth(self) -> SpaceInterpolant:
        """The reconstruction of highest order."""
        return NodeLeastSquares(self.mesh, self.cells) if self.box is None else GridSpline(self.grid)

    def positive(self) -> SpaceInterpolant:
        """One that stays between the smallest and the largest value."""
        return NodeMeans(self.mesh, self.cells) if self.box is None else GridLinear(self.grid)

    def slopes(self, whole: Slopes) -> Slopes:
        """Slopes at the walls of the whole mesh, at those of the box; nan at the sides that are cut."""
        if not self.partial or self.box is None:
            return {} if self.partial else whole
        found = {}
        for axis, pair in whole.items():
            shape = list(self.mesh.shape)
            shape[-1 - axis] = 1
            inner = [slice(None) if other == axis else part for other, part in enumerate(self.box)][::-1]
            parts = [np.reshape(side, shape)[tuple(inner)].ravel() for side in pair]
            for number, sign in enumerate((-1.0, 1.0)):
                if (axis, sign) in self.cut_sides:
                    parts[number] = np.full_like(parts[number], np.nan)
            found[axis] = parts[0], parts[1]
        return found

    def field(self, whole: Array) -> Array:
        """A field (cell, ...) on the cells (live, ...)."""
        return np.asarray(whole[self.cells])
