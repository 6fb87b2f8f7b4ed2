"""Meshes of files and Voronoi meshes turned about an axis: measures, rates, Gaussians, transfers and results."""

import meshio
import numpy as np
import pytest
from scipy.stats import kstest

import fvflow
from fvflow import Case, CaseError
from fvflow.dataset import stored_mesh
from fvflow.lagrangian.sampling import samples
from fvflow.mesh import (
    Box,
    Gmsh,
    Meshio,
    Revolution,
    Ugrid,
    Voronoi,
    box_outside,
    box_share,
    cells_of,
    overlaps,
    transferred,
)
from fvflow.mesh.coarse_proxy import coarse_proxy
from fvflow.mesh.control_volumes import control_volume_mesh, node_mesh
from fvflow.mesh.node_cells import NodeCells
from fvflow.mesh.pieces import Simplices
from fvflow.mesh.polytopes import mesh_from_cells
from fvflow.mesh.restricted_voronoi import restricted_voronoi
from fvflow.mesh.revolved import revolved
from fvflow.reconstruction import smooth
from tests.contracts import check_mesh, on_the_wall
from tests.meshes import acute
from tests.test_restricted_voronoi import shaken

TURN = Revolution.whole(2)
HALF_DISC = """
Point(1) = {0, -1, 0, h}; Point(2) = {0, 0, 0, h}; Point(3) = {0, 1, 0, h}; Point(4) = {1, 0, 0, h};
Circle(1) = {1, 2, 4}; Circle(4) = {4, 2, 3}; Line(2) = {3, 2}; Line(3) = {2, 1};
Curve Loop(1) = {1, 4, 2, 3}; Plane Surface(1) = {1};
Physical Curve("skin") = {1, 4}; Physical Curve("axis") = {2, 3}; Physical Surface("all") = {1};
"""
CORE = """SetFactory("OpenCASCADE"); Rectangle(1) = {0, 0, 0, 1, 2}; Rectangle(2) = {0, .5, 0, .6, .8}; Coherence;
Mesh.MeshSizeMax = h; Physical Surface("core") = {2}; Physical Surface("rest") = {3};"""
SECTION = """SetFactory("OpenCASCADE"); Rectangle(1) = {0, -4, 0, 4, 9}; Mesh.MeshSizeMax = h;
Physical Surface("all") = {1};"""


def flattened(grid):
    """A grid as a mesh of quadrilaterals."""
    return mesh_from_cells(grid.points, grid.cell_points)


def with_region(mesh):
    """The mesh, of which the cells with a centre below the diagonal are a region."""
    inside = (mesh.centre @ [1.0, 1.0] < 1).astype(float)
    return mesh_from_cells(mesh.points, mesh.cell_points, mesh.centre, regions={"low": inside})


FLAT = {
    "triangles": lambda: mesh_from_cells(*acute(2)),
    "ring": lambda: flattened(Box((1.0, 0.0), (2.0, 1.0), (4, 5)).build()),
    "shaken quadrilaterals": lambda: shaken(2),
    "voronoi": lambda: Voronoi((0.0, 0.0), (1.0, 1.0), (8, 7), seed=3).build(),
}
TURNED = {
    "cells": lambda: revolved(FLAT["triangles"](), TURN),
    "boxes of nodes": lambda: node_mesh(with_region(FLAT["triangles"]()), TURN),
    "clipped boxes": lambda: restricted_voronoi(with_region(FLAT["shaken quadrilaterals"]()), TURN),
    "voronoi": lambda: Voronoi((0.0, 0.0), (1.0, 1.0), (8, 7), seed=3, axisymmetric=True).build(),
}


@pytest.fixture(params=TURNED, scope="module")
def turned(request):
    return TURNED[request.param]()


