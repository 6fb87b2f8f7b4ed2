"""Barycentres of densities in the metric of W2: the minimiser of sum_k w_k W2^2(rho, mu_k), sum_k w_k = 1.

On a line its quantile function is the mean sum_k w_k X_k of theirs: exact. On a box the iteration

    rho <- (sum_k w_k T_k)# rho,    T_k the optimal map from rho to mu_k,

lowers the functional by at least the square of the residual |sum_k w_k T_k - id| in L^2(rho), which is the norm of its
gradient; a barycentre is a fixed point, and two densities need one round. Agueh, Carlier, Barycenters in the
Wasserstein space, SIAM J. Math. Anal. 43 (2011); Alvarez-Esteban, del Barrio, Cuesta-Albertos, Matran, A fixed-point
approach to barycenters in Wasserstein space, J. Math. Anal. Appl. 441 (2016).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isfinite, sqrt

import numpy as np

from fvflow.errors import CaseError
from fvflow.mesh import Array, Mesh
from fvflow.wasserstein.bounds import bounds, bounds_available
from fvflow.wasserstein.line import quantile, require_masses
from fvflow.wasserstein.spline_dual import tiles

_LEAST_GAIN = 0.7  # a residual above this share of the one before ends the iteration


@dataclass(frozen=True)
class Barycentre:
    """A density (cell,), proved bounds of its functional sum_k w_k W2^2(rho, mu_k), and its residual."""

    density: Array
    lower: float
    upper: float
    residual: float
    """|sum_k w_k T_k - id| in L^2(rho), by the maps on the mesh; W2 of the iterate to the next one is at most that."""
    rounds: int


def barycentre(
    mesh: Mesh,
    densities: Sequence[Array],
    weights: Sequence[float] | None = None,
    width: float = 1e-3,
    rounds: int = 8,
    report: Callable[[int, float], None] | None = None,
) -> Barycentre:
    """The barycentre of densities (cell,) of the same mass with weights > 0, equal by default, scaled to the sum 1.

    On a line exact: the cell averages of the density whose quantile function is the mean. On a box by at most so many
    rounds of the iteration from the density of the largest weight, until the residual does not fall any more; `report`
    is called with each round and its residual. `width` is the relative width to aim at of the interval of each W2.
    Raises CaseError if there is no density, a weight is not > 0, masses differ, or the mesh is neither a line nor a box
    with walls.
    """
    share = _shares(weights, len(densities))
    for density in densities:
        require_masses(mesh.volume * densities[0], mesh.volume * density)
    if mesh.periodic or not bounds_available(mesh):
        raise CaseError("a barycentre needs a line or a box with walls on all sides; give the densities on one")
    if mesh.dimension == 1:
        return _on_line(mesh, densities, share, width)
    density, best = densities[int(np.argmax(share))], None
    for number in range(1, rounds + 1):
        found = [bounds(mesh, density, end, width=width) for end in densities]
        to = np.tensordot(share, [each.map for each in found], 1)
        away = ((to - mesh.centre) ** 2).sum(axis=1)
        residual = sqrt(float((mesh.volume * density) @ away))
        if report is not None:
            report(number, residual)
        if best is not None and not residual <= _LEAST_GAIN * best.residual:
            return best
        lower, upper = (
            float(share @ np.array([getattr(each, side) ** 2 for each in found])) for side in ("lower", "upper")
        )
        best = Barycentre(density, lower, upper, residual, number)
        density = pushed(mesh, density, to)
    assert best is not None
    return best


def pushed(mesh: Mesh, density: Array, to: Array) -> Array:
    """The density (cell,) that a map with these values at the centres (cell, dim) makes of one, on the same box.

    The mass of each cell is spread over a box between the midpoints of the images of its neighbours.
    """
    assert mesh.edges is not None
    edges = list(reversed(mesh.edges))
    places = [
        np.interp(to[:, axis], edge, np.arange(len(edge))).reshape(mesh.shape)
        for axis, edge in zip(reversed(range(mesh.dimension)), edges, strict=True)
    ]
    masses = tiles(places).deposited((mesh.volume * density).reshape(mesh.shape), edges).ravel()
    return masses * (float(mesh.volume @ density) / float(masses.sum())) / mesh.volume


def _shares(weights: Sequence[float] | None, count: int) -> Array:
    """The weights (density,), of sum 1."""
    if count == 0:
        raise CaseError("there is no density; give at least one")
    if weights is None:
        return np.full(count, 1.0 / count)
    if len(weights) != count:
        raise CaseError(f"{len(weights)} weights for {count} densities; give one for each")
    for weight in weights:
        if not (weight > 0 and isfinite(weight)):
            raise CaseError(f"the weight {weight:g} is not > 0; leave out densities that do not count")
    return np.asarray(weights, float) / float(np.sum(weights))


def _on_line(mesh: Mesh, densities: Sequence[Array], share: Array, width: float) -> Barycentre:
    """The density of the mean quantile function; its residual is what cell averages make of it."""
    (edges,) = mesh.product_edges or ()
    mass, quantiles = _merged(edges, densities)
    near, far = (sum(w * pair[side] for w, pair in zip(share, quantiles, strict=True)) for side in (0, 1))
    level = np.concatenate([[0.0], np.cumsum(mass)])
    place = np.maximum.accumulate(np.stack([near, far], axis=1).ravel())
    below = np.stack([level[:-1], level[1:]], axis=1).ravel()
    inside = _interpolated(np.asarray(edges - edges[0], np.longdouble), place, below)
    density = np.asarray(np.diff(inside) / np.diff(edges), float)
    mass, (own, *others) = _merged(edges, [density, *densities])
    near, far = (sum(w * pair[side] for w, pair in zip(share, others, strict=True)) - own[side] for side in (0, 1))
    residual = sqrt(float((mass * (near**2 + near * far + far**2)).sum()) / 3.0)
    found = [bounds(mesh, density, end, width=width) for end in densities]
    lower, upper = (
        float(share @ np.array([getattr(each, side) ** 2 for each in found])) for side in ("lower", "upper")
    )
    return Barycentre(density, lower, upper, residual, 1)


def _merged(edges: Array, densities: Sequence[Array]) -> tuple[Array, list[tuple[Array, Array]]]:
    """The mass between the levels of all densities (level,), and their quantiles at the ends, from the first edge."""
    edges = np.asarray(edges - edges[0], np.longdouble)
    masses = [np.diff(edges) * np.asarray(density, np.longdouble) for density in densities]
    sums = [np.concatenate([np.zeros(1, np.longdouble), np.cumsum(mass)]) for mass in masses]
    levels = [level * (sums[0][-1] / level[-1]) for level in sums]
    merged = np.unique(np.concatenate(levels))
    start, end = merged[:-1], merged[1:]
    return end - start, [quantile(level, edges, start, end) for level in levels]


def _interpolated(at: Array, place: Array, value: Array) -> Array:
    """The values (point,) of a piecewise linear non-decreasing function, in the precision of its arguments."""
    right = np.clip(np.searchsorted(place, at, side="right"), 1, len(place) - 1)
    left = right - 1
    gap = place[right] - place[left]
    part = np.clip((at - place[left]) / np.where(gap > 0, gap, 1.0), 0.0, 1.0)
    result: Array = value[left] + part * (value[right] - value[left])
    return result
