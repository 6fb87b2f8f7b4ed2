"""Points carried through the saved frames of a result by the exact tracer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from fvflow.lagrangian.tracer import TracedPoints, Tracer
from fvflow.mesh import Array


class Record(Protocol):
    """The frames of a result with the mean flux of each interval between them."""

    @property
    def times(self) -> Array:
        """The saved times (frame,)."""

    def density(self, frame: int) -> Array:
        """rho (cell,) at a saved time."""

    def flux_mean(self, frame: int) -> Array:
        """The mean flux through each face (face,) over the interval that ends at a saved time, per unit time."""


@dataclass(frozen=True, eq=False)
class _Part:
    """A part of the interval that ends at a frame."""

    frame: int
    begin: float
    end: float


def traced(tracer: Tracer, record: Record, points: TracedPoints, start: float, end: float) -> TracedPoints:
    """The points after the time from `start` to `end`, which may be before it; rho is linear between frames.

    Raises NumericsError as `Tracer.carried`.
    """
    parts = list(_parts(record.times, min(start, end), max(start, end)))
    for part in parts if start <= end else parts[::-1]:
        before, after = (density_at(record, part.frame, time) for time in (part.begin, part.end))
        mass = record.flux_mean(part.frame) * (part.end - part.begin)
        if start <= end:
            points = tracer.carried(points, before, after, mass)
        else:
            points = tracer.carried(points, after, before, -mass)
    return points


def density_at(record: Record, frame: int, time: float) -> Array:
    """rho (cell,) at a time of the interval that ends at a frame; that of the first frame if there is none."""
    if frame == 0:
        return record.density(0)
    before, after = record.times[frame - 1 : frame + 1]
    if time in (before, after):
        return record.density(frame if time == after else frame - 1)
    share = (time - before) / (after - before)
    return np.asarray((1.0 - share) * record.density(frame - 1) + share * record.density(frame))


def _parts(times: Array, first: float, last: float) -> Iterator[_Part]:
    """The parts of the intervals between frames that lie between two times."""
    for frame in range(1, len(times)):
        begin, end = max(float(times[frame - 1]), first), min(float(times[frame]), last)
        if begin < end:
            yield _Part(frame, begin, end)