def test_measures_are_those_of_rings(turned):
    """The unit square makes a cylinder; Gauss's theorem holds in the cells at the axis, too, where there is no wall."""
    check_mesh(turned, np.pi, orthogonal=1e-9)
    assert sorted(turned.named_walls) == ["bottom", "right", "top"]
    assert turned.wall_area.sum() == pytest.approx(4 * np.pi, rel=1e-13)
    assert (turned.points[turned.wall_points, 0] > 0).any(axis=1).all()
    _, _, area = turned.wall_contacts(turned.named_walls["top"])
    assert area.sum() == pytest.approx(np.pi, rel=1e-13)
    assert turned.cell_size == pytest.approx(np.sqrt(turned.flat.volume), rel=1e-13)
    at_axis = (turned.centre[:, 0] < 0.15) & ~on_the_wall(turned)
    assert at_axis.any()
    for count in (1, 2, 3):
        weights = turned.integral(lambda at, part: np.ones(len(at)), count)
        np.testing.assert_allclose(weights, turned.volume, rtol=1e-13)


def test_a_part_of_a_turned_mesh_has_its_sizes():
    mesh = TURNED["cells"]()
    part, number = coarse_proxy(mesh, np.arange(1.0, mesh.cells + 1), 50)
    assert part.revolution == TURN
    np.testing.assert_array_equal(part.cell_size, mesh.cell_size[number.astype(int) - 1])


@pytest.mark.parametrize("name", FLAT)
def test_the_volume_of_a_ring_is_area_times_the_way_of_the_centroid(name):
    mesh = FLAT[name]()
    found = revolved(mesh, TURN)
    x = mesh.points[np.where(mesh.cell_points < 0, mesh.cell_points[:, :1], mesh.cell_points)]
    after = np.roll(x, -1, axis=1)
    cross = x[..., 0] * after[..., 1] - x[..., 1] * after[..., 0]
    moment = np.abs((cross * (x[..., 0] + after[..., 0])).sum(axis=1)) / 6
    np.testing.assert_allclose(found.volume, 2 * np.pi * moment, rtol=1e-12)
    middle = np.array([mesh.points[row[row >= 0], 0].mean() for row in np.asarray(mesh.face_points)])
    np.testing.assert_allclose(found.area, 2 * np.pi * middle * mesh.area, rtol=1e-12)


@pytest.mark.parametrize("name", ["boxes of nodes", "clipped boxes"])
def test_regions_keep_their_volumes(name):
    mesh = TURNED[name]()
    flat = with_region(FLAT["triangles" if name == "boxes of nodes" else "shaken quadrilaterals"]())
    elements = revolved(flat, TURN)
    assert mesh.volume @ mesh.regions["low"] == pytest.approx(elements.volume @ flat.regions["low"], rel=1e-13)
    cell, element, volume = overlaps(mesh, elements)
    share = np.bincount(cell, volume * flat.regions["low"][element], mesh.cells) / mesh.volume
    np.testing.assert_allclose(mesh.regions["low"], share, atol=1e-12)
    shares = mesh.face_regions["low"]
    assert ((shares > -1e-15) & (shares < 1 + 1e-13)).all()
    if isinstance(mesh, NodeCells):
        cut = (shares > 1e-3) & (shares < 1 - 1e-3)
        assert cut.any()
        ends = mesh.vertex[mesh.fans]
        middle, weight = ends.mean(axis=1), np.linalg.norm(ends[:, 1] - ends[:, 0], axis=1) * ends[:, :, 0].mean(axis=1)
        inside = flat.regions["low"][cells_of(flat, middle)]
        for face in np.flatnonzero(cut):
            part = mesh.face_of == face
            assert shares[face] == pytest.approx((weight * inside)[part].sum() / weight[part].sum(), abs=1e-9)


def test_the_axis_is_no_wall_and_its_name_is_left_out():
    mesh = Gmsh(geometry="h = 0.2;" + HALF_DISC, axisymmetric=True).build()
    assert sorted(mesh.boundaries) == ["skin"]
    assert mesh.wall_area[mesh.boundaries["skin"]].sum() == pytest.approx(mesh.wall_area.sum(), rel=1e-13)
    assert mesh.left_out == ("boundary axis, which is the axis",)
    assert "x is the distance from the axis" in Gmsh(geometry="h = 0.2;" + HALF_DISC).describe(mesh)


