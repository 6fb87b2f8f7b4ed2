"""Initial densities: each gives cell averages up to a factor, which the case sets by its mass."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any, Literal

import numpy as np
from annotated_types import Gt, MaxLen, MinLen

from fvflow.errors import CaseError, NumericsError
from fvflow.fields.base import DensityKind, Sampling
from fvflow.fields.expression import Expression, Parameters, SteadyFormula, restrict_regions
from fvflow.mesh import EVERY, Array, FilePath, Mesh, Subset, stored_field, transferred

Point = Annotated[tuple[float, ...], MinLen(1), MaxLen(3)]
Matrix = Annotated[tuple[Point, ...], MinLen(1), MaxLen(3)]
Mass = Annotated[float, Gt(0)]
_erfc = np.frompyfunc(math.erfc, 1, 1)


@dataclass(frozen=True)
class Gaussian(DensityKind):
    """N(mean, covariance): rho(x) = exp(-(x - m).S^-1 (x - m)/2)/sqrt(det(2 pi S)).

    Cell averages by the error function where the axes are independent, else by four Gauss points an axis.
    """

    mean: Point
    covariance: Matrix
    sampling: Sampling = "average"
    mass: Mass = 1.0
    kind: Literal["gaussian"] = "gaussian"

    def __post_init__(self) -> None:
        check_gaussian(np.asarray(self.mean), self.covariance)

    @property
    def normalised(self) -> bool:
        """True for cell averages."""
        return self.sampling == "average"

    @property
    def gaussian(self) -> tuple[Array, Array]:
        """Mean (dim,) and covariance (dim, dim)."""
        return np.array(self.mean), np.array(self.covariance)

    def sample(self, mesh: Mesh, parameters: Parameters) -> Array:
        """The density of each cell (cell,)."""
        return gaussian_density(mesh, np.array(self.mean), np.array(self.covariance), self.sampling)


@dataclass(frozen=True)
class Component:
    """One Gaussian of a mixture, with its share of the mass."""

    mean: Point
    covariance: Matrix
    weight: Annotated[float, Gt(0)] = 1.0

    def __post_init__(self) -> None:
        check_gaussian(np.asarray(self.mean), self.covariance)


@dataclass(frozen=True)
class Mixture(DensityKind):
    """sum_i w_i N(m_i, S_i)/sum_i w_i."""

    components: Annotated[tuple[Component, ...], MinLen(1)]
    sampling: Sampling = "average"
    mass: Mass = 1.0
    kind: Literal["mixture"] = "mixture"

    @property
    def normalised(self) -> bool:
        """True for cell averages."""
        return self.sampling == "average"

    def sample(self, mesh: Mesh, parameters: Parameters) -> Array:
        """The density of each cell (cell,)."""
        total = sum(part.weight for part in self.components)
        density = np.zeros(mesh.cells)
        for part in self.components:
            mean, covariance = np.array(part.mean), np.array(part.covariance)
            density += part.weight / total * gaussian_density(mesh, mean, covariance, self.sampling)
        return density


@dataclass(frozen=True)
class ExpressionDensity(DensityKind):
    """A density written as an expression of x, y, z; cell averages by three Gauss points an axis."""

    density: SteadyFormula
    sampling: Sampling = "average"
    mass: Mass = 1.0
    kind: Literal["expression"] = "expression"

    def sample(self, mesh: Mesh, parameters: Parameters) -> Array:
        """The density of each cell (cell,)."""
        expression = Expression(self.density)

        def value(at: Array, part: Subset) -> Array:
            return expression.at(at, parameters, 0.0, restrict_regions(mesh.regions, part))

        return cell_values(mesh, value, self.sampling, 3)


@dataclass(frozen=True)
class Uniform(DensityKind):
    """The same density in every cell, or in the cells whose centre lies between lower and upper."""

    lower: Point | None = None
    upper: Point | None = None
    mass: Mass = 1.0
    kind: Literal["uniform"] = "uniform"

    def sample(self, mesh: Mesh, parameters: Parameters) -> Array:
        """The density of each cell (cell,)."""
        inside = np.ones(mesh.cells, dtype=bool)
        if self.lower is not None:
            inside &= (mesh.centre >= _checked_point(self.lower, mesh, "lower")).all(axis=1)
        if self.upper is not None:
            inside &= (mesh.centre <= _checked_point(self.upper, mesh, "upper")).all(axis=1)
        return inside.astype(float)


@dataclass(frozen=True)
class Spike(DensityKind):
    """All the mass in the cell whose centre is nearest to a point: the discrete Dirac measure."""

    at: Point
    mass: Mass = 1.0
    kind: Literal["spike"] = "spike"

    def sample(self, mesh: Mesh, parameters: Parameters) -> Array:
        """The density of each cell (cell,)."""
        at = _checked_point(self.at, mesh, "at")
        if (at < mesh.points.min(axis=0)).any() or (at > mesh.points.max(axis=0)).any():
            raise CaseError(f"at {list(self.at)} is outside the mesh; give a point inside")
        nearest = int(np.argmin(((mesh.centre - at) ** 2).sum(axis=1)))
        density = np.zeros(mesh.cells)
        density[nearest] = 1.0 / mesh.volume[nearest]
        return density


@dataclass(frozen=True)
class FromFile(DensityKind):
    """The density of a result, at a saved time (the last unless given), moved to the mesh of the case.

    From another mesh the mass of each cell goes to the cells that it overlaps, in proportion to the volumes of the
    intersections: none is lost, and none becomes negative. Its mass stays unless one is given.
    """

    file: FilePath
    time: float | None = None
    field: str = "rho"
    mass: Mass | None = None
    kind: Literal["file"] = "file"

    @property
    def files(self) -> tuple[str, ...]:
        """The result that it reads."""
        return (self.file,)

    def sample(self, mesh: Mesh, parameters: Parameters) -> Array:
        """The density of each cell (cell,)."""
        return _transferred_density(mesh, self.file, self.field, self.time)


@lru_cache(maxsize=1)  # asked for twice: for its mass, and as a density
def _transferred_density(mesh: Mesh, file: str, name: str, time: float | None) -> Array:
    source, density = stored_field(file, name, time)
    return transferred(source, mesh, density)


Density = Gaussian | Mixture | ExpressionDensity | Uniform | Spike | FromFile


def _checked_point(point: Point, mesh: Mesh, name: str) -> Array:
    if len(point) != mesh.dimension:
        raise CaseError(f"{name} has {len(point)} entries on a mesh of dimension {mesh.dimension}; give one per axis")
    return np.array(point)


def cell_values(mesh: Mesh, function: Callable[[Array, Subset], Array], sampling: Sampling, count: int) -> Array:
    """The function's cell averages by `count` Gauss points an axis, or its values at the cell centres."""
    if sampling == "centre":
        return np.array(function(mesh.centre, EVERY))
    return mesh.integral(function, count) / mesh.volume


