"""Barycentres of densities in the metric of W2: the minimiser of sum_k w_k W2^2(rho, mu_k), sum_k w_k = 1.

On a line its quantile function is the mean sum_k w_k X_k of theirs: exact. On a box the iteration

    rho <- (sum_k w_k T_k)# rho,    T_k the optimal map from rho to mu_k,

lowers the functional by at least the square of the residual |sum_k w_k T_k - id| in L^2(rho), which is the norm of its
gradient; a barycentre is a fixed point, and two densities need one round. Along periodic axes the means are those of
the displacements T_k - id to the nearest images; there may be several fixed points on a torus. Agueh, Carlier,
Barycenters in the Wasserstein space, SIAM J. Math. Anal. 43 (2011); Alvarez-Esteban, del Barrio, Cuesta-Albertos,
Matran, A fixed-point approach to barycenters in Wasserstein space, J. Math. Anal. Appl. 441 (2016).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite, sqrt
from typing import Any

import numpy as np

from fvflow.errors import CaseError
from fvflow.iterates import Iterate, Progress, require_count, require_iterate
from fvflow.mesh import Array, Mesh
from fvflow.wasserstein.bounds import Bounds, bounds, require_bounds
from fvflow.wasserstein.line import quantile, require_masses
from fvflow.wasserstein.push import pushed

_SPLIT, _LEAST_CELLS = 4, 16384  # cells of a distance are split into at most max(4 times those of the mesh, 16384)
_LEAST_GAIN = 0.7  # a residual above this share of the one before ends the iteration
_TELLING = 0.1  # of the width: a relative change of the functional that is not worth another round


@dataclass(frozen=True)
class Barycentre:
    """A density (cell,), proved bounds of its functional sum_k w_k W2^2(rho, mu_k), and its residual."""

    density: Array
    lower: float
    upper: float
    residual: float
    """|sum_k w_k T_k - id| in L^2(rho), by the maps on the mesh; W2 of the iterate to the next one is at most that."""
    rounds: int

    @property
    def relative_residual(self) -> float:
        """The residual over the root of the functional; 0 where both are 0."""
        return self.residual / sqrt(self.upper) if self.upper > 0 else 0.0

    @property
    def gap(self) -> float:
        """(upper - lower)/upper; 0 where both are 0."""
        return (self.upper - self.lower) / self.upper if self.upper > 0 else 0.0


def barycentre(
    mesh: Mesh,
    densities: Sequence[Array],
    weights: Sequence[float] | None = None,
    width: float = 1e-3,
    rounds: int = 8,
    progress: Progress | None = None,
    start: Iterate | None = None,
) -> Barycentre:
    """The barycentre of densities (cell,) of the same mass with weights > 0, equal by default, scaled to the sum 1.

    On a line exact: the cell averages of the density whose quantile function is the mean. On a box or circle by at
    most so many rounds of the iteration from the density of the largest weight, until it lowers the functional by less
    than the interval can tell, or the residual does not fall any more. `progress` is told of the rounds so far, the
    residual of the last one relative to the root of the functional, and the iterate, from which `start` goes on,
    whenever a level of a distance is done. `width` is the relative width to aim at of the interval of each W2.

    Raises CaseError if there is no density, a weight is not > 0, masses differ, or the mesh is neither a line nor a
    circle nor a box.
    """
    share = _shares(weights, len(densities))
    for density in densities:
        require_masses(mesh.volume * densities[0], mesh.volume * density)
    require_bounds(mesh)
    if mesh.dimension == 1 and not mesh.periodic:
        return _on_line(mesh, densities, share, width)
    place: dict[str, Any] = {"round": 0, "density": densities[int(np.argmax(share))], "best": np.zeros(mesh.cells)}
    place |= {"lower": 0.0, "upper": 1.0, "residual": np.inf}
    if start is not None:
        require_iterate(start, place)
        require_count(start["round"], rounds - 1)
        place = dict(start)
    cells = max(_SPLIT * mesh.cells, _LEAST_CELLS)

    def told(level: tuple[int, ...], lower: float, upper: float) -> None:
        if progress is not None:
            progress(place["round"], place["residual"] / sqrt(max(place["upper"], 1e-300)), place)

    for number in range(place["round"] + 1, rounds + 1):
        density = place["density"]
        found = [bounds(mesh, density, end, width=width, cells=cells, report=told) for end in densities]
        to = np.tensordot(share, [each.map for each in found], 1)
        residual = sqrt(float((mesh.volume * density) @ ((to - mesh.centre) ** 2).sum(axis=1)))
        if not residual <= _LEAST_GAIN * place["residual"]:
            break
        lower, upper = _functional(share, found)
        place = {"round": number, "density": density, "best": density}
        place |= {"lower": lower, "upper": upper, "residual": residual}
        if number == rounds or residual**2 <= _TELLING * width * upper:
            break
        place["density"] = pushed(mesh, density, to)
    return Barycentre(place["best"], place["lower"], place["upper"], place["residual"], place["round"])


def _functional(share: Array, found: Sequence[Bounds]) -> tuple[float, float]:
    """Bounds of sum_k w_k W2^2, rounded outwards."""
    lower = float(share @ np.array([each.lower**2 for each in found]))
    upper = float(share @ np.array([each.upper**2 for each in found]))
    return lower * (1.0 - 1e-14), upper * (1.0 + 1e-14)


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
    lower, upper = _functional(share, found)
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