def test_a_ring_away_from_the_axis_has_an_inner_wall():
    mesh = revolved(FLAT["ring"](), TURN)
    assert mesh.volume.sum() == pytest.approx(3 * np.pi, rel=1e-13)
    assert mesh.wall_area[mesh.named_walls["left"]].sum() == pytest.approx(2 * np.pi, rel=1e-13)


def section(tmp_path, level, height=1.0, radius=1.0, **keys):
    """The mesh of a case: a cylinder by triangles of its section."""
    points, cells = acute(level)
    points = np.column_stack([points * [radius, height], np.zeros(len(points))])
    meshio.write(tmp_path / f"{level}.vtk", meshio.Mesh(points, [("triangle", cells)]))
    return {"kind": "meshio", "file": str(tmp_path / f"{level}.vtk"), "axisymmetric": True, **keys}


def built(text, mesh):
    """A case on a mesh of a file."""
    anything = "\nmesh: {kind: box, lower: [0, 0], upper: [1, 1], cells: [2, 2]}"
    return Case.parse(text + anything).replace({"mesh": mesh})


@pytest.mark.parametrize("volumes", ["cells", "nodes"])
def test_the_slowest_rates_of_a_closed_cylinder_at_order_2(tmp_path, volumes):
    """cos(pi y) and J_0(j x), j the first zero of J_1."""
    exact, errors = np.array([np.pi**2, 14.681970642]), []
    for level in (2, 3, 4):
        mesh = section(tmp_path, level, control_volumes=volumes)
        ds = built("flow: {kind: spectrum, epsilon: 1, count: 3}", mesh).run()
        errors.append(np.abs(np.array([float(ds[f"rate_{k}"]) for k in (1, 2)]) / exact - 1))
    np.testing.assert_allclose(np.log2(np.divide(errors[:-1], errors[1:])), 2.0, atol=0.15)
    assert errors[-1].max() < 2e-3


def test_the_slowest_radial_rate_of_the_closed_ball_by_half_a_disc():
    """The third and the fourth rate are those of j_0 and of j_3."""
    errors = []
    for size in (0.1, 0.05, 0.025):
        mesh = {"kind": "gmsh", "geometry": f"h = {size};" + HALF_DISC, "axisymmetric": True}
        ds = built("flow: {kind: spectrum, epsilon: 1, count: 5}", mesh).run()
        rates = np.array([float(ds[f"rate_{k}"]) for k in (1, 2, 3, 4)])
        errors.append(np.abs(rates - [4.333146, 11.168160, 20.190728557, 20.376975])[[0, 2]])
    assert errors[-1].max() < 5e-3
    assert (np.log2(np.divide(errors[0], errors[-1])) / 2 > 1.6).all()


OU = """
flow: {{kind: fokker-planck, epsilon: 0.5, potential: 0.5*x**2 + 0.5*(y - 1)**2, stepper: {{kind: {stepper}}}}}
initial: {{kind: gaussian, mean: [0, 0.5], covariance: [[0.2, 0], [0, 0.3]]}}
times: {{end: 0.4, step: {step}}}
exact: {{kind: gaussian}}
"""


def half_plane(size, volumes="auto"):
    return {
        "kind": "gmsh",
        "geometry": f"h = {size};" + SECTION,
        "axisymmetric": True,
        "control_volumes": volumes,
    }


@pytest.mark.parametrize("volumes", ["auto", "nodes"])
def test_an_ornstein_uhlenbeck_process_is_the_gaussian_of_the_space_at_order_2(volumes):
    runs = [
        built(OU.format(stepper="tr-bdf2", step=size / 20), half_plane(size, volumes)).run() for size in (0.3, 0.15)
    ]
    errors = [float(ds.error_l1[-1]) for ds in runs]
    assert np.log2(errors[0] / errors[1]) > 1.8
    assert errors[1] < 0.008
    assert max(ds.attrs["mass_drift"] for ds in runs) <= 1e-14
    assert min(ds.attrs["minimum"] for ds in runs) >= 0
    box = built(
        OU.format(stepper="tr-bdf2", step=0.0075),
        {"kind": "box", "lower": [0, -4], "upper": [4, 5], "cells": [40, 90], "axisymmetric": True},
    ).run()
    np.testing.assert_allclose(runs[1]["mean"][-1], box["mean"][-1], atol=2e-3)
    np.testing.assert_allclose(runs[1]["covariance"][-1], box["covariance"][-1], atol=2e-3)


