"""The flow map of a velocity: dX/dt = v(X, t) for many points, with the Jacobian determinant along each path."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Protocol

import numpy as np
from annotated_types import Ge, Le

from fvflow.errors import CaseError, NumericsError
from fvflow.lagrangian.runge_kutta import PairName, integrated
from fvflow.mesh import Array, Mesh

LEAST_TOLERANCE, LARGEST_TOLERANCE = 1e-13, 0.1
_BATCH = 10_000  # points that are integrated together, in steps of the same length
_CURE = "start the points elsewhere, or stop earlier"


class Velocity(Protocol):
    """A velocity at any points."""

    def velocity_and_divergence(self, points: Array, time: float) -> tuple[Array, Array]:
        """v (point, dim) and div v (point,) at points (point, dim)."""


class ResultVelocity(Velocity, Protocol):
    """The velocity of a result, which is known on a mesh and between two times."""

    @property
    def mesh(self) -> Mesh:
        """The mesh."""

    @property
    def reflects(self) -> bool:
        """Whether it may be continued by reflection: on grids of which no wall lets mass through."""

    start: float
    end: float


@dataclass(frozen=True)
class Integrator:
    """A Runge-Kutta pair whose steps are chosen by their error, for batches of 10,000 points at a time.

    The error of a step, estimated by the pair, is at most the tolerance times (size + |X|), as the root mean square
    over a batch; that of log det at most the tolerance times (1 + |log det|).
    """

    method: PairName = "dop853"
    """`dop853` of order 8 for smooth velocities, `rk45` of order 5 for those with kinks, as of results."""
    tolerance: Annotated[float, Ge(LEAST_TOLERANCE), Le(LARGEST_TOLERANCE)] = 1e-11
    """Error of a step, relative to the size of the domain and to what is integrated."""

    def carried(
        self,
        motion: Velocity,
        points: Array,
        log_det: Array,
        start: float,
        end: float,
        *,
        size: float = 1.0,
        longest: float = math.inf,
        cure: str = "",
    ) -> tuple[Array, Array]:
        """Points (point, dim) and log det (point,) carried from `start` to `end`, which may be before it.

        d log det(dX)/dt = div v(X, t). `size` is that of the domain, `longest` the longest step. Raises NumericsError
        if the velocity is not finite on a path, or so steep that no step is short enough; `cure` says what to do then.
        """
        done = [
            self._batch(motion, points[rows], log_det[rows], (start, end), size, longest, cure)
            for rows in (slice(first, first + _BATCH) for first in range(0, len(points), _BATCH))
        ]
        return np.concatenate([part for part, _ in done]), np.concatenate([part for _, part in done])

    def _batch(
        self,
        motion: Velocity,
        points: Array,
        log_det: Array,
        span: tuple[float, float],
        size: float,
        longest: float,
        cure: str,
    ) -> tuple[Array, Array]:
        if span[0] == span[1]:
            return points.copy(), log_det.copy()
        count, dimension = points.shape
        floor = np.full((count, dimension + 1), self.tolerance * size)
        floor[:, -1] = self.tolerance
        with np.errstate(all="ignore"):  # what is not finite is told
            found = integrated(
                self.method,
                _rate(motion, count),
                np.column_stack([points, log_det]).ravel(),
                span,
                relative=self.tolerance,
                absolute=floor.ravel(),
                longest=longest,
            )
        if found is None or not np.isfinite(found).all():
            raise NumericsError(
                f"no step is short enough for the velocity on a path between t = {span[0]:g} and {span[1]:g}: it blows "
                f"up, jumps, or leads out of where it is defined; {cure or _CURE}"
            )
        end = found.reshape(count, dimension + 1)
        return end[:, :-1].copy(), end[:, -1].copy()


def _rate(motion: Velocity, count: int) -> Callable[[float, Array], Array]:
    """d/dt of positions and log det, all in one row."""

    def rate(time: float, values: Array) -> Array:
        points = np.ascontiguousarray(values.reshape(count, -1)[:, :-1])
        try:
            v, divergence = motion.velocity_and_divergence(points, time)
        except CaseError as error:  # a formula at time 0
            raise NumericsError(str(error)) from None
        return np.column_stack([v, divergence]).ravel()

    return rate
