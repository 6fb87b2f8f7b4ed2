"""Runs that are stopped at a random step and resumed: every stepper, given and adaptive steps, four kinds of mesh.

And solvers without steps in time, stopped in a random iteration.

    python -m tests.resume_cases --seed 1 [--each 3]

compares each resumed result with that of the uninterrupted run, all arrays and attributes, to the last bit, and prints
the counts.
"""

from __future__ import annotations

import argparse
import atexit
import itertools
import json
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

import fvflow
from fvflow import Case
from fvflow.mesh.polytopes import mesh_from_cells
from tests.meshes import acute

LINEAR: list[dict[str, Any]] = [
    *({"kind": kind} for kind in ("implicit-euler", "crank-nicolson", "tr-bdf2", "split-euler")),
    {"kind": "split-crank-nicolson"},
    {"kind": "split-crank-nicolson", "richardson": True},
    {"kind": "chebyshev"},
    {"kind": "uniformisation"},
    {"kind": "muscl"},
    {"kind": "tr-bdf2", "solver": {"kind": "krylov"}},
    {"kind": "implicit-euler", "solver": {"kind": "krylov"}},
]
GRADIENT: list[dict[str, Any]] = [
    *({"kind": kind} for kind in ("ljko", "jko", "midpoint", "evbdf2", "implicit-euler")),
    {"kind": "ljko", "mobility": "upwind"},
    {"kind": "ljko", "solver": {"kind": "multigrid"}},
    {"kind": "jko", "intervals": 2, "solver": {"kind": "multigrid"}},
]
MESHES: dict[str, dict[str, Any]] = {
    "1D": {"kind": "box", "lower": [-3], "upper": [3], "cells": [61]},
    "2D": {"kind": "box", "lower": [-3, -3], "upper": [3, 3], "cells": [15, 12]},
    "triangles": {},  # see `triangles`
    "3D": {"kind": "graded", "lower": [-2] * 3, "upper": [2] * 3, "cells": [7, 6, 5], "ratio": [2, 1, 1]},
}
TRANSPORT: list[dict[str, Any]] = [
    {"kind": "primal-dual", "tolerance": 1e-4},
    {"kind": "primal-dual", "scheme": "cell", "tolerance": 1e-4},
    {"kind": "primal-dual", "gap": 2e-4, "tolerance": 1e-2},  # tightened until the gap is closed
    {"kind": "primal-dual", "iterations": 70},  # stopped by the cap on each grid
    {"kind": "interior-point"},
]
ONLY_GRIDS = ("split-euler", "split-crank-nicolson")
ONLY = {
    "hamilton-jacobi": ("1D", "2D", "3D"),
    "barycentre": ("2D",),
    "gradient-flow": ("1D",),
    "fokker-planck": ("1D", "2D"),
}
"""The meshes of flows that do not take all, or take long."""
WALLED = {"left": {"kind": "partial", "rate": 0.5}, "right": "absorbing"}
FLOWS: list[dict[str, Any]] = [  # of other flows and outputs; + stands for an expression of the axes
    *(
        {"flow": {"kind": "backward", "epsilon": 0.5, "potential": "+", "final": "tanh(x)", "stepper": {"kind": kind}}}
        for kind in ("implicit-euler", "tr-bdf2")
    ),
    *(
        {"flow": {"kind": "particles", "count": 200, "epsilon": 0.5, "potential": "+", "stepper": {"kind": kind}}}
        for kind in ("euler-maruyama", "stochastic-heun", "jump")
    ),
    {"flow": {"kind": "hamilton-jacobi", "potential": "+"}, "hamiltonian": "0.5*({squares}) + 0.3*sqrt(1 + {squares})"},
    {"flow": {"kind": "bridge", "epsilon": 0.3, "potential": "+"}},
    {"flow": {"kind": "barycentre"}},
    {"flow": {"kind": "flow-map", "points": {"kind": "initial", "count": 50, "seed": 1}}},
    {"output": {"map": True, "evi": True, "distance": True, "potential": True}, "flow": {"kind": "gradient-flow"}},
    {"output": {"sides": True, "fluxes": True}, "flow": {"kind": "fokker-planck", "epsilon": 0.5, "potential": "+"}},
]


