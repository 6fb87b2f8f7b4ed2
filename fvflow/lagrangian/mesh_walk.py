"""Steps of particles through a mesh, from cell to cell, reflected or absorbed where they meet a wall."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fvflow.errors import CaseError
from fvflow.lagrangian.exits import Exits
from fvflow.lagrangian.walk_kernels import absorb_hidden, meet, walk_through
from fvflow.lagrangian.walkers import Draw, Walk, Walkers
from fvflow.mesh import Array, Index, Mesh, Openings
from fvflow.mesh.arrays import freeze_index

_CONVEX = 1e-7  # of the size of a cell: how far a corner may lie behind the plane of a face
_JUMP = "use stepper: {kind: jump}"


@dataclass(frozen=True, eq=False)
class MeshWalk(Walk):
    """Steps through convex cells with plane faces, such as triangles and tetrahedra.

    A step is followed along its line from face to face. At a wall the rest of it is reflected, as light is: whatever
    the shape of the domain, no particle passes through a wall, and a uniform density stays uniform if the steps have
    no preferred direction. At facets that absorb it may end, as in `fvflow.lagrangian.elastic`; d and d' are the
    distances of the ends of the step from the facets that are nearest to them, or, if these are walls at an angle, from
    one of them and its plane (Gobet, Stochastic Process. Appl. 87, 2000), and a straight way has to lead there. That is
    of weak order 1 at smooth walls and in convex corners, 2/3 around an edge at right angles that absorbs from outside.
    """

    first: Index
    """Where the facets of each cell begin (cell + 1,)."""
    normal: Array
    """Unit normals of the facets that leave the cell (facet, dim)."""
    offset: Array
    """n.x of the points x of each facet (facet,)."""
    behind: Index
    """The cell behind each facet (facet,); -1 for a wall or a cell that absorbs."""
    group: Index
    """The group of the openings that each facet belongs to (facet,); -1 if it is none."""
    permeability: Array
    """kappa of each facet (facet,): infinite if it absorbs all, 0 if it is no opening."""
    exit_facet: Index
    """The facets that absorb (exit,)."""
    exits: Exits
    """Where they are."""

    @staticmethod
    def of(mesh: Mesh, openings: Openings | None) -> MeshWalk:
        """That of a mesh; raises CaseError for periods, radii, cells that are not convex or absorb as a wall does."""
        if mesh.periodic:
            raise CaseError(f"beside a periodic axis it takes absorbing walls that are whole sides only; {_JUMP}")
        if mesh.revolution is not None:
            raise CaseError(f"it walks along straight lines, and x is a radius; {_JUMP}")
        if mesh.point_data:
            raise CaseError(f"it takes no control_volumes: nodes; {_JUMP}, or control_volumes: cells")
        if openings is not None and (touching := openings.closed[openings.closed >= 0] < openings.walls).any():
            raise CaseError(
                f"the centres of {touching.sum()} cells lie on an absorbing wall, so that these absorb as a whole; "
                f"{_JUMP}, or other centres"
            )
        _, outward = mesh.walls
        cell = np.concatenate([mesh.owner, mesh.neighbour, mesh.wall_cell])
        normal = np.concatenate([mesh.normal, -mesh.normal, outward])
        behind = np.concatenate([mesh.neighbour, mesh.owner, np.full(len(mesh.wall_cell), -1)])
        group, permeability = np.full(len(cell), -1), np.zeros(len(cell))
        if openings is not None:
            inner = behind >= 0
            group[inner] = openings.closed[behind[inner]]
            for number in range(openings.walls):
                rows = len(cell) - len(mesh.wall_cell) + mesh.named_walls[openings.names[number]]
                kappa = openings.permeability[openings.group == number].max(initial=0.0)
                group[rows], permeability[rows] = number, kappa
            permeability[inner & (group >= 0)] = np.inf
        behind[group >= 0] = -1
        order = np.argsort(cell, kind="stable")
        points = _corners(mesh)[order]
        cell, normal, behind, group = cell[order], np.ascontiguousarray(normal[order]), behind[order], group[order]
        first = np.concatenate([[0], np.cumsum(np.bincount(cell, minlength=mesh.cells))])
        offset = (normal * mesh.points[points[:, 0]]).sum(axis=1)
        chosen = np.flatnonzero((group >= 0) & (True if openings is None else openings.closed[cell] < 0))
        corner = mesh.points[np.where(points < 0, points[:, :1], points)[chosen]]
        exits = Exits.of(mesh, cell[chosen], corner, normal[chosen], first, behind)
        exit_facet = freeze_index(chosen)
        walk = MeshWalk(first, normal, offset, behind, group, permeability[order], exit_facet, exits)
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
                    f"none; {_JUMP}"
                )

    def leaves(self, walkers: Walkers, displacement: Array) -> Any:
        """Whether each step (particle,) would meet a wall."""
        return meet(walkers.position.copy(), displacement.copy(), walkers.cell, *self._facets)

    @property
    def _facets(self) -> tuple[Any, ...]:
        return self.first, self.normal, self.offset, self.behind

    def take(self, walkers: Walkers, displacement: Array, deviation: Array, length: float, draw: Draw) -> int:
        """Take the steps in place."""
        absorbs = len(self.exit_facet) > 0
        start = (walkers.position.copy(), walkers.cell.copy()) if absorbs else (walkers.position, walkers.cell)
        openings = self.group, self.permeability, deviation, length, *draw
        row = walk_through(*walkers, displacement, *self._facets, *openings)
        if absorbs:
            exits = self.exits.corner, self.exits.normal, self.exits.nearest, self.exits.clearance, self.exit_facet
            absorb_hidden(*walkers, *start, *self._facets, *exits, *openings)
        return -1 if row < 0 else int(walkers.number[row])


def _corners(mesh: Mesh) -> Index:
    """The nodes of the facets (facet, corner): of faces seen from both sides, then of walls; padded with -1."""
    faces, walls = mesh.face_points, mesh.wall_points
    width = max(faces.shape[1], walls.shape[1])
    parts = (np.pad(part, ((0, 0), (0, width - part.shape[1])), constant_values=-1) for part in (faces, faces, walls))
    return np.concatenate(list(parts))
