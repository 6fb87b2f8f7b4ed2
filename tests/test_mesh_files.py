"""Meshes from gmsh, meshio and UGRID files: groups, control volumes, and files that cannot be used."""

import os
import sys

import meshio
import netCDF4
import numpy as np
import pytest

import fvflow
from fvflow.case import Case
from fvflow.cli import main
from fvflow.errors import CaseError
from fvflow.input_files import Admission, admitting
from fvflow.mesh import Admissibility, Box, Gmsh, Meshio, stored_field
from fvflow.mesh.conformity import require_conforming
from fvflow.mesh.node_cells import NodeCells
from fvflow.mesh.polytopes import mesh_from_cells
from tests.contracts import assert_order, check_mesh
from tests.meshes import SHAPES, acute

TWO = """
h = 0.15;
Point(1) = {0, 0, 0, h}; Point(2) = {0.5, 0, 0, h}; Point(3) = {1, 0, 0, h};
Point(4) = {1, 1, 0, h}; Point(5) = {0.5, 1, 0, h}; Point(6) = {0, 1, 0, h};
For i In {1:6}
  Line(i) = {i, i % 6 + 1};
EndFor
Line(7) = {2, 5};
Curve Loop(1) = {1, 7, 5, 6}; Plane Surface(1) = {1};
Curve Loop(2) = {2, 3, 4, -7}; Plane Surface(2) = {2};
Physical Surface("left half") = {1};
Physical Surface("right") = {2};
Physical Curve("wall") = {1:6};
"""
FLOW = "flow: {kind: fokker-planck, epsilon: 0.1, potential: 'inside(right)'}"


def flat(points):
    return np.column_stack([points, np.zeros(len(points))])


def two(**options):
    return Gmsh(geometry=TWO, **options)


@pytest.mark.parametrize("control_volumes", ["cells", "nodes"])
def test_groups_of_a_geometry_are_regions_and_boundaries(control_volumes):
    mesh = two(control_volumes=control_volumes).build()
    check_mesh(mesh, 1.0)
    assert set(mesh.regions) == {"left_half", "right"}
    for inside in mesh.regions.values():
        assert mesh.volume @ inside == pytest.approx(0.5, rel=1e-12)
    np.testing.assert_allclose(mesh.regions["left_half"] + mesh.regions["right"], 1.0)
    assert len(mesh.boundaries["wall"]) == len(mesh.wall_points)
    mixed = (mesh.regions["right"] > 0) & (mesh.regions["right"] < 1)
    assert mixed.any() == (control_volumes == "nodes"), "boxes about nodes of the interface lie in both"


@pytest.mark.parametrize("control_volumes", ["cells", "nodes"])
def test_regions_select_where_an_expression_applies(control_volumes):
    case = Case.parse(
        f"mesh: {{kind: box, lower: [0, 0], upper: [1, 1], cells: [2, 2]}}\n{FLOW}\n"
        "initial: {kind: expression, density: inside(left_half)}\ntimes: {end: 40, step: 4}\n"
    ).replace({"mesh": {"kind": "gmsh", "geometry": TWO, "control_volumes": control_volumes}})
    mesh, ds = case.mesh.build(), case.run()
    np.testing.assert_allclose(ds.rho[0], 2 * mesh.regions["left_half"], rtol=1e-12)
    gibbs = np.exp(-mesh.regions["right"] / 0.1)
    np.testing.assert_allclose(ds.rho[-1], gibbs / (mesh.volume @ gibbs), rtol=1e-6)
    assert "left_half 0.5, right 0.5" in case.check()["regions"]


def test_regions_of_a_velocity_count_by_half_on_their_interface():
    case = Case.parse(
        "mesh: {kind: box, lower: [0, 0], upper: [1, 1], cells: [2, 2]}\n"
        "flow: {kind: fokker-planck, epsilon: 0.1, velocity: [inside(right), 0]}\n"
        "initial: {kind: uniform}\ntimes: {end: 0.1, step: 0.1}\n"
    ).replace({"mesh": {"kind": "gmsh", "geometry": TWO}})
    prepared = case.prepare()
    mesh = prepared.mesh
    speed = (
        prepared.problem.drift.potential_drop(mesh, 0.0)
        / mesh.distance
        / np.where(mesh.normal[:, 0], mesh.normal[:, 0], 1.0)
    )
    across = mesh.regions["right"][mesh.owner] != mesh.regions["right"][mesh.neighbour]
    np.testing.assert_allclose(speed[across], 0.5, atol=1e-12)
    assert across.sum() > 3


@pytest.mark.parametrize("formula", ["inside(rigth)", "inside(2)", "inside(left_half, right)", "z"])
def test_regions_that_are_none_are_refused(formula):
    case = Case.parse(
        "mesh: {kind: box, lower: [0, 0], upper: [1, 1], cells: [2, 2]}\n"
        "flow: {kind: fokker-planck, epsilon: 0.1}\ninitial: {kind: uniform}\ntimes: {end: 0.1, step: 0.1}\n"
    ).replace({"mesh": {"kind": "gmsh", "geometry": TWO}})
    told = r"no region rigth; it has left_half, right|name of one region|uses z, the mesh has 2"
    with pytest.raises(CaseError, match=told):
        case.replace({"flow.potential": formula}).prepare()


def test_size_and_refined_scale_the_mesh_size():
    coarse, fine = two().build(), two().refined(2).build()
    assert fine.cells == pytest.approx(4 * coarse.cells, rel=0.2)
    assert two().refined(2) == two(size=0.5)


