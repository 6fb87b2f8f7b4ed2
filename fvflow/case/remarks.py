"""What the user must know about a run that ended without error."""

from __future__ import annotations

import math
from collections.abc import Iterator

from fvflow.exact import Reference
from fvflow.flows import BaseFlow
from fvflow.run_statistics import RunStatistics
from fvflow.time_error import HALVES

_LARGE_ERROR = 0.05  # estimated error in time, relative to the mass, that is told
_NEGATIVE = 1e-6  # density below 0, over the mean, that is no round-off
_LEAST_OFF_MESH = 1e-12  # and share of the mass that is round-off
_OFF_MESH = 0.1  # share of an error that the mass of the closed form outside the mesh may be without a word
_LARGE_SHARE = 0.05  # share of unresolved faces, or mean numerical diffusion over epsilon, that is told


def off_mesh(reference: Reference | None, statistics: RunStatistics) -> Iterator[str]:
    """How much of a closed form is outside the mesh at the end, if that is a part of the error worth a word."""
    error = statistics.last.get("error_l1")
    if reference is None or error is None or reference.total is None:
        return
    share = reference.outside(statistics.mesh, statistics.time)
    if share * reference.total > max(_OFF_MESH * error, _LEAST_OFF_MESH * reference.total):
        yield (
            f"{100 * share:.2g} % of the closed form is outside the mesh at t = {statistics.time:g}, where the run has "
            f"walls: an error_l1 of {error:.2g} cannot fall below {share * reference.total:.2g}; use a larger mesh or "
            "an earlier end"
        )


def remarks(flow: BaseFlow, statistics: RunStatistics) -> Iterator[str]:
    """Sentences on what lowered the order, the resolution or the meaning of the result of a run."""
    dimension, steps, figures = statistics.mesh.dimension, statistics.steps, statistics.solved
    if statistics.survival == 0.0:
        yield "all of the mass has been absorbed: nothing is left that has a mean or a covariance"
    if statistics.fallbacks:
        count = statistics.fallbacks.total()
        yield f"{count} of {steps} steps were taken by a fallback method, of first order: {statistics.reasons()}"
    if statistics.damped:
        yield (
            f"damped at the start: {statistics.damped} of {steps} steps, each taken in two robust halves, as the data "
            "are so rough that the density would ring"
        )
    if statistics.reduced:
        yield (
            f"{statistics.reduced} of {steps} steps kept less than the order or accuracy of their method, "
            "as at fronts in vacuum"
        )
    if (error := statistics.figures(worst_errors=False).get("time_error", 0.0)) > _LARGE_ERROR:
        yield (
            f"the steps are long: their error in time is estimated at {100 * error:.2g} % of {flow.sized}; use "
            "shorter steps" + (" or a stepper of second order" if flow.order_in_time == 1 else "")
        )
    if statistics.time_error is not None and statistics.time_error.fault:
        yield f"the error in time is not estimated: {statistics.time_error.fault}; {HALVES}"
    if statistics.undefined and flow.uncorrelated:
        yield f"{', '.join(dict.fromkeys(statistics.undefined))} is not a number: {flow.uncorrelated}"
    resolution = statistics.resolution
    if resolution is not None and max(resolution.share, resolution.diffusion) > _LARGE_SHARE:
        sentence = flow.unresolved(resolution, statistics.openings)
        yield from [f"the Peclet number |v| d/epsilon was {sentence}"] if sentence else []
    if resolution is not None and resolution.upwinded:
        yield f"{resolution.upwinded}; use {flow.without_diffusion(statistics.openings)}"
    infinite = statistics.minimum < 0 and statistics.last.get("energy") == math.inf
    if infinite or statistics.minimum < -_NEGATIVE * statistics.mean_density:
        yield (
            f"the density became negative, down to {statistics.minimum:.3g} where its mean is "
            f"{statistics.mean_density:.3g}{', so that its energy is infinite' if infinite else ''}: the method is not "
            "positive in these steps; `positivity` says what is"
        )
    if (share := statistics.largest_cell_share) > 0.5 ** (dimension + 1):
        yield (
            f"{100 * share:.0f} % of the mass is in one cell: the mesh does not resolve the density at the end; use "
            "smaller cells there, or stop earlier"
        )
    if figures.get("converged") == 0:
        yield f"the solver stopped at the residual {figures['residual']:.1e}; accepted, as the case says"
    if (outside := figures.get("outside", 0)) > 0:
        yield f"{100 * outside:.3g} % of the points are outside the mesh at the end, where rho does not count them"
    if figures:
        yield from flow.told(figures)
