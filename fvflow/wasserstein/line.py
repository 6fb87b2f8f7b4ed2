"""Exact Wasserstein distances and geodesics of piecewise constant densities on a line."""

from __future__ import annotations

import numpy as np

from fvflow.errors import CaseError
from fvflow.mesh import Array

EQUAL_MASSES = 1e-9
"""Relative difference up to which two masses count as equal."""


def distance_1d(edges: Array, first: Array, second: Array, power: float = 2.0) -> float:
    """W_p of two densities that are constant on the cells between the edges, for p >= 1.

    W_p^p = int_0^M |X(u) - Y(u)|^p du with the quantile functions X, Y, which are linear between the merged levels of
    both: exact. edges (cell + 1,), densities (cell,) of the same mass M, which may differ from 1: W_p^p is then M times
    that of the normalised densities. Raises CaseError for negative densities and unequal masses.
    """
    if power < 1:
        raise CaseError(f"power {power:g}; W_p needs p >= 1")
    width, quantiles = _merged(edges, first, second)
    near, far = (x - y for x, y in zip(*quantiles, strict=True))
    return float((width * _mean_power(near, far, power)).sum() ** np.longdouble(1.0 / power))


def interpolated_1d(edges: Array, first: Array, second: Array, part: float) -> Array:
    """The geodesic of two densities at a time 0 <= part <= 1: cell averages of ((1 - t) X + t Y)#du (cell,).

    Exact: between the merged levels (1 - t) X + t Y is linear, so the mass between them is uniform on an interval and
    divided among the cells by overlap. McCann, A convexity principle for interacting gases, Adv. Math. 128 (1997).
    """
    mass, quantiles = _merged(edges, first, second)
    left, right = ((1.0 - part) * x + part * y for x, y in zip(*quantiles, strict=True))
    ends = np.concatenate([left, right])
    level = np.concatenate([[0.0], np.cumsum(mass)])
    place = np.stack([left, right], axis=1).ravel()  # non-decreasing; the mass to the left of each is known
    below = np.stack([level[:-1], level[1:]], axis=1).ravel()
    place = edges[0] + np.asarray(np.maximum.accumulate(place), float)
    inside = np.interp(edges, place, np.asarray(below, float)) if len(ends) else np.zeros_like(edges)
    return np.diff(inside) / np.diff(edges)


def map_1d(edges: Array, first: Array, second: Array) -> Array:
    """The mean (cell,) of where monotone transport of the first density to the second moves the mass of each cell.

    Cells without mass have values between those of their neighbours.
    """
    width, ((x0, x1), (y0, y1)) = _merged(edges, first, second)
    return np.asarray(edges[0] + cell_means(edges - edges[0], 0.5 * (x0 + x1), 0.5 * (y0 + y1), width))


def cell_means(edges: Array, place: Array, value: Array, weight: Array) -> Array:
    """Means (cell,) of values by the cell of their places (point,), in cells without weight between the neighbours'."""
    place, value, weight = (np.asarray(part, float) for part in (place, value, weight))
    cells = len(edges) - 1
    cell = np.clip(np.searchsorted(edges, place, side="right") - 1, 0, cells - 1)
    total, sums = np.bincount(cell, weight, cells), np.bincount(cell, weight * value, cells)
    centre, known = 0.5 * (edges[1:] + edges[:-1]), total > 0
    return np.interp(centre, centre[known], sums[known] / total[known])


def require_masses(first: Array, second: Array) -> float:
    """The total of two arrays of masses; raises CaseError if totals differ or are 0, or masses are not in [0, inf)."""
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise CaseError("a density is not finite; distances need finite densities >= 0")
    if min(float(first.min()), float(second.min())) < 0:
        raise CaseError("a density is negative; distances need densities >= 0")
    totals = float(first.sum()), float(second.sum())
    if not abs(totals[0] - totals[1]) <= EQUAL_MASSES * max(totals) or max(totals) == 0:
        raise CaseError(f"the masses {totals[0]:.12g} and {totals[1]:.12g} differ or are 0; scale one to the other")
    return totals[0]


def _merged(edges: Array, first: Array, second: Array) -> tuple[Array, list[tuple[Array, Array]]]:
    """The mass between merged levels (level,), and for both densities the quantiles at their ends."""
    edges = np.asarray(edges - edges[0], np.longdouble)  # thin tails and nearly equal densities need the extra digits
    width = np.diff(edges)
    masses = [width * np.asarray(density, np.longdouble) for density in (first, second)]
    total = require_masses(*masses)
    sums = [np.concatenate([np.zeros(1, np.longdouble), np.cumsum(mass)]) for mass in masses]
    levels = [level * (total / level[-1]) for level in sums]
    merged = np.unique(np.concatenate(levels))
    start, end = merged[:-1], merged[1:]
    return end - start, [quantile(level, edges, start, end) for level in levels]


def quantile(level: Array, edges: Array, start: Array, end: Array) -> tuple[Array, Array]:
    """The quantile function (interval,) at both ends of each interval of levels, as its limit from inside.

    `level` is the mass to the left of each of the `edges`; no interval of levels from `start` to `end` has one inside.
    """
    cell = np.clip(np.searchsorted(level, 0.5 * (start + end), side="right") - 1, 0, len(edges) - 2)
    mass = level[cell + 1] - level[cell]
    left, width = edges[cell], edges[cell + 1] - edges[cell]
    with np.errstate(divide="ignore", invalid="ignore"):
        parts = (np.where(mass > 0, (at - level[cell]) / mass, 0.5) for at in (start, end))
        near, far = (left + width * np.clip(part, 0.0, 1.0) for part in parts)
    return near, far


def _mean_power(near: Array, far: Array, power: float) -> Array:
    """int_0^1 |near + s (far - near)|^p ds."""
    if power == 2.0:
        return (near**2 + near * far + far**2) / 3.0
    change = far - near
    with np.errstate(divide="ignore", invalid="ignore"):
        whole = (np.abs(far) ** power * far - np.abs(near) ** power * near) / ((power + 1.0) * change)
    flat = np.abs(change) <= 1e-6 * np.maximum(np.abs(near), np.abs(far))
    return np.where(flat, np.abs(0.5 * (near + far)) ** power, whole)
