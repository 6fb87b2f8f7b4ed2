"""Runs that were stopped go on to the last bit as if they had not been, and nothing that a run left is lost."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import textwrap
import tracemalloc

import netCDF4
import numpy as np
import pytest

import fvflow
from fvflow.case import Case
from fvflow.case.checkpoints import CheckpointSchedule
from fvflow.case.checks import CheckpointSteps, Output
from fvflow.case.continuation import continuation
from fvflow.dataset.checkpoint import Checkpoints, from_group, to_group
from fvflow.dataset.frame_log import FrameLog, read_log
from fvflow.dataset.netcdf import define
from fvflow.errors import CaseError, OutputError
from fvflow.linalg import ReusedFactors
from tests.resume_cases import Stopped, differences, different, flow_cases, resumed_cases, solved_cases
from tests.scenes import ou

SMALL = {"times": {"end": 0.3, "step": 0.05, "save": 0.1}, "output": {"checkpoint": {"steps": 1}}}
RUN = [sys.executable, "-m", "fvflow"]


def small(**changes):
    return ou(1, 12, **{**SMALL, **changes})


def stopping(step):
    def watch(state):
        if state.step == step:
            raise Stopped

    return watch


def stopped(path, step=4, **changes):
    """The case of a run that was stopped at a step."""
    case = small(**changes)
    with pytest.raises(Stopped):
        case.write(path, stopping(step))
    return case


ONE_EACH = {  # of the flows and outputs of `flow_cases`
    *("backward-tr-bdf2-3D-0", "particles-euler-maruyama-triangles-0", "particles-jump-2D-0", "bridge-triangles-0"),
    *("particles-stochastic-heun-1D-0", "hamilton-jacobi-2D-0", "barycentre-2D-0", "flow-map-triangles-0"),
    *("gradient-flow-map-evi-distance-potential-1D-0", "fokker-planck-sides-fluxes-1D-0"),
}


def one_in_seven_or_long():
    """Cases of all; every seventh, so that meshes and steps take turns over the steppers, and the rest by -m long."""
    stepping = [(case, number % 7 == 0) for number, case in enumerate(resumed_cases(0))]
    solving = [(case, number % 2 == 0) for number, case in enumerate(solved_cases(0))]
    others = [(case, case.label in ONE_EACH) for case in flow_cases(0)]
    for case, short in (*stepping, *solving, *others):
        yield pytest.param(case, id=case.label, marks=() if short else pytest.mark.long)


@pytest.mark.parametrize("resumed", [*one_in_seven_or_long()])
def test_a_resumed_run_is_the_uninterrupted_one_to_the_last_bit(resumed, tmp_path):
    assert differences(resumed, tmp_path) == []


class StopAtReport:
    """A `Progress` that stops a run when the n-th iterate is passed on, and counts them."""

    def __init__(self, number=np.inf):
        self._number, self.count = number, 0

    def step(self, state):
        pass

    def iteration(self, iterations, residual, iterate):
        self.count += 1
        if self.count >= self._number:
            raise Stopped


@pytest.mark.parametrize(
    ("flow", "cells"),
    [
        ("{kind: stationary, epsilon: 0.3, velocity: [-x - 3*y + sin(z), 3*x - y, -z + 0.3*x*y]}", 10),
        ("{kind: spectrum, epsilon: 0.3, potential: 0.5*(x**2 + y**2 + z**2) + 0.1*x**4, count: 3}", 17),
    ],
)
def test_solvers_that_iterate_without_steps_go_on_from_every_iterate(flow, cells, tmp_path, monkeypatch):
    """By BiCGStab in three dimensions, and by LOBPCG."""
    monkeypatch.setattr("fvflow.linalg.markov.stationary.LARGEST_ELIMINATION", 0)
    mesh = f"{{kind: box, lower: [-2, -2, -2], upper: [2, 2, 2], cells: [{cells}, {cells}, {cells}]}}"
    case = Case.parse(f"mesh: {mesh}\nflow: {flow}\noutput: {{checkpoint: {{steps: 1}}}}\n")
    case.write(tmp_path / "straight.nc", whole := StopAtReport())
    assert whole.count >= 2
    for number in range(2, whole.count + 1):
        with pytest.raises(Stopped):
            case.write(tmp_path / "stopped.nc", StopAtReport(number), discard=True)
        fvflow.resume(tmp_path / "stopped.parts", watch=(rest := StopAtReport()))
        assert rest.count == whole.count - number + 1
        assert different(tmp_path / "straight.nc", tmp_path / "stopped.nc") == []


CASES = ["hamilton-jacobi-1d", "ou-1d-evbdf2", "double-well-1d", "moving-trap-1d", "porous-medium-box-vacuum"]


@pytest.mark.parametrize("name", CASES)
def test_cases_resume_to_the_last_bit(name, tmp_path):
    case = Case.read(f"cases/{name}.yaml")
    steps = case.times.steps if case.times.adaptive is None else 30
    case = case.replace({"output.checkpoint": {"steps": max(1, steps // 7)}})
    case.write(tmp_path / "straight.nc")
    with pytest.raises(Stopped):
        case.write(tmp_path / "stopped.nc", stopping(steps // 2))
    fvflow.resume(tmp_path / "stopped.parts")
    assert different(tmp_path / "straight.nc", tmp_path / "stopped.nc") == []


@pytest.mark.parametrize("mesh", ["box", "voronoi"])
@pytest.mark.parametrize("stepper", ["jko", "ljko", "evbdf2"])
def test_factors_that_serve_again_are_those_of_the_run_that_was_not_stopped(stepper, mesh, tmp_path, monkeypatch):
    """With steps chosen by their error, where a method has one: rejected steps return to earlier factors."""
    monkeypatch.setattr("fvflow.steppers.mesh_system._LEAST_REUSED", 0)
    used = []
    solve = ReusedFactors.solve

    def noted(self, matrix, right, tolerance):
        before = self.matrix
        found = solve(self, matrix, right, tolerance)
        used.append(self.matrix is before)
        return found

    monkeypatch.setattr(ReusedFactors, "solve", noted)
    cells = {"cells": [9, 9], **({} if mesh == "box" else {"seed": 3, "relaxations": 2})}
    step = 0.1 if stepper == "evbdf2" else {"initial": 0.1, "tolerance": 3e-3}
    values = {
        "mesh": {"kind": mesh, "lower": [-2, -2], "upper": [2, 2], **cells},
        "flow": {
            "kind": "gradient-flow",
            "energy": [{"kind": "entropy", "epsilon": 0.4}, {"kind": "potential", "potential": "x**2/2 + y**2/2"}],
            "stepper": {"kind": stepper},
        },
        "initial": {"kind": "gaussian", "mean": [0.5, 0.2], "covariance": [[0.2, 0], [0, 0.2]]},
        "times": {"end": 0.8, "step": step, "save": 0.4},
        "output": {"checkpoint": {"steps": 1}},
    }
    case = Case.parse(json.dumps(values))
    case.write(tmp_path / "straight.nc")
    assert sum(used) >= 5
    with pytest.raises(Stopped):
        case.write(tmp_path / "stopped.nc", stopping(4))
    fvflow.resume(tmp_path / "stopped.parts")
    assert different(tmp_path / "straight.nc", tmp_path / "stopped.nc") == []


def test_a_run_is_stopped_and_resumed_many_times(tmp_path):
    case = stopped(tmp_path / "r.nc", 1)
    for step in (2, 4, 5):
        with pytest.raises(Stopped):
            fvflow.resume(tmp_path / "r.parts", watch=stopping(step))
    figures = fvflow.resume(tmp_path / "r.parts")
    assert sorted(os.listdir(tmp_path)) == ["r.nc", "r.xmf2"]
    assert figures == case.write(tmp_path / "s.nc")
    assert different(tmp_path / "r.nc", tmp_path / "s.nc") == []
    with fvflow.read(tmp_path / "r.nc") as ds:
        assert len(ds.attrs["history"].splitlines()) == 5


@pytest.mark.parametrize("precision", ["double", "single"])
def test_beyond_its_end_a_run_takes_the_steps_of_a_longer_one(precision, tmp_path):
    times = {"end": 0.25, "step": 0.0625, "save": 0.125}  # without round-off
    output = {"precision": precision}
    small(times=times, output=output).write(tmp_path / "r.nc")
    fvflow.resume(tmp_path / "r.nc", until=0.5)
    small(times={**times, "end": 0.5}, output=output).write(tmp_path / "s.nc")
    assert set(different(tmp_path / "r.nc", tmp_path / "s.nc")) <= {"case"}


@pytest.mark.parametrize(
    ("flow", "figure"),
    [
        ("{kind: particles, count: 50, epsilon: 0.1}\nexact: {kind: gibbs}", "chi_square_p"),
        ("{kind: hamilton-jacobi, potential: 0.1*x**2}", "hopf_lax"),
        ("{kind: flow-map, velocity: [4], points: {kind: grid, counts: [12]}, outside: tell}", "outside"),
    ],
)
def test_beyond_its_end_the_figures_are_those_of_the_later_end(flow, figure, tmp_path):
    text = """\
        mesh: {kind: box, lower: [0], upper: [1], cells: [12]}
        initial: {kind: gaussian, mean: [0.5], covariance: [[0.02]]}
        times: {end: 0.0625, step: 0.03125}
        flow: """
    case = Case.parse(textwrap.dedent(text) + flow)
    first = case.write(tmp_path / "r.nc")
    figures = fvflow.resume(tmp_path / "r.nc", until=0.125)
    assert figures == case.replace({"times.end": 0.125}).write(tmp_path / "s.nc")
    assert figures[figure] != first[figure]


def test_beyond_its_end_error_control_is_that_of_a_longer_run(tmp_path):
    """Also where the saves are further apart than the end was, so that a step may be longer than the run before."""
    saves = {"kind": "geometric", "first": 0.0625, "ratio": 4}
    times = {"end": 0.25, "step": {"initial": 0.02, "tolerance": 0.5}, "save": saves}
    small(times=times).write(tmp_path / "r.nc")
    fvflow.resume(tmp_path / "r.nc", until=4)
    figures = small(times={**times, "end": 4}).write(tmp_path / "s.nc")
    assert figures["steps"] < 40
    assert set(different(tmp_path / "r.nc", tmp_path / "s.nc")) <= {"case"}


def test_a_result_that_goes_on_keeps_frames_that_the_new_saves_would_not_have(tmp_path):
    small(times={"end": 0.25, "step": 0.05, "save": 0.1}).write(tmp_path / "r.nc")
    fvflow.resume(tmp_path / "r.nc", until=0.5)
    with fvflow.read(tmp_path / "r.nc") as ds:
        np.testing.assert_allclose(ds.time, [0, 0.1, 0.2, 0.25, 0.3, 0.4, 0.5])


def test_the_case_may_change_how_it_is_stored(tmp_path):
    case = stopped(tmp_path / "r.nc")
    (tmp_path / "r.yaml").write_text(case.replace({"title": "Mine", "output.fluxes": True}).text)
    told = []
    with continuation(tmp_path / "r.yaml", output=tmp_path / "r.nc") as found:
        found.case.write(found.path, tell=told.append, checkpoint=found.checkpoint, lock=found.lock)
    assert told == ["flux, flux_mean: nan in the first 3 frames, which were stored without"]
    with fvflow.read(tmp_path / "r.nc") as ds:
        np.testing.assert_array_equal(ds.rho, case.run().rho)
        assert ds.attrs["title"] == "Mine"
        assert np.isnan(ds.flux[:3]).all(), "they were not stored then"
        assert np.isfinite(ds.flux[3]).all()


def test_another_case_is_refused_with_what_differs(tmp_path):
    case = stopped(tmp_path / "r.nc")
    kept = {file.name: file.read_bytes() for file in (tmp_path / "r.parts").iterdir()}
    other = case.replace({"flow.epsilon": 0.75, "times.step": 0.025, "initial.mean": [0.25]})
    (tmp_path / "r.yaml").write_text(other.text)
    message = (
        r"flow\.epsilon: 0\.8 was, 0\.75 is; initial\.mean\.0: 0\.8 was, 0\.25 is; "
        r"times\.step: 0\.05 was, 0\.025 is\. Change them back"
    )
    with pytest.raises(CaseError, match=message):
        continuation(tmp_path / "r.yaml", output=tmp_path / "r.nc")
    assert {file.name: file.read_bytes() for file in (tmp_path / "r.parts").iterdir()} == kept


def test_a_file_that_has_changed_is_refused(tmp_path):
    np.save(tmp_path / "x.npy", np.linspace(-1, 1, 50))
    case = Case.parse(
        "mesh: {kind: box, lower: [-2], upper: [2], cells: [20]}\nflow: {kind: fokker-planck, epsilon: 1}\n"
        f"initial: {{kind: samples, file: {tmp_path / 'x.npy'}}}\ntimes: {{end: 1, step: 0.1}}\n"
    )
    with pytest.raises(Stopped):
        case.write(tmp_path / "r.nc", stopping(3))
    np.save(tmp_path / "x.npy", np.linspace(-1, 1, 51))
    with pytest.raises(CaseError, match=r"initial\.file: x\.npy, fingerprint \w+ was, x\.npy, fingerprint \w+ is"):
        fvflow.resume(tmp_path / "r.parts")


def test_what_cannot_be_resumed_is_refused(tmp_path):
    small().write(tmp_path / "r.nc")
    (tmp_path / "empty.parts").mkdir()
    (tmp_path / "text.nc").write_text("hello")
    Case.read("cases/spectrum-double-well.yaml").write(tmp_path / "modes.nc")
    for name, until, message in [
        ("r.nc", None, r"the run is finished, at t = 0\.3; give a later end by --until"),
        ("r.nc", 0.2, r"is at t = 0\.3 already, beyond 0\.2"),
        ("r.parts", None, "there is no such directory"),
        ("none.nc", None, "there is nothing to resume"),
        ("none.yaml", None, "cannot be read"),
        ("empty.parts", None, "holds no checkpoint to go on from"),
        ("text.nc", None, "cannot be read"),
        ("modes.nc", None, "keeps no state to go on from"),
    ]:
        with pytest.raises((OutputError, CaseError), match=message):
            fvflow.resume(tmp_path / name, until)
    assert sorted(os.listdir(tmp_path)) == ["empty.parts", "modes.nc", "modes.xmf2", "r.nc", "r.xmf2", "text.nc"]
    assert os.listdir(tmp_path / "empty.parts") == []


@pytest.mark.parametrize("name", ["r.nc", "r.parts", "r.yaml"])
def test_no_other_run_begins_between_reading_a_checkpoint_and_going_on(name, tmp_path):
    small().write(tmp_path / "r.nc")
    case = stopped(tmp_path / "r.nc") if name == "r.parts" else small()
    (tmp_path / "r.yaml").write_text(case.text)
    until, kept = None if name == "r.parts" else 0.5, (tmp_path / "r.nc").read_bytes()
    with continuation(tmp_path / name, until, output=tmp_path / "r.nc" if "y" in name else None) as found:
        for begin in (small().write, lambda path: fvflow.resume(path, 0.7)):
            with pytest.raises(OutputError, match=r"process \d+ on .* is writing there"):
                begin(tmp_path / "r.nc")
        assert (tmp_path / "r.nc").read_bytes() == kept
        found.case.write(found.path, checkpoint=found.checkpoint, lock=found.lock)
        with pytest.raises(OutputError, match="the run is finished"):
            fvflow.resume(tmp_path / "r.nc")
    assert not (tmp_path / "r.parts").exists()


def test_a_refused_resume_leaves_no_lock(tmp_path):
    case = stopped(tmp_path / "r.nc")
    (tmp_path / "r.yaml").write_text(case.replace({"flow.epsilon": 0.75}).text)
    with pytest.raises(CaseError, match="is not the case"):
        continuation(tmp_path / "r.yaml", output=tmp_path / "r.nc")
    with continuation(tmp_path / "r.parts") as found:
        assert (tmp_path / "r.parts" / "lock").exists()
    assert not (tmp_path / "r.parts" / "lock").exists()
    assert found.checkpoint["state"]["step"] == 4


def test_files_and_directories_in_place_of_each_other_are_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    case = stopped("r.nc")
    (tmp_path / "r.yaml").write_text(case.text)

    def told(path, message):
        for begin in (fvflow.resume, lambda path: Case.read("r.yaml").write("r.nc", discard=True)):
            with pytest.raises(OutputError, match=message):
                begin(path)

    for name in ("frames.log", "header.nc", "checkpoint-0.npz", "checkpoint-1.npz", "lock"):
        (tmp_path / "r.parts" / name).rename(tmp_path / "aside") if name != "lock" else None
        (tmp_path / "r.parts" / name).mkdir()
        told("r.yaml", f"r.parts/{name}: is a directory, but a run keeps a file of that name; move it away")
        (tmp_path / "r.parts" / name).rmdir()
        (tmp_path / "aside").rename(tmp_path / "r.parts" / name) if name != "lock" else None
    (tmp_path / "r.nc").mkdir()
    for path in ("r.yaml", "r.parts", "r.nc"):
        told(path, r"r\.nc: is a directory")
    (tmp_path / "r.nc").rmdir()
    (tmp_path / "r.parts").rename("kept")
    (tmp_path / "r.parts").write_text("mine")
    for path in ("r.yaml", "r.parts", "r.nc"):
        told(path, r"r\.parts: is a file, but a run keeps its frames in a directory of that name; move it away")
    assert (tmp_path / "r.parts").read_text() == "mine"
    (tmp_path / "r.parts").unlink()
    (tmp_path / "kept").rename("r.parts")
    fvflow.resume("r.parts")


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "text"])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(damage, tmp_path):
    case = stopped(tmp_path / "r.nc")
    last = max((tmp_path / "r.parts").glob("checkpoint-?.npz"), key=lambda file: file.stat().st_mtime_ns)
    spoil(last, damage)
    note = f"{last.name} is damaged; going on from the checkpoint before it"
    assert Checkpoints(tmp_path / "r.parts").latest()[1] == note
    fvflow.resume(tmp_path / "r.parts")
    case.write(tmp_path / "s.nc")
    assert different(tmp_path / "r.nc", tmp_path / "s.nc") == []


def spoil(file, damage):
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 16
    file.write_bytes({"cut": bytes(data[: len(data) // 2]), "flipped": bytes(data), "empty": b"", "text": b"x"}[damage])


def test_two_damaged_checkpoints_are_told_and_kept(tmp_path):
    stopped(tmp_path / "r.nc")
    for file in (tmp_path / "r.parts").glob("checkpoint-?.npz"):
        spoil(file, "flipped")
    before = sorted(os.listdir(tmp_path / "r.parts"))
    with pytest.raises(OutputError, match=r"checkpoint-0\.npz and checkpoint-1\.npz cannot be read; the frames can"):
        fvflow.resume(tmp_path / "r.parts")
    assert sorted(os.listdir(tmp_path / "r.parts")) == before


def test_a_checkpoint_of_another_version_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("fvflow.case.checkpoints.__version__", "0.0.1")
    stopped(tmp_path / "r.nc")
    monkeypatch.undo()
    with pytest.raises(OutputError, match=r"the checkpoint is of fvflow 0\.0\.1, this is .* install that one"):
        fvflow.resume(tmp_path / "r.parts")


def test_missing_and_damaged_frames_are_told_and_nothing_is_deleted(tmp_path):
    stopped(tmp_path / "r.nc")
    log = tmp_path / "r.parts" / "frames.log"
    whole = log.read_bytes()
    log.write_bytes(whole[:-100])
    before = {file.name: file.read_bytes() for file in log.parent.iterdir()}
    with pytest.raises(OutputError, match="2 of 3 frames can be read, so the run cannot go on"):
        fvflow.resume(tmp_path / "r.parts")
    assert {file.name: file.read_bytes() for file in log.parent.iterdir()} == before
    damaged = bytearray(whole)
    damaged[-250] ^= 1  # in the second of three frames
    log.write_bytes(damaged)
    with pytest.raises(OutputError, match=r"1 of 3 frames can be read"):
        fvflow.resume(tmp_path / "r.parts")


def test_locks_of_other_computers_are_not_taken_for_dead(tmp_path):
    stopped(tmp_path / "r.nc")
    lock = tmp_path / "r.parts" / "lock"
    lock.write_text("process 12 on elsewhere.example.org")
    with pytest.raises(
        OutputError, match=r"process 12 on elsewhere\.example\.org began to write there; if it has ended"
    ):
        fvflow.resume(tmp_path / "r.parts")
    assert lock.exists()
    lock.write_text(f"process 12 on {socket.gethostname()}")
    fvflow.resume(tmp_path / "r.parts")


def test_checkpoints_are_taken_by_the_clock_or_by_steps():
    now, kept = [0.0], []

    def snapshot():
        return None if now[0] == 7.0 else {"at": now[0]}

    def count(every):
        kept.clear()
        now[0] = 0.0
        schedule = CheckpointSchedule(Output(checkpoint=every), snapshot, kept.append, lambda: now[0])
        for _ in range(12):
            schedule.step(None)
            now[0] += 1.0
        return [tree["at"] for tree in kept]

    assert count(3.0) == [0.0, 3.0, 6.0, 9.0]
    assert count(3.5) == [0.0, 4.0, 8.0]
    assert count(7.0) == [0.0, 8.0], "none within a step"
    assert count(CheckpointSteps(5)) == [0.0, 5.0, 10.0]


TREE = {
    "a": np.arange(6.0).reshape(2, 3),
    "b": [1, 0.1, None, True, "x"],
    "c": {"nan": np.nan, "inf": -np.inf, "none": np.empty((0, 3)), "point": np.array(3), "flags": np.array([True])},
    "across": np.asfortranarray(np.arange(6).reshape(2, 3)),
}


def require_tree(tree):
    """The tree, arrays with their types and shapes, is TREE."""
    assert json.dumps(tree, default=np.ndarray.tolist) == json.dumps(TREE, default=np.ndarray.tolist)
    for given, own in ((tree, TREE), (tree["c"], TREE["c"])):
        for name, value in own.items():
            if isinstance(value, np.ndarray):
                assert (given[name].dtype, given[name].shape) == (value.dtype, value.shape), name


def group_file(path):
    """A file with a group made from TREE, and the places in it of the bytes of what is long enough to be found."""
    with netCDF4.Dataset(path, "w") as file:
        define(file, "checkpoint", group := to_group(TREE, {"run": "r"}))
    data = path.read_bytes()
    contents = [variable.values.tobytes() for variable in group.variables.values()]
    return [data.index(content) + index for content in contents if len(content) > 30 for index in range(len(content))]


def read_group(path):
    with netCDF4.Dataset(path) as file:
        file.set_auto_mask(False)
        return from_group(file["checkpoint"])


def test_trees_come_back_as_they_were(tmp_path):
    Checkpoints(tmp_path).write(TREE)
    require_tree(Checkpoints(tmp_path).latest()[0])
    group_file(tmp_path / "g.nc")
    require_tree(read_group(tmp_path / "g.nc"))


def test_a_damaged_group_is_told(tmp_path):
    places = group_file(tmp_path / "g.nc")
    data = (tmp_path / "g.nc").read_bytes()
    for place in places[::7]:
        (tmp_path / "g.nc").write_bytes(data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :])
        with pytest.raises(ValueError, match=r"checksum|HDF error"):  # ours, or that of HDF5
            read_group(tmp_path / "g.nc")


def test_writing_a_checkpoint_takes_no_memory_for_a_copy(tmp_path):
    """Neither that of a run under way nor the one in a result."""
    tree = {"state": {name: np.random.default_rng(0).normal(size=(512, 1024)) for name in ("density", "previous")}}
    size = sum(array.nbytes for array in tree["state"].values())

    def extra(write):
        tracemalloc.start()
        write()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak / size

    def result():
        with netCDF4.Dataset(tmp_path / "g.nc", "w") as file:
            define(file, "checkpoint", to_group(tree, {}))

    assert extra(lambda: Checkpoints(tmp_path).write(tree)) < 0.1
    assert extra(result) < 0.1
    np.testing.assert_array_equal(read_group(tmp_path / "g.nc")["state"]["previous"], tree["state"]["previous"])


def test_reading_a_checkpoint_does_not_load_the_other_one(tmp_path):
    for value in (1.0, 2.0):
        Checkpoints(tmp_path).write({"array": np.full((1024, 1024), value)})
    tracemalloc.start()
    tree = Checkpoints(tmp_path).latest()[0]
    assert tracemalloc.get_traced_memory()[1] < 1.1 * tree["array"].nbytes
    tracemalloc.stop()
    assert tree["array"][0, 0] == 2


def test_checkpoints_take_turns(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    for value in range(5):
        checkpoints.write({"value": value})
        assert checkpoints.latest() == ({"value": value}, "")
        assert Checkpoints(tmp_path).latest()[0] == {"value": value}
    assert len(os.listdir(tmp_path)) == 2
    Checkpoints(tmp_path).write({"value": 9})
    assert checkpoints.latest()[0] == {"value": 9}


def test_logs_hold_what_was_appended_and_are_cut(tmp_path):
    record = {"time": ("<f8", ()), "rho": ("<f4", (3,)), "diagnostics/mean": ("<f8", (2,))}
    log = FrameLog(tmp_path / "log", "a", record)
    assert len(read_log(tmp_path / "log")) == 0
    for index in range(4):
        log.append({"time": index, "rho": np.full(3, index), "diagnostics/mean": [index, -index]})
    log.close()
    records = read_log(tmp_path / "log")
    np.testing.assert_array_equal(records["rho"][:, 1], [0, 1, 2, 3])
    np.testing.assert_array_equal(records["diagnostics/mean"][3], [3, -3])
    size = (tmp_path / "log").stat().st_size
    for cut in range(1, records.dtype.itemsize):  # a write that was not finished
        os.truncate(tmp_path / "log", size - cut)
        assert len(read_log(tmp_path / "log")) == 3
    again = FrameLog(tmp_path / "log", "a", record, 2)
    again.append({"time": 9, "rho": np.zeros(3), "diagnostics/mean": [0, 0]})
    again.close()
    np.testing.assert_array_equal(read_log(tmp_path / "log")["time"], [0, 1, 9])


def test_a_log_that_is_none_is_refused(tmp_path):
    for data in (b"", b"hello\n", b'fvflow frames 1 {"a": 3}\n', b"fvflow frames 1 [" + b"[" * 10000 + b"\n"):
        (tmp_path / "log").write_bytes(data)
        with pytest.raises(OutputError, match="is damaged: its first line names no variables"):
            read_log(tmp_path / "log")


def test_an_end_that_fails_leaves_the_old_result_and_its_description(tmp_path, monkeypatch):
    small().write(tmp_path / "r.nc")
    before = {name: (tmp_path / name).read_bytes() for name in ("r.nc", "r.xmf2")}

    def full(*arguments):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("fvflow.dataset.writer.append_frames", full)
        with pytest.raises(OutputError, match="No space left"):
            small(title="New").write(tmp_path / "r.nc")
    assert {name: (tmp_path / name).read_bytes() for name in before} == before
    fvflow.resume(tmp_path / "r.parts")
    with fvflow.read(tmp_path / "r.nc") as ds:
        assert ds.attrs["title"] == "New"


def test_links_to_results_are_followed(tmp_path):
    (tmp_path / "far").mkdir()
    (tmp_path / "r.nc").symlink_to(tmp_path / "far" / "real.nc")
    case = stopped(tmp_path / "r.nc")
    (tmp_path / "r.yaml").write_text(case.text)
    with continuation(tmp_path / "r.yaml", output=tmp_path / "r.nc") as found:
        assert found.checkpoint["state"]["step"] == 4
    fvflow.resume(tmp_path / "r.nc")
    assert os.listdir(tmp_path / "far") == ["real.nc", "real.xmf2"]


def test_frames_of_another_run_are_not_taken_for_those_of_a_result(tmp_path):
    small().write(tmp_path / "r.nc")
    stopped(tmp_path / "other.nc", flow__epsilon=0.5)
    for file in (tmp_path / "other.parts").glob("checkpoint-?.npz"):
        file.unlink()
    (tmp_path / "other.parts").rename(tmp_path / "r.parts")
    before = (tmp_path / "r.parts" / "frames.log").read_bytes()
    with pytest.raises(OutputError, match=r"of an unfinished run of .* which is not that of"):
        fvflow.resume(tmp_path / "r.nc", until=0.5)
    assert (tmp_path / "r.parts" / "frames.log").read_bytes() == before


def test_frames_without_a_checkpoint_are_not_removed_by_a_resume(tmp_path):
    case = stopped(tmp_path / "r.nc")
    (tmp_path / "r.yaml").write_text(case.text)
    for file in (tmp_path / "r.parts").glob("checkpoint-?.npz"):
        file.unlink()
    found = continuation(tmp_path / "r.yaml", output=tmp_path / "r.nc")
    with pytest.raises(OutputError, match=r"3 frames up to t = 0\.2 .* look at them"):
        found.case.write(found.path, checkpoint=found.checkpoint)
    with fvflow.read(tmp_path / "r.parts") as ds:
        assert ds.sizes["time"] == 3


def test_a_kill_before_the_second_run_has_computed_anything_leaves_the_result_resumable(tmp_path, monkeypatch):
    small().write(tmp_path / "r.nc")
    with monkeypatch.context() as patch:
        patch.setattr(
            "fvflow.dataset.writer.Writer._release", lambda writer: (writer._log.close(), writer._lock._file.close())
        )
        patch.setattr("fvflow.case.recording.Recording._keep", lambda *arguments: None)
        patch.setattr("fvflow.case.simulation.Simulation.frames", raising)
        with pytest.raises(Stopped):
            small().write(tmp_path / "r.nc")
    assert (tmp_path / "r.parts" / "frames.log").exists()
    fvflow.resume(tmp_path / "r.nc", until=0.5)
    with fvflow.read(tmp_path / "r.nc") as ds:
        assert ds.sizes["time"] == 6


def raising(*arguments):
    raise Stopped


class Interrupted(BaseException):
    """As at a signal."""


def test_an_interrupted_resume_does_not_replace_the_result_of_another_run(tmp_path):
    small().write(tmp_path / "r.nc")
    before = (tmp_path / "r.nc").read_bytes()
    stopped(tmp_path / "r.nc", 3, flow__epsilon=0.5)

    def interrupt(state):
        if state.step == 5:
            raise Interrupted

    with pytest.raises(Interrupted):
        fvflow.resume(tmp_path / "r.parts", watch=interrupt)
    assert (tmp_path / "r.nc").read_bytes() == before
    fvflow.resume(tmp_path / "r.parts")
    assert (tmp_path / "r.nc").read_bytes() != before


def test_a_signal_after_the_last_frame_finds_the_run_finished(tmp_path):
    """Its result is that of the uninterrupted run, checks included."""
    small().write(tmp_path / "whole.nc")
    end = float(small().times.end)

    def interrupt(state):
        if state.time == end:
            raise Interrupted

    with pytest.raises(Interrupted) as caught:
        small().write(tmp_path / "r.nc", interrupt)
    assert caught.value.__notes__ == [f"the run had come to its end: its result is in {tmp_path / 'r.nc'}"]
    assert different(tmp_path / "whole.nc", tmp_path / "r.nc") == []
    with pytest.raises(OutputError, match="the run is finished"):
        fvflow.resume(tmp_path / "r.nc")


@pytest.mark.parametrize("moved", [False, True])
def test_files_of_the_case_are_told_apart_by_their_contents(moved, tmp_path, monkeypatch):
    (tmp_path / "sub").mkdir()
    fvflow.save_mesh(fvflow.Box((-5.0,), (5.0,), (12,)).build(), tmp_path / "sub" / "m.nc")
    text = (
        "mesh: {kind: ugrid, file: m.nc}\nflow: {kind: fokker-planck, epsilon: 1}\n"
        "initial: {kind: uniform}\ntimes: {end: 1, step: 0.1}\n"
    )
    (tmp_path / "sub" / "c.yaml").write_text(text)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Stopped):
        Case.read("sub/c.yaml").write("sub/c.nc", stopping(3))
    folder = "sub"
    if moved:
        (tmp_path / "sub").rename(tmp_path / "elsewhere")
        folder = "elsewhere"
    fvflow.resume(f"{folder}/c.parts")
    assert sorted(os.listdir(tmp_path / folder)) == ["c.nc", "c.xmf2", "c.yaml", "m.nc"]


def paths_of(tree, path=()):
    yield path
    if isinstance(tree, dict):
        for name in tree:
            yield from paths_of(tree[name], (*path, name))


def changed(tree, path, value):
    """The tree with the value at a path exchanged, or removed if it is `...`."""
    if not path:
        return value
    copy = dict(tree)
    if value is ... and len(path) == 1:
        del copy[path[0]]
    else:
        copy[path[0]] = changed(tree[path[0]], path[1:], value)
    return copy


def test_checkpoints_with_wrong_contents_are_refused_in_a_sentence(tmp_path):
    stopped(tmp_path / "r.nc")
    tree = Checkpoints(tmp_path / "r.parts").latest()[0]
    frames = (tmp_path / "r.parts" / "frames.log").read_bytes()
    told = 0
    for path in list(paths_of(tree))[1:]:
        if path[0] in ("case", "values") and len(path) > 1:
            continue
        for value in (..., "x", True, {}):
            Checkpoints(tmp_path / "r.parts").write(changed(tree, path, value))
            Checkpoints(tmp_path / "r.parts").write(changed(tree, path, value))
            try:
                fvflow.resume(tmp_path / "r.parts", watch=stopping(5))
            except (OutputError, CaseError):
                told += 1
            except Stopped:
                assert path[0] in ("name", "history", "statistics", "state") or value is True, (path, value)
            assert (tmp_path / "r.parts" / "frames.log").read_bytes() == frames, (path, value)
    assert told > 100


def test_a_flipped_bit_is_damage_and_never_another_error(tmp_path):
    Checkpoints(tmp_path).write({"a": np.arange(9.0), "b": 1})
    file = next(tmp_path.iterdir())
    data = file.read_bytes()
    for bit in range(0, 8 * len(data), 3):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        file.write_bytes(flipped)
        with contextlib.suppress(OutputError):
            np.testing.assert_array_equal(Checkpoints(tmp_path).latest()[0]["a"], np.arange(9.0))


def test_kills_at_random_moments_lose_nothing():
    """A kill of each of two kinds of runs, copies of a process that need not start; all kinds and more by hand."""
    command = [sys.executable, "-m", "tests.kills", "--count", "2", "--seed", "0"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "{'equal': 2}"
