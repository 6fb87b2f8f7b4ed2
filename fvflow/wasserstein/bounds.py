"""Certified lower and upper bounds of W2 between two densities on a mesh."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod, sqrt

import numpy as np

from fvflow.errors import CaseError
from fvflow.mesh import Array, Mesh
from fvflow.wasserstein.circle import distance_on_circle
from fvflow.wasserstein.coupling import coupling
from fvflow.wasserstein.legendre import centres, half_square, interpolated, legendre
from fvflow.wasserstein.line import distance_1d, require_masses

_SPLIT, _LEAST_CELLS = 4, 4096  # by default cells are split into at most max(4 times those of the mesh, 4096)
_FINEST = 16  # most vertices of the lower bound per axis and cell
_ROUND_OFF = 16 * float(np.finfo(np.longdouble).eps)  # of the quantiles on a line, per cell, relative to its length
_UNIFORM = 1e-6  # of a cell: the nonuniformity of a grid up to which the bounds allow for it


@dataclass(frozen=True)
class Bounds:
    """lower <= W2 <= upper."""

    lower: float
    upper: float

    @property
    def width(self) -> float:
        """(upper - lower)/upper; 0 where both are 0."""
        return (self.upper - self.lower) / self.upper if self.upper > 0 else 0.0


def bounds(
    mesh: Mesh,
    first: Array,
    second: Array,
    potential: Array | None = None,
    width: float = 1e-3,
    cells: int | None = None,
    vertices: int = 2_000_000,
) -> Bounds:
    """Bounds of W2 of two densities (cell,) that are constant in each cell of a uniform grid; exact on lines, circles.

    W2^2 = min int |x - y|^2 dpi over the couplings of two measures of the same mass M. Lower bound: values u_i, v_j at
    grid vertices with u_i + v_j >= x_i.y_j for all pairs interpolate to u(x) = sum l_i(x) u_i and v, multilinear with
    l >= 0, sum l = 1, sum l_i(x) x_i = x, so that

        u(x) + v(y) = sum_ij l_i(x) l_j(y) (u_i + v_j) >= x.y   everywhere, and by duality
        W2^2/2 >= int (|x|^2/2 - u) dmu + int (|y|^2/2 - v) dnu,

    whose integrals are computed exactly. Any v gives such a pair by u = v*, v <- u* (discrete Legendre transforms): the
    dual of the plan, or |y|^2/2 - `potential` with phi(1, .) of a dynamic solver at the cell centres. Upper bound: see
    `coupling`. Cells are split until the relative `width` is reached or more than `cells` would have mass, by default
    four times those of the mesh and at least 4096; the lower bound uses at most `vertices`. Villani, Topics in Optimal
    Transportation, 2003; notes, equation (43). Raises CaseError if the masses differ or are 0, a density is negative,
    `width` is not in (0, 1), or the mesh is neither a line nor a circle nor a uniform grid without periodic axes.
    """
    if not 0 < width < 1:
        raise CaseError(f"width {width:g}; give a relative width between 0 and 1")
    mass = require_masses(mesh.volume * first, mesh.volume * second)
    if mesh.periodic and mesh.dimension > 1:
        raise CaseError("bounds of W2 in more than one dimension need walls; this mesh has a periodic axis")
    if mesh.product_edges is None or not bounds_available(mesh):
        raise CaseError("bounds of W2 need a box of equal cells, or a line; give the densities on one")
    if mesh.dimension == 1:
        exact = distance_on_circle if mesh.periodic else distance_1d
        square = exact(mesh.product_edges[0], first, second) ** 2
        off = mass * float(np.ptp(mesh.product_edges[0])) ** 2 * mesh.cells * _ROUND_OFF + 4e-16 * square
        return Bounds(sqrt(max(square - off, 0.0)), sqrt(square + off))
    mu, nu = (np.reshape(density, mesh.shape) / density.sum() for density in (first, second))
    spacing = tuple(float(np.ptp(edge)) / (len(edge) - 1) for edge in reversed(mesh.product_edges))
    low, high, split, limit = 0.0, np.inf, 1, max(_SPLIT * mesh.cells, _LEAST_CELLS) if cells is None else cells
    occupied = max(np.count_nonzero(mu), np.count_nonzero(nu))
    if potential is not None and np.isfinite(potential).all():
        guess = half_square(centres(mu.shape, spacing)) - np.reshape(potential, mesh.shape)
        low = _lower(mu, nu, spacing, guess, _refinement(mu.shape, vertices))
    while True:
        parts, fine = (_split(mu, split), _split(nu, split)), tuple(h / split for h in spacing)
        plan = coupling(*parts, fine)
        low = max(low, _lower(*parts, fine, plan.dual, _refinement(parts[0].shape, vertices)))
        high, split = min(high, plan.upper), 2 * split
        if high - low <= width * high or occupied * split**mu.ndim > limit:
            moved = 2.0 * mesh.nonuniformity * sqrt(sum(h**2 for h in spacing))  # moves both densities onto equal cells
            return Bounds(sqrt(mass) * max(low - moved, 0.0), sqrt(mass) * (high + moved))


def bounds_available(mesh: Mesh) -> bool:
    """Whether `bounds` works on this mesh: a line, a circle, or a box of equal cells and walls on all sides."""
    if mesh.product_edges is None:
        return False
    return mesh.dimension == 1 or (mesh.nonuniformity <= _UNIFORM and not mesh.periodic)


def _refinement(shape: tuple[int, ...], vertices: int) -> int:
    """The largest power of two up to 16 by which cells can be refined with at most so many vertices."""
    factor = _FINEST
    while factor > 1 and prod(n * factor + 1 for n in shape) > vertices:
        factor //= 2
    return factor


def _lower(mu: Array, nu: Array, spacing: Sequence[float], guess: Array, refine: int) -> float:
    """The lower bound from v = `guess` at the cell centres, on vertices `refine` times as fine as the cells."""
    points = [np.linspace(0.0, n * h, n * refine + 1) for n, h in zip(mu.shape, spacing, strict=True)]
    u = legendre(interpolated(guess, spacing, points), points, points)
    v = legendre(u, points, points)
    square = half_square(centres(mu.shape, spacing)) + sum(h**2 for h in spacing) / 24.0  # mean of |x|^2/2 in a cell
    total = sum(
        float(np.vdot(density / density.sum(), square - _cell_means(w, refine))) for density, w in ((mu, u), (nu, v))
    )
    slack = 1e-14 * sum((n * h) ** 2 for n, h in zip(mu.shape, spacing, strict=True))  # round-off
    return sqrt(max(2.0 * (total - slack), 0.0))


def _split(density: Array, count: int) -> Array:
    """The same density with each cell divided into `count` along each axis."""
    for axis in range(density.ndim):
        density = density.repeat(count, axis) if count > 1 else density
    return density


def _cell_means(w: Array, refine: int) -> Array:
    """Means over the cells of the multilinear function with the values w at vertices `refine` times as fine."""
    for axis in range(w.ndim):
        w = np.moveaxis(w, axis, -1)
        inner = 0.5 * (w[..., 1:] + w[..., :-1])
        w = np.moveaxis(inner.reshape(*inner.shape[:-1], -1, refine).mean(axis=-1), -1, axis)
    return w