class Stopped(Exception):
    """The run is stopped."""


@dataclass(frozen=True)
class Resumed:
    """A case, the step or the fraction of the iterations at which it is stopped, and the steps between checkpoints."""

    label: str
    group: str
    case: Case
    stop: float
    every: int


class Stop:
    """A `Progress` that stops a run at a step, or in an iteration, and counts iterations."""

    def __init__(self, step: float = np.inf, iteration: float = np.inf) -> None:
        self._step, self._iteration, self.iterations = step, iteration, 0

    def step(self, state: Any) -> None:
        """Stop there."""
        if state.step >= self._step:
            raise Stopped

    def iteration(self, iterations: int, residual: float, iterate: Any) -> None:
        """Count them, and stop there."""
        self.iterations += 1
        if iterations >= self._iteration:
            raise Stopped


def resumed_cases(seed: int, each: int = 1, meshes: tuple[str, ...] = tuple(MESHES)) -> Iterator[Resumed]:
    """`each` random cases for every stepper, steps and mesh."""
    flows = itertools.chain((("linear", each) for each in LINEAR), (("gradient", each) for each in GRADIENT))
    for place, (family, stepper) in enumerate(flows):
        for number, (steps, mesh) in enumerate(itertools.product(("fixed", "adaptive"), meshes)):
            if mesh == "triangles" and stepper["kind"] in ONLY_GRIDS:
                continue
            for index in range(each):
                random = np.random.default_rng((seed, place, number, index))
                case = _case(random, family, stepper, steps, mesh)
                options = "-".join(str(value) for value in stepper.values() if value != stepper["kind"])
                label = f"{family}-{stepper['kind']}{options}-{steps}-{mesh}-{index}"
                every = int(random.integers(1, 5))
                stop = int(random.integers(2 * every, 12))
                yield Resumed(label, f"{family} {stepper['kind']} {steps} {mesh}", case, stop, every)


def solved_cases(seed: int, each: int = 1) -> Iterator[Resumed]:
    """`each` random cases for every solver of optimal transport and mesh."""
    for number, (solver, mesh) in enumerate(itertools.product(TRANSPORT, ("1D", "2D", "triangles"))):
        if mesh == "triangles" and solver["kind"] == "primal-dual":
            continue
        for index in range(each):
            random = np.random.default_rng((seed, number, index))
            options = "-".join(str(value) for value in solver.values() if value != solver["kind"])
            group = f"transport {solver['kind']} {options} {mesh}"
            yield Resumed(
                f"transport-{solver['kind']}-{options}-{mesh}-{index}",
                group,
                _transport(random, solver, mesh),
                float(random.uniform(0, 1)),
                int(random.integers(1, 20 if solver["kind"] == "primal-dual" else 4)),
            )


def flow_cases(seed: int, each: int = 1) -> Iterator[Resumed]:
    """`each` random cases for every other flow or output and every mesh that it takes."""
    for place, (given, mesh) in enumerate(itertools.product(FLOWS, MESHES)):
        kind = given["flow"]["kind"]
        if mesh not in ONLY.get(kind, MESHES):
            continue
        stepper = given["flow"].get("stepper", {}).get("kind", "")
        name = "-".join(filter(None, (kind, stepper, *given.get("output", {}))))
        for index in range(each):
            random = np.random.default_rng((seed, 7, place, index))
            every = int(random.integers(1, 4))
            case = _flow(random, given, mesh)
            stop = int(random.integers(2 * every, 12)) if case.flow.steps_in_time else float(random.uniform(0, 1))
            yield Resumed(f"{name}-{mesh}-{index}", f"{name} {mesh}", case, stop, every)


