"""Sweeps: plans, the same file however it is computed and whatever is killed, failures, and pictures."""

import json
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import xarray
from scipy.integrate import quad
from scipy.stats import kstest

import fvflow
from fvflow.case import Case
from fvflow.cli import main
from fvflow.errors import CaseError, OutputError
from fvflow.plot import sweep_figure
from fvflow.studies.sweeps.distributions import drawn
from fvflow.studies.sweeps.executors import Serial
from fvflow.studies.sweeps.jobs import Job, case_hash, run_job
from fvflow.studies.sweeps.outcome import Entry, Outcome, decoded, encoded, split
from fvflow.studies.sweeps.plan import make_plan
from fvflow.studies.sweeps.processes import Processes
from fvflow.studies.sweeps.request import Request
from fvflow.studies.sweeps.run_sweep import document_of
from fvflow.studies.sweeps.store import Store
from fvflow.studies.sweeps.sweep import Sweep
from fvflow.studies.sweeps.value_lists import split_values

KRAMERS = "cases/kramers-sweep.yaml"
CASE = """
title: small
mesh: {kind: box, lower: [-4], upper: [4], cells: [15]}
flow: {kind: fokker-planck, epsilon: 0.5, potential: k*x**2}
initial: {kind: gaussian, mean: [1], covariance: [[0.5]]}
times: {end: 0.2, step: 0.1}
parameters: {k: 0.5}
"""


@pytest.fixture
def small(tmp_path):
    path = tmp_path / "small.yaml"
    path.write_text(CASE)
    return path


def made(path, lists, **how):
    document, plan, fields = Request(lists, **how).plan(document_of(path))
    return Sweep.of(document, plan, fields)


# plans


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("0.01,0.02", ["0.01", "0.02"]),
        ("[64],[128, 2]", ["[64]", "[128, 2]"]),
        ("{kind: a, n: 1}, {kind: b}", ["{kind: a, n: 1}", "{kind: b}"]),
        ("min(x, 1),x", ["min(x, 1)", "x"]),
        ("'a,b',\"c,d\"", ["'a,b'", '"c,d"']),
        ("1,", ["1", ""]),
        ("", []),
    ],
)
def test_lists_are_split_outside_brackets_and_quotes(text, values):
    assert split_values(text) == values


def test_the_last_path_varies_fastest_and_zip_takes_values_together():
    lists = {"a": ["1", "2"], "b.c": ["x", "y", "z"]}
    assert [tuple(each.values()) for each in make_plan(lists, {}, {}).overrides()] == [
        (a, b) for a in ("1", "2") for b in ("x", "y", "z")
    ]
    zipped = make_plan({"a": ["1", "2"], "b.c": ["x", "y"]}, {"d": "0"}, {}, together=True)
    assert [axis.name for axis in zipped.axes] == ["case"]
    assert list(zipped.overrides()) == [{"d": "0", "a": "1", "b.c": "x"}, {"d": "0", "a": "2", "b.c": "y"}]


def test_draws_follow_their_law_and_do_not_depend_on_their_number_or_on_other_paths():
    laws = {
        "uniform(1, 3)": ("uniform", (1, 2)),
        "normal(2, 0.5)": ("norm", (2, 0.5)),
        "loguniform(0.1, 10)": ("loguniform", (0.1, 10)),
        "lognormal(0, 1)": ("lognorm", (1,)),
    }
    for text, (name, arguments) in laws.items():
        values = [float(value) for value in drawn("flow.epsilon", text, 2000, 0)]
        assert kstest(values, name, arguments).pvalue > 1e-3, text
        assert drawn("flow.epsilon", text, 7, 0) == drawn("flow.epsilon", text, 2000, 0)[:7]
        assert drawn("flow.epsilon", text, 7, 1) != drawn("flow.epsilon", text, 7, 0)
        assert drawn("parameters.k", text, 7, 0) != drawn("flow.epsilon", text, 7, 0)
    counts = np.bincount([int(value) for value in drawn("n", "integer(1, 3)", 3000, 0)])
    assert counts[0] == 0
    assert np.abs(counts[1:] - 1000).max() < 5 * np.sqrt(1000)
    assert set(drawn("m", "choice([64], [128])", 20, 0)) == {"[64]", "[128]"}


