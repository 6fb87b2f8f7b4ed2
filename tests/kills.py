"""Runs that are killed at random moments, or for which the disk is full, and resumed to their end.

    python -m tests.kills --count 100 [--kind linear] [--signal KILL | TERM] [--full] [--seed 0]

compares each result with that of an uninterrupted run, all arrays and attributes to the last bit, and prints how many
were equal, and how many runs ended before the signal reached them.
"""

from __future__ import annotations

import argparse
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np

import fvflow
from fvflow.cli import commands
from fvflow.errors import OutputError
from tests.resume_cases import different

_DRIFT = "{kind: fokker-planck, epsilon: 0.5, potential: (1 + t)*(x**2 + y**2)/2%s}"
_BUMP = "{kind: gaussian, mean: [%s], covariance: [[0.01, 0], [0, 0.01]], truncate: 0.1, mass: 1}"
_GRID = "mesh: {kind: box, lower: [-3, -3], upper: [3, 3], cells: [40, 40]}\n"
_START = "initial: {kind: gaussian, mean: [0.5, 0.2], covariance: [[0.3, 0], [0, 0.3]]}\n"
_EVERY, _OFTEN = (f"output: {{checkpoint: {{steps: {steps}}}}}\n" for steps in (5, 1))
_DISC = Path("cases/disc.msh").resolve()
_BACKWARD = "{kind: backward, final: tanh(4*x), epsilon: 0.5, potential: (1 + t)*(x**2 + y**2)/2}"
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
    "interior-point": "mesh: {kind: box, lower: [0], upper: [1], cells: [60]}\n"
    "flow: {kind: transport, target: {kind: gaussian, mean: [0.6], covariance: [[0.01]], truncate: 0.1, mass: 1}, "
    "intervals: 16, solver: {kind: interior-point}}\n"
    "initial: {kind: gaussian, mean: [0.3], covariance: [[0.01]], truncate: 0.1, mass: 1}\n"
    "output: {checkpoint: {steps: 1}}\n",
    "bridge": "mesh: {kind: box, lower: [-2, -2], upper: [2, 2], cells: [40, 40]}\n"
    "flow: {kind: bridge, epsilon: 0.1, velocity: [-y, x], target: {kind: gaussian, mean: [0, 1], covariance: "
    "[[0.04, 0], [0, 0.04]]}}\n"
    "initial: {kind: gaussian, mean: [-1, -0.5], covariance: [[0.1, 0], [0, 0.1]]}\n"
    f"times: {{end: 1, step: 0.1, save: 0.1}}\n{_OFTEN}",
    "barycentre": "mesh: {kind: box, lower: [-0.5, -0.5], upper: [0.5, 0.5], cells: [20, 20]}\n"
    "flow: {kind: barycentre, of: [{kind: uniform, lower: [-0.3, -0.2], upper: [0.1, 0.2]}, {kind: expression, "
    f"density: x**2 + y**2 < 0.09, mass: 1}}]}}\n{_OFTEN}",
    "particles": f"mesh: {{kind: gmsh, file: {_DISC}}}\nwalls: {{wall: {{kind: partial, rate: 0.5}}}}\n"
    "flow: {kind: particles, count: 3000, seed: 1, epsilon: 1, potential: x, stepper: {kind: euler-maruyama}}\n"
    "initial: {kind: gaussian, mean: [2, 0], covariance: [[0.05, 0], [0, 0.05]], sampling: centre}\n"
    f"times: {{end: 20, step: 0.1, save: 1}}\n{_EVERY}",
    "hamiltonian": _GRID
    + 'flow: {kind: hamilton-jacobi, potential: cos(x)*y, hamiltonian: "0.5*px**2 + 0.4*px*py + 0.5*py**2 + t*px"}\n'
    + f"{_START}times: {{end: 0.5, step: 0.005, save: 0.03}}\n{_EVERY}",
    "maps": "mesh: {kind: box, lower: [-3, -3], upper: [3, 3], cells: [12, 12]}\n"
    "flow: {kind: gradient-flow, energy: [{kind: entropy, epsilon: 0.5}, {kind: potential, potential: x**2/2 + y**2}], "
    "stepper: {kind: jko, intervals: 2}}\n"
    f"{_START}times: {{end: 0.6, step: 0.1, save: 0.2}}\n"
    "output: {checkpoint: {steps: 1}, potential: true, map: true, distance: true, evi: true}\n",
    "sides": _GRID
    + f"flow: {_DRIFT % ''}\n{_START}times: {{end: 1, step: 0.02, save: 0.1}}\n"
    + "output: {checkpoint: {steps: 5}, sides: true, fluxes: true}\n",
    "backward": _GRID
    + f"flow: {_BACKWARD}\nwalls: {{left: absorbing, top: {{kind: partial, rate: 2}}}}\n"
    + f"{_START}observe: {{far: x**2}}\ntimes: {{end: 1, step: 0.01, save: 0.05}}\n{_EVERY}",
    "quasi-stationary": _GRID
    + 'flow: {kind: quasi-stationary, epsilon: 0.3, stream: x**2 + y**2, target: {where: "x > 2"}}\n'
    + _OFTEN,
}


class Process(Protocol):
    """A process under way."""

    def send_signal(self, number: int) -> None:
        """Send it a signal."""

    def wait(self) -> int:
        """Its exit code once it has ended, negative for a signal."""