def test_refinements_cut_triangles_into_similar_ones(tmp_path):
    points, corners = acute(1)
    sides = np.array([[0, 1]])
    meshio.write(tmp_path / "m.vtu", meshio.Mesh(flat(points), [("triangle", corners), ("line", sides)]))
    kind = Meshio(str(tmp_path / "m.vtu"))
    coarse, fine = kind.build(), kind.refined(4).build()
    check_mesh(fine, 1.0)
    assert fine.cells == 16 * coarse.cells
    np.testing.assert_allclose(np.sort(fine.volume), np.sort(np.repeat(coarse.volume / 16, 16)))


def test_elements_away_from_all_cells_are_told(tmp_path):
    """A tetrahedron with one of its faces, and two triangles elsewhere: no cells, no walls."""
    points = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [3, 0, 0], [4, 0, 0], [3, 1, 0], [4, 1, 0.0]])
    for triangles, told in ((3, ("2 elements of type triangle away from all cells",)), (1, ())):
        corners = np.array([[0, 1, 2], [4, 5, 6], [5, 6, 7]])[:triangles]
        whole = meshio.Mesh(points, [("tetra", np.array([[0, 1, 2, 3]])), ("triangle", corners)])
        meshio.write(tmp_path / "m.vtu", whole)
        assert Meshio(file=str(tmp_path / "m.vtu")).build().left_out == told


@pytest.mark.parametrize("format_", ["gmsh", "gmsh22"])
def test_msh_2_and_4_are_the_same_mesh(format_, tmp_path):
    points, corners = acute(1)
    meshio.write(tmp_path / "m.msh", meshio.Mesh(flat(points), [("triangle", corners)]), file_format=format_)
    mesh = Gmsh(file=str(tmp_path / "m.msh")).build()
    check_mesh(mesh, 1.0)
    assert mesh.cells == 56


def test_a_file_is_looked_for_from_the_case(tmp_path, monkeypatch):
    points, corners = acute(1)
    meshio.write(tmp_path / "m.msh", meshio.Mesh(flat(points), [("triangle", corners)]), file_format="gmsh")
    text = "mesh: {kind: gmsh, file: m.msh}\nflow: {kind: fokker-planck, epsilon: 0.1}\ninitial: {kind: uniform}\n"
    (tmp_path / "c.yaml").write_text(text + "times: {end: 0.1, step: 0.1}\n")
    for case in (Case.read(tmp_path / "c.yaml"), Case.read(tmp_path / "c.yaml").replace({"flow.epsilon": 0.2})):
        assert case.prepare().mesh.cells == 56
    with fvflow_result(case, tmp_path) as ds:
        assert Case.parse(ds.attrs["resolved_case"]).prepare().mesh.cells == 56


def fvflow_result(case, folder):
    case.write(folder / "r.nc")
    return fvflow.read(folder / "r.nc")


def written(folder, name, points, corners, kind="triangle"):
    meshio.write(folder / name, meshio.Mesh(points, [(kind, np.asarray(corners))]), file_format="gmsh", binary=False)
    return folder / name


def moved(points, corners, to):
    """The mesh with its first inner node somewhere else."""
    inner = np.argmin(((points[:, :2] - 0.15) ** 2).sum(axis=1))
    changed = points.copy()
    changed[inner, :2] = to
    return changed, corners


def doubled(points, corners, shift, up=0.0):
    return np.vstack([points, points + np.array([shift, up, 0])]), np.vstack([corners, corners + len(points)])


def lonely(points, corners):
    return np.vstack([points, [[5, 5, 0], [6, 5, 0], [5, 6, 0]]]), np.vstack([corners, len(points) + np.arange(3)])


RIGHT = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0.0]]), np.array([[0, 1, 2], [0, 2, 3]])
HANGING = flat(np.array([[0, 0], [1, 0], [1, 1], [0, 1], [2, 0], [2, 0.5], [1, 0.5], [2, 1], [-1, 0], [-1, 1]]))
QUADS = [[0, 1, 2, 3], [1, 4, 5, 6], [6, 5, 7, 2], [8, 0, 3, 9]]  # one next to two halves
BOW = np.array([[0, 0, 0], [1, 1, 0], [1, 0, 0], [0, 1, 0], [2, 0, 0], [2, 1, 0.0]]), [[0, 1, 2, 3], [2, 4, 5, 1]]
P, T = flat(acute(1)[0]), acute(1)[1]
FAULTY = {
    "isolated": (lambda: lonely(P, T), "triangle", r"cell 56 at \(5.333, 5.333\) shares no face"),
    "duplicate": (lambda: doubled(P, T, 1.0), "triangle", r"5 pairs of nodes coincide, the first at \(1,"),
    "folded": (lambda: moved(P, T, (0.9, 0.9)), "triangle", "one of them is inverted"),
    "repeated": (lambda: (P, np.vstack([T, [[0, 1, 1]]])), "triangle", "cell 56 has a node twice"),
    "flat": (
        lambda: (np.vstack([P, [[0.5, 0.0, 0.0]]]), np.vstack([T, [[0, 37, 1]]])),
        "triangle",
        "is flat|lie on the same side",
    ),
    "hanging": (lambda: (HANGING, QUADS), "quad", "node 6 at .* hangs on a wall face"),
    "covering": (lambda: doubled(P, T, 0.43, 0.21), "triangle", "cells .* overlap"),
    "twice": (lambda: (P, np.vstack([T, T[:1], T[:1]])), "triangle", "cells share the face"),
    "bow": (lambda: BOW, "quad", r"cell 0 at \(0.5, 0.5\) is folded"),
    "cubic": (lambda: (P, np.arange(10)[None]), "triangle10", "has elements triangle10; supported"),
    "surface": (lambda: (P + np.outer(P[:, 0] ** 2, [0, 0, 1]), T), "triangle", "surface in space"),
    "lines": (lambda: (P, T[:, :2]), "line", "has no cells"),
}