@pytest.mark.parametrize(
    ("lists", "how", "message"),
    [
        ({"flow.epsilonn": ["1", "2"]}, {}, 'did you mean "epsilon"'),
        ({"flwo.epsilon": ["1", "2"]}, {}, 'did you mean "flow"'),
        ({"initial.mean.x.0": ["1", "2"]}, {}, "nothing there to set at x"),
        ({"mesh.celsl.0": ["1", "2"]}, {}, 'did you mean "cells"'),
        ({"flow.epsilon": ["1", "-1", "a b"]}, {}, "2 of the 3 cases of the sweep cannot be run; none was started"),
        ({"flow.epsilon": []}, {}, "empty"),
        ({"flow.epsilon": ["1", ""]}, {}, "empty"),
        ({"flow.epsilon": ["0.1", "1e-1"]}, {}, "1e-1 is given twice|0.1 is given twice"),
        ({}, {}, "nothing varies"),
        ({"flow.epsilon": ["1", "2"], "parameters.k": ["1", "2", "3"]}, {"together": True}, "equally many"),
        ({"flow.epsilon": ["geomspace(-1,2,3)"]}, {}, "same sign"),
        ({"flow.epsilon": ["1", "2"], "flow": ["{kind: spectrum}", "{}"]}, {}, "within the other"),
        ({"sweep.seed": ["1", "2"]}, {}, "cannot vary itself"),
        ({"flow.epsilon": ["linspace(1,2,1000)"], "parameters.k": ["linspace(1,2,1000)"]}, {}, "at most 100000"),
        ({}, {"draws": {"parameters.k": "uniform(0,1)"}}, "--random"),
        ({}, {"random": 3}, "nothing is drawn"),
        ({}, {"draws": {"parameters.k": "unifrom(0,1)"}, "random": 3}, 'did you mean "uniform"'),
        ({}, {"draws": {"parameters.k": "uniform(1,0)"}, "random": 3}, "low has to be below high"),
        ({}, {"draws": {"parameters.k": "uniform(1)"}, "random": 3}, "expected two numbers"),
        ({}, {"draws": {"parameters.k": "0.5"}, "random": 3}, "expected a distribution"),
    ],
)
def test_what_makes_no_sweep_is_refused_before_anything_runs(small, lists, how, message):
    with pytest.raises(CaseError, match=message):
        made(small, lists, **how)


def test_the_section_of_a_case_says_what_the_call_does_not(small):
    small.write_text(CASE + "sweep: {set: {flow.epsilon: [1, 2], mesh.cells: [[15], [20]]}, seed: 3, fields: true}")
    document, plan, fields = Request({"flow.epsilon": ["3"]}).plan(document_of(small))
    assert (plan.shape, fields, "sweep" in document.values) == ((2, 1), True, False)
    assert Case.read(small).sweep.seed == 3, "a run of the case takes no notice"
    small.write_text(CASE + "sweep: {sets: {flow.epsilon: [1, 2]}}")
    with pytest.raises(CaseError, match=r'small.yaml:8:9: sweep.sets: unknown key; did you mean "set"'):
        made(small, {})


def test_the_commands_of_the_guide_make_plans(monkeypatch):
    from fvflow.cli import sweep_command
    from fvflow.cli.commands import _parser

    lines = [line.partition(" #")[0].split()[1:] for line in Path("fvflow/GUIDE.md").read_text().splitlines() if
             line.startswith("    fvflow sweep ")]  # fmt: skip
    shapes = []
    for line in lines:
        options = _parser().parse_args(sweep_command.with_draws(line))
        _, plan, _ = sweep_command._request(options).plan(document_of(options.case))
        shapes.append(plan.shape)
    assert shapes == [(10,), (5, 2), (8,)]


# what a case is recognised by


