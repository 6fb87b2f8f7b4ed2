"""Where particles start: independent samples of an initial density."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fvflow.lagrangian.philox import PLACE, START, random_numbers
from fvflow.mesh import Array, Index, Mesh, cells_of

_DRAWS = 4  # of a try: three for a position, one for the choice of a Gaussian

Gaussians = Sequence[tuple[float, Array, Array]]
"""Weight, mean (dim,) and covariance (dim, dim) of each."""


def of_gaussians(mesh: Mesh, parts: Gaussians, count: int, seed: int) -> tuple[Array, Index]:
    """Positions (particle, dim) from a mixture of Gaussians, and their cells; until on the mesh."""
    weight = np.array([part[0] for part in parts])
    reached = np.cumsum(weight) / weight.sum()
    mean, root = np.array([part[1] for part in parts]), np.linalg.cholesky(np.array([part[2] for part in parts]))
    position, cell = np.empty((count, mesh.dimension)), np.full(count, -1)
    tries, outside = 0, np.arange(count)
    while len(outside):
        draw = tries * _DRAWS
        normal = random_numbers(outside, mesh.dimension, 0, START, seed, draw=draw, normal=True)
        choice = random_numbers(outside, 1, 0, START, seed, draw=draw + _DRAWS - 1)[:, 0]
        part = np.minimum(np.searchsorted(reached, choice, side="right"), len(weight) - 1)
        position[outside] = mesh.inside_period(mean[part] + np.einsum("pij,pj->pi", root[part], normal))
        cell[outside] = cells_of(mesh, position[outside])
        outside, tries = outside[cell[outside] < 0], tries + 1
    return position, cell


def of_cells(mesh: Mesh, density: Array, count: int, seed: int) -> tuple[Array, Index]:
    """Positions (particle, dim) from a density (cell,) that is constant in each cell, and their cells."""
    number = np.arange(count)
    reached = np.cumsum(mesh.volume * density)
    choice = random_numbers(number, 1, 0, START, seed)[:, 0] * reached[-1]
    cell = np.minimum(np.searchsorted(reached, choice, side="right"), np.searchsorted(reached, reached[-1]))
    return within_cells(mesh, number, cell, 0, seed), cell


def within_cells(mesh: Mesh, number: Any, cell: Any, step: int, seed: int) -> Array:
    """Positions (particle, dim) spread evenly over the cell of each particle."""
    pieces = mesh.pieces
    random = random_numbers(number, mesh.dimension + 1, step, PLACE, seed)
    order = np.argsort(pieces.cell, kind="stable")
    share, first = np.cumsum(pieces.share[order]), np.searchsorted(pieces.cell[order], np.arange(mesh.cells + 1))
    before = np.append(0.0, share)
    wanted = before[first[cell]] + random[:, -1] * (before[first[cell + 1]] - before[first[cell]])
    piece = np.clip(np.searchsorted(share, wanted, side="right"), first[cell], first[cell + 1] - 1)
    return pieces.positions(order[piece], random[:, :-1])
