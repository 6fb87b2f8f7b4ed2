"""Maps and potentials on the cells of the mesh, from a plan on cells of another size."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fvflow.mesh import Array
from fvflow.wasserstein.engine import Solution
from fvflow.wasserstein.legendre import half_square, interpolated, legendre, legendre_nodes
from fvflow.wasserstein.pyramid import Atoms, Level


def maps_on_mesh(solution: Solution, edges: Sequence[Array]) -> tuple[Array, Array, Array, Array]:
    """T and S (cell, dim), x first, and phi and psi (cell,) of both measures on the cells between the edges.

    Where a measure has no mass its map is that of the potentials: the node at which the conjugate is attained.
    """
    level, v = solution.level, solution.convex
    centres = [0.5 * (edge[1:] + edge[:-1]) for edge in edges]
    u, forward = legendre_nodes(v, level.centres, level.centres)
    _, backward = legendre_nodes(u, level.centres, level.centres)
    maps = []
    for atoms, plan, nodes in ((level.first, solution.plan.to, forward), (level.second, solution.plan.back, backward)):
        columns = [
            _on_mesh(level, atoms, plan[:, axis], centre[node], centres, edges)
            for axis, (centre, node) in enumerate(zip(level.centres, nodes, strict=True))
        ]
        maps.append(np.stack(columns[::-1], axis=1))
    fine = interpolated(v, level.centres, centres)
    half = half_square(centres)
    u = legendre(fine, centres, centres)
    v = legendre(u, centres, centres)
    return maps[0], maps[1], (half - u).ravel(), (half - v).ravel()


def _on_mesh(
    level: Level, atoms: Atoms, values: Array, elsewhere: Array, centres: Sequence[Array], edges: Sequence[Array]
) -> Array:
    """One coordinate of a map (cell,): means over the parts of a cell by mass, or linear between larger cells."""
    known = np.isfinite(values)
    dense = elsewhere.copy()
    dense.ravel()[atoms.cells[known]] = values[known]
    weight = level.dense(atoms, atoms.mass, 0.0)
    axis_of = {}
    for axis, (own, edge) in enumerate(zip(level.edges, edges, strict=True)):
        parts = (len(own) - 1) // (len(edge) - 1)
        if parts > 1:
            axis_of[axis] = parts
    if axis_of:
        total, mass = dense.copy(), weight + 1e-300  # plain means where there is no mass
        total *= mass
        for axis, parts in axis_of.items():
            first = np.arange(0, total.shape[axis], parts)
            total, mass = (np.add.reduceat(array, first, axis) for array in (total, mass))
        return (total / mass).ravel()
    fine = interpolated(dense, level.centres, centres, degree=1)
    low, high = dense.min(), dense.max()  # no extrapolation beyond what the plan reaches
    return np.clip(fine, low, high).ravel()


def conjugate_pair(centre: Array, to: Array, period: float | None) -> tuple[Array, Array]:
    """phi and psi (cell,) of a map (cell,) on a line or circle, phi' = x - T, made conjugate at the centres."""
    slope = centre - to
    phi = np.concatenate([[0.0], np.cumsum(0.5 * (slope[1:] + slope[:-1]) * np.diff(centre))])
    psi = _transformed(centre, phi, period)
    return _transformed(centre, psi, period), psi


def _transformed(centre: Array, potential: Array, period: float | None) -> Array:
    """min over x of |x - y|^2/2 - potential(x) at the centres, on a circle with x in all turns that can matter."""
    turns = (0.0,) if period is None else (-period, 0.0, period)
    places = np.concatenate([centre + turn for turn in turns])
    middle = 0.5 * (centre[0] + centre[-1])
    places, points = places - middle, centre - middle
    values = 0.5 * places**2 - np.tile(potential, len(turns))
    return np.asarray(0.5 * points**2 - legendre(values, [places], [points]))
