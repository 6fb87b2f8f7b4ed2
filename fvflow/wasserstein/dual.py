"""The lower bound of W2 from any function on a grid, by a pair of discrete Legendre transforms.

Values u_i, v_j at grid vertices with u_i + v_j >= x_i.y_j for all pairs interpolate to u(x) = sum l_i(x) u_i and v,
multilinear with l >= 0, sum l = 1, sum l_i(x) x_i = x, so that

    u(x) + v(y) = sum_ij l_i(x) l_j(y) (u_i + v_j) >= x.y   everywhere, and by duality
    W2^2/2 >= int (|x|^2/2 - u) dmu + int (|y|^2/2 - v) dnu.

The integrals of the hat functions are the masses that each vertex receives, so any grid of vertices bounds the
densities on the finest cells; coarse vertices of spacing h lose about h^2 d/3 of W2^2. Villani, Topics in Optimal
Transportation, 2003; notes, equation (43).

On a torus v_j is given at all images of the vertices, so that g = |y|^2/2 - v is periodic there, and so it is between
them: what interpolation adds to |y|^2/2 only depends on where in its cell y is. Then f(x) + g(y) <= |x - y|^2/2 for x
in the box and y up to half a period from it, the nearest image of any point.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from math import ceil, log2, prod, sqrt
from typing import Any

import numpy as np

from fvflow.mesh import Array
from fvflow.wasserstein.legendre import Periods, interpolated, legendre
from fvflow.wasserstein.plan_kernels import dot2

_EPS = float(np.finfo(float).eps)
_SHARE = 0.15  # of the width that is aimed at, which the spacing of the vertices may cost
_FINEST = 4  # most halvings of the mesh for the vertices


class DualBound:
    """Lower bounds for two arrays of cell masses (cell, ...) of total 1 on the cells between `edges`."""

    def __init__(self, masses: tuple[Array, Array], edges: tuple[Array, ...], periods: Periods = None) -> None:
        self._masses, self._edges, self._periods = masses, edges, periods
        reach = 1.0 if periods is None else 2.0  # of products, as images are up to a period away
        self._diameter2 = float(sum((reach * np.ptp(edge)) ** 2 for edge in edges))
        squares = np.ix_(*((edge[1:] ** 2 + edge[1:] * edge[:-1] + edge[:-1] ** 2) / 6.0 for edge in edges))
        self._half_square = np.asarray(sum(squares[1:], squares[0]))  # mean of |x|^2/2 in a cell
        self.vertices = cache(self._vertices)

    def halvings(self, distance: float, width: float, vertices: int) -> int:
        """How often the mesh is halved (doubled if negative) for vertices that cost a small part of the width."""
        spacing2 = sum((float(np.ptp(edge)) / (len(edge) - 1)) ** 2 for edge in self._edges) / 3.0
        allowed = _SHARE * width * distance**2
        needed = ceil(0.5 * log2(spacing2 / allowed)) if allowed > 0 else _FINEST
        needed = max(min(needed, _FINEST), -int(log2(max(len(edge) for edge in self._edges))))
        while needed > -30 and prod(_count(len(edge) - 1, needed) for edge in self._edges) > vertices:
            needed -= 1
        return needed

    def bound(self, v: Array, centres: Sequence[Array], halvings: int) -> float:
        """The bound of W2 from v at the `centres` of any grid of the same box, (centre, ...)."""
        points, (mu, nu), constant = self.vertices(halvings)
        start = interpolated(v, centres, points, periods=self._periods)
        start -= start.min()
        u = legendre(start, points, points, self._periods)
        v = legendre(u, points, points, self._periods)
        shift = 0.5 * (float(u.mean()) - float(v.mean()))  # of both, so that neither is large
        u, v = u - shift, v + shift
        size = max(float(np.abs(u).max()), float(np.abs(v).max())) + self._diameter2
        total = constant - dot2(mu.ravel(), u.ravel()) - dot2(nu.ravel(), v.ravel())
        # each transform rounds a product and a sum an axis; each vertex mass is a sum of products
        slack = (64.0 + 4.0 * u.ndim) * _EPS * size
        return max(sqrt(max(2.0 * (total - slack), 0.0)) * (1.0 - 4 * _EPS) - 8 * _EPS * sqrt(self._diameter2), 0.0)

    def _vertices(self, halvings: int) -> tuple[list[Array], tuple[Array, Array], float]:
        """The vertices along each axis, the masses they receive (vertex, ...), and int |x|^2/2 of both measures."""
        operators = [_hat_means(edge, halvings) for edge in self._edges]
        parts = []
        for mass in self._masses:
            for axis, (_, operator) in enumerate(operators):
                lines = np.moveaxis(mass, axis, 0)
                mass = (operator @ lines.reshape(len(lines), -1)).reshape(-1, *lines.shape[1:])
                mass = np.moveaxis(mass, 0, axis)
            parts.append(np.ascontiguousarray(mass))
        constant = sum(dot2(mass.ravel(), self._half_square.ravel()) for mass in self._masses)
        return [points for points, _ in operators], (parts[0], parts[1]), constant


def _count(cells: int, halvings: int) -> int:
    """Vertices of a line of so many cells after halvings."""
    return (cells << halvings) + 1 if halvings >= 0 else -(-cells >> -halvings) + 1


def _hat_means(edges: Array, halvings: int) -> tuple[Array, Any]:
    """Vertices (vertex,) and the matrix (vertex, cell) of the means of their hat functions over the cells."""
    from scipy.sparse import csr_matrix

    cells = len(edges) - 1
    if halvings >= 0:
        parts = 2**halvings
        places = np.linspace(edges[:-1], edges[1:], parts, endpoint=False, axis=1)
        points = np.append(places.ravel(), edges[-1])
        row = np.arange(cells)[:, None] * parts + np.arange(parts + 1)
        weight = np.full(row.shape, 1.0 / parts)
        weight[:, [0, -1]] *= 0.5
        column = np.broadcast_to(np.arange(cells)[:, None], row.shape)
    else:
        points = np.unique(np.append(edges[:: 2**-halvings], edges[-1]))
        middle = 0.5 * (edges[1:] + edges[:-1])
        left = np.searchsorted(points, middle) - 1
        part = (middle - points[left]) / (points[left + 1] - points[left])
        row, weight = np.stack([left, left + 1], axis=1), np.stack([1.0 - part, part], axis=1)
        column = np.broadcast_to(np.arange(cells)[:, None], row.shape)
    matrix = csr_matrix((weight.ravel(), (row.ravel(), column.ravel())), shape=(len(points), cells))
    return points, matrix
