"""A whole run in one compiled call: its steps and saves, and the steps of a companion that tells its error in time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from fvflow.linalg.grid import leap_kernels, sweep_kernels
from fvflow.linalg.grid.locally_one_dimensional import SplitSweeps
from fvflow.linalg.matrix import largest_correction
from fvflow.mesh import Array, Index

MOST_LENGTHS = 4  # of steps in one call: the kernel is compiled for so many


@dataclass(frozen=True, eq=False)
class Itinerary:
    """All that is done in a run in given steps, in order: acts (act, 2) of a kind and a number.

    The kinds are those of `leap_kernels`: a step or one of the companion, of the length with that number; an estimate,
    divided by the divisor with that number; a save in the row with that number.
    """

    lengths: tuple[float, ...]
    """The different lengths of steps."""
    divisors: Array
    """R - 1 of each estimate (estimate,); see `CompanionMonitor` in `fvflow/time_error.py`."""
    acts: Index
    """Kind and number of each act (act, 2)."""
    steps: int
    """Steps of the run and of its companion."""


class Journey(NamedTuple):
    """What was watched of a whole run."""

    lowest: float
    """The smallest density after any step; infinite if there was none."""
    drift: float
    """The largest |m/total - 1|."""
    correction: float
    """The largest correction of the mass."""
    error: float
    """The largest estimate of the error in time; nan if there was none."""


def travel(
    sweeps: Sequence[SplitSweeps], density: Array, total: float, itinerary: Itinerary, out: Any
) -> Journey | None:
    """The run from a density (cell,) of a total mass, its saves in `out` (save, cell), to the last bit that by steps.

    `sweeps` are those of each of the `lengths`. None if a step needs a closer look.
    """
    if not all(each.leaps for each in sweeps):
        return None
    watched = np.array([np.inf, 0.0, 0.0, -np.inf])
    given = [*sweeps, *[sweeps[-1]] * (MOST_LENGTHS - len(sweeps))]
    shapes, kinds, _ = given[0].lines
    parts = tuple(each.lines[2] for each in given)
    allowed = np.array([largest_correction(each) for each in given])
    arrays = given[0].column_sums, shapes, kinds, parts, sweep_kernels.WIDTH
    plan = itinerary.acts, itinerary.divisors
    if not leap_kernels.travel(density.copy(), density.copy(), *arrays, total, allowed, *plan, out, watched):
        return None
    lowest, drift, correction, error = watched.tolist()
    return Journey(lowest, drift, correction, error if error >= 0.0 else np.nan)
