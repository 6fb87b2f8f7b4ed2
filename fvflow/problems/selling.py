"""Selling's decomposition of positive definite matrices along lattice directions."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np

from fvflow.mesh import Array

_ROUND_OFF = 1e-14  # of the trace: smaller products of a superbase count as 0


def selling(matrices: Array) -> tuple[Array, Any]:
    """Weights lambda >= 0 (point, link) and offsets e (point, link, dim) with D = sum_k lambda_k e_k e_k^T.

    The e_k are integer vectors without a common factor, 3 in two dimensions, 6 in three. D (point, dim, dim) is
    symmetric positive definite. A superbase is d + 1 vectors of the lattice that sum to 0; while two of them have b_i.D
    b_j > 0, one of them is flipped, which lowers sum_i b_i.D b_i. In the end all products are <= 0, and they are the
    -lambda_k of the vector orthogonal to all others, b_k^perp or b_k x b_l.

    Selling, Ueber binaere und ternaere quadratische Formen, J. reine angew. Math. 77 (1874); Fehrenbach, Mirebeau,
    Sparse non-negative stencils for anisotropic diffusion, J. Math. Imaging Vis. 49 (2014), section 2.
    """
    points, dimension = matrices.shape[:2]
    base = np.concatenate([np.eye(dimension, dtype=int), -np.ones((1, dimension), int)])
    base = np.broadcast_to(base, (points, dimension + 1, dimension)).copy()
    pairs = list(combinations(range(dimension + 1), 2))
    scale = _ROUND_OFF * np.trace(matrices, axis1=1, axis2=2)
    moved = True
    while moved:
        moved = False
        for i, j in pairs:
            acute = np.flatnonzero(_product(base, matrices, i, j) > scale * _size(base, i, j))
            if len(acute):
                base[acute] = _flipped(base[acute], i, j)
                moved = True
    weights = np.stack([-_product(base, matrices, i, j) for i, j in pairs], axis=1)
    others = [[k for k in range(dimension + 1) if k not in pair] for pair in pairs]
    if dimension == 2:
        offsets = np.stack([np.stack([-base[:, k, 1], base[:, k, 0]], axis=1) for (k,) in others], axis=1)
    else:
        offsets = np.stack([np.cross(base[:, k], base[:, m]) for k, m in others], axis=1)
    return np.where(weights > scale[:, None], weights, 0.0), offsets


def _product(base: Any, matrices: Array, i: int, j: int) -> Array:
    """b_i.D b_j (point,)."""
    return np.asarray(np.einsum("pa,pab,pb->p", base[:, i], matrices, base[:, j]))


def _size(base: Any, i: int, j: int) -> Array:
    """|b_i| |b_j| (point,)."""
    return np.asarray(np.linalg.norm(base[:, i], axis=1) * np.linalg.norm(base[:, j], axis=1))


def _flipped(base: Any, i: int, j: int) -> Any:
    """The superbase with -b_i for b_i, b_j as it is, and b_i added to all others but one (point, d + 1, dim)."""
    after = base.copy()
    after[:, i] = -base[:, i]
    rest = [k for k in range(base.shape[1]) if k not in (i, j)]
    if len(rest) == 1:  # (-b_i, b_j, b_i - b_j) sums to 0
        after[:, rest[0]] = base[:, i] - base[:, j]
    else:
        for k in rest:
            after[:, k] = base[:, k] + base[:, i]
    return after