@pytest.mark.parametrize("name", FAULTY)
def test_meshes_that_fluxes_cannot_use_are_refused(name, tmp_path):
    make, kind, message = FAULTY[name]
    file = written(tmp_path, "m.msh", *make(), kind)
    with pytest.raises(CaseError, match=message):
        Gmsh(file=str(file)).build()


@pytest.mark.parametrize("end", [0.0, 0.3, 0.6, 0.98])
def test_truncated_files_are_refused(end, tmp_path):
    whole = written(tmp_path, "m.msh", P, T).read_bytes()
    (tmp_path / "cut.msh").write_bytes(whole[: int(end * len(whole))])
    with pytest.raises(CaseError, match=r"cut.msh: is (empty|not a readable mesh file)"):
        Gmsh(file=str(tmp_path / "cut.msh")).build()


@pytest.mark.parametrize(
    ("name", "kind"), [("m.msh", Gmsh), ("m.vtu", Meshio), ("m.xyz", Meshio), ("m.nc", fvflow.Ugrid)]
)
def test_garbage_and_missing_files_are_refused(name, kind, tmp_path):
    file = tmp_path / name
    with pytest.raises(CaseError, match="cannot be read"):
        kind(file=str(file)).build()
    file.write_bytes(np.random.default_rng(5).integers(0, 256, 3000, dtype=np.uint8).tobytes())
    with pytest.raises(CaseError, match=r"is not a readable mesh file|cannot be read"):
        kind(file=str(file)).build()


@pytest.mark.parametrize(
    ("geometry", "message"),
    [
        ("Point(1) = {0, 0;\n", r"geometry:1:1: the statement Point has no end \(a semicolon\)"),
        ("Point(1) = {0 0};\n", r"geometry.geo', line \d+: syntax error"),
        ("Line(1) = {1, 2};\n", "gmsh cannot mesh the geometry"),
        ("// nothing\n", "neither surfaces nor volumes"),
    ],
)
def test_geometries_that_gmsh_cannot_mesh_are_refused(geometry, message):
    with pytest.raises(CaseError, match=message):
        Gmsh(geometry=geometry).build()
    assert two().build().cells > 50, "nothing of it is left in the parser of gmsh"


def test_a_geometry_may_end_without_a_line_end(tmp_path):
    """gmsh ignores such a line; it is refused only where gmsh reads the file itself."""
    (tmp_path / "g.geo").write_text(TWO.rstrip())
    kind = Gmsh(file=str(tmp_path / "g.geo"))
    assert kind.build().cells == two().build().cells
    with admitting(Admission(trust=True)), pytest.raises(CaseError, match="last line has no line end"):
        kind.build()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "either a file"),
        ({"file": "a.msh", "geometry": "x"}, "either a file"),
        ({"file": "a.msh", "size": 2.0}, "not for a .msh"),
        ({"file": "a.msh", "control_volumes": "nodes", "centres": "centroids"}, "for control_volumes: cells"),
    ],
)
def test_options_that_do_not_go_together_are_refused(arguments, message):
    with pytest.raises(CaseError, match=message):
        Gmsh(**arguments)


def test_orientation_of_triangles_does_not_matter(tmp_path):
    some = np.where((np.arange(len(T)) % 3 == 0)[:, None], T[:, ::-1], T)
    meshes = [Gmsh(file=str(written(tmp_path, "m.msh", P, corners))).build() for corners in (T, some, T[:, ::-1])]
    for mesh in meshes:
        check_mesh(mesh, 1.0)
        np.testing.assert_allclose(mesh.volume, meshes[0].volume)


def test_each_part_of_a_disconnected_mesh_keeps_its_mass(tmp_path):
    file = written(tmp_path, "m.msh", *doubled(P, T, 3.0))
    case = Case.parse(
        f"mesh: {{kind: gmsh, file: {file}}}\nflow: {{kind: fokker-planck, epsilon: 0.1, potential: 2*x}}\n"
        "initial: {kind: expression, density: exp(-x)}\ntimes: {end: 1, step: 0.1}\n"
    )
    mesh, ds = case.mesh.build(), case.run()
    first, last = (np.bincount(mesh.components, mesh.volume * rho) for rho in (ds.rho[0], ds.rho[-1]))
    np.testing.assert_allclose(last, first, rtol=1e-14)
    assert "2 that are not connected; each conserves its own mass: 56 cells with" in case.check()["parts"]
    assert np.abs(ds.rho[-1] - ds.rho[0]).max() > 0.1
    assert "relative_entropy" not in ds, "the equilibrium of both parts together is none that rho falls to"


ORDERS = {
    "cells": "{kind: gmsh, file: cases/disc.geo, size: 2}",
    "nodes": "{kind: gmsh, file: cases/disc.geo, size: 1.4, control_volumes: nodes}",
    "voronoi": "{kind: voronoi, lower: [-5, -5], upper: [5, 5], cells: [24, 24], seed: 1, relaxations: 1}",
}


@pytest.mark.parametrize("name", ORDERS)
def test_scharfetter_gummel_is_second_order_on_triangles_boxes_and_voronoi_cells(name):
    case = Case.parse(
        f"""
        mesh: {ORDERS[name]}
        flow: {{kind: fokker-planck, epsilon: 0.5, potential: 0.5*(x**2 + y**2), stepper: {{kind: tr-bdf2}}}}
        initial: {{kind: gaussian, mean: [0.8, -0.4], covariance: [[0.4, 0.1], [0.1, 0.5]], sampling: centre}}
        times: {{end: 0.5, step: 0.1}}
        exact: {{kind: gaussian}}
        """
    )
    errors, sizes = [], []
    for level in range(3):
        fine = case.replace({"times.step": 0.1 / 2**level})
        fine = Case(case.mesh.refined(2**level), fine.flow, fine.initial, fine.times, exact=fine.exact)
        ds = fine.run()
        assert ds.attrs["minimum"] >= 0
        assert ds.attrs["mass_drift"] <= 1e-14
        errors.append(float(ds.error_l1[-1]))
        sizes.append(ds.sizes["mesh_face"] ** -0.5)
    assert_order(sizes, errors, 2.0, 0.2)