def _flow(random: np.random.Generator, given: dict[str, Any], mesh: str) -> Case:
    dimension = {"1D": 1, "3D": 3}.get(mesh, 2)
    axes, step = "xyz"[:dimension], float(10.0 ** random.uniform(-2.3, -1.5))
    small, kind = mesh == "triangles", given["flow"]["kind"]
    terms = " + ".join(f"{random.uniform(0.2, 1):.3f}*{axis}**2" for axis in axes)

    def bump(mean: float) -> dict[str, Any]:
        width = (0.02 if small else 0.3) * np.eye(dimension)
        centre = [0.5 + mean / 5 if small else mean] * dimension
        return {"kind": "gaussian", "mean": centre, "covariance": width.tolist(), "truncate": 0.7}

    flow = {key: terms if value == "+" else value for key, value in given["flow"].items()}
    values: dict[str, Any] = {"output": given.get("output", {}), "initial": bump(0.3)}
    values["mesh"] = {"kind": "ugrid", "file": triangles()} if small else MESHES[mesh]
    if kind in ("backward", "particles"):
        values["walls"] = WALLED if not small else {"rest": "absorbing"}
    if kind == "particles":
        flow["seed"] = int(random.integers(100))
    if kind == "hamilton-jacobi":
        flow["hamiltonian"] = given["hamiltonian"].format(squares=" + ".join(f"p{axis}**2" for axis in axes))
        step = 2e-3
    if kind == "bridge":
        flow["target"] = bump(-0.3)
    if kind == "barycentre":
        corners = [float(x) for x in random.uniform(-2.5, 0, 2)]
        flow["of"] = [{"kind": "uniform", "lower": [x, x], "upper": [x + 2, x + 1.5]} for x in corners]
        values["initial"] = None
    if kind == "flow-map":
        flow["velocity"] = [f"-{axis} + sin(t)" for axis in axes]
    if kind == "gradient-flow":
        energy = [{"kind": "entropy", "epsilon": 0.4}, {"kind": "potential", "potential": terms}]
        flow |= {"energy": energy, "stepper": {"kind": "jko", "intervals": 2}}
    if kind != "barycentre":
        values["times"] = {"end": 13 * step, "step": step, "save": float(random.uniform(1.3, 5)) * step}
    return Case.parse(json.dumps({**values, "flow": flow}))


def _transport(random: np.random.Generator, solver: dict[str, Any], mesh: str) -> Case:
    dimension = 1 if mesh == "1D" else 2
    cells = [[32], [16, 16]][dimension - 1]
    box = {"kind": "box", "lower": [0] * dimension, "upper": [1] * dimension, "cells": cells}

    def bump() -> dict[str, Any]:
        mean = [float(x) for x in random.uniform(0.3, 0.7, dimension)]
        width = float(random.uniform(0.01, 0.03))
        return {
            "kind": "gaussian",
            "mean": mean,
            "covariance": (width * np.eye(dimension)).tolist(),
            "truncate": 0.5,
            "mass": 1,
        }

    flow = {"kind": "transport", "target": bump(), "intervals": 8, "solver": solver, "accept": True}
    values = {
        "mesh": {"kind": "ugrid", "file": triangles()} if mesh == "triangles" else box,
        "flow": flow,
        "initial": bump(),
    }
    return Case.parse(json.dumps(values))


@cache
def triangles() -> str:
    """A file of 56 triangles in the unit square, there until the process ends."""
    folder = tempfile.TemporaryDirectory()
    atexit.register(folder.cleanup)
    file = Path(folder.name) / "triangles.nc"
    fvflow.save_mesh(mesh_from_cells(*acute(1)), file)
    return str(file)