@pytest.mark.parametrize("volumes", ["auto", "nodes"])
@pytest.mark.parametrize("stepper", ["implicit-euler", "crank-nicolson", "chebyshev", "uniformisation", "muscl"])
def test_every_stepper_runs_on_meshes_that_are_turned(stepper, volumes):
    ds = built(OU.format(stepper=stepper, step=0.02), half_plane(0.4, volumes)).run()
    assert ds.attrs["error_l1"] < 0.06
    assert ds.attrs["mass_drift"] <= 1e-14
    assert ds.attrs["minimum"] >= 0


@pytest.mark.parametrize("stepper", ["ljko", "jko", "evbdf2", "midpoint", "implicit-euler"])
def test_gradient_flows_run_on_meshes_that_are_turned(stepper):
    linear = OU.format(stepper=stepper, step=0.02).splitlines()
    energy = "[{kind: entropy, epsilon: 0.5}, {kind: potential, potential: 0.5*x**2 + 0.5*(y - 1)**2}]"
    linear[1] = f"flow: {{kind: gradient-flow, energy: {energy}, stepper: {{kind: {stepper}}}}}"
    ds = built("\n".join(linear), half_plane(0.4, "nodes")).run()
    assert ds.attrs["error_l1"] < 0.04
    assert ds.attrs["mass_drift"] <= 1e-13
    assert ds.attrs["minimum"] >= 0
    assert ds.attrs["fallbacks"] == 0
    assert "evi_defect" not in ds.attrs


@pytest.mark.parametrize("volumes", ["cells", "nodes"])
def test_equilibrium_is_stationary(tmp_path, volumes):
    text = """
flow: {kind: fokker-planck, epsilon: 0.1, potential: (x - 0.3)**2*(1 + y)}
initial: {kind: exact}
times: {end: 5, step: 0.1}
exact: {kind: gibbs}
"""
    ds = built(text, section(tmp_path, 3, control_volumes=volumes)).run()
    assert ds.attrs["error_l1"] <= 1e-13


@pytest.mark.parametrize("volumes", ["cells", "nodes"])
def test_the_time_to_reach_the_skin_of_a_cylinder(tmp_path, volumes):
    flow = "flow: {kind: first-passage, epsilon: 0.5, target: {wall: right}}"
    case = built(flow, section(tmp_path, 3, control_volumes=volumes))
    radius = case.mesh.build().centre[:, 0]
    assert np.abs(case.run().mean_passage_time[-1] - (1 - radius**2) / 2).max() < 1e-3
    with pytest.raises(CaseError, match="no wall left; it has bottom, right, top"):
        case.replace({"flow.target": {"wall": "left"}}).run()


def test_a_region_that_conducts_less_keeps_its_volume_and_the_mass():
    text = """
flow: {kind: fokker-planck, diffusion: {value: 1 - 0.9*inside(core), convention: isothermal}}
initial: {kind: expression, density: 1 + inside(core)}
times: {end: 0.1, step: 0.02}
"""
    for volumes in ("auto", "nodes"):
        mesh = {"kind": "gmsh", "geometry": "h = 0.2;" + CORE, "axisymmetric": True, "control_volumes": volumes}
        case = built(text, mesh)
        here = case.mesh.build()
        assert here.volume @ here.regions["core"] == pytest.approx(np.pi * 0.36 * 0.8, rel=1e-13)
        assert case.run().attrs["mass_drift"] <= 1e-14


