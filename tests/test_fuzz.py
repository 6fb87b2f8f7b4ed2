"""Mutated case files and random expressions: refused or run, never a traceback or a hang.

FVFLOW_FUZZ=10000 makes it the long run; the seed is fixed.
"""

import os
import random
import re
import subprocess
import sys
import time
from pathlib import Path
from subprocess import PIPE

import numpy as np
import pytest

from fvflow.case import Case
from fvflow.diagnostics import DIAGNOSTICS
from fvflow.errors import CaseError
from fvflow.fields import Expression
from fvflow.steppers import LJKO, ImplicitEuler
from tests.fuzz.__main__ import main
from tests.fuzz.child import Child, verdicts
from tests.fuzz.expressions import expression_findings, text
from tests.fuzz.judge import Verdict, judge
from tests.fuzz.mutations import mutant

MUTANTS = 150
COUNT = int(os.environ.get("FVFLOW_FUZZ", "600"))
TEXTS = [file.read_bytes() for file in sorted(Path("cases").glob("*.yaml"))]
PIECES = [
    *rb": |- |[|]|{|}|&a |*a|!!int |>|'|#|%|0|-1|1e400|.nan|1e-320|99999999999999999".split(b"|"),
    *rb"true|null|x|kind|{}|[]|? |<<: |**|x**x**x|1/0|log(-1)|---".split(b"|"),
    *(b"\n", b"  ", b"\t", b"\xff", b"\x00", b"|", b'"', b"a" * 300),
]


def mutated(text: bytes, chance: random.Random) -> bytes:
    for _ in range(chance.randint(1, 6)):
        at, end = sorted((chance.randrange(len(text) + 1), min(len(text), chance.randrange(len(text) + 1))))
        end = min(end, at + 12)
        match chance.randrange(5):
            case 0:
                text = text[:at] + text[end:]
            case 1:
                text = text[:at] + chance.choice(PIECES) + text[at:]
            case 2:
                text = text[:at] + chance.choice(PIECES) + text[end:]
            case 3:
                text = text[:at] + text[at:end] * 2 + text[end:]
            case 4 if text:
                text = text[:at] + bytes([chance.randrange(256)]) + text[at + 1 :]
    return text


def test_mutated_case_files():
    chance = random.Random(20240601)
    refused, slowest = 0, 0.0
    for _ in range(COUNT):
        text = mutated(chance.choice(TEXTS), chance)
        begun = time.process_time()
        try:
            case = Case.parse(text)
            if case.mesh.build().cells <= 50_000:
                case.prepare()
        except CaseError:
            refused += 1
        slowest = max(slowest, time.process_time() - begun)
    assert refused > COUNT / 4, "the mutations do not bite"
    assert slowest < 2.0


def test_random_expressions():
    assert list(expression_findings(20240602, COUNT)) == []
    refused = sum(not _evaluated(text(20240602, number)) for number in range(COUNT))
    assert COUNT / 4 < refused < COUNT


def _evaluated(expression):
    try:
        Expression(expression).at(np.linspace(-2, 2, 50)[:, None], {"k": 2.0}, 0.0)
    except (CaseError, KeyError):  # KeyError: a name that `require` would refuse
        return False
    return True


@pytest.mark.parametrize("error", [ZeroDivisionError("by zero"), RuntimeWarning("overflow")])
def test_an_expression_that_fails_is_found(error, monkeypatch):
    def fails(self, *arguments):
        raise error

    monkeypatch.setattr(Expression, "at", fails)
    (first, *_) = expression_findings(0, 50)
    assert re.match(rf"0:\d+ traceback: {type(error).__name__}: ", first)


# mutants of cases, in a child process


def test_mutants_run_without_a_finding():
    """`python -m tests.fuzz --cases 150`, each run cut after half a second."""
    found = dict(verdicts(0, range(MUTANTS), 0.5))
    assert {number: verdict.findings for number, verdict in found.items() if verdict.findings} == {}
    assert sum(verdict.outcome == "finished" for verdict in found.values()) > MUTANTS / 5, "most are refused"


def test_a_mutant_is_a_function_of_seed_and_number():
    assert mutant(3, 14) == mutant(3, 14) != mutant(4, 14)
    assert len({mutant(0, number) for number in range(50)}) > 45


