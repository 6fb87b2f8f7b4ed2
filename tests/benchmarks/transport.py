"""Cost of dynamic transport: CPU time per cell, interval and iteration, memory, error of W2, width of the interval.

Rotated Gaussians on [0, 1]^2, SIDE^2 cells and N intervals, one thread; kernels compiled before. One JSON line a run.
"""

from __future__ import annotations

import json
import time
import tracemalloc
from typing import Any

import numpy as np

from fvflow.fields import gaussian_density
from fvflow.mesh import Box
from fvflow.transport import PrimalDual
from fvflow.transport.chambolle_pock import ChambollePock
from fvflow.transport.space_time_grid import SpaceTimeGrid
from fvflow.wasserstein import bounds, bures

TURN = np.array([[np.cos(0.5), -np.sin(0.5)], [np.sin(0.5), np.cos(0.5)]])
ENDS = (
    (np.array([0.35, 0.4]), 0.05**2 * np.eye(2)),
    (np.array([0.62, 0.6]), TURN @ np.diag([0.065**2, 0.04**2]) @ TURN.T),
)


def run(side: int, intervals: int, scheme: Any, tolerance: float = 1e-5) -> dict[str, Any]:
    """One solve and its certificate."""
    mesh, exact = Box((0.0, 0.0), (1.0, 1.0), (side, side)).build(), bures(*ENDS[0], *ENDS[1])
    one, other = (
        density / (mesh.volume @ density) for density in (gaussian_density(mesh, *e, "average") for e in ENDS)
    )
    tracemalloc.start()
    begun = time.process_time()
    found = PrimalDual(scheme, tolerance).solve(mesh, one, other, intervals)
    spent, peak = time.process_time() - begun, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    begun = time.process_time()
    proved = bounds(mesh, one, other, found.nodal_potential()[-1], width=1e-4)
    return {
        "cells": f"{side}^2 x {intervals}",
        "scheme": scheme,
        "iterations": found.iterations,
        "cpu_s": round(spent, 2),
        "ns_per_cell_and_iteration": round(step_cost(side, intervals, scheme), 1),
        "peak_in_arrays": round(peak / (8 * side**2 * intervals), 1),
        "w2_error": float(f"{abs(found.w2 / exact - 1):.2e}"),
        "width": float(f"{proved.width:.2e}"),
        "upper_error": float(f"{proved.upper / exact - 1:.2e}"),
        "bounds_cpu_s": round(time.process_time() - begun, 2),
    }


def step_cost(side: int, intervals: int, scheme: Any, steps: int = 20) -> float:
    """Nanoseconds CPU of one iteration for each cell and interval."""
    random = np.random.default_rng(0)
    one, other = 1.0 + random.random((2, side, side))
    iteration = ChambollePock(
        SpaceTimeGrid((side, side), (1 / side,) * 2, intervals, (False, False)), one, other, scheme, 0.02, 1.9, 0.0, 10
    )
    iteration.start(None)
    iteration.step()
    begun = time.process_time()
    for _ in range(steps):
        iteration.step()
    return 1e9 * (time.process_time() - begun) / (steps * side**2 * intervals)


def main(*sizes: int) -> None:
    """Sides, each with sixteen intervals, or 32 from 128 on."""
    run(8, 8, "cell", 1e-2), run(8, 8, "face", 1e-2)
    for side in sizes or (32, 64, 128):
        for scheme in ("cell", "face"):
            print(json.dumps(run(side, 32 if side >= 128 else 16, scheme)), flush=True)
