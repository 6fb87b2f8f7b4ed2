"""The solver petsc against those of fvflow, on meshes of a disc and a ball: difference, iterations, time and memory.

    python -m tests.petsc_check [--cells 100000] [--preconditioner hypre] [--launch 'mpiexec -n 2']

Each case runs in a process of its own: ten steps of implicit-euler with a potential. One JSON line each; the last of
each mesh has the largest difference from the first solver, relative to the largest density.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from fvflow.case import Case
from fvflow.parallel import begin
from tests.mesh_table import SUBJECTS, Subject

_CASE = """
mesh: {{kind: gmsh, file: {mesh}}}
flow:
  kind: fokker-planck
  epsilon: 0.3
  potential: 2*(x - 0.3)**2 + y
  stepper: {{kind: implicit-euler, solver: {solver}}}
initial: {{kind: gaussian, mean: {mean}, covariance: {covariance}}}
times: {{end: 0.1, step: 0.01}}
"""
_CELLS = {2: 7.3, 3: 4.5}  # cells times size^dimension of these meshes, measured


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=int, default=100_000)
    parser.add_argument("--preconditioner", default="hypre")
    parser.add_argument("--launch", default="", help="what starts several ranks, as 'mpiexec -n 2', for petsc")
    parser.add_argument("--run", type=json.loads, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.run is not None:
        rank = begin().rank
        found = measured(**asked.run)
        if rank == 0:
            print(json.dumps(found))
        return
    for name, solver in (("disc, algorithm 6", "direct"), ("ball, algorithm 1", "krylov")):
        with tempfile.TemporaryDirectory() as folder:
            compared(name, SUBJECTS[name], solver, asked, Path(folder))


def compared(name: str, subject: Subject, solver: str, asked: Any, folder: Path) -> None:
    """Run both solvers on one mesh, and print what was found."""
    dimension = 2 if name.startswith("disc") else 3
    subject.write(folder / "mesh.msh", (_CELLS[dimension] / asked.cells) ** (1 / dimension))
    solvers = (f"{{kind: {solver}}}", f"{{kind: petsc, preconditioner: {asked.preconditioner}}}")
    for number, each in enumerate(solvers):
        text = _CASE.format(
            mesh=folder / "mesh.msh",
            solver=each,
            mean=[0.1] * dimension,
            covariance=(0.04 * np.eye(dimension)).tolist(),
        )
        task = json.dumps({"text": text, "result": str(folder / f"{number}.npy")})
        launch = asked.launch.split() if number else []
        command = [*launch, sys.executable, "-m", "tests.petsc_check", "--run", task]
        found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        print(json.dumps({"mesh": name, "solver": each, "launch": " ".join(launch), **found}), flush=True)
    first, second = (np.load(folder / f"{number}.npy") for number in (0, 1))
    print(json.dumps({"mesh": name, "difference": float(np.abs(first - second).max() / first.max())}), flush=True)


def measured(text: str, result: str) -> dict[str, Any]:
    """Run a case, save its last density, and return what it cost."""
    simulation = Case.parse(text).prepare()
    start = time.process_time()
    for frame in simulation.frames():
        density = frame.density
    np.save(result, density)
    figures = simulation.figures()
    kept = {name: figures[name] for name in ("mass_drift", "minimum", "iterations")}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"cells": simulation.mesh.cells, "cpu_s": round(time.process_time() - start, 2), "MiB": round(peak), **kept}


if __name__ == "__main__":
    main()
