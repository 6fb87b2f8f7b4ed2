"""Initial and target densities: each gives cell values up to a factor, which its mass determines."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any, Literal

import numpy as np
from annotated_types import Gt, MinLen
from numpy.typing import ArrayLike

from fvflow.errors import CaseError
from fvflow.fields.base import Coverage, DensityKind, Sampling, ValuedDensity
from fvflow.fields.coverage import gaussian_coverage
from fvflow.fields.density_types import Mass, Matrix, OwnMass, Point, Truncate, checked_point
from fvflow.fields.expression import Expression, Parameters, SteadyFormula, restrict_regions
from fvflow.fields.samples import Samples
from fvflow.fields.sampling import cell_values, check_gaussian, gaussian_density
from fvflow.fields.spike import Spike
from fvflow.fields.table import TableDensity
from fvflow.mesh import Array, FilePath, Mesh, Subset, box_outside, box_share, stored_field, stored_time, transfer
from fvflow.mesh.arrays import freeze

_MOVED_IN = "moved in, or lost where the whole cell is outside"


@dataclass(frozen=True)
class Gaussian(DensityKind):
    """N(mean, covariance): rho(x) = exp(-(x - m).S^-1 (x - m)/2)/sqrt(det(2 pi S)).

    Cell averages by the error function if the covariance is diagonal and the mesh a grid, else by four Gauss points per
    axis. Raises CaseError if the covariance is not symmetric positive definite or of another size than the mean.
    """

    mean: Point
    """Mean m, one entry per axis."""
    covariance: Matrix
    """Covariance matrix S, symmetric positive definite, by rows."""
    sampling: Sampling = "average"
    """Cell averages, or values at the cell centres."""
    truncate: Truncate = 1e-3
    """Largest share of the mass that may lie outside the mesh; it is cut off, and the rest scaled to `mass`."""
    mass: Mass = 1.0
    """Total mass to which the density is scaled."""
    kind: Literal["gaussian"] = "gaussian"
    cellwise = True

    def __post_init__(self) -> None:
        check_gaussian(np.asarray(self.mean), self.covariance)

    @property
    def gaussian(self) -> tuple[Array, Array]:
        """Mean (dim,) and covariance (dim, dim)."""
        return np.array(self.mean), np.array(self.covariance)

    def sample(self, mesh: Mesh, parameters: Parameters) -> Array:
        """Density of each cell (cell,)."""
        return gaussian_density(mesh, *self.gaussian, self.sampling)

    def coverage(self, facts: Any, reference: Any, integral: float) -> Coverage:
        """The mass outside the mesh, and the smallest standard deviation in cells."""
        return gaussian_coverage(facts.mesh, *self.gaussian)


@dataclass(frozen=True)
class Component:
    """One Gaussian of a mixture, with its weight."""

    mean: Point
    """Mean m_i, one entry per axis."""
    covariance: Matrix
    """Covariance matrix S_i, symmetric positive definite, by rows."""
    weight: Annotated[float, Gt(0)] = 1.0
    """Weight w_i; its mass is w_i over the sum of all weights."""

    def __post_init__(self) -> None:
        check_gaussian(np.asarray(self.mean), self.covariance)


@dataclass(frozen=True)
class Mixture(DensityKind):
    """sum_i w_i N(m_i, S_i)/sum_i w_i."""

    components: Annotated[tuple[Component, ...], MinLen(1)]
    """The Gaussians, each with a weight."""
    sampling: Sampling = "average"
    """Cell averages, or values at the cell centres."""
    truncate: Truncate = 1e-3
    """Largest share of the mass that may lie outside the mesh; it is cut off, and the rest scaled to `mass`."""
    mass: Mass = 1.0
    """Total mass to which the density is scaled."""
    kind: Literal["mixture"] = "mixture"
    cellwise = True

    @property
    def gaussian_parts(self) -> tuple[tuple[float, Array, Array], ...]:
        """Weight, mean (dim,) and covariance (dim, dim) of each component."""
        return tuple((one.weight, np.array(one.mean), np.array(one.covariance)) for one in self.components)

    def sample(self, mesh: Mesh, parameters: Parameters) -> Array:
        """Density of each cell (cell,)."""
        total = sum(component.weight for component in self.components)
        density = np.zeros(mesh.cells)
        for component in self.components:
            mean, covariance = np.array(component.mean), np.array(component.covariance)
            density += component.weight / total * gaussian_density(mesh, mean, covariance, self.sampling)
        return density

    def coverage(self, facts: Any, reference: Any, integral: float) -> Coverage:
        """The mass outside the mesh, and the smallest standard deviation of a component in cells."""
        weights = np.array([component.weight for component in self.components])
        parts = [gaussian_coverage(facts.mesh, np.array(one.mean), np.array(one.covariance)) for one in self.components]
        off_mesh = float(weights @ [part.off_mesh for part in parts]) / float(weights.sum())
        return Coverage(off_mesh, min(part.deviation for part in parts))


@dataclass(frozen=True)
class ExpressionDensity(ValuedDensity):
    """A density given by an expression; cell averages by three Gauss points per axis."""

    density: SteadyFormula
    """The density, an expression in x, y, z that is nowhere negative."""
    sampling: Sampling = "average"
    """Cell averages, or values at the cell centres."""
    mass: OwnMass = None
    """Total mass to which the density is scaled; `integral` keeps its own. 1 by default, where that is all the same."""
    kind: Literal["expression"] = "expression"
    cellwise = True

    def sample(self, mesh: Mesh, parameters: Parameters) -> Array:
        """Density of each cell (cell,)."""
        expression = Expression(self.density)

        def value(at: Array, cells: Subset) -> Array:
            return expression.at(at, parameters, 0.0, restrict_regions(mesh.regions, cells))

        return cell_values(mesh, value, self.sampling, 3)


@dataclass(frozen=True)
class Uniform(DensityKind):
    """A constant density, everywhere or between `lower` and `upper`: in each cell by the part of it in that box."""

    lower: Point | None = None
    """Lower corner of the box that has mass; no lower bound by default."""
    upper: Point | None = None
    """Upper corner of the box that has mass; no upper bound by default."""
    truncate: Truncate = 1e-3
    """Largest share of the box that may lie outside the mesh."""
    mass: Mass = 1.0
    """Total mass to which the density is scaled."""
    kind: Literal["uniform"] = "uniform"

    @property
    def cellwise(self) -> bool:  # type: ignore[override]
        """Whether it has no box."""
        return self.lower is None and self.upper is None

    def sample(self, mesh: Mesh, parameters: Parameters) -> Array:
        """Density of each cell (cell,)."""
        if self.lower is None and self.upper is None:
            return np.ones(mesh.cells)
        return box_share(mesh, *self._corners(mesh))

    def coverage(self, facts: Any, reference: Any, integral: float) -> Coverage | None:
        """The part of the box outside the mesh; None if the box is not bounded on all sides."""
        if self.lower is None or self.upper is None:
            return None
        return Coverage(box_outside(facts.mesh, *self._corners(facts.mesh)))

    def _corners(self, mesh: Mesh) -> tuple[Array, Array]:
        """The corners of the box (dim,), those of the mesh where it has none; raises CaseError if they are swapped."""
        least, most = mesh.points.min(axis=0), mesh.points.max(axis=0)
        lower = least if self.lower is None else checked_point(self.lower, mesh, "lower")
        upper = most if self.upper is None else checked_point(self.upper, mesh, "upper")
        if not (lower < upper).all():
            raise CaseError(
                f"the box from {lower.tolist()} to {upper.tolist()} is empty (the mesh: {least.tolist()} to "
                f"{most.tolist()}); give lower < upper along every axis"
            )
        return lower, upper


@dataclass(frozen=True)
class FromFile(DensityKind):
    """A density read from a result file and transferred to the mesh of the case.

    If the meshes differ, the mass of each cell is distributed over the cells that it overlaps, in proportion to the
    volumes of the intersections: mass and sign are preserved.
    """

    file: FilePath
    """Path of the result file, relative to the case file."""
    time: float | None = None
    """Saved time to read; the last one by default."""
    field: str = "rho"
    """Name of the variable to read."""
    truncate: Truncate = 1e-3
    """Largest share of the mass that may lie outside the mesh."""
    mass: Mass | None = None
    """Total mass to which the density is scaled; that of the file by default, less what was lost outside the mesh."""
    kind: Literal["file"] = "file"

    @property
    def files(self) -> tuple[str, ...]:
        """Path of the result file."""
        return (self.file,)

    def sample(self, mesh: Mesh, parameters: Parameters) -> Array:
        """Density of each cell (cell,)."""
        return self._transferred(mesh)[0]

    def coverage(self, facts: Any, reference: Any, integral: float) -> Coverage:
        """The mass that was outside the mesh."""
        return Coverage(self._transferred(facts.mesh)[1], fate=_MOVED_IN)

    @property
    def averaged(self) -> bool:
        """No: what a scheme makes of averages is nearer to values at the centres."""
        return False

    def stored_time(self) -> float:
        """Time of the frame."""
        return stored_time(self.file, self.time)

    def _transferred(self, mesh: Mesh) -> tuple[Array, float]:
        status = os.stat(self.file) if os.path.exists(self.file) else None
        stamp = None if status is None else (status.st_mtime_ns, status.st_size)
        return _transferred_density(mesh, self.file, self.field, self.time, stamp)


@lru_cache(maxsize=1)  # needed for the mass, for the density and for the coverage
def _transferred_density(mesh: Mesh, file: str, name: str, time: float | None, stamp: object) -> tuple[Array, float]:
    source, density = stored_field(file, name, time)
    return transfer(source, mesh, density, truncate=1.0)  # what is outside is judged with that of other kinds


@dataclass(frozen=True, eq=False)
class ArrayDensity(DensityKind):
    """Cell values (cell,) given as an array, for a case made in Python; a case file uses `FromFile` instead.

    The values are copied. Raises CaseError if they are not one value per cell of the mesh.
    """

    values: ArrayLike
    """Density of each cell (cell,) of the mesh of the case."""
    mass: float | None = None
    """Total mass to which the density is scaled; that of the values by default."""
    kind: Literal["array"] = "array"
    any_mesh = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", freeze(np.array(self.values, float)))

    def sample(self, mesh: Mesh, parameters: Parameters) -> Array:
        """Density of each cell (cell,)."""
        values = np.asarray(self.values)
        if values.shape != (mesh.cells,):
            raise CaseError(
                f"a density array of shape {values.shape} on a mesh of {mesh.cells} cells; give one value per cell, "
                f"({mesh.cells},)"
            )
        return values


Density = Gaussian | Mixture | ExpressionDensity | Uniform | Spike | FromFile | TableDensity | Samples