def test_delaunay_flips_edges_but_not_those_between_regions(tmp_path):
    random = np.random.default_rng(8)
    points = np.concatenate([acute(2)[0][:, :2], random.uniform(0.1, 0.9, (150, 2))])
    from scipy.spatial import Delaunay

    corners = Delaunay(points * [1.0, 3.0]).simplices  # Delaunay in another metric
    with pytest.raises(CaseError, match="use control_volumes: auto"):
        Gmsh(file=str(written(tmp_path, "m.msh", flat(points), corners)), control_volumes="cells").build()
    mesh = Gmsh(file=str(tmp_path / "m.msh"), delaunay=True, control_volumes="nodes").build()
    check_mesh(mesh, 1.0)
    left = (points[corners].mean(axis=1)[:, 0] < 0.5).astype(np.int32) + 1
    data = {"gmsh:physical": [left], "gmsh:geometrical": [left]}
    names = {"left": np.array([2, 2]), "right": np.array([1, 2])}
    whole = meshio.Mesh(flat(points), [("triangle", corners)], cell_data=data, field_data=names)
    meshio.write(tmp_path / "two.msh", whole, file_format="gmsh22", binary=False)
    area = float(np.abs(np.linalg.det(points[corners[left == 2]][:, 1:] - points[corners[left == 2]][:, :1])).sum() / 2)
    two_regions = Gmsh(file=str(tmp_path / "two.msh"), delaunay=True, centres="centroids").build()
    assert two_regions.volume @ two_regions.regions["left"] == pytest.approx(area, rel=1e-12)


BALL = """
SetFactory("OpenCASCADE");
Sphere(1) = {0, 0, 0, 1};
Physical Volume("ball") = {1};
Physical Surface("sphere") = Boundary{ Volume{1}; };
Mesh.MeshSizeMin = 0.35; Mesh.MeshSizeMax = 0.35; Mesh.Algorithm3D = 1; Mesh.Optimize = 0;
"""


@pytest.mark.parametrize("delaunay", [True, False])
def test_a_ball_of_boxes_about_nodes(delaunay):
    """Of Delaunay tetrahedra they are their dual; others are clipped."""
    mesh = Gmsh(geometry=BALL, delaunay=delaunay).build()
    cells = Gmsh(geometry=BALL, delaunay=delaunay, centres="centroids").build()
    assert isinstance(mesh, NodeCells) != delaunay
    check_mesh(mesh, cells.volume.sum())
    np.testing.assert_allclose(mesh.regions["ball"], 1.0)
    assert len(mesh.boundaries["sphere"]) == len(mesh.wall_points)
    assert "do not converge" in cells.remark


def test_delaunay_in_space_is_for_convex_domains():
    notched = 'SetFactory("OpenCASCADE");\nBox(1) = {0,0,0,1,1,1}; Box(2) = {0.5,0.5,0,1,1,1};\n'
    notched += "BooleanDifference{ Volume{1}; Delete; }{ Volume{2}; Delete; }\nMesh.MeshSizeMax = 0.4;\n"
    with pytest.raises(CaseError, match="is for convex domains"):
        Gmsh(geometry=notched, delaunay=True, control_volumes="nodes").build()


@pytest.mark.parametrize("control_volumes", ["cells", "nodes"])
def test_heat_in_a_disc_decays_as_its_bessel_mode_at_second_order(control_volumes):
    case = Case.parse(
        f"""
        mesh: {{kind: gmsh, file: cases/disc.geo, size: 2, control_volumes: {control_volumes}}}
        flow: {{kind: fokker-planck, epsilon: 1, stepper: {{kind: tr-bdf2}}}}
        initial: {{kind: exact}}
        times: {{end: 2, step: 0.2}}
        exact: {{kind: heat-ball, radius: 5, order: 2, amplitude: 1, sampling: centre}}
        """
    )
    errors, sizes = [], []
    for level in range(3):
        fine = case.replace({"mesh.size": 2.0 / 2**level, "times.step": 0.2 / 2**level})
        ds = fine.run()
        errors.append(float(ds.error_l1[-1]))
        sizes.append(ds.sizes["mesh_face"] ** -0.5)
    orders = np.diff(np.log(errors)) / np.diff(np.log(sizes))
    assert orders.min() >= 1.8, (orders, errors)  # the wall's own error, which falls faster, is still seen


def test_triangles_written_as_quadrilaterals_are_triangles(tmp_path):
    quads = np.hstack([T, T[:, 2:]])
    mesh = Gmsh(file=str(written(tmp_path, "m.msh", P, quads, "quad"))).build()
    check_mesh(mesh, 1.0)
    assert mesh.faces == Gmsh(file=str(written(tmp_path, "t.msh", P, T))).build().faces


def test_polygons_that_are_not_convex_have_their_area():
    dart = np.array([[0, 0], [1, -1], [0, 2], [-1, -1], [0, 1.2], [3, 0.0]])
    for turn in range(4):
        cells = np.array([np.roll([2, 3, 4, 1], turn), [1, 5, 2, -1]])
        mesh = mesh_from_cells(dart, cells, centroids=True)
        np.testing.assert_allclose(mesh.volume, [0.8, 3.5], rtol=1e-14)
    with pytest.raises(CaseError, match="not star-shaped"):
        mesh_from_cells(np.array([[0, 0], [2, 2], [2, 0], [0, 2], [3, 1.0]]), np.array([[0, 1, 2, 3], [1, 2, 4, -1]]))


