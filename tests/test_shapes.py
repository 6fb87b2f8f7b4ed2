"""Meshes of every shape: the contract, the equation on them, results and what opens these."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import xarray

import fvflow
from fvflow.case import Case
from fvflow.errors import CaseError
from fvflow.mesh import Admissibility, Box, Ugrid
from fvflow.mesh.control_volumes import node_mesh
from fvflow.mesh.polytopes import mesh_from_cells
from tests.check_vtk import frames
from tests.contracts import check_mesh
from tests.meshes import MEASURE, SHAPES, SLANTED, acute, tetrahedra

PARAVIEW = Path(__file__).parent / "check_paraview.py"


def case(mesh, folder, **changes):
    """Ornstein-Uhlenbeck with a drift that is no gradient on a mesh made in Python."""
    file = folder / "mesh.nc"
    if not file.exists():
        fvflow.save_mesh(mesh, file)
    made = Case.parse(
        f"""
        mesh: {{kind: ugrid, file: {file}}}
        flow: {{kind: fokker-planck, epsilon: 0.3, potential: "3*(x - 0.5)**2 + y"}}
        initial: {{kind: expression, density: "1 + x**2"}}
        times: {{end: 0.3, step: 0.05, save: 0.1}}
        """
    )
    return made.replace({path.replace("__", "."): value for path, value in changes.items()})


@pytest.fixture(params=SHAPES, scope="module")
def shape(request):
    return request.param, SHAPES[request.param]()


def test_every_shape_keeps_the_contract(shape):
    name, mesh = shape
    if name in SLANTED:
        assert Admissibility(mesh).angle.max() > 0.1
        with pytest.raises(CaseError, match="not consistent; give it up"):
            Admissibility(mesh).require("give it up")
    else:
        check_mesh(mesh, MEASURE.get(name), orthogonal=1e-7)
        Admissibility(mesh).require("nothing to do")
    middle, outward = mesh.walls
    np.testing.assert_allclose(np.linalg.norm(outward, axis=1), 1.0)
    assert (((middle - mesh.points.mean(axis=0)) * outward).sum(axis=1) > 0).all() or name == "quadrilaterals"
    inside = mesh.integral(lambda at, part: at[:, 0] ** 2, 4).sum()
    assert inside == pytest.approx(mesh.integral(lambda at, part: at[:, 0] ** 2, 3).sum(), rel=1e-12)


def test_the_equation_keeps_its_structure_on_every_shape(shape, tmp_path):
    _, mesh = shape
    rest = case(mesh, tmp_path, initial={"kind": "gibbs"}, times={"end": 100, "step": 5, "save": 50}).run()
    np.testing.assert_allclose(rest.rho[-1], rest.rho[0], rtol=0, atol=1e-13 * float(rest.rho[0].max()))
    nearest = np.argmin(((mesh.centre - mesh.points.mean(axis=0)) ** 2).sum(axis=1))
    spike = case(mesh, tmp_path, initial={"kind": "spike", "at": mesh.centre[nearest].tolist(), "cell": True})
    for flow in (None, ["-y", "x", "0"][: mesh.dimension]):
        moving = spike if flow is None else spike.replace({"flow.velocity": flow})
        ds = moving.run()
        assert ds.attrs["minimum"] >= 0
        np.testing.assert_allclose(ds.mass, 1.0, rtol=1e-14)
        assert ds.rho[-1].max() < 0.9 * ds.rho[0].max()


@pytest.mark.parametrize("stepper", ["ljko", "jko", "midpoint"])
def test_gradient_flows_lose_energy_on_every_shape(shape, stepper, tmp_path):
    _, mesh = shape
    energy = [{"kind": "entropy", "epsilon": 0.3}, {"kind": "potential", "potential": "3*(x - 0.5)**2 + y"}]
    method = {"kind": stepper} | ({"intervals": 2} if stepper == "jko" else {})
    flow = {"kind": "gradient-flow", "energy": energy, "stepper": method}
    ds = case(mesh, tmp_path, flow=flow).run()
    assert (np.diff(ds.energy) < 0).all()
    assert ds.attrs["fallbacks"] == 0 or stepper != "ljko"
    assert ds.attrs["minimum"] >= 0
    np.testing.assert_allclose(ds.mass, 1.0, rtol=1e-14)


def test_results_open_with_vtk_and_xugrid_and_hold_their_mesh(shape, tmp_path):
    _name, mesh = shape
    run = case(mesh, tmp_path, output={"fluxes": True})
    run.write(tmp_path / "r.nc")
    ds = run.run()
    if not mesh.point_data:
        for (time, values, measure), at, rho in zip(frames(tmp_path / "r.xmf2"), ds.time, ds.rho.values, strict=True):
            assert time == pytest.approx(float(at), abs=1e-15)
            np.testing.assert_array_equal(values, rho)
            np.testing.assert_allclose(measure, mesh.volume, rtol=1e-9)
            assert measure @ values == pytest.approx(1.0, abs=1e-9)
    with fvflow.read(tmp_path / "r.nc") as stored:
        stored.load()
    for one in (stored, ds):
        del one.attrs["history"]
    xarray.testing.assert_identical(stored, ds)
    again = Ugrid(str(tmp_path / "r.nc")).build()
    for field in ("centre", "volume", "owner", "neighbour", "area", "distance", "normal", "points", "plot_cells"):
        np.testing.assert_array_equal(getattr(again, field), getattr(mesh, field), err_msg=field)
    divergence = np.bincount(ds.owner, ds.flux[-1], mesh.cells) - np.bincount(ds.neighbour, ds.flux[-1], mesh.cells)
    last = case(mesh, tmp_path, times={"end": 0.25, "step": 0.05}).run().rho[-1]  # implicit Euler's last step
    np.testing.assert_allclose(mesh.volume * (ds.rho[-1] - last) / 0.05, -divergence, atol=1e-13)


def test_xugrid_integrates_results_in_the_plane(tmp_path):
    import xugrid

    for name in ("triangles", "quadrilaterals", "polygons", "node_boxes", "mixed"):
        folder = tmp_path / name
        folder.mkdir()
        case(SHAPES[name](), folder).write(folder / "r.nc")
        opened = xugrid.open_dataset(folder / "r.nc")
        assert opened.rho.dims == ("time", "mesh_face")
        np.testing.assert_allclose((opened.rho * opened.grid.area).sum("mesh_face"), 1.0, atol=1e-12)


def test_distances_on_meshes_are_refused(tmp_path):
    ds = case(SHAPES["triangles"](), tmp_path).run()
    with pytest.raises(CaseError, match="this result is on another mesh"):
        fvflow.wasserstein.distance(ds, 0, -1)


@pytest.mark.paraview
@pytest.mark.skipif(shutil.which("pvpython") is None or shutil.which("xvfb-run") is None, reason="no ParaView here")
def test_results_open_in_paraview(tmp_path):
    """All in one ParaView, which takes three seconds to start."""
    results = []
    for name, mesh in {**{name: make() for name, make in SHAPES.items()}, **grids()}.items():
        if mesh.point_data:
            continue
        folder = tmp_path / name
        folder.mkdir()
        made = case(mesh, folder) if mesh.dimension > 1 else line(mesh, folder)
        made.write(folder / "r.nc")
        results.append(folder / "r.xmf2")
    assert len(results) > len(SHAPES) // 2
    command = ["xvfb-run", "-a", "pvpython", PARAVIEW, *results, "--nt", "4", "--expect-integral", "1,1,1,1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert f"{len(results)} results are right" in done.stdout


def grids():
    return {f"grid-{d}d": Box((0.0,) * d, (1.0,) * d, (4, 3, 5)[:d]).build() for d in (1, 2, 3)}


def line(mesh, folder):
    return case(mesh, folder, flow__potential="x", initial__density="1 + x")


def test_a_result_starts_a_run_on_its_mesh_and_on_another(shape, tmp_path):
    _name, mesh = shape
    case(mesh, tmp_path).write(tmp_path / "first.nc")
    whole = case(mesh, tmp_path, times={"end": 0.6, "step": 0.05}).run()
    on = case(mesh, tmp_path, initial={"kind": "file", "file": str(tmp_path / "first.nc")})
    np.testing.assert_array_equal(on.run().rho[0], fvflow.read(tmp_path / "first.nc").rho[-1])
    np.testing.assert_allclose(on.run().rho[-1], whole.rho[-1], rtol=1e-13)
    low, high = mesh.points.min(axis=0), mesh.points.max(axis=0)
    other = on.replace(
        {"mesh": {"kind": "box", "lower": low.tolist(), "upper": high.tolist(), "cells": [7] * len(low)}}
    )
    moved = other.replace({"initial.time": 0.1}).run()
    assert moved.mass[0] == pytest.approx(1.0, abs=1e-14)
    assert moved.rho[0].min() >= 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"file": "{}/none.nc"}, "cannot be read"),
        ({"file": "{}/first.nc", "time": 0.17}, "has no time 0.17; the nearest is 0.2"),
        ({"file": "{}/first.nc", "field": "phi"}, "has no field phi; it has rho"),
        ({"file": "{}/mesh.nc"}, "has no saved times"),
        ({"file": "{}/text.nc"}, "cannot be read"),
    ],
)
def test_files_that_are_no_start_are_refused(change, message, tmp_path):
    mesh = SHAPES["triangles"]()
    case(mesh, tmp_path).write(tmp_path / "first.nc")
    (tmp_path / "text.nc").write_text("this is no netCDF file\n" * 20)
    start = {name: value.format(tmp_path) if isinstance(value, str) else value for name, value in change.items()}
    with pytest.raises(CaseError, match=message):
        case(mesh, tmp_path, initial={"kind": "file", **start}).prepare()


def test_boxes_about_the_nodes_of_cut_cubes_are_cubes():
    mesh = node_mesh(mesh_from_cells(*(lambda made: (made.points, made.cell_points))(tetrahedra())))
    assert mesh.faces == 3 * 3 * 16, "none between nodes across a diagonal"
    np.testing.assert_allclose(mesh.distance, 1 / 3)
    inner = (mesh.points > 0).all(axis=1) & (mesh.points < 1).all(axis=1)
    np.testing.assert_allclose(mesh.volume[inner], 1 / 27)
    np.testing.assert_allclose(mesh.volume.sum(), 1.0)


def test_the_published_test_on_triangles(tmp_path):
    """Cances, Gallouet, Todeschi, Numer. Math. 146 (2020): L1 errors of their code on 56, 224, 896 triangles."""
    errors = []
    for level, published in enumerate((1.189e-1, 5.293e-2, 2.415e-2), start=1):
        file = tmp_path / f"{level}.nc"
        fvflow.save_mesh(mesh_from_cells(*acute(level)), file)
        run = Case.parse(
            f"""
            mesh: {{kind: ugrid, file: {file}}}
            flow: {{kind: gradient-flow, energy: [{{kind: entropy, epsilon: 1}}, {{kind: potential, potential: -x}}],
                   stepper: {{kind: ljko, mobility: upwind}}}}
            initial: {{kind: exact}}
            times: {{end: 0.25, step: {0.1 / 2**level}}}
            exact: {{kind: tilted-box, sampling: centre}}
            """
        ).run()
        errors.append(float(run.error_l1[-1]))
        assert errors[-1] == pytest.approx(published, rel=3e-4)


def test_interior_point_agrees_with_the_published_distance_on_triangles(tmp_path):
    """Natale, Todeschi, ESAIM M2AN 55 (2021): .5641153 on 224 triangles, 8 interior times."""
    fvflow.save_mesh(mesh_from_cells(*acute(2)), tmp_path / "m.nc")
    bump = "where((x-{0})**2+(y-{0})**2 <= 0.09, 1+cos(pi*((x-{0})**2+(y-{0})**2)/0.09), 0)"
    run = Case.parse(
        f"""
        mesh: {{kind: ugrid, file: {tmp_path / "m.nc"}}}
        flow:
          kind: transport
          intervals: 9
          target: {{kind: expression, sampling: centre, density: "{bump.format(0.7)}"}}
          solver: {{kind: interior-point}}
        initial: {{kind: expression, sampling: centre, density: "{bump.format(0.3)}"}}
        """
    ).run()
    assert float(run.w2) == pytest.approx(0.5641153, abs=1e-7)


def test_hexahedra_stand_beside_prisms_and_pyramids():
    """A unit cube with a prism on one face and a pyramid on another: cells of 8, 6 and 5 corners in one mesh."""
    cube = Box((0.0,) * 3, (1.0,) * 3, (1, 1, 1)).build()
    points = np.concatenate([cube.points, [[1.8, 0.5, 0.0], [1.8, 0.5, 1.0], [0.5, 0.5, 1.7]]])
    number = {tuple(point): index for index, point in enumerate(points.tolist())}
    bottom, top = ([number[x, y, z] for x, y in ((0, 0), (1, 0), (1, 1), (0, 1))] for z in (0, 1))
    cells = [
        [*bottom, *top],
        [bottom[1], 8, bottom[2], top[1], 9, top[2], -1, -1],
        [*top, 10, -1, -1, -1],
    ]
    mesh = mesh_from_cells(points, np.array(cells))
    check_mesh(mesh, 1 + 0.4 + 0.7 / 3)
    np.testing.assert_allclose(mesh.volume, [1.0, 0.4, 0.7 / 3], rtol=1e-14)
    np.testing.assert_allclose(mesh.integral(lambda at, part: at[:, 1], 2), 0.5 * mesh.volume, rtol=1e-14)
