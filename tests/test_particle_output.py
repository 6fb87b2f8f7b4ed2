"""What particles carry, in results: the same in files and in memory, for ParaView, `info` and pictures."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pytest
import xarray

import fvflow
from fvflow import paraview, plot
from fvflow.case import Case
from fvflow.cli import main
from fvflow.errors import CaseError
from fvflow.flows import FokkerPlanckFlow
from fvflow.problems import OutputVariable, State
from tests.scenes import ou

COUNT = 5


@dataclass(frozen=True)
class Marked(FokkerPlanckFlow):
    """The density, and particles that stand at multiples of (t, 2t, 3t) with a number each."""

    kind: Literal["marked"] = "marked"  # type: ignore[assignment]

    def particles(self, problem):
        return COUNT

    def particle_fields(self, problem):
        return {
            "position": OutputVariable(("particle", "axis"), "position"),
            "log_det": OutputVariable(("particle",), "logarithm of the Jacobian"),
        }

    def states(self, problem, initial, times, progress=None) -> Iterator[State]:
        for state in super().states(problem, initial, times, progress):
            yield replace(
                state, particles={"position": positions(state.time, problem.mesh), "log_det": -np.arange(5.0)}
            )


def positions(time, mesh):
    return np.outer(np.arange(COUNT), time * np.arange(1, mesh.dimension + 1))


def marked(dimension, **changes) -> Case:
    case = ou(dimension, 6, times={"end": 0.2, "step": 0.1, "save": 0.1}, **changes)
    return replace(case, flow=Marked(epsilon=1.0, potential="x**2/2"))


@pytest.mark.parametrize("dimension", [1, 2, 3])
def test_files_memory_and_paraview_hold_the_same_particles(dimension, tmp_path):
    case = marked(dimension)
    case.write(tmp_path / "r.nc")
    memory = case.run()
    assert memory.position.dims == ("time", "particle", "axis")
    assert memory.log_det.dims == ("time", "particle")
    np.testing.assert_array_equal(memory.position[2], positions(0.2, case.mesh.build()))
    with fvflow.read(tmp_path / "r.nc") as stored:
        xarray.testing.assert_equal(stored.load(), memory)
    written = (tmp_path / "r.xmf2").read_text()
    paraview.rewrite(tmp_path / "r.nc")
    assert (tmp_path / "r.xmf2").read_text() == written, "by fvflow xmf, from the result alone"
    if dimension == 1:
        assert "Polyvertex" not in written, "on the line that is the mesh"
        return
    for time, cells, found in points_in_vtk(tmp_path / "r.xmf2"):
        assert cells == 6**dimension
        np.testing.assert_allclose(found["place"][:, :dimension], positions(time, case.mesh.build()), atol=1e-6)
        np.testing.assert_array_equal(found["log_det"], -np.arange(5.0))


def points_in_vtk(path):
    """Time, number of cells that have rho, and place and log_det of the points, of every frame in VTK's reader."""
    import vtk
    from vtk.util.numpy_support import vtk_to_numpy

    reader = vtk.vtkXdmfReader()
    reader.SetFileName(str(path))
    reader.UpdateInformation()
    for time in reader.GetOutputInformation(0).Get(vtk.vtkStreamingDemandDrivenPipeline.TIME_STEPS()):
        reader.UpdateTimeStep(time)
        walk = reader.GetOutputDataObject(0).NewIterator()
        walk.InitTraversal()
        leaves = []
        while not walk.IsDoneWithTraversal():
            leaves.append(walk.GetCurrentDataObject())
            walk.GoToNextItem()
        mesh, points = leaves
        assert points.GetNumberOfCells() == points.GetNumberOfPoints() == COUNT
        place = vtk_to_numpy(points.GetPoints().GetData())
        log_det = vtk_to_numpy(points.GetPointData().GetArray("log_det"))
        yield time, len(vtk_to_numpy(mesh.GetCellData().GetArray("rho"))), {"place": place, "log_det": log_det}


def test_info_and_pictures_know_of_particles(tmp_path, capsys):
    marked(2, output={"precision": "single"}).write(tmp_path / "r.nc")
    with pytest.raises(SystemExit) as ended:
        main(["info", str(tmp_path / "r.nc")])
    assert ended.value.code == 0
    assert "5 particle" in capsys.readouterr().out
    with fvflow.read(tmp_path / "r.nc") as ds:
        assert ds.position.dtype == np.float32
        figure = plot.figure(ds, frames=[2])
        drawn = [each for axes in figure.subfigs[0].axes for each in axes.collections]
        dots = next(each for each in drawn if hasattr(each, "get_sizes") and len(each.get_offsets()) == COUNT)
        np.testing.assert_allclose(dots.get_offsets(), ds.position[2])


def test_numbers_of_particles_have_a_density_at_points_and_no_velocity():
    ds = fvflow.Case.parse(
        "mesh: {kind: box, lower: [0], upper: [1], cells: [8]}\n"
        "flow: {kind: particles, epsilon: 1, count: 8000}\ninitial: {kind: uniform}\ntimes: {end: 0.1, step: 0.05}"
    ).run()
    flow = fvflow.at(ds)
    assert flow.density([[0.5]], 0.1) == pytest.approx(1, abs=0.15)
    with pytest.raises(CaseError, match="run the case with flow fokker-planck"):
        flow.velocity([[0.5]], 0.1)
