"""Files of trajectories: what the readers of The Well and of PDEBench find in them, on 48 x 64 cells.

The checks and readers are written anew after the format page and the readers of the_well, and the readers of PDEBench.
"""

import h5py
import numpy as np
import pytest
import xarray
import yaml

from fvflow.errors import CaseError, OutputError
from fvflow.mesh import Box, Graded, Radial
from fvflow.studies.formats import OPEN, PERIODIC, WALL, WRITERS, Trajectories, writer, x_first
from tests.meshes import triangles

ENDINGS = {"netcdf": "nc", "npz": "npz", "pdebench": "hdf5", "well": "hdf5", "zarr": "zarr"}
PLANE = Box((0.0, -1.0), (2.0, 1.0), (48, 64), periodic=("x",)).build()
LINE = Box((0.0,), (1.0,), (20,)).build()
TIMES = np.linspace(0.0, 1.0, 5)
SIDES = ((PERIODIC, PERIODIC), (WALL, OPEN))


def held(grid=PLANE, samples=3, **options):
    options = {"fields": {"rho": 0, "v": 1}, "numbers": ("k",), "texts": ("hash",), "boundaries": SIDES, **options}
    return Trajectories(grid, TIMES, samples, name="wells", attributes={"epsilon": 0.25, "case": "a: 1"}, **options)


def value(sample, t, x, y):
    """What rho is, different under any exchange of its arguments."""
    return 100.0 * sample + 10.0 * t + x + 3.0 * y


def blocks(trajectories, samples):
    """rho and v of some runs, (sample, time, x, y[, component])."""
    x, y = trajectories.centres
    at = np.ix_(samples, TIMES, x, y)
    rho = value(*at)
    return {"rho": rho, "v": np.stack([-rho, rho + 0.5], axis=-1)}


def written(path, layout, trajectories=None):
    """A file of three runs, written in two blocks of another order."""
    trajectories = held() if trajectories is None else trajectories
    with writer(layout, path, trajectories) as file:
        file.write(1, blocks(trajectories, [1, 2]), {"k": [1.5, 2.5]}, {"hash": ["b", "c"]})
        file.write(0, blocks(trajectories, [0]), {"k": [0.5]}, {"hash": ["a"]})
    return path


def truth(value):
    return isinstance(value, bool | np.bool_)


def texts(values):
    return isinstance(values, np.ndarray) and all(isinstance(each, str) for each in values)


def check_well(path):
    """What The Well demands of a file."""
    with h5py.File(path) as file:
        attributes, dimensions = file.attrs, file["dimensions"]
        assert isinstance(attributes["n_trajectories"], np.integer)
        assert isinstance(attributes["dataset_name"], str)
        assert attributes["grid_type"] == "cartesian"
        assert texts(attributes["simulation_parameters"])
        assert all(name in attributes for name in attributes["simulation_parameters"])
        axes = dimensions.attrs["spatial_dims"]
        assert texts(axes)
        assert len(axes) == attributes["n_spatial_dims"]
        assert truth(dimensions["time"].attrs["sample_varying"])
        for axis in axes:
            assert dimensions[axis].dtype == np.float32
            assert truth(dimensions[axis].attrs["sample_varying"])
            assert truth(dimensions[axis].attrs["time_varying"])
        for order in range(3):
            group = file[f"t{order}_fields"]
            assert isinstance(group.attrs["field_names"], np.ndarray)
            assert set(group.attrs["field_names"]) == set(group)
            for field in group.values():
                assert field.dtype == np.float32
                assert truth(field.attrs["sample_varying"])
                assert truth(field.attrs["time_varying"])
                assert field.attrs["dim_varying"].dtype == bool
                cells = [dimensions[axis].shape[-1] for axis in axes]
                vector = [len(axes)] * order
                assert field.shape == (attributes["n_trajectories"], len(dimensions["time"]), *cells, *vector)
        scalars = file["scalars"]
        assert set(scalars.attrs["field_names"]) == set(scalars)
        for scalar in scalars.values():
            varying = [scalar.attrs["sample_varying"], scalar.attrs["time_varying"]]
            assert all(map(truth, varying))
            assert scalar.ndim == sum(varying)
        for condition in file["boundary_conditions"].values():
            assert condition.attrs["bc_type"] in ("WALL", "OPEN", "PERIODIC")
            assert truth(condition.attrs["sample_varying"])
            assert truth(condition.attrs["time_varying"])
            assert "associated_fields" in condition.attrs
            assert texts(condition.attrs["associated_dims"])
            assert condition["mask"].dtype == bool
            assert condition["mask"].shape == tuple(
                len(dimensions[axis]) for axis in condition.attrs["associated_dims"]
            )


