import os
import shutil
from collections import namedtuple
from pathlib import Path

import netCDF4
import numpy as np
import pytest
import xarray

import fvflow
from fvflow.case import Case
from fvflow.dataset import Frame, Layout, Memory, Writer, parts_of
from fvflow.errors import NumericsError, OutputError
from fvflow.problems import OutputVariable
from tests.scenes import ou


def small(dimension=1, **changes):
    return ou(dimension, 8, times={"end": 0.3, "step": 0.05, "save": 0.1}, **changes)


def assert_file_and_memory_agree(case, folder):
    case.write(folder / "r.nc")
    with fvflow.read(folder / "r.nc") as stored:
        memory = case.run()
        for ds in (stored, memory):
            del ds.attrs["history"]
        xarray.testing.assert_identical(stored.load(), memory)
        assert list(stored) == list(memory), "in the same order"
        assert list(stored.attrs) == list(memory.attrs)
        assert all(stored[name].dtype == memory[name].dtype for name in stored.variables)
    return memory


@pytest.mark.parametrize("dimension", [1, 2, 3])
def test_file_and_memory_hold_the_same_data(dimension, tmp_path):
    memory = assert_file_and_memory_agree(small(dimension), tmp_path)
    assert memory.rho.dims == ("time", *"zyx"[3 - dimension :])
    assert memory.rho.shape == (4, *[8] * dimension)
    assert sorted(os.listdir(tmp_path)) == ["r.nc", "r.xmf2"], "no parts are left"


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("transport-gaussians-2d", {"mesh.cells": [12, 12], "flow.intervals": 4}),
        (
            "voronoi-two-wells",
            {"times": {"end": 0.02, "step": 0.01}, "output": {"fluxes": True, "precision": "single"}},
        ),
        ("tet-heat-ball", {"times": {"end": 0.02, "step": 0.01}}),
        ("spectrum-double-well", {"mesh.cells": [16, 12]}),
        ("ou-1d-jko", {"times": {"end": 0.1, "step": 0.05}}),
    ],
)
def test_file_and_memory_hold_the_same_data_of_every_group(name, changes, tmp_path):
    case = Case.read(f"cases/{name}.yaml")
    assert_file_and_memory_agree(case.replace({"checks": {}, **changes}), tmp_path)


def frame(time=0.0, **fields):
    return Frame(time, np.full(8, 0.1), {"mass": 1.0}, fields, {})


def two_variables(**cell_fields):
    described = {name: OutputVariable(("cell",), name) for name in cell_fields}
    return Layout(small().prepare().mesh, {"mass": OutputVariable((), "total mass")}, cell_fields=described)


def test_a_field_cannot_take_the_place_of_another():
    for name in ("rho", "time", "mass", "x", "cell_length"):
        with pytest.raises(ValueError, match=f"two variables are called {name}; all names of a result must differ"):
            _ = two_variables(**{name: 1}).groups
    memory = Memory(two_variables(phi=1), {})
    memory.append(frame(phi=np.arange(8.0)))
    with pytest.raises(ValueError, match="the frame and the layout differ in phi"):
        memory.append(frame(1.0))
    with pytest.raises(ValueError, match="the frame and the layout differ in phi, psi"):
        memory.append(frame(1.0, psi=np.zeros(8)))
    ds = memory.close({}, {})
    np.testing.assert_array_equal(ds.rho, np.full((1, 8), 0.1))
    np.testing.assert_array_equal(ds.phi, [np.arange(8.0)])


def test_a_result_holds_its_case_and_can_be_run_again(tmp_path):
    case = small().replace({"title": "Schrödinger, ε → 0"})
    case.write(tmp_path / "r.nc")
    with fvflow.read(tmp_path / "r.nc") as ds:
        again = Case.parse(ds.attrs["case"])
        assert again == case
        assert Case.parse(ds.attrs["resolved_case"]) == case
        np.testing.assert_array_equal(again.run().rho, ds.rho)


def test_the_layout_is_what_paraview_needs(tmp_path):
    small(2).write(tmp_path / "r.nc")
    with netCDF4.Dataset(tmp_path / "r.nc") as file:
        assert set(file.variables) == {"time", "x", "x_bnds", "y", "y_bnds", "cell_area", "rho"}
        assert set(file.groups) == {"diagnostics", "paraview"}
        assert file["rho"].dtype == np.float64
        assert file["rho"].chunking() == [1, 8, 8]
        assert file["paraview/topology"].dtype == np.int32
        assert file.dimensions["time"].isunlimited()
        assert (file["time"].units, file["time"].axis) == ("s", "T")
        assert not hasattr(file["x"], "axis")
        assert not hasattr(file["x"], "_FillValue")
        assert file["x"].bounds == "x_bnds"
        assert file["rho"].cell_measures == "area: cell_area"
        for name in ("Conventions", "title", "source", "history", "references", "comment", "case", "resolved_case"):
            assert file.getncattr(name)
        assert all(not isinstance(file.getncattr(name), np.int64) for name in file.ncattrs())
        np.testing.assert_allclose(file["x_bnds"][:, 1] - file["x_bnds"][:, 0], 1.25)


