"""W2 between Gaussians, and the optimal map."""

from __future__ import annotations

import numpy as np

from fvflow.mesh import Array


def bures(mean: Array, covariance: Array, other_mean: Array, other_covariance: Array) -> float:
    """W2 of N(m, S) and N(m', S'): the square root of |m - m'|^2 + tr(S + S' - 2 (S^1/2 S' S^1/2)^1/2).

    Means (dim,), positive definite covariances (dim, dim). Gelbrich, On a formula for the L2 Wasserstein metric between
    measures on Euclidean and Hilbert spaces, Math. Nachr. 147 (1990).
    """
    root = _root(covariance)
    cross = _root(root @ other_covariance @ root)
    shift = np.asarray(mean) - np.asarray(other_mean)
    square = float(shift @ shift) + float(np.trace(covariance + other_covariance - 2.0 * cross))
    return float(np.sqrt(max(square, 0.0)))


def transport_matrix(covariance: Array, other: Array) -> Array:
    """A = S^-1/2 (S^1/2 S' S^1/2)^1/2 S^-1/2, the optimal map from N(0, S) to N(0, S') (dim, dim)."""
    root = _root(covariance)
    inverse = np.linalg.inv(root)
    matrix: Array = inverse @ _root(root @ other @ root) @ inverse
    return matrix


def _root(matrix: Array) -> Array:
    """The symmetric square root of a symmetric positive semi-definite matrix."""
    value, vector = np.linalg.eigh(0.5 * (matrix + matrix.T))
    root: Array = (vector * np.sqrt(np.maximum(value, 0.0))) @ vector.T
    return root
