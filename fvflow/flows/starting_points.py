"""Where the points of a flow map begin: kinds of sets of points."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge, Le, MaxLen, MinLen

from fvflow.errors import CaseError
from fvflow.fields.point_file import read_points
from fvflow.lagrangian.sampling import samples
from fvflow.mesh import Array, FilePath, Mesh, cells_of

MOST_POINTS = 10**8
_Counts = Annotated[tuple[Annotated[int, Ge(1)], ...], MinLen(1), MaxLen(3)]
_Corner = Annotated[tuple[float, ...], MinLen(1), MaxLen(3)]


@dataclass(frozen=True, eq=False)
class PlacedPoints:
    """Points on a mesh: their number, and their positions (point, dim), which may depend on a density (cell,)."""

    count: int
    positions: Callable[[Array], Array]
    log_density: Array | None = None
    """Log of the density at the points (point,), where it is given; else it is that of the initial density."""
    log_det: Array | None = None
    """What log det begins with (point,), where it is given; else 0."""


class StartingPoints:
    """A set of points as a case specifies it.

    A new one is a frozen dataclass derived from this class with `kind: Literal[...]`, joined to the union `Points`.
    """

    kind: str

    @property
    def files(self) -> tuple[str, ...]:
        """Paths of the files that it reads."""
        return ()

    def on(self, mesh: Mesh) -> PlacedPoints:
        """The points on a mesh; raises CaseError if they do not fit it."""
        raise NotImplementedError


@dataclass(frozen=True)
class GridPoints(StartingPoints):
    """The midpoints of a grid of equal boxes, as far as they are inside the mesh."""

    counts: _Counts
    """Number of points along each axis."""
    lower: _Corner | None = None
    """Lower corner of the grid; that of the mesh by default."""
    upper: _Corner | None = None
    """Upper corner of the grid; that of the mesh by default."""
    kind: Literal["grid"] = "grid"

    def on(self, mesh: Mesh) -> PlacedPoints:
        """The points with x fastest."""
        least, most = mesh.points.min(axis=0), mesh.points.max(axis=0)
        lower, upper = (
            end if given is None else np.array(given) for given, end in ((self.lower, least), (self.upper, most))
        )
        if not len(self.counts) == len(lower) == len(upper) == mesh.dimension:
            raise CaseError(
                f"a grid of {len(self.counts)} axes on a mesh of {mesh.dimension} dimensions; give one number per axis"
            )
        if not (lower < upper).all():
            raise CaseError(f"the grid from {lower.tolist()} to {upper.tolist()} is empty; give lower < upper")
        if (count := math.prod(self.counts)) > MOST_POINTS:
            raise CaseError(f"a grid of {count:.4g} points; give at most {MOST_POINTS:.0e}")
        axes = [a + (b - a) * (np.arange(n) + 0.5) / n for a, b, n in zip(lower, upper, self.counts, strict=True)]
        lattice = np.stack([part.ravel() for part in np.meshgrid(*axes[::-1], indexing="ij")][::-1], axis=1)
        points = lattice[cells_of(mesh, lattice) >= 0]
        if not len(points):
            raise CaseError("none of the points of the grid is inside the mesh; place it elsewhere")
        return PlacedPoints(len(points), lambda density: points)


@dataclass(frozen=True)
class FilePoints(StartingPoints):
    """The points in a .csv (columns x[, y[, z]]), .npy, .npz or .nc file, with its log_density and log_det."""

    file: FilePath
    """Path of the file, relative to the case file."""
    kind: Literal["file"] = "file"

    @property
    def files(self) -> tuple[str, ...]:
        """Path of the file."""
        return (self.file,)

    def on(self, mesh: Mesh) -> PlacedPoints:
        """The points in their order; raises CaseError if one is outside the mesh."""
        given = read_points(self.file, mesh.dimension)
        points = given.points
        if outside := int((cells_of(mesh, points) < 0).sum()):
            raise CaseError(f"{self.file}: {outside} of {len(points)} points are outside the mesh; leave them out")
        return PlacedPoints(len(points), lambda density: points, given.log_density, given.log_det)


@dataclass(frozen=True)
class DrawnPoints(StartingPoints):
    """Points drawn from the initial density, which is constant in each cell."""

    count: Annotated[int, Ge(1), Le(MOST_POINTS)]
    """Number of points."""
    seed: Annotated[int, Ge(0)] = 0
    """Seed of the random numbers."""
    stratified: bool = True
    """Whether they are spread evenly, one in each share 1/count of the mass, or independent of one another."""
    kind: Literal["initial"] = "initial"

    def on(self, mesh: Mesh) -> PlacedPoints:
        """Points of the density that is constant in each cell."""
        return PlacedPoints(
            self.count, lambda density: samples(mesh, density, self.count, self.seed, stratified=self.stratified)
        )


Points = GridPoints | FilePoints | DrawnPoints
"""The sets of points that a case can name."""