def check_gaussian(mean: Array, covariance: Any) -> None:
    """Refuse a covariance that is not a symmetric positive definite matrix of the mean's size: CaseError."""
    rows = [len(row) for row in covariance]
    if rows != [len(mean)] * len(mean):
        raise CaseError(f"a covariance with rows of {rows} entries does not fit a mean of {len(mean)}; make it square")
    matrix = np.array(covariance)
    if not np.allclose(matrix, matrix.T, rtol=1e-12, atol=0.0):
        raise CaseError(f"the covariance {matrix.tolist()} is not symmetric")
    if not np.linalg.eigvalsh(matrix).min() > 0:
        raise CaseError(f"the covariance {matrix.tolist()} is not positive definite; its eigenvalues have to be > 0")


def gaussian_density(mesh: Mesh, mean: Array, covariance: Array, sampling: Sampling) -> Array:
    """Cell averages, or values at the centres, of N(mean, covariance)."""
    if len(mean) != mesh.dimension:
        raise CaseError(f"a mean of {len(mean)} entries on a mesh of dimension {mesh.dimension}; give one per axis")
    if sampling == "average" and mesh.edges is not None and not np.any(covariance - np.diag(np.diag(covariance))):
        factors = map(_interval_mass, mesh.edges, mean, np.sqrt(np.diag(covariance)))
        return tensor_product(list(factors)) / mesh.volume
    root = _root(covariance)
    whitening = np.linalg.inv(root).T
    log_factor = -np.log(np.diag(root)).sum() - 0.5 * len(mean) * math.log(2 * math.pi)

    def density(position: Array, part: Subset) -> Array:
        with np.errstate(over="ignore"):
            return np.asarray(np.exp(log_factor - 0.5 * (((position - mean) @ whitening) ** 2).sum(axis=1)))

    return cell_values(mesh, density, sampling, 4)


def _root(covariance: Array) -> Array:
    """The Cholesky factor; raises NumericsError where the covariance is no longer positive definite."""
    try:
        return np.asarray(np.linalg.cholesky(covariance), np.float64)
    except np.linalg.LinAlgError:
        raise NumericsError(f"the covariance {covariance.tolist()} is not positive definite in doubles") from None


def _interval_mass(edges: Array, mean: float, deviation: float) -> Array:
    """Mass of N(mean, deviation^2) between the edges; in the upper tail from the other side, to keep its digits.

    By the erfc of the C library, some 60 ns a value: to import scipy.special takes as long as a million of them.
    """
    z = (edges - mean) / deviation * math.sqrt(0.5)
    below, above = (np.asarray(_erfc(side), np.float64) for side in (-z, z))  # twice the mass on either side
    return np.asarray(0.5 * np.where(z[:-1] > 0, above[:-1] - above[1:], below[1:] - below[:-1]))


def tensor_product(factors: list[Array]) -> Array:
    """Products of one factor per axis over a grid, x fastest: (cell,)."""
    product = factors[0]
    for factor in factors[1:]:
        product = np.multiply.outer(factor, product).ravel()
    return product