def test_groups_whose_names_would_become_one_are_refused():
    named = TWO.replace('"right"', '"left-half"')
    with pytest.raises(CaseError, match="would both be named left_half"):
        Gmsh(geometry=named).build()
    assert set(Gmsh(geometry=TWO.replace('"right"', '"in"')).build().regions) == {"left_half", "in_"}


def test_refined_regions_stay_where_they_are(tmp_path):
    left = (P[T].mean(axis=1)[:, 0] < 0.5).astype(np.int32) + 1
    data, names = {"gmsh:physical": [left], "gmsh:geometrical": [left]}, {"left": np.array([2, 2])}
    whole = meshio.Mesh(P, [("triangle", T)], cell_data=data, field_data=names)
    meshio.write(tmp_path / "m.msh", whole, file_format="gmsh22", binary=False)
    coarse, fine = (Gmsh(file=str(tmp_path / "m.msh"), refinements=count).build() for count in (0, 2))
    moment = [mesh.integral(lambda at, part, mesh=mesh: at[:, 0], 2) @ mesh.regions["left"] for mesh in (coarse, fine)]
    assert moment[0] == pytest.approx(moment[1], rel=1e-13)


def test_an_open_gmsh_session_stays_open():
    import gmsh

    gmsh.initialize(["gmsh", "-v", "0"], interruptible=False)
    try:
        gmsh.model.add("mine")
        gmsh.model.occ.addBox(0, 0, 0, 1, 1, 1)
        gmsh.model.occ.synchronize()
        two().build()
        assert gmsh.model.getCurrent() == "mine"
        assert gmsh.model.getEntities(3) == [(3, 1)]
    finally:
        gmsh.finalize()


def test_delaunay_does_not_depend_on_where_the_mesh_is(tmp_path):
    far = BALL.replace("{0, 0, 0, 1}", "{1000000, 0, 0, 1}")
    assert Gmsh(geometry=far, delaunay=True, control_volumes="nodes").build().cells > 100


@pytest.mark.parametrize("corner", [0.02, 0.3])
def test_boxes_about_inward_corners(corner):
    """A square without a wedge: the box about its tip turns by up to 358 degrees."""
    wedge = f"""
    h = 0.2;
    Point(1) = {{0, 0, 0, h}}; Point(2) = {{1, {corner}, 0, h}}; Point(3) = {{1, 1, 0, h}};
    Point(4) = {{-1, 1, 0, h}}; Point(5) = {{-1, -1, 0, h}}; Point(6) = {{1, -1, 0, h}};
    Point(7) = {{1, {-corner}, 0, h}};
    For i In {{1:7}}
      Line(i) = {{i, i % 7 + 1}};
    EndFor
    Curve Loop(1) = {{1:7}}; Plane Surface(1) = {{1}};
    Mesh.Algorithm = 6;
    """
    mesh = Gmsh(geometry=wedge, control_volumes="nodes").build()
    check_mesh(mesh, 4.0 - corner)


def test_what_nearly_fits_is_told_from_what_fits():
    points = Box((0.0, 0.0), (2.0, 1.0), (2, 1)).build().points.copy()
    cells = Box((0.0, 0.0), (2.0, 1.0), (2, 1)).build().cell_points
    for off, refused in ((1e-5, False), (1e-2, True)):
        points[4] = [1 + off, 1]
        mesh = mesh_from_cells(points, cells)
        if refused:
            with pytest.raises(CaseError, match="not consistent"):
                Admissibility(mesh).require("")
        else:
            Admissibility(mesh).require("")


def ugrid(path, points, cells, fill, start, kind="i4", transposed=False, **attributes):
    """A mesh as others write it."""
    with netCDF4.Dataset(path, "w") as file:
        for name, size in {"node": len(points), "face": len(cells), "corner": cells.shape[1]}.items():
            file.createDimension(name, size)
        topology = file.createVariable("grid", "i4", ())
        told = {"cf_role": "mesh_topology", "topology_dimension": 2, "node_coordinates": "nx ny"}
        topology.setncatts({**told, "face_dimension": "face", "face_node_connectivity": "faces", **attributes})
        for name, values in zip(("nx", "ny"), points.T, strict=True):
            file.createVariable(name, "f8", ("node",))[:] = values
        dims = ("corner", "face") if transposed else ("face", "corner")
        faces = file.createVariable("faces", kind, dims, fill_value=fill)
        faces.start_index = start
        values = np.where(cells < 0, np.nan if fill is None else fill, cells + float(start))
        faces[:] = values.T if transposed else values


@pytest.mark.parametrize(
    ("fill", "start", "kind", "transposed"),
    [(-999, 1, "i4", False), (-1, 0, "i8", True), (np.nan, 1, "f8", False), (-(2**63), 0, "i8", False)],
)
def test_ugrid_files_of_others_are_read(fill, start, kind, transposed, tmp_path):
    mesh = SHAPES["mixed"]()
    ugrid(tmp_path / "m.nc", mesh.points, mesh.cell_points, fill, start, kind, transposed)
    read = fvflow.Ugrid(str(tmp_path / "m.nc")).build()
    np.testing.assert_array_equal(read.cell_points, mesh.cell_points)
    np.testing.assert_allclose(read.distance, mesh.distance)


