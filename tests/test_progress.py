"""How far a run is: what is shown, how often, and how long it will still take."""

import io
import os
import pty
import re
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from fvflow.case import Case
from fvflow.cli.progress import RemainingTime, Reporter, progress_display, work_lines
from fvflow.long_work import showing, under_way
from fvflow.march import Progress, Watchers
from fvflow.mesh.files import Gmsh
from fvflow.problems import State
from tests.scenes import ou


def state(time):
    return State(time, np.ones(1), 1.0)


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def test_the_remaining_time_leaves_out_the_first_step():
    """31 s of compilation and 100 steps of 0.1 s: 9.9 s are left after the first, not 8501."""
    left, now = RemainingTime(1.0), 0.0
    assert left.seconds(now, 0.0) is None
    now += 31.0
    assert left.seconds(now, 0.01) is None
    for step in range(2, 101):
        now += 0.1
        assert left.seconds(now, step / 100) == pytest.approx(0.1 * (100 - step), abs=1e-9)


def test_the_remaining_time_follows_steps_that_grow():
    """Adaptive steps each take a second and grow from 1e-4 to 0.1: the speed of the start is forgotten."""
    left, now, reached, length = RemainingTime(10.0), 0.0, 0.0, 1e-4
    while reached < 5.0:
        now, reached = now + 1.0, reached + length
        estimate = left.seconds(now, reached)
        length = min(1.5 * length, 0.1)
    assert estimate == pytest.approx((10 - reached) / 0.1, rel=0.2)


def test_a_clock_that_does_not_move_gives_no_remaining_time():
    left = RemainingTime(1.0)
    assert [left.seconds(1.0, reached) for reached in (0.1, 0.2, 0.3)] == [None, None, None]


def test_labels_say_what_they_show_and_come_when_they_are_due():
    clock, lines = Clock(), []
    reporter = Reporter(0.0, 2.0, lambda label, reached: lines.append((label, reached)), 2.0, 10.0, clock)
    assert isinstance(reporter, Progress)
    reporter.iteration(7, 3e-4, {})
    assert lines == []
    clock.now += 2.5
    reporter.iteration(8, 2e-4, {})
    reporter.step(state(0.0))
    assert lines == [("iteration 8, residual 2.0e-04", 0.0)]
    for step in range(1, 31):
        clock.now += 0.5
        reporter.step(state(step / 30))
    assert lines[1:] == [("t = 0.6667 of 2 (33%), about 20 s left", 20 / 30)]
    once = Reporter(0.0, 1.0, lambda label, reached: lines.append((label, reached)), 0.0, 1.0, clock)
    once.step(state(0.5))
    assert lines[-1] == ("t = 0.5 of 1 (50%)", 0.5)


def test_a_steady_state_shows_no_time():
    lines = []
    Reporter(0.0, 0.0, lambda label, reached: lines.append(label), 0.0, 0.0).step(state(0.0))
    assert lines == []


def test_a_plain_function_sees_states_alone_and_a_progress_the_iterations_too():
    seen, iterations = [], []

    class Recorder:
        def step(self, state):
            seen.append(state.time)

        def iteration(self, count, residual, iterate):
            iterations.append((count, residual))

    case = Case.read("cases/transport-mixture-1d.yaml").replace({"mesh.cells": [32], "flow.intervals": 4, "checks": {}})
    times = []
    case.run(lambda state: times.append((state.time, state.residual)))
    assert times == [(0.25 * index, 0.0) for index in range(5)], "no faked states"
    case.run(Recorder())
    assert seen == [0.0, 0.25, 0.5, 0.75, 1.0]
    counts = [count for count, _ in iterations]
    assert len(counts) > 1
    assert counts == sorted(counts)
    assert all(residual > 0 for _, residual in iterations)
    seen.clear()
    Watchers(Recorder(), seen.append).step(state(3.0))
    assert seen[0] == 3.0
    assert seen[1].time == 3.0


def test_a_watcher_can_stop_a_solver():
    """A signal takes effect between iterations, before there is a state."""

    class Impatient:
        def step(self, state):
            raise AssertionError("there is no state yet")

        def iteration(self, count, residual, iterate):
            raise KeyboardInterrupt

    case = Case.read("cases/transport-mixture-1d.yaml").replace({"mesh.cells": [32], "flow.intervals": 4, "checks": {}})
    with pytest.raises(KeyboardInterrupt):
        case.run(Impatient())


def test_meshing_by_gmsh_is_told_while_it_lasts(capsys):
    """Every ten seconds; here every 10 ms, until two lines have come."""
    works, told = [], ""

    @contextmanager
    def show(what):
        works.append(what)
        yield

    square = 'SetFactory("OpenCASCADE"); Rectangle(1) = {0, 0, 0, 1, 1};'
    with showing(show):
        Gmsh(geometry=square, size=5.0).build()
    assert works == ["gmsh is meshing the geometry"]
    with showing(lambda what: work_lines(what, 0.01)), under_way(works[0]):
        while told.count("\n") < 2:
            told += capsys.readouterr().err
    assert set(told.splitlines()) == {"gmsh is meshing the geometry: 0 s so far"}
    with under_way("nobody"):
        assert capsys.readouterr().err == ""


def test_quiet_runs_and_closed_streams_show_nothing(monkeypatch, capsys):
    with progress_display(0.0, 0.4, quiet=True) as display:
        ou(1, 20).run(display)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys, "stderr", None)
    with progress_display(0.0, 0.4, quiet=False) as display:
        ou(1, 20).run(display)


def test_the_bar_of_a_terminal_is_labelled(tmp_path):
    main, terminal = pty.openpty()
    command = [sys.executable, "-m", "fvflow", "run", str(Path("cases/ou-1d.yaml").resolve())]
    long = ["--set", "times.end=1e4", "--set", "times.save=1", "--set", "times.step=1e-4"]
    process = subprocess.Popen([*command, *long], cwd=tmp_path, stderr=terminal)
    os.close(terminal)
    shown = io.BytesIO()
    while not re.search(rb"t = \S+ of 10000 \(0%\), about\s+\d+\s+s left", shown.getvalue()):
        shown.write(os.read(main, 4096))
    process.terminate()
    assert process.wait(10) == 143
    os.close(main)
