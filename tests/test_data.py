"""Data sets: samples are single runs, whatever stopped the making of them, in every layout and split."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import fvflow
from fvflow.case.draws import RandomField, RandomMixture, RandomPotential, Room
from fvflow.errors import CaseError, OutputError
from fvflow.studies import data as making
from fvflow.studies.data import DataSet, Split, sample_case
from fvflow.studies.family_draws import DrawnFamily, seed_of
from fvflow.studies.formats import WRITERS
from fvflow.studies.sweeps.jobs import case_hash
from fvflow.torch import Frames
from tests.family_cases import base

DRAWS = {
    "parameters.k": "uniform(0.5, 2)",
    "flow.epsilon": "loguniform(0.2, 0.8)",
    "initial": {"kind": "random-mixture", "deviation": [0.4, 0.5], "components": [1, 3]},
}


def family(cells=(6, 8), draws=None, **sections):
    values = (
        base(list(cells)).document.values | {"title": "Traps", "draw": DRAWS if draws is None else draws} | sections
    )
    return fvflow.Case.parse(json.dumps(values))


def written(case, path, count, **how):
    return DataSet(case, path, count, **{"layout": "netcdf", **how}).write(threads=1)


def test_samples_are_single_runs_on_48_x_64_in_x_before_y(tmp_path):
    import xarray

    case = family((48, 64), times={"end": 0.02, "step": 0.01, "save": 0.01})
    figures = written(case, tmp_path / "d.nc", 3)
    with xarray.open_dataset(tmp_path / "d.nc") as ds:
        assert ds.rho.dims == ("sample", "time", "x", "y")
        assert ds.rho.shape == (3, 3, 48, 64)
        for number in range(3):
            single = sample_case(case, number)
            result = single.run(watch=lambda state: None)
            np.testing.assert_array_equal(ds.rho[number].values, np.float32(result.rho.transpose("time", "x", "y")))
            assert ds.case_hash[number] == case_hash(single, True)
            assert ds.seed[number] == seed_of(0, number)
            assert ds.parameters_k[number] == single.parameters["k"]
            assert json.loads(str(ds.draws[number].values))["initial"]["components"][0]["weight"] > 0
            for name in ("mass_drift", "minimum", "mass_correction", "time_error"):
                assert ds[name][number] == result.attrs.get(name, np.nan) or name == "time_error"
        assert figures["mass_drift"] == ds.mass_drift.max() <= 1e-14
        assert figures["minimum"] == ds.minimum.min() >= 0


@pytest.mark.parametrize("layout", list(WRITERS))
def test_every_layout_holds_the_same_samples(tmp_path, layout, monkeypatch):
    monkeypatch.setattr(making, "_MOST", 2)
    ending = WRITERS[layout].endings[0]
    written(family(), tmp_path / f"d{ending}", 6, layout=layout, split="4:1:1")
    names = [f"d-{part}{ending}" for part in ("test", "train", "valid")]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    drawn = DrawnFamily(family(), 6, 0)
    expected = drawn.family.run(dtype=np.float32).density.reshape(6, 4, 8, 6).transpose(0, 1, 3, 2)
    parts = [read(layout, tmp_path / f"d-{part}{ending}") for part in ("train", "valid", "test")]
    np.testing.assert_array_equal(np.concatenate(parts), expected)


def read(layout, path):
    if layout == "npz":
        with np.load(path) as file:
            return file["rho"]
    if layout == "netcdf":
        import netCDF4

        with netCDF4.Dataset(path) as file:
            return np.asarray(file["rho"][:])
    if layout == "zarr":
        import zarr

        return zarr.open_group(path, mode="r")["rho"][:]
    import h5py

    with h5py.File(path) as file:
        if layout == "well":
            return file["t0_fields/rho"][:]
        return np.stack([file[name]["data"][..., 0] for name in sorted(file)])


def test_samples_do_not_depend_on_how_many_there_are_or_on_other_draws():
    few, many = DrawnFamily(family(), 3, 5), DrawnFamily(family(), 30, 5)
    assert [few.text(number) for number in range(3)] == [many.text(number) for number in range(3)]
    alone = DrawnFamily(family(draws={"initial": DRAWS["initial"]}), 3, 5)
    assert alone.values["initial"][2] == many.values["initial"][2]
    assert len({many.text(number) for number in range(30)}) == 30
    assert DrawnFamily(family(), 3, 6).text(0) != few.text(0)


def test_a_stop_loses_nothing_that_was_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(making, "_MOST", 2)
    written(family(), tmp_path / "whole.nc", 7)
    computed = []

    class Stop(BaseException):
        pass

    def stopping(done, count):
        computed.append(done)
        if done == 4:
            raise Stop

    with pytest.raises(Stop):
        DataSet(family(), tmp_path / "d.nc", 7, layout="netcdf").write(1, stopping)
    assert not (tmp_path / "d.nc").exists()
    DataSet(family(), tmp_path / "d.nc", 7, layout="netcdf").write(1, lambda done, count: computed.append(done))
    assert computed == [0, 2, 4, 4, 6, 7]
    assert (tmp_path / "d.nc").read_bytes() == (tmp_path / "whole.nc").read_bytes()
    assert not (tmp_path / "d.parts").exists()


def test_a_killed_command_goes_on(tmp_path):
    case = tmp_path / "f.yaml"
    case.write_text(family().text)
    command = [sys.executable, "-m", "fvflow", "data", "f.yaml", "-n", "150", "--threads", "1", "-q"]
    process = subprocess.Popen(command, cwd=tmp_path)
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("f.parts/block-*.json")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("f.parts/block-*.json")}
    assert kept
    store = DataSet(fvflow.Case.read(case), tmp_path / "f.nc", 150, layout="netcdf")
    seen = []
    store.write(1, lambda done, count: seen.append(done))
    assert seen[0] == min(64 * len(kept), 150)
    expected = DrawnFamily(fvflow.Case.read(case), 150, 0).family.run(140, dtype=np.float32).density
    np.testing.assert_array_equal(read("netcdf", tmp_path / "f.nc")[140:], expected.reshape(10, 4, 8, 6).swapaxes(2, 3))


def test_a_block_that_is_cut_short_is_made_again(tmp_path, monkeypatch):
    monkeypatch.setattr(making, "_MOST", 2)
    written(family(), tmp_path / "whole.nc", 4)
    monkeypatch.setattr(DataSet, "_export", lambda self, *rest: (_ for _ in ()).throw(OSError("no room")))
    with pytest.raises(OSError, match="no room"):
        DataSet(family(), tmp_path / "d.nc", 4, layout="netcdf").write(1)
    monkeypatch.undo()
    monkeypatch.setattr(making, "_MOST", 2)
    data = tmp_path / "d.parts" / "block-000000002.npy"
    os.truncate(data, data.stat().st_size - 100)
    written(family(), tmp_path / "d.nc", 4)
    assert (tmp_path / "d.nc").read_bytes() == (tmp_path / "whole.nc").read_bytes()


def test_samples_of_another_family_are_refused_or_removed(tmp_path, monkeypatch):
    monkeypatch.setattr(DataSet, "_export", lambda self, *rest: (_ for _ in ()).throw(OSError("no room")))
    with pytest.raises(OSError, match="no room"):
        written(family(), tmp_path / "d.nc", 2)
    monkeypatch.undo()
    with pytest.raises(OutputError, match="another family, seed or version; --discard"):
        written(family(), tmp_path / "d.nc", 2, seed=1)
    DataSet(family(), tmp_path / "d.nc", 2, layout="netcdf", seed=1).write(1, discard=True)


def test_windows_of_frames_are_those_of_the_file(tmp_path):
    for layout, name in (("netcdf", "d.nc"), ("well", "d.hdf5")):
        written(family(), tmp_path / name, 3, layout=layout)
        values = read(layout, tmp_path / name)
        frames = Frames(tmp_path / name, 2, 2, numbers=("parameters_k",))
        assert len(frames) == 6  # frames 0-1 and 2-3 of each of 4
        item = frames.arrays(3)
        np.testing.assert_array_equal(item["rho"], values[1, 2:4])
        np.testing.assert_allclose(item["time"], [0.2, 0.3], rtol=1e-6)
        assert item["sample"] == 1
        with pytest.raises(CaseError, match="windows of 9 frames"):
            Frames(tmp_path / name, 9)
        with pytest.raises(CaseError, match="holds no phi"):
            Frames(tmp_path / name, field="phi")
        with pytest.raises(IndexError):
            frames.arrays(6)


def test_windows_are_tensors_in_a_loader(tmp_path):
    torch = pytest.importorskip("torch")
    written(family(), tmp_path / "d.nc", 3)
    frames = Frames(tmp_path / "d.nc", 2)
    batch = next(iter(torch.utils.data.DataLoader(frames, batch_size=4, num_workers=1)))
    assert batch["rho"].shape == (4, 2, 6, 8)
    np.testing.assert_array_equal(batch["rho"][3].numpy(), frames.arrays(3)["rho"])


def test_random_mixtures_stay_within_their_bounds():
    room, draw = Room(np.array([-4.0, -2.0]), np.array([4.0, 2.0])), RandomMixture((0.2, 0.4), (2, 3), inside=4.0)
    for seed in range(50):
        parts = draw.drawn(np.random.default_rng(seed), room)["components"]
        assert 2 <= len(parts) <= 3
        for part in parts:
            deviation = np.sqrt(np.diag(part["covariance"]))
            assert ((deviation >= 0.2) & (deviation <= 0.4)).all()
            assert (np.abs(part["mean"]) <= [4.0, 2.0] - 4.0 * deviation + 1e-12).all()
    with pytest.raises(CaseError, match="has no room 4 deviations away"):
        RandomMixture((0.6, 0.7)).drawn(np.random.default_rng(0), room)


@pytest.mark.parametrize("lower", [[0.0], [-1.0, 2.0], [0.0, 0.0, 0.0]])
def test_random_waves_have_their_deviation_and_the_period_of_the_box(lower):
    from fvflow.fields import Expression

    room = Room(np.array(lower), np.array(lower) + [2.0, 3.0, 1.0][: len(lower)])
    random = np.random.default_rng(0)
    text = RandomPotential(amplitude=2.0, beside="x").drawn(np.random.default_rng(1), room)
    assert text.startswith("x ")
    squares = []
    for seed in range(20):
        potential = Expression(RandomPotential(amplitude=2.0, waves=1).drawn(np.random.default_rng(seed), room))
        at = room.lower + random.random((4000, len(lower))) * (room.upper - room.lower)
        values = potential.at(at, {}, 0.0)
        np.testing.assert_allclose(potential.at(at + (room.upper - room.lower), {}, 0.0), values, atol=1e-10)
        squares.append(float((values**2).mean()))
    np.testing.assert_allclose(squares, 4.0, rtol=0.1)
    density = Expression(RandomField().drawn(np.random.default_rng(0), room)["density"])
    assert (density.at(at, {}, 0.0) > 0).all()


def test_fields_and_potentials_run():
    draws = {
        "initial": {"kind": "random-field"},
        "flow.potential": {"kind": "random-potential", "amplitude": 0.5, "beside": "0.5*k*(x**2 + y**2)"},
    }
    drawn = DrawnFamily(family(draws=draws), 2, 0)
    members = drawn.family.run()
    for number in range(2):
        single = drawn.family.case(number).run(watch=lambda state: None)
        np.testing.assert_array_equal(members.density[number], single.rho.values.reshape(4, -1))


@pytest.mark.parametrize(
    ("draws", "sentence"),
    [
        ({}, "the case draws nothing"),
        ({"parameters.k": "unifrom(0, 1)"}, 'did you mean "uniform"'),
        ({"parameters.k": "uniform(2, 1)"}, "low has to be below high"),
        ({"parameters.k": "3"}, "expected a distribution"),
        ({"initial": {"kind": "random-mixtur", "deviation": [0.1, 0.2]}}, 'did you mean "random-mixture"'),
        ({"initial": {"kind": "random-mixture", "deviation": [0.3, 0.2]}}, "are no bounds"),
        ({"initial": {"kind": "random-mixture", "deviation": [0.3]}}, "at least 2 entries"),
        ({"initial": {"kind": "random-mixture", "deviation": [2.0, 3.0]}}, "draw initial, sample 0: .* has no room"),
        ({"initial": {"kind": "random-field", "waves": 1000}}, "at most 64 waves"),
        ({"flow.potential": {"kind": "random-potential", "beside": "q*x"}}, "unknown name q"),
        ({"mesh.cells": "choice([3], [4])"}, "use fvflow sweep"),
        ({"parameters.q": "uniform(0, 1)", "flow.epsilon": "normal(-5, 0.1)"}, "expected a number >= 0"),
    ],
)
def test_draws_that_cannot_be_are_refused(tmp_path, draws, sentence):
    with pytest.raises(CaseError, match=sentence):
        written(family(draws=draws), tmp_path / "d.nc", 2)


def told_of(case, path, count):
    with pytest.raises(CaseError) as told:
        DataSet(case, path, count, layout="netcdf")
    return told.value.args


@pytest.mark.parametrize(
    ("path", "draw", "bad"),
    [
        ("flow.epsilon", "normal(1, 1)", lambda value: value < 0),
        ("initial.covariance.0.0", "normal(1, 1)", lambda value: value <= 0),
        ("flow.epsilon", "choice(1, 2, a)", lambda value: value == "a"),
    ],
)
def test_samples_outside_the_schema_are_told_all_at_once_before_any_runs(tmp_path, path, draw, bad):
    case = family(draws={path: draw})
    expected = [number for number, value in enumerate(DrawnFamily(case, 40, 0).values[path]) if bad(value)]
    *lines, last = told_of(case, tmp_path / "d.nc", 40)
    assert last == f"{len(expected)} of the 40 samples cannot be made; none was started"
    assert len(expected) > 3
    assert [int(line.split(":")[0].removeprefix("sample ")) for line in lines] == expected
    assert not list(tmp_path.iterdir())


def test_mixtures_that_do_not_always_fit_are_all_drawn_before_any_runs(tmp_path):
    case = family(draws={"initial": {"kind": "random-mixture", "deviation": [0.3, 0.8], "components": [1, 2]}})
    lines = told_of(case, tmp_path / "d.nc", 40)
    refused = [line for line in lines if "has no room" in line]
    assert len(refused) > 3
    assert lines[-1].startswith(f"{len(refused)} of the 40 samples")


@pytest.mark.parametrize(
    ("split", "count", "sentence"),
    [
        ("8:1:1", 15, "15 samples do not divide into 10 equal parts; take a multiple of 10"),
        ("8:1:1:1", 11, "expected two or three whole numbers"),
        ("8:0", 8, "whole numbers above 0"),
        ("a:b", 8, "whole numbers above 0"),
        ("0.8:0.2", 8, "whole numbers above 0"),
        (None, 0, "0 samples; make 1 to"),
    ],
)
def test_splits_that_do_not_add_up_are_refused(tmp_path, split, count, sentence):
    with pytest.raises(CaseError, match=sentence):
        DataSet(family(), tmp_path / "d.nc", count, layout="netcdf", split=split)
    assert not list(tmp_path.iterdir())


def test_what_has_no_room_is_told_before(tmp_path):
    with pytest.raises(OutputError, match=r"1000000 samples of .* MiB need .* GiB while they are made, and"):
        DataSet(family((2000, 2000)), tmp_path / "d.nc", 10**6, layout="netcdf")


def test_files_that_cannot_be_are_refused_before_anything_runs(tmp_path):
    with pytest.raises(OutputError, match=r"\.nc"):
        DataSet(family(), tmp_path / "d.txt", 2, layout="netcdf")
    with pytest.raises(CaseError, match="even"):
        DataSet(family(times={"end": 0.3, "step": 0.01, "save": [0.1, 0.25]}), tmp_path / "d.hdf5", 2, layout="well")


def test_split_counts():
    assert [list(samples) for _, samples in Split.of("2:1", 6).files(making.Path("a/d.nc"))] == [[0, 1, 2, 3], [4, 5]]