def test_single_precision_and_compression(tmp_path):
    case = small(2, output={"precision": "single", "compression": 4})
    case.write(tmp_path / "r.nc")
    with netCDF4.Dataset(tmp_path / "r.nc") as file:
        assert file["rho"].dtype == np.float32
        assert file["rho"].filters()["complevel"] == 4
        assert file["diagnostics/mass"].dtype == np.float64
    assert case.run().rho.dtype == np.float32


class _Stopped(Exception):
    pass


def stop_at(step):
    def watch(state):
        if state.step == step:
            raise _Stopped

    return watch


def test_a_run_cut_short_leaves_its_frames_and_not_the_result(tmp_path):
    with pytest.raises(_Stopped):
        small().write(tmp_path / "r.nc", stop_at(5))
    assert os.listdir(tmp_path) == ["r.parts"]
    with fvflow.read(tmp_path / "r.parts") as ds:
        np.testing.assert_array_equal(ds.time, small().run().time[:3])
        np.testing.assert_array_equal(ds.rho, small().run().rho[:3])
    small().write(tmp_path / "r.nc")
    assert sorted(os.listdir(tmp_path)) == ["r.nc", "r.xmf2"]


def test_a_failed_run_does_not_touch_an_earlier_result(tmp_path):
    small().write(tmp_path / "r.nc")
    before = (tmp_path / "r.nc").read_bytes()
    with pytest.raises(_Stopped):
        small().write(tmp_path / "r.nc", stop_at(3))
    assert (tmp_path / "r.nc").read_bytes() == before


def test_many_parts_become_one_result(tmp_path, monkeypatch):
    monkeypatch.setattr("fvflow.dataset.writer._PART_BYTES", 1)
    small(2).write(tmp_path / "r.nc")
    with fvflow.read(tmp_path / "r.nc") as ds:
        np.testing.assert_array_equal(ds.rho, small(2).run().rho)
    with pytest.raises(_Stopped):
        small(2).write(tmp_path / "s.nc", stop_at(5))
    assert len(list((tmp_path / "s.parts").glob("part-*.nc"))) == 3
    with fvflow.read(tmp_path / "s.parts") as ds:
        np.testing.assert_array_equal(ds.rho, small(2).run().rho[:3])