@pytest.mark.parametrize("turn", range(4))
def test_a_cell_with_two_nodes_at_one_place_is_refused(turn):
    """Wherever they stand in its row, also where that is shorter than others."""
    points = np.array([[0, 0], [1, 0], [1, 1], [0, 0], [2, 0], [2, 1], [2.2, 0.5]])
    cells = np.array([[*np.roll([0, 1, 2, 3], turn), -1], [1, 4, 6, 5, 2]])
    with pytest.raises(CaseError, match=r"1 pairs of nodes coincide, the first at \(0, 0\)"):
        mesh_from_cells(points, cells)


def test_ugrid_files_without_a_topology_are_refused(tmp_path):
    mesh = SHAPES["mixed"]()
    for change in ({"node_coordinates": "a b"}, {"topology_dimension": 1}, {"face_node_connectivity": "none"}):
        ugrid(tmp_path / "m.nc", mesh.points, mesh.cell_points, -1, 0, **change)
        with pytest.raises(CaseError, match=r"topology"):
            fvflow.Ugrid(str(tmp_path / "m.nc")).build()
    fvflow.save_mesh(mesh, tmp_path / "ours.nc")
    with pytest.raises(CaseError, match="used as it is stored; remove"):
        fvflow.Ugrid(str(tmp_path / "ours.nc"), control_volumes="nodes").build()
    with pytest.raises(CaseError, match="centres: centroids is for control_volumes: cells"):
        fvflow.Ugrid(str(tmp_path / "m.nc"), control_volumes="nodes", centres="centroids")


def unset(name):
    return lambda file: file["grid"].delncattr(name)


def attribute(variable, name, value):
    return lambda file: file[variable].setncattr(name, value)


def coordinate_of_another_length(file):
    file.createDimension("few", 3)
    file.createVariable("short", "f8", ("few",))[:] = 0.0
    file["grid"].node_coordinates = "nx short"


def text_for_a_coordinate(file):
    file.createVariable("words", str, ("node",))[:] = np.array(["here"] * len(file.dimensions["node"]), object)
    file["grid"].node_coordinates = "nx words"


INCOMPLETE = {
    "no coordinates": (unset("node_coordinates"), "grid has no attribute node_coordinates"),
    "no connectivity": (unset("face_node_connectivity"), "grid has no attribute face_node_connectivity"),
    "connectivity is a number": (attribute("grid", "face_node_connectivity", 7), "is 7 and not a text|7.* not a text"),
    "connectivity is elsewhere": (attribute("grid", "face_node_connectivity", "none"), "there is no variable none"),
    "connectivity is a line": (
        attribute("grid", "face_node_connectivity", "nx"),
        "nx is no table of cells and their nodes",
    ),
    "coordinates are elsewhere": (attribute("grid", "node_coordinates", "nx b"), "there is no variable b"),
    "coordinates are empty": (attribute("grid", "node_coordinates", " "), "are missing or differ in length"),
    "one coordinate": (attribute("grid", "node_coordinates", "nx"), "dimension 2 have 1 coordinates"),
    "coordinates are a table": (attribute("grid", "node_coordinates", "nx faces"), "faces does not hold numbers in 1"),
    "coordinates differ": (coordinate_of_another_length, "are missing or differ in length"),
    "coordinates are texts": (text_for_a_coordinate, "words does not hold numbers"),
    "start is a text": (attribute("faces", "start_index", "one"), "start_index is 'one' and not a whole number"),
    "start is not finite": (attribute("faces", "start_index", np.nan), "start_index is .*nan.* and not a whole number"),
    "dimension is a text": (attribute("grid", "topology_dimension", "two"), "topology_dimension is 'two'"),
}


@pytest.mark.parametrize("name", INCOMPLETE)
def test_incomplete_topologies_are_refused(name, tmp_path):
    change, message = INCOMPLETE[name]
    mesh = SHAPES["mixed"]()
    ugrid(tmp_path / "m.nc", mesh.points, mesh.cell_points, -1, 0)
    fvflow.Ugrid(str(tmp_path / "m.nc")).build()
    with netCDF4.Dataset(tmp_path / "m.nc", "a") as file:
        change(file)
    with pytest.raises(CaseError, match=rf"m.nc: its UGRID topology is not complete \(.*({message}).*; write it again"):
        fvflow.Ugrid(str(tmp_path / "m.nc")).build()


@pytest.mark.parametrize("error", [TypeError, AttributeError, KeyError, IndexError, ValueError, RuntimeError, OSError])
def test_errors_of_our_own_code_are_not_taken_for_an_incomplete_file(error, tmp_path, monkeypatch):
    def broken(*arguments, **options):
        raise error("a bug of ours")

    mesh = SHAPES["mixed"]()
    ugrid(tmp_path / "m.nc", mesh.points, mesh.cell_points, -1, 0)
    monkeypatch.setattr("fvflow.mesh.ugrid_reader.mesh_from_cells", broken)
    with pytest.raises(error, match="a bug of ours"):
        fvflow.Ugrid(str(tmp_path / "m.nc")).build()


def shorter_region(file):
    file["regions"].createDimension("few", 3)
    file["regions"].createVariable("odd", "f8", ("few",))[:] = 1.0


def foreign_boundary(file):
    file["boundaries"].createDimension("one", 1)
    file["boundaries"].createDimension("two", 2)
    file["boundaries"].createVariable("odd", "i4", ("one", "two"))[:] = [[0, 10**6]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda file: file["mesh"].setncattr("face_coordinates", "mesh_face_x"), r"the centres are \(\d+, 1\)"),
        (
            lambda file: file["mesh"].setncattr("face_coordinates", "mesh_node_x mesh_node_y"),
            r"the centres are \(\d+, 2\)",
        ),
        (shorter_region, "region odd has 3 values"),
        (foreign_boundary, "boundary odd lists faces that the mesh does not have"),
    ],
)
def test_results_whose_parts_do_not_fit_are_refused(change, message, tmp_path):
    fvflow.save_mesh(two().build(), tmp_path / "m.nc")
    with netCDF4.Dataset(tmp_path / "m.nc", "a") as file:
        change(file)
    with pytest.raises(CaseError, match=message):
        fvflow.Ugrid(str(tmp_path / "m.nc")).build()


