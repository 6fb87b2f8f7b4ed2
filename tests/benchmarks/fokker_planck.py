"""python -m tests.benchmarks fokker-planck [CELLS] [ROUNDS]: fvflow against FiPy on the same linear system.

The two-dimensional Ornstein-Uhlenbeck process (drift -A x, A symmetric, eigenvalues 4 and 1; eps = 0.5) on CELLS^2
cells, 50 steps of implicit Euler with exponential fitting. One process a run, one thread, interleaved rounds; one JSON
line a run, then the medians and their ratio. CPU seconds, as the machine may be shared. Set-up and the first step, in
which matrices and caches are filled, are counted apart.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from itertools import pairwise
from typing import Any

import numpy as np

STEPS, STEP, EPSILON, HALF = 50, 0.01, 0.5, 4.0
FIPY_STEPS = 6  # of the 50; a step costs the same throughout
_C, _S = np.cos(np.pi / 6), np.sin(np.pi / 6)
A = np.array([[_C, -_S], [_S, _C]]) @ np.diag([4.0, 1.0]) @ np.array([[_C, _S], [-_S, _C]])


def fvflow(cells: int) -> dict[str, Any]:
    """fvflow: the whole run, from the case to the error against the closed form."""
    from fvflow.case import Case

    begun = time.process_time()
    case = Case.parse(f"""
        mesh: {{kind: box, lower: [{-HALF}, {-HALF}], upper: [{HALF}, {HALF}], cells: [{cells}, {cells}]}}
        flow:
          kind: fokker-planck
          epsilon: {EPSILON}
          potential: 0.5*({A[0, 0]}*x**2 + 2*({A[0, 1]})*x*y + {A[1, 1]}*y**2)
        initial: {{kind: gaussian, mean: [1.0, 0.5], covariance: [[0.15, 0], [0, 0.15]]}}
        times: {{end: {STEPS * STEP}, step: {STEP}}}
        exact: {{kind: gaussian}}
        """)
    prepared = case.prepare()
    times: list[float] = []
    for _ in prepared.frames(lambda state: times.append(time.process_time())):
        pass
    steady = [after - before for before, after in pairwise(times[1:])]
    figures = prepared.figures()
    return {
        "setup_s": times[1] - begun,
        "step_s": sum(steady) / len(steady),
        "l1_err": figures["error_l1"],
        "mass_err": figures["mass_drift"],
    }


def fipy(cells: int, solver: str) -> dict[str, Any]:
    """FiPy with a solver of its scipy suite, at its default tolerance."""
    os.environ["FIPY_SOLVERS"] = "scipy"
    sys.argv = sys.argv[:1]
    import fipy as fp

    begun = time.process_time()
    spacing = 2 * HALF / cells
    mesh = fp.Grid2D(nx=cells, ny=cells, dx=spacing, dy=spacing) + np.array([[-HALF], [-HALF]])
    centre = np.asarray(mesh.cellCenters) - [[1.0], [0.5]]
    value = np.exp(-0.5 * (centre**2).sum(axis=0) / 0.15)
    rho = fp.CellVariable(mesh=mesh, value=value / value.sum() / spacing**2, hasOld=True)
    velocity = fp.FaceVariable(mesh=mesh, rank=1, value=-A @ np.asarray(mesh.faceCenters))
    equation = fp.TransientTerm() + fp.ExponentialConvectionTerm(coeff=velocity) == fp.DiffusionTerm(coeff=EPSILON)
    chosen = getattr(fp, solver)()
    times = []
    for _ in range(FIPY_STEPS):
        rho.updateOld()
        equation.solve(var=rho, dt=STEP, solver=chosen)
        times.append(time.process_time())
    mass = float(np.asarray(rho.value).sum() * spacing**2)
    return {"setup_s": times[0] - begun, "step_s": (times[-1] - times[0]) / (FIPY_STEPS - 1), "mass_err": abs(mass - 1)}


RUNS = {
    "fvflow": fvflow,
    "fipy lu": lambda cells: fipy(cells, "LinearLUSolver"),  # its default here
    "fipy bicgstab": lambda cells: fipy(cells, "LinearBicgstabSolver"),  # its fastest here
}


def one(name: str, cells: int) -> None:
    """One run in this process, as a JSON line."""
    result = RUNS[name](cells)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    result = {"peer": name, "case": "ou2d", "n": cells, **result, "peak_mb": round(peak, 1)}
    print(
        json.dumps({key: float(f"{value:.4g}") if isinstance(value, float) else value for key, value in result.items()})
    )


def main(cells: int = 256, rounds: int = 3) -> None:
    """All runs, interleaved, then the ratios."""
    seconds: dict[str, list[float]] = {name: [] for name in RUNS}
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    for _ in range(rounds):
        for name in RUNS:
            command = [sys.executable, "-W", "ignore", "-m", "tests.benchmarks.fokker_planck", name, str(cells)]
            line = subprocess.run(
                command, env=environment, capture_output=True, text=True, check=True
            ).stdout.splitlines()[-1]
            print(line, flush=True)
            seconds[name].append(json.loads(line)["step_s"])
    print(f"\n{'':14}{'ms a step':>12}{'fvflow is faster by':>22}")
    for name, found in seconds.items():
        ratio = statistics.median(other / mine for other, mine in zip(found, seconds["fvflow"], strict=True))
        print(f"{name:14}{1e3 * statistics.median(found):12.4g}{ratio:22.1f}")


if __name__ == "__main__":
    one(sys.argv[1], int(sys.argv[2]))
