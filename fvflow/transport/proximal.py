"""Convex functions and sets with their proximal maps; numbers (74)-(135) are equations of the course notes.

Functions are named by what they are, the indicator functions of convex sets `...Projection`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from fvflow.errors import CaseError, NumericsError
from fvflow.linalg import factorise
from fvflow.mesh import Array

Map = Callable[[Array], Array]
_ROUND_OFF = 1e-9  # relative, in equalities and bounds
_DEPENDENT = 1e-12  # squared sine of the angle of a row of A to the span of others up to which it counts as dependent
_NEWTON = 16  # most iterations, from within three times the root; a million points of all sizes needed 5


class Proximal(Protocol):
    """A closed convex function f, given by its proximal map."""

    def prox(self, x: Array, step: float) -> Array:
        """argmin_u step f(u) + |u - x|^2/2, (79), of the same shape as x."""


@dataclass(frozen=True)
class KineticAction:
    """theta(rho, m) = |m|^2/(2 rho), 0 at (0, 0), infinite otherwise if rho <= 0: half of (74); x = (rho, m).

    Benamou, Brenier, A computational fluid mechanics solution to the Monge-Kantorovich mass transfer problem, 2000.
    """

    def value(self, x: Array) -> float:
        """The sum over all trailing axes, (77); x (1 + dim, ...)."""
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            ratio = 0.5 * np.sum(x[1:] ** 2, axis=0) / x[0]
        vacuum = np.where((x[0] == 0) & ~np.any(x[1:], axis=0), 0.0, np.inf)
        return float(np.sum(np.where(x[0] > 0, ratio, vacuum)))

    def prox(self, x: Array, step: float | Array) -> Array:
        """(y - step, m (y - step)/y), (y - rho - step) y^2 = step |m|^2/2; (0, 0) where step rho + |m|^2/2 <= 0.

        x (1 + dim, ...), step one or (...). Papadakis, Peyre, Oudet, Optimal transport with proximal splitting, 2014.
        """
        density, y = _root(x, step)
        return np.concatenate([density[None], x[1:] * (density / y)])


def _require(allowed: Any, message: str) -> None:
    if not np.all(allowed):
        raise CaseError(message)


def _root(x: Array, step: float | Array) -> tuple[Array, Array]:
    """y - step and y, from d^3 + p d^2 + q d = e for d = y - step - max(rho, 0), where p, q > 0 and e >= 0.

    No nearly equal numbers are subtracted, so that the density near vacuum, e = 0, is accurate to all digits. Newton's
    iterates decrease from the smallest of the three roots of a single term.
    """
    kinetic, floor = 0.5 * np.sum(x[1:] ** 2, axis=0), np.maximum(x[0], 0.0)
    below, above = floor - x[0], floor + step
    p, q = below + 2.0 * above, above * (above + 2.0 * below)
    e = step * np.where(x[0] < 0, np.maximum(step * x[0] + kinetic, 0.0), kinetic)
    d = np.minimum(np.minimum(np.cbrt(e), np.sqrt(e / p)), e / q)
    for _ in range(_NEWTON):
        before, d = d, (e + (2.0 * d + p) * d**2) / (q + (3.0 * d + 2.0 * p) * d)
        if not np.any(before - d > _ROUND_OFF * d):  # the remaining error is the square of this change
            break
    return floor + d, above + d


@dataclass(frozen=True, eq=False)
class L1Norm:
    """sum_i mu_i |x_i|, mu >= 0 a number or shaped like x, (103)."""

    weight: float | Array = 1.0

    def __post_init__(self) -> None:
        _require(np.asarray(self.weight) >= 0, f"weight {np.min(self.weight):g} of an L1 norm; give weights >= 0")

    def value(self, x: Array) -> float:
        """The weighted norm."""
        return float(np.sum(self.weight * np.abs(x)))

    def prox(self, x: Array, step: float) -> Array:
        """The soft threshold sign(x) max(|x| - step mu, 0), elementwise, (105)."""
        threshold = step * np.asarray(self.weight)
        return x - np.clip(x, -threshold, threshold)


@dataclass(frozen=True, eq=False)
class QuadraticFunction:
    """<x - c, H (x - c)>/2, c a number or shaped like x, H >= 0 a number or a symmetric matrix (x, x).

    Raises CaseError if H is not symmetric or has a negative eigenvalue.
    """

    centre: float | Array = 0.0
    stiffness: float | Array = 1.0
    _modes: tuple[Array, Array] = field(init=False, repr=False)  # eigenvalues and eigenvectors of H

    def __post_init__(self) -> None:
        matrix = np.atleast_2d(np.asarray(self.stiffness, float))
        _require(np.abs(matrix - matrix.T) <= _ROUND_OFF * np.abs(matrix).max(), "H is not symmetric; give (H + H^T)/2")
        values, vectors = np.linalg.eigh(matrix)
        least = f"H has the eigenvalue {values[0]:g}; give one with eigenvalues >= 0, so that the function is convex"
        _require(values[0] >= -_ROUND_OFF * abs(values[-1]), least)
        object.__setattr__(self, "_modes", (np.maximum(values, 0.0), vectors))

    def value(self, x: Array) -> float:
        """<x - c, H (x - c)>/2."""
        return 0.5 * float(np.vdot(x - self.centre, self.gradient(x)))

    def gradient(self, x: Array) -> Array:
        """H (x - c), of the same shape as x."""
        return np.asarray(np.dot(self.stiffness, x - self.centre))

    def prox(self, x: Array, step: float) -> Array:
        """c + (I + step H)^{-1} (x - c), (135), of the same shape as x."""
        (values, vectors), offset = self._modes, x - self.centre
        if np.ndim(self.stiffness) == 0:
            return np.asarray(self.centre + offset / (1.0 + step * values[0]))
        return np.asarray(self.centre + vectors @ ((vectors.T @ offset) / (1.0 + step * values)))


@dataclass(frozen=True)
class Conjugate:
    """f*(y) = sup_x <x, y> - f(x), with its proximal map only."""

    function: Proximal

    def prox(self, x: Array, step: float) -> Array:
        """x - step prox_{f/step}(x/step), of the same shape as x.

        Moreau, Proximite et dualite dans un espace hilbertien, 1965.
        """
        return x - step * self.function.prox(x / step, 1.0 / step)


class Projection:
    """0 on a closed convex set, infinite elsewhere, (109); its proximal map is the projection, (111)-(113)."""

    def prox(self, x: Array, step: float = 1.0) -> Array:
        """The nearest point of the set, of the same shape as x."""
        raise NotImplementedError

    def value(self, x: Array) -> float:
        """0 if x is its own projection to a relative 1e-9, else infinity."""
        return 0.0 if np.linalg.norm(x - self.prox(x)) <= _ROUND_OFF * np.linalg.norm(x) else math.inf


@dataclass(frozen=True)
class ParaboloidProjection(Projection):
    """a + |b|^2/2 <= 0, x = (a, b) (1 + dim, ...): the set whose indicator function is conjugate to KineticAction."""

    def prox(self, x: Array, step: float = 1.0) -> Array:
        """(min(a, -|b'|^2/2), b'), b' = b/y with y as in the prox of KineticAction with step 1."""
        b = x[1:] / _root(x, 1.0)[1]
        return np.concatenate([np.minimum(x[0], -0.5 * np.sum(b**2, axis=0))[None], b])


@dataclass(frozen=True, eq=False)
class BoxProjection(Projection):
    """lower <= x <= upper, each a number or shaped like x; raises CaseError if there is no such x."""

    lower: float | Array
    upper: float | Array

    def __post_init__(self) -> None:
        _require(np.asarray(self.lower) <= self.upper, "a lower bound exceeds its upper bound; exchange them")

    def prox(self, x: Array, step: float = 1.0) -> Array:
        """min(max(x, lower), upper)."""
        return np.minimum(np.maximum(x, self.lower), self.upper)


@dataclass(frozen=True, eq=False)
class NonNegativeProjection(BoxProjection):
    """x >= 0."""

    lower: float | Array = field(default=0.0, init=False)
    upper: float | Array = field(default=math.inf, init=False)


@dataclass(frozen=True)
class SimplexProjection(Projection):
    """x >= 0, sum_i x_i = total > 0. Held, Wolfe, Crowder, Validation of subgradient optimization, 1974."""

    total: float = 1.0

    def __post_init__(self) -> None:
        _require(0 < self.total < math.inf, f"total {self.total:g} of a simplex; give a positive finite total")

    def prox(self, x: Array, step: float = 1.0) -> Array:
        """max(x - c, 0), c the largest over k of (the sum of the k largest x_i - total)/k."""
        below: Array = x - x.max()
        excess = np.cumsum(np.sort(below, axis=None)[::-1]) - self.total
        return np.maximum(below - np.max(excess / np.arange(1, x.size + 1)), 0.0)


@dataclass(frozen=True, eq=False)
class AffineProjection(Projection):
    """A x = b, (117); A (row, x) dense or of scipy.sparse, b (row,).

    Raises CaseError if the rows of A are linearly dependent, as those of a wide A, (124), may be, or if the shapes of A
    and b do not fit.
    """

    matrix: Any
    right: Array
    _correction: Map = field(init=False, repr=False)  # A^T (A A^T)^{-1}

    def __post_init__(self) -> None:
        shapes = f"A {self.matrix.shape} and b {self.right.shape} do not fit or are not finite; correct them"
        _require(
            self.right.shape == self.matrix.shape[:1] and np.isfinite(self.right.sum() + self.matrix.sum()), shapes
        )
        object.__setattr__(self, "_correction", _right_inverse(self.matrix, self.right))

    def prox(self, x: Array, step: float = 1.0) -> Array:
        """x - A^T (A A^T)^{-1} (A x - b), (127)."""
        correction = self._correction(self.matrix @ x.ravel() - self.right)
        return np.asarray(x - correction.reshape(x.shape))


def _right_inverse(matrix: Any, right: Array) -> Map:
    """r -> A^T (A A^T)^{-1} r, with rows scaled to length 1 (so pivots are squared sines) and one refinement."""
    from scipy.sparse import csr_array, diags_array
    from scipy.sparse.linalg import lsqr, norm

    size = norm(csr_array(matrix), axis=1)
    scale = 1.0 / np.where(size > 0, size, 1.0)
    unit = csr_array(diags_array(scale) @ csr_array(matrix))
    try:
        factors = factorise((unit @ unit.T).tocsc())
        regular = bool((factors.U.diagonal() > _DEPENDENT).all())
    except NumericsError:
        regular = False
    if not regular:
        solvable = lsqr(unit, scale * right, atol=_ROUND_OFF, btol=_ROUND_OFF)[1] != 2  # 2: least squares only
        remedy = "drop the redundant rows" if solvable else "no x satisfies A x = b, so correct A or b"
        raise CaseError(f"the {len(right)} rows of A, for {matrix.shape[1]} unknowns, are linearly dependent; {remedy}")

    def correction(residual: Array) -> Array:
        once = unit.T @ factors.solve(scale * residual)
        again = unit.T @ factors.solve(scale * residual - unit @ once)  # small, and its round-off with it
        return np.asarray(once + again)

    return correction
