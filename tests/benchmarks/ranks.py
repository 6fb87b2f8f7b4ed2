"""Runs on several ranks: strong and weak scaling, phase by phase, against threads, and a model of more ranks.

    python -m tests.benchmarks ranks [cells along an axis in 2D, in 3D]
    mpiexec.hydra -n 2 python -m tests.benchmarks.ranks run 1024 2 [steps]

The first starts the second with one and two ranks, three rounds in turn, and one rank with two threads. Times are those
of the slowest rank, in seconds of wall time and of its own CPU; ranks that wait are busy, so that on a machine with
other load both are upper bounds. `split-euler` steps of a steady drift.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from typing import Any

import numpy as np

from fvflow import Case
from fvflow.linalg import SplitSweeps, inner
from fvflow.parallel import begin, world
from fvflow.steppers import SplitEuler

CASE = """
mesh: {{kind: box, lower: {lower}, upper: {upper}, cells: {cells}}}
flow: {{kind: fokker-planck, epsilon: 0.1, potential: "{potential}", stepper: {{kind: split-euler}}}}
initial: {{kind: expression, density: "exp(-x**2)", mass: 1}}
times: {{end: 0.01, step: 0.001, save: 0.01}}
"""
_AXES = "xyz"


def case(count: int, dimension: int, factor: int = 1) -> Case:
    """A case with so many cells along each axis, the last one with a multiple of them."""
    cells = [count] * (dimension - 1) + [count * factor]
    potential = " + ".join(f"{axis}**2/{2 + number}" for number, axis in enumerate(_AXES[:dimension]))
    parts = {"lower": [-1.0] * dimension, "upper": [1.0] * dimension, "cells": cells}
    return Case.parse(CASE.format(potential=potential, **parts))


def measured(count: int, dimension: int, steps: int, factor: int = 1) -> dict[str, Any]:
    """Seconds of the phases of a step, and its memory, on the ranks that there are."""
    begin()
    simulation = case(count, dimension, factor).prepare()
    problem, state = simulation.problem, simulation.initial
    step = SplitEuler().start(problem)
    state = step(step(state, 1e-3), 1e-3)
    sweeps, volume = SplitSweeps(problem.matrix(0.0, 1e-3)), problem.mesh.volume
    work = state.density.copy()
    found: dict[str, Any] = {}

    def timed(name: str, action: Any) -> None:
        world().highest(0.0)
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in range(steps):
            action()
        for kind, value in (("wall", time.perf_counter() - wall), ("cpu", time.process_time() - cpu)):
            found[f"{name} {kind} ms"] = round(1e3 * world().highest(value) / steps, 3)

    timed("step", lambda: step(state, 1e-3))
    for axis in range(dimension):
        timed(f"sweep {_AXES[axis]}", lambda axis=axis: sweeps(work, (axis,), out=work))
    timed("inner", lambda: inner(volume, work))
    timed("halo", lambda: world().refresh(work))
    with open("/proc/self/status", encoding="ascii") as file:
        peak = next(float(line.split()[1]) / 1024 for line in file if line.startswith("VmHWM"))
    found["peak MiB"] = round(world().highest(peak), 1)
    return found


def _run(ranks: int, threads: int, *arguments: int) -> dict[str, Any]:
    launcher = [shutil.which("mpiexec.hydra") or "mpiexec.hydra", "-n", str(ranks)] if ranks > 1 else []
    command = [*launcher, sys.executable, "-m", "tests.benchmarks.ranks", "run", *map(str, arguments)]
    environment = {**os.environ, "NUMBA_NUM_THREADS": str(threads)}
    printed = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    found: dict[str, Any] = json.loads(printed.splitlines()[-1])
    return found


def _best(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    return {name: min(each[name] for each in rounds) for name in rounds[0]}


def model(one: dict[str, Any], two: dict[str, Any], count: int, dimension: int, ranks: int) -> float:
    """Modelled speed-up of a step on so many ranks of one machine each: a model, not a measurement.

    Work divided by the ranks; two sums and two exchanges of a layer at their times on two ranks, the sums by the depth
    of a tree; and a pipeline that fills with a chunk of columns, an eighth of a sweep at most, for each rank.
    """
    whole, along = one["step cpu ms"], one[f"sweep {_AXES[dimension - 1]} cpu ms"]
    layer = count ** (dimension - 1)
    chunks = max(4, layer // 2048)
    messages = two["inner wall ms"] * np.log2(max(ranks, 2)) + 2 * two["halo wall ms"]
    filling = (ranks - 1) * along / ranks / chunks
    return float(whole / (whole / ranks + filling + messages))


def main(*cells: int) -> None:
    """Print the figures."""
    load = os.getloadavg()[0]
    print(f"load {load:.1f} on {os.cpu_count()} cores; the best of three rounds in turn")
    for count, dimension in zip(cells or (1024, 96), (2, 3), strict=False):
        steps = max(2, 2**24 // count**dimension)
        rounds: dict[str, list[dict[str, Any]]] = {"1 rank": [], "2 threads": [], "2 ranks": [], "2 ranks, twice": []}
        for _ in range(3):
            rounds["1 rank"].append(_run(1, 1, count, dimension, steps))
            rounds["2 threads"].append(_run(1, 2, count, dimension, steps))
            rounds["2 ranks"].append(_run(2, 1, count, dimension, steps))
            rounds["2 ranks, twice"].append(_run(2, 1, count, dimension, steps, 2))
        best = {name: _best(each) for name, each in rounds.items()}
        print(f"{count}^{dimension}, {steps} steps")
        for name, figures in best.items():
            print(f"  {name:14}", ", ".join(f"{key} {value}" for key, value in figures.items()))
        speed = {ranks: model(best["1 rank"], best["2 ranks"], count, dimension, ranks) for ranks in (2, 4, 8, 16)}
        print("  model, not measured:", ", ".join(f"{ranks} ranks {value:.1f} times" for ranks, value in speed.items()))


if __name__ == "__main__":
    if sys.argv[1] == "run":
        taken = measured(*map(int, sys.argv[2:]))
        if world().rank == 0:
            print(json.dumps(taken))
