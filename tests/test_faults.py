"""What a machine does to a run: empty compile caches, threads, forks, folders that vanish, results replaced."""

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import fvflow
from fvflow.case import Case
from fvflow.cli import main
from fvflow.cli.signals import Signals
from fvflow.system import STOP_SIGNALS

TEXT = """
mesh: {kind: box, lower: [-4, -4], upper: [4, 4], cells: [12, 12]}
flow: {kind: fokker-planck, potential: 0.5*(x**2 + y**2), epsilon: 1, stepper: {kind: split-euler}}
initial: {kind: gaussian, mean: [0.5, 0], covariance: [[1, 0], [0, 1]]}
times: {end: 0.2, step: 0.1}
"""


def last(text=TEXT):
    """The density at the end of a run."""
    return Case.parse(text).run().rho[-1].values


def test_two_first_runs_at_once_compile_and_agree(tmp_path):
    (tmp_path / "case.yaml").write_text(TEXT)
    surroundings = {**os.environ, "NUMBA_CACHE_DIR": f"{tmp_path}/cache"}
    runs = [
        subprocess.Popen(
            [sys.executable, "-m", "fvflow", "run", "case.yaml", "-q", "-o", f"{number}.nc"],
            cwd=tmp_path,
            env={**surroundings, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        for number in range(2)
    ]
    assert [run.wait() for run in runs] == [0, 0]
    for number in range(2):
        np.testing.assert_array_equal(fvflow.read(tmp_path / f"{number}.nc").rho[-1], last())


def test_four_threads_compute_what_one_does():
    texts = [TEXT.replace("0.5, 0]", f"0.{number}, 0]") for number in range(4)]
    found = [None] * 4

    def work(number):
        found[number] = last(texts[number])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for text, values in zip(texts, found, strict=True):
        np.testing.assert_array_equal(values, last(text))


def test_threads_may_be_the_first_to_read_a_case():
    """Two that made the model of a kind at once left one that no later case was known by."""
    script = f"""
import sys, threading
from fvflow.case import Case
sys.setswitchinterval(1e-6)
start = threading.Barrier(8)
found = []
def read():
    start.wait()
    found.append(Case.parse({TEXT!r}))
threads = [threading.Thread(target=read) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert found == 8 * [Case.parse({TEXT!r})]
"""
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_processes_of_python_compute_what_one_does(method):
    expected = last()
    with multiprocessing.get_context(method).Pool(2) as pool:
        for values in pool.map(last, [TEXT, TEXT]):
            np.testing.assert_array_equal(values, expected)


def test_signals_end_the_processes_forked_from_one_that_runs_a_command():
    """Raised in whatever the child is doing, what stops a command was lost at times, and the pool waited for ever."""
    ready, says_ready = os.pipe()
    if not (child := os.fork()):
        Signals()
        if not (grandchild := os.fork()):
            os.write(says_ready, b"!")
            time.sleep(10)
            os._exit(0)
        os.read(ready, 1)
        os.kill(grandchild, signal.SIGTERM)
        os._exit(-os.waitstatus_to_exitcode(os.waitpid(grandchild, 0)[1]))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == signal.SIGTERM


def test_a_command_gives_the_signals_back():
    before = [signal.getsignal(number) for number in STOP_SIGNALS]
    with pytest.raises(SystemExit):
        main(["check", "no.yaml"])
    assert [signal.getsignal(number) for number in STOP_SIGNALS] == before


def test_handlers_that_are_not_of_python_are_left_alone(monkeypatch):
    """Of those the interpreter knows no more than None, which it does not take back."""
    signals = Signals()
    try:
        kept = signals._before | {}
        monkeypatch.setitem(signals._before, signal.SIGTERM, None)
        signals.leave()
        assert signal.getsignal(signal.SIGTERM) == signals._handle
    finally:
        signal.signal(signal.SIGTERM, kept[signal.SIGTERM])


def test_an_open_result_keeps_its_data_when_another_takes_its_place(tmp_path):
    """A result is replaced by a rename, so that who has it open reads the old one to its end."""
    case = Case.parse(TEXT)
    case.write(tmp_path / "r.nc")
    old = case.run()
    with fvflow.read(tmp_path / "r.nc") as ds:
        case.replace({"flow.epsilon": 0.5}).write(tmp_path / "r.nc")
        np.testing.assert_array_equal(ds.rho, old.rho)
        np.testing.assert_array_equal(ds.energy, old.energy)
    with fvflow.read(tmp_path / "r.nc") as ds:
        assert ds.rho[-1].max() > 1.01 * old.rho[-1].max()


def test_a_folder_that_vanishes_ends_a_run_with_a_sentence(tmp_path):
    from fvflow.errors import OutputError

    (tmp_path / "gone").mkdir()

    def vanish(state):
        if state.step == 1:
            shutil.rmtree(tmp_path / "gone")

    with pytest.raises(OutputError, match=r"r\.nc: cannot be written \(No such file or directory"):
        Case.parse(TEXT).write(tmp_path / "gone" / "r.nc", vanish)


def test_without_a_home_and_a_place_to_cache_a_run_is_the_same(tmp_path):
    (tmp_path / "case.yaml").write_text(TEXT)
    surroundings = {name: value for name, value in os.environ.items() if name not in ("HOME", "NUMBA_CACHE_DIR")}
    surroundings |= {"HOME": "/nonexistent", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-m", "fvflow", "run", "case.yaml", "-q", "-o", "r.nc"]
    assert subprocess.run(command, cwd=tmp_path, env=surroundings).returncode == 0
    np.testing.assert_array_equal(fvflow.read(tmp_path / "r.nc").rho[-1], last())


def test_a_disk_that_fills_keeps_its_frames_and_the_run_goes_on(tmp_path):
    """A tmpfs of 4 MiB, half full, where this may be mounted."""
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode:
        pytest.skip("no file system may be mounted here")
    (tmp_path / "disk").mkdir()
    text = TEXT.replace("[12, 12]", "[60, 60]").replace("end: 0.2, step: 0.1", "end: 10, step: 0.1, save: 0.1")
    (tmp_path / "case.yaml").write_text(text)
    script = f"""
    mount -t tmpfs -o size=4m none disk && head -c 2000000 /dev/zero > disk/other || exit 77
    {sys.executable} -m fvflow run case.yaml -q -o disk/r.nc; echo $?
    {sys.executable} -m fvflow info disk/r.parts | grep unfinished
    rm disk/other; mount -o remount,size=64m disk
    {sys.executable} -m fvflow resume disk/r.parts -q && cp disk/r.nc .
    """
    surroundings = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", script], cwd=tmp_path, env=surroundings, capture_output=True, text=True
    )
    if done.returncode == 77:
        pytest.skip("no tmpfs may be mounted here")
    assert done.stdout.startswith("5\n"), done.stderr
    assert "the run was cut short" in done.stdout
    np.testing.assert_array_equal(fvflow.read(tmp_path / "r.nc").rho, Case.parse(text).run().rho)
