"""Equations of the second kind, (1 + C) x = b with a compact C: few of its eigenvalues are far from 0."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fvflow.errors import NumericsError
from fvflow.mesh import Array

_RESTART = 60


def solve_second_kind(compact: Callable[[Array], Array], right: Array, tolerance: float = 1e-8) -> Array:
    """x (cell,) with x + C x = b by GMRES, in few iterations for a smooth kernel; raises NumericsError if it stalls."""
    import numpy as np
    from scipy.sparse.linalg import LinearOperator, gmres

    if not np.isfinite(right).all():
        raise NumericsError("the Newton matrix overflowed")
    whole: Any = LinearOperator((len(right), len(right)), matvec=lambda x: x + compact(x), dtype=float)
    x, failed = gmres(whole, right, rtol=tolerance, atol=0.0, restart=_RESTART, maxiter=2)
    if failed:
        raise NumericsError(f"the interaction's equations did not converge in {2 * _RESTART} iterations")
    return np.asarray(x)
