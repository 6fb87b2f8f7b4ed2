"""Estimates of the error in time against the error, on random cases from seeds.

    python -m tests.time_errors --seed 1 --count 12 [--stepper midpoint]

prints each case whose estimate is not within a factor 3 of the difference from a run in shorter steps, and for each
stepper how many are. The ratio of steps of `CompanionMonitor` was chosen on seed 0.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

import numpy as np

from fvflow.case import Case
from fvflow.errors import FvflowError
from fvflow.mesh import Array

LINEAR = ("implicit-euler", "crank-nicolson", "tr-bdf2", "split-euler", "split-crank-nicolson")
GRADIENT = ("ljko", "implicit-euler", "midpoint", "evbdf2", "jko")
DRIFTS = (
    "-(x - {size:.2f}*sin({rate:.2f}*t))*{slope:.2f}",
    "{size:.2f}*cos({rate:.2f}*t) - x**3/4",
    "{size:.2f}*sin(x + {rate:.2f}*t) - x/4",
    "(1 + {size:.2f}*sin({rate:.2f}*t))*(-x)*{slope:.2f}",
)
POTENTIALS = ("x**2/2", "(x**2-1)**2/4", "abs(x)", "0.3*cos(3*x)")


def sample(seed: int, number: int, stepper: str, *, linear: bool) -> Case:
    """Case `number` of a seed: a drift that depends on t, or a gradient flow."""
    random = np.random.default_rng([seed, number])
    dimension = 2 if random.random() < 0.4 else 1
    cells = int(random.integers(16, 30)) if dimension == 2 else int(random.integers(50, 120))
    size, rate, slope, epsilon = random.uniform(0.2, 2), *10 ** random.uniform([-0.3, -0.3, -1], [1, 0.5, 0.2])
    end, steps = float(random.choice([0.3, 1, 3])), int(random.choice([20, 40, 80, 160]))
    mean, variance = random.uniform(-1, 1, dimension).tolist(), float(random.uniform(0.15, 0.6))
    box = {"lower": [-4] * dimension, "upper": [4] * dimension, "cells": [cells] * dimension}
    if linear:
        drift = str(random.choice(DRIFTS)).format(size=size, rate=rate, slope=slope)
        flow: dict[str, Any] = {"kind": "fokker-planck", "epsilon": float(epsilon), "velocity": [drift]}
        flow["velocity"] += ["x - y/2 + sin(t)"] if dimension == 2 else []
    else:
        exponent = float(random.choice([1.5, 2, 3]))
        energy: list[dict[str, Any]] = [{"kind": "porous-medium", "exponent": exponent}]
        if random.random() < 0.6:
            energy = [{"kind": "entropy", "epsilon": float(epsilon)}, *(energy if random.random() < 0.5 else [])]
        if random.random() < 0.8:
            square = " + y**2/2" if dimension == 2 else ""
            energy.append({"kind": "potential", "potential": str(random.choice(POTENTIALS)) + square})
        if random.random() < 0.25:
            energy.append({"kind": "interaction", "kernel": "r**2/2"})
        flow = {"kind": "gradient-flow", "energy": energy}
    flow["stepper"] = {"kind": stepper, **({"accuracy": 1e-3} if stepper == "jko" else {})}
    initial = {"kind": "gaussian", "mean": mean, "covariance": (variance * np.eye(dimension)).tolist()}
    times = {"end": end, "step": end / steps, "save": end / float(random.choice([1, 1, 2, 5]))}
    return Case.parse(json.dumps({"mesh": {"kind": "box", **box}, "flow": flow, "initial": initial, "times": times}))


def ratio(case: Case) -> tuple[float, float, str]:
    """The estimate over the largest error at a saved time, that error, and why there is no estimate."""
    simulation, coarse = saved(case)
    order, watch = int(case.flow.order_in_time), simulation.statistics.time_error
    parts = 8 if order == 1 else 4
    _, fine = saved(case.replace({"times.step": case.times.step / parts}))
    off = [simulation.mesh.volume @ np.abs(one - other) for one, other in zip(coarse, fine, strict=True)]
    error = float(max(off)) / simulation.initial.mass / (1 - parts**-order)
    return simulation.figures().get("time_error", np.nan) / error, error, watch.fault


def saved(case: Case) -> tuple[Any, list[Array]]:
    """The simulation, after its run, and the densities at the saved times."""
    simulation = case.prepare()
    return simulation, [frame.density for frame in simulation.frames()]


def main() -> None:
    """Run a seed."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=12)
    parser.add_argument("--stepper")
    options = parser.parse_args()
    for stepper, linear in [*((name, True) for name in LINEAR), *((name, False) for name in GRADIENT)]:
        if options.stepper not in (None, stepper):
            continue
        ratios, untold = [], 0
        for number in range(options.count):
            try:
                found, error, fault = ratio(sample(options.seed, number, stepper, linear=linear))
            except FvflowError as failure:
                print(f"  {stepper} {number}: {str(failure)[:100]}", flush=True)
                continue
            untold += np.isnan(found)
            ratios += [] if np.isnan(found) else [found]
            if not 1 / 3 < found < 3:
                print(f"  {stepper} {number}: {found:.2f} of {error:.2e} {fault[:100]}", flush=True)
        inside = sum(1 / 3 < found < 3 for found in ratios)
        print(
            f"{stepper}{' (drift in t)' if linear else ''}: {inside} of {len(ratios)} within 3, "
            f"{min(ratios):.2f} to {max(ratios):.2f}, {untold} not estimated",
            flush=True,
        )


if __name__ == "__main__":
    main()
