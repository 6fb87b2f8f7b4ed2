"""Points carried from one time of a result to another, forward or backward, with log-likelihoods."""

from __future__ import annotations

from typing import TYPE_CHECKING

from numpy.typing import ArrayLike

from fvflow.case.core import Case
from fvflow.case.pusher import PushedPoints, Pusher, PushMethod

if TYPE_CHECKING:
    import xarray

__all__ = ["PushedPoints", "push"]


def push(
    ds: xarray.Dataset,
    points: ArrayLike,
    start: float,
    end: float,
    *,
    method: PushMethod = "auto",
    log_density: ArrayLike | None = None,
    tolerance: float = 1e-5,
    accept: bool = False,
) -> PushedPoints:
    """Carry points (point, dim) along the probability flow of a result from the time `start` to `end`, perhaps before.

    By the change of variables log p_end(T(x)) = log p_start(x) - log det DT(x); log p_start is that of the result,
    unless `log_density` (point,) gives it. `smooth` integrates the velocity of `fvflow.at` by a Runge-Kutta pair with
    this tolerance; its paths must not meet walls that absorb, nor any on meshes that are no grids. `exact` follows the
    fluxes that the run has stored, so that points with the density of the result, constant in each cell, keep exactly
    that density; its paths are as coarse as the cells and saves, and so is `log_density`. `auto` is smooth if rho > 0
    everywhere on a grid and the flow has a velocity at points, else exact if the fluxes are stored. `accept` is that
    of `fvflow.at`. The notes, equations (3)-(4) and (20)-(24).

    Raises CaseError for points and times that are not those of the result, NumericsError if a path cannot be followed.
    """
    return Pusher(ds, Case.parse, method=method, tolerance=tolerance, accept=accept).pushed(
        points, start, end, log_density
    )
