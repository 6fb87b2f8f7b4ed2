"""The exact cost of optimal transport between samples, of equal weight or not, also along periodic axes."""

from __future__ import annotations

import numpy as np

from fvflow.mesh import Array
from fvflow.studies.score.predictions import Clouds
from fvflow.wasserstein.legendre import Indices
from fvflow.wasserstein.network_simplex import NetworkSimplex

_UNITS = 2.0**58  # in which the total mass is counted
_ROUND_OFF = 1e-13  # of the largest cost: reduced costs that are zero


def transport_cost(clouds: Clouds, power: int) -> float:
    """min sum_ij P_ij |x_i - y_j|^p over the plans P with the weights as marginals: W_p^p of two sets of samples.

    On a line by sorting; otherwise of as many samples of equal weight on both sides an assignment, by the algorithm of
    Crouse, On implementing 2D rectangular assignment algorithms, IEEE Trans. Aerosp. Electron. Syst. 52 (2016), in
    scipy, and of others the network simplex. Distances along periodic axes are the shorter ones.
    """
    if clouds.points.shape[1] == 1 and not clouds.mesh.periodic:
        return line_cost(clouds.points[:, 0], clouds.weight, clouds.others[:, 0], power)
    distance = distances(clouds)
    cost = distance if power == 1 else distance**power
    if clouds.weight is None:
        from scipy.optimize import linear_sum_assignment

        return float(cost[linear_sum_assignment(cost)].mean())
    held = np.flatnonzero(clouds.weight)
    return _cost_by_simplex(cost[held], clouds.weight[held])


def distances(clouds: Clouds) -> Array:
    """|x_i - y_j| of all pairs (sample, point), along periodic axes by the shorter way."""
    if not clouds.mesh.periodic:
        from scipy.spatial.distance import cdist

        return np.asarray(cdist(clouds.points, clouds.others))
    offset = clouds.points[:, None] - clouds.others
    return np.asarray(np.linalg.norm(clouds.mesh.nearest_image(offset), axis=-1))


def line_cost(x: Array, weight: Array | None, y: Array, power: int) -> float:
    """int_0^1 |X(u) - Y(u)|^p du with the quantile functions of samples x (sample,), of weights or none, and y."""
    if weight is None and len(x) == len(y):
        return float((np.abs(np.sort(x) - np.sort(y)) ** power).mean())
    order = np.argsort(x)
    share = np.full(len(x), 1.0 / len(x)) if weight is None else weight[order]
    first, second = np.cumsum(share), np.arange(1, len(y) + 1) / len(y)
    first[-1] = 1.0
    levels = np.union1d(first, second)
    width = np.diff(levels, prepend=0.0)
    middle = levels - 0.5 * width
    places = (np.minimum(np.searchsorted(each, middle), len(each) - 1) for each in (first, second))
    left, right = (values[place] for values, place in zip((x[order], np.sort(y)), places, strict=True))
    return float(width @ np.abs(left - right) ** power)


def _cost_by_simplex(cost: Array, weight: Array) -> float:
    count, other = cost.shape
    simplex = NetworkSimplex(_counted(weight), _counted(np.full(other, 1.0 / other)), 10.0 * float(cost.max()) + 1.0)
    row, column = (index.ravel() for index in np.indices((count, other)))
    simplex.add(row, column, cost.ravel())
    flow = simplex.solve(_ROUND_OFF * float(cost.max()))
    return float(cost[flow.tail, flow.head] @ (flow.mass / _UNITS))


def _counted(weight: Array) -> Indices:
    """Weights as positive integers whose sum is that of all units."""
    amount: Indices = np.maximum(np.rint(weight / weight.sum() * _UNITS).astype(np.int64), 1)
    amount[np.argmax(amount)] += int(_UNITS) - int(amount.sum())
    return amount
