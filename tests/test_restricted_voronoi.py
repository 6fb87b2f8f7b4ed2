"""Voronoi cells of nodes restricted to a mesh, power centres, and the choice between them and cells as they are."""

import numpy as np
import pytest

import fvflow
from fvflow import plot
from fvflow.case import Case
from fvflow.errors import CaseError
from fvflow.mesh import Admissibility, Box, Gmsh, Ugrid, cells_of, overlaps, topology, transferred
from fvflow.mesh.control_volumes import control_volume_mesh, node_mesh
from fvflow.mesh.node_cells import NodeCells
from fvflow.mesh.polytopes import mesh_from_cells
from fvflow.mesh.restricted_voronoi import restricted_voronoi
from tests import mesh_table
from tests.contracts import check_mesh
from tests.meshes import SHAPES, acute


def shaken(dimension, size=0.3, count=5):
    """Squares or cubes whose inner nodes are shaken: quadrilaterals that are skewed, solids with warped faces."""
    box = Box((0.0,) * dimension, (1.0,) * dimension, (count,) * dimension).build()
    inside = ((box.points > 1e-9) & (box.points < 1 - 1e-9)).all(axis=1)
    shift = np.random.default_rng(5).uniform(-size, size, box.points.shape) / count
    return mesh_from_cells(box.points + np.where(inside[:, None], shift, 0.0), box.cell_points, centroids=True)


def cut(mesh, parts):
    """The mesh with each of its cells in parts."""
    cells = np.concatenate([mesh.cell_points[:, part] for part in parts])
    return mesh_from_cells(mesh.points, cells, centroids=True)


def rhombi():
    """Rhombi cut along their long diagonals: the bisector of the other two corners lies on the side that they share."""
    box = Box((0.0, 0.0), (4.0, 3.0), (4, 3)).build()
    x, y = box.points.T
    return cut(mesh_from_cells(np.stack([x + 0.6 * y, 0.8 * y], axis=1), box.cell_points), [[0, 1, 2], [0, 2, 3]])


def hung():
    """A square with nodes on its sides, beside squares of half its size."""
    points = np.array([[0, 0], [2, 0], [2, 1], [2, 2], [0, 2], [3, 0], [3, 1], [3, 2], [1, 2], [1, 0.0]])
    rows = [[0, 9, 1, 2, 3, 8, 4], [1, 5, 6, 2], [2, 6, 7, 3]]
    return mesh_from_cells(points, np.array([row + [-1] * (7 - len(row)) for row in rows]), centroids=True)


MESHES = {
    **{name: make for name, make in SHAPES.items() if not make().point_data},
    "shaken quadrilaterals": lambda: shaken(2),
    "shaken triangles": lambda: cut(shaken(2), [[0, 1, 2], [0, 2, 3]]),
    "shaken hexahedra": lambda: shaken(3, 0.25),
    "shaken prisms": lambda: cut(shaken(3, 0.1), [[0, 1, 2, 4, 5, 6], [0, 2, 3, 4, 6, 7]]),
    "shaken tetrahedra": lambda: cut(
        shaken(3, 0.15), [[0, a, b, 6] for a, b in ((1, 2), (2, 3), (3, 7), (7, 4), (4, 5), (5, 1))]
    ),
    "rhombi": rhombi,
    "hung": hung,
}


def warped(mesh):
    """Whether faces are not plane, so that the middle of a cell is no measure of its parts."""
    return mesh.dimension == 3 and mesh.cell_points.shape[1] > 5 and np.ptp(mesh.volume) > 1e-3 * mesh.volume.max()


@pytest.fixture(params=MESHES, scope="module")
def pair(request):
    mesh = MESHES[request.param]()
    return mesh, restricted_voronoi(mesh)


