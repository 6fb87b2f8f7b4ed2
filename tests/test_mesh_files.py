"""Meshes from gmsh and meshio: groups, control volumes, and files that are none."""

import numpy as np
import pytest

import fvflow
from fvflow.case import Case
from fvflow.errors import CaseError
from fvflow.mesh import Gmsh, Meshio
from tests.contracts import assert_order, check_mesh
from tests.meshes import acute

meshio = pytest.importorskip("meshio")
pytest.importorskip("gmsh")

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
    assert "left_half 0.5, right 0.5" in case.prepare().report()["regions"]


def test_regions_of_a_velocity_count_by_half_on_their_interface():
    case = Case.parse(
        "mesh: {kind: box, lower: [0, 0], upper: [1, 1], cells: [2, 2]}\n"
        "flow: {kind: fokker-planck, epsilon: 0.1, velocity: [inside(right), 0]}\n"
        "initial: {kind: uniform}\ntimes: {end: 0.1, step: 0.1}\n"
    ).replace({"mesh": {"kind": "gmsh", "geometry": TWO}})
    prepared = case.prepare()
    mesh = prepared.mesh
    speed = prepared.problem.drift.drop(mesh, 0.0) / mesh.distance / np.where(mesh.normal[:, 0], mesh.normal[:, 0], 1.0)
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


def doubled(points, corners, shift):
    return np.vstack([points, points + np.array([shift, 0, 0])]), np.vstack([corners, corners + len(points)])


def lonely(points, corners):
    return np.vstack([points, [[5, 5, 0], [6, 5, 0], [5, 6, 0]]]), np.vstack([corners, len(points) + np.arange(3)])


RIGHT = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0.0]]), np.array([[0, 1, 2], [0, 2, 3]])
BOW = np.array([[0, 0, 0], [1, 1, 0], [1, 0, 0], [0, 1, 0], [2, 0, 0], [2, 1, 0.0]]), [[0, 1, 2, 3], [2, 4, 5, 1]]
P, T = flat(acute(1)[0]), acute(1)[1]
FAULTY = {
    "isolated": (lambda: lonely(P, T), "triangle", r"cell 56 at \(5.333, 5.333\) shares no face"),
    "duplicate": (lambda: doubled(P, T, 1.0), "triangle", r"5 pairs of nodes coincide, the first at \(1,"),
    "folded": (lambda: moved(P, T, (0.9, 0.9)), "triangle", "one of them is inverted"),
    "flat": (lambda: (P, np.vstack([T, [[0, 1, 1]]])), "triangle", "is flat"),
    "twice": (lambda: (P, np.vstack([T, T[:1], T[:1]])), "triangle", "cells share the face"),
    "bow": (lambda: BOW, "quad", r"cell 0 at \(0.5, 0.5\) is folded"),
    "right": (lambda: RIGHT, "triangle", "control_volumes: nodes"),
    "quadratic": (lambda: (P, np.hstack([T[:1], T[1:2]])), "triangle6", "has elements triangle6; known"),
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
    with pytest.raises(CaseError, match=r"cut.msh: is (empty|no mesh that can be read)"):
        Gmsh(file=str(tmp_path / "cut.msh")).build()


@pytest.mark.parametrize(
    ("name", "kind"), [("m.msh", Gmsh), ("m.vtu", Meshio), ("m.xyz", Meshio), ("m.nc", fvflow.Ugrid)]
)
def test_garbage_and_missing_files_are_refused(name, kind, tmp_path):
    file = tmp_path / name
    with pytest.raises(CaseError, match="cannot be read"):
        kind(file=str(file)).build()
    file.write_bytes(np.random.default_rng(5).integers(0, 256, 3000, dtype=np.uint8).tobytes())
    with pytest.raises(CaseError, match=r"is no mesh that can be read|cannot be read"):
        kind(file=str(file)).build()


@pytest.mark.parametrize(
    ("geometry", "message"),
    [("Point(1) = {0, 0;\n", "syntax error"), ("// nothing\n", "neither surfaces nor volumes")],
)
def test_geometries_that_gmsh_cannot_mesh_are_refused(geometry, message, tmp_path):
    with pytest.raises(CaseError, match=message):
        Gmsh(geometry=geometry).build()
    (tmp_path / "g.geo").write_text(TWO.rstrip())
    with pytest.raises(CaseError, match="last line does not end"):
        Gmsh(file=str(tmp_path / "g.geo")).build()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "either a file"),
        ({"file": "a.msh", "geometry": "x"}, "either a file"),
        ({"file": "a.msh", "size": 2.0}, "not for a .msh"),
        ({"file": "a.msh", "control_volumes": "nodes", "centres": "centroids"}, "for control_volumes cells"),
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
    assert "2 that are not connected, each keeps its mass: 56 cells with" in case.prepare().report()["parts"]
    assert np.abs(ds.rho[-1] - ds.rho[0]).max() > 0.1


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
    with pytest.raises(CaseError, match="delaunay: true"):
        Gmsh(file=str(written(tmp_path, "m.msh", flat(points), corners))).build()
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


def test_a_ball_of_boxes_about_nodes_needs_delaunay_tetrahedra():
    with pytest.raises(CaseError, match="use delaunay: true"):
        Gmsh(geometry=BALL, control_volumes="nodes").build()
    mesh = Gmsh(geometry=BALL, control_volumes="nodes", delaunay=True).build()
    cells = Gmsh(geometry=BALL, delaunay=True, centres="centroids").build()
    check_mesh(mesh, cells.volume.sum())
    np.testing.assert_allclose(mesh.regions["ball"], 1.0)
    assert len(mesh.boundaries["sphere"]) == len(mesh.wall_points)


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
