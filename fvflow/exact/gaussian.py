"""Gaussians carried by linear drifts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from fvflow.errors import CaseError
from fvflow.exact.setting import Setting
from fvflow.fields import Drift, Gaussian, gaussian_density
from fvflow.mesh import Array, Mesh

_LINEAR = 1e-9  # relative deviation from A x + b that is taken for round-off


@dataclass(frozen=True)
class GaussianFlow:
    """N(m(t), S(t)) for v = A x + b and constant eps: m' = A m + b, S' = A S + S A' + 2 eps I.

    A and b are read off the case's drift, gradient or not; a drift that is not linear is refused. They may depend on
    time. Steady ones are solved by matrix exponentials: Van Loan, Computing integrals involving the matrix
    exponential, IEEE Trans. Automat. Control 23 (1978), equation (1.4); notes, equations (21) and (40).
    """

    kind: Literal["gaussian"] = "gaussian"

    def on(self, setting: Setting) -> GaussianReference:
        """The solution on the case's mesh; raises CaseError if the case has no Gaussian one."""
        if not isinstance(setting.initial, Gaussian):
            raise CaseError(f"exact gaussian needs a gaussian initial density, got {setting.initial.kind}")
        reference = GaussianReference(
            setting.mesh,
            np.array(setting.initial.mean),
            np.array(setting.initial.covariance),
            setting.drift,
            setting.epsilon,
            setting.mass,
            setting.initial.sampling,
        )
        linear_drift(setting.drift, setting.mesh, 0.0)
        return reference


@dataclass(frozen=True, eq=False)
class GaussianReference:
    """The Gaussian solution from N(mean, covariance) at time 0."""

    mesh: Mesh
    mean: Array  # (dim,)
    covariance: Array  # (dim, dim)
    drift: Drift
    epsilon: float
    mass: float = 1.0
    sampling: Literal["average", "centre"] = "average"
    _reached: dict[float, Array] = field(default_factory=dict, repr=False)  # packed moments, to go on from

    def moments(self, time: float) -> tuple[Array, Array]:
        """m(t) (dim,) and S(t) (dim, dim)."""
        if self.drift.steady:
            return steady_moments(
                self.mean, self.covariance, *linear_drift(self.drift, self.mesh, 0.0), self.epsilon, time
            )
        return self._integrated(time)

    def average(self, time: float) -> Array:
        """The density of each cell (cell,)."""
        return self.mass * gaussian_density(self.mesh, *self.moments(time), self.sampling)

    def _integrated(self, time: float) -> tuple[Array, Array]:
        """The moments by an eighth-order Runge-Kutta method to 1e-12, for drifts that depend on time."""
        from scipy.integrate import solve_ivp

        dimension = len(self.mean)

        def slope(at: float, packed: Array) -> Array:
            matrix, shift = linear_drift(self.drift, self.mesh, at)
            mean, covariance = packed[:dimension], packed[dimension:].reshape(dimension, dimension)
            flow = matrix @ covariance
            change = flow + flow.T + 2 * self.epsilon * np.eye(dimension)
            return np.concatenate([matrix @ mean + shift, change.ravel()])

        self._reached.setdefault(0.0, np.concatenate([self.mean, self.covariance.ravel()]))
        if time not in self._reached:
            start = max(reached for reached in self._reached if reached < time)
            span = (start, time)
            end = solve_ivp(slope, span, self._reached[start], method="DOP853", rtol=1e-12, atol=1e-14)
            self._reached[time] = end.y[:, -1]
        packed = self._reached[time]
        return packed[:dimension], packed[dimension:].reshape(dimension, dimension)


def steady_moments(
    mean: Array, covariance: Array, matrix: Array, shift: Array, epsilon: float, time: float
) -> tuple[Array, Array]:
    """m(t) and S(t) for steady A (dim, dim) and b (dim,).

    (m, 1) = exp([[A, b], [0, 0]] t) (m_0, 1); S = F S_0 F' + Q with F = exp(A t), Q = int_0^t F_s 2 eps F_s' ds.
    """
    from scipy.linalg import expm

    dimension = len(mean)
    affine = np.zeros((dimension + 1, dimension + 1))
    affine[:-1, :-1], affine[:-1, -1] = matrix, shift
    carried: Any = expm(affine * time)
    block = np.zeros((2 * dimension, 2 * dimension))
    block[:dimension, :dimension] = -matrix
    block[:dimension, dimension:] = 2 * epsilon * np.eye(dimension)
    block[dimension:, dimension:] = matrix.T
    exponential: Any = expm(block * time)
    flow = exponential[dimension:, dimension:].T
    spread = flow @ exponential[:dimension, dimension:]
    moved = flow @ covariance @ flow.T + 0.5 * (spread + spread.T)
    return carried[:-1, :-1] @ mean + carried[:-1, -1], moved


def linear_drift(drift: Drift, mesh: Mesh, time: float) -> tuple[Array, Array]:
    """A (dim, dim) and b (dim,) of the drift v = A x + b; raises CaseError if it is not linear on the mesh's box."""
    lower, upper = mesh.points.min(axis=0), mesh.points.max(axis=0)
    middle, half = 0.5 * (lower + upper), 0.25 * (upper - lower)
    dimension = len(middle)
    offsets = np.concatenate([np.zeros((1, dimension)), np.diag(half), -np.diag(half), np.outer([-0.7, 0.4], half)])
    values = drift.velocity_at(middle + offsets, time, 0.5 * float(half.min()))
    matrix = ((values[1 : dimension + 1] - values[dimension + 1 : 2 * dimension + 1]) / (2 * half[:, None])).T
    wanted = values[0] + offsets @ matrix.T
    if np.abs(values - wanted).max() > _LINEAR * max(np.abs(values).max(), 1e-300):
        raise CaseError("exact gaussian needs a drift that is linear in space (a quadratic potential); this one is not")
    return matrix, values[0] - matrix @ middle