def test_cells_are_closed_and_their_faces_are_bisectors(pair):
    """The faces of a cell, and its parts of walls, add up to no area vector: none is missing, none counts twice."""
    mesh, cells = pair
    check_mesh(cells, mesh.volume.sum())
    assert (cells.distance > 0).all()
    assert cells.cells == len(mesh.points)
    np.testing.assert_array_equal(cells.centre, mesh.points)
    wall, cell, area = cells.wall_contacts(np.arange(len(cells.wall_points)))
    np.testing.assert_allclose(np.bincount(wall, area), cells.wall_area, rtol=1e-9)
    outward = cells.walls[1]
    closed = np.zeros((cells.cells, mesh.dimension))
    for axis in range(mesh.dimension):
        flow = cells.area * cells.normal[:, axis]
        closed[:, axis] += np.bincount(cells.owner, flow, cells.cells) - np.bincount(cells.neighbour, flow, cells.cells)
        closed[:, axis] += np.bincount(cell, area * outward[wall, axis], cells.cells)
    assert np.abs(closed).max() <= 1e-12 * cells.area.max()


def test_a_point_belongs_to_the_nearest_node_that_it_is_connected_with(pair):
    mesh, cells = pair
    random = np.random.default_rng(1)
    corner = mesh.points[random.integers(0, len(mesh.points), 500)]
    points = mesh.points.mean(axis=0) + random.uniform(0, 1, (500, 1)) * (corner - mesh.points.mean(axis=0))
    found, inside = cells_of(cells, points), cells_of(mesh, points) >= 0
    np.testing.assert_array_equal(found >= 0, inside)
    if not np.array_equal(mesh.points, MESHES["quadrilaterals"]().points):  # the only domain with a wall in between
        distance = np.linalg.norm(points[inside, None] - cells.centre, axis=2)
        nearest = distance[np.arange(inside.sum()), found[inside]]
        np.testing.assert_allclose(nearest, distance.min(axis=1), atol=1e-9)


def test_overlaps_with_the_elements_fill_both(pair):
    mesh, cells = pair
    for source, target in ((mesh, cells), (cells, mesh)):
        here, there, volume = overlaps(source, target)
        for side, at in ((source, here), (target, there)):
            if side is cells or not warped(mesh):
                np.testing.assert_allclose(np.bincount(at, volume), side.volume, rtol=1e-9)
    density = np.random.default_rng(2).uniform(0, 1, cells.cells)
    moved = transferred(cells, mesh, density)
    assert mesh.volume @ moved == pytest.approx(cells.volume @ density, rel=1e-13)


def test_pieces_have_positive_weights(pair):
    for _, weight, _ in pair[1].quadrature(3):
        assert (weight >= 0).all()


def test_on_delaunay_triangles_they_are_the_dual():
    mesh = mesh_from_cells(*acute(2))
    dual, cells = node_mesh(mesh), restricted_voronoi(mesh)
    assert not isinstance(dual, NodeCells)
    for name in ("volume", "owner", "neighbour", "area", "distance", "normal"):
        np.testing.assert_allclose(getattr(cells, name), getattr(dual, name), rtol=1e-12, atol=1e-15, err_msg=name)


def test_regions_are_shares_of_the_pieces():
    mesh = shaken(2)
    left = (np.arange(mesh.cells) % 5 < 2).astype(float)
    cells = restricted_voronoi(mesh_from_cells(mesh.points, mesh.cell_points, centroids=True, regions={"left": left}))
    share = cells.regions["left"]
    assert cells.volume @ share == pytest.approx(mesh.volume @ left, rel=1e-14)
    assert ((share > 0.1) & (share < 0.9)).any()
    assert share.min() >= 0.0
    assert share.max() <= 1.0


def cracked(count=6):
    """[-1, 1]^2 in squares with a crack from (-1, 0) to (0, 0), where all nodes but the last are there twice."""
    box = Box((-1.0, -1.0), (1.0, 1.0), (2 * count, 2 * count)).build()
    points, cells = box.points, box.cell_points.copy()
    on = np.flatnonzero((np.abs(points[:, 1]) < 1e-9) & (points[:, 0] < -1e-9))
    above = points[cells].mean(axis=1)[:, 1] > 0
    twin = np.arange(len(points))
    twin[on] = len(points) + np.arange(len(on))
    cells[above] = twin[cells[above]]
    return np.concatenate([points, points[on]]), cells, len(on)


