"""How Gaussians and tables lie on a mesh: what is outside, and how well the cells resolve it."""

from __future__ import annotations

import math

import numpy as np

from fvflow.fields.base import Coverage
from fvflow.fields.grid_values import GridValues, Method
from fvflow.fields.sampling import deviation_in_cells, gaussian_density
from fvflow.mesh import Array, Grid, Mesh, cells_of, transfer
from fvflow.sums import inner

_MOST_CELLS = 2**17  # of a table, for its overlap with a mesh; more are joined


def gaussian_coverage(mesh: Mesh, mean: Array, covariance: Array) -> Coverage:
    """The coverage of N(mean, covariance).

    The mass outside is that which the cell averages lack, but no more than a proved bound, so that an error of their
    quadrature does not count as mass outside.
    """
    inside = inner(mesh.volume, gaussian_density(mesh, mean, covariance, "average"))
    if mesh.revolution is not None:
        inside /= mesh.revolution.turns
    outside = min(max(1.0 - inside, 0.0), _most_outside(mesh.whole, mean, covariance))
    return Coverage(outside, deviation_in_cells(mesh, mean, covariance))


def table_coverage(mesh: Mesh, values: GridValues, method: Method) -> Coverage | None:
    """The coverage of an interpolant, 0 outside its table; None if its integral is not positive.

    On a grid the integral outside the mesh is exact; where x is a radius it is None. On other meshes a cell of the
    table that a wall cuts counts by the part of its volume that is outside.
    """
    if mesh.revolution is not None:
        return None
    mesh = mesh.whole
    if mesh.edges is not None and len(mesh.edges) == len(values.axes):
        pairs = zip(values.axes, mesh.edges, strict=True)
        ends = [np.array([a[0], *np.clip(edges[[0, -1]], a[0], a[-1]), a[-1]]) for a, edges in pairs]
        masses = values.integrals(method, ends)
        whole = float(masses.sum())
        masses[(1,) * masses.ndim] = 0.0
        return Coverage(max(float(masses.sum()) / whole, 0.0)) if whole > 0 else None
    joined = math.ceil((values.values.size / _MOST_CELLS) ** (1.0 / len(values.axes)))
    nodes = tuple(np.append(axis[:-1:joined], axis[-1]) for axis in values.axes)
    masses = values.integrals(method, nodes).T.ravel()  # x varies fastest
    if not masses.sum() > 0:
        return None
    table = Grid(nodes)
    return Coverage(max(transfer(table, mesh, masses / table.volume, truncate=1.0)[1], 0.0))


def _most_outside(mesh: Mesh, mean: Array, covariance: Array) -> float:
    """An upper bound of the mass outside the mesh.

    On a grid the sum of what lies outside along each axis that is not periodic. On other meshes, for a mean inside,
    what is farther away than the nearest wall, in units of the standard deviation: a path from the mean to a point
    outside crosses a wall.
    """
    if mesh.edges is not None:
        deviation = np.sqrt(np.diag(covariance))
        pairs = enumerate(zip(mesh.edges, mean, deviation, strict=True))
        open_axes = (pair for axis, pair in pairs if axis not in mesh.periodic)
        tails = ((edges[0] - at, at - edges[-1], sigma) for edges, at, sigma in open_axes)
        by_axis = [_tail(-below / sigma) + _tail(-above / sigma) for below, above, sigma in tails]
        if mesh.revolution is not None:
            inner, outer = (
                _beyond(float(radius / deviation[0]), mesh.revolution.dimension) for radius in mesh.edges[0][[0, -1]]
            )
            by_axis[0] = 1.0 - inner + outer
        return sum(by_axis)
    whitening = np.linalg.inv(np.linalg.cholesky(covariance))
    if cells_of(mesh, mean[None])[0] < 0:
        return 1.0
    corners = (mesh.points - mean) @ whitening.T
    faces = corners[np.where(mesh.wall_points < 0, mesh.wall_points[:, :1], mesh.wall_points)]  # (wall, corner, dim)
    centre = faces.mean(axis=1)
    radius = np.linalg.norm(faces - centre[:, None], axis=2).max(axis=1)
    nearest = float((np.linalg.norm(centre, axis=1) - radius).min())
    return _beyond(max(nearest, 0.0), mesh.space_dimension)


def _tail(deviations: float) -> float:
    """The mass of N(0, 1) beyond a number of standard deviations on one side."""
    return 0.5 * math.erfc(deviations * math.sqrt(0.5))


def _beyond(radius: float, dimension: int) -> float:
    """The mass of N(0, I) outside a ball."""
    if dimension == 2:
        return math.exp(-0.5 * radius**2)
    surface = math.sqrt(2.0 / math.pi) * radius * math.exp(-0.5 * radius**2) if dimension == 3 else 0.0
    return 2.0 * _tail(radius) + surface
