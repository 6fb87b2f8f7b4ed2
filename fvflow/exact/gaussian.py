"""Closed form: a Gaussian in a linear drift."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np

from fvflow.errors import CaseError, NumericsError
from fvflow.exact.base import FOKKER_PLANCK, ClosedForm, Reference, refusal
from fvflow.exact.facts import PERIODIC, RADIUS, Facts
from fvflow.fields import BaseDrift, Sampling, gaussian_density
from fvflow.mesh import Array, Mesh

Corners = tuple[Array, Array]
"""Lower and upper corner of a box, each (dim,)."""

_MARK_SCALES = 4.0  # times 1/|A|: time between the marks of an integration
_LINEAR = 1e-9  # relative deviation from A x + b that is attributed to round-off
_TERMS = 25  # of the power series: 2^24/25! is below round-off


@dataclass(frozen=True)
class GaussianSolution(ClosedForm):
    """N(m(t), S(t)) for v = A x + b and constant eps: m' = A m + b, S' = A S + S A' + 2 eps I.

    A and b are determined from the drift of the case, which may be any linear drift, gradient or not, and may depend on
    time; a drift that is not linear is refused. With an interaction W(d) = W(0) + d.Q d/2 and mass M, A - M Q takes the
    place of A in the second equation; the mean is not affected. Along periodic axes, on which the drift must not
    depend, the Gaussian is wrapped: summed over all means that differ by whole periods. For a steady drift the
    equations are solved by power series and doubling, else by a Runge-Kutta method. Notes, equations (21) and (40).
    """

    kind: Literal["gaussian"] = "gaussian"
    derived_for = FOKKER_PLANCK | {"an interaction", PERIODIC, RADIUS}
    divided = True

    def requires(self, facts: Facts) -> Iterator[str]:
        """Linear diffusion, a linear drift, quadratic interactions, a Gaussian initial density."""
        if facts.target is not None:
            yield "exact gaussian is for a Fokker-Planck equation; for a transport use gaussian-geodesic"
        if facts.power_laws:
            yield "exact gaussian needs linear diffusion; leave out porous-medium"
        if facts.initial.gaussian is None:
            yield f"exact gaussian needs a gaussian initial density, got {facts.initial.kind}"
        lower, upper = facts.mesh.corners
        for kernel in facts.kernels:
            yield from refusal(kernel.curvature, upper - lower)
        yield from refusal(check_linear, facts.drift, (lower, upper), facts.start)
        yield from refusal(check_invariant, facts.drift, (lower, upper), facts.start, facts.mesh.periodic)
        if facts.mesh.revolution is not None:
            yield from refusal(check_radial, facts.drift, (lower, upper), facts.start)

    def reference(self, facts: Facts) -> GaussianReference:
        """The solution on the mesh of the case."""
        assert facts.initial.gaussian is not None
        size = facts.mesh.corners[1] - facts.mesh.corners[0]
        attraction = np.zeros((facts.mesh.dimension, facts.mesh.dimension))
        for kernel in facts.kernels:
            attraction += facts.mass * kernel.curvature(size)
        return GaussianReference(
            facts.mesh,
            *facts.initial.gaussian,
            facts.drift,
            facts.epsilon,
            facts.mass,
            facts.initial.sampling,
            attraction,
            facts.start,
        )


@dataclass(frozen=True, eq=False)
class GaussianReference(Reference):
    """The Gaussian solution that starts from N(mean, covariance)."""

    mesh: Mesh
    mean: Array  # (dim,)
    covariance: Array  # (dim, dim)
    drift: BaseDrift
    epsilon: float
    mass: float = 1.0
    sampling: Sampling = "average"
    attraction: Array | float = 0.0  # (dim, dim) M Q of the quadratic interactions
    start: float = 0.0  # time of N(mean, covariance)
    _marks: list[Array] = field(default_factory=list, repr=False)  # moments at equidistant times, for `_integrated`

    @property
    def total(self) -> float:
        """Its mass in the whole space."""
        return self.mass

    def moments(self, time: float) -> tuple[Array, Array]:
        """m(t) (dim,) and S(t) (dim, dim); raises NumericsError if they overflow."""
        if self.drift.steady:
            matrix, shift = self._linear(self.start)
            start = self.mean, self.covariance
            age = time - self.start
            mean = steady_moments(*start, matrix, shift, self.epsilon, age)[0]
            return mean, steady_moments(*start, matrix - self.attraction, shift, self.epsilon, age)[1]
        return self._integrated(time)

    def average(self, time: float) -> Array:
        """Density of each cell (cell,)."""
        return self.mass * gaussian_density(self.mesh, *self.moments(time), self.sampling)

    @cached_property
    def _box(self) -> Corners:
        return self.mesh.corners

    def _linear(self, time: float) -> tuple[Array, Array]:
        return linear_drift(self.drift, self._box, time)

    @cached_property
    def _spacing(self) -> float:
        """Time between the marks: some time scales of the drift at the start."""
        return _MARK_SCALES / max(float(np.abs(self._linear(self.start)[0]).sum()), 1e-300)

    def _integrated(self, time: float) -> tuple[Array, Array]:
        """The moments for a drift that depends on time, integrated from the mark before.

        So they do not depend, not even by round-off, on the times that were asked for earlier.
        """
        if not self._marks:
            self._marks.append(np.concatenate([self.mean, self.covariance.ravel()]))
        before, dimension = int((time - self.start) / self._spacing), len(self.mean)
        while len(self._marks) <= before:
            at = self.start + (len(self._marks) - 1) * self._spacing
            self._marks.append(self._flow(self._marks[-1], at, self.start + len(self._marks) * self._spacing))
        packed = self._flow(self._marks[before], self.start + before * self._spacing, time)
        return packed[:dimension], packed[dimension:].reshape(dimension, dimension)

    def _flow(self, packed: Array, start: float, time: float) -> Array:
        """The moments, mean first (dim + dim^2,), by an eighth-order Runge-Kutta method to 1e-12."""
        from scipy.integrate import solve_ivp

        if not start < time:
            return packed
        dimension = len(self.mean)

        def derivative(at: float, packed: Array) -> Array:
            matrix, shift = self._linear(at)
            mean, covariance = packed[:dimension], packed[dimension:].reshape(dimension, dimension)
            flow = (matrix - self.attraction) @ covariance
            change = flow + flow.T + 2 * self.epsilon * np.eye(dimension)
            return np.concatenate([matrix @ mean + shift, change.ravel()])

        check_linear(self.drift, self._box, time)
        check_invariant(self.drift, self._box, time, self.mesh.periodic)
        end = solve_ivp(derivative, (start, time), packed, method="DOP853", rtol=1e-12, atol=1e-14)
        if not end.success:
            raise NumericsError(f"exact gaussian: its moments have no solution at t = {time:g} ({end.message})")
        return np.asarray(end.y[:, -1])


def steady_moments(
    mean: Array, covariance: Array, matrix: Array, shift: Array, epsilon: float, time: float
) -> tuple[Array, Array]:
    """m(t) and S(t) for steady A (dim, dim) and b (dim,).

    m = F m_0 + g and S = F S_0 F' + Q with F = exp(A t), g = int_0^t F_s b ds, Q = int_0^t F_s 2 eps F_s' ds. All three
    are summed from their power series over h = t/2^k with |A| h <= 1, where these converge fast, and then doubled:
    g_{2h} = g + F g, Q_{2h} = Q + F Q F', F_{2h} = F^2. Van Loan, Computing integrals involving the matrix exponential,
    IEEE Trans. Automat. Control 23 (1978), uses exponentials of block matrices instead of series: they are no more
    accurate here, and importing them costs more than the sum. Raises NumericsError if the moments overflow.
    """
    doublings = max(0, math.ceil(math.log2(max(np.abs(matrix).sum() * time, 1.0))))
    flow, offset, spread = _series(matrix, shift, epsilon, time / 2**doublings)
    with np.errstate(over="ignore", invalid="ignore"):
        for _ in range(doublings):
            offset = offset + flow @ offset
            spread = spread + flow @ spread @ flow.T
            flow = flow @ flow
        after = flow @ covariance @ flow.T + 0.5 * (spread + spread.T)
        centre = flow @ mean + offset
    if not (np.isfinite(after).all() and np.isfinite(centre).all()):
        raise NumericsError(
            f"exact gaussian: its moments overflow at t = {time:g}, as the drift points outwards; use a shorter time"
        )
    return centre, after


def _series(matrix: Array, shift: Array, epsilon: float, h: float) -> tuple[Array, Array, Array]:
    """F, g and Q over h by their power series, nested, so that the small terms are added first.

    F = I + A h G_1, g = h G_1 b, G_k = I + A h G_{k+1}/(k+1);
    Q = Q_1, Q_k = 2 eps h I + (A h Q_{k+1} + Q_{k+1} A' h)/(k+1).
    """
    scaled, identity = h * matrix, np.eye(len(matrix))
    source = 2 * epsilon * h * identity
    mean, spread = identity, source  # G_k and Q_k
    for k in range(_TERMS, 1, -1):
        mean, carried = identity + scaled @ mean / k, scaled @ spread / k
        spread = source + (carried + carried.T)
    return identity + scaled @ mean, mean @ (h * shift), spread


def linear_drift(drift: BaseDrift, box: Corners, time: float) -> tuple[Array, Array]:
    """A (dim, dim) and b (dim,) of a drift v = A x + b in a box (lower, upper), by differences about its middle."""
    lower, upper = box
    middle, half = 0.5 * (lower + upper), 0.25 * (upper - lower)
    dimension = len(middle)
    offsets = np.concatenate([np.zeros((1, dimension)), np.diag(half), -np.diag(half)])
    values = drift.velocity_at(middle + offsets, time, 0.5 * float(half.min()))
    matrix = ((values[1 : dimension + 1] - values[dimension + 1 :]) / (2 * half[:, None])).T
    return matrix, values[0] - matrix @ middle


def check_linear(drift: BaseDrift, box: Corners, time: float) -> None:
    """Raise CaseError if the drift is not linear in space in the box, judged at 200 pseudo-random points."""
    lower, upper = box
    step = 1e-3 * float((upper - lower).min())
    random = np.random.default_rng(20).random((200, len(lower)))
    position = lower + step + random * (upper - lower - 2 * step)
    matrix, shift = linear_drift(drift, box, time)
    values = drift.velocity_at(position, time, step)
    if np.abs(values - position @ matrix.T - shift).max() > _LINEAR * max(np.abs(values).max(), 1e-300):
        raise CaseError("exact gaussian needs a drift that is linear in space (a quadratic potential); this one is not")


def check_radial(drift: BaseDrift, box: Corners, time: float) -> None:
    """Raise CaseError unless a linear drift vanishes at the radius x = 0 and does not mix x with another axis."""
    matrix, shift = linear_drift(drift, box, time)
    size = _LINEAR * max(float(np.abs(matrix).max()) * float((box[1] - box[0]).max()), 1e-300)
    mixed = max(np.abs(matrix[0, 1:]).max(initial=0.0), np.abs(matrix[1:, 0]).max(initial=0.0))
    if abs(shift[0]) > size or mixed * float((box[1] - box[0]).max()) > size:
        raise CaseError("exact gaussian with a radius as x needs a drift along x that is in proportion to x alone")


def check_invariant(drift: BaseDrift, box: Corners, time: float, periodic: tuple[int, ...]) -> None:
    """Raise CaseError if a linear drift depends on the coordinate along a periodic axis, so that it jumps there."""
    matrix, shift = linear_drift(drift, box, time)
    change = np.abs(matrix) * (box[1] - box[0])
    for axis in periodic:
        if change[:, axis].max() > _LINEAR * max(float(np.abs(shift).max()), float(change.max()), 1e-300):
            raise CaseError(
                f"exact gaussian on a periodic axis {'xyz'[axis]} needs a drift that does not depend on {'xyz'[axis]}; "
                "this one does"
            )
