"""The exact tracer: points carried by the face masses of a scheme, so that their density is exactly the scheme's.

D. W. Pollock, Semianalytical computation of path lines for finite-difference models, Ground Water 26 (1988), with a
clock of each cell for densities that change in time.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fvflow.errors import CaseError, NumericsError
from fvflow.jit import parallel_for
from fvflow.lagrangian.extended import FOLLOWED
from fvflow.lagrangian.tracer_kernels import EMPTY, carry
from fvflow.mesh import Array, Index, Mesh, cells_of

_BALANCE = 1e-9  # largest residual of continuity, of the mass, that is round-off
_INSTEAD = "use method smooth, or flow particles with the stepper jump"


@dataclass(frozen=True, eq=False)
class TracedPoints:
    """Points within the cells of a mesh, with the log of the Jacobian determinant of the map that took them there."""

    cell: Index
    """The cell of each point (point,)."""
    height: Array
    """Distance to each side of the cell, of that of the side or the corner opposite to it, (point, side)."""
    log_det: Array
    """log det of the Jacobian of the map from where they were placed, (point,)."""


@dataclass(frozen=True, eq=False)
class Tracer:
    """Carries points through a grid, or a mesh of triangles or tetrahedra.

    In a cell the momentum m is that of Raviart and Thomas of lowest order and rho is linear in time: with the clock
    ds = dt/rho, dX/ds = m(X) has a solution by exponentials, and its exit from the cell one by logarithms. The density
    of points with the density rho at the start of an interval is the scheme's at its end.
    """

    mesh: Mesh
    group: int
    """Sides whose heights add up to 1: the two of an axis of a grid, all of a simplex."""
    face: Index
    """The face at each side (cell, side), -1 at walls."""
    other: Index
    """The cell beyond each side (cell, side), -1 at walls."""
    outlets: tuple[str, ...] = ()
    """Names of the walls and cells that absorb, if any do."""

    @staticmethod
    def on(mesh: Mesh, outlets: tuple[str, ...] = ()) -> Tracer:
        """The tracer of a mesh; raises CaseError if its cells are neither boxes of a grid nor simplices."""
        if mesh.revolution is not None:
            raise CaseError(f"the exact tracer takes no mesh whose x is a radius; {_INSTEAD}")
        if mesh.edges is not None:
            side, sides, group = _grid_sides(mesh), 2 * mesh.dimension, 2
        else:
            corners = (mesh.cell_points >= 0).sum(axis=1)
            if mesh.point_data or not (corners == mesh.dimension + 1).all():
                raise CaseError(
                    "the exact tracer needs a grid or a mesh of triangles or tetrahedra, and this one has other "
                    f"cells; {_INSTEAD}"
                )
            side, sides, group = _simplex_sides(mesh), mesh.dimension + 1, mesh.dimension + 1
        face, other = (np.full((mesh.cells, sides), -1, np.int32) for _ in range(2))
        for (own, far), place in zip(((mesh.owner, mesh.neighbour), (mesh.neighbour, mesh.owner)), side, strict=True):
            face[own, place], other[own, place] = np.arange(mesh.faces), far
        return Tracer(mesh, group, face, other, outlets)

    def place(self, points: Array) -> TracedPoints:
        """Points (point, dim) in their cells; raises CaseError if some are outside the mesh."""
        mesh, points = self.mesh, self.mesh.inside_period(points)
        cell = cells_of(mesh, points)
        if outside := int((cell < 0).sum()):
            raise CaseError(f"{outside} of {len(points)} points are outside the mesh; leave them out")
        if mesh.edges is None:
            corner = mesh.points[mesh.cell_points[cell]]
            frame = np.moveaxis(corner[:, 1:] - corner[:, :1], 1, 2)
            local = np.linalg.solve(frame, (points - corner[:, 0])[:, :, None])[:, :, 0]
            height = np.column_stack([1.0 - local.sum(axis=1), local])
        else:
            parts = [
                (x - edge[at]) / (edge[at + 1] - edge[at])
                for edge, at, x in zip(mesh.edges, self._index(cell), points.T, strict=True)
            ]
            height = np.column_stack([side for part in parts for side in (part, 1.0 - part)])
        return TracedPoints(cell, np.maximum(height, 0.0), np.zeros(len(points)))

    def positions(self, traced: TracedPoints) -> Array:
        """Where the points are (point, dim)."""
        mesh = self.mesh
        if mesh.edges is None:
            return np.asarray(np.einsum("ps,psa->pa", traced.height, mesh.points[mesh.cell_points[traced.cell]]))
        index = self._index(traced.cell)
        return np.column_stack(
            [
                traced.height[:, 2 * axis + 1] * edge[at] + traced.height[:, 2 * axis] * edge[at + 1]
                for axis, (edge, at) in enumerate(zip(mesh.edges, index, strict=True))
            ]
        )

    def carried(self, traced: TracedPoints, before: Array, after: Array, mass: Array) -> TracedPoints:
        """The points after an interval with the densities `before` and `after` it (cell,).

        `mass` (face,) is what goes through each face in the interval, from owner to neighbour. Backward in time the
        densities are exchanged and the masses negated. Raises NumericsError if a density is negative, the masses do not
        account for the change of the densities, or a point is in a cell without mass.
        """
        self._require_balance(before, after, mass)
        height, cell, log_det = traced.height.copy(), np.array(traced.cell, np.int32), traced.log_det.copy()
        fate = np.zeros(len(cell), np.int8)
        mesh, sides = self.mesh, height.shape[1]
        nodes = mesh.cell_points if mesh.edges is None else np.zeros((1, 1), np.int32)
        weight = 1.0 if mesh.edges is not None else 1.0 / mesh.dimension

        def task(begin: int, end: int) -> None:
            carry(
                height, cell, log_det, fate, begin, end, self.group, weight, self.face, self.other, mesh.owner, nodes,
                mesh.volume, before, after, mass, np.empty(sides),
            )  # fmt: skip

        parallel_for(task, len(cell), len(cell))
        if empty := int((fate == EMPTY).sum()):
            raise NumericsError(
                f"{empty} of {len(cell)} points are in cells without mass, where no velocity is defined; leave them out"
            )
        return replace(traced, cell=cell, height=height, log_det=log_det)

    def _require_balance(self, before: Array, after: Array, mass: Array) -> None:
        least = float(min(before.min(), after.min()))
        if least < 0:
            raise NumericsError(
                f"a density is {least:.3g} somewhere, and the exact tracer needs rho >= 0; run the "
                "case again with steps or a stepper that keep it"
            )
        mesh = self.mesh
        lost = mesh.volume * (after - before)
        lost += np.bincount(mesh.owner, mass, mesh.cells) - np.bincount(mesh.neighbour, mass, mesh.cells)
        off = float(np.abs(lost).sum()) / float(mesh.volume @ before)
        if off <= _BALANCE:
            return
        told = f"the stored fluxes miss {off:.2g} of the mass in the change of the density, at most {_BALANCE:g} is "
        if self.outlets:
            raise NumericsError(
                f"{told}round-off: mass leaves through {', '.join(self.outlets)}, where paths end; {FOLLOWED}"
            )
        raise NumericsError(
            f"{told}round-off: is the result in single precision? Run it again with output: {{precision: double}}, or "
            "use method smooth"
        )

    def _index(self, cell: Index) -> tuple[Any, ...]:
        """The index of cells along x, y, z."""
        return np.unravel_index(cell, self.mesh.shape)[::-1]


_Sides = tuple[Index, Index]


def _grid_sides(mesh: Mesh) -> _Sides:
    """The side of the owner and that of the neighbour at which each face lies: 2 axis below, 2 axis + 1 above."""
    axis = np.asarray(np.argmax(mesh.normal, axis=1), np.int32)
    return 2 * axis + 1, 2 * axis


def _simplex_sides(mesh: Mesh) -> _Sides:
    """The side of the owner and that of the neighbour at which each face lies: the number of the corner opposite."""

    def opposite(cells: Index) -> Index:
        of_face = mesh.cell_points[cells][:, :, None] == mesh.face_points[:, None, : mesh.dimension]
        return np.asarray(np.argmin(of_face.any(axis=2), axis=1), np.int32)

    return opposite(mesh.owner), opposite(mesh.neighbour)