def test_a_case_is_recognised_by_all_that_its_outcome_depends_on(tmp_path):
    case = Case.parse(CASE)
    known = case_hash(case, False)
    assert known == case_hash(case.replace({"title": "another"}), False)
    assert known != case_hash(case.replace({"flow.epsilon": 0.25}), False)
    assert known != case_hash(case.replace({"output.precision": "single"}), False)
    assert known != case_hash(case, True)
    samples = tmp_path / "points.csv"
    samples.write_text("x\n0\n1\n")
    drawn_from = case.replace({"initial": {"kind": "samples", "file": str(samples)}})
    before = case_hash(drawn_from, False)
    samples.write_text("x\n0\n1.5\n")
    assert case_hash(drawn_from, False) != before


def test_an_outcome_comes_back_from_its_bytes_and_damage_is_found():
    job = Job("key", Case.parse(CASE), fields=True)
    blob = run_job(job)
    outcome = decoded(blob)
    assert (outcome.key, outcome.status, split(blob)) == ("key", "ok", [(0, len(blob))])
    assert encoded(outcome) == blob == run_job(job)
    ds = job.case.run()
    np.testing.assert_array_equal(outcome.entries["rho"].values, ds.rho.values)
    assert outcome.figures["mass_drift"] == ds.attrs["mass_drift"]
    odd = encoded(Outcome("k", figures={"a": np.inf, "b": -np.inf, "c": np.nan, "d": 0.1}))
    assert str(decoded(odd).figures) == "{'a': inf, 'b': -inf, 'c': nan, 'd': 0.1}"
    number = Outcome("k", entries={"mesh": Entry("mesh", (), {}, np.array(3))})
    assert decoded(encoded(number)).entries["mesh"].values.shape == ()
    for place in (3, len(blob) // 2, len(blob) - 1):
        damaged = bytearray(blob)
        damaged[place] ^= 1
        with pytest.raises(ValueError, match=r"cut short|checksum"):
            split(damaged)


# results


def test_rates_of_ten_temperatures_are_those_of_quadrature():
    """rate = eps/(int_-1^1 exp(V/eps) int exp(-V/eps)), the mean number of transitions from -1 to 1 in equilibrium."""
    ds = fvflow.sweep(KRAMERS, workers=1)
    assert ds.rate.dims == ("flow_epsilon",)
    assert list(ds.status.values) == ["ok"] * 10
    for eps, rate in zip(ds.flow_epsilon.values, ds.rate.values, strict=True):
        tolerances = {"epsabs": 0, "epsrel": 1e-11}
        over = quad(lambda x, eps=eps: np.exp(((x * x - 1) ** 2 - 1) / 4 / eps), -1, 1, **tolerances)[0]
        at = quad(lambda x, eps=eps: np.exp(-((x * x - 1) ** 2) / 4 / eps), 0, 2, points=[1.0], **tolerances)[0]
        assert rate == pytest.approx(eps * np.exp(-0.25 / eps) / (over * 2 * at), rel=1e-3)


def test_each_entry_is_the_run_of_its_case(small, tmp_path):
    """Figures, diagnostics and fields at a place are those of the run with these values, to the last bit."""
    lists = {"flow.epsilon": [0.5, 0.7], "times.end": [0.2, 0.4]}
    ds = fvflow.sweep(small, lists, fields=True, workers=1)
    assert ds.rho.dims == ("flow_epsilon", "times_end", "frame", "x")
    for eps in (0.5, 0.7):
        for end in (0.2, 0.4):
            run = Case.read(small).replace({"flow.epsilon": eps, "times.end": end}).run()
            here, frames = ds.sel(flow_epsilon=eps, times_end=end), slice(0, run.sizes["time"])
            np.testing.assert_array_equal(here.rho[frames], run.rho)
            np.testing.assert_array_equal(here.time[frames], run.time)
            np.testing.assert_array_equal(here.energy_over_time[frames], run.energy)
            assert np.isnan(here.rho[run.sizes["time"] :]).all()
            assert here.minimum == run.attrs["minimum"]
            assert here.entropy == run.entropy[-1]
            np.testing.assert_array_equal(ds.x, run.x)


def test_fields_on_several_meshes_are_in_groups(small, tmp_path):
    path = tmp_path / "s.nc"
    lists = {"flow.epsilon": [0.5, 0.6], "mesh.cells": [[15], [20]]}
    fvflow.sweep(small, lists, fields=True, workers=1, output=path)
    for number, cells in ((1, 15), (2, 20)):
        with xarray.open_dataset(path, group=f"mesh_{number}") as group:
            assert list(group.case_number.values) == [number - 1, number + 1]
            for index, eps in enumerate((0.5, 0.6)):
                run = Case.read(small).replace({"flow.epsilon": eps, "mesh.cells": [cells]}).run()
                np.testing.assert_array_equal(group.rho[index], run.rho)


def test_fields_on_faces_are_kept_too(small):
    ds = fvflow.sweep(small, {"output.fluxes": [True], "flow.epsilon": [0.5, 0.6]}, fields=True, workers=1)
    run = Case.read(small).replace({"output.fluxes": True, "flow.epsilon": 0.6}).run()
    np.testing.assert_array_equal(ds.flux_mean.values[0, 1], run.flux_mean)
    np.testing.assert_array_equal(ds.face_x, run.face_x)


def test_info_tells_a_sweep_and_one_that_was_cut_short(small, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    sweep = made("small.yaml", {"flow.epsilon": ["0.1", "0.2"], "mesh.cells": ["[15]", "[20]"]})

    def printed(*arguments):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == 0
        return capsys.readouterr()

    with pytest.raises(KeyboardInterrupt):
        sweep.run(Path("s.nc"), Stops(3))
    assert json.loads(printed("info", "s.parts", "--json").out)["ok"] == 3
    assert "small.yaml: flow.epsilon (2) x mesh.cells (2)" in printed("info", "s.parts").out
    sweep.run(Path("s.nc"), Serial())
    assert [case["mesh.cells"] for case in json.loads(printed("info", "s.nc", "--json").out)["cases"]] == [
        "[15]", "[20]", "[15]", "[20]",
    ]  # fmt: skip
    assert "4 cases, in s.nc" in printed("info", "s.nc").out
    told = printed("sweep", "small.yaml", "--set", "flow.epsilon=0.1,0.2", "--check", "-o", "no.nc").err
    assert re.fullmatch(r"2 cases: flow.epsilon \(2\); about .* s, the result about .* KiB, in no.nc\n", told)
    assert not Path("no.nc").exists()
    assert "wrote s.png" in printed("plot", "s.nc", "--figure", "energy", "--against", "flow.epsilon,mesh.cells").err


def test_a_case_that_fails_is_recorded_and_the_others_go_on(small, tmp_path, capfd):
    output = tmp_path / "s.nc"
    with pytest.raises(SystemExit) as ended:
        main(["sweep", str(small), "--set", "flow.potential=x**2,1/x", "--set", "parameters={}", "--workers", "1",
              "-o", str(output), "--csv", str(tmp_path / "s.csv"), "--json"])  # fmt: skip
    assert ended.value.code == 3
    printed = capfd.readouterr()
    told = json.loads(printed.out)
    assert (told["ok"], told["failed"], told["cases"][1]["exit_code"]) == (1, 1, 3)
    assert "1/x is inf at x = 0" in printed.err
    with fvflow.read(output) as ds:
        assert list(ds.status.values) == ["ok", "failed"]
        assert "1/x is inf at x = 0" in str(ds.error.values[1])
        assert np.isfinite(ds.energy.values).tolist() == [True, False]
        lines = (tmp_path / "s.csv").read_text().splitlines()
        energy = lines[0].split(",").index("energy")
        assert float(lines[1].split(",")[energy]) == ds.energy.values[0]


def test_files_are_found_and_told_from_the_folder_of_the_case(tmp_path, monkeypatch):
    """A path that varies may be that of a file; a worker of another folder finds it, and messages name it as given."""
    (tmp_path / "cases").mkdir()
    monkeypatch.chdir(tmp_path)
    Path("cases/small.yaml").write_text(CASE)
    np.save("cases/a.npy", np.zeros((9, 1)))
    Path("cases/b.npy").write_text("no array")
    files = ["{kind: samples, file: a.npy}", "{kind: samples, file: b.npy}"]
    sweep = made("cases/small.yaml", {"initial": files})
    sweep.run(Path("s.nc"), ElseWhere())
    with fvflow.read("s.nc") as ds:
        assert list(ds.status.values) == ["ok", "failed"]
        assert " cases/b.npy: " in str(ds.error.values[1])


class ElseWhere(Serial):
    """Runs in another folder."""

    def run(self, jobs):
        here = os.getcwd()
        os.chdir("/")
        yield from [run_job(job) for job in jobs]
        os.chdir(here)


def test_outcomes_that_are_large_are_written_by_their_worker(small, tmp_path, monkeypatch):
    sweep = made(small, {"flow.epsilon": ["0.1", "0.2"]}, fields=True)
    sweep.run(tmp_path / "small.nc", Serial())
    monkeypatch.setattr("fvflow.studies.sweeps.jobs.LARGE", 100)
    with pytest.raises(KeyboardInterrupt):
        sweep.run(tmp_path / "large.nc", Stops(1))
    assert [file.stem for file in (tmp_path / "large.parts").glob("*.part")] == [sweep.keys[0]]
    sweep.run(tmp_path / "large.nc", Serial())
    assert (tmp_path / "small.nc").read_bytes() == (tmp_path / "large.nc").read_bytes()


# whatever is killed


def test_in_this_process_and_in_others_with_one_killed_the_file_is_the_same(small, tmp_path):
    """A worker that is killed loses nothing: its case is run again, and no case is there twice."""
    sweep, killed = made(small, {"flow.epsilon": ["linspace(0.1,1,12)"], "mesh.cells": ["[15]", "[20]"]}), []

    def kill_one(done, failed):
        if done == 3 and not killed:
            killed.append(multiprocessing.active_children()[0].pid)
            os.kill(killed[0], signal.SIGKILL)
        assert failed == 0

    sweep.run(tmp_path / "serial.nc", Serial())
    sweep.run(tmp_path / "killed.nc", Processes(2), kill_one)
    assert killed
    assert (tmp_path / "serial.nc").read_bytes() == (tmp_path / "killed.nc").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["killed.nc", "serial.nc", "small.yaml"]
    with fvflow.read(tmp_path / "killed.nc") as ds:
        assert len(set(ds.case_hash.values.ravel())) == 24
        assert (ds.status == "ok").all()


@dataclass(frozen=True)
class Deadly(Job):
    """A job that ends every process that it comes to."""

    def __reduce__(self):
        return os._exit, (9,)


def test_a_case_that_kills_every_worker_is_told_and_tried_again_when_the_sweep_is_resumed():
    case = Case.parse(CASE)
    jobs = [Deadly("bad", case), *(Job(f"{number}", case) for number in range(3))]
    outcomes = [decoded(blob) for blob in Processes(2).run(jobs) if blob is not None]
    assert sorted(outcome.key for outcome in outcomes) == ["0", "1", "2", "bad"]
    bad = next(outcome for outcome in outcomes if outcome.key == "bad")
    assert (bad.status, bad.exit_code, bad.final) == ("failed", 4, False)
    assert "killed" in bad.error


class Stops:
    """Runs so many cases, then is stopped as by a signal."""

    at_once = 1

    def __init__(self, count):
        self.count = count

    def prepare(self):
        pass

    def run(self, jobs):
        for job in jobs[: self.count]:
            yield run_job(job)
        raise KeyboardInterrupt


def test_stopped_at_random_and_resumed_the_file_is_the_same(small, tmp_path):
    sweep, random = made(small, {"flow.epsilon": ["linspace(0.1,1,12)"]}), np.random.default_rng(0)
    sweep.run(tmp_path / "whole.nc", Serial())
    left, path = 12, tmp_path / "stopped.nc"
    for count in random.integers(1, 5, 3):
        left -= count
        with pytest.raises(KeyboardInterrupt) as stopped:
            sweep.run(path, Stops(count))
        where = tmp_path / "stopped.parts"
        note = f"{12 - left} of 12 cases are finished and in {where}; the same command goes on with them"
        assert stopped.value.__notes__ == [note]
    done = []
    sweep.run(path, Serial(), lambda number, failed: done.append(number))
    assert done == list(range(12 - left + 1, 13))
    assert path.read_bytes() == (tmp_path / "whole.nc").read_bytes()


OWNER = """
import fvflow
fvflow.sweep({case!r}, {{"flow.epsilon": [0.1 + 0.05*k for k in range(8)]}}, workers=2, output="owned.nc")
"""


def test_the_owner_killed_loses_two_seconds_and_leaves_no_process(small, tmp_path):
    """A script without a main guard is the owner; kill -9 hits it when the first part is on the disk."""
    small.write_text(CASE.replace("step: 0.1", "step: 0.0005").replace("end: 0.2", "end: 1"))
    script = tmp_path / "owner.py"
    script.write_text(OWNER.format(case=str(small)))
    owner = subprocess.Popen([sys.executable, str(script)], cwd=tmp_path, start_new_session=True)
    parts, began = tmp_path / "owned.parts", time.monotonic()
    while not list(parts.glob("*.part")) and owner.poll() is None and time.monotonic() - began < 120:
        time.sleep(0.02)
    owner.kill()
    owner.wait()
    began = time.monotonic()
    while group := processes_of(owner.pid):
        assert time.monotonic() - began < 60, f"{group} are left"
        time.sleep(0.05)
    done = []
    ds = fvflow.sweep(small, {"flow.epsilon": [0.1 + 0.05 * k for k in range(8)]}, workers=1,
                      output=tmp_path / "owned.nc", progress=lambda number, failed: done.append(number))  # fmt: skip
    with ds:
        assert (ds.status == "ok").all()
    assert not done or done[0] > 1, "what was on the disk is taken over"
    fvflow.sweep(small, {"flow.epsilon": [0.1 + 0.05 * k for k in range(8)]}, workers=1, output=tmp_path / "w.nc")
    assert (tmp_path / "owned.nc").read_bytes() == (tmp_path / "w.nc").read_bytes()


def processes_of(session):
    """The processes of a session that have not ended."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, owner = entry.read_text().rpartition(")")[2].split()[:4]
        except OSError:
            continue
        if int(owner) == session and state != "Z":
            found.append(entry.parent.name)
    return found


def test_what_has_arrived_is_on_the_disk_after_two_seconds(tmp_path):
    now = [0.0]
    with Store(tmp_path / "s.nc", "{}", ["a", "b"], print, clock=lambda: now[0]) as store:
        store.add(encoded(Outcome("a")))
        now[0] = 1.9
        store.tick()
        assert not list(store.folder.glob("*.part"))
        now[0] = 2.0
        store.tick()
        assert len(list(store.folder.glob("*.part"))) == 1
        assert store["a"].key == "a"


def test_a_directory_of_another_sweep_is_refused_and_damage_is_told(small, tmp_path):
    path, sentences = tmp_path / "s.nc", []
    first, other = (made(small, {"flow.epsilon": values}) for values in (["0.1", "0.2"], ["0.3", "0.4"]))
    with pytest.raises(KeyboardInterrupt):
        first.run(path, Stops(1))
    with pytest.raises(OutputError, match=r"1 finished cases of another sweep \(.*small.yaml: flow.epsilon \(2\)\)"):
        other.run(path, Serial())
    (part,) = (tmp_path / "s.parts").glob("*.part")
    part.write_bytes(part.read_bytes()[:-1])
    first.run(path, Serial(), tell=sentences.append)
    assert "cut short" in sentences[0]
    with fvflow.read(path) as ds:
        assert (ds.status == "ok").all()
    with pytest.raises(KeyboardInterrupt):
        first.run(path, Stops(1))
    other.run(path, Serial(), discard=True)
    assert not (tmp_path / "s.parts").exists()
    run = tmp_path / "run.nc"
    Case.read(small).write(run)
    with pytest.raises(OutputError, match="not the result of a sweep"):
        other.run(run, Serial())


def test_dask_gives_the_same_file_with_a_worker_killed(small, tmp_path):
    """Two local workers; one is killed while cases are running: all are there, none twice."""
    import distributed

    from fvflow.studies.sweeps.dask_cluster import DaskCluster

    sweep, killed = made(small, {"flow.epsilon": ["linspace(0.1,1,30)"]}), []
    sweep.run(tmp_path / "serial.nc", Serial())
    quiet = {"dashboard_address": None, "silence_logs": 50}
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, **quiet) as cluster:
        executor = DaskCluster(cluster.scheduler_address)
        executor.prepare()

        def kill_one(done, failed):
            if done == 5 and not killed:
                killed.append(next(iter(cluster.workers.values())).pid)
                os.kill(killed[0], signal.SIGKILL)

        sweep.run(tmp_path / "dask.nc", executor, kill_one)
    assert killed
    assert (tmp_path / "dask.nc").read_bytes() == (tmp_path / "serial.nc").read_bytes()
    with fvflow.read(tmp_path / "dask.nc") as ds:
        assert len(set(ds.case_hash.values)) == 30
    with pytest.raises(OutputError, match="no Dask scheduler answers"):
        DaskCluster("tcp://127.0.0.1:9")._client()


# pictures


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    path = tmp_path_factory.mktemp("table") / "small.yaml"
    path.write_text(CASE)
    lists = {"flow.epsilon": [0.5, 0.01, 0.1], "parameters.k": [1, 2], "mesh.cells": [[15], [20]]}
    return fvflow.sweep(path, lists, workers=1)


def test_lines_and_maps_show_the_values(table):
    lines = sweep_figure(table, "energy", "flow.epsilon", at={"mesh.cells": "[20]"}).axes[0].get_lines()
    assert [line.get_label() for line in lines] == ["parameters.k = 1", "parameters.k = 2"]
    for line, k in zip(lines, (1, 2), strict=True):
        expected = table.energy.sel(parameters_k=k, mesh_cells="[20]").sortby("flow_epsilon")
        np.testing.assert_array_equal(line.get_ydata(), expected)
        np.testing.assert_array_equal(line.get_xdata(), [0.01, 0.1, 0.5])
    axes = sweep_figure(table, "minimum", ["flow.epsilon", "parameters.k"], at={"mesh.cells": "[15]"}).axes[0]
    (mesh,) = axes.collections
    expected = table.minimum.sel(mesh_cells="[15]").sortby("flow_epsilon").transpose("parameters_k", "flow_epsilon")
    np.testing.assert_array_equal(mesh.get_array(), expected)
    assert (axes.get_xscale(), axes.get_yscale()) == ("linear", "linear")
    assert sweep_figure(table, "energy", "flow.epsilon", log="x").axes[0].get_xscale() == "log"
    last = sweep_figure(table, "mass_over_time", "mesh.cells", at={"flow.epsilon": "0.1"}).axes[0]
    np.testing.assert_array_equal(last.get_lines()[0].get_ydata(), table.mass_over_time[2, 0, :, -1])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("enrgy",), 'did you mean "energy"'),
        (("energy", "flow.epsilom"), 'did you mean "flow.epsilon"'),
        (("energy", ["flow.epsilon", "parameters.k"]), "mesh_cells varies too; fix it by --at"),
        (("energy", ["a", "b", "c"]), "against 3 paths"),
    ],
)
def test_pictures_that_cannot_be_are_refused(table, arguments, message):
    with pytest.raises(CaseError, match=message):
        sweep_figure(table, *arguments)


def test_a_value_that_is_not_there_is_refused(table):
    with pytest.raises(CaseError, match="has no value 3; it has 1, 2"):
        sweep_figure(table, "energy", "flow.epsilon", at={"parameters.k": "3"})
    with pytest.raises(CaseError, match="not the result of a sweep"):
        sweep_figure(Case.parse(CASE).run())
