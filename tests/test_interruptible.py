"""Nothing hangs: long steps, compiled code and pivots are left within 5 s of a signal, and say that they go on."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from fvflow.cli import progress
from fvflow.cli.progress import Reporter
from fvflow.errors import NumericsError
from fvflow.interruptible import interruptible, threads_left_working
from fvflow.problems import State
from fvflow.wasserstein.network_simplex import NetworkSimplex

OU = str(Path("cases/ou-1d.yaml").resolve())


def test_results_and_errors_come_through():
    with np.errstate(over="raise"):
        assert interruptible(divmod, 7, 3) == (2, 1)
        with pytest.raises(FloatingPointError):  # in the error state of the caller
            interruptible(np.float64(1e200).__mul__, np.float64(1e200))
    with pytest.raises(NumericsError, match="broken"):
        interruptible(_broken)
    assert interruptible(threading.current_thread) is not threading.main_thread()
    assert not threads_left_working()


def _broken():
    raise NumericsError("broken")


def test_a_call_is_left_at_a_signal():
    """One that holds no lock of the interpreter; it goes on, and that is known."""
    over = threading.Event()

    def stop(number, frame):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    begun = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt):
            interruptible(over.wait, 60.0)
        assert time.monotonic() - begun < 5.0
        assert threads_left_working()
    finally:
        over.set()
        signal.signal(signal.SIGALRM, before)


def run_until_signal(setup, number, cwd, *arguments):
    """A run with a Python preamble that prints `deaf` before something long; the code, seconds and messages."""
    program = textwrap.dedent(setup) + "\nfrom fvflow.cli import main\nmain()\n"
    command = [sys.executable, "-c", program, "run", OU, "--set", "checks={}", *arguments]
    process = subprocess.Popen(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "deaf\n"
    time.sleep(0.3)
    begun = time.monotonic()
    process.send_signal(number)
    try:
        _, messages = process.communicate(timeout=30)
    finally:
        process.kill()  # if it hangs, which fails the test
        process.communicate()
    return process.returncode, time.monotonic() - begun, messages


LONG_STEP = """
from fvflow.steppers import ImplicitEuler
def start(self, problem):
    def step(state, length):
        print("deaf", flush=True)
        while True:
            sum(range(1000))
    return step
ImplicitEuler.start = start
"""
LONG_FACTORISATION = """
import fvflow.linalg.direct.factorisation as module
import scipy.sparse.linalg
from scipy.sparse import diags, identity, kron
whole = scipy.sparse.linalg.splu
line = diags([-1, 2.1, -1], [-1, 0, 1], shape=(46, 46))
same = identity(46)
plane = kron(line, same) + kron(same, line)
cube = (kron(plane, same) + kron(kron(same, same), line)).tocsc()
def splu(matrix, **options):
    print("deaf", flush=True)
    return whole(cube, permc_spec="COLAMD")
scipy.sparse.linalg.splu = splu
module._LONG = 0
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_long_step_is_stopped(number, code, tmp_path):
    got, seconds, messages = run_until_signal(LONG_STEP, number, tmp_path)
    assert (got, seconds < 5.0) == (code, True), (seconds, messages)
    assert messages.splitlines()[-1].startswith("fvflow: the frames so far are in ou-1d.nc, up to t = 0")


def test_a_long_factorisation_is_left(tmp_path):
    direct = ["--set", "flow.stepper={kind: implicit-euler, solver: {kind: direct}}"]
    got, seconds, messages = run_until_signal(LONG_FACTORISATION, signal.SIGTERM, tmp_path, *direct)
    assert (got, seconds < 5.0) == (143, True), (seconds, messages)
    assert "terminated" in messages


def test_a_write_is_not_interrupted(tmp_path):
    """The alarm waits until the write is over."""
    setup = """
    import time
    from fvflow.dataset import writer
    create = writer.created
    def slow(*arguments):
        print("deaf", flush=True)
        end = time.monotonic() + 4.5
        while time.monotonic() < end:
            pass
        writer.created = create
        return create(*arguments)
    writer.created = slow
    """
    got, seconds, messages = run_until_signal(setup, signal.SIGTERM, tmp_path)
    assert got == 143
    assert seconds > 3.5  # until the write was over, beyond the patience with steps
    assert "the frames so far are in ou-1d.nc" in messages
    assert sorted(os.listdir(tmp_path)) == ["ou-1d.nc", "ou-1d.xmf2"]


LONG_COMPILATION = """
import ctypes, time, types
from fvflow.steppers import ImplicitEuler
compiled = []
def notify():
    print("deaf", flush=True)
    end = time.monotonic() + 4.5
    while time.monotonic() < end:
        pass
    compiled.append(True)
notify = types.FunctionType(notify.__code__, {**globals(), "__name__": "llvmlite.binding"})
callback = ctypes.CFUNCTYPE(None)(notify)
whole = ImplicitEuler.start
def start(self, problem):
    callback()
    assert compiled
    return whole(self, problem)
ImplicitEuler.start = start
"""


def test_the_compilation_of_a_kernel_is_not_interrupted(tmp_path):
    """An exception in a function that C calls is lost, and with it what the compiler was to be told."""
    got, seconds, messages = run_until_signal(LONG_COMPILATION, signal.SIGTERM, tmp_path)
    assert got == 143, messages
    assert seconds > 3.5  # until it was compiled, beyond the patience with steps


def test_a_step_that_takes_long_is_told(monkeypatch):
    lines, now = [], [0.0]
    reporter = Reporter(0.0, 2.0, lambda label, reached: lines.append((label, reached)), 0.0, 10.0, lambda: now[0])
    reporter.step(State(0.5, np.ones(1), 1.0))
    now[0] = 25.0
    reporter.waiting(10.0)
    reporter.waiting(10.0)  # said already
    assert lines[1:] == [("t = 0.5 of 2: the step under way has taken 25 s", 0.5)]
    monkeypatch.setattr(progress, "_NEXT_LINE", 0.05)
    with progress._heartbeat(reporter):
        now[0] = 40.0
        end = time.monotonic() + 10.0
        while len(lines) < 3 and time.monotonic() < end:
            time.sleep(0.05)
    assert lines[2:] == [("t = 0.5 of 2: the step under way has taken 40 s", 0.5)]


def problem(seed=3, count=60):
    chance = np.random.default_rng(seed)
    supply, demand = chance.integers(1, 100, (2, count))
    demand[0] += max(supply.sum() - demand.sum(), 0)
    supply[0] += max(demand.sum() - supply.sum(), 0)
    simplex = NetworkSimplex(supply, demand, 10.0)
    tail, head = (part.ravel() for part in np.divmod(np.arange(count**2), count))
    simplex.add(tail, head, chance.random(count**2))
    return simplex


def test_pivots_in_portions_are_the_same_pivots(monkeypatch):
    whole = problem()
    expected = whole.solve(1e-12)
    monkeypatch.setattr("fvflow.wasserstein.network_simplex._PORTION", 1)
    portions = problem()
    found = portions.solve(1e-12)
    assert found.pivots == expected.pivots > 60
    for name in ("tail", "head", "mass"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    np.testing.assert_array_equal(portions.price, whole.price)


def test_pivots_are_capped(monkeypatch):
    assert problem().solve(1e-12, 7).pivots == 7
    monkeypatch.setattr("fvflow.wasserstein.network_simplex._MOST_PIVOTS", 0)
    flow = problem().solve(1e-12)
    assert flow.pivots == flow.mass.sum() == 0
    assert flow.spare_supply.sum() == flow.spare_demand.sum() > 0