@pytest.mark.parametrize(
    ("bounds", "message"),
    [
        (None, "neither a variable mesh nor x_bnds"),
        ([[0, 1], [2, 1]], "do not increase"),
        ([[0], [1]], "do not increase"),
    ],
)
def test_grids_without_edges_are_refused(bounds, message, tmp_path):
    with netCDF4.Dataset(tmp_path / "m.nc", "w") as file:
        file.source = "fvflow"
        if bounds is not None:
            for name, size in zip(("x", "bounds"), np.shape(bounds), strict=True):
                file.createDimension(name, size)
            file.createVariable("x_bnds", "f8", ("x", "bounds"))[:] = bounds
    with pytest.raises(CaseError, match=message):
        fvflow.Ugrid(str(tmp_path / "m.nc")).build()


def test_fields_that_are_not_of_cells_are_refused(tmp_path):
    Case.parse(
        "mesh: {kind: box, lower: [0, 0], upper: [1, 1], cells: [3, 2]}\nflow: {kind: fokker-planck, epsilon: 0.1}\n"
        "initial: {kind: uniform}\ntimes: {end: 0.1, step: 0.1}\n"
    ).write(tmp_path / "r.nc")
    assert stored_field(str(tmp_path / "r.nc"), "rho", None)[1].shape == (6,)
    with netCDF4.Dataset(tmp_path / "r.nc", "a") as file:
        file.createVariable("odd", "f8", ("time", "x"))[:] = 1.0
    with pytest.raises(CaseError, match="odd has 3 values, the mesh 6 cells; give a cell field"):
        stored_field(str(tmp_path / "r.nc"), "odd", None)


@pytest.mark.parametrize(
    ("points", "cells", "message"),
    [
        (RIGHT[0][:, :2], [[0, 1, -1]], "cell 0 has the nodes .*polygons have at least 3"),
        (RIGHT[0][:, :2], [[0, 1, -1, 2]], "cell 0 has the nodes .* -1 stands only at the end"),
        (P[:7], [[0, 1, 2, 3, 4, 5, 6]], "cell 0 has the nodes .*solids have 4, 5, 6 or 8"),
        (RIGHT[0][:, :2], [[0, 1, 4]], "a cell has node 4, there are 4"),
        (RIGHT[0][:, :2], [[0, 1, -2]], "a cell has node -2, there are 4"),
        (RIGHT[0][:, :2], np.empty((0, 3), int), "has no cells"),
    ],
)
def test_malformed_cells_are_refused(points, cells, message):
    with pytest.raises(CaseError, match=message):
        mesh_from_cells(points, np.array(cells))


@pytest.mark.parametrize(
    ("width", "refused"), [(0.6, True), (0.3, True), (0.05, True), (1e-3, True), (2e-6, False), (-0.1, False)]
)
def test_components_must_not_overlap(width, refused):
    """Two squares whose corners overlap by a square of the given width: width^2 of the smaller cell."""
    strip = Box((0.0, 0.0), (2.0, 1.0), (2, 1)).build()
    shift = np.array([2.0, 1.0]) - width
    points = np.concatenate([strip.points, strip.points + shift])
    mesh = mesh_from_cells(points, np.concatenate([strip.cell_points, strip.cell_points + len(strip.points)]))
    if refused:
        with pytest.raises(CaseError, match=r"cells 1 and 2 at .* overlap \(1 pairs\); cut one part out"):
            require_conforming(mesh)
    else:
        require_conforming(mesh)


def test_regions_and_boundaries_are_stored(tmp_path):
    for kind in (two(), two(control_volumes="nodes"), Gmsh(geometry=BALL, control_volumes="nodes", delaunay=True)):
        mesh = kind.build()
        fvflow.save_mesh(mesh, tmp_path / "m.nc")
        again = fvflow.Ugrid(str(tmp_path / "m.nc")).build()
        for name, inside in mesh.regions.items():
            np.testing.assert_array_equal(again.regions[name], inside)
        for name, rows in mesh.boundaries.items():
            np.testing.assert_array_equal(again.boundaries[name], rows)


def test_regions_in_a_kernel_are_refused():
    with pytest.raises(CaseError, match=r"inside\(...\) has no meaning here"):
        Case.parse(
            "mesh: {kind: box, lower: [0], upper: [1], cells: [4]}\n"
            "flow: {kind: gradient-flow, energy: [{kind: entropy, epsilon: 1}, "
            "{kind: interaction, kernel: inside(a)*r}]}\ninitial: {kind: uniform}\ntimes: {end: 1, step: 1}\n"
        )


def test_a_mesh_is_no_result_to_draw_or_to_overwrite(tmp_path):
    fvflow.save_mesh(two().build(), tmp_path / "m.nc")
    with pytest.raises(CaseError, match="holds a mesh and no run"):
        fvflow.plot.figure(fvflow.read(tmp_path / "m.nc"))
    text = f"mesh: {{kind: ugrid, file: {tmp_path}/m.nc}}\nflow: {{kind: fokker-planck, epsilon: 0.1}}\n"
    (tmp_path / "c.yaml").write_text(text + "initial: {kind: uniform}\ntimes: {end: 0.1, step: 0.1}\n")
    with pytest.raises(SystemExit) as stopped:
        main(["run", str(tmp_path / "c.yaml"), "-o", str(tmp_path / "m.nc")])
    assert stopped.value.code == 5


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            "ImportError('no such module')",
            r"needs {} \(no such module\); install it with pip install -e '\.\[mesh\]' in .* pip install {}$",
        ),
        (
            "OSError('libGLU.so.1: cannot open')",
            r"needs {}, which does not load \(libGLU.*; install that system library$",
        ),
    ],
)
@pytest.mark.parametrize("name", ["gmsh", "meshio"])
def test_a_library_that_is_missing_is_told_with_a_remedy_that_works(name, error, message, tmp_path, monkeypatch):
    """fvflow is on no index, so that `pip install 'fvflow[mesh]'` finds nothing."""
    (tmp_path / f"{name}.py").write_text(f"raise {error}")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, name, raising=False)
    with pytest.raises(CaseError, match=message.format(name, name)):
        two().build()


