"""python -m tests.benchmarks linear [ROUNDS]: fvflow against FiPy, py-pde and fplanck on the same linear problems.

One process a run, one thread, interleaved rounds; a JSON line a run, then the medians and their ratios. CPU seconds, as
the machine may be shared; set-up and the first step, in which matrices and caches are filled, are counted apart. py-pde
and fplanck take part where the environment variables FVFLOW_PYPDE and FVFLOW_FPLANCK name a Python that has them. A
step is that of implicit Euler; py-pde and fplanck choose their own inner steps between the same times.
"""

from __future__ import annotations

import json
import math
import os
import statistics
import subprocess
import sys
from pathlib import Path

PEERS = Path(__file__).parent / "peers"
FIPY_STEPS = "6"  # a step costs the same throughout
FIPY = {"ou1d": "LinearLUSolver", "ou2d": "LinearBicgstabSolver", "ou3d": "LinearBicgstabSolver"}  # its fastest here
EQUAL = "implicit-euler:1e-8"  # to the tolerance of FiPy's iteration; fvflow's own is 1e-12
SIZES = {"ou1d": 100_000, "ou2d": 512, "ou3d": 32}


def contestants(name: str, n: int) -> dict[str, list[str]]:
    """The command of each run of a problem."""
    found = {
        stepper: [sys.executable, "run_fvflow.py", name, str(n), stepper]
        for stepper in ("split-euler", "implicit-euler", *((EQUAL,) if name != "ou1d" else ()))
    }
    found["fipy"] = [sys.executable, "run_fipy.py", name, str(n), FIPY[name], FIPY_STEPS]
    for peer in ("pypde", "fplanck"):
        python = os.environ.get(f"FVFLOW_{peer.upper()}")
        if python and name == "ou2d":  # the one that both can run
            found[peer] = [python, f"run_{peer}.py", name, str(n // 4)]
    return found


def ran(command: list[str]) -> dict[str, float]:
    """One run, its JSON line told and returned."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    options = {"env": {**os.environ, **threads}, "cwd": PEERS, "capture_output": True, "text": True, "check": True}
    line = subprocess.run([command[0], "-W", "ignore", *command[1:]], **options).stdout.splitlines()[-1]
    print(line, flush=True)
    found: dict[str, float] = json.loads(line)
    return found


def main(rounds: int = 3) -> None:
    """All runs, interleaved, then the table."""
    paces: dict[tuple[str, str], list[float]] = {}
    for _ in range(rounds):
        for name, n in SIZES.items():
            for peer, command in contestants(name, n).items():
                paces.setdefault((name, peer), []).append(ran(command)["ns_per_cell_step"])
    heads = f"{'split-euler is faster by':>26}{'implicit-euler by':>20}{'to 1e-8 by':>12}"
    print(f"\n{'problem':10}{'':20}{'ns a cell and step':>20}{heads}")
    for (name, peer), found in paces.items():
        row = f"{name:10}{peer:20}{statistics.median(found):20.4g}"
        for mine, width in (("split-euler", 26), ("implicit-euler", 20), (EQUAL, 12)):
            ratios = [other / own for other, own in zip(found, paces.get((name, mine), []), strict=False)] or [math.nan]
            row += f"{statistics.median(ratios):{width}.3g}"
        print(row)
