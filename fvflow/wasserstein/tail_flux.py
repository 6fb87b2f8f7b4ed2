"""The upper bound of `flux_bound` for two densities that fall to nothing.

The tails are left out, and what a solver leaves is routed along a tree.

Let A be the cells in which neither mass is below a tiny part of the largest, e the larger share of the two masses
outside. The restrictions to A, divided by their masses, are (1 - e) of both measures at least, and the rest costs at
most diam^2: W2^2 <= W_A^2 + e diam^2. On A the weights L span many orders of magnitude, so that a defect of the
divergence must not spread from where there is much mass to where there is little: it goes along the tree of faces of
the largest weights (a maximum spanning tree), from the leaves to the root, the heaviest cell.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import sqrt
from typing import Any

import numpy as np

from fvflow.mesh import Array
from fvflow.wasserstein.flux_bound import divergence, flux_energy, harmonic, inverse_mean, weighted_poisson
from fvflow.wasserstein.legendre import Indices

_EPS = float(np.finfo(float).eps)
_TAIL = 1e-22  # of the largest mass of a cell: what is left out
_TOLERANCE = 1e-5  # of the potential, in energy


def tail_flux_bound(
    mu: Array, nu: Array, spacing: Sequence[float], start: Array | None = None, largest: float = np.inf
) -> tuple[float, Array]:
    """An upper bound of W2 of two arrays of cell masses, each divided by its sum, and phi at the centres (cell, ...).

    As `flux_bound`, by whose proof rounding does no harm, with the tree in place of the lines of the axes. Infinite if
    A is not connected, or if e alone makes the bound larger than `largest`.
    """
    kept = np.minimum(mu / mu.max(), nu / nu.max()) > _TAIL
    diameter2 = sum((n * h) ** 2 for n, h in zip(mu.shape, spacing, strict=True))
    e = max(float(mass[~kept].sum()) / float(mass.sum()) for mass in (mu, nu)) * (1.0 + 1e-12)
    if not (kept.any() and e * diameter2 < largest**2):
        return np.inf, np.zeros(mu.shape)
    mu, nu = (np.where(kept, mass / mass[kept].sum(), 0.0) for mass in (mu, nu))
    inverse = inverse_mean(mu, nu)
    weight = [harmonic(inverse, axis) for axis in range(mu.ndim)]
    tree = _Tree(weight, kept, int(np.argmax(np.minimum(mu, nu))))
    if not tree.spans:
        return np.inf, np.zeros(mu.shape)
    phi = weighted_poisson(weight, nu - mu, spacing, start, _TOLERANCE)
    fluxes = [w * np.diff(phi, axis=a) / h for a, (w, h) in enumerate(zip(weight, spacing, strict=True))]
    rest = tree.routed(nu - mu + divergence(fluxes, spacing), spacing)
    fluxes = [f + g for f, g in zip(fluxes, rest, strict=True)]
    defect = np.abs(nu - mu + divergence(fluxes, spacing)) + 64.0 * _EPS * (mu + nu)
    defect += 64.0 * _EPS * divergence([np.abs(f) for f in fluxes], spacing, 1.0)
    inverse = np.where(kept, inverse, 0.0)
    stray = flux_energy([np.abs(f) for f in tree.routed(defect, spacing)], inverse)  # whatever the signs are
    apart = sqrt(flux_energy(fluxes, inverse)) + sqrt(stray * (1.0 + 1e-9))
    return sqrt(apart**2 + e * diameter2) * (1.0 + 1e-12), phi


@dataclass(frozen=True)
class _Tree:
    """The maximum spanning tree of the faces of positive weight between the cells that are kept."""

    weight: list[Array]  # of the interior faces of each axis
    kept: Array  # (cell, ...)
    root: int

    @cached_property
    def _ends(self) -> tuple[Indices, Indices]:
        """The two cells of each face, axis after axis (face,)."""
        number = np.arange(self.kept.size).reshape(self.kept.shape)
        pairs = []
        for axis in range(self.kept.ndim):
            lines = np.moveaxis(number, axis, 0)
            pairs.append([np.moveaxis(part, 0, axis).ravel() for part in (lines[:-1], lines[1:])])
        return np.concatenate([p[0] for p in pairs]), np.concatenate([p[1] for p in pairs])

    @cached_property
    def _order(self) -> tuple[Indices, Indices]:
        """The cells from the root on, each after its parent, and the parents (cell,)."""
        from scipy.sparse import csr_matrix
        from scipy.sparse.csgraph import breadth_first_order, minimum_spanning_tree

        weight, (one, other) = np.concatenate([w.ravel() for w in self.weight]), self._ends
        used = weight > 0
        length = 1.0 + np.log(weight[used].max(initial=0.0) / weight[used])  # 0 would be no face
        graph: Any = csr_matrix((length, (one[used], other[used])), shape=(self.kept.size, self.kept.size))
        order, parent = breadth_first_order(minimum_spanning_tree(graph), self.root, directed=False)
        return order.astype(np.int64), parent.astype(np.int64)

    @property
    def spans(self) -> bool:
        """Whether it reaches all cells that are kept."""
        return len(self._order[0]) == int(self.kept.sum())

    def routed(self, source: Array, spacing: Sequence[float]) -> list[Array]:
        """Fluxes along the tree (face, ...) with the divergence -source (cell, ...) everywhere but in the root."""
        from fvflow.wasserstein.plan_kernels import sums_to_root

        order, parent = self._order
        total = source.ravel().copy()
        sums_to_root(order, parent, total)
        one, other = self._ends
        found, begin = [], 0
        for w, h in zip(self.weight, spacing, strict=True):
            part = slice(begin, begin + w.size)
            a, b = one[part], other[part]
            flux = np.where(parent[b] == a, total[b], 0.0) - np.where(parent[a] == b, total[a], 0.0)
            found.append(h * flux.reshape(w.shape))
            begin += w.size
        return found
