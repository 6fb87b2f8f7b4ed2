"""An upper bound of W2 between two positive densities on a box by the length of the straight line between them.

Along rho_t = (1 - t) mu + t nu with a flux m that does not depend on t and div m = mu - nu, no flux at walls, the
continuity equation d_t rho + div m = 0 holds, so that by Benamou and Brenier (notes, (44))

    W2^2 <= int_0^1 int |m|^2/rho_t dx dt = int |m|^2/L(mu, nu) dx,     1/L = int_0^1 dt/((1 - t) mu + t nu)
                                                                            = (log nu - log mu)/(nu - mu),

L being the logarithmic mean. With densities that are constant in each cell and m in the lowest Raviart-Thomas space
(each component linear along its own axis, with values F_l and F_r at the two faces) the integral is exact,

    W2^2 <= sum_K |K|/L_K sum_axes (F_l^2 + F_l F_r + F_r^2)/3,

and div m is constant in each cell too. Any m with that divergence gives a proof; a good one is m = L grad phi.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from fvflow.mesh import Array
from fvflow.wasserstein.lattice import angles, filtered, pairs, sides, steps

_EPS = float(np.finfo(float).eps)
_ITERATIONS = 100


def flux_bound(
    mu: Array,
    nu: Array,
    spacing: Sequence[float],
    start: Array | None = None,
    tolerance: float = 1e-3,
    rings: Collection[int] = (),
) -> tuple[float, Array]:
    """An upper bound of W2 of two arrays of cell masses, each divided by its sum, and phi at the centres (cell, ...).

    phi solves -div(L grad phi) = nu - mu up to the relative `tolerance` in the norm of its energy, from `start`.
    `rings` are the periodic axes.

    Proof that rounding does no harm: let f be the fluxes as stored and r = mu - nu - div f of the exact masses (|r| <=
    e, below). Routing r along the lines of the first axis to their means, the means along the second, ... gives a flux
    f' with div f' = r and no flux at walls, |f'_a| <= h_a sum of (the means of) e along the line. f + f' is admissible,
    and W2 <= |f| + |f'| in the norm of L^2(1/L), by Minkowski. The masses as stored are to be those divided by their
    exact sum up to 40 eps, relatively (pairwise summation), and so is L, homogeneous of degree one and increasing.
    Along rings no flux f' goes through the seam.
    """
    inverse = inverse_mean(mu, nu)
    if not np.isfinite(inverse).all():
        return np.inf, np.zeros(mu.shape)
    difference = nu - mu
    weight = [harmonic(inverse, axis, rings) for axis in range(mu.ndim)]
    phi = weighted_poisson(weight, difference, spacing, start, tolerance, rings=rings)
    fluxes = [w * steps(phi, a, rings) / h for a, (w, h) in enumerate(zip(weight, spacing, strict=True))]
    missing = difference + divergence(fluxes, spacing, rings=rings)
    rest = _poisson(missing, spacing, rings)
    fluxes = [f + steps(rest, a, rings) / h for a, (f, h) in enumerate(zip(fluxes, spacing, strict=True))]
    defect = np.abs(difference + divergence(fluxes, spacing, rings=rings)) + 64.0 * _EPS * (mu + nu)
    stray, means = 0.0, defect + 64.0 * _EPS * divergence([np.abs(f) for f in fluxes], spacing, 1.0, rings)
    for axis, h in enumerate(spacing):
        stray += float(((h * means.sum(axis, keepdims=True)) ** 2 * inverse).sum())
        means = means.mean(axis, keepdims=True)
    return float(np.sqrt(flux_energy(fluxes, inverse, rings)) + np.sqrt(stray)) * (1.0 + 1e-12), phi


def flux_energy(fluxes: Sequence[Array], inverse: Array, rings: Collection[int] = ()) -> float:
    """sum_K 1/L_K sum_axes (F_l^2 + F_l F_r + F_r^2)/3 of fluxes (face, ...) of each axis, `inverse` (cell, ...)."""
    square = 0.0
    for axis, f in enumerate(fluxes):
        left, right = sides(f, axis, rings)
        square += float(((left * left + left * right + right * right) * inverse).sum()) / 3.0
    return square


def inverse_mean(mu: Array, nu: Array) -> Array:
    """1/L(mu, nu), the shape of both, up to 1e-14 relatively; infinite where either is 0."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        ratio = (nu - mu) / (nu + mu)  # log(nu/mu) = 2 artanh(ratio)
        near = np.where(np.abs(ratio) < 1e-4, 1.0 + ratio**2 / 3.0, np.arctanh(ratio) / ratio) / (0.5 * (mu + nu))
        inverse = np.where(np.abs(ratio) < 0.5, near, np.log(nu / mu) / (nu - mu))
    return np.where((mu > 0) & (nu > 0), inverse, np.inf)