def _case(random: np.random.Generator, family: str, stepper: dict[str, Any], steps: str, mesh: str) -> Case:
    dimension = {"1D": 1, "3D": 3}.get(mesh, 2)
    axes = "xyz"[:dimension]
    potential = " + ".join(f"{random.uniform(0.2, 1):.3f}*{axis}**2" for axis in axes) + " + sin(2*x)/3"
    if family == "linear":
        moving = stepper["kind"] not in ("chebyshev", "uniformisation") and random.random() < 0.5
        shown = f"(1 + t)*({potential})" if moving else potential
        flow = {"kind": "fokker-planck", "epsilon": float(random.uniform(0.2, 1)), "potential": shown}
    else:
        energy = [
            [{"kind": "entropy", "epsilon": float(random.uniform(0.1, 1))}],
            [{"kind": "porous-medium", "exponent": float(random.uniform(1.5, 4))}],
        ][random.integers(2)]
        attraction = [{"kind": "interaction", "kernel": "r**2/4"}] if mesh == "2D" and random.random() < 0.3 else []
        flow = {
            "kind": "gradient-flow",
            "energy": [*energy, {"kind": "potential", "potential": potential}, *attraction],
        }
    step = float(10.0 ** random.uniform(-2.3, -1.2))
    if mesh == "triangles":
        centre, width = [0.6, 0.4], 0.02
    else:
        centre, width = [0.5] + [-0.3] * (dimension - 1), 0.3
    covariance = (width * np.eye(dimension)).tolist()
    given = {"initial": step / 4, "tolerance": 1e-3} if steps == "adaptive" else step
    leaky = family == "linear" and stepper["kind"] not in ("chebyshev", "muscl") and random.random() < 0.5
    values = {
        "walls": {"left": "absorbing", "right": {"kind": "partial", "rate": 0.7}} if leaky else {},
        "mesh": {"kind": "ugrid", "file": triangles()} if mesh == "triangles" else MESHES[mesh],
        "flow": {**flow, "stepper": stepper},
        "initial": {"kind": "gaussian", "mean": centre, "covariance": covariance, "truncate": 0.5},
        "times": {"end": 13 * step, "step": given, "save": float(random.uniform(1.3, 5)) * step},
    }
    return Case.parse(json.dumps(values))


def differences(resumed: Resumed, folder: Path) -> list[str]:
    """The names of the variables and attributes in which the resumed run differs from the uninterrupted one."""
    case = resumed.case.replace({"output.checkpoint": {"steps": resumed.every}})
    straight, stopped = folder / "straight.nc", folder / "stopped.nc"
    case.write(straight, whole := Stop())
    stop = Stop(resumed.stop) if case.flow.steps_in_time else Stop(iteration=resumed.stop * whole.iterations)
    try:
        case.write(stopped, stop)
    except Stopped:
        fvflow.resume(folder / "stopped.parts", watch=(rest := Stop()))
        assert rest.iterations <= whole.iterations - stop.iterations + 1, "it began anew"
    return different(straight, stopped)


def different(one: Path, other: Path) -> list[str]:
    """The names of the variables and attributes in which two results differ."""
    with fvflow.read(one) as a, fvflow.read(other) as b:
        names = [name for name in a.variables if not np.array_equal(a[name].values, b[name].values, equal_nan=True)]
        attributes = [
            name
            for name in {**a.attrs, **b.attrs}
            if name != "history"
            and not np.array_equal(
                a.attrs.get(name), b.attrs.get(name), equal_nan=isinstance(a.attrs.get(name), float | np.floating)
            )
        ]
    return [str(name) for name in (*names, *attributes)]


def main() -> None:
    """Run them all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--each", type=int, default=1)
    options = parser.parse_args()
    equal: Counter[str] = Counter()
    count: Counter[str] = Counter()
    for resumed in itertools.chain(
        *(cases(options.seed, options.each) for cases in (flow_cases, solved_cases, resumed_cases))
    ):
        count[resumed.group] += 1
        with tempfile.TemporaryDirectory() as folder:
            started = time.perf_counter()
            try:
                names = differences(resumed, Path(folder))
            except fvflow.FvflowError as error:
                names = [str(error)]
        equal[resumed.group] += not names
        if (took := time.perf_counter() - started) > 5:
            print(f"{resumed.label} took {took:.0f} s")
        if names:
            print(resumed.label, resumed.stop, resumed.every, *names)
    for group in count:
        print(f"{group:55s} {equal[group]} of {count[group]}")
    print(f"{sum(equal.values())} of {sum(count.values())} equal to the last bit")


if __name__ == "__main__":
    main()
