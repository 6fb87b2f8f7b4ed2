"""python -m tests.benchmarks jko [SIDE ...]: CPU time of a Newton iteration of ljko by number of cells.

A porous medium (m = 2) and a Fokker-Planck equation on SIDE^2 cells of the unit square, after one step that fills the
caches. All of a step is counted, also its two linear solves, and divided by its Newton iterations. One JSON line a run.
"""

from __future__ import annotations

import json
import time
from typing import Any

from fvflow.case import Case

ENERGIES = {
    "porous medium": "{kind: porous-medium, exponent: 2}",
    "fokker-planck": "{kind: entropy, epsilon: 0.05}, {kind: potential, potential: 5*((x - 0.6)**2 + (y - 0.6)**2)}",
}


def run(energy: str, side: int, steps: int) -> dict[str, Any]:
    """Steps of 0.01 from a Gaussian bump on a thin background."""
    prepared = Case.parse(f"""
        mesh: {{kind: box, lower: [0, 0], upper: [1, 1], cells: [{side}, {side}]}}
        flow: {{kind: gradient-flow, energy: [{ENERGIES[energy]}]}}
        initial: {{kind: expression, density: exp(-((x - 0.3)**2 + (y - 0.4)**2)/0.02) + 1e-3}}
        times: {{end: 1, step: 0.01}}
        """).prepare()
    step = prepared.case.flow.stepper.start(prepared.problem)
    state = step(prepared.initial, 0.01)
    begun, newton = time.process_time(), 0
    for _ in range(steps):
        state = step(state, 0.01)
        newton += state.iterations
    spent = 1e3 * (time.process_time() - begun)
    figures = {"newton_per_step": newton / steps, "ms_per_newton": spent / newton, "ms_per_step": spent / steps}
    return {"cells": side**2, "case": energy, **{name: float(f"{value:.4g}") for name, value in figures.items()}}


def main(*sides: int) -> None:
    """One line a run, then the growth from the second largest to the largest size."""
    rows = [run(name, side, max(2, 40_000 // side**2)) for side in sides or (20, 40, 128, 512) for name in ENERGIES]
    for row in rows:
        print(json.dumps(row), flush=True)
    for name in ENERGIES:
        last = [row for row in rows if row["case"] == name][-2:]
        cells, cost = (last[-1][key] / last[0][key] for key in ("cells", "ms_per_newton"))
        print(f"{name}: {cells:g} times the cells, {cost:.1f} times the cost of a Newton iteration")