@pytest.mark.parametrize("triangles", [True, False])
def test_nothing_passes_through_a_crack(triangles):
    points, cells, twins = cracked()
    random = np.random.default_rng(1)
    free = (np.abs(points) < 1 - 1e-9).all(axis=1) & (np.abs(points[:, 1]) > 1e-9)
    points = points + np.where(free[:, None], random.uniform(-0.05, 0.05, points.shape), 0.0)
    if triangles:
        cells = np.concatenate([cells[:, [0, 1, 2]], cells[:, [0, 2, 3]]])
    mesh = control_volume_mesh(mesh_from_cells(points, cells), "auto")
    assert isinstance(mesh, NodeCells)
    assert mesh.cells == len(points)
    assert mesh.volume.sum() == pytest.approx(4.0, rel=1e-14)
    assert mesh.components.max() == 0
    assert f"walls run between {twins} pairs of nodes that are at one place" in mesh.remark
    through = (points[mesh.owner] + points[mesh.neighbour]) / 2
    across = (np.sign(points[mesh.owner, 1]) * np.sign(points[mesh.neighbour, 1]) < 0) & (through[:, 0] < -0.2)
    assert not across.any()
    lower, upper = np.flatnonzero((np.abs(points[:, 1]) < 1e-9) & (points[:, 0] < -1e-9)).reshape(2, twins)
    np.testing.assert_array_equal(mesh.centre[lower], mesh.centre[upper])
    assert not np.isin(mesh.owner * mesh.cells + mesh.neighbour, lower * mesh.cells + upper).any()


def test_a_node_where_walls_touch_has_a_cell_on_each_side():
    """Squares on the two diagonals of a ring of squares, of which only opposite ones meet in the middle."""
    box = Box((0.0, 0.0), (4.0, 4.0), (4, 4)).build()
    kept = np.delete(np.arange(16), [6, 9])  # the middle node keeps the squares 5 and 10
    mesh = mesh_from_cells(box.points, box.cell_points[kept])
    cells = node_mesh(mesh)
    assert cells.cells == len(mesh.points) + 1
    middle = np.flatnonzero((cells.centre == 2.0).all(axis=1))
    np.testing.assert_allclose(cells.volume[middle], 0.25)
    assert (cells.plot_cells >= 0).all()
    assert len(np.unique(cells.plot_cells)) == cells.cells


def test_no_cell_reaches_behind_a_wall():
    """Two wide cells beside a thin slot: half of each is nearer to nodes on the other side of the slot."""
    points = [[0, 0], [2, 0], [4, 0], [0, -1], [2, -1], [4, -1]]  # below, coarse
    points += [[x, y] for y in (0.02, 1.0) for x in np.linspace(0, 4, 41)]  # above the slot, fine
    fine = [[6 + i, 7 + i, 48 + i, 47 + i] for i in range(40)]
    points += [[4.5, 0], [4.5, -1], [4.5, 0.02], [4.5, 1.0]]
    end = len(points) - 4
    cells = [[3, 4, 1, 0], [4, 5, 2, 1], [5, end + 1, end, 2], [46, end + 2, end + 3, 87], *fine]
    cells.append([2, end, end + 2, 46])  # joins them at the end of the slot
    made = mesh_from_cells(np.array(points), np.array(cells), centroids=True)
    mesh = restricted_voronoi(made)
    assert mesh.cells == len(made.points)
    assert mesh.volume.sum() == pytest.approx(made.volume.sum(), rel=1e-14)
    ends = mesh.centre[mesh.owner], mesh.centre[mesh.neighbour]
    across = (ends[0][:, 1] <= 0) != (ends[1][:, 1] <= 0)
    assert (np.minimum(ends[0][:, 0], ends[1][:, 0])[across] > 3.5).all()
    assert mesh.components.max() == 0
    sizes = mesh.volume[:2]
    np.testing.assert_allclose(sizes, [0.5, 1.0], rtol=1e-12)  # as if nothing were above


def run(made, folder, **changes):
    fvflow.save_mesh(made, folder / "mesh.nc")
    case = Case.parse(f"""
        mesh: {{kind: ugrid, file: {folder / "mesh.nc"}}}
        flow: {{kind: fokker-planck, epsilon: 0.3, potential: "2*(x - 0.3)**2 + y"}}
        initial: {{kind: expression, density: "1 + x**2"}}
        times: {{end: 0.3, step: 0.1}}
    """)
    return case.replace({name.replace("__", "."): value for name, value in changes.items()})


