"""Cell values of functions and of Gaussians on a mesh."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from itertools import product
from typing import Any

import numpy as np

from fvflow.errors import CaseError, NumericsError
from fvflow.fields.base import Sampling
from fvflow.mesh import DISC, EVERY, Array, Index, Mesh, Revolution, Subset

_REACH = 9.0  # deviations from the mean beyond which a Gaussian is below round-off
_MOST_IMAGES = 1000  # of a Gaussian by whole periods
_MANY = 10**6  # values of erfc for which importing scipy.special pays
_SMALL = 2**15  # cells of a mesh for which the densities of several Gaussians are kept
_erfc = np.frompyfunc(math.erfc, 1, 1)


def cell_values(mesh: Mesh, function: Callable[[Array, Subset], Array], sampling: Sampling, points: int) -> Array:
    """Cell averages (cell,) of a function by `points` Gauss points per axis, or its values at the cell centres.

    The function takes positions (point, dim) and the cells that they lie in, and returns values (point,).
    """
    if sampling == "centre":
        return np.array(function(mesh.centre, EVERY))
    return mesh.integral(function, points) / mesh.volume


def check_gaussian(mean: Array, covariance: Any) -> None:
    """Raise CaseError if the covariance is not a symmetric positive definite matrix of the size of the mean."""
    rows = [len(row) for row in covariance]
    if rows != [len(mean)] * len(mean):
        raise CaseError(f"a covariance with rows of {rows} entries does not fit a mean of {len(mean)}; make it square")
    matrix = np.array(covariance)
    if not (np.array_equal(matrix, matrix.T) or np.allclose(matrix, matrix.T, rtol=1e-12, atol=0.0)):
        raise CaseError(f"the covariance {matrix.tolist()} is not symmetric")
    if not np.linalg.eigvalsh(matrix).min() > 0:
        raise CaseError(f"the covariance {matrix.tolist()} is not positive definite; its eigenvalues have to be > 0")


def gaussian_density(mesh: Mesh, mean: Array, covariance: Array, sampling: Sampling) -> Array:
    """Cell averages, or values at the cell centres, of N(mean, covariance) (cell,); wrapped along periodic axes."""
    known = _of_several if mesh.cells <= _SMALL else _of_last
    return known(mesh, tuple(mean.tolist()), tuple(map(tuple, covariance.tolist())), sampling).copy()


def _gaussian_density(
    mesh: Mesh, centre: tuple[float, ...], rows: tuple[tuple[float, ...], ...], sampling: Sampling
) -> Array:
    mean, covariance = np.array(centre), np.array(rows)
    if len(mean) != mesh.dimension:
        raise CaseError(f"a mean of {len(mean)} entries on a mesh of dimension {mesh.dimension}; give one per axis")
    if mesh.revolution is not None:
        _require_symmetric(mean, covariance)
    if sampling == "average" and mesh.edges is not None and not np.any(covariance - np.diag(np.diag(covariance))):
        deviation = np.sqrt(np.diag(covariance))
        factors = list(map(wrapped_mass, mesh.whole.edges or (), mean, deviation, mesh.periods))
        if mesh.revolution is not None:
            factors[0] = _shell_mass(mesh.edges[0] / deviation[0], mesh.revolution)
        return tensor_product([mesh.held(*each) for each in enumerate(factors)]) / mesh.volume
    root = _root(covariance)
    whitening = np.linalg.inv(root).T
    log_factor = -np.log(np.diag(root)).sum() - 0.5 * len(mean) * math.log(2 * math.pi)
    if mesh.revolution is not None:  # of the dimensions that x stands for besides its own
        log_factor -= (mesh.revolution.dimension - 1) * (math.log(root[0, 0]) + 0.5 * math.log(2 * math.pi))

    images = _images(mesh, mean, covariance)

    def density(position: Array, cells: Subset) -> Array:
        with np.errstate(over="ignore"):
            total = np.exp(log_factor - 0.5 * (((position - images[0]) @ whitening) ** 2).sum(axis=1))
            for image in images[1:]:
                total += np.exp(log_factor - 0.5 * (((position - image) @ whitening) ** 2).sum(axis=1))
        return np.asarray(total)

    return cell_values(mesh, density, sampling, _gauss_points(mesh, mean, covariance))


_of_last = lru_cache(maxsize=1)(_gaussian_density)  # needed for the density and for the coverage
_of_several = lru_cache(maxsize=16)(_gaussian_density)  # the same of mixtures, by several threads


def _require_symmetric(mean: Array, covariance: Array) -> None:
    """Raise CaseError unless a Gaussian is the same in all directions of the radius x."""
    if mean[0] != 0 or np.any(covariance[0, 1:]):
        raise CaseError(
            "x is a radius, and a Gaussian has one density at all points of a radius only if its mean is 0 along x and "
            "x is not correlated with the other axes; give such a one, or an expression"
        )


def _shell_mass(edges: Array, revolution: Revolution) -> Array:
    """The mass (interval,) of N(0, I) between neighbouring radii (edge,)."""
    square = 0.5 * edges**2
    if revolution.dimension == DISC:
        return np.asarray(revolution.turns * np.exp(-square[:-1]) * -np.expm1(square[:-1] - square[1:]))
    slope = math.sqrt(2.0 / math.pi) * edges * np.exp(-square)
    return np.asarray(revolution.turns * (2.0 * interval_mass(edges, 0.0, 1.0) - np.diff(slope)))


def _images(mesh: Mesh, mean: Array, covariance: Array) -> Array:
    """The mean (image, dim), moved by all whole periods that leave some of the Gaussian on the mesh, itself first.

    Raises CaseError if there are too many.
    """
    if not mesh.periodic:
        return mean[None]
    periods, first = mesh.periods, mesh.inside_period(mean[None])[0]
    reach = [math.ceil(_REACH * math.sqrt(covariance[axis, axis]) / periods[axis]) for axis in mesh.periodic]
    if math.prod(2 * count + 1 for count in reach) > _MOST_IMAGES:
        raise CaseError(
            "the Gaussian is much wider than the periodic mesh and its covariance is not diagonal; use a smaller "
            "covariance"
        )
    shifts = [range(-count, count + 1) for count in reach]
    whole = np.zeros((math.prod(map(len, shifts)), len(mean)))
    whole[:, list(mesh.periodic)] = sorted(product(*shifts), key=lambda shift: sum(map(abs, shift)))
    return np.asarray(first + whole * np.where(np.isfinite(periods), periods, 0.0))


def _gauss_points(mesh: Mesh, mean: Array, covariance: Array) -> int:
    """Gauss points per axis of a cell: more for a density that is hardly wider than a cell."""
    return 4 if deviation_in_cells(mesh, mean, covariance) >= 1.0 else 10


def deviation_in_cells(mesh: Mesh, mean: Array, covariance: Array) -> float:
    """min_e sigma_e/h_e over all directions e, with sigma_e^2 = e.S e and h_e^2 = e.H e of the cell at the mean.

    S is the covariance and H the `squared_widths` of the cell: the smallest eigenvalue of H^-1 S is the square.
    """
    widths = _squared_widths_at(mesh.whole, mean)
    if mesh.edges is not None:
        relative = covariance / np.sqrt(np.outer(widths, widths))
    else:
        inverse = np.linalg.inv(np.linalg.cholesky(widths))
        relative = inverse @ covariance @ inverse.T
    return math.sqrt(max(float(np.linalg.eigvalsh(relative).min()), 0.0))


def _squared_widths_at(mesh: Mesh, mean: Array) -> Array:
    """H (dim, dim) of the cell whose centre is nearest to a point (dim,); of a box its diagonal (dim,)."""
    if mesh.edges is None:
        cell = np.argmin((mesh.nearest_image(mesh.centre - mean) ** 2).sum(axis=1), keepdims=True)
        return np.asarray(squared_widths(mesh, cell)[0])
    squares = []
    for edges, at, period in zip(mesh.edges, mean, mesh.periods, strict=True):
        off = 0.5 * (edges[1:] + edges[:-1]) - at
        if period < np.inf:
            off -= np.round(off / period) * period
        nearest = int(np.argmin(off**2))
        squares.append((edges[nearest + 1] - edges[nearest]) ** 2)
    return np.array(squares)


def widest(mesh: Mesh, cells: Index) -> float:
    """The largest width in any direction of some cells (part,); 0 of none."""
    return math.sqrt(float(np.linalg.eigvalsh(squared_widths(mesh, cells)).max(initial=0.0)))


def squared_widths(mesh: Mesh, cells: Any) -> Array:
    """H (part, dim, dim) of some cells: 12 times the covariance of the uniform density on each.

    e.H e is the square of the width along e: for a box diag(h_a^2), whatever the shape a measure of its extent.
    """
    if mesh.edges is None:
        return np.asarray(_second_moments(mesh)[cells])
    widths = [np.diff(edges) for edges in mesh.edges]
    index = np.unravel_index(cells, mesh.shape)[::-1]  # cells are numbered with x fastest
    squares = np.stack([width[at] ** 2 for width, at in zip(widths, index, strict=True)], axis=-1)
    return np.asarray(squares[:, :, None] * np.eye(mesh.dimension))


@lru_cache(maxsize=1)  # several densities on one mesh
def _second_moments(mesh: Mesh) -> Array:
    def moment(a: int, b: int | None = None) -> Array:
        def integrand(at: Array, cells: Subset) -> Array:
            off = at - mesh.centre[cells]
            return np.asarray(off[:, a] if b is None else off[:, a] * off[:, b])

        return mesh.integral(integrand, 3) / mesh.volume

    axes = range(mesh.dimension)
    mean = np.stack([moment(a) for a in axes], axis=-1)
    second = np.stack([np.stack([moment(a, b) for b in axes], axis=-1) for a in axes], axis=-1)
    return 12.0 * (second - mean[:, :, None] * mean[:, None, :])


def _root(covariance: Array) -> Array:
    """The Cholesky factor; raises NumericsError if the covariance is not numerically positive definite."""
    try:
        return np.asarray(np.linalg.cholesky(covariance), np.float64)
    except np.linalg.LinAlgError:
        raise NumericsError(f"the covariance {covariance.tolist()} is not positive definite in doubles") from None


def interval_mass(edges: Array, mean: float | Array, deviation: float, count: int = 0) -> Array:
    """Mass (interval,) of N(mean, deviation^2) between the edges (edge,); (interval, mean) for edges (edge, 1).

    In the upper tail it is computed from the complement, to avoid cancellation. If `count`, the number of values in all
    calls, is below a million, they are computed by the erfc of the C library, some 60 ns each: importing scipy.special
    takes as long.
    """
    z = (edges - mean) / deviation * math.sqrt(0.5)
    erfc: Any = _erfc
    if max(count, z.size) > _MANY:
        from scipy.special import erfc
    below, above = (np.asarray(erfc(side), np.float64) for side in (-z, z))  # twice the mass on each side
    return np.asarray(0.5 * np.where(z[:-1] > 0, above[:-1] - above[1:], below[1:] - below[:-1]))


def wrapped_mass(edges: Array, mean: float, deviation: float, period: float) -> Array:
    """As `interval_mass`, summed over the means mean + k period; the edges span a period, or it is infinite.

    Beyond 1.5 periods of deviation the density differs from a constant by less than 1e-19.
    """
    if period == math.inf:
        return interval_mass(edges, mean, deviation)
    if deviation > 1.5 * period:
        return np.diff(edges) / period
    first = mean - math.floor((mean - edges[0]) / period) * period
    count = math.ceil(_REACH * deviation / period)
    return np.asarray(sum(interval_mass(edges, first + k * period, deviation) for k in range(-count, count + 1)))


def tensor_product(factors: list[Array]) -> Array:
    """The tensor product (cell,) of one factor per axis over a grid, x varying fastest."""
    whole = factors[0]
    for factor in factors[1:]:
        whole = np.multiply.outer(factor, whole).ravel()
    return whole