@pytest.mark.parametrize("unit", [1e-6, 1e6])
def test_what_is_folded_or_flat_does_not_depend_on_the_unit_of_length(unit):
    dart = unit * np.array([[0, 0], [1, -1], [0, 2], [-1, -1], [0, 1.2], [3, 0.0]])
    for turn in range(4):
        mesh = mesh_from_cells(dart, np.array([np.roll([2, 3, 4, 1], turn), [1, 5, 2, -1]]), centroids=True)
        np.testing.assert_allclose(mesh.volume / unit**2, [0.8, 3.5], rtol=1e-14)
    crossed = unit * np.array([[0, 0], [2, 2], [2, 0], [0, 2], [3, 1.0]])
    with pytest.raises(CaseError, match="not star-shaped"):
        mesh_from_cells(crossed, np.array([[0, 1, 2, 3], [1, 2, 4, -1]]))
    with pytest.raises(CaseError, match="is flat"):
        mesh_from_cells(unit * np.array([[0, 0], [1, 0], [2, 0], [0, 1.0]]), np.array([[0, 1, 2], [0, 2, 3]]))


def test_delaunay_is_refused_for_cells_that_are_no_simplices(tmp_path):
    square = np.array([[0, 0], [1, 0], [1, 1], [0, 1.0], [2, 0], [2, 1]])
    file = written(tmp_path, "m.msh", flat(square), np.array([[0, 1, 2, 3], [1, 4, 5, 2]]), "quad")
    assert Gmsh(file=str(file)).build().cells == 2
    with pytest.raises(CaseError, match="triangles or tetrahedra only"):
        Gmsh(file=str(file), delaunay=True).build()


def test_elements_of_second_order_are_taken_by_their_corners(tmp_path):
    """Also the sides of named boundaries, and with nodes in the middles that are not in the plane of the corners."""
    corners = T[:, [0, 1, 2]]
    middles = np.stack([P[corners[:, [k, (k + 1) % 3]]].mean(axis=1) for k in range(3)], axis=1)
    curved = np.hstack([corners, len(P) + np.arange(3 * len(T)).reshape(-1, 3)])
    points = np.concatenate([P, middles.reshape(-1, 3) + np.array([0, 0, 0.1])])
    side = np.array([[0, 1, len(P)]])
    cells = [("triangle6", curved), ("line3", side)]
    names = {"wall": np.array([7, 1]), "all": np.array([1, 2])}
    tags = {name: [np.ones(len(T), int), np.full(1, 7)] for name in ("gmsh:physical", "gmsh:geometrical")}
    made = meshio.Mesh(points, cells, cell_data=tags, field_data=names)
    meshio.write(tmp_path / "m.msh", made, file_format="gmsh22", binary=False)
    mesh = Gmsh(file=str(tmp_path / "m.msh")).build()
    straight = Gmsh(file=str(written(tmp_path, "s.msh", P, T))).build()
    np.testing.assert_array_equal(mesh.volume, straight.volume)
    assert set(mesh.regions) == {"all"}
    assert len(mesh.boundaries["wall"]) == 1
    assert mesh.remark == "the elements are of second order and taken as straight, by their corners"


def test_nodes_that_no_cell_has_do_not_matter(tmp_path):
    mesh = Gmsh(file=str(written(tmp_path, "m.msh", np.vstack([P, [[0.3, 0.3, 3.0]]]), T))).build()
    assert len(mesh.points) == len(P)


def test_other_planes_and_periodic_walls_are_named(tmp_path):
    with pytest.raises(CaseError, match=r"lies in the plane y = 0, where .*; write x and z as x and y"):
        Gmsh(file=str(written(tmp_path, "m.msh", P[:, [0, 2, 1]], T))).build()
    text = written(tmp_path, "p.msh", P, T).read_text()
    (tmp_path / "p.msh").write_text(text + "$Periodic\n1\n1 1 2\n0\n1\n1 2\n$EndPeriodic\n")
    with pytest.raises(CaseError, match=r"has periodic walls \(\$Periodic\)"):
        Gmsh(file=str(tmp_path / "p.msh")).build()


@pytest.mark.parametrize("unit", [1e-9, 5e8])
def test_units_of_length_do_not_matter(unit, tmp_path):
    """All steps that compare lengths: cells as they are, moved centres, and boxes that are clipped."""
    for name, points in {"cells": P, "nodes": P * [1.0, 3.0, 1.0] + P[:, [1, 0, 2]] * [0.7, 0, 0]}.items():
        one, scaled = (Gmsh(file=str(written(tmp_path, "m.msh", factor * points, T))).build() for factor in (1.0, unit))
        assert isinstance(one, NodeCells) == (name == "nodes")
        np.testing.assert_array_equal(scaled.owner, one.owner)
        np.testing.assert_allclose(scaled.volume, unit**2 * one.volume, rtol=1e-9)
        np.testing.assert_allclose(scaled.transmissibility, one.transmissibility, rtol=1e-7, atol=1e-9)