PAIRS = {
    "cells and nodes": (lambda: TURNED["cells"](), lambda: TURNED["clipped boxes"]()),
    "box and cells": (lambda: BOX.build(), lambda: TURNED["cells"]()),
    "voronoi and box": (lambda: TURNED["voronoi"](), lambda: BOX.build()),
}
BOX = Box(lower=(0.0, 0.0), upper=(1.0, 1.0), cells=(7, 6), axisymmetric=True)


@pytest.mark.parametrize("name", PAIRS)
def test_transfers_conserve_the_mass_of_rings(name):
    one, other = (make() for make in PAIRS[name])
    for source, target in ((one, other), (other, one)):
        density = 1 + np.cos(3 * source.centre[:, 0]) * source.centre[:, 1]
        moved = transferred(source, target, density)
        assert target.volume @ moved == pytest.approx(source.volume @ density, rel=1e-14)
        np.testing.assert_allclose(transferred(source, target, np.ones(source.cells)), 1.0, rtol=1e-12)
    cell, _, volume = overlaps(one, other)
    np.testing.assert_allclose(np.bincount(cell, volume, one.cells), one.volume, rtol=1e-12)
    with pytest.raises(CaseError, match="a radius as x"):
        transferred(one, FLAT["triangles"](), np.ones(one.cells))


def test_the_share_of_a_box_is_that_of_its_ring(turned):
    share = box_share(turned, np.array([-0.5, 0.2]), np.array([0.3, 0.7]))
    assert turned.volume @ share == pytest.approx(np.pi * 0.09 * 0.5, rel=1e-12)
    assert box_outside(turned, np.array([0.5, 0.0]), np.array([1.5, 1.0])) == pytest.approx(1 - 0.75 / 2.0, rel=1e-12)
    assert not box_share(turned, np.array([-2.0, 0.0]), np.array([-1.0, 1.0])).any()


@pytest.mark.parametrize("volumes", ["cells", "nodes", "clipped"])
def test_a_result_is_read_again_and_goes_on(tmp_path, volumes):
    if volumes == "clipped":
        flat = shaken(2)
        points = np.column_stack([flat.points, np.zeros(len(flat.points))])
        meshio.write(tmp_path / "m.vtk", meshio.Mesh(points, [("quad", flat.cell_points)]))
        mesh = {"kind": "meshio", "file": str(tmp_path / "m.vtk"), "axisymmetric": True}
    else:
        mesh = section(tmp_path, 2, control_volumes=volumes)
    text = "flow: {kind: fokker-planck, epsilon: 0.1, potential: x*y}\ninitial: {kind: uniform}\n"
    case = built(text + "times: {end: 0.2, step: 0.1}\noutput: {velocity: true, score: true}", mesh)
    case.write(tmp_path / "a.nc")
    ds, own = fvflow.read(tmp_path / "a.nc"), case.mesh.build()
    assert isinstance(own, NodeCells) == (volumes == "clipped")
    for again in (stored_mesh(ds), stored_mesh(case.run()), Ugrid(str(tmp_path / "a.nc")).build()):
        assert again.revolution == own.revolution
        np.testing.assert_array_equal(again.volume, own.volume)
        np.testing.assert_array_equal(again.area, own.area)
        np.testing.assert_array_equal(again.wall_points, own.wall_points)
    after = case.replace({"initial": {"kind": "file", "file": str(tmp_path / "a.nc")}})
    np.testing.assert_array_equal(after.run().rho[0], ds.rho[-1])
    assert "m3" in str(ds.cell_area.units)
    fvflow.plot.figure(ds)
    with pytest.raises(CaseError, match="remove control_volumes, centres and axisymmetric"):
        Ugrid(str(tmp_path / "a.nc"), axisymmetric=True).build()


