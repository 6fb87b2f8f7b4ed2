"""Certified lower and upper bounds of W2 between two densities on a mesh, with maps and potentials."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from math import inf, sqrt
from typing import TYPE_CHECKING

import numpy as np

from fvflow.errors import CaseError
from fvflow.mesh import Array, Mesh
from fvflow.wasserstein.circle import distance_on_circle, map_on_circle
from fvflow.wasserstein.line import distance_1d, map_1d, require_masses
from fvflow.wasserstein.maps import conjugate_pair, maps_on_mesh
from fvflow.wasserstein.products import factors

if TYPE_CHECKING:
    from fvflow.wasserstein.small_distance import CloseBounds

_SMALL = 65536  # cells up to which those of the mesh are cut in four along each axis by default, otherwise in two
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
    """Bounds of W2 of two densities (cell,) that are constant in each cell of a box.

    They are exact but for round-off on lines and circles, and of two products of densities along the axes of a box.

    W2^2 = min int |x - y|^2 dpi over the couplings of two measures of the same mass M. Upper bounds are the costs of
    plans, lower bounds those of pairs of potentials: see `engine`, `plan` and `dual`. Any function gives a lower bound;
    that of `potential` (cell,) is tried too: psi, such as phi(1, .) of a dynamic solver.

    Levels of ever smaller cells follow one another until the relative `width` is reached, or the next one would have
    more than `cells` cells (by default twice those of the mesh along each axis, 4 times if these are at most 65536), or
    exceed the wall time in `seconds` or the `memory` in bytes; then the interval so far is returned, with the
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
        return _on_line(mesh.product_edges[0], bool(mesh.periodic), first, second, mass)
    cell_masses = [np.reshape(mesh.volume * density, mesh.shape) for density in (first, second)]
    if (product := _of_products(mesh, mesh.product_edges, cell_masses, width)) is not None:
        return product
    from fvflow.wasserstein.engine import Limits, interval  # what most runs do without
    from fvflow.wasserstein.small_distance import close_bounds

    close = close_bounds(mesh, first, second, width)
    if close is not None and (close.reaches(width) or (close.final and cells is None)):
        return _from_potential(mesh, close, mass, "width" if close.reaches(width) else "cells")
    edges = tuple(np.asarray(edge - 0.5 * (edge[0] + edge[-1])) for edge in reversed(mesh.product_edges))
    mu, nu = (masses / masses.sum() for masses in cell_masses)
    halves, quarters = (parts**mesh.dimension * mesh.cells for parts in (2, 4))
    limit = max(halves, min(quarters, _SMALL)) if cells is None else cells
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


def _of_products(mesh: Mesh, axes: tuple[Array, ...], cell_masses: list[Array], width: float) -> Bounds | None:
    """The bounds of densities that are products of densities along the axes: W2^2 is the sum of those of the factors.

    What a density and the product of its marginals do not share, round-off, may move across the box. None if they are
    no products, or that leaves an interval wider than `width`. Villani, Topics in Optimal Transportation, 2003.
    """
    if (first := factors(cell_masses[0])) is None or (second := factors(cell_masses[1])) is None:
        return None
    periodic = [axis in mesh.periodic for axis in range(mesh.dimension)]
    lines = [
        _on_line(edges, turns, one / np.diff(edges), other / np.diff(edges), float(one.sum()))
        for edges, turns, one, other in zip(axes, periodic, first.masses, second.masses, strict=True)
    ]
    farthest = np.sqrt(sum((np.ptp(edges) / (1 + turns)) ** 2 for edges, turns in zip(axes, periodic, strict=True)))
    elsewhere = float(farthest) * (sqrt(0.5 * first.off) + sqrt(0.5 * second.off))
    lower = max(sqrt(sum(line.lower**2 for line in lines)) * (1.0 - 1e-15) - elsewhere, 0.0)
    upper = sqrt(sum(line.upper**2 for line in lines)) * (1.0 + 1e-15) + elsewhere
    if upper - lower > width * upper:
        return None
    along = list(zip(lines, np.indices(mesh.shape).reshape(mesh.dimension, -1)[::-1], strict=True))  # x first
    to, back = (np.stack([getattr(line, name)[at, 0] for line, at in along], axis=1) for name in ("map", "reverse_map"))
    phi, psi = (np.sum([getattr(line, name)[at] for line, at in along], axis=0) for name in ("potential", "conjugate"))
    return Bounds(lower, upper, to, back, phi, psi, tuple(reversed(mesh.shape)), "exact")


def _on_line(edges: Array, periodic: bool, first: Array, second: Array, mass: float) -> Bounds:
    """The exact distance on a line or a circle within the rounding of the quantiles."""
    exact, moved = (distance_on_circle, map_on_circle) if periodic else (distance_1d, map_1d)
    square, cells = exact(edges, first, second) ** 2, len(first)
    off = mass * float(np.ptp(edges)) ** 2 * cells * _ROUND_OFF + 4e-16 * square
    to, back = moved(edges, first, second), moved(edges, second, first)
    phi, psi = conjugate_pair(0.5 * (edges[1:] + edges[:-1]), to, float(np.ptp(edges)) if periodic else None)
    return Bounds(
        sqrt(max(square - off, 0.0)), sqrt(square + off), to[:, None], back[:, None], phi, psi, (cells,), "exact"
    )
