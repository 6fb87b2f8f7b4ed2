"""The exact tracer: the density of traced points is the scheme's, their map has its Jacobian, and it can be undone."""

import numpy as np
import pytest
from scipy.stats import chi2

import fvflow
from fvflow.errors import CaseError, NumericsError
from fvflow.lagrangian.tracer import TracedPoints, Tracer
from fvflow.mesh import Box, Graded, cells_of
from fvflow.mesh.polytopes import mesh_from_cells
from tests.meshes import TILE, TRIANGLES, joined, quadrilaterals, triangles

STEPS = 4


def l_shape():
    """Three squares of triangles around a re-entrant corner at (1, 1)."""
    tiles = [(i / 2, j / 2) for i in range(4) for j in range(4) if i < 2 or j < 2]
    points = np.concatenate([TILE / 2 + tile for tile in tiles])
    return mesh_from_cells(*joined(points, np.concatenate([TRIANGLES + len(TILE) * k for k in range(len(tiles))])))


def tetrahedra():
    """Cubes cut into six tetrahedra each; what two-point fluxes need of centres does not matter here."""
    cells = Box((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), (2, 2, 2)).build()
    ways = [(0, 1, 2, 6), (0, 1, 5, 6), (0, 3, 2, 6), (0, 3, 7, 6), (0, 4, 5, 6), (0, 4, 7, 6)]
    return mesh_from_cells(cells.points, np.concatenate([cells.cell_points[:, list(way)] for way in ways]))


MESHES = {
    "line": Box((0.0,), (1.0,), (20,)).build,
    "ring": Graded((0.0,), (1.0,), (20,), (3.0,), periodic=("x",)).build,
    "plane": Graded((0.0, -1.0), (1.0, 2.0), (9, 13), (2.0, 0.5)).build,
    "cylinder": Box((0.0, 0.0), (1.0, 2.0), (8, 7), periodic=("y",)).build,
    "space": Box((0.0, 0.0, 0.0), (1.0, 2.0, 1.0), (4, 5, 3)).build,
    "triangles": triangles,
    "l-shape": l_shape,
    "tetrahedra": tetrahedra,
}


def history(mesh, seed=0):
    """Densities (STEPS + 1, cell) and masses through faces (STEPS, face) in balance, from random fluxes."""
    rng = np.random.default_rng(seed)
    densities, masses = [1.0 + rng.random(mesh.cells)], []
    for _ in range(STEPS):
        sides = np.bincount(mesh.owner, minlength=mesh.cells) + np.bincount(mesh.neighbour, minlength=mesh.cells)
        most = 0.9 * mesh.volume * densities[-1] / sides
        mass = rng.uniform(-1, 1, mesh.faces) * np.minimum(most[mesh.owner], most[mesh.neighbour])
        gain = np.bincount(mesh.neighbour, mass, mesh.cells) - np.bincount(mesh.owner, mass, mesh.cells)
        masses.append(mass)
        densities.append(densities[-1] + gain / mesh.volume)
    return densities, masses


def spread(mesh, density, count, seed=1):
    """Points with the density of the cells, stratified by their number."""
    rng = np.random.default_rng(seed)
    share = np.cumsum(mesh.volume * density)
    cell = np.searchsorted(share / share[-1], (np.arange(count) + rng.random(count)) / count)
    if mesh.edges is None:
        height = rng.exponential(size=(count, mesh.dimension + 1))
        height /= height.sum(axis=1, keepdims=True)
    else:
        along = rng.random((count, mesh.dimension))
        height = np.stack([along, 1.0 - along], axis=2).reshape(count, -1)
    return TracedPoints(cell.astype(np.int32), height, np.zeros(count))


def trace(tracer, points, densities, masses):
    for before, after, mass in zip(densities[:-1], densities[1:], masses, strict=True):
        points = tracer.carried(points, before, after, mass)
    return points


@pytest.mark.parametrize("name", MESHES)
def test_density_of_traced_points_is_that_of_the_scheme(name):
    mesh, count = MESHES[name](), 100_000
    densities, masses = history(mesh)
    start = spread(mesh, densities[0], count)
    end = trace(Tracer.on(mesh), start, densities, masses)
    assert (start.cell != end.cell).mean() > 0.2  # most of them would show an error
    assert np.abs(end.log_det - np.log(densities[0][start.cell] / densities[-1][end.cell])).max() < 1e-12
    expected = count * mesh.volume * densities[-1] / (mesh.volume @ densities[-1])
    square = float(((np.bincount(end.cell, minlength=mesh.cells) - expected) ** 2 / expected).sum())
    assert chi2.sf(square, mesh.cells - 1) > 1e-3


@pytest.mark.parametrize("name", MESHES)
def test_map_is_undone_backward(name):
    mesh = MESHES[name]()
    densities, masses = history(mesh)
    tracer = Tracer.on(mesh)
    start = spread(mesh, densities[0], 2000)
    end = trace(tracer, start, densities, masses)
    back = trace(tracer, end, densities[::-1], [-mass for mass in masses[::-1]])
    off = mesh.nearest_image(tracer.positions(back) - tracer.positions(start))
    assert np.abs(off).max() < 1e-11
    assert np.abs(back.log_det).max() < 1e-11


