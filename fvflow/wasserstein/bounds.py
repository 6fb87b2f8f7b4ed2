"""Certified lower and upper bounds of W2 between two densities on a mesh, with maps and potentials."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf, sqrt

import numpy as np

from fvflow.errors import CaseError
from fvflow.mesh import Array, Mesh
from fvflow.wasserstein.circle import distance_on_circle, map_on_circle
from fvflow.wasserstein.engine import Limits, interval
from fvflow.wasserstein.line import distance_1d, map_1d, require_masses
from fvflow.wasserstein.maps import conjugate_pair, maps_on_mesh

_SPLIT, _LEAST_CELLS = 4, 65536  # by default cells are split into at most max(4 times those of the mesh, 65536)
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
    more than `cells` cells (by default four times those of the mesh, at least 65536), or exceed the wall time in
    `seconds` or the `memory` in bytes; then the interval so far is returned, with the reason. The lower bound uses at
    most `vertices`. After each level `report` is called with its cells along x, y, z and both bounds.

    Raises CaseError if the masses differ or are 0, a density is negative, `width` is not in (0, 1), or the mesh is
    neither a line nor a circle nor a box without periodic axes. Villani, Topics in Optimal Transportation, 2003; notes,
    equation (43).
    """
    if not 0 < width < 1:
        raise CaseError(f"width {width:g}; give a relative width between 0 and 1")
    mass = require_masses(mesh.volume * first, mesh.volume * second)
    if mesh.periodic and mesh.dimension > 1:
        raise CaseError("bounds of W2 in more than one dimension need walls; this mesh has a periodic axis")
    if mesh.product_edges is None:
        raise CaseError("bounds of W2 need a box or a line; give the densities on one")
    if mesh.dimension == 1:
        return _on_line(mesh, mesh.product_edges[0], first, second, mass)
    edges = tuple(np.asarray(edge - 0.5 * (edge[0] + edge[-1])) for edge in reversed(mesh.product_edges))
    cell_masses = [np.reshape(mesh.volume * density, mesh.shape) for density in (first, second)]
    mu, nu = (masses / masses.sum() for masses in cell_masses)
    limit = max(_SPLIT * mesh.cells, _LEAST_CELLS) if cells is None else cells
    guess = None if potential is None or not np.isfinite(potential).all() else np.reshape(potential, mesh.shape)
    scale, limits = sqrt(mass), Limits(limit, vertices, seconds, memory)

    def scaled(shape: tuple[int, ...], lower: float, upper: float) -> None:
        if report is not None:
            report(shape[::-1], scale * lower, scale * upper)

    found = interval((mu, nu), edges, width, limits, guess, scaled)
    middle = np.array([0.5 * (edge[0] + edge[-1]) for edge in mesh.product_edges])
    to, back, phi, psi = maps_on_mesh(found.solution, edges)
    lower, upper = scale * found.lower * (1.0 - 1e-15), scale * found.upper * (1.0 + 1e-15)
    return Bounds(lower, upper, to + middle, back + middle, phi, psi, found.shape[::-1], found.reason)


def bounds_available(mesh: Mesh) -> bool:
    """Whether `bounds` works on this mesh: a line, a circle, or a box with walls on all sides."""
    return mesh.product_edges is not None and (mesh.dimension == 1 or not mesh.periodic)


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