OU = Path("cases/ou-1d.yaml").read_text().replace("cells: [240]", "cells: [24]").replace("end: 2.0", "end: 0.3")
JKO = Path("cases/ou-1d-jko.yaml").read_text().replace("cells: [240]", "cells: [24]").replace("end: 2.0", "end: 0.4")


def judged(case=OU, seconds=20.0):
    return judge(case, "cases/ou-1d.yaml", seconds)


def test_a_sound_run_has_no_finding():
    assert judged() == Verdict("finished")
    assert judged(JKO) == Verdict("finished")
    assert judged(OU.replace("epsilon: 1.0", "epsilon: -1")).outcome.startswith("refused: ")


def test_a_run_is_cut_by_its_clock_and_by_force(monkeypatch):
    long = OU.replace("save: 0.1", "save: 0.3").replace("step: 0.01", "step: 0.001")
    assert judged(long) == Verdict("cut")
    monkeypatch.setattr("tests.fuzz.judge.GRACE", 0.1)
    monkeypatch.setattr(ImplicitEuler, "start", lambda self, problem: lambda state, length: time.sleep(60))
    assert judged(seconds=0.2) == Verdict("stopped by force")


def stepped(change):
    """A start of a stepper whose densities are changed."""

    def start(self, problem):
        return lambda state, length: state.advanced(length, change(state.density))

    return start


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("negative", lambda density: density - np.eye(len(density))[0] + np.eye(len(density))[-1]),
        ("mass", lambda density: density * (1 + 1e-10)),
        ("traceback", lambda density: density / 0),
        ("traceback", lambda density: density[1:]),
        ("memory", lambda density: np.empty(10**15)),
    ],
)
def test_each_kind_is_found(kind, change, monkeypatch):
    monkeypatch.setattr(ImplicitEuler, "start", stepped(change))
    assert kind in judged().findings


def test_an_increase_of_energy_is_found(monkeypatch):
    monkeypatch.setattr(LJKO, "start", stepped(lambda density: np.roll(density, 1)))
    assert "energy" in judged(JKO).findings


def test_nan_is_found_in_frames_and_figures(monkeypatch):
    monkeypatch.setattr("fvflow.case.simulation.diagnostics_at", lambda *_: {**dict.fromkeys(DIAGNOSTICS, np.nan)})
    assert judged().findings["NaN"].startswith("mass at t = 0")
    monkeypatch.undo()
    monkeypatch.setattr(
        "fvflow.case.simulation.Simulation.figures", lambda self: {"minimum": 0.0, "mass_drift": 0.0, "x": np.nan}
    )
    assert judged().findings["NaN"] == "figure x"


def child_of(program, monkeypatch):
    """A child that runs this Python instead."""
    monkeypatch.setattr("tests.fuzz.child.HANG", 0.5)
    child = Child(0, 0.1)
    child._process = subprocess.Popen([sys.executable, "-c", program], stdin=PIPE, stdout=PIPE, text=True, bufsize=1)
    return child


def test_a_child_that_hangs_or_crashes_is_found(monkeypatch):
    assert child_of("while True: pass", monkeypatch).judge(0).findings == {"hang": "no ear for 0.5 s"}
    monkeypatch.setattr("tests.fuzz.child._IDLE", 0.5)
    assert child_of("import time; time.sleep(60)", monkeypatch).judge(0).findings == {"hang": "no ear for 0.5 s"}
    assert child_of("exit(7)", monkeypatch).judge(0).findings["traceback"] == "exit code 7"


def test_a_finding_is_printed_with_its_number(capsys, monkeypatch):
    monkeypatch.setattr("tests.fuzz.__main__.verdicts", lambda *_: [(4, Verdict("finished", {"mass": "drift"}))])
    monkeypatch.setattr(sys, "argv", ["fuzz", "--cases", "1", "--seed", "9"])
    assert main() == 1
    assert capsys.readouterr().out.splitlines()[0] == "9:4 mass: drift"
    monkeypatch.setattr(sys, "argv", ["fuzz", "--only", "4", "--seed", "9"])
    assert main() in (0, 1)
    assert mutant(9, 4)[1] in capsys.readouterr().out