@pytest.mark.parametrize("name", ["line", "plane", "space", "triangles", "tetrahedra"])
def test_jacobian_is_that_of_the_map(name):
    mesh, step = MESHES[name](), 1e-7
    densities, masses = history(mesh)
    tracer = Tracer.on(mesh)
    points = tracer.positions(spread(mesh, densities[0], 500))
    end = trace(tracer, tracer.place(points), densities, masses)
    sides = [trace(tracer, tracer.place(points + shift), densities, masses) for shift in step * np.eye(mesh.dimension)]
    slopes = [(tracer.positions(side) - tracer.positions(end)) / step for side in sides]
    got = np.log(np.abs(np.linalg.det(np.stack(slopes, axis=2))))
    same = np.all([side.cell == end.cell for side in sides], axis=0)
    assert same.mean() > 0.9
    assert np.quantile(np.abs(got - end.log_det)[same], 0.9) < 1e-5  # the others pass a corner on another side


def test_on_a_line_the_map_is_the_monotone_rearrangement():
    mesh = MESHES["line"]()
    densities, masses = history(mesh)

    def cumulative(points, density):
        mass = mesh.volume * density
        return (np.cumsum(mass) - mass)[points.cell] + mass[points.cell] * points.height[:, 0]

    start = spread(mesh, densities[0], 10_000)
    end = trace(Tracer.on(mesh), start, densities, masses)
    assert np.abs(cumulative(end, densities[-1]) - cumulative(start, densities[0])).max() < 1e-13


def test_points_of_a_run_keep_its_density():
    case = fvflow.Case.parse(
        "mesh: {kind: box, lower: [-3], upper: [3], cells: [60]}\n"
        "flow: {kind: fokker-planck, epsilon: 0.5, potential: x**4/4 - x**2/2}\n"
        "initial: {kind: gaussian, mean: [-1], covariance: [[0.1]]}\n"
        "times: {end: 0.5, step: 0.05, save: 0.05}\noutput: {fluxes: true}"
    )
    ds, mesh = case.run(), case.mesh.build()
    densities, ends = ds.rho.values, np.diff(ds.time.values)
    masses = [length * flux for length, flux in zip(ends, ds.flux.values[1:], strict=True)]  # of implicit Euler
    tracer = Tracer.on(mesh)
    grid = tracer.place(np.linspace(-1.9, 0.4, 500)[:, None])
    end = trace(tracer, grid, densities, masses)
    here, there = (np.interp(tracer.positions(points)[:, 0], mesh.edges[0], np.append(0, np.cumsum(mesh.volume * rho)))
                   for points, rho in ((grid, densities[0]), (end, densities[-1])))  # fmt: skip
    assert np.abs(here - there).max() < 1e-10


def test_a_re_entrant_wall_is_never_crossed():
    mesh = l_shape()
    tracer, points = Tracer.on(mesh), None
    for seed in range(5):
        densities, masses = history(mesh, seed)
        points = points or spread(mesh, densities[0], 20_000)
        for before, after, mass in zip(densities[:-1], densities[1:], masses, strict=True):
            points = tracer.carried(points, before, after, mass)
            x, y = tracer.positions(points).T
            assert (np.minimum(x, y) <= 1.0 + 1e-14).all()
            assert min(x.min(), y.min()) >= 0.0
            found = cells_of(mesh, tracer.positions(points))
            assert (found == points.cell).mean() > 0.999  # points on a face belong to both sides


def test_a_corner_that_mass_circles_is_a_place_of_rest():
    mesh = Box((-1.0, -1.0), (1.0, 1.0), (2, 2)).build()
    circle = np.zeros(mesh.faces)
    for face, (own, far) in enumerate(zip(mesh.owner, mesh.neighbour, strict=True)):
        circle[face] = 0.3 if (own, far) in ((0, 1), (1, 3)) else -0.3
    tracer, ones = Tracer.on(mesh), np.ones(4)
    end = tracer.carried(tracer.place(np.array([[0.0, 0.0], [0.5, 0.1]])), ones, ones, circle)
    assert np.abs(tracer.positions(end)[0]).max() < 1e-12
    assert np.abs(tracer.positions(end)[1] - [0.5, 0.1]).max() > 0.1


def test_mass_that_passes_cells_without_mass_takes_no_time():
    mesh, count = Box((0.0,), (1.0,), (300,)).build(), 300
    before, after = np.zeros(count), np.zeros(count)
    before[[0, -1]], after[[0, -1]] = (1.0, 1.0), (0.5, 1.5)
    tracer, mass = Tracer.on(mesh), np.full(count - 1, 0.5 / count)
    end = tracer.carried(tracer.place(np.array([[0.2], [0.6], [0.9]]) / count), before, after, mass)
    assert np.abs(count * tracer.positions(end)[:, 0] - [0.4, 299 + 0.1 / 1.5, 299 + 0.4 / 1.5]).max() < 1e-10
    assert np.abs(end.log_det - np.log([2.0, 1 / 1.5, 1 / 1.5])).max() < 1e-12


def test_refusals():
    with pytest.raises(CaseError, match=r"needs a grid or a mesh of triangles or tetrahedra.*stepper jump"):
        Tracer.on(quadrilaterals())
    mesh = MESHES["line"]()
    tracer, (densities, masses) = Tracer.on(mesh), history(mesh)
    with pytest.raises(CaseError, match="1 of 2 points are outside the mesh"):
        tracer.place(np.array([[0.5], [1.5]]))
    points = tracer.place(np.array([[0.52]]))
    with pytest.raises(NumericsError, match=r"a density is -0.1 somewhere, and the exact tracer needs rho >= 0"):
        tracer.carried(points, densities[0], np.full(20, -0.1), masses[0])
    with pytest.raises(NumericsError, match=r"the stored fluxes miss .* is the result in single precision"):
        tracer.carried(points, densities[0], densities[1], masses[0].astype(np.float32).astype(float))
    hole = np.where(np.arange(20) == 10, 0.0, 1.0)
    with pytest.raises(NumericsError, match="1 of 1 points are in cells without mass"):
        tracer.carried(points, hole, hole, np.zeros(19))