def test_positions_in_a_triangle_have_a_density_in_proportion_to_the_radius():
    halves = np.array([[[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]], [[0.0, 0.0], [1.0, 1.0], [0.0, 1.0]]])
    np.testing.assert_allclose(Simplices(np.zeros(2, np.int32), halves, TURN).share, [2 / 3, 1 / 3], rtol=1e-14)
    corner = np.array([[[0.0, 0.0], [2.0, 0.5], [1.0, 1.5]]])
    pieces = Simplices(np.zeros(1, np.int32), corner, TURN)
    n = 600
    unit = (np.stack(np.meshgrid(np.arange(n), np.arange(n)), axis=-1).reshape(-1, 2) + 0.5) / n
    x = pieces.positions(np.zeros(len(unit), np.int32), unit)
    mesh = mesh_from_cells(corner[0], np.array([[0, 1, 2]]))
    for function in (lambda at: at[:, 0], lambda at: at[:, 1], lambda at: at[:, 0] * at[:, 1] ** 2):
        whole = mesh.integral(lambda at, part: at[:, 0], 4)[0]
        mean = mesh.integral(lambda at, part, f=function: at[:, 0] * f(at), 4)[0] / whole
        assert function(x).mean() == pytest.approx(mean, rel=1e-4)


def test_samples_are_those_of_the_space(turned):
    """Of a uniform density: x^2 and y are uniform and independent."""
    for stratified in (True, False):
        x = samples(turned, np.ones(turned.cells), 4000, 3, stratified=stratified)
        assert kstest(x[:, 0] ** 2, "uniform").pvalue > 1e-3
        assert kstest(x[:, 1], "uniform").pvalue > 1e-3
        assert abs(np.corrcoef(x[:, 0] ** 2, x[:, 1])[0, 1]) < 0.06


@pytest.mark.parametrize("odd", [False, True])
def test_functions_at_points_are_even_or_odd_at_the_axis(turned, odd):
    space, c = smooth(turned, odd), turned.centre
    values = np.sin(c[:, 0]) * (1 + c[:, 1]) if odd else np.cos(c[:, 0]) + c[:, 1] ** 2 - c[:, 1]
    y = np.linspace(0.05, 0.95, 30)
    at = np.column_stack([np.zeros(30), y])
    found = space.at(space.coefficients([values], [{}]), np.ones((1, 1)), at, 1)
    if odd:
        np.testing.assert_allclose(found.value, 0.0, atol=1e-13)
        np.testing.assert_allclose(found.gradient[:, 0], 1 + y, atol=0.04)
    else:
        np.testing.assert_allclose(found.gradient[:, 0], 0.0, atol=1e-13)
        np.testing.assert_allclose(found.gradient[:, 1], 2 * y - 1, atol=0.02)


def resting(size):
    text = """
flow: {kind: fokker-planck, epsilon: 0.5, potential: 0.5*x**2 + 0.5*(y - 1)**2, stepper: {kind: tr-bdf2}}
initial: {kind: gaussian, mean: [0, 0.5], covariance: [[0.2, 0], [0, 0.3]], sampling: centre}
times: {end: 0.4, step: 0.01, save: 0.1}
"""
    return built(text, half_plane(size, "nodes")).run()


def test_a_result_at_points_is_that_in_space():
    """The divergence has the part of the circles, up to the axis."""
    points = np.random.default_rng(0).uniform([0.0, -0.5], [1.2, 1.5], (300, 2))
    points[:40, 0] = np.linspace(0.0, 0.1, 40)
    errors = []
    for size in (0.2, 0.1):
        flow, t = fvflow.at(resting(size)), 0.33
        across, along = (0.5 + (start - 0.5) * np.exp(-2 * t) for start in (0.2, 0.3))
        rates, middle = np.array([0.5 / across, 0.5 / along]) - 1, 1 - 0.5 * np.exp(-t)
        velocity = points * [rates[0], 0.0]
        velocity[:, 1] = -(points[:, 1] - 1) + 0.5 * (points[:, 1] - middle) / along
        found = flow.velocity_and_divergence(points, t)
        errors.append([np.abs(found[0] - velocity).max(), np.abs(found[1] - 2 * rates[0] - rates[1]).max()])
        assert not any("div v" in told for told in flow.remarks)
    assert np.log2(errors[0][0] / errors[1][0]) > 1.5
    assert errors[1][0] < 5e-3
    assert errors[1][1] < 0.06


