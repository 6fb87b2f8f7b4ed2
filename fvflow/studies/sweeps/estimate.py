"""How long a sweep will take and how large its result will be, from its first and its last case."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fvflow.case import Case
from fvflow.case.report import runtime
from fvflow.case.runtime_estimate import duration
from fvflow.errors import FvflowError

_PATIENCE = 0.5  # seconds after which the last case is not tried
_TEXTS = 500  # bytes of the texts and figures of a case
_NETCDF = 120_000  # bytes of the variables of a result, whatever they hold


@dataclass(frozen=True)
class Estimate:
    """Seconds of a case (nan: not known), and bytes of the result."""

    seconds: float
    size: float

    def describe(self, count: int, workers: int) -> str:
        """A sentence on so many cases in so many processes."""
        whole = self.seconds * count / min(workers, count)
        told = "the time is not known before" if math.isnan(whole) else f"about {duration(whole)}"
        for unit in ("KiB", "MiB", "GiB"):
            if (size := self.size / 1024 ** (1 + ("KiB", "MiB", "GiB").index(unit))) < 1000:
                break
        return f"{told}, the result about {size:.3g} {unit}"


def estimate(cases: Sequence[Case], fields: bool) -> Estimate:
    """The mean of the first and the last case; a case that cannot be built counts for nothing."""
    seconds, sizes, began = list[float](), list[float](), time.perf_counter()
    for case in dict.fromkeys((0, len(cases) - 1)):
        if case and time.perf_counter() - began > _PATIENCE:
            break
        try:
            found = _of_case(cases[case], fields)
        except FvflowError:
            continue
        seconds.append(found.seconds)
        sizes.append(found.size)
    return Estimate(
        float(np.mean(seconds)) if seconds else math.nan, _NETCDF + len(cases) * float(np.mean(sizes or [_TEXTS]))
    )


def _of_case(case: Case, fields: bool) -> Estimate:
    simulation = case.prepare()
    layout, frames = simulation.layout(), simulation.times.saves + 1
    numbers = sum(np.prod(layout.frame_shapes[f"diagnostics/{name}"], dtype=int) for name in layout.diagnostics)
    size = frames * (layout.frame_bytes if fields else 8.0 * numbers) + _TEXTS
    if not simulation.flow.can_be_timed:
        return Estimate(math.nan, size)
    found = runtime(simulation, dict(case.parameters))
    found.describe()
    return Estimate(found.total, size)
