"""Small cases that are run on several ranks and on one: every stepper, in two and three dimensions.

    mpiexec.hydra -n 2 python -m tests.rank_cases FOLDER NAME...

runs the named cases, all if none is named, one after the other in the same processes, into FOLDER/NAME.nc.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from fvflow import Case
from fvflow.parallel import begin

_WALLS = "left: absorbing, bottom: absorbing, top: {kind: partial, rate: 0.7}"
_CELLS = "'max(abs(x - 0.8) - 0.3, abs(y - 0.8) - 0.6) < 0'"
_VARYING = "diffusion: {value: ['0.1 + 0.05*x**2', '0.1*(1 + t)'], convention: ito}"
_ISOTHERMAL = "diffusion: {value: 0.1 + 0.05*sin(2*pi*y/3), convention: isothermal, temperature: 0.3}"
_KRYLOV = "solver: {kind: krylov}"
PLANE = """
mesh: {{kind: graded, lower: [-1, -1], upper: [1, 2], cells: [37, 23], ratio: [2, 1.5]}}
flow:
  kind: fokker-planck
  epsilon: 0.1
  potential: "x**2/2 + 0.3*y**4 + sin(3*x*y)"
  velocity: ["0.5*y", "-0.2*x"]
  stepper: {{{stepper}}}
initial: {{kind: gaussian, mean: [0.2, 0.1], covariance: [[0.05, 0.01], [0.01, 0.08]], truncate: 0.2}}
times: {{end: 0.03, step: {step}, save: 0.015}}
observe: {{r2: x**2 + y**2}}
output: {{checkpoint: {{steps: 1}}, rate: true}}
"""
SPACE = """
mesh: {{kind: graded, lower: [-1, -1, 0], upper: [1, 2, 1], cells: [7, 9, 8], ratio: [2, 1, 1.5], periodic: [y]}}
flow:
  kind: fokker-planck
  epsilon: 0.1
  potential: "x**2/2*(1 + t) + 0.3*cos(2*pi*y/3) + z*x"
  velocity: ["0.5*z", "-0.2*x", "0.1*sin(t)"]
  stepper: {{{stepper}}}
initial: {{kind: expression, density: "exp(-x**2 - (z - 0.3)**2)*(2 + cos(2*pi*y/3))", mass: 2}}
times: {{end: 0.04, step: 0.01, save: 0.02}}
"""
RING = """
mesh: {{kind: graded, lower: [-1, -1], upper: [1, 2], cells: [17, 15], ratio: [2, 1.5], periodic: [y]}}
flow:
  kind: fokker-planck
  epsilon: 0.1
  potential: "x**2/2*(1 + t) + 0.3*cos(2*pi*y/3)*x"
  velocity: ["0.5*sin(2*pi*y/3)", "1 - 0.2*x*sin(t)"]
  stream: "0.2*sin(2*pi*y/3)*x**2"
  stepper: {{{stepper}}}
