"""Samples of the density of a result."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fvflow.dataset.stored_mesh import stored_mesh
from fvflow.errors import CaseError
from fvflow.mesh import Array
from fvflow.mesh.arrays import real_number
from fvflow.system import available_memory

if TYPE_CHECKING:
    import xarray

_SAME_TIME = 1e-9  # difference below which two times are the same, relative to the last one
_MOST_OF_MEMORY = 0.5


def sample(ds: xarray.Dataset, n: int, time: float | None = None, seed: int = 0, *, stratified: bool = True) -> Array:
    """n samples (n, dim) of the density of a result at a time, the last one by default; exact for what is stored.

    The density is rho_K in each cell K, and between two saved times the mixture of both, linear in time. It is
    normalised: what is left after absorption counts as 1. The samples are stratified, or independent of each other
    (`samples` in fvflow/lagrangian/sampling.py); the same seed gives the same ones. Raises CaseError for a time outside
    the run and numbers that make no sense, NumericsError for a density without samples.
    """
    from fvflow.lagrangian.sampling import samples

    count, key = _whole("n", n, 1), _whole("seed", seed, 0)
    if "rho" not in ds or not ds.sizes.get("time"):
        raise CaseError("the result has no density at any time; give the result of a run")
    mesh = stored_mesh(ds)
    if (needed := 8 * mesh.dimension * count) > _MOST_OF_MEMORY * available_memory():
        raise CaseError(f"{count} samples take {needed / 2**30:.3g} GiB, more than half of the memory; draw fewer")
    return samples(mesh, stored_density(ds, time), count, key, stratified=stratified)


def stored_density(ds: xarray.Dataset, time: float | None) -> Array:
    """The density (cell,) of a result at a time: that of a frame, or the mixture of two, linear in time."""
    times = ds["time"].values
    last = len(times) - 1
    if time is None:
        return _frame(ds, last)
    time = real_number("time", time)
    tolerance = _SAME_TIME * max(abs(times[-1]), abs(time))
    if not times[0] - tolerance <= time <= times[-1] + tolerance:
        raise CaseError(f"time {time:.15g} is outside the run; give one from {times[0]:.15g} to {times[-1]:.15g}")
    nearest = int(np.argmin(np.abs(times - time)))
    if abs(times[nearest] - time) <= tolerance:
        return _frame(ds, nearest)
    after = int(np.searchsorted(times, time))
    share = (time - times[after - 1]) / (times[after] - times[after - 1])
    return np.asarray((1 - share) * _frame(ds, after - 1) + share * _frame(ds, after))


def _frame(ds: xarray.Dataset, index: int) -> Array:
    return np.ravel(ds["rho"][index].values).astype(float)


def _whole(name: str, value: Any, least: int) -> int:
    """A whole number; raises CaseError for others, and below the least."""
    if not isinstance(value, int | np.integer) or not least <= value < 2**63:
        raise CaseError(f"{name} is {value!r}; give a whole number from {least} on")
    return int(value)
