"""Exported results: VTK's readers find the cells and values of the mesh, and others the numbers of the result."""

import csv
import json
from xml.etree import ElementTree

import h5py
import numpy as np
import pytest
import vtk
import xarray
from vtk.util.numpy_support import vtk_to_numpy

import fvflow
from fvflow.cli import export_command
from fvflow.cli.commands import main
from fvflow.dataset import Frame, Layout, Memory
from fvflow.errors import CaseError, OutputError
from fvflow.mesh import Box
from fvflow.problems import OutputVariable
from fvflow.studies.exporting import FORMATS
from tests import meshes
from tests.check_vtk import frames
from tests.test_formats import check_well, padding

SHAPES = {
    "line": lambda: Box((0.0,), (1.0,), (7,)).build(),
    "plane": lambda: Box((0.0, -1.0), (2.0, 1.0), (6, 5)).build(),
    "space": lambda: Box((0.0, -1.0, 0.0), (2.0, 1.0, 3.0), (4, 3, 2)).build(),
    "triangles": meshes.triangles,
    "quadrilaterals": meshes.quadrilaterals,
    "polygons": meshes.polygons,
    "mixed": meshes.mixed,
    "node boxes": meshes.node_boxes,
    "solids": meshes.solids,
    "hexahedra": meshes.hexahedra,
    "prisms": meshes.prisms,
}


def result(mesh, times=(0.0, 0.5), attributes=None, names=("phi",)):
    """A dataset like that of a run, of random densities; one value is 0."""
    random, extra = np.random.default_rng(0), {name: OutputVariable(("cell",), name) for name in names}
    memory = Memory(Layout(mesh, {}, cell_fields=extra), attributes or {"title": "a run"})
    for time in times:
        rho = random.random(mesh.cells)
        rho[0] = 0.0
        memory.append(Frame(time, rho, {}, {name: random.random(mesh.cells) for name in names}, {}))
    return memory.close({}, {})


def grid_in(path):
    """The unstructured grid in a .vtu file."""
    reader = vtk.vtkXMLUnstructuredGridReader()
    reader.SetFileName(str(path))
    reader.Update()
    assert reader.GetErrorCode() == 0
    return reader.GetOutput()


@pytest.mark.parametrize("shape", SHAPES)
def test_vtk_reads_cells_and_values(tmp_path, shape):
    mesh = SHAPES[shape]()
    ds = result(mesh)
    (path,) = fvflow.export(ds, "vtu", tmp_path / "a.vtu", at=0.5)
    grid = grid_in(path)
    sizes = vtk.vtkCellSizeFilter()
    sizes.SetInputData(grid)
    sizes.Update()
    kind = {1: "Length", 2: "Area", 3: "Volume"}[mesh.dimension]
    measured = vtk_to_numpy(sizes.GetOutput().GetCellData().GetArray(kind))
    np.testing.assert_allclose(measured, mesh.volume, rtol=1e-6)
    for name in ("rho", "phi"):
        np.testing.assert_array_equal(vtk_to_numpy(grid.GetCellData().GetArray(name)), ds[name][1].values.ravel())
    np.testing.assert_array_equal(vtk_to_numpy(grid.GetCellData().GetArray("volume")), mesh.volume)
    assert grid.GetFieldData().GetArray("TimeValue").GetValue(0) == 0.5


def test_values_at_nodes_stay_there(tmp_path):
    """The boxes about nodes of tetrahedra: VTK sees the tetrahedra, with the values at their nodes."""
    mesh = meshes.tetrahedra_nodes()
    ds = result(mesh)
    grid = grid_in(fvflow.export(ds, "vtu", tmp_path / "a.vtu", at=0.0)[0])
    np.testing.assert_array_equal(vtk_to_numpy(grid.GetPointData().GetArray("rho")), ds["rho"][0].values)
    np.testing.assert_array_equal(vtk_to_numpy(grid.GetPoints().GetData()), mesh.points)
    assert {grid.GetCellType(cell) for cell in range(grid.GetNumberOfCells())} == {vtk.VTK_TETRA}


def test_a_collection_over_time(tmp_path):
    ds = result(SHAPES["polygons"](), times=(0.0, 0.5, 2.0))
    first, *others = fvflow.export(ds, "vtu", tmp_path / "a b&c.vtu")
    assert first.name == "a b&c.pvd"
    entries = ElementTree.parse(first).getroot().findall("Collection/DataSet")
    assert [float(entry.get("timestep")) for entry in entries] == [0.0, 0.5, 2.0]
    assert [entry.get("file") for entry in entries] == [file.name for file in others]
    for row, file in enumerate(others):
        values = vtk_to_numpy(grid_in(file).GetCellData().GetArray("rho"))
        np.testing.assert_array_equal(values, ds["rho"][row].values)