def test_points_are_pushed_with_the_density_in_space():
    ds = resting(0.15)
    start = np.array([[0.0, 0.5], [0.3, 0.2], [0.6, 1.0], [1.0, 0.5]])
    moved = fvflow.push(ds, start, 0.0, 0.4)
    growth = np.sqrt([(0.5 + (s - 0.5) * np.exp(-0.8)) / s for s in (0.2, 0.3)])
    expected = start * growth
    expected[:, 1] = 1 - 0.5 * np.exp(-0.4) + (start[:, 1] - 0.5) * growth[1]
    np.testing.assert_allclose(moved.points, expected, atol=8e-3)
    np.testing.assert_allclose(moved.log_det, 2 * np.log(growth[0]) + np.log(growth[1]), atol=0.02)
    assert fvflow.compare_sides(ds, 400).figures["determinant"] < 2e-3
    averaged = fvflow.at(built(OU.format(stepper="tr-bdf2", step=0.1), half_plane(0.4)).run())
    averaged.divergence(start, 0.1)
    assert [told for told in averaged.remarks if "div v is of order 0 at times after the start" in told]


def test_jumps_between_rings_have_the_law_of_the_scheme(tmp_path):
    text = """
flow: {kind: particles, count: 20000, epsilon: 1, potential: 0.5*x**2, stepper: {kind: jump}}
initial: {kind: uniform}
times: {end: 3, step: 1}
exact: {kind: gibbs}
"""
    case = built(text, section(tmp_path, 1))
    run = case.run()
    assert run.attrs["chi_square_p"] > 1e-3
    assert run.attrs["mean_deviation"] < 4
    assert kstest(run.position[0, :, 0] ** 2, "uniform").pvalue > 1e-3
    with pytest.raises(CaseError, match=r"x is a radius; use stepper: \{kind: jump\}"):
        case.replace({"flow.stepper": {"kind": "euler-maruyama"}}).run()


FLOW = "flow: {kind: fokker-planck, epsilon: 1}\ninitial: {kind: uniform}\ntimes: {end: 1, step: 0.1}\n"


def test_what_cannot_be_turned_is_refused(tmp_path):
    mesh = {"kind": "voronoi", "lower": [-0.5, 0], "upper": [1, 1], "cells": [6, 4], "axisymmetric": True}
    with pytest.raises(CaseError, match=r"the node at \(-0.5, .*\) has x < 0 \(.* in all\); give the half of the mesh"):
        built(FLOW, mesh).run()
    cube = Box((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), (2, 2, 2)).build()
    meshio.write(tmp_path / "cube.vtk", meshio.Mesh(cube.points, [("hexahedron", cube.cell_points)]))
    for volumes in ("auto", "nodes"):
        with pytest.raises(CaseError, match="this mesh has three axes; give a mesh in the plane"):
            Meshio(str(tmp_path / "cube.vtk"), volumes, axisymmetric=True).build()
    beyond = mesh_from_cells(acute(1)[0] - [1e-5, 0.0], acute(1)[1])
    with pytest.raises(CaseError, match="has x < 0"):
        control_volume_mesh(beyond, "auto", axisymmetric=True)
    for key, value, message in (
        ("flow.stream", "x*y", "give the velocity instead"),
        ("initial", {"kind": "gaussian", "mean": [0.2, 0.5], "covariance": [[0.1, 0], [0, 0.1]]}, "x is a radius"),
    ):
        with pytest.raises(CaseError, match=message):
            built(FLOW, section(tmp_path, 1)).replace({key: value}).run()


def test_round_off_at_the_axis_is_the_axis():
    points, cells = acute(1)
    points = np.where(np.isclose(points, 0.0), -1e-17, points)
    mesh = control_volume_mesh(mesh_from_cells(points, cells), "auto", axisymmetric=True)
    assert sorted(mesh.named_walls) == ["bottom", "right", "top"]
    assert (mesh.volume > 0).all()
