"""Closed form: the Schroedinger bridge between two Gaussians."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from fvflow.exact.base import FOKKER_PLANCK, ClosedForm, Reference, refusal
from fvflow.exact.facts import Facts
from fvflow.exact.gaussian import check_linear, linear_drift, steady_moments
from fvflow.fields import Sampling, gaussian_density
from fvflow.mesh import Array, Mesh


@dataclass(frozen=True)
class GaussianBridge(ClosedForm):
    """The bridge of dX = (A X + b) dt + (2 eps)^(1/2) dW between N(m, S) and N(m', S').

    The ends of a path are Gaussian together; on the way there it is a path of the equation with given ends. In the
    coordinates y -> Q^(-1/2) y of the noise Q of the whole time the covariance of the ends is S0^(1/2) (S0^(1/2) S1
    S0^(1/2) + 1/4)^(1/2) S0^(-1/2) - 1/2. Bunne, Hsieh, Cuturi, Krause, The Schroedinger bridge between Gaussian
    measures has a closed form, AISTATS 2023; Mallasto, Gerolin, Minh, Entropy-regularized 2-Wasserstein distance
    between Gaussian measures, Inf. Geom. 5 (2022).
    """

    kind: Literal["bridge"] = "bridge"
    derived_for = (FOKKER_PLANCK | {"a target"}) - {"a drift that depends on t"}

    def requires(self, facts: Facts) -> Iterator[str]:
        """A bridge from a Gaussian to a Gaussian in a linear drift that does not depend on t."""
        if facts.target is None or not facts.epsilon > 0:
            yield "exact bridge needs flow bridge from a gaussian to a gaussian"
            return
        if facts.target.gaussian is None or facts.initial.gaussian is None:
            yield "exact bridge needs flow bridge from a gaussian to a gaussian"
        if any(refusal(check_linear, facts.drift, _box(facts.mesh), facts.start)):
            yield "exact bridge needs a drift that is linear in space (a quadratic potential); this one is not"

    def reference(self, facts: Facts) -> GaussianBridgeReference:
        """The bridge on the mesh of the case."""
        assert facts.target is not None
        assert facts.target.gaussian is not None
        assert facts.initial.gaussian is not None
        matrix, shift = linear_drift(facts.drift, _box(facts.mesh), facts.start)
        ends = *facts.initial.gaussian, *facts.target.gaussian
        span = facts.start, facts.end
        return GaussianBridgeReference(
            facts.mesh, *ends, matrix, shift, facts.epsilon, span, facts.mass, facts.initial.sampling
        )


@dataclass(frozen=True, eq=False)
class GaussianBridgeReference(Reference):
    """The bridge from N(mean, covariance) to N(target_mean, target_covariance)."""

    mesh: Mesh
    mean: Array  # (dim,)
    covariance: Array  # (dim, dim)
    target_mean: Array  # (dim,)
    target_covariance: Array  # (dim, dim)
    matrix: Array  # A (dim, dim)
    shift: Array  # b (dim,)
    epsilon: float
    span: tuple[float, float]  # times of the ends
    mass: float
    sampling: Sampling

    @property
    def total(self) -> float:
        """Its mass in the whole space."""
        return self.mass

    @property
    def relative_entropy(self) -> float:
        """KL(bridge | equation from N(mean, covariance)): the mean KL of y given x with respect to N(F x + o, Q)."""
        flow, offset, noise = self._reference(self.span[1] - self.span[0])
        regression = np.linalg.solve(self.covariance, self._coupling).T  # of y on x
        rest = self.target_covariance - regression @ self._coupling
        gain, gap = regression - flow, self.target_mean - flow @ self.mean - offset
        inverse = np.linalg.inv(noise)
        square = float(gap @ inverse @ gap + np.trace(inverse @ (gain @ self.covariance @ gain.T + rest)))
        log_ratio = np.linalg.slogdet(noise)[1] - np.linalg.slogdet(rest)[1]
        return float(0.5 * (log_ratio + square - len(self.mean)))

    def figure_errors(self, figures: Mapping[str, float]) -> dict[str, float]:
        """That of KL."""
        exact = self.relative_entropy
        return {"kl_error": abs(figures["kl"] - exact) / (exact if exact > 0 else 1.0)}

    @property
    def mean_square_distance(self) -> float:
        """E|y - x|^2 of the ends of a path."""
        gap = self.target_mean - self.mean
        spread = self.covariance + self.target_covariance - 2.0 * self._coupling
        return float(gap @ gap + np.trace(spread))

    def moments(self, time: float) -> tuple[Array, Array]:
        """Mean (dim,) and covariance (dim, dim) at a time."""
        before, after = time - self.span[0], self.span[1] - time
        flow, offset, noise = self._reference(before)
        onward, _, _ = self._reference(after)
        whole, total, spread = self._reference(before + after)
        pull = noise @ np.linalg.solve(spread, onward).T  # Q_t F' Q^-1
        own = flow - pull @ whole
        mean = flow @ self.mean + offset + pull @ (self.target_mean - whole @ self.mean - total)
        mixed = own @ self._coupling @ pull.T
        ends = own @ self.covariance @ own.T + mixed + mixed.T + pull @ self.target_covariance @ pull.T
        covariance = ends + noise - pull @ onward @ noise
        return mean, 0.5 * (covariance + covariance.T)

    def average(self, time: float) -> Array:
        """Density of each cell (cell,)."""
        return self.mass * gaussian_density(self.mesh, *self.moments(time), self.sampling)

    def _reference(self, time: float) -> tuple[Array, Array, Array]:
        """F, o and Q of X_time given X_0 = x, which is N(F x + o, Q)."""
        dimension = len(self.mean)
        zero, none = np.zeros(dimension), np.zeros((dimension, dimension))
        offset, noise = steady_moments(zero, none, self.matrix, self.shift, self.epsilon, time)
        columns = [steady_moments(axis, none, self.matrix, zero, 0.0, time)[0] for axis in np.eye(dimension)]
        return np.stack(columns, axis=1), offset, noise

    @cached_property
    def _coupling(self) -> Array:
        """Cov(x, y) (dim, dim) of the ends x, y of a path."""
        flow, _, noise = self._reference(self.span[1] - self.span[0])
        root, identity = _root(noise), np.eye(len(noise))
        inverse = np.linalg.inv(root)
        first = _root(inverse @ flow @ self.covariance @ flow.T @ inverse)
        last = inverse @ self.target_covariance @ inverse
        mixed = first @ _root(first @ last @ first + 0.25 * identity) @ np.linalg.inv(first) - 0.5 * identity
        return np.asarray(np.linalg.solve(flow, root @ mixed @ root))


def _root(matrix: Array) -> Array:
    """The symmetric square root."""
    values, vectors = np.linalg.eigh(matrix)
    return np.asarray((vectors * np.sqrt(values)) @ vectors.T)


def _box(mesh: Mesh) -> tuple[Array, Array]:
    return mesh.points.min(axis=0), mesh.points.max(axis=0)
