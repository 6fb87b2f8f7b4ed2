"""How Gaussians lie on a mesh: what is outside, and how well the cells resolve them."""

from __future__ import annotations

import numpy as np

from fvflow.fields.base import Coverage
from fvflow.fields.sampling import gaussian_density
from fvflow.mesh import Array, Mesh


def gaussian_coverage(mesh: Mesh, mean: Array, covariance: Array) -> Coverage:
    """The coverage of N(mean, covariance); the mass on the mesh is that of the cell averages."""
    inside = float(mesh.volume @ gaussian_density(mesh, mean, covariance, "average"))
    return Coverage(max(1.0 - inside, 0.0), deviation_in_cells(mesh, mean, covariance))


def deviation_in_cells(mesh: Mesh, mean: Array, covariance: Array) -> float:
    """The smallest sigma_e/h_e of the principal axes e, with h_e = sqrt(sum_a e_a^2 h_a^2) and h the widths of a cell.

    The cell is the one at the mean; on meshes that are no grids all h_a are |K|^(1/d).
    """
    width = _widths_at(mesh, mean)
    variance, direction = np.linalg.eigh(covariance)
    return float(np.sqrt(variance / (direction.T**2 @ width**2)).min())


def _widths_at(mesh: Mesh, point: Array) -> Array:
    """Widths (dim,) of the cell nearest to a point (dim,)."""
    if mesh.edges is None:
        cell = int(np.argmin(((mesh.centre - point) ** 2).sum(axis=1)))
        return np.full(mesh.dimension, mesh.volume[cell] ** (1.0 / mesh.dimension))
    cells = (
        np.clip(np.searchsorted(edges, at, side="right") - 1, 0, len(edges) - 2)
        for edges, at in zip(mesh.edges, point, strict=True)
    )
    return np.array([edges[cell + 1] - edges[cell] for edges, cell in zip(mesh.edges, cells, strict=True)])