@pytest.mark.parametrize("name", ["shaken quadrilaterals", "shaken hexahedra", "hung", "shaken prisms"])
def test_a_result_on_them_is_stored_drawn_and_restored(name, tmp_path):
    mesh = restricted_voronoi(MESHES[name]())
    case = run(mesh, tmp_path)
    case.write(tmp_path / "r.nc")
    with fvflow.read(tmp_path / "r.nc") as ds:
        assert ds.rho.dims == ("time", "mesh_node")
        assert plot.figure(ds) is not None
        last = ds.rho[-1].values
    again = Ugrid(str(tmp_path / "r.nc")).build()
    for field in ("centre", "volume", "owner", "neighbour", "area", "distance", "normal", "points", "plot_cells"):
        np.testing.assert_array_equal(getattr(again, field), getattr(mesh, field), err_msg=field)
    assert topology(mesh)[1].max() == mesh.cells - 1
    start = {"kind": "file", "file": str(tmp_path / "r.nc")}
    np.testing.assert_array_equal(run(mesh, tmp_path, initial=start).run().rho[0], last)
    low, high = mesh.points.min(axis=0).tolist(), mesh.points.max(axis=0).tolist()
    box = {"kind": "box", "lower": low, "upper": high, "cells": [7] * len(low)}
    moved = run(mesh, tmp_path, initial=start, mesh=box).run()
    assert moved.mass[0] == pytest.approx(1.0, abs=1e-14)


@pytest.mark.parametrize("stepper", ["implicit-euler", "tr-bdf2", "muscl"])
def test_mass_sign_and_equilibrium(stepper, tmp_path):
    mesh = restricted_voronoi(shaken(2))
    long = {"end": 40, "step": 4} if stepper != "muscl" else {"end": 0.1, "step": 0.0005}
    flow = {"flow__stepper": {"kind": stepper}}
    rest = run(mesh, tmp_path, initial={"kind": "gibbs"}, times=long, **flow).run()
    assert float(np.abs(rest.rho[-1] - rest.rho[0]).max()) <= 1e-13 * float(rest.rho[0].max()) or stepper == "muscl"
    spike = run(mesh, tmp_path, initial={"kind": "spike", "at": mesh.centre[14].tolist(), "cell": True}, **flow).run()
    np.testing.assert_allclose(spike.mass, 1.0, rtol=1e-14)
    assert spike.attrs["minimum"] >= 0 or stepper == "tr-bdf2"


def test_a_stream_function_has_no_divergence_on_them():
    mesh = restricted_voronoi(shaken(2))
    flux = mesh.difference_along_faces(lambda at: np.sin(np.pi * at).prod(axis=1))  # 0 on the walls
    net = np.bincount(mesh.owner, flux, mesh.cells) - np.bincount(mesh.neighbour, flux, mesh.cells)
    assert np.abs(net).max() <= 1e-13
    middle = mesh.face_integral(
        lambda at, face: (
            np.pi
            * (
                np.sin(np.pi * at[:, 0]) * np.cos(np.pi * at[:, 1]) * mesh.normal[face, 0]
                - np.cos(np.pi * at[:, 0]) * np.sin(np.pi * at[:, 1]) * mesh.normal[face, 1]
            )
        ),
        4,
    )
    np.testing.assert_allclose(flux, middle, atol=1e-9)


def test_cells_that_pass_stay_as_they_are():
    mesh = mesh_from_cells(*acute(2))
    assert control_volume_mesh(mesh, "auto") is mesh
    assert mesh.remark == ""


def one_bad_face():
    """The acute triangles, two of which are flattened until their circumcentres change places."""
    points, cells = acute(3)
    points = points.copy()
    node = int(np.argmin(((points - 0.55) ** 2).sum(axis=1)))
    points[node] += [0.028, -0.009]
    return mesh_from_cells(points, cells)