def test_a_full_disk_is_reported_before_it_is_full(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    calls = []

    def filling(path):
        calls.append(path)
        return usage(10**9, 0, 10**9 if len(calls) < 3 else 1000)

    monkeypatch.setattr(shutil, "disk_usage", filling)
    with pytest.raises(OutputError, match=r"0\.0 MiB are free") as caught:
        small().write(tmp_path / "r.nc")
    monkeypatch.undo()
    assert "the frames so far are in" in caught.value.__notes__[0]
    with fvflow.read(tmp_path / "r.parts") as ds:
        assert ds.sizes["time"] == 2


def test_numerics_failing_midway_keeps_the_frames(tmp_path, monkeypatch):
    from dataclasses import replace

    from fvflow.steppers import ImplicitEuler

    start = ImplicitEuler.start

    def failing(self, problem):
        step = start(self, problem)
        bad = np.full(problem.mesh.cells, np.nan)
        return lambda state, length: step(state, length) if state.step < 3 else replace(state, density=bad)

    monkeypatch.setattr(ImplicitEuler, "start", failing)
    with pytest.raises(NumericsError, match="became nan"):
        small().write(tmp_path / "r.nc")
    with fvflow.read(tmp_path / "r.parts") as ds:
        assert ds.sizes["time"] == 2


@pytest.mark.parametrize(
    ("name", "message"), [("no/such/r.nc", "no directory"), ("r.txt", r"ends in \.nc"), ("d.nc", "is a directory")]
)
def test_outputs_that_cannot_be_are_refused_at_once(name, message, tmp_path):
    (tmp_path / "d.nc").mkdir()
    with pytest.raises(OutputError, match=message):
        small().write(tmp_path / name)


def test_two_runs_do_not_share_an_output(tmp_path):
    layout = small().prepare().layout()
    with Writer(tmp_path / "r.nc", layout, {}), pytest.raises(OutputError, match=r"process \d+ on .* is writing there"):
        small().write(tmp_path / "r.nc")
    small().write(tmp_path / "r.nc")


def test_what_a_killed_run_left_is_no_obstacle_and_other_files_stay(tmp_path):
    parts = parts_of(tmp_path / "r.nc")
    parts.mkdir()
    for name in ("lock", "part.tmp", "part-000000.nc", "mine.tmp", "notes.txt"):
        (parts / name).touch()
    small().write(tmp_path / "r.nc")
    assert sorted(os.listdir(parts)) == ["mine.tmp", "notes.txt"]


def test_a_frame_is_readable_after_two_seconds_and_a_step(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr("fvflow.dataset.writer.time.monotonic", lambda: now[0])
    readable = []

    def watch(state):
        now[0] += 0.7
        readable.append(len(list((tmp_path / "r.parts").glob("part-*.nc"))))

    ou(1, 8, times={"end": 1, "step": 0.1, "save": 1}).write(tmp_path / "r.nc", watch)
    assert readable[:3] == [0, 0, 0]
    assert readable[4] == 1, "the first frame, some three seconds old"


def test_a_frame_that_comes_seldom_is_readable_at_once(tmp_path, monkeypatch):
    """Steps that take long do not keep the last frame from the reader until the next step."""
    now = [0.0]
    monkeypatch.setattr("fvflow.dataset.writer.time.monotonic", lambda: now[0])
    with Writer(tmp_path / "r.nc", two_variables(), {}) as writer:
        counts = []
        for seconds in (0.5, 0.5, 2.5, 0.5, 2.5):
            now[0] += seconds
            writer.append(frame(now[0]))
            counts.append(sum(fvflow.read(part).sizes["time"] for part in (tmp_path / "r.parts").glob("part-*.nc")))
    assert counts == [0, 0, 3, 3, 5]


def test_without_file_locks_results_are_refused_and_cases_run_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr("fvflow.system.fcntl", None)
    with pytest.raises(OutputError, match=r"on POSIX systems only: this one has no file locks .* use Case\.run\(\)"):
        small().write(tmp_path / "r.nc")
    assert os.listdir(tmp_path) == []
    assert small().run().sizes["time"] == 4


def test_a_part_whose_renaming_fails_is_not_lost(tmp_path, monkeypatch):
    from fvflow.dataset import writer

    renamed = []

    def fails_once(source, target):
        renamed.append(target)
        if len(renamed) == 1:
            raise OSError(5, "Input/output error")
        os.replace(source, target)

    monkeypatch.setattr(writer, "_flushed_rename", fails_once)
    with pytest.raises(OutputError, match="Input/output error"):
        small().write(tmp_path / "r.nc")
    with fvflow.read(tmp_path / "r.parts") as ds:
        assert ds.sizes["time"] >= 1


def test_files_reach_the_disk_before_they_get_their_name(tmp_path, monkeypatch):
    order = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda handle: order.append("fsync") or fsync(handle))
    monkeypatch.setattr(os, "replace", lambda source, target: order.append("rename") or replace(source, target))
    small().write(tmp_path / "r.nc")
    assert order[:3] == ["fsync", "rename", "fsync"]
    assert order.count("fsync") >= 2 * order.count("rename") - 1


def test_a_link_as_output_stays_one(tmp_path):
    (tmp_path / "far").mkdir()
    (tmp_path / "r.nc").symlink_to(tmp_path / "far" / "real.nc")
    small().write(tmp_path / "r.nc")
    assert (tmp_path / "r.nc").is_symlink()
    assert sorted(os.listdir(tmp_path / "far")) == ["real.nc", "real.xmf2"]


def test_reading_closes_its_files(tmp_path):
    small().write(tmp_path / "r.nc")
    with fvflow.read(tmp_path / "r.nc") as ds:
        assert ds.mass[0] == pytest.approx(1.0)
    held = [os.readlink(link) for link in Path("/proc/self/fd").iterdir() if link.exists()]
    assert not [name for name in held if name.endswith("r.nc")]


def test_reading_anything_but_a_result_is_refused(tmp_path):
    (tmp_path / "text.nc").write_text("hello")
    xarray.Dataset({"a": 1}).to_netcdf(tmp_path / "other.nc")
    (tmp_path / "empty.parts").mkdir()
    for name, message in [
        ("text.nc", "cannot be read"),
        ("other.nc", "not a result of fvflow"),
        ("none.nc", "cannot be read"),
        ("empty.parts", "no parts"),
    ]:
        with pytest.raises(OutputError, match=message):
            fvflow.read(Path(tmp_path / name))
