"""Closed forms: geodesics of W2."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from math import sqrt
from typing import Literal

import numpy as np

from fvflow.errors import CaseError
from fvflow.exact.base import ClosedForm, Reference
from fvflow.exact.facts import Facts
from fvflow.fields import Point, Sampling, gaussian_density
from fvflow.mesh import Array, Grid, Mesh


@dataclass(frozen=True)
class GaussianGeodesic(ClosedForm):
    """N((1-t) m + t m', F S F), F = (1-t) I + t A, from N(m, S) to N(m', S').

    A is the symmetric matrix with A S A = S'. phi = (x - m_t).(A - I) F^-1 (x - m_t)/2 + (m' - m).(x - m_t) +
    |m' - m|^2 t/2 solves the Hamilton-Jacobi equation. Takatsu, Wasserstein geometry of Gaussian measures, Osaka J.
    Math. 48 (2011); notes, equations (71)-(72).
    """

    kind: Literal["gaussian-geodesic"] = "gaussian-geodesic"
    derived_for = frozenset({"a target"})

    def requires(self, facts: Facts) -> Iterator[str]:
        """Transport from a Gaussian to a Gaussian."""
        if facts.target is None or facts.target.gaussian is None or facts.initial.gaussian is None:
            yield "exact gaussian-geodesic needs flow transport from a gaussian to a gaussian"

    def reference(self, facts: Facts) -> GaussianGeodesicReference:
        """The geodesic on the mesh of the case."""
        assert facts.target is not None
        assert facts.target.gaussian is not None
        assert facts.initial.gaussian is not None
        ends = *facts.initial.gaussian, *facts.target.gaussian
        return GaussianGeodesicReference(facts.mesh, *ends, facts.mass, facts.initial.sampling)


@dataclass(frozen=True, eq=False)
class GaussianGeodesicReference(Reference):
    """The geodesic from N(mean, covariance) to N(target_mean, target_covariance)."""

    mesh: Mesh
    mean: Array  # (dim,)
    covariance: Array  # (dim, dim)
    target_mean: Array  # (dim,)
    target_covariance: Array  # (dim, dim)
    mass: float
    sampling: Sampling

    @property
    def total(self) -> float:
        """Its mass in the whole space."""
        return self.mass

    @cached_property
    def distance(self) -> float:
        """W2 between its end points."""
        from fvflow.wasserstein import bures

        return sqrt(self.mass) * bures(self.mean, self.covariance, self.target_mean, self.target_covariance)

    def average(self, time: float) -> Array:
        """Density of each cell (cell,)."""
        mean, jacobian = self._map(time)
        return self.mass * gaussian_density(self.mesh, mean, jacobian @ self.covariance @ jacobian.T, self.sampling)

    def potential(self, time: float) -> Array:
        """phi at the cell centres (cell,), up to a constant."""
        from fvflow.wasserstein import transport_matrix

        mean, jacobian = self._map(time)
        shift, offset = self.target_mean - self.mean, self.mesh.centre - mean
        rate = transport_matrix(self.covariance, self.target_covariance) - np.eye(len(mean))
        hessian = rate @ np.linalg.inv(jacobian)
        quadratic = 0.5 * ((offset @ hessian) * offset).sum(axis=1)
        return np.asarray(quadratic + offset @ shift + 0.5 * time * float(shift @ shift))

    def _map(self, time: float) -> tuple[Array, Array]:
        """m_t (dim,) and the Jacobian F (dim, dim) of the map from time 0."""
        from fvflow.wasserstein import transport_matrix

        matrix = transport_matrix(self.covariance, self.target_covariance)
        mean = (1.0 - time) * self.mean + time * self.target_mean
        return mean, (1.0 - time) * np.eye(len(mean)) + time * matrix


@dataclass(frozen=True)
class AffineGeodesic(ClosedForm):
    """The geodesic ((1 - t) x + t T(x))#rho_0 of T(x) = scale x + shift: translation or dilation, axis by axis.

    The initial density is arbitrary. For scale > 0, T is the gradient of a convex function, so that W2^2 is
    int |T(x) - x|^2 drho_0 (Brenier, 1991). The target is this closed form at t = 1: target: {kind: exact}.
    """

    shift: Point
    """Translation along each axis."""
    scale: Point | None = None
    """Dilation factor > 0 along each axis; 1 by default."""
    kind: Literal["affine"] = "affine"
    derived_for = frozenset({"a target"})

    def requires(self, facts: Facts) -> Iterator[str]:
        """Transport of any density on a grid, to this closed form as target, by an increasing map along each axis."""
        dimension = facts.mesh.dimension
        scale = self._scales(dimension)
        if not len(self.shift) == len(scale) == dimension:
            yield f"exact affine needs a shift and a scale of {dimension} entries, one per axis"
        if facts.target is None:
            yield "exact affine needs flow transport with target: {kind: exact}"
        if scale.min() <= 0 or facts.mesh.edges is None:
            yield "exact affine needs scales > 0 and a mesh of kind box, graded or fipy"
        elif len(self.shift) == len(scale) == dimension and not self._resolved(facts.mesh.edges):
            yield "exact affine moves the density so far that cells vanish in round-off; use a smaller shift or scale"
        if not facts.initial.own_density:
            yield f"exact affine needs an initial density that is given independently of it, got {facts.initial.kind}"
        if not facts.initial.any_mesh:
            yield f"exact affine needs an initial density that is defined on every mesh, got {facts.initial.kind}"

    def reference(self, facts: Facts) -> AffineGeodesicReference:
        """The geodesic on the mesh of the case."""
        return AffineGeodesicReference(facts, np.array(self.shift), self._scales(facts.mesh.dimension))

    def _resolved(self, edges: tuple[Array, ...]) -> bool:
        """Whether the cells still have a width when they are moved back from the end."""
        moved = [(edge - b) / a for edge, a, b in zip(edges, self._scales(len(edges)), self.shift, strict=True)]
        return all(bool((np.diff(edge) > 0).all()) for edge in moved)

    def _scales(self, dimension: int) -> Array:
        return np.ones(dimension) if self.scale is None else np.array(self.scale)


@dataclass(frozen=True, eq=False)
class AffineGeodesicReference(Reference):
    """The image of the initial density under (1 - t) x + t T(x)."""

    facts: Facts
    shift: Array  # (dim,)
    scale: Array  # (dim,)

    @property
    def total(self) -> float:
        """Its mass in the whole space."""
        return self.facts.mass

    @cached_property
    def distance(self) -> float:
        """W2 between its end points, exact for densities that are constant in each cell."""
        mesh = self.facts.mesh
        masses = mesh.volume * self.average(0.0)
        offset = (self.scale - 1.0) * mesh.centre + self.shift
        widths = mesh.points[mesh.cell_points].max(axis=1) - mesh.points[mesh.cell_points].min(axis=1)
        square = (offset**2 + ((self.scale - 1.0) * widths) ** 2 / 12.0).sum(axis=1)
        return sqrt(float(masses @ square))

    def average(self, time: float) -> Array:
        """Density of each cell (cell,): the mass of its preimage over its own volume."""
        mesh, parameters = self.facts.mesh, self.facts.parameters
        assert mesh.edges is not None
        scale, shift = 1.0 + time * (self.scale - 1.0), time * self.shift
        preimage = Grid(tuple((edge - b) / a for edge, a, b in zip(mesh.edges, scale, shift, strict=True)))
        total = float(mesh.volume @ self.facts.initial.sample(mesh, parameters))
        density: Array = self.facts.initial.sample(preimage, parameters) * (self.facts.mass / total / scale.prod())
        return density


@dataclass(frozen=True)
class Quantiles(ClosedForm):
    """The geodesic on a line, ((1-t) X + t Y)#du with the quantile functions X, Y of the ends; exact."""

    kind: Literal["quantiles"] = "quantiles"
    derived_for = frozenset({"a target"})

    def requires(self, facts: Facts) -> Iterator[str]:
        """Transport between two densities on a line."""
        mesh = facts.mesh
        if facts.target is None or mesh.edges is None or mesh.dimension != 1:
            yield "exact quantiles needs flow transport in one space dimension"
        elif not (facts.initial.own_density and facts.target.own_density):
            yield "exact quantiles needs flow transport between two densities"

    def reference(self, facts: Facts) -> QuantilesReference:
        """The geodesic on the mesh of the case."""
        mesh = facts.mesh
        assert facts.target is not None
        assert mesh.edges is not None
        samples = [density.sample(mesh, facts.parameters) for density in (facts.initial, facts.target)]
        totals = [float(mesh.volume @ density) for density in samples]
        if not min(totals) > 0:
            raise CaseError("exact quantiles needs mass on the mesh, got a density that is 0 in every cell")
        initial, target = (facts.mass / total * density for total, density in zip(totals, samples, strict=True))
        return QuantilesReference(mesh.edges[0], initial, target)


@dataclass(frozen=True, eq=False)
class QuantilesReference(Reference):
    """The geodesic between two densities on a line."""

    edges: Array  # (cell + 1,)
    initial: Array  # (cell,)
    target: Array  # (cell,)

    @cached_property
    def distance(self) -> float:
        """W2 between its end points."""
        from fvflow.wasserstein import distance_1d

        return distance_1d(self.edges, self.initial, self.target)

    def average(self, time: float) -> Array:
        """Density of each cell (cell,)."""
        from fvflow.wasserstein import interpolated_1d

        return interpolated_1d(self.edges, self.initial, self.target, time)
