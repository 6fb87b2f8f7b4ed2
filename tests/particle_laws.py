"""The laws of particles on samples larger than those of the tests.

    python -m tests.particle_laws --seed 1

prints the weak errors of both steppers for an Ornstein-Uhlenbeck process, against its exact steps with the same noise,
and their orders; the chi-square p-values of 20 seeds of a uniform density between reflecting walls, on a box, an L and
a disc; what is left of particles with a drift in a disc whose wall absorbs, and in an L whose corner does; and the
p-value of jumps between triangles against implicit Euler.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from pathlib import Path

import numpy as np

from fvflow.case import Case
from fvflow.lagrangian.philox import NOISE, random_numbers

CASES = Path(__file__).parents[1] / "cases"
MESHES = {
    "box": "{kind: box, lower: [0, 0], upper: [1, 1], cells: [20, 20]}",
    "L": f"{{kind: gmsh, file: {CASES}/l-shape.msh}}",
    "disc": f"{{kind: gmsh, file: {CASES}/disc.msh}}",
}
COUNT = 200_000


def case(flow: str, initial: str, times: str, mesh: str, more: str = "") -> Case:
    """A case from its parts in YAML."""
    return Case.parse(f"mesh: {mesh}\nflow: {{{flow}}}\ninitial: {initial}\ntimes: {{{times}}}\n{more}")


def weak_errors(stepper: str, length: float, seed: int) -> list[float]:
    """Errors of the mean, the variance and the fourth moment at t = 1."""
    flow = (
        f"kind: particles, epsilon: 0.5, potential: x**2/2, count: {COUNT}, seed: {seed}, stepper: {{kind: {stepper}}}"
    )
    initial, mesh = (
        "{kind: gaussian, mean: [3], covariance: [[1]]}",
        "{kind: box, lower: [-20], upper: [20], cells: [400]}",
    )
    found = case(flow, initial, f"end: 1, step: {length}", mesh).run().position.values[:, :, 0]
    x, factor = found[0], math.exp(-length)
    for step in range(round(1 / length)):
        noise = random_numbers(np.arange(COUNT), 1, step, NOISE, seed, normal=True)[:, 0]
        x = factor * x + math.sqrt(0.5 * (1 - factor**2)) * noise
    y = found[-1]
    return [float(y.mean() - x.mean()), float(y.var() - x.var()), float((y**4 - x**4).mean())]


def main() -> None:
    """Print all of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    seed = parser.parse_args().seed
    for stepper in ("euler-maruyama", "stochastic-heun"):
        errors = np.array([weak_errors(stepper, length, seed) for length in (0.2, 0.1, 0.05)])
        print(stepper, "errors of mean, variance, fourth moment", errors.tolist())
        print(stepper, "orders", np.log2(errors[:-1] / errors[1:]).round(2).tolist())
    for name, mesh in MESHES.items():
        flow = "kind: particles, epsilon: 0.25, count: 20000, seed: {}"
        runs = (
            case(
                flow.format(1000 * seed + each), "{kind: uniform}", "end: 0.5, step: 0.05", mesh, "exact: {kind: gibbs}"
            )
            for each in range(20)
        )
        p = [float(run.run().chi_square_p) for run in runs]
        print(f"uniform on {name}: p from {min(p):.4f} to {max(p):.4f}")
    for name, law, end in (("disc", "epsilon: 1, potential: x**2/4 + x*y/8", 2.0), ("L", "epsilon: 0.3", 0.3)):
        walls = "walls: {wall: absorbing}"
        whole = f"kind: fokker-planck, {law}, stepper: {{kind: tr-bdf2}}"
        survival = case(whole, "{kind: uniform}", f"end: {end}, step: {end / 200}", MESHES[name], walls).run().survival
        flow = f"kind: particles, {law}, count: {COUNT}, seed: {seed}"
        lengths = [end / 2**level for level in range(1, 6)]
        runs = (case(flow, "{kind: uniform}", f"end: {end}, step: {each}", MESHES[name], walls) for each in lengths)
        apart = [float(run.run().survival[-1] - survival[-1]) for run in runs]
        deviation = math.sqrt(float(survival[-1] * (1 - survival[-1])) / COUNT)
        print(f"absorbing {name}: survival off by", np.round(apart, 5).tolist(), f"standard error {deviation:.5f}")
    law, times = "potential: 0.5*(x**2 + y**2), epsilon: 0.5", "end: 0.3, step: 0.1"
    initial = "{kind: gaussian, mean: [1.6, -0.8], covariance: [[0.4, 0.1], [0.1, 0.5]], sampling: centre}"
    with tempfile.TemporaryDirectory() as folder:
        case(f"kind: fokker-planck, {law}", initial, times, MESHES["disc"]).write(f"{folder}/law.nc")
        flow = (
            f"kind: particles, {law}, count: {COUNT}, seed: {seed}, stepper: {{kind: jump}}, reference: {folder}/law.nc"
        )
        figures = case(flow, initial, times, MESHES["disc"]).run().attrs
    print("jumps:", {name: float(figures[name]) for name in ("mean_deviation", "covariance_deviation", "chi_square_p")})


if __name__ == "__main__":
    main()