def divergence(
    fluxes: Sequence[Array], spacing: Sequence[float], sign: float = -1.0, rings: Collection[int] = ()
) -> Array:
    """sum over the axes of (F_r + sign F_l)/h, without flux at walls (cell, ...)."""
    total: Array | float = 0.0
    for axis, (f, h) in enumerate(zip(fluxes, spacing, strict=True)):
        left, right = sides(f, axis, rings)
        total = total + (right + sign * left) / h
    return np.asarray(total)


def weighted_poisson(
    weight: Sequence[Array],
    right: Array,
    spacing: Sequence[float],
    start: Array | None = None,
    tolerance: float = 1e-3,
    cross: Mapping[tuple[int, int], Array] | None = None,
    rings: Collection[int] = (),
) -> Array:
    """phi (cell, ...) with -div(w grad phi) = right, by conjugate gradients up to the relative tolerance in energy.

    `weight` has the diagonal of w at the faces of each axis, but walls, `cross` what is off it in the cells: it is
    sum_faces w_aa phi_a^2 + 2 sum_cells w_ab phi_a phi_b with the means phi_a of the differences at the two faces of a
    cell, so that it is not negative where w is not. Preconditioned by d^-1/2 (-Laplacian)^-1 d^-1/2 with d the mean
    weight around a cell.
    """
    scale = _cell_scale(weight, right.shape, rings)
    symbol = _symbol(right.shape, spacing, rings)
    symbol.flat[0] = symbol.flat[1] if symbol.size > 1 else 1.0

    def apply(phi: Array) -> Array:
        slope = [steps(phi, a, rings) / h for a, h in enumerate(spacing)]
        fluxes = [w * s for w, s in zip(weight, slope, strict=True)]
        for (a, b), w in (cross or {}).items():
            for one, other in ((a, b), (b, a)):
                fluxes[one] += at_faces(w * 0.5 * sum(sides(slope[other], other, rings)), one, rings)
        return -divergence(fluxes, spacing, rings=rings)

    def precondition(r: Array) -> Array:
        return scale * filtered(scale * r, symbol, rings)

    phi = np.zeros(right.shape) if start is None else start.copy()
    residual = right.copy() if start is None else right - apply(phi)
    z = precondition(residual)
    direction, size = z, float(np.vdot(residual, z))
    first = size if start is None else float(np.vdot(right, precondition(right)))
    for _ in range(_ITERATIONS):
        if not size > tolerance**2 * first:
            break
        image = apply(direction)
        bent = float(np.vdot(direction, image))
        if not bent > 0.0:  # beneath the smallest number
            break
        step = size / bent
        phi += step * direction
        residual -= step * image
        z = precondition(residual)
        size, old = float(np.vdot(residual, z)), size
        direction = z + (size / old) * direction
    return phi


def at_faces(field: Array, axis: int, rings: Collection[int] = ()) -> Array:
    """Means of the two cells of each face along an axis (face, ...)."""
    lower, upper = pairs(field, axis, rings)
    return 0.5 * (upper + lower)


def _cell_scale(weight: Sequence[Array], shape: tuple[int, ...], rings: Collection[int]) -> Array:
    """d^-1/2, d the mean of the weights of the faces of a cell; 0 where all are 0."""
    total, count = np.zeros(shape), np.zeros(shape)
    for axis, w in enumerate(weight):
        for side in sides(w, axis, rings):
            total += side
        for side in sides(np.ones(w.shape), axis, rings):
            count += side
    return np.asarray(np.sqrt(np.where(total > 0, np.maximum(count, 1.0) / np.maximum(total, 1e-300), 0.0)))


def _poisson(right: Array, spacing: Sequence[float], rings: Collection[int]) -> Array:
    """phi with -Laplacian phi = right - mean(right), two-point, no flux at walls."""
    symbol = _symbol(right.shape, spacing, rings)
    symbol.flat[0] = np.inf
    return filtered(right, symbol, rings)


def _symbol(shape: tuple[int, ...], spacing: Sequence[float], rings: Collection[int]) -> Array:
    """The eigenvalues of the two-point -Laplacian on the cosines, or the waves of a ring."""
    waves = (
        (2.0 * np.sin(0.5 * angles(n, axis in rings)) / h) ** 2
        for axis, (n, h) in enumerate(zip(shape, spacing, strict=True))
    )
    return np.asarray(sum(np.ix_(*waves), np.zeros(shape)))


def harmonic(inverse: Array, axis: int, rings: Collection[int] = ()) -> Array:
    """The harmonic means of L of the two cells of each face along an axis, of 1/L (cell, ...)."""
    lower, upper = pairs(inverse, axis, rings)
    return 2.0 / (upper + lower)
