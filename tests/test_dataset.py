import json
import math
import os
import shutil
import subprocess
import sys
import threading
from collections import namedtuple
from pathlib import Path

import netCDF4
import numpy as np
import pytest
import xarray
from hypothesis import example, given, settings
from hypothesis import strategies as st

import fvflow
from fvflow.case import Case
from fvflow.dataset import Frame, Layout, Memory, Writer
from fvflow.dataset.netcdf import chunk_shape, flushing
from fvflow.dataset.replacing import parts_of
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


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 3000), min_size=1, max_size=3), st.sampled_from([1, 4, 8]))
@example([1, 1024, 1024], 8)
@example([1, 0], 8)
def test_chunks_are_nearly_equal_parts_of_at_most_a_mebibyte(shape, item):
    chunk, lengths = chunk_shape(shape, item), [max(length, 1) for length in shape]
    assert math.prod(chunk) * item <= 2**20
    filled = [length / (-(-length // size) * size) for length, size in zip(lengths, chunk, strict=True)]
    assert math.prod(filled) > 0.9
    if math.prod(lengths) * item <= 2**20:
        assert chunk == tuple(lengths)


def test_a_mesh_without_faces_has_a_result_with_fluxes(tmp_path):
    case = ou(1, 1, times={"end": 0.1, "step": 0.1}, output={"fluxes": True}, initial={"kind": "uniform"}, exact=None)
    case.write(tmp_path / "r.nc")
    with fvflow.read(tmp_path / "r.nc") as ds:
        assert ds.flux.shape == (2, 0)


def test_a_file_that_cannot_be_flushed_is_told(tmp_path, monkeypatch):
    (tmp_path / "a").write_bytes(b"1")
    asked = threading.Event()

    def full(_):
        asked.set()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"), flushing(tmp_path / "a"):
        assert asked.wait(60)


def test_the_layout_is_what_paraview_needs(tmp_path):
    small(2).write(tmp_path / "r.nc")
    with netCDF4.Dataset(tmp_path / "r.nc") as file:
        assert set(file.variables) == {"time", "x", "x_bnds", "y", "y_bnds", "cell_area", "rho"}
        assert set(file.groups) == {"diagnostics", "paraview", "checkpoint"}
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
    with pytest.raises(OutputError, match=r"3 frames up to t = 0\.2 and a checkpoint .* resume .* --discard"):
        small().write(tmp_path / "r.nc")
    told = []
    small().write(tmp_path / "r.nc", tell=told.append, discard=True)
    assert len(told) == 1
    assert told[0].startswith("removes ")
    assert sorted(os.listdir(tmp_path)) == ["r.nc", "r.xmf2"]


def test_a_failed_run_does_not_touch_an_earlier_result(tmp_path):
    small().write(tmp_path / "r.nc")
    before = (tmp_path / "r.nc").read_bytes()
    with pytest.raises(_Stopped):
        small().write(tmp_path / "r.nc", stop_at(3))
    assert (tmp_path / "r.nc").read_bytes() == before


def test_frames_are_copied_in_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr("fvflow.dataset.netcdf._COPY_BYTES", 1)
    small(2).write(tmp_path / "r.nc")
    with fvflow.read(tmp_path / "r.nc") as ds:
        np.testing.assert_array_equal(ds.rho, small(2).run().rho)


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


def test_what_a_run_left_before_its_first_frame_is_no_obstacle_and_other_files_stay(tmp_path):
    parts = parts_of(tmp_path / "r.nc")
    parts.mkdir()
    for name in ("lock", "header.tmp", "whole.tmp", "mine.tmp", "notes.txt"):
        (parts / name).touch()
    small().write(tmp_path / "r.nc")
    assert sorted(os.listdir(parts)) == ["mine.tmp", "notes.txt"]


def test_a_frame_is_readable_at_once_and_on_the_disk_after_two_seconds(tmp_path, monkeypatch):
    now, synced = [0.0], []
    monkeypatch.setattr("fvflow.dataset.writer.time.monotonic", lambda: now[0])
    monkeypatch.setattr("fvflow.dataset.frame_log.FrameLog.sync", lambda log: synced.append(log.count))
    with Writer(tmp_path / "r.nc", two_variables(), {}) as writer:
        for count, seconds in enumerate((0.5, 0.5, 2.5, 0.5, 2.5), 1):
            now[0] += seconds
            writer.append(frame(now[0]))
            with fvflow.read(tmp_path / "r.parts") as ds:
                assert ds.sizes["time"] == count
                assert ds.time[-1] == now[0]
        now[0] += 2.5
        writer.tick()
    assert synced == [3, 5, 5]


def test_without_file_locks_results_are_refused_and_cases_run_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr("fvflow.system.fcntl", None)
    with pytest.raises(OutputError, match=r"on POSIX systems only: this one has no file locks .* use Case\.run\(\)"):
        small().write(tmp_path / "r.nc")
    assert os.listdir(tmp_path) == []
    assert small().run().sizes["time"] == 4


def test_a_disk_that_fills_amid_a_frame_loses_that_frame_only(tmp_path, monkeypatch):
    from fvflow.dataset.frame_log import FrameLog

    write = FrameLog._write

    def filling(log, data):
        if log.count == 2 and len(data) > 8:  # rho of the third frame, after its time
            write(log, data[: len(data) // 2])
            raise OSError(28, "No space left on device")
        write(log, data)

    monkeypatch.setattr(FrameLog, "_write", filling)
    with pytest.raises(OutputError, match="No space left on device") as caught:
        small(2).write(tmp_path / "r.nc")
    monkeypatch.undo()
    assert "goes on at t = 0" in caught.value.__notes__[0]
    with fvflow.read(tmp_path / "r.parts") as ds:
        np.testing.assert_array_equal(ds.rho, small(2).run().rho[:2])
    fvflow.resume(tmp_path / "r.parts")
    with fvflow.read(tmp_path / "r.nc") as ds:
        np.testing.assert_array_equal(ds.rho, small(2).run().rho)


def test_files_reach_the_disk_before_they_get_their_name(tmp_path, monkeypatch):
    order = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda handle: order.append("fsync") or fsync(handle))
    monkeypatch.setattr(os, "replace", lambda source, target: order.append("rename") or replace(source, target))
    small().write(tmp_path / "r.nc")
    assert order[:4] == ["fsync", "fsync", "rename", "fsync"], "the new folder, then the header and its name"
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
    assert str(tmp_path / "r.nc") not in held


def test_what_cannot_be_read_after_all_is_closed(tmp_path):
    """The groups that were opened before the one at fault, while somebody still holds the error."""
    small().write(tmp_path / "r.nc")
    with netCDF4.Dataset(tmp_path / "r.nc", "a") as file:
        file["diagnostics/mass"].units = "days since nonsense"
    with pytest.raises(OutputError, match="is damaged or incomplete") as refused:
        fvflow.read(tmp_path / "r.nc")
    held = [os.readlink(link) for link in Path("/proc/self/fd").iterdir() if link.exists()]
    assert refused.value.__cause__ is not None
    assert str(tmp_path / "r.nc") not in held


def test_reading_anything_but_a_result_is_refused(tmp_path):
    (tmp_path / "text.nc").write_text("hello")
    xarray.Dataset({"a": 1}).to_netcdf(tmp_path / "other.nc")
    (tmp_path / "empty.parts").mkdir()
    for name, message in [
        ("text.nc", "cannot be read"),
        ("other.nc", "not a result of fvflow"),
        ("none.nc", "cannot be read"),
        ("empty.parts", "no frames"),
    ]:
        with pytest.raises(OutputError, match=message):
            fvflow.read(Path(tmp_path / name))


FORCED = (  # by ParaView and xarray, which take a time "since" for a date, and by the UGRID conventions
    "time must be in a valid units format",
    "time does not have correct time units",
    'should have a string valued attribute "calendar"',
    "There may only be one variable containing the cf_role attribute",
    "is not a valid cf_role value",
)


@pytest.mark.parametrize("mesh", ["box", "disc"])
def test_the_cf_conventions_are_kept_where_they_can_be(mesh, tmp_path):
    case = small(2) if mesh == "box" else Case.read("cases/disc-ou.yaml", {"times.end": "0.2"})
    case.write(tmp_path / "r.nc")
    checker = Path(sys.executable).parent / "compliance-checker"
    command = [str(checker), "--test", "cf:1.11", "--format", "json", "--output", str(tmp_path / "r.json")]
    subprocess.run([*command, str(tmp_path / "r.nc")], capture_output=True, check=False)
    (report,) = json.loads((tmp_path / "r.json").read_text()).values()
    found = [m for level in ("high", "medium", "low") for check in report[f"{level}_priorities"] for m in check["msgs"]]
    assert [message for message in found if not any(part in message for part in FORCED)] == []
    assert found, "the checker has looked"
