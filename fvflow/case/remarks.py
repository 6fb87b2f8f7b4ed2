"""What the user must know about a run that ended without error."""

from __future__ import annotations

from collections.abc import Iterator

from fvflow.run_statistics import RunStatistics

_LARGE_ERROR = 0.05  # estimated error in time, relative to the mass, that is told
_LARGE_SHARE, _LARGE_DIFFUSION = 0.05, 0.05  # share of unresolved faces and mean numerical diffusion that are told


def remarks(statistics: RunStatistics) -> Iterator[str]:
    """Sentences on what lowered the order, the resolution or the meaning of the result of a run."""
    dimension, steps, figures = statistics.mesh.dimension, statistics.steps, statistics.solved
    if statistics.fallbacks:
        count = statistics.fallbacks.total()
        yield f"{count} of {steps} steps were taken by a fallback method, of first order: {statistics.reasons()}"
    if statistics.damped:
        yield (
            f"the first {statistics.damped} of {steps} steps were damped, each taken in two halves by ljko, as the "
            "data are too rough for midpoint, which would ring; `warmup` sets their number"
        )
    if statistics.reduced:
        yield (
            f"{statistics.reduced} of {steps} steps kept less than the order or accuracy of their method, "
            "as at fronts in vacuum"
        )
    if (error := statistics.time_error) is not None and error.estimate > _LARGE_ERROR:
        yield (
            f"the steps are long: their error in time is estimated at {100 * error.estimate:.2g} % of the mass; use "
            "shorter steps or a stepper of second order"
        )
    resolution = statistics.resolution
    if resolution is not None and resolution.share > _LARGE_SHARE and resolution.diffusion > _LARGE_DIFFUSION:
        yield f"the Peclet number |v| d/epsilon was {resolution.describe()}"
    if (share := statistics.largest_cell_share) > 0.5 ** (dimension + 1):
        yield (
            f"{100 * share:.0f} % of the mass is in one cell: the mesh does not resolve the density at the end; use "
            "smaller cells there, or stop earlier"
        )
    if figures.get("converged") == 0:
        yield f"the solver stopped at the residual {figures['residual']:.1e}; accepted, as the case says"
    if figures.get("gap_error", 0) > 0.01:
        yield f"the spectral gap is beneath round-off: it may be off by {figures['gap_error']:.1e}, relative"
