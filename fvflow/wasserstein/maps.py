"""Maps and potentials on the cells of the mesh, from a plan on cells of another size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from fvflow.mesh import Array
from fvflow.wasserstein.legendre import half_square, interpolated, legendre, legendre_nodes

if TYPE_CHECKING:
    from fvflow.wasserstein.engine import Solution
    from fvflow.wasserstein.pyramid import Atoms, Level


def maps_on_mesh(solution: Solution, edges: Sequence[Array]) -> tuple[Array, Array, Array, Array]:
    """T and S (cell, dim), x first, and phi and psi (cell,) of both measures on the cells between the edges.

    Where a measure has no mass its map is that of the potentials: the node at which the conjugate is attained. Maps go
    to the nearest image along periodic axes, beyond the ends if that is there.
    """
    level, v, periods = solution.level, solution.convex, solution.level.periods
    centres = [0.5 * (edge[1:] + edge[:-1]) for edge in edges]
    u, forward = legendre_nodes(v, level.centres, level.centres, periods)
    _, backward = legendre_nodes(u, level.centres, level.centres, periods)
    maps = []
    for atoms, plan, nodes in ((level.first, solution.plan.to, forward), (level.second, solution.plan.back, backward)):
        columns = [
            _on_mesh(level, atoms, plan[:, axis], centre[node], centres, edges, axis)
            for axis, (centre, node) in enumerate(zip(level.centres, nodes, strict=True))
        ]
        maps.append(np.stack(columns[::-1], axis=1))
    fine = interpolated(v, level.centres, centres, periods=periods)
    half = half_square(centres)
    u = legendre(fine, centres, centres, periods)
    v = legendre(u, centres, centres, periods)
    return maps[0], maps[1], (half - u).ravel(), (half - v).ravel()


def _on_mesh(
    level: Level,
    atoms: Atoms,
    values: Array,
    elsewhere: Array,
    centres: Sequence[Array],
    edges: Sequence[Array],
    along: int,
) -> Array:
    """A coordinate of a map (cell,), along an axis: means over parts of a cell by mass, or linear between larger cells.

    Along periodic axes displacements are continued.
    """
    known = np.isfinite(values)
    dense = elsewhere.copy()
    if level.periods is not None:
        dense = nearest(dense, level.centres[along], along, level.periods[along])
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
    places = list(level.centres)
    for axis, period in enumerate(level.periods or ()):
        if np.isfinite(period):
            dense, places[axis] = _with_ghosts(dense, places[axis], axis, period, period if axis == along else 0.0)
    fine = interpolated(dense, places, centres, degree=1)
    low, high = dense.min(), dense.max()  # no extrapolation beyond what the plan reaches
    return np.clip(fine, low, high).ravel()


def nearest(places: Array, centre: Array, axis: int, period: float) -> Array:
    """The images of coordinates (cell, ...) along an axis next to those of the cell centres (cell,)."""
    here = centre.reshape(tuple(-1 if other == axis else 1 for other in range(places.ndim)))
    if not np.isfinite(period):
        return places
    return np.asarray(places - period * np.rint((places - here) / period))


def _with_ghosts(values: Array, places: Array, axis: int, period: float, step: float) -> tuple[Array, Array]:
    """Values (cell, ...) and centres with one more at both ends, where they change by -step and step."""
    last, first = values.take([-1], axis) - step, values.take([0], axis) + step
    ends = places[-1:] - period, places, places[:1] + period
    return np.concatenate([last, values, first], axis), np.concatenate(ends)


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
