"""The process that runs mutants, and its parent's side."""

from __future__ import annotations

import json
import os
import resource
import select
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from tests.fuzz.judge import Verdict, judge
from tests.fuzz.mutations import mutant

SECONDS = 2.0  # after which a run is stopped as by Ctrl-C
HANG = 5.0  # seconds of work within which it has to hear that; more pass if it waits for a core
MEMORY = 2**30  # resident bytes
_IDLE = 600.0  # seconds on the clock after which it hangs: it may have to wait for a core
_TICK = os.sysconf("SC_CLK_TCK")
_START = 60.0  # seconds in which a child starts
_ADDRESS_SPACE = 3 * 2**30  # bytes beyond those of a child that has just started


def serve(seed: int, seconds: float) -> None:
    """Judge the mutants whose numbers come in on stdin, in so many seconds each, a line of JSON for each."""
    with open("/proc/self/statm", encoding="ascii") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + _ADDRESS_SPACE, resource.RLIM_INFINITY))
    _report({"ready": True})
    for line in sys.stdin:
        name, text = mutant(seed, int(line))
        verdict = judge(text, name, seconds)
        peak = _peak()
        if peak > MEMORY:
            verdict.add("memory", f"{peak / 2**30:.2g} GiB resident")
        _report(asdict(verdict))


def _peak() -> int:
    """The most bytes that this process has had in memory; `getrusage` would count those of its parent too."""
    with open("/proc/self/status", encoding="ascii") as file:
        (kilobytes,) = (line.split()[1] for line in file if line.startswith("VmHWM:"))
    return 1024 * int(kilobytes)


def _report(values: dict[str, Any]) -> None:
    print(json.dumps(values), flush=True)


def _worked(process: int) -> float:
    """Seconds for which a process has had a core."""
    with open(f"/proc/{process}/stat", encoding="ascii") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


class Child:
    """A process that judges mutants of a seed, replaced when one hangs, crashes or has grown."""

    def __init__(self, seed: int, seconds: float = SECONDS) -> None:
        self._seed, self._seconds = seed, seconds
        self._process: subprocess.Popen[str] | None = None

    def judge(self, number: int) -> Verdict:
        """The verdict on one mutant."""
        process = self._process = self._process or self._started()
        assert process.stdin is not None
        with suppress(BrokenPipeError):  # it has ended, which shows in the answer
            process.stdin.write(f"{number}\n")
            process.stdin.flush()
        answer = self._answer(process, self._seconds + HANG)
        if answer is None:
            code = process.poll()
            self.close()
            sentence = f"no ear for {HANG:g} s" if code is None else f"exit code {code}"
            return Verdict("killed", {"hang" if code is None else "traceback": sentence})
        verdict = Verdict(**answer)
        if "memory" in verdict.findings or verdict.outcome == "stopped by force":  # compilations may be cut short
            self.close()
        return verdict

    def _started(self) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "tests.fuzz", "--serve", str(self._seconds), "--seed", str(self._seed)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
        assert self._answer(process, _START) is not None, "the child did not start"
        return process

    def _answer(self, process: subprocess.Popen[str], seconds: float) -> dict[str, Any] | None:
        assert process.stdout is not None
        begun, worked, ready = time.monotonic(), _worked(process.pid), []
        while not ready and time.monotonic() - begun < _IDLE and _worked(process.pid) - worked < seconds:
            ready, _, _ = select.select([process.stdout], [], [], min(seconds, 1.0))
        line = process.stdout.readline() if ready else ""
        if ready and not line:
            process.wait()
        return json.loads(line) if line else None

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


def verdicts(seed: int, numbers: Iterable[int], seconds: float = SECONDS) -> Iterator[tuple[int, Verdict]]:
    """The verdict on each mutant, run for so many seconds at most."""
    child = Child(seed, seconds)
    try:
        for number in numbers:
            yield number, child.judge(number)
    finally:
        child.close()
