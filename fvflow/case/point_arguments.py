"""Points and times that a result is asked for."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from fvflow.case.frames_on_mesh import place_of
from fvflow.errors import CaseError
from fvflow.mesh import Array
from fvflow.mesh.arrays import real_numbers

_ROUND_OFF = 1e-12  # time beyond the run, relative to its length, that counts as none


def checked_points(points: ArrayLike, dimension: int, *, finite: bool) -> Array:
    """Points (n, dim); raises CaseError if they are not, and if they have to be finite and are not."""
    at = np.ascontiguousarray(real_numbers("points", points))
    if at.ndim != 2 or at.shape[1] != dimension:
        raise CaseError(f"the points are an array {at.shape}, the mesh has {dimension} axes; give (n, {dimension})")
    if finite and not (known := np.isfinite(at)).all():
        bad = int(np.argmin(known.all(axis=1)))
        raise CaseError(f"point {bad}, counted from 0, is at {place_of(at[bad])}; give finite numbers")
    return at


def checked_times(t: ArrayLike, start: float, end: float) -> Array:
    """Times, (1,) or (n,); raises CaseError if they are not those of a run from `start` to `end`."""
    times = np.atleast_1d(real_numbers("t", t))
    if times.ndim > 1:
        raise CaseError(f"the times are an array {times.shape}; give a number, or one for each point (n,)")
    margin = _ROUND_OFF * (end - start) if np.isfinite(end - start) else 0.0
    if not (inside := np.isfinite(times) & (times >= start - margin) & (times <= end + margin)).all():
        bad = times[int(np.argmin(inside))]
        raise CaseError(
            f"t = {bad:.6g} is no time of the result: the run goes from {start:.6g} to {end:.6g}; give finite times "
            "within"
        )
    return times