def padding(path):
    """The boundary at both ends of each axis as The Well's reader finds it: WALL 0, OPEN 1, PERIODIC 2 (axis, end)."""
    with h5py.File(path) as file:
        axes = list(file["dimensions"].attrs["spatial_dims"])
        found = np.ones((len(axes), 2))
        for condition in file["boundary_conditions"].values():
            kind = {"WALL": 0, "OPEN": 1, "PERIODIC": 2}[condition.attrs["bc_type"].upper()]
            given = list(condition.attrs["associated_dims"])
            for axis in given:
                for end, cell in enumerate((0, -1)):
                    layer = np.take(condition["mask"][:], cell, given.index(axis))
                    if layer.all() if kind == 0 else layer.any():
                        found[axes.index(axis), end] = kind
    return found


def test_the_well_reads_its_layout(tmp_path):
    path = written(tmp_path / "a.hdf5", "well")
    check_well(path)
    np.testing.assert_array_equal(padding(path), [[2, 2], [0, 1]])
    with h5py.File(path) as file:
        x, y = np.meshgrid(*(file[f"dimensions/{axis}"][:] for axis in "xy"), indexing="ij")
        assert x.shape == (48, 64)
        sample, start = 2, 1
        window = file["t0_fields/rho"][sample, start : start + 3]
        t = file["dimensions/time"][start : start + 3][:, None, None]
        np.testing.assert_allclose(window, value(sample, t, x, y), rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(
            file["t1_fields/v"][sample, start : start + 3, ..., 1], window + 0.5, rtol=1e-6, atol=1e-6
        )
        np.testing.assert_array_equal(file["scalars/k"], [0.5, 1.5, 2.5])
        assert file["scalars/epsilon"][()] == np.float32(0.25)
        assert list(file.attrs["simulation_parameters"]) == ["epsilon"]
        assert list(file["provenance/hash"].asstr()) == ["a", "b", "c"]


@pytest.mark.parametrize("cells", [(20,), (6, 5, 4)])
def test_the_well_in_one_and_three_dimensions(tmp_path, cells):
    grid = Box((0.0,) * len(cells), (1.0,) * len(cells), cells).build()
    only = Trajectories(grid, TIMES, 2)
    rho = np.random.default_rng(0).random((2, 5, *cells))
    with writer("well", tmp_path / "a.h5", only) as file:
        file.write(0, {"rho": rho})
    check_well(tmp_path / "a.h5")
    np.testing.assert_array_equal(padding(tmp_path / "a.h5"), np.zeros((len(cells), 2)))


def test_pdebench_reads_a_group_for_each_run(tmp_path):
    path = written(tmp_path / "a.hdf5", "pdebench")
    with h5py.File(path) as file:
        runs = sorted(file)
        assert runs == ["0000", "0001", "0002"]
        for sample, run in enumerate(runs):
            group = file[run]
            data = np.array(group["data"], dtype="f")
            x, y, t = (np.array(group["grid"][axis], dtype="f") for axis in "xyt")
            data = data.transpose(1, 2, 0, 3)  # as the reader has it: x, y, time, channel
            assert data.shape == (len(x), len(y), len(t), 3) == (48, 64, 5, 3)
            across, up = np.meshgrid(x, y, indexing="ij")
            expected = value(sample, t, across[..., None], up[..., None])
            np.testing.assert_allclose(data[..., 0], expected, rtol=1e-6, atol=1e-6)
            np.testing.assert_allclose(data[..., 2], expected + 0.5, rtol=1e-6, atol=1e-6)
            config = yaml.safe_load(group.attrs["config"])
            assert config["sim"]["xdim"] == 48
            assert (config["sim"]["y_bottom"], config["sim"]["y_top"]) == (-1.0, 1.0)
            assert group.attrs["k"] == sample + 0.5
            assert group.attrs["hash"] == "abc"[sample]


def test_pdebench_reads_a_tensor_in_one_dimension(tmp_path):
    rho = np.random.default_rng(0).random((3, 5, 20))
    only = Trajectories(LINE, TIMES, 3, numbers=("k",), texts=("hash",))
    with writer("pdebench", tmp_path / "a.hdf5", only) as file:
        file.write(0, {"rho": rho}, {"k": [1, 2, 3]}, {"hash": list("abc")})
    with h5py.File(tmp_path / "a.hdf5") as file:
        data = np.array(file["tensor"], dtype=np.float32)
        assert data.ndim == 3  # four would be read as Darcy flow
        np.testing.assert_array_equal(data.transpose(0, 2, 1), rho.astype("f4").transpose(0, 2, 1))
        np.testing.assert_allclose(file["x-coordinate"], (np.arange(20) + 0.5) / 20, rtol=1e-6)
        np.testing.assert_allclose(file["t-coordinate"], TIMES, rtol=1e-6)
        np.testing.assert_array_equal(file["parameters/k"], [1, 2, 3])
    two = Trajectories(LINE, TIMES, 1, {"rho": 0, "phi": 0})
    with writer("pdebench", tmp_path / "b.h5", two) as file:
        file.write(0, {"rho": rho[:1], "phi": 2 * rho[:1]})
    with h5py.File(tmp_path / "b.h5") as file:
        assert file["0000/data"].shape == (5, 20, 2)
    with pytest.raises(CaseError, match=r"refuses names in .h5; call it .hdf5"):
        writer("pdebench", tmp_path / "c.h5", only)


def test_more_runs_have_longer_names(tmp_path):
    only = Trajectories(LINE, TIMES, 10002, {"rho": 0, "phi": 0})
    file = writer("pdebench", tmp_path / "a.hdf5", only)
    file.write(9999, {name: np.zeros((2, 5, 20)) for name in only.fields})
    assert sorted(file._file) == ["09999", "10000"]
    file.discard()


@pytest.mark.parametrize("layout", ["netcdf", "zarr"])
def test_xarray_reads_named_dimensions(tmp_path, layout):
    path = written(tmp_path / f"a.{ENDINGS[layout]}", layout)
    ds = xarray.open_dataset(path) if layout == "netcdf" else xarray.open_zarr(path, consolidated=False)
    with ds:
        assert ds["rho"].dims == ("sample", "time", "x", "y")
        assert ds["rho"].dtype == np.float32
        cell = ds.isel(sample=1, time=2, x=7, y=50)
        expected = value(1, TIMES[2], float(cell.x), float(cell.y))
        assert float(cell["rho"]) == pytest.approx(expected, rel=1e-6)
        np.testing.assert_allclose(cell["v"], [-expected, expected + 0.5], rtol=1e-6)
        np.testing.assert_array_equal(ds["time"], TIMES)  # 0 is no missing value
        np.testing.assert_array_equal(ds["k"], [0.5, 1.5, 2.5])
        assert [str(text) for text in ds["hash"].values] == ["a", "b", "c"]
        assert ds.attrs["epsilon"] == 0.25


def test_numpy_reads_its_arrays(tmp_path):
    with np.load(written(tmp_path / "a.npz", "npz"), allow_pickle=False) as arrays:
        rho = arrays["rho"]
        assert rho.dtype == np.float32
        at = np.ix_(range(3), arrays["time"], arrays["x"], arrays["y"])
        np.testing.assert_allclose(rho, value(*at), rtol=1e-6)
        np.testing.assert_array_equal(arrays["k"], [0.5, 1.5, 2.5])
        assert list(arrays["hash"]) == ["a", "b", "c"]
        assert len(arrays["y_edges"]) == 65
        assert "".join(arrays["axes"]) == "xy"
    assert [each.name for each in tmp_path.iterdir()] == ["a.npz"]


@pytest.mark.parametrize("layout", WRITERS)
def test_a_file_is_complete_or_absent(tmp_path, layout):
    path = tmp_path / f"a.{ENDINGS[layout]}"
    written(path, layout)
    trajectories = held()

    def fail():
        with writer(layout, path, trajectories) as file:
            file.write(0, blocks(trajectories, [0]), {"k": [7.0]}, {"hash": ["z"]})
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    with pytest.raises(OutputError, match="run 1 of 3 was not written"), writer(layout, path, trajectories) as file:
        file.write(0, blocks(trajectories, [0]), {"k": [7.0]}, {"hash": ["z"]})
    assert [each.name for each in tmp_path.iterdir()] == [path.name]  # the old one
    written(path, layout)
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_a_block_has_to_be_that_of_the_trajectories(tmp_path):
    trajectories = held()
    good, own = blocks(trajectories, [0]), ({"k": [0.0]}, {"hash": ["a"]})
    with writer("npz", tmp_path / "a.npz", held(samples=1)) as file:
        with pytest.raises(ValueError, match="expected rho, v, got rho"):
            file.write(0, {"rho": good["rho"]}, *own)
        with pytest.raises(ValueError, match="rho has the shape"):
            file.write(0, {**good, "rho": good["rho"].swapaxes(2, 3)}, *own)
        with pytest.raises(ValueError, match="expected k, got nothing"):
            file.write(0, good, None, {"hash": ["a"]})
        with pytest.raises(ValueError, match="runs 1 to 1 of 1"):
            file.write(1, good, *own)
        file.write(0, good, *own)
        with pytest.raises(ValueError, match="written already"):
            file.write(0, good, *own)


UNEVEN = Graded((0.0,), (1.0,), (8,), ratio=(1.2,)).build()


@pytest.mark.parametrize(
    ("layout", "name", "made", "said"),
    [
        ("well", "a.hdf5", lambda: Trajectories(triangles(), TIMES, 1), "the mesh is no grid"),
        ("well", "a.hdf5", lambda: Trajectories(Radial(2, 1.0, 8).build(), TIMES, 1), "x of this mesh is a radius"),
        ("well", "a.hdf5", lambda: Trajectories(LINE, np.array([0.0, 1.0, 3.0]), 1), "the times are 1 to 2 apart"),
        ("pdebench", "a.hdf5", lambda: Trajectories(UNEVEN, TIMES, 1), "the cells along x are"),
        ("npz", "a.npz", lambda: Trajectories(LINE, TIMES, 1, {"k": 0}, ("k",)), "two things are called k"),
        ("weel", "a.hdf5", lambda: Trajectories(LINE, TIMES, 1), "did you mean well?"),
        (
            "pdebench",
            "a.hdf5",
            lambda: Trajectories(Box((0.0,) * 3, (1.0,) * 3, (4, 4, 4)).build(), TIMES, 1),
            "not three",
        ),
    ],
)
def test_what_a_layout_cannot_hold_is_said(tmp_path, layout, name, made, said):
    with pytest.raises(CaseError, match=said):
        writer(layout, tmp_path / name, made())
    assert not list(tmp_path.iterdir())


def test_names_of_files(tmp_path):
    only = Trajectories(LINE, TIMES, 1)
    with pytest.raises(OutputError, match=r"the name of a file for The Well ends in .hdf5 or .h5"):
        writer("well", tmp_path / "a.nc", only)
    (tmp_path / "a.zarr").mkdir()
    with pytest.raises(OutputError, match="is a directory"):
        writer("zarr", tmp_path / "a.zarr", only)
    writer("npz", tmp_path / "b.npz", Trajectories(UNEVEN, np.array([0.0, 1.0, 3.0]), 1)).discard()


def test_fields_of_a_result_with_x_first():
    y, x = np.meshgrid(np.arange(64.0), np.arange(48.0), indexing="ij")
    field = 100 * x + y  # (y, x), as results have it
    np.testing.assert_array_equal(x_first(field, PLANE)[7, 50], 750)
    np.testing.assert_array_equal(x_first(np.array([field.ravel()] * 2), PLANE)[1, 7, 50], 750)
    solid = Box((0.0,) * 3, (1.0,) * 3, (2, 3, 4)).build()
    assert x_first(np.zeros((5, 24)), solid).shape == (5, 2, 3, 4)
