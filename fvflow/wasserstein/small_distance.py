"""Proved bounds of W2 for densities on a box that are less than some twenty cells apart.

They are to be positive, but for tails of next to no mass. There plans between cells say little: their cost is an error
of about a cell. Instead both bounds come from smooth potentials. The upper one is the length of a curve between the
densities, made of straight lines (`flux_bound`, `tail_flux`); the lower one is a dual value (`spline_dual`), which is
concave in the potential p: it is maximised by Newton's method,

    -div(mu (1 + D^2 p)^-1 grad delta) = S#nu - mu,     S(y) = argmin_x p(x) + |x - y|^2/2,   p <- p + t delta,

with t such that |x|^2/2 + p stays convex. At the maximum S is the inverse of the optimal map, so that the densities
((1 - t) S + t id)#nu are a geodesic; the curve goes through some of them, deposited on the cells. No bound depends on
how far the iteration has come.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import ceil, log2, sqrt

import numpy as np

from fvflow.mesh import Array, Mesh
from fvflow.wasserstein.flux_bound import at_faces, flux_bound, weighted_poisson
from fvflow.wasserstein.spline_dual import Boxes, images, spline_bound
from fvflow.wasserstein.spline_potential import SplinePotential
from fvflow.wasserstein.tail_flux import tail_flux_bound

Rings = tuple[int, ...]
"""Periodic axes of arrays (cell, ...)."""

_BLOCKS, _SURELY = 48, 1.5  # blocks of cells along an axis, and how much longer than allowed their line has to be
_FAR = 32.0  # cells from which the potential is not looked for
_NEAR = 0.3  # cells below which one straight line is as good
_ROUNDS = 20  # Newton steps
_ENOUGH = 1e-5  # of W2^2: what another Newton step has to promise
_MOST_LINES = 16  # straight lines of the curve, of which the error falls with their number squared
_GAIN = 0.1  # part of the interval that more lines have to take off, for even more to be tried
_PLANS = 5e-3  # of a cell squared: what plans between the parts of cells leave open of W2^2, measured
_FAILURES = 2  # trials along one Newton step, after which another one is no use
_MARGINS = (0.6, 0.9)  # of the way to where |x|^2/2 + p stops being convex that one step may go
_LEAST_STEP = 0.1
_THIN = 1e-2  # of the mean density: added to the weights, so that p is smooth where there is hardly any mass
_EVERYWHERE = 1e-7  # of the largest mass of a cell: the smallest of a density that has no tails
_UNIFORM = 1e-6  # of a cell: the nonuniformity of a grid up to which the bounds allow for it


@dataclass(frozen=True)
class CloseBounds:
    """lower <= W2 <= upper of two densities of mass 1, and the potential p that proves the lower bound, if any does.

    |x|^2/2 + p is convex: the map is T = x + grad p, with the inverse S(y) = argmin_x p(x) + |x - y|^2/2.
    """

    lower: float
    upper: float
    potential: SplinePotential | None = None
    images: Array | None = None
    """S at the cell centres, in units of cells (3, cell, cell, cell), z first."""
    final: bool = False
    """Whether plans between cells, or parts of cells, would leave a wider interval."""

    def reaches(self, width: float) -> bool:
        """Whether the interval has this relative width."""
        return self.upper - self.lower <= width * self.upper


def close_bounds(mesh: Mesh, first: Array, second: Array, width: float = 1e-3) -> CloseBounds | None:
    """Bounds for two densities (cell,), constant in each cell of a uniform box of 1-3 dimensions, scaled to mass 1.

    They stop at the relative `width`, (upper - lower)/upper. The lower bound is 0 if W2 is above about 30 cells, or if
    the densities are so rough that no smooth potential is near the best. None unless the mesh is a box of equal cells,
    both densities are positive (between walls on all sides they may have tails of next to no mass), and their means
    along the axes with walls are near each other.
    """
    if mesh.product_edges is None or not mesh.nonuniformity <= _UNIFORM:
        return None
    rings = tuple(sorted(mesh.dimension - 1 - axis for axis in mesh.periodic))
    mu, nu = (np.reshape(density, mesh.shape) / density.sum() for density in (first, second))
    spacing = tuple(float(np.ptp(edge)) / (len(edge) - 1) for edge in reversed(mesh.product_edges))
    apart = np.where(np.isfinite(mesh.periods), 0.0, (nu - mu).ravel() @ mesh.centre)
    if not float(np.linalg.norm(apart)) <= _FAR * min(spacing) or _are_far(mu, nu, spacing, rings):
        return None
    if not (found := _bounds(mu, nu, spacing, width, rings)).upper < np.inf:
        return None
    moved = 2.0 * mesh.nonuniformity * sqrt(sum(h**2 for h in spacing))  # moves both densities onto equal cells
    lower, upper = max(found.lower * (1.0 - 1e-15) - moved, 0.0), (found.upper + moved) * (1.0 + 1e-15)
    final = found.potential is not None and (upper - lower) * upper < _PLANS * min(spacing) ** 2
    return replace(found, lower=lower, upper=upper, final=final)


def _are_far(mu: Array, nu: Array, spacing: Sequence[float], rings: Rings) -> bool:
    """Whether the straight line between sums over blocks of cells is so long that that between the cells will be too.

    A guess, at a hundredth of the work; it decides how W2 is bounded, and no bound rests on it.
    """
    blocks = [-(-n // _BLOCKS) for n in mu.shape]
    if max(blocks) == 1:
        return False
    for axis, block in enumerate(blocks):
        start = np.arange(0, mu.shape[axis], block)
        mu, nu = (np.add.reduceat(mass, start, axis) for mass in (mu, nu))
    size = [block * h for block, h in zip(blocks, spacing, strict=True)]
    return _line(mu, nu, size, None, _SURELY * _FAR * min(spacing), rings)[0] > _SURELY * _FAR * min(spacing)


def _line(
    mu: Array,
    nu: Array,
    spacing: Sequence[float],
    start: Array | None = None,
    largest: float = np.inf,
    rings: Rings = (),
) -> tuple[float, Array]:
    """The length of a straight line, infinite if it is above the largest of interest, and its potential (cell, ...)."""
    if min(float((mass / mass.max()).min()) for mass in (mu, nu)) > _EVERYWHERE:
        return flux_bound(mu, nu, spacing, start, rings=rings)
    if rings:
        return np.inf, np.zeros(mu.shape)
    return tail_flux_bound(mu, nu, spacing, start, largest)


def _bounds(mu: Array, nu: Array, spacing: Sequence[float], width: float, rings: Rings) -> CloseBounds:
    found = CloseBounds(0.0, _line(mu, nu, spacing, None, _FAR * min(spacing), rings)[0])
    if found.upper > _FAR * min(spacing):
        return found
    boxes: Boxes | None = None
    for iterate in _ascent(mu, nu, spacing, found.upper, rings):
        boxes = iterate.boxes
        found = CloseBounds(sqrt(iterate.square), found.upper, iterate.potential, iterate.place)
        if found.reaches(width):
            return found
    lines, gain = 1, True
    while boxes is not None and gain and found.upper >= _NEAR * min(spacing) and lines < _MOST_LINES:
        excess = 2.0 * lines**2 * (found.upper - found.lower) / (width * found.upper)
        if excess <= 2.0 * lines**2:
            break
        lines = min(max(2 ** ceil(0.5 * log2(excess)), 2 * lines), _MOST_LINES)
        upper = min(found.upper, _length(mu, nu, boxes, spacing, lines))
        gain = found.upper - upper > _GAIN * (found.upper - found.lower)
        found = replace(found, upper=upper)
    return found


@dataclass(frozen=True)
class _Iterate:
    potential: SplinePotential
    boxes: Boxes  # of S
    place: Array
    square: float  # a lower bound of W2^2


def _ascent(mu: Array, nu: Array, spacing: Sequence[float], high: float, rings: Rings) -> Iterator[_Iterate]:
    """Potentials of increasing dual value; 0 if the densities are equal, so that W2 is at most `high` = 0."""
    zero = SplinePotential.through(np.zeros(mu.shape), spacing, rings)
    now = _Iterate(zero, *images(zero), 0.0)
    if high == 0.0:
        yield now
    for _ in range(_ROUNDS):
        residual = now.boxes.deposited(nu) - mu
        step = _newton_step(now.potential, mu, residual)
        if not float(np.vdot(step, residual)) > _ENOUGH * high**2:
            return
        after = _line_search(now, step, mu, nu)
        if after is None:
            return
        now = after
        yield now


def _newton_step(p: SplinePotential, mu: Array, residual: Array) -> Array:
    """The values delta at the cell centres."""
    axes = range(mu.ndim)
    weight = _inverses(np.eye(mu.ndim) + p.hessian) * (mu + _THIN * mu.mean())[..., None, None]
    cross = {(a, b): weight[..., a, b] for a in axes for b in axes if a < b}
    diagonal = [at_faces(weight[..., a, a], a, p.rings) for a in axes]
    return weighted_poisson(diagonal, residual, p.spacing, cross=cross, rings=p.rings)


def _inverses(matrices: Array) -> Array:
    """Of symmetric matrices (..., axis, axis)."""
    if matrices.shape[-1] != 2:
        return np.asarray(np.linalg.inv(matrices))
    a, b, c = matrices[..., 0, 0], matrices[..., 0, 1], matrices[..., 1, 1]
    inverse = np.stack([np.stack([c, -b], axis=-1), np.stack([-b, a], axis=-1)], axis=-2)
    return np.asarray(inverse / (a * c - b * b)[..., None, None])


def _line_search(now: _Iterate, step: Array, mu: Array, nu: Array) -> _Iterate | None:
    """The longest step that keeps its distance from where convexity ends and raises the bound, or None."""
    p = now.potential
    change, bent = SplinePotential.through(step, p.spacing, p.rings), float(p.curvature.max())
    failures = 0
    for margin in _MARGINS:
        part = 1.0
        while part > _LEAST_STEP and failures < _FAILURES:
            trial = p.plus(change, part)
            if trial.curvature.max() < bent + margin * (1.0 - bent):
                boxes, place = images(trial, now.place)
                square = spline_bound(trial, boxes, mu, nu)
                if square > now.square:
                    return _Iterate(trial, boxes, place, square)
                failures += 1
            part *= 0.6
    return None


def _length(mu: Array, nu: Array, boxes: Boxes, spacing: Sequence[float], lines: int) -> float:
    """The length of the curve of so many straight lines from mu to nu, an upper bound of W2 by the triangle inequality.

    The densities between are arbitrary. Here they are those of ((1 - t) S + t id)#nu as deposited.
    """
    total, before, phi = 0.0, mu, None
    rings = tuple(axis - 3 + mu.ndim for axis in boxes.rings)
    for k in range(1, lines + 1):
        after = nu if k == lines else boxes.towards(1.0 - k / lines).deposited(nu)
        after = after / after.sum()
        line, phi = _line(before, after, spacing, phi, rings=rings)
        total += line
        before = after
    return total * (1.0 + 1e-14)
