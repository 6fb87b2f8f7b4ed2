"""Damaged results through every command that reads one: `python -m tests.damage --count 150 --seed 0`.

Each has bits flipped, an end cut off, blocks of zeros, or garbage appended or written into its head. A command has to
give the answer of the whole file or one line that names the file, within limits of time and memory. A file without
checksums can be read with other values than were written; that is counted as `silent`, for a file that is no other way
at fault.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import threading
import traceback
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

import fvflow
from fvflow.cli import main
from fvflow.errors import FvflowError

SECONDS, MEMORY = 5.0, 1536 * 2**20  # of work, and resident
_PATIENCE = 600  # seconds on the clock: a child that waits for a core does not hang
_BAD = ("foreign", "lines", "crash", "slow", "hang", "greedy")
_CASE = """
mesh: {{kind: {mesh}}}
flow: {{kind: {flow}}}
initial: {initial}
times: {{end: 0.2, step: 0.1, save: 0.1}}
{rest}
"""
_LINE, _SQUARE = "box, lower: [-4], upper: [4], cells: [40]", "box, lower: [-4, -4], upper: [4, 4], cells: [12, 12]"
_DIFFUSION = "fokker-planck, potential: 0.5*x**2, epsilon: 1"
SOURCES = {
    "line": {"mesh": _LINE, "flow": _DIFFUSION, "rest": ""},
    "zlib": {"mesh": _SQUARE, "flow": _DIFFUSION, "rest": "output: {compression: 3, precision: single}"},
    "cells": {
        "mesh": "voronoi, lower: [-4, -4], upper: [4, 4], cells: [5, 5], seed: 0",
        "flow": _DIFFUSION,
        "rest": "",
    },
    "potential": {"mesh": _LINE, "flow": "hamilton-jacobi, potential: 0.1*x**2", "rest": ""},
}
"""Results of several layouts."""


def damaged(data: bytes, chance: random.Random) -> tuple[str, bytes]:
    """The data with one kind of damage, and its name."""
    changed, size = bytearray(data), len(data)
    kind = chance.choice(["flips", "cut", "zeros", "appended", "head"])
    if kind == "flips":
        for _ in range(chance.choice([1, 3, 10, 50])):
            changed[chance.randrange(size)] ^= 1 << chance.randrange(8)
    elif kind == "cut":
        del changed[chance.randrange(1, size) :]
    elif kind == "zeros":
        start = chance.randrange(size)
        length = min(size - start, chance.choice([8, 64, 512, 4096]))
        changed[start : start + length] = bytes(length)
    elif kind == "appended":
        changed += chance.randbytes(chance.choice([1, 100, 10_000]))
    else:
        for _ in range(chance.choice([1, 4, 16])):
            changed[chance.randrange(min(size, 2000))] = chance.randrange(256)
    return kind, bytes(changed)


# the commands, in a folder of their own where r.nc is the result and case.yaml its case; each returns its answer


def _command(*arguments: str) -> Callable[[], None]:
    return lambda: main(arguments)


def _values(path: str) -> str:
    """All that is stored in a result, but for its history."""
    with fvflow.read(path) as ds:
        ds.load()
        attributes = {name: str(value) for name, value in ds.attrs.items() if name != "history"}
        return json.dumps([ds.to_dict()["data_vars"], {k: v.values.tolist() for k, v in ds.coords.items()}, attributes])


def _read() -> None:
    sys.stdout.write(_values("r.nc"))


COMMANDS: dict[str, tuple[Callable[[], None], str]] = {
    "info": (_command("info", "r.nc", "--json"), ""),
    "plot": (_command("plot", "r.nc", "-o", "r.png"), "r.png"),
    "xmf": (_command("xmf", "r.nc"), "r.xmf2"),
    "resume": (_command("resume", "r.nc", "--until", "0.3", "-q"), "r.nc"),
    "initial": (_command("run", "again.yaml", "-q", "-o", "again.nc"), "again.nc"),
    "onto": (_command("run", "case.yaml", "-q", "-o", "r.nc"), "r.nc"),
    "read": (_read, ""),
}
"""What is done, and the file that is the answer beside what is printed."""


class Outcome:
    """What became of a command in a process of its own, with limits."""

    def __init__(self, folder: Path, name: str) -> None:
        action, self._answer = COMMANDS[name]
        self.folder, self.name = folder, name
        child = os.fork()
        if not child:
            self._run(action)
        timer = threading.Timer(_PATIENCE, os.kill, (child, signal.SIGKILL))
        timer.start()
        _, status, self.usage = os.wait4(child, 0)
        timer.cancel()
        self.killed = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
        self.code = -1 if self.killed else os.WEXITSTATUS(status)
        self.out, self.err = ((folder / each).read_text(errors="replace") for each in ("stdout", "stderr"))

    def _run(self, action: Callable[[], None]) -> None:
        """In the child: the action with its limits; does not return."""
        code = 99
        try:
            os.chdir(self.folder)
            for number, stream in ((1, "stdout"), (2, "stderr")):
                os.dup2(os.open(stream, os.O_CREAT | os.O_WRONLY | os.O_TRUNC), number)
            sys.stdout, sys.stderr = (os.fdopen(number, "w") for number in (1, 2))
            with open("/proc/self/statm", encoding="ascii") as file:
                used = int(file.read().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (used + 2 * MEMORY, used + 2 * MEMORY))
            resource.setrlimit(resource.RLIMIT_CPU, (4 * int(SECONDS), 4 * int(SECONDS)))
            action()
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 99
        except FvflowError as error:
            print(error, file=sys.stderr)
            code = error.exit_code
        except BaseException:
            traceback.print_exc()
        finally:
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
            os._exit(code)

    @property
    def answer(self) -> object:
        """What a run of it on a sound file would have given too."""
        if not self._answer:
            return self.out
        path = self.folder / self._answer
        if not path.exists():
            return None
        return _values(str(path)) if path.suffix == ".nc" else path.read_bytes()

    def verdict(self, right: object) -> str:
        """One word for what came of it."""
        seconds = self.usage.ru_utime + self.usage.ru_stime
        if self.killed == signal.SIGKILL or self.killed == signal.SIGXCPU:
            return "hang"
        if self.killed:
            return "crash"
        if self.code not in (0, 3, 4, 5):
            return "foreign"
        if seconds > SECONDS:
            return "slow"
        if 1024 * self.usage.ru_maxrss > MEMORY:
            return "greedy"
        if self.code == 0:
            return "right" if self.answer == right else "silent"
        told = [line for line in self.err.splitlines() if not line.startswith("    ")]
        return "told" if len(told) == 1 and "r.nc" in told[0] else "lines"


def prepare(folder: Path, source: str) -> None:
    """A result r.nc, its case, and a case that starts from it."""
    parts = SOURCES[source]
    folder.mkdir()
    start = "{kind: expression, density: exp(-x**2)}"
    (folder / "case.yaml").write_text(_CASE.format(initial=start, **parts))
    again = _CASE.format(initial="{kind: file, file: r.nc}", **{**parts, "flow": _DIFFUSION})
    (folder / "again.yaml").write_text(again.replace("end: 0.2", "end: 0.4"))
    fvflow.Case.read(folder / "case.yaml").write(folder / "r.nc")


class Trials:
    """The files of a seed, and what every command does with them."""

    def __init__(self, folder: Path, seed: int, commands: Collection[str] = tuple(COMMANDS)) -> None:
        self._folder, self._seed, self.commands = folder, seed, commands
        for source in SOURCES:
            prepare(folder / source, source)
        self._right = {
            (source, name): self._outcome(source, name, None).answer for source in SOURCES for name in commands
        }

    def _outcome(self, source: str, name: str, data: bytes | None) -> Outcome:
        work = self._folder / "work"
        shutil.rmtree(work, ignore_errors=True)
        shutil.copytree(self._folder / source, work)
        (work / "r.xmf2").unlink()
        if data is not None:
            (work / "r.nc").write_bytes(data)
        return Outcome(work, name)

    def __call__(self, number: int) -> Iterator[tuple[str, str, str, Outcome]]:
        """Kind of damage, command, verdict and outcome, for each command with file `number`."""
        chance = random.Random(f"{self._seed}:{number}")
        source = list(SOURCES)[number % len(SOURCES)]
        kind, data = damaged((self._folder / source / "r.nc").read_bytes(), chance)
        for name in self.commands:
            outcome = self._outcome(source, name, data)
            yield f"{source}, {kind}", name, outcome.verdict(self._right[source, name]), outcome


def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=150)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="one file, with what it gave")
    parser.add_argument("--commands", nargs="*", default=COMMANDS, choices=COMMANDS)
    parser.add_argument("--show", nargs="*", default=_BAD, help="verdicts of which every case is shown")
    options = parser.parse_args()
    table: Counter[tuple[str, str]] = Counter()
    slowest = greediest = 0.0
    with tempfile.TemporaryDirectory() as folder:
        trials = Trials(Path(folder), options.seed, options.commands)
        for number in range(options.count) if options.only is None else [options.only]:
            for kind, name, verdict, outcome in trials(number):
                table[name, verdict] += 1
                slowest = max(slowest, outcome.usage.ru_utime + outcome.usage.ru_stime)
                greediest = max(greediest, outcome.usage.ru_maxrss / 2**20)
                if verdict in options.show or options.only is not None:
                    told = outcome.err.strip() or outcome.out[:300]
                    print(f"{options.seed}:{number} {kind}: {name}: {verdict} ({outcome.code})\n{told}", flush=True)
    words = sorted({verdict for _, verdict in table})
    print(f"{'':10}" + "".join(f"{word:>9}" for word in words))
    for name in options.commands:
        print(f"{name:10}" + "".join(f"{table[name, word]:9}" for word in words))
    print(f"at most {slowest:.1f} s of work, {greediest:.2f} GiB resident")
    sys.exit(any(table[name, word] for name, word in table if word in _BAD))


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        _main()
