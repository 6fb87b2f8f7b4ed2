"""Steps of particles through a mesh, from cell to cell, reflected where they meet a wall."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fvflow.errors import CaseError
from fvflow.jit import kernel
from fvflow.lagrangian.walkers import Walk, Walkers
from fvflow.mesh import Array, Index, Mesh, Openings

_CONVEX = 1e-7  # of the size of a cell: how far a corner may lie behind the plane of a face
_CROSSINGS = 100_000  # faces that a step may meet


@dataclass(frozen=True, eq=False)
class MeshWalk(Walk):
    """Steps through convex cells with plane faces, such as triangles and tetrahedra.

    A step is followed along its line from face to face. At a wall the rest of it is reflected, as light is: whatever
    the shape of the domain, no particle passes through a wall, and a uniform density stays uniform if the steps have
    no preferred direction.
    """

    first: Index
    """Where the facets of each cell begin (cell + 1,)."""
    normal: Array
    """Unit normals of the facets that leave the cell (facet, dim)."""
    offset: Array
    """n.x of the points x of each facet (facet,)."""
    behind: Index
    """The cell behind each facet (facet,); -1 for a wall."""

    @staticmethod
    def of(mesh: Mesh, openings: Openings | None) -> MeshWalk:
        """That of a mesh; raises CaseError where x is a radius, for absorbing walls or cells, and for cells that are
        not convex."""
        if openings is not None:
            raise CaseError("on a mesh that is no box it takes no absorbing walls or cells; use stepper: {kind: jump}")
        if mesh.revolution is not None:
            raise CaseError("it walks along straight lines, and x is a radius; use stepper: {kind: jump}")
        if mesh.point_data:
            raise CaseError("it takes no control_volumes: nodes; use stepper: {kind: jump}, or control_volumes: cells")
        _, outward = mesh.walls
        cell = np.concatenate([mesh.owner, mesh.neighbour, mesh.wall_cell])
        normal = np.concatenate([mesh.normal, -mesh.normal, outward])
        corner = np.concatenate([mesh.face_points[:, 0], mesh.face_points[:, 0], mesh.wall_points[:, 0]])
        behind = np.concatenate([mesh.neighbour, mesh.owner, np.full(len(mesh.wall_cell), -1)])
        order = np.argsort(cell, kind="stable")
        first = np.concatenate([[0], np.cumsum(np.bincount(cell, minlength=mesh.cells))])
        offset = (normal * mesh.points[corner]).sum(axis=1)
        walk = MeshWalk(first, np.ascontiguousarray(normal[order]), offset[order], behind[order])
        walk._require_convex(mesh)
        return walk

    def _require_convex(self, mesh: Mesh) -> None:
        """Refuse cells of which a corner lies behind the plane of one of their faces."""
        facet_cell = np.repeat(np.arange(mesh.cells), np.diff(self.first))
        size = mesh.cell_size
        for corner in mesh.cell_points.T:
            there = corner[facet_cell]
            ahead = (self.normal * mesh.points[there]).sum(axis=1) - self.offset
            bad = (there >= 0) & (ahead > _CONVEX * size[facet_cell])
            if bad.any():
                raise CaseError(
                    f"it follows particles through convex cells with plane faces, and cell {facet_cell[bad][0]} is "
                    "none; use stepper: {kind: jump}"
                )

    def leaves(self, walkers: Walkers, displacement: Array) -> Any:
        """Whether each step (particle,) would meet a wall."""
        met = np.zeros(len(walkers.number), bool)
        _walk(walkers.position.copy(), displacement.copy(), walkers.cell.copy(), met, False, *self._facets)
        return met

    @property
    def _facets(self) -> tuple[Any, ...]:
        return self.first, self.normal, self.offset, self.behind

    def take(self, walkers: Walkers, displacement: Array, deviation: Array, step: int, seed: int) -> int:
        """Take the steps in place."""
        met = np.zeros(len(walkers.number), bool)
        row = _walk(walkers.position, displacement, walkers.cell, met, True, *self._facets)
        return -1 if row < 0 else int(walkers.number[row])


@kernel()
def _walk(
    position: Any,
    displacement: Any,
    cell: Any,
    met: Any,
    reflect: Any,
    first: Any,
    normal: Any,
    offset: Any,
    behind: Any,
) -> Any:
    """Follow the displacements, which are used up; the row of a particle that met too many faces, or -1.

    `met` tells which meet a wall; their steps end there unless they are to be reflected.
    """
    dimension = position.shape[1]
    for i in range(position.shape[0]):
        here = cell[i]
        for crossing in range(_CROSSINGS + 1):
            if crossing == _CROSSINGS:
                return i
            share, exit_facet = 1.0, -1
            for facet in range(first[here], first[here + 1]):
                speed, ahead = 0.0, offset[facet]
                for axis in range(dimension):
                    speed += normal[facet, axis] * displacement[i, axis]
                    ahead -= normal[facet, axis] * position[i, axis]
                if speed > 0.0:  # never through the facet that it came in by
                    when = max(ahead, 0.0) / speed
                    if when < share:
                        share, exit_facet = when, facet
            for axis in range(dimension):
                position[i, axis] += share * displacement[i, axis]
                displacement[i, axis] *= 1.0 - share
            if exit_facet < 0:
                break
            if behind[exit_facet] >= 0:
                here = behind[exit_facet]
                continue
            met[i] = True
            if not reflect:
                break
            speed = 0.0
            for axis in range(dimension):
                speed += normal[exit_facet, axis] * displacement[i, axis]
            for axis in range(dimension):
                displacement[i, axis] -= 2.0 * speed * normal[exit_facet, axis]
        cell[i] = here
    return -1