def test_centres_move_where_a_few_are_in_the_wrong_order():
    mesh = one_bad_face()
    bad = int((mesh.distance <= 1e-3 * mesh.volume.mean() ** 0.5).sum())
    assert 0 < bad < 0.02 * mesh.faces
    moved = control_volume_mesh(mesh, "auto")
    assert moved.remark == f"cells with centres moved at {bad} of {mesh.faces} faces"
    assert Admissibility(moved).angle.max() < 1e-9
    height = mesh.volume.min() ** 0.5
    assert moved.distance.min() > 0.01 * height
    for name in ("volume", "area", "normal", "cell_points", "owner"):
        np.testing.assert_array_equal(getattr(moved, name), getattr(mesh, name))
    same = (moved.centre == mesh.centre).all(axis=1)
    assert 0.9 < same.mean() < 1.0
    np.testing.assert_array_equal(control_volume_mesh(mesh, "cells").centre, moved.centre)


def test_cells_that_cannot_pass_are_refused_if_they_are_asked_for():
    with pytest.raises(CaseError, match="two-point fluxes are not consistent; use control_volumes: auto"):
        control_volume_mesh(shaken(2), "cells")
    chosen = control_volume_mesh(shaken(2), "auto")
    assert chosen.remark == "the cells are boxes about the nodes, clipped to the mesh"
    assert "clipped to the mesh" in Gmsh(file="m.msh").describe(chosen)


@pytest.mark.parametrize("name", ["disc, algorithm 9", "Kershaw", "disc, quads", "crack"])
def test_the_table_of_meshes(name, tmp_path):
    """Mass, sign, equilibrium to round-off, and second order; `python -m tests.mesh_table` has all meshes."""
    row = mesh_table.measured(mesh_table.SUBJECTS[name], tmp_path, 2)
    assert row.volume <= 1e-13
    assert row.mass <= 1e-14
    assert row.gibbs <= 1e-13
    assert row.minimum >= 0
    assert row.orders[-1] >= 1.75


def test_a_coefficient_that_jumps_between_regions_counts_by_the_parts_of_a_face():
    """Squares: a face that an interface x = 1/2 halves has the mean of the coefficients, all others have theirs."""
    box = Box((0.0, 0.0), (1.0, 1.0), (4, 4)).build()
    left = (box.centre[:, 0] < 0.5).astype(float)
    mesh = restricted_voronoi(mesh_from_cells(box.points, box.cell_points, regions={"left": left}))
    flow = {"kind": "fokker-planck", "diffusion": {"value": "10 - 9*inside(left)", "convention": "isothermal"}}
    case = Case.parse(
        "mesh: {kind: box, lower: [0, 0], upper: [1, 1], cells: [4, 4]}\nflow: {kind: fokker-planck, epsilon: 1}\n"
        "initial: {kind: uniform}\ntimes: {end: 1, step: 1}\n"
    ).replace({"flow": flow})
    problem = case.flow.problem(mesh, {}, 0.0)
    _, eps = problem.diffusivity.on_links(problem.drift, 0.0)
    x = mesh.face_centre[:, 0]
    np.testing.assert_allclose(eps, np.where(x < 0.45, 1.0, np.where(x > 0.55, 10.0, 5.5)), rtol=1e-12)


def test_transport_and_spectra_work_on_them(tmp_path):
    """W2 as on a grid within the error of the mesh, and the slowest rate pi^2 of a square."""
    mesh = SHAPES["clipped_quadrilaterals"]()
    bump = "0.2 + exp(-((x - {})**2 + (y - {})**2)/0.05)"
    densities = [{"kind": "expression", "density": bump.format(x, y), "mass": 1} for x, y in ((0.3, 0.4), (0.7, 0.6))]
    flow = {"kind": "transport", "intervals": 4, "target": densities[1], "solver": {"kind": "interior-point"}}
    case = run(mesh, tmp_path, initial=densities[0]).replace({"flow": flow, "times": None})
    grid = case.replace({"mesh": {"kind": "box", "lower": [0, 0], "upper": [1, 1], "cells": [7, 7]}})
    assert float(case.run().w2) == pytest.approx(float(grid.run().w2), rel=0.05)
    modes = case.replace({"flow": {"kind": "spectrum", "epsilon": 1, "count": 2}}).run()
    assert float(modes.rate_1) == pytest.approx(np.pi**2, rel=0.03)
