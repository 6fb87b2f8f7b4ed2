"""Runs that are killed at random moments, and resumed to their end.

    python -m tests.kills --count 100 [--kind linear] [--signal KILL | TERM] [--seed 0]

compares each result with that of an uninterrupted run, all arrays and attributes to the last bit, and prints how many
were equal, and how many runs ended before the signal reached them.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

import fvflow
from tests.resume_cases import different

_RUN = [sys.executable, "-m", "fvflow"]
_DRIFT = "{kind: fokker-planck, epsilon: 0.5, potential: (1 + t)*(x**2 + y**2)/2%s}"
_BUMP = "{kind: gaussian, mean: [%s], covariance: [[0.01, 0], [0, 0.01]], truncate: 0.1, mass: 1}"
_GRID = "mesh: {kind: box, lower: [-3, -3], upper: [3, 3], cells: [40, 40]}\n"
_START = "initial: {kind: gaussian, mean: [0.5, 0.2], covariance: [[0.3, 0], [0, 0.3]]}\n"
_EVERY = "output: {checkpoint: {steps: 5}}\n"
KINDS = {
    "linear": _GRID + f"flow: {_DRIFT % ''}\n{_START}times: {{end: 1, step: 0.005, save: 0.01}}\n{_EVERY}",
    "adaptive": _GRID
    + f"flow: {_DRIFT % ', stepper: {kind: tr-bdf2}'}\n{_START}"
    + f"times: {{end: 1, step: {{initial: 0.01, tolerance: 1e-6}}, save: 0.03}}\n{_EVERY}",
    "muscl": _GRID
    + "flow: {kind: fokker-planck, epsilon: 0.1, stream: x**2 + y**2, stepper: {kind: muscl}}\n"
    + f"{_START}times: {{end: 0.5, step: 0.005, save: 0.02}}\n{_EVERY}",
    "gradient": "mesh: {kind: box, lower: [-3], upper: [3], cells: [200]}\n"
    "flow: {kind: gradient-flow, energy: [{kind: porous-medium, exponent: 2}, {kind: potential, potential: x**2}]}\n"
    "initial: {kind: gaussian, mean: [0.5], covariance: [[0.2]]}\n"
    f"times: {{end: 1, step: 0.005, save: 0.05}}\n{_EVERY}",
    "multigrid": "mesh: {kind: box, lower: [-3, -3], upper: [3, 3], cells: [24, 24]}\n"
    "flow: {kind: gradient-flow, energy: [{kind: entropy, epsilon: 0.5}, {kind: potential, potential: x**2 + y**2}], "
    "stepper: {kind: ljko, solver: {kind: multigrid}}}\n"
    f"{_START}times: {{end: 0.5, step: {{initial: 0.01, tolerance: 1e-3}}, save: 0.1}}\n{_EVERY}",
    "transport": "mesh: {kind: box, lower: [0, 0], upper: [1, 1], cells: [32, 32]}\n"
    f"flow: {{kind: transport, target: {_BUMP % '0.6, 0.7'}, intervals: 16, solver: {{kind: primal-dual}}}}\n"
    f"initial: {_BUMP % '0.3, 0.4'}\noutput: {{checkpoint: {{steps: 20}}}}\n",
    "interior-point": "mesh: {kind: box, lower: [0, 0], upper: [1, 1], cells: [16, 16]}\n"
    f"flow: {{kind: transport, target: {_BUMP % '0.6, 0.7'}, intervals: 12, solver: {{kind: interior-point}}}}\n"
    f"initial: {_BUMP % '0.3, 0.4'}\noutput: {{checkpoint: {{steps: 1}}}}\n",
}


@cache
def straight(text: str) -> tuple[Path, float]:
    """The result of the uninterrupted run of a case, and the seconds that it takes as a process."""
    folder = Path(tempfile.mkdtemp(prefix="straight-"))
    (folder / "r.yaml").write_text(text)
    subprocess.run([*_RUN, "run", "r.yaml", "-q"], cwd=folder, check=True)  # compiles
    started = time.perf_counter()
    subprocess.run([*_RUN, "run", "r.yaml", "-q"], cwd=folder, check=True, stderr=subprocess.DEVNULL)
    return folder / "r.nc", time.perf_counter() - started


def killed_and_resumed(text: str, folder: Path, random: np.random.Generator, number: int) -> str:
    """Whether a run that gets a signal at random moments, at most three times, ends in the uninterrupted result."""
    result, seconds = straight(text)
    folder.mkdir()
    (folder / "r.yaml").write_text(text)
    outcome = _stopped([*_RUN, "run", "r.yaml", "-q"], folder, random.uniform(0.2, 1.0) * seconds, number)
    for _ in range(int(random.integers(3))):
        if not outcome:
            outcome = _stopped([*_RUN, "resume", "r.yaml", "-q"], folder, random.uniform(0.3, 1.0) * seconds, number)
    if outcome:
        return outcome
    for part in folder.glob("r.parts"):
        if (part / "frames.log").exists() and (part / "header.nc").exists():
            with fvflow.read(part) as ds:  # whatever there is, is readable
                np.isfinite(ds.rho.values).all()
    done = subprocess.run([*_RUN, "resume", "r.yaml", "-q"], cwd=folder, capture_output=True, text=True)
    if done.returncode and "is finished" not in done.stderr:
        return f"resume: {done.stderr}"
    return ", ".join(different(result, folder / "r.nc")) or "equal"


def _stopped(command: list[str], folder: Path, seconds: float, number: int) -> str:
    """Why a process that gets a signal after so many seconds did not end as it should; empty if it did."""
    process = subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True)
    time.sleep(seconds)
    process.send_signal(number)
    _, messages = process.communicate(timeout=60)
    fine = process.returncode in (0, -number, 128 + number)
    return "" if fine or "is finished" in messages else f"exit {process.returncode}: {messages}"


def main() -> None:
    """Kill and resume them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--signal", default="KILL")
    parser.add_argument("--kind", choices=KINDS)
    options = parser.parse_args()
    number: Any = getattr(signal, f"SIG{options.signal}")
    random, outcomes = np.random.default_rng(options.seed), Counter[str]()
    kinds = [options.kind] if options.kind else list(KINDS)
    for index in range(options.count):
        kind = kinds[index % len(kinds)]
        with tempfile.TemporaryDirectory() as folder:
            outcome = killed_and_resumed(KINDS[kind], Path(folder) / "r", random, number)
        outcomes[outcome] += 1
        if outcome != "equal":
            print(kind, index, outcome)
    print(dict(outcomes))


if __name__ == "__main__":
    main()
