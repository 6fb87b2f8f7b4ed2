"""Random gradient-flow steps: energy x potential x data x mesh x step, from seeds.

    python -m tests.jko_cases --seed 1 --count 400 [--interaction] [--mobility upwind] [--list]

prints what failed or took long, and one JSON line: failures, halved steps, fallbacks, switches of method, Newton
iterations a step (mean, 99th percentile, largest), worst mass error and energy increase. `ljko` was tuned on seed 0.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from fvflow.energies import Entropy, Interaction, PorousMedium, Potential, TotalEnergy
from fvflow.errors import FvflowError
from fvflow.linalg import inner
from fvflow.mesh import Box, Graded, Mesh, Voronoi
from fvflow.problems import GradientFlow, State
from fvflow.steppers import LJKO, GradientStepperBase

EXPONENTS = [1.01, 1.1, 1.5, 2, 3, 4, 5, 6, 8, 12, 20]
KERNELS = ["r**2/2", "-exp(-r**2)", "-max(1-r,0)", "0.3*r**4", "exp(-r**2)"]


@dataclass(frozen=True, eq=False)
class Sample:
    """One problem, its initial state and a step."""

    name: str
    problem: GradientFlow
    initial: State
    step: float


def sample(seed: int, number: int, interaction: bool = False) -> Sample:
    """Case `number` of a seed."""
    random = np.random.default_rng([seed, number])
    mesh = _mesh(random)
    energies: list[Any] = _energies(random, mesh.dimension)
    potential = _potential(random, mesh.dimension)
    data, density = _density(random, mesh)
    step = float(10 ** random.uniform(-5, 2))
    if interaction and (mesh.edges is not None and mesh.nonuniformity < 1e-9):
        energies.append(Interaction(str(random.choice(KERNELS))))
    if potential is not None:
        energies.append(Potential(potential))
    terms = tuple(energy.on(mesh, {}) for energy in energies)
    kinds = " + ".join(str(energy) for energy in energies)
    name = f"{seed}:{number} {mesh.dimension}D {mesh.cells} cells, {kinds}, {data}, step {step:.1e}"
    return Sample(name, GradientFlow(mesh, TotalEnergy(mesh.volume, terms)), State.initial(mesh, density), step)


def _mesh(random: np.random.Generator) -> Mesh:
    kind = random.choice(["line", "line", "graded", "grid", "grid", "voronoi", "cube"])
    if kind == "line":
        return Box((-1.0,), (1.0,), (int(random.integers(50, 400)),)).build()
    if kind == "graded":
        ratio = float(np.exp(random.uniform(-2, 2)))
        return Graded((-1.0,), (1.0,), (int(random.integers(50, 300)),), (ratio,)).build()
    if kind == "grid":
        return Box((-1.0, -1.0), (1.0, 1.0), tuple(int(n) for n in random.integers(12, 40, 2))).build()
    if kind == "voronoi":
        count = int(random.integers(10, 24))
        box = {"lower": (-1.0, -1.0), "upper": (1.0, 1.0)}
        return Voronoi(**box, cells=(count, count), seed=int(random.integers(1000))).build()
    return Box((-1.0,) * 3, (1.0,) * 3, (int(random.integers(6, 11)),) * 3).build()


def _energies(random: np.random.Generator, dimension: int) -> list[Any]:
    kind = random.choice(["entropy", "porous", "porous", "porous", "fast", "sum"])
    if kind == "entropy":
        return [Entropy(float(10 ** random.uniform(-4, 0)))]
    if kind == "porous":
        usual = random.random() < 0.6
        exponent = float(random.choice(EXPONENTS)) if usual else float(1 + 10 ** random.uniform(-2, 1.28))
        return [PorousMedium(exponent, float(10 ** random.uniform(-2, 1)))]
    if kind == "fast":
        least = max(1 - 1 / dimension + 0.02, 0.3)
        return [PorousMedium(float(random.uniform(least, 0.95)), float(10 ** random.uniform(-1, 0.5)))]
    entropy = Entropy(float(10 ** random.uniform(-4, -1)))
    return [entropy, PorousMedium(float(random.choice([2, 3, 5, 8])), float(10 ** random.uniform(-2, 0)))]


def _potential(random: np.random.Generator, dimension: int) -> str | None:
    """None, or V of a range from .1 to 1000."""
    size, centre = float(10 ** random.uniform(-1, 3)), random.uniform(-0.6, 0.6, 3)
    axes = "xyz"[:dimension]
    square = "+".join(f"({axis}-({at:.3f}))**2" for axis, at in zip(axes, centre, strict=False))
    return {
        "none": None,
        "bowl": f"{size / dimension:.4g}*({square})/2",
        "slope": f"{size / 2:.4g}*({'+'.join(axes)})/{dimension}",
        "wells": f"{size:.4g}*(({square})-0.3)**2/{4 * dimension**2}",
        "kink": f"{size:.4g}*max(abs(x)-0.3,0)",
    }[str(random.choice(["none", "bowl", "slope", "wells", "kink"]))]


def _density(random: np.random.Generator, mesh: Mesh) -> tuple[str, Any]:
    kind = str(random.choice(["gaussian", "patch", "spike", "square", "tails", "uniform"]))
    centre, width = random.uniform(-0.5, 0.5, mesh.dimension), float(random.uniform(0.05, 0.4))
    offset = mesh.centre - centre
    radius = np.sqrt((offset**2).sum(axis=1))
    nearest = np.arange(mesh.cells) == int(np.argmin(radius))
    density = {
        "gaussian": np.exp(-((radius / width) ** 2) / 2),
        "patch": 1.0 * (radius < width),
        "spike": 1.0 * nearest,
        "square": 1.0 * (np.abs(offset).max(axis=1) < width),
        "tails": np.exp(-3 * np.abs(offset).sum(axis=1) / width),
        "uniform": np.ones(mesh.cells),
    }[kind]
    density = density if density.any() else 1.0 * nearest
    return kind, density / inner(mesh.volume, density)


def outcomes(stepper: GradientStepperBase, samples: Iterator[Sample], steps: int = 3) -> Iterator[dict[str, Any]]:
    """What became of each: a failure in words, the counts of its steps, the worst mass error and energy increase."""
    for one in samples:
        found: dict[str, Any] = {"name": one.name, "failure": "", "iterations": [], "mass": 0.0, "energy": -np.inf}
        found |= {"halvings": 0, "fallbacks": 0, "switches": 0}
        state, energy = one.initial, one.problem.total
        try:
            step = stepper.start(one.problem)
            for _ in range(steps):
                before = energy.value(state.density)
                state = step(state, one.step)
                after = energy.value(state.density)
                found["iterations"].append(state.iterations)
                for count in ("halvings", "switches"):
                    found[count] += getattr(state, count)
                found["fallbacks"] += bool(state.fallback)
                found["mass"] = max(found["mass"], abs(inner(one.problem.mesh.volume, state.density) - 1.0))
                found["energy"] = max(found["energy"], (after - before) / max(abs(before), abs(after), 1e-300))
                assert state.density.min() >= 0
        except FvflowError as error:
            found["failure"] = str(error)
        yield found


def summary(found: list[dict[str, Any]]) -> dict[str, Any]:
    """The figures of many outcomes."""
    counts = np.array([count for one in found for count in one["iterations"]])
    return {
        "cases": len(found),
        "failures": sum(bool(one["failure"]) for one in found),
        "steps": len(counts),
        **{name: sum(one[name] for one in found) for name in ("halvings", "fallbacks", "switches")},
        "mean": round(float(counts.mean()), 2),
        "p99": float(np.percentile(counts, 99)),
        "largest": int(counts.max()),
        "mass": max(one["mass"] for one in found),
        "energy": max(one["energy"] for one in found),
    }


def main() -> None:
    """Run a seed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--interaction", action="store_true")
    parser.add_argument("--mobility", default="limited")
    options = parser.parse_args()
    samples = (sample(options.seed, number, options.interaction) for number in range(options.count))
    found = []
    for one in outcomes(LJKO(mobility=options.mobility), samples):
        found.append(one)
        if one["failure"] or max(one["iterations"], default=0) > 100:
            print(one["name"], one["iterations"], one["failure"], flush=True)
    print(json.dumps({"seed": options.seed, **summary(found)}))


if __name__ == "__main__":
    main()
