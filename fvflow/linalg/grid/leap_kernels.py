"""Several steps of split sweeps in one compiled call, with what is watched of each of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from fvflow.jit import kernel
from fvflow.linalg.grid.sweep_kernels import LANES, sweep_line, sweep_rows, sweep_strips
from fvflow.sums import compiled_inner

LINES, ROWS, STRIPS = 0, 1, 2  # how an axis is swept
STEP, FOLLOW, ESTIMATE, SAVE = range(4)  # acts of an `Itinerary`
LOWEST, DRIFT, CORRECTION, PECLET, SHARE, DIFFUSION, LARGEST_DIFFUSION = range(7)  # places in `watched`
ERROR = 3  # a place in `watched` of `travel`
_MASSLESS = 1e-6  # that of `CellResolution.seen_by`
_ROUND_OFF = 4 * np.finfo(float).eps  # that of `rescale_to_mass`
_ABREAST = 16  # densities that are compared at a time
_TINY, _HUGE = np.finfo(float).tiny, 1e300


@kernel()
def leap(
    density: Any,
    before: Any,
    volume: Any,
    shapes: Any,
    kinds: Any,
    parts: Any,
    width: Any,
    total: Any,
    allowed: Any,
    looks: Any,
    resolution: Any,
    watched: Any,
) -> Any:
    """As many steps as `looks` has entries, in place; `before` becomes the density before the last one.

    Each is a sweep along each axis, rescaled to the `total` mass. In the steps that are looked at, the mass on each
    cell is judged by the arrays of a `CellResolution` (number, cell). False if a step needs a closer look, as its
    correction is above what is `allowed` or its density not finite.
    """
    mass_of = np.empty_like(density)
    for step in range(len(looks)):
        if step == len(looks) - 1:
            before[:] = density
        correction, mass = _advance(density, volume, shapes, kinds, parts, width, total, allowed)
        if correction < 0.0 or not _judge(density, mass, total, correction, watched):
            return False
        if looks[step]:
            for cell in range(len(density)):
                mass_of[cell] = volume[cell] * density[cell]
            _look(mass_of, resolution, watched)
    return True


@kernel()
def travel(
    density: Any,
    companion: Any,
    volume: Any,
    shapes: Any,
    kinds: Any,
    parts: Any,
    width: Any,
    total: Any,
    allowed: Any,
    acts: Any,
    divisors: Any,
    out: Any,
    watched: Any,
) -> Any:
    """All acts (act, 2) of an `Itinerary`, in place, saves in `out` (save, cell); parts (length, axis) of each length.

    `watched` has the lowest density, drift, correction and estimate. False if a step needs a closer look.
    """
    cells, off = len(density), np.empty_like(density)
    for act in range(len(acts)):
        kind, number = acts[act, 0], acts[act, 1]
        if kind == STEP:
            correction, mass = _advance(density, volume, shapes, kinds, parts[number], width, total, allowed[number])
            if correction < 0.0 or not _judge(density, mass, total, correction, watched):
                return False
        elif kind == FOLLOW:
            if _advance(companion, volume, shapes, kinds, parts[number], width, total, allowed[number])[0] < 0.0:
                return False
        elif kind == ESTIMATE:
            for cell in range(cells):
                off[cell] = abs(density[cell] - companion[cell])
            watched[ERROR] = max(watched[ERROR], compiled_inner(volume, off) / total / divisors[number])
        else:
            for cell in range(cells):
                out[number, cell] = density[cell]
    return True


@kernel()
def _advance(
    density: Any, volume: Any, shapes: Any, kinds: Any, parts: Any, width: Any, total: Any, allowed: Any
) -> Any:
    """A sweep along each axis, rescaled to the `total` mass, in place; the correction, and the mass after it.

    The correction is -1 if it is not `allowed`.
    """
    for axis in range(len(kinds)):
        _sweep(density, shapes[axis], kinds[axis], parts[axis], width)
    mass = compiled_inner(volume, density)
    if not 0.0 < mass < np.inf:
        return -1.0, mass
    correction = abs(total / mass - 1.0)
    if not correction <= allowed:
        return -1.0, mass
    if correction > _ROUND_OFF:
        factor = total / mass
        for cell in range(len(density)):
            density[cell] *= factor
        mass = compiled_inner(volume, density)
    return correction, mass


@kernel()
def _judge(density: Any, mass: Any, total: Any, correction: Any, watched: Any) -> Any:
    """Take note of the density after a step, of finite mass; False if it may overflow."""
    lowest, largest = _extremes(density)
    if not (largest * len(density) < _HUGE and lowest * len(density) > -_HUGE):
        return False
    watched[LOWEST] = min(watched[LOWEST], lowest)
    watched[DRIFT] = max(watched[DRIFT], abs(mass / total - 1.0))
    watched[CORRECTION] = max(watched[CORRECTION], correction)
    return True


@kernel()
def _extremes(density: Any) -> Any:
    """The smallest and the largest of densities (cell,) that are numbers, of which several are compared at a time."""
    lows, highs = np.full(_ABREAST, density[0]), np.full(_ABREAST, density[0])
    whole = len(density) - len(density) % _ABREAST
    for first in range(0, whole, _ABREAST):
        for k in range(_ABREAST):
            lows[k] = min(lows[k], density[first + k])
            highs[k] = max(highs[k], density[first + k])
    for cell in range(whole, len(density)):
        lows[0], highs[0] = min(lows[0], density[cell]), max(highs[0], density[cell])
    return lows.min(), highs.max()


@kernel()
def _sweep(density: Any, shape: Any, kind: Any, parts: Any, width: Any) -> None:
    """One axis of shape (outer, along, inner), in place."""
    outer, count, inner = shape[0], shape[1], shape[2]
    forward, scale, backward = parts
    if kind == STRIPS:
        x = density.reshape(outer, count, inner)
        strips = outer * ((inner + width - 1) // width)
        sweep_strips(x, x, forward, scale, backward, width, False, False, 0, strips)
    elif kind == ROWS:
        rows = density.reshape(outer, count)
        sweep_rows(rows, rows, forward, scale, backward, False, 0, (outer + LANES - 1) // LANES)
    else:
        lines = density.reshape(outer, count)
        for row in range(outer):
            own = min(row, len(forward) - 1)
            sweep_line(lines[row], lines[row], forward[own, :, 0], scale[own, :, 0], backward[own, :, 0], False)


@kernel()
def _look(mass: Any, resolution: Any, watched: Any) -> None:
    """The larger of what is known and what `CellResolution.seen_by` says of a mass (cell,), without bare faces."""
    faces, coarse, diffusion, peclet, largest_diffusion = resolution
    weights = compiled_inner(faces, mass)
    if not weights > 0.0:
        return
    total, least = max(weights, _TINY), _MASSLESS * weights / faces.sum()
    watched[SHARE] = max(watched[SHARE], compiled_inner(coarse, mass) / total)
    watched[DIFFUSION] = max(watched[DIFFUSION], compiled_inner(diffusion, mass) / total)
    for cell in range(len(mass)):
        if mass[cell] > least:
            watched[PECLET] = max(watched[PECLET], peclet[cell])
            watched[LARGEST_DIFFUSION] = max(watched[LARGEST_DIFFUSION], largest_diffusion[cell])
