"""The compiled loop of the exact tracer, see `fvflow/lagrangian/tracer.py`."""

from __future__ import annotations

import math
from typing import Any

from fvflow.jit import kernel

CARRIED, EMPTY = 0, 1
"""What became of a point: carried to the end of the interval, or found in a cell without mass."""
_NO_ADVANCE = 1e-13  # share of the interval that counts as no advance in time
_CIRCLES = 100  # crossings in a row without an advance, after which a point rests at a corner that mass circles


@kernel()
def log_ratio(x: float) -> float:
    """log(1 + x)/x, 1 at x = 0."""
    return 1.0 if x == 0.0 else math.log1p(max(x, -1.0)) / x if x > -1.0 else math.inf


@kernel()
def exp_ratio(x: float) -> float:
    """(exp(x) - 1)/x, 1 at x = 0."""
    return 1.0 if x == 0.0 else math.expm1(x) / x


@kernel()
def enter(height: Any, point: int, nodes: Any, cell: int, exit_side: int, entered: int, grid: bool) -> None:
    """The heights of a point in the cell that it enters, from those in the cell that it leaves."""
    sides = height.shape[1]
    if grid:
        height[point, exit_side ^ 1], height[point, exit_side] = 0.0, 1.0
        return
    held = (height[point, 0], height[point, 1], height[point, min(2, sides - 1)], height[point, sides - 1])
    for there in range(sides):
        height[point, there] = 0.0  # of the corner that the cells do not share
        for here in range(sides):
            if nodes[entered, there] == nodes[cell, here]:
                height[point, there] = held[here]


@kernel()
def advance(height: Any, point: int, outward: Any, group: int, s: float) -> None:
    """Move a point by the clock s: height' = -outward + (sum of outward) height, whose groups add up to 1."""
    sides = height.shape[1]
    for first in range(0, sides, group):
        b = 0.0
        for k in range(first, first + group):
            b += outward[k]
        growth, total = s * exp_ratio(b * s), 0.0
        for k in range(first, first + group):
            height[point, k] = max(height[point, k] + growth * (b * height[point, k] - outward[k]), 0.0)
            total += height[point, k]
        for k in range(first, first + group):
            height[point, k] /= total


@kernel()
def next_exit(height: Any, point: int, outward: Any, group: int, left: float) -> Any:
    """The side through which a point leaves its cell before the clock runs out, -1 if there is none, and when."""
    exit_side, s = -1, left
    for first in range(0, height.shape[1], group):
        b = 0.0
        for k in range(first, first + group):
            b += outward[k]
        for k in range(first, first + group):
            q, h = outward[k], height[point, k]
            if q > 0.0 and b * h < q:
                time = h / q * log_ratio(-b * h / q)
                if time < s:
                    exit_side, s = k, time
    return exit_side, s


@kernel()
def carry(
    height: Any,
    cell: Any,
    log_det: Any,
    fate: Any,
    begin: int,
    end: int,
    group: int,
    weight: float,
    face: Any,
    other: Any,
    owner: Any,
    nodes: Any,
    volume: Any,
    before: Any,
    after: Any,
    mass: Any,
    outward: Any,
) -> None:
    """Carry the points begin..end over one interval; `outward` (side,) is memory to work in.

    The local time tau runs from 0 to 1, the clock s by ds = dtau/rho(tau), rho(tau) being linear in each cell.
    """
    sides, grid = height.shape[1], group == 2
    for i in range(begin, end):
        tau, idle, passed, c, held = 0.0, 0, 0, cell[i], 0.0
        fate[i] = CARRIED
        while True:
            slope = after[c] - before[c]
            rho = before[c] + slope * tau
            vacuum = rho == 0.0 and slope == 0.0 and held > 0.0  # crossed in no time
            if not (rho > 0.0 or vacuum):
                fate[i] = EMPTY
                break
            divergence = 0.0
            for k in range(sides):
                s_face = face[c, k]
                q = 0.0
                if s_face >= 0:
                    q = mass[s_face] / volume[c]
                    q = q if owner[s_face] == c else -q
                outward[k] = weight * q
                divergence += q
            left = math.inf if vacuum else (1.0 - tau) / rho * log_ratio(slope * (1.0 - tau) / rho)
            side, s = next_exit(height, i, outward, group, left)
            if not s < math.inf:
                fate[i] = EMPTY
                break
            advance(height, i, outward, group, s)
            log_det[i] += 0.0 if vacuum else divergence * s
            if side < 0:
                break
            step = rho * s * exp_ratio(slope * s)
            tau = min(tau + step, 1.0)
            entered = other[c, side]
            enter(height, i, nodes, c, side, entered, grid)
            beyond = before[entered] + (after[entered] - before[entered]) * tau
            if not vacuum:
                held = rho * math.exp(slope * s)  # > 0 also if round-off takes tau to the end, where it may be 0
            if beyond > 0.0:
                log_det[i] += math.log(held / beyond)
            c = entered
            passed += vacuum
            idle = 0 if vacuum or step >= _NO_ADVANCE else idle + 1
            if idle > _CIRCLES or passed > len(volume):
                break
        cell[i] = c
