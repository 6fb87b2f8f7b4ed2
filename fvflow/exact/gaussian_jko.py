"""Closed form: the JKO recursion of Gaussians."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from fvflow.exact.base import FOKKER_PLANCK, ClosedForm, Reference, refusal
from fvflow.exact.facts import RADIUS, Facts
from fvflow.exact.gaussian import check_linear, check_radial, linear_drift
from fvflow.fields import Sampling, gaussian_density
from fvflow.mesh import Array, Mesh


@dataclass(frozen=True)
class GaussianJKO(ClosedForm):
    """The exact JKO steps, not their limit tau -> 0: Gaussians in V = sum_i k_i (x_i - c_i)^2/2 with entropy eps.

    Along each axis a step of length tau maps N(m, s^2) to N(m', s'^2),

        m' = (m + k tau c)/(1 + k tau),    s' = (s + sqrt(s^2 + 4 eps tau (1 + k tau)))/(2 (1 + k tau)),

    the minimiser of E(rho) + W2^2(rho, N(m, s^2))/(2 tau), which is Gaussian; notes, equations (1) and (140)-(146).
    """

    kind: Literal["gaussian-jko"] = "gaussian-jko"
    of_steps = True
    derived_for = (FOKKER_PLANCK - {"a drift that depends on t"}) | {RADIUS}

    def requires(self, facts: Facts) -> Iterator[str]:
        """A Gaussian with a diagonal covariance, a potential that is a sum over the axes, steps of one length."""
        gaussian = facts.initial.gaussian
        if gaussian is None or np.any(gaussian[1] - np.diag(np.diag(gaussian[1]))):
            yield "exact gaussian-jko needs a gaussian initial density with a diagonal covariance"
        box = facts.mesh.points.min(axis=0), facts.mesh.points.max(axis=0)
        yield from refusal(check_linear, facts.drift, box, facts.start)
        if facts.mesh.revolution is not None:
            yield from refusal(check_radial, facts.drift, box, facts.start)
        matrix, _ = linear_drift(facts.drift, box, facts.start)
        rate = -np.diag(matrix)
        if np.abs(matrix + np.diag(rate)).max() > 1e-9 * max(np.abs(rate).max(), 1.0) or not facts.linear:
            yield "exact gaussian-jko needs an entropy and a potential that is a sum over the axes"
        if facts.step is None or (1.0 + rate * facts.step).min() <= 0:
            yield "exact gaussian-jko needs steps of one length, short enough for 1 + k tau > 0; change times"

    def reference(self, facts: Facts) -> GaussianJKOReference:
        """The recursion on the mesh of the case."""
        assert facts.initial.gaussian is not None
        assert facts.step is not None
        (mean, covariance), mesh = facts.initial.gaussian, facts.mesh
        matrix, shift = linear_drift(facts.drift, (mesh.points.min(axis=0), mesh.points.max(axis=0)), facts.start)
        return GaussianJKOReference(
            mesh,
            mean,
            np.sqrt(np.diag(covariance)),
            -np.diag(matrix),
            shift,
            facts.epsilon,
            facts.step,
            facts.mass,
            facts.initial.sampling,
            facts.start,
        )


@dataclass(frozen=True, eq=False)
class GaussianJKOReference(Reference):
    """The recursion that starts from N(mean, diag(deviation^2))."""

    mesh: Mesh
    mean: Array  # (dim,)
    deviation: Array  # (dim,)
    rate: Array  # (dim,) k
    shift: Array  # (dim,) k c
    epsilon: float
    step: float
    mass: float
    sampling: Sampling
    start: float = 0.0

    @property
    def total(self) -> float:
        """Its mass in the whole space."""
        return self.mass

    def moments(self, time: float) -> tuple[Array, Array]:
        """Mean m (dim,) and standard deviation s (dim,) after round((time - start)/step) steps."""
        mean, deviation, tau = self.mean, self.deviation, self.step
        growth = 1.0 + self.rate * tau
        for _ in range(round((time - self.start) / tau)):
            mean = (mean + tau * self.shift) / growth
            deviation = (deviation + np.sqrt(deviation**2 + 4 * self.epsilon * tau * growth)) / (2 * growth)
        return mean, deviation

    def average(self, time: float) -> Array:
        """Density of each cell (cell,)."""
        mean, deviation = self.moments(time)
        return self.mass * gaussian_density(self.mesh, mean, np.diag(deviation**2), self.sampling)
