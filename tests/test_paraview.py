"""NAME.xmf2: what VTK finds in it, the names that it can have, and how it is written again."""

import netCDF4
import numpy as np
import pytest

import fvflow
from fvflow import paraview
from fvflow.cli import main
from fvflow.errors import OutputError
from tests.check_vtk import frames
from tests.meshes import SHAPES
from tests.scenes import ou


@pytest.mark.parametrize("dimension", [1, 2, 3])
@pytest.mark.parametrize("precision", ["double", "single"])
def test_vtk_reads_cells_times_and_integrals(dimension, precision, tmp_path):
    case = ou(dimension, 7, times={"end": 0.3, "step": 0.05, "save": 0.1}, output={"precision": precision})
    case = case.replace({"mesh.kind": "graded", "mesh.ratio": [3.0] * dimension})
    case.write(tmp_path / "a result & more.nc")
    expected = case.run()
    mesh = case.mesh.build()
    read = frames(tmp_path / "a result & more.xmf2")
    assert [time for time, _, _ in read] == pytest.approx(list(expected.time.values), abs=1e-15)
    for index, (_, values, measure) in enumerate(read):
        np.testing.assert_array_equal(values, expected.rho[index].values.ravel())
        np.testing.assert_allclose(measure, mesh.volume, rtol=1e-6)  # VTK's points are single precision inside
        assert measure @ values == pytest.approx(1.0, abs=1e-6)


def run(*arguments):
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return ended.value.code


MESHES = {str(dimension): None for dimension in (1, 2, 3)} | SHAPES


@pytest.mark.parametrize("name", MESHES)
def test_the_file_is_written_again_from_the_result_alone(name, tmp_path):
    """To the last byte as the run wrote it, with the new name, on every shape of cells."""
    case = ou(int(name) if name.isdecimal() else 1, 5, output={"precision": "single"} if name == "2" else {})
    if not name.isdecimal():
        fvflow.save_mesh(SHAPES[name](), tmp_path / "mesh.nc")
        case = case.replace({"mesh": {"kind": "ugrid", "file": f"{tmp_path}/mesh.nc"}})
        case = case.replace({"flow.potential": "x", "initial": {"kind": "uniform"}, "exact": None})
    case.write(tmp_path / "old.nc")
    written = (tmp_path / "old.xmf2").read_text().replace("old.nc:/", "new & moved.nc:/".replace("&", "&amp;"))
    (tmp_path / "moved").mkdir()
    (tmp_path / "old.nc").rename(tmp_path / "moved" / "new & moved.nc")
    assert run("xmf", tmp_path / "moved" / "new & moved.nc") == 0
    assert (tmp_path / "moved" / "new & moved.xmf2").read_text() == written


@pytest.mark.parametrize(
    ("name", "proposed"),
    [
        ("t=0:5.nc", "t=0-5.nc"),
        ("d\u00e9j\u00e0 vu.nc", "deja vu.nc"),
        ("\u043e\u043f\u044b\u0442.nc", "result.nc"),
        (" a.nc", "a.nc"),
        ("a\tb.nc", "a-b.nc"),
        ("a\\b.nc", "a-b.nc"),
    ],
)
def test_names_that_paraview_cannot_follow_are_refused_with_another(name, proposed, tmp_path, monkeypatch, capsys):
    """Before the run; and VTK is right to refuse none of the proposals."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "case.yaml").write_text(ou(1, 5).text)
    assert run("run", "case.yaml", "-q", "-o", name) == 5
    told = capsys.readouterr().err
    assert "ParaView opens no result with" in told
    assert told.endswith(f"use another name, such as {proposed}\n")
    assert [path.name for path in tmp_path.iterdir()] == ["case.yaml"]
    assert run("run", "case.yaml", "-q", "-o", proposed) == 0
    assert len(frames(tmp_path / proposed.replace(".nc", ".xmf2"))) > 1
    if name[0] != " " and "\\" not in name:  # the netCDF library drops the one and takes the other for a slash
        (tmp_path / proposed).rename(name)
        assert run("xmf", name) == 5
        assert capsys.readouterr().err.endswith(f"such as {proposed}\n")


def test_folders_may_have_any_name(tmp_path):
    folder = tmp_path / "d\u00e9j\u00e0: vu"
    folder.mkdir()
    ou(1, 5).write(folder / "r.nc")
    assert len(frames(folder / "r.xmf2")) > 1


def test_what_is_no_result_has_no_file_for_paraview(tmp_path, capsys):
    result, other = tmp_path / "r.nc", tmp_path / "other.nc"
    ou(1, 5).write(result)
    (tmp_path / "r.xmf2").write_text("mine")
    assert run("xmf", result) == 5
    assert "is not a file of fvflow and would be overwritten" in capsys.readouterr().err
    (tmp_path / "r.xmf2").unlink()
    with netCDF4.Dataset(other, "w") as file:
        file.source = "another program"
    fvflow.save_mesh(SHAPES["triangles"](), tmp_path / "mesh.nc")
    (tmp_path / "text.nc").write_text("no netCDF")
    for name, reason in {
        "other.nc": "is not a result of fvflow (its source is another program)",
        "mesh.nc": "it is not complete (there is no variable paraview/topology)",
        "text.nc": "cannot be read",
        "none.nc": "cannot be read (No such file or directory)",
        "": "is a directory and no regular file",
    }.items():
        assert run("xmf", tmp_path / name) == 5
        told = capsys.readouterr().err
        assert reason in told
        assert told.count("\n") == 1
    assert not list(tmp_path.glob("*.xmf2*"))


def test_an_array_of_an_odd_shape_is_told(tmp_path):
    ou(2, 5).write(tmp_path / "r.nc")
    with netCDF4.Dataset(tmp_path / "r.nc", "a") as file:
        file["paraview"].renameVariable("topology", "kept")
        for name in ("five", "cell_of_five"):
            file["paraview"].createDimension(name, 5)
        file["paraview"].createVariable("topology", "i4", ("five", "cell_of_five"))
    with pytest.raises(OutputError, match=r"its cells have the shape \(5, 5\) in 2 dimensions"):
        paraview.rewrite(tmp_path / "r.nc")


def test_pyvista_reads_cells_and_times(tmp_path):
    import pyvista

    ou(2).write(tmp_path / "r.nc")
    path = str(tmp_path / "r.xmf2")
    stored = fvflow.read(tmp_path / "r.nc")
    assert pyvista.read(path, force_ext=".xdmf").n_cells == stored.rho[0].size
    reader = pyvista.get_reader(path, force_ext=".xdmf")
    np.testing.assert_allclose(reader.time_values, stored.time)
    reader.set_active_time_value(reader.time_values[-1])
    np.testing.assert_array_equal(reader.read()["rho"], stored.rho[-1].values.ravel())