initial: {{kind: gaussian, mean: [0.2, 1.7], covariance: [[0.08, 0], [0, 0.09]], truncate: 0.2}}
times: {{end: 0.04, step: 0.01, save: 0.02}}
"""
LINE = """
mesh: {{kind: graded, lower: [0], upper: [1], cells: [61], ratio: [2]}}
flow: {{kind: fokker-planck, epsilon: 0.1, potential: "cos(2*pi*x)", stepper: {{{stepper}}}}}
initial: {{kind: expression, density: "1 + x*(1 - x)", mass: 1}}
times: {{end: 0.04, step: 0.01, save: 0.02}}
"""
EXACT = """
mesh: {kind: box, lower: [-4, -4], upper: [4, 4], cells: [24, 21]}
flow: {kind: fokker-planck, epsilon: 0.5, potential: "x**2/2 + y**2", stepper: {kind: split-crank-nicolson}}
initial: {kind: gaussian, mean: [0.5, 0], covariance: [[0.4, 0], [0, 0.5]]}
exact: {kind: gaussian}
times: {end: 0.3, step: 0.05, save: 0.1}
"""
GIBBS = """
mesh: {kind: box, lower: [-1, -1, 0], upper: [1, 1, 1], cells: [6, 7, 8]}
flow: {kind: fokker-planck, epsilon: 0.1, potential: "x**2 + y**4 + z", stepper: {kind: split-euler}}
initial: {kind: expression, density: "exp(-10*(x**2 + y**4 + z))", sampling: centre, mass: 1}
times: {end: 100, step: 1, save: 50}
"""


def _plane(stepper: str, step: str = "0.005") -> str:
    return PLANE.format(stepper=stepper, step=step)


def _ring(stepper: str) -> str:
    return RING.format(stepper=stepper)


def _opened(stepper: str, plane: str = PLANE, walls: str = _WALLS) -> str:
    """With walls through which mass leaves, and cells that absorb on both sides of where the grid is divided."""
    return f"{plane.format(stepper=stepper, step='0.005')}walls: {{{walls}}}\nabsorbing: [{{where: {_CELLS}}}]\n"


CASES = {
    "split-euler": _plane("kind: split-euler"),
    "adaptive": _plane("kind: split-euler", "{initial: 0.002, tolerance: 1e-3}"),
    "split-crank-nicolson": _plane("kind: split-crank-nicolson"),
    "implicit-euler": _plane(f"kind: implicit-euler, {_KRYLOV}"),
    "crank-nicolson": _plane(f"kind: crank-nicolson, {_KRYLOV}"),
    "muscl": _plane("kind: muscl", "0.015"),
    "chebyshev": _plane("kind: chebyshev", "0.015"),
    "uniformisation": _plane("kind: uniformisation", "0.015"),
    "split-euler-3d": SPACE.format(stepper="kind: split-euler"),
    "switched": SPACE.format(stepper="kind: split-euler")
    .replace("x**2/2*(1 + t)", "(z > 0.8)*(t > 0.015)*x")
    .replace("0.1*sin(t)", "0.1"),  # a drift that changes in the last slab only
    "tr-bdf2-3d": SPACE.format(stepper=f"kind: tr-bdf2, {_KRYLOV}"),
    "muscl-3d": SPACE.format(stepper="kind: muscl"),
    "gibbs": GIBBS,
    "line": LINE.format(stepper="kind: implicit-euler"),
    "line-ring": LINE.format(stepper="kind: split-crank-nicolson").replace("[61]", "[61], periodic: [x]"),
    "absorbing": _opened("kind: split-euler"),
    "absorbing-crank-nicolson": _opened("kind: split-crank-nicolson"),
    "absorbing-krylov": _opened(f"kind: tr-bdf2, {_KRYLOV}"),
    "absorbing-euler": _opened(f"kind: implicit-euler, {_KRYLOV}"),
    "absorbing-ring": _opened(f"kind: crank-nicolson, {_KRYLOV}", RING, "rest: absorbing"),
    "varying": _plane("kind: split-euler").replace("epsilon: 0.1", _VARYING),
    "isothermal": _ring("kind: muscl").replace("epsilon: 0.1", _ISOTHERMAL),
    "exact": EXACT,
    "exact-gibbs": re.sub("initial: .*", "initial: {kind: uniform, upper: [0.5, 1, 1]}", GIBBS)
    + "exact: {kind: gibbs}",
    "placed": re.sub("initial: .*", "initial: {kind: spike, at: [0.2, 0.5]}", _plane("kind: split-euler")),
    "ring": _ring("kind: split-euler"),
    "ring-crank-nicolson": _ring("kind: split-crank-nicolson"),
    "ring-krylov": _ring(f"kind: tr-bdf2, {_KRYLOV}"),
    "ring-muscl": _ring("kind: muscl"),
    "ring-chebyshev": _ring("kind: chebyshev").replace("*(1 + t)", "").replace("sin(t)", "0.3"),
    "rings-3d": SPACE.format(stepper="kind: split-euler")
    .replace("periodic: [y]", "periodic: [x, z]")
    .replace("x**2/2*(1 + t) + 0.3*cos(2*pi*y/3) + z*x", "cos(pi*x)*sin(2*pi*z)*(1 + t) + y")
    .replace('"0.5*z", "-0.2*x"', '"0.5*y", "-0.2*cos(pi*x)"'),
}


def run(folder: Path, names: list[str]) -> None:
    """Run cases on the ranks that there are."""
    begin()
    for name in names or CASES:
        Case.parse(CASES[name], name).write(folder / f"{name}.nc")


if __name__ == "__main__":
    run(Path(sys.argv[1]), sys.argv[2:])