Start = Callable[[list[str], Path], Process]
"""(arguments of fvflow, folder) -> a process that runs there and writes its messages to `messages`."""


def spawned(arguments: list[str], folder: Path) -> Process:
    """A process of its own, as at the command line."""
    with open(folder / "messages", "w") as messages:
        return subprocess.Popen([sys.executable, "-m", "fvflow", *arguments], cwd=folder, stderr=messages)


class _Copy:
    def __init__(self, number: int) -> None:
        self._number = number

    def send_signal(self, number: int) -> None:
        os.kill(self._number, number)

    def wait(self) -> int:
        return os.waitstatus_to_exitcode(os.waitpid(self._number, 0)[1])


def forked(arguments: list[str], folder: Path, room: int | None = None) -> Process:
    """A copy of this process, which need not import anything: a hundred runs a minute.

    With `room` no file takes more bytes, as on a disk that is full.
    """
    if child := os.fork():
        return _Copy(child)
    code = 1
    try:
        os.chdir(folder)
        if room is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
        messages = os.open("messages", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(messages, 1)
        os.dup2(messages, 2)
        commands.main(arguments)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0
    finally:
        sys.stderr.flush()
        os._exit(code)


@cache
def straight(text: str, start: Start = spawned) -> tuple[Path, float]:
    """The result of the uninterrupted run of a case, and the seconds that it takes as a process."""
    folder = Path(tempfile.mkdtemp(prefix="straight-"))
    (folder / "r.yaml").write_text(text)
    if start is forked:  # its kernels are compiled here, for all copies
        fvflow.Case.parse(text).run()
    for _ in range(2):  # the first one may compile
        begun = time.perf_counter()
        assert start(["run", "r.yaml", "-q"], folder).wait() == 0, (folder / "messages").read_text()
    return folder / "r.nc", time.perf_counter() - begun


def killed_and_resumed(
    text: str, folder: Path, random: np.random.Generator, number: int, start: Start = spawned
) -> str:
    """Whether a run that gets a signal at random moments, at most three times, ends in the uninterrupted result."""
    result, seconds = straight(text, start)
    folder.mkdir()
    (folder / "r.yaml").write_text(text)
    outcome = _stopped(start, "run", folder, random.uniform(0.1, 1.0) * seconds, number)
    for _ in range(int(random.integers(3))):
        if not outcome:
            outcome = _stopped(start, "resume", folder, random.uniform(0.1, 1.0) * seconds, number)
    return outcome or _resumed(result, folder, start)


def filled_and_resumed(text: str, folder: Path, random: np.random.Generator) -> str:
    """Whether a run for whose files there is not enough room ends, once there is, in the uninterrupted result."""
    result, _ = straight(text, forked)
    folder.mkdir()
    (folder / "r.yaml").write_text(text)
    code = forked(["run", "r.yaml", "-q"], folder, int(random.uniform(0.02, 0.98) * result.stat().st_size)).wait()
    messages = (folder / "messages").read_text()
    if code != OutputError.exit_code or "cannot be written" not in messages:
        return f"exit {code}: {messages}"
    return _resumed(result, folder, forked)


def _resumed(result: Path, folder: Path, start: Start) -> str:
    """Whether what a run left is readable, and ends in the uninterrupted result."""
    for part in folder.glob("r.parts"):
        if (part / "frames.log").exists() and (part / "header.nc").exists():
            with fvflow.read(part) as ds:  # whatever there is, is readable
                np.isfinite(ds.rho.values).all()
    if start(["resume", "r.yaml", "-q"], folder).wait():
        messages = (folder / "messages").read_text()
        if "is finished" not in messages and "nothing to resume" not in messages:
            return f"resume: {messages}"
        if "nothing to resume" in messages and start(["run", "r.yaml", "-q"], folder).wait():
            return f"run: {(folder / 'messages').read_text()}"
    return ", ".join(different(result, folder / "r.nc")) or "equal"


def _stopped(start: Start, verb: str, folder: Path, seconds: float, number: int) -> str:
    """Why a process that gets a signal after so many seconds did not end as it should; empty if it did."""
    process = start([verb, "r.yaml", "-q"], folder)
    time.sleep(seconds)
    process.send_signal(number)
    code, messages = process.wait(), (folder / "messages").read_text()
    fine = code in (0, -number, 128 + number) or any(word in messages for word in ("is finished", "nothing to resume"))
    return "" if fine else f"exit {code}: {messages}"


def main() -> None:
    """Kill and resume them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--signal", default="KILL")
    parser.add_argument("--full", action="store_true", help="no signals: files have less room than they need")
    parser.add_argument("--kind", choices=KINDS)
    options = parser.parse_args()
    number: Any = getattr(signal, f"SIG{options.signal}")
    random, outcomes = np.random.default_rng(options.seed), Counter[str]()
    kinds = [options.kind] if options.kind else list(KINDS)
    for index in range(options.count):
        kind = kinds[index % len(kinds)]
        with tempfile.TemporaryDirectory() as folder:
            run = Path(folder) / "r"
            if options.full:
                outcome = filled_and_resumed(KINDS[kind], run, random)
            else:
                outcome = killed_and_resumed(KINDS[kind], run, random, number, forked)
        outcomes[outcome] += 1
        if outcome != "equal":
            print(kind, index, outcome)
    print(dict(outcomes))


if __name__ == "__main__":
    main()
