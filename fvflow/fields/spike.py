"""The discrete Dirac measure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from annotated_types import Gt

from fvflow.errors import CaseError
from fvflow.fields.base import Coverage, DensityKind
from fvflow.fields.density_types import Point, checked_point
from fvflow.fields.expression import Parameters
from fvflow.mesh import Array, Index, Mesh, cells_of

_AT_CENTRE = 1e-9  # distance from a centre, in cells, that counts as none
_NEAREST = 12  # centres per dimension among which the simplex about the point is sought
_TIE = 1e-9  # relative difference of distances that counts as none
_STIFFNESS = 1e6  # of the constraints beside the least squares, until it is known which weights are 0


@dataclass(frozen=True)
class Spike(DensityKind):
    """All mass at a point, shared among the centres around it so that the mean of the density is the point.

    On a grid these are 2^d centres, with the products of the linear weights of each axis; on other meshes the d + 1
    centres of a simplex that holds the point, with its barycentric coordinates, or all centres on its circumsphere if
    there are more. Beyond the outermost centres the mass goes to the nearest, and the shift is told; a periodic axis
    has no outermost ones.
    """

    at: Point
    """The point, inside the mesh."""
    cell: bool = False
    """Whether all mass is put into one cell, of which `at` has to be the centre."""
    mass: Annotated[float, Gt(0)] = 1.0
    """Total mass."""
    kind: Literal["spike"] = "spike"

    def sample(self, mesh: Mesh, parameters: Parameters) -> Array:
        """Density of each cell (cell,)."""
        cells, weights = self._shares(mesh)
        density = np.zeros(mesh.cells)
        density[cells] = weights / mesh.volume[cells]
        return density

    def coverage(self, facts: Any, reference: Any, integral: float) -> Coverage:
        """Whether its mean is the point."""
        mesh: Mesh = facts.mesh
        cells, weights = self._shares(mesh)
        mean = self.at + weights @ mesh.nearest_image(mesh.centre[cells] - self.at)
        size = float(mesh.cell_size[cells].max())
        if np.linalg.norm(mean - self.at) <= _AT_CENTRE * size:
            return Coverage()
        return Coverage(
            note=f"{_listed(np.array(self.at))} is beyond the outermost cell centres; its mean is {_listed(mean)}"
        )

    def _shares(self, mesh: Mesh) -> tuple[Index, Array]:
        """The cells that hold mass, and the share of each."""
        at = checked_point(self.at, mesh, "at")
        if cells_of(mesh, at[None])[0] < 0:
            raise CaseError(f"at {_listed(at)} is outside the mesh; give a point inside")
        distance = np.sqrt((mesh.nearest_image(mesh.centre - at) ** 2).sum(axis=1))
        nearest = int(np.argmin(distance))
        on_centre = distance[nearest] <= _AT_CENTRE * mesh.cell_size[nearest]
        if self.cell and not on_centre:
            raise CaseError(
                f"cell: true needs the centre of a cell and {_listed(at)} is none; the nearest is "
                f"{_listed(mesh.centre[nearest])}"
            )
        if on_centre:
            return np.array([nearest], dtype=np.int32), np.ones(1)
        return _grid_shares(mesh, at) if mesh.edges is not None else _simplex_shares(mesh, at, distance)


def _grid_shares(mesh: Mesh, at: Array) -> tuple[Index, Array]:
    """Up to 2^d cells of a grid, with the products of linear weights."""
    assert mesh.edges is not None
    stride, cells, weights = 1, np.zeros(1, dtype=np.int32), np.ones(1)
    for axis, (edges, position) in enumerate(zip(mesh.edges, mesh.inside_period(at[None])[0], strict=True)):
        centres, count, first = 0.5 * (edges[:-1] + edges[1:]), len(edges) - 1, 0
        if axis in mesh.periodic:  # the last centre again before the first, the first after the last
            period, first = edges[-1] - edges[0], -1
            centres = np.concatenate([centres[-1:] - period, centres, centres[:1] + period])
        low = int(np.clip(np.searchsorted(centres, position, side="right") - 1, 0, max(len(centres) - 2, 0)))
        gap = centres[low + 1] - centres[low] if len(centres) > 1 else math.inf
        share = float(np.clip((position - centres[low]) / gap, 0.0, 1.0))
        pairs = [(low, 1.0 - share), (low + 1, share)]
        along = [(index, part) for index, part in pairs if part > _AT_CENTRE]
        index, part = (np.array(column) for column in zip(*along, strict=True))
        cells = (cells + stride * ((index + first) % count)[:, None].astype(np.int32)).ravel()
        weights = (weights * part[:, None]).ravel()
        stride *= count
    return cells, weights / weights.sum()


def _simplex_shares(mesh: Mesh, at: Array, distance: Array) -> tuple[Index, Array]:
    """The corners of the Delaunay cell of the nearest centres about a point; the nearest centre if none holds it.

    Corners on one sphere have many triangulations, of which round-off would choose: they share the mass by the weights
    of least squares. So do several nearest centres, in equal parts.
    """
    from scipy.spatial import Delaunay, QhullError

    nearest = np.argsort(distance)[: _NEAREST * 2**mesh.dimension].astype(np.int32)
    alone = np.flatnonzero(distance <= distance[nearest[0]] * (1.0 + _TIE)).astype(np.int32)
    equal = np.full(len(alone), 1.0 / len(alone))
    try:
        simplices = Delaunay(mesh.centre[nearest])
    except (QhullError, ValueError):  # too few cells, or all in one line
        return alone, equal
    found = int(simplices.find_simplex(at))
    if found < 0:
        return alone, equal
    corners = _on_sphere(mesh.centre[nearest], simplices.simplices[found])
    weights = _least_weights(mesh.centre[nearest[corners]] - at)
    return nearest[corners[weights > 0]], weights[weights > 0]


def _on_sphere(points: Array, simplex: Index) -> Index:
    """The points (point, dim) on the circumsphere of a simplex of some of them, its corners included."""
    first, *others = points[simplex]
    edges = np.array(others) - first
    towards = np.linalg.solve(2.0 * edges, (edges**2).sum(axis=1))  # from the first corner to the middle
    radius = np.linalg.norm(towards)
    off = np.abs(np.linalg.norm(points - first - towards, axis=1) - radius)
    off[simplex] = 0.0
    return np.flatnonzero(off <= _TIE * radius).astype(np.int32)


def _least_weights(corners: Array) -> Array:
    """The weights w >= 0 (corner,) of sum 1 with sum_i w_i c_i = 0 and least sum_i w_i^2; c (corner, dim) hold 0."""
    from scipy.optimize import nnls

    scaled = np.vstack([corners.T / np.abs(corners).max(), np.ones(len(corners))])
    right = np.append(np.zeros(corners.shape[1]), 1.0)
    stiff = np.vstack([_STIFFNESS * scaled, np.eye(len(corners))])
    positive = nnls(stiff, np.append(_STIFFNESS * right, np.zeros(len(corners))))[0] > _AT_CENTRE
    weights = np.zeros(len(corners))
    weights[positive] = np.linalg.lstsq(scaled[:, positive], right, rcond=None)[0]  # of least norm
    weights = np.maximum(weights, 0.0)
    return np.asarray(weights / weights.sum())


def _listed(point: Array) -> str:
    return str([float(f"{value:.6g}") for value in point])