@pytest.mark.parametrize("shape", ["line", "space", "mixed", "solids"])
def test_xdmf_stands_by_itself(tmp_path, shape):
    mesh = SHAPES[shape]()
    ds = result(mesh)
    path, store = fvflow.export(ds, "xdmf", tmp_path / "a.xdmf")
    assert store.name == "a.xdmf.h5"
    for (time, values, size), row in zip(frames(path), range(2), strict=True):
        assert time == ds["time"][row]
        np.testing.assert_array_equal(values, ds["rho"][row].values.ravel())
        np.testing.assert_allclose(size, mesh.volume, rtol=1e-6)


@pytest.mark.parametrize("shape", ["plane", "triangles"])
def test_a_table_has_a_row_for_each_time_and_cell(tmp_path, shape):
    mesh = SHAPES[shape]()
    ds = result(mesh)
    (path,) = fvflow.export(ds, "csv", tmp_path / "a.csv", fields=["rho"])
    with open(path, encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["time", "cell", "x", "y", "volume", "rho"]
    assert len(rows) == 2 * mesh.cells
    for time, row in ((0.0, 0), (0.5, 1)):
        own = [each for each in rows if float(each["time"]) == time]
        np.testing.assert_array_equal([float(each["rho"]) for each in own], ds["rho"][row].values.ravel())
        centres = [[float(each["x"]), float(each["y"])] for each in own]
        np.testing.assert_array_equal(centres, mesh.centre)
        mass = sum(float(each["volume"]) * float(each["rho"]) for each in own)
        assert mass == pytest.approx(float(mesh.volume @ ds["rho"][row].values.ravel()))
    assert [int(each["cell"]) for each in rows[:3]] == [0, 1, 2]


@pytest.mark.parametrize("shape", ["line", "plane", "space", "polygons"])
def test_arrays_compare_as_the_result(tmp_path, shape):
    ds = result(SHAPES[shape]())
    (path,) = fvflow.export(ds, "npz", tmp_path / "a.npz")
    found = fvflow.compare(ds, path, w2=False)
    np.testing.assert_array_equal(found.linf, 0.0)
    np.testing.assert_array_equal(found.time, [0.0, 0.5])


@pytest.mark.parametrize("shape", ["plane", "solids"])
def test_zarr_has_the_whole_dataset(tmp_path, shape):
    ds = result(SHAPES[shape]())
    (path,) = fvflow.export(ds, "zarr", tmp_path / "a.zarr", at=[0.5])
    with xarray.open_zarr(path) as stored:
        for name, variable in ds.variables.items():
            expected = variable.isel(time=[1]) if "time" in variable.dims else variable
            np.testing.assert_array_equal(stored[name].values, expected.values, err_msg=str(name))
        assert stored.attrs["title"] == "a run"
    fvflow.export(ds, "zarr", tmp_path / "a.zarr")  # takes the place of the other
    with xarray.open_zarr(path) as stored:
        assert stored.sizes["time"] == 2


RUN = """
title: half open
mesh: {kind: box, lower: [0, -1], upper: [2, 1], cells: [48, 64]}
flow: {kind: fokker-planck, potential: k*x, epsilon: 0.5}
initial: {kind: gaussian, mean: [0.7, 0.2], covariance: [[0.05, 0], [0, 0.02]], truncate: 0.1}
walls: {left: absorbing, top: {kind: partial, rate: 2}, rest: no-flux}
parameters: {k: 0.3}
times: {end: 0.1, step: 0.05, save: 0.05}
output: {velocity: true}
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("run") / "run.nc"
    fvflow.Case.parse(RUN).write(path)
    return path


def test_the_well_of_a_run(run):
    (path,) = fvflow.export(run, "well")
    assert path == run.with_suffix(".hdf5")
    check_well(path)
    np.testing.assert_array_equal(padding(path), [[1, 0], [0, 1]])  # left and top are open, the others walls
    with fvflow.read(run) as ds, h5py.File(path) as file:
        assert file.attrs["dataset_name"] == "half open"
        assert file.attrs["k"] == 0.3
        assert file.attrs["epsilon"] == 0.5
        assert "potential: k*x" in file.attrs["case"]
        for row in range(3):
            np.testing.assert_array_equal(file["t0_fields/rho"][0, row].T, ds["rho"][row].values.astype("f4"))
        for axis, name in enumerate(("v_x", "v_y")):
            np.testing.assert_array_equal(file["t1_fields/v"][0, 1, ..., axis].T, ds[name][1].values.astype("f4"))
        np.testing.assert_allclose(file["dimensions/y"], ds["y"].values, rtol=1e-6)
        assert list(file["t0_fields"]) == ["rho"]


def test_pdebench_of_a_run(run):
    (path,) = fvflow.export(run, "pdebench")
    assert path.name == "run_pdebench.hdf5"
    with fvflow.read(run) as ds, h5py.File(path) as file:
        assert list(file) == ["0000"]
        assert file["0000/data"].shape == (3, 48, 64, 3)
        for channel, name in enumerate(file.attrs["fields"]):
            parts = {"rho": ["rho"], "v": ["v_x", "v_y"]}[name]
            for number, part in enumerate(parts):
                values = file["0000/data"][2, :, :, channel + number]
                np.testing.assert_array_equal(values.T, ds[part][2].values.astype("f4"))


def test_command(run, tmp_path, capsys):
    def code(*arguments):
        with pytest.raises(SystemExit) as ended:
            main(["export", str(run), *arguments])
        return ended.value.code

    assert code("--to", "csv", "--at", "0.05", "--fields", "rho", "-o", str(tmp_path / "a.csv")) == 0
    assert capsys.readouterr().err == f"wrote {tmp_path / 'a.csv'}\n"
    assert len((tmp_path / "a.csv").read_text().splitlines()) == 48 * 64 + 1
    assert code("--to", "vtu", "-o", str(tmp_path / "a.pvd")) == 0
    assert "a.pvd and 3 more" in capsys.readouterr().err
    assert code("--to", "npz", "--at", "0.07") == 3
    assert "the nearest that it has is 0.05" in capsys.readouterr().err
    assert code("--to", "npz", "--fields", "rhoo") == 3
    assert "did you mean rho?" in capsys.readouterr().err
    assert code("--to", "vtk") == 2
    assert tuple(FORMATS) == export_command._FORMATS


def test_what_cannot_be_exported_is_said(run, tmp_path):
    with pytest.raises(CaseError, match="the mesh is no grid"):
        fvflow.export(result(meshes.triangles()), "well", tmp_path / "a.hdf5")
    with pytest.raises(CaseError, match="not three"):
        fvflow.export(result(SHAPES["space"]()), "pdebench", tmp_path / "a.hdf5")
    with pytest.raises(CaseError, match=r"there is no format 'vtk'; .*did you mean vtu"):
        fvflow.export(run, "vtk")
    with pytest.raises(OutputError, match=r"ends in .csv"):
        fvflow.export(run, "csv", tmp_path / "a.txt")
    with pytest.raises(OutputError, match="is the result itself"):
        fvflow.export(run, "csv", run)
    with pytest.raises(OutputError, match="cannot be read"):
        fvflow.export(tmp_path / "none.nc", "csv")
    with pytest.raises(CaseError, match="no density at any time"):
        fvflow.export(xarray.Dataset({"x": ("x", [1.0])}), "csv", tmp_path / "a.csv")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("shape", ["line", "plane", "space"])
def test_cells_that_absorb_are_marked(tmp_path, shape):
    mesh = SHAPES[shape]()
    told = {"absorbing": [{"region": None, "where": "x > a"}], "parameters": {"a": 0.5}, "walls": {"left": "absorbing"}}
    ds = result(mesh, attributes={"resolved_case": json.dumps(told), "title": "a sink"})
    expected = mesh.centre[:, 0].reshape(mesh.shape).T > 0.5  # x first
    (path,) = fvflow.export(ds, "well", tmp_path / "a.hdf5")
    check_well(path)
    with h5py.File(path) as file:
        (mask,) = (each["mask"][:] for each in file["boundary_conditions"].values() if each["mask"][:].sum() > 2)
        np.testing.assert_array_equal(mask, expected)
    assert padding(path)[0, 0] == 1  # the wall that absorbs is open
    if shape != "space":
        (path,) = fvflow.export(ds, "pdebench", tmp_path / "b.hdf5")
        with h5py.File(path) as file:
            np.testing.assert_array_equal(file["mask" if "mask" in file else "0000/mask"][:], expected)


def test_a_case_that_a_result_does_not_tell_has_walls(tmp_path):
    odd = {"resolved_case": json.dumps([1, 2]), "title": "odd"}
    (path,) = fvflow.export(result(SHAPES["plane"](), attributes=odd), "well", tmp_path / "a.hdf5")
    check_well(path)
    np.testing.assert_array_equal(padding(path), np.zeros((2, 2)))
