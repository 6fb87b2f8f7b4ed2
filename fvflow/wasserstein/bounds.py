"""Certified lower and upper bounds of W2 between two densities on a mesh, with maps and potentials."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from math import inf, sqrt

import numpy as np

from fvflow.errors import CaseError
from fvflow.mesh import Array, Mesh
from fvflow.wasserstein.circle import distance_on_circle, map_on_circle
from fvflow.wasserstein.engine import Limits, interval
from fvflow.wasserstein.line import distance_1d, map_1d, require_masses
from fvflow.wasserstein.maps import conjugate_pair, maps_on_mesh
from fvflow.wasserstein.small_distance import CloseBounds, close_bounds

_SPLIT, _SMALL = 4, 65536  # parts of each cell by default; as many along each axis where they are few in all
_ROUND_OFF = 16 * float(np.finfo(np.longdouble).eps)  # of the quantiles on a line, per cell, relative to its length


@dataclass(frozen=True)
class Bounds:
    """lower <= W2 <= upper, and the plan and the potentials that prove it; equality compares the bounds."""

    lower: float
    upper: float
    map: Array = field(compare=False, repr=False)
    """T (cell, dim): the mean of where the plan moves the mass of each cell of the first density."""
    reverse_map: Array = field(compare=False, repr=False)
    """S (cell, dim): the mean of where the mass of each cell of the second density comes from."""
    potential: Array = field(compare=False, repr=False)
    """phi (cell,) of the first density at the cell centres: T = x - grad phi."""
    conjugate: Array = field(compare=False, repr=False)
    """psi (cell,) of the second: phi(x) + psi(y) <= |x - y|^2/2 at all centres x, y; S = y - grad psi."""
    level: tuple[int, ...] = field(default=(), compare=False)
    """Cells along x, y, z of the level at which it stopped."""
    reason: str = field(default="", compare=False)
    """Why it stopped: `exact`, `width` (proved), or the limit that the next level exceeds: `cells`, `time` or
    `memory`."""

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
    vertices: int = 4_000_000,
    seconds: float = inf,
    memory: float = 2e9,
    report: Callable[[tuple[int, ...], float, float], None] | None = None,
) -> Bounds:
    """Bounds of W2 of two densities (cell,) that are constant in each cell of a box; exact on lines and circles.

    W2^2 = min int |x - y|^2 dpi over the couplings of two measures of the same mass M. Upper bounds are the costs of
    plans, lower bounds those of pairs of potentials: see `engine`, `plan` and `dual`. Any function gives a lower bound;
    that of `potential` (cell,) is tried too: psi, such as phi(1, .) of a dynamic solver.

    Levels of ever smaller cells follow one another until the relative `width` is reached, or the next one would have
    more than `cells` cells (by default 4 times those of the mesh, 4 times along each axis if these are at most 65536),
    or exceed the wall time in `seconds` or the `memory` in bytes; then the interval so far is returned, with the
    reason. The lower bound uses at most `vertices`. After each level `report` is called with its cells along x, y, z
    and both bounds. Densities some cells apart have bounds of their own (`small_distance`), returned with the
    reason `cells`, where plans between parts of cells would leave wider ones and `cells` is not given.

    Along periodic axes distances are those to the nearest image, and maps go there, beyond the ends if it is.

    Raises CaseError if the masses differ or are 0, a density is negative, `width` is not in (0, 1), or the mesh is
    neither a line nor a circle nor a box. Villani, Topics in Optimal Transportation, 2003; notes, equation (43).
    """
    if not 0 < width < 1:
        raise CaseError(f"width {width:g}; give a relative width between 0 and 1")
    mass = require_masses(mesh.volume * first, mesh.volume * second)
    if mesh.product_edges is None:
        raise CaseError("bounds of W2 need a box, a line or a circle; give the densities on one")
    if mesh.dimension == 1:
        return _on_line(mesh, mesh.product_edges[0], first, second, mass)
    close = close_bounds(mesh, first, second, width)
    if close is not None and (close.reaches(width) or (close.final and cells is None)):
        return _from_potential(mesh, close, mass, "width" if close.reaches(width) else "cells")
    edges = tuple(np.asarray(edge - 0.5 * (edge[0] + edge[-1])) for edge in reversed(mesh.product_edges))
    cell_masses = [np.reshape(mesh.volume * density, mesh.shape) for density in (first, second)]
    mu, nu = (masses / masses.sum() for masses in cell_masses)
    limit = max(_SPLIT * mesh.cells, min(_SPLIT**mesh.dimension * mesh.cells, _SMALL)) if cells is None else cells
    guess = None if potential is None or not np.isfinite(potential).all() else np.reshape(potential, mesh.shape)
    scale, limits = sqrt(mass), Limits(limit, vertices, seconds, memory)

    def scaled(shape: tuple[int, ...], lower: float, upper: float) -> None:
        if report is not None:
            report(shape[::-1], scale * lower, scale * upper)

    periods = tuple(reversed(mesh.periods.tolist())) if mesh.periodic else None
    found = interval((mu, nu), edges, width, limits, periods, guess, scaled)
    lower, upper = found.lower * (1.0 - 1e-15), found.upper * (1.0 + 1e-15)
    if close is not None:
        upper = min(upper, close.upper)
        if close.lower > lower and close.potential is not None:
            return _from_potential(mesh, replace(close, upper=upper), mass, found.reason)
    middle = np.array([0.5 * (edge[0] + edge[-1]) for edge in mesh.product_edges])
    to, back, phi, psi = maps_on_mesh(found.solution, edges)
    maps = to + middle, back + middle, phi, psi
    return Bounds(scale * lower, scale * upper, *maps, found.shape[::-1], found.reason)


def _from_potential(mesh: Mesh, close: CloseBounds, mass: float, reason: str = "width") -> Bounds:
    """The bounds with T = x + grad p, phi = -p, and S and psi of its conjugate."""
    p, images = close.potential, close.images
    assert p is not None
    assert images is not None
    assert mesh.edges is not None
    to = mesh.centre + p.gradient.reshape(mesh.cells, -1)[:, ::-1]
    lower = np.array([edge[0] for edge in mesh.edges])
    spacing = np.array(p.spacing[::-1])
    back = lower + spacing * images[::-1][: mesh.dimension].reshape(mesh.dimension, -1).T
    phi = -p.at(np.stack(np.meshgrid(*(np.arange(n) + 0.5 for n in p.shape3), indexing="ij"))).ravel()
    psi = p.at(images).ravel() + 0.5 * ((back - mesh.centre) ** 2).sum(axis=1)
    scale, level = sqrt(mass), tuple(reversed(mesh.shape))
    return Bounds(scale * close.lower, scale * close.upper, to, back, phi, psi, level, reason)


def bounds_available(mesh: Mesh) -> bool:
    """Whether `bounds` works on this mesh: a line, a circle, or a box, whose axes may be periodic."""
    return mesh.product_edges is not None


def require_bounds(mesh: Mesh) -> None:
    """Raise CaseError unless `bounds` works on a mesh."""
    if not bounds_available(mesh):
        raise CaseError(
            "W2 is proved on lines, circles and boxes, which this mesh is not; leave it out, or use a mesh of kind box "
            "or graded"
        )


def _on_line(mesh: Mesh, edges: Array, first: Array, second: Array, mass: float) -> Bounds:
    """The exact distance within the rounding of the quantiles."""
    exact, moved = (distance_on_circle, map_on_circle) if mesh.periodic else (distance_1d, map_1d)
    square = exact(edges, first, second) ** 2
    off = mass * float(np.ptp(edges)) ** 2 * mesh.cells * _ROUND_OFF + 4e-16 * square
    to, back = moved(edges, first, second), moved(edges, second, first)
    phi, psi = conjugate_pair(mesh.centre[:, 0], to, float(np.ptp(edges)) if mesh.periodic else None)
    return Bounds(
        sqrt(max(square - off, 0.0)), sqrt(square + off), to[:, None], back[:, None], phi, psi, (mesh.cells,), "exact"
    )
