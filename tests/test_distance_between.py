"""W2 between measures of any kind: the intervals hold, and what a grid moves is bounded."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

import fvflow
from fvflow import Case
from fvflow.cli.commands import main
from fvflow.errors import CaseError
from fvflow.mesh import Box, Grid, Radial, Voronoi, transferred
from fvflow.wasserstein import CellwiseDensity, EmpiricalMeasure, bounds, distance_1d, distance_between

OU = """
mesh: {kind: box, lower: [-6], upper: [6], cells: [120]}
flow: {kind: fokker-planck, potential: 0.5*x**2, epsilon: 1.0}
initial: {kind: gaussian, mean: [1.5], covariance: [[0.3]]}
times: {end: 1.0, step: 0.05, save: 0.25}
"""


def spread(edges, grid, density):
    """A density on a line in the intervals between finer edges, 0 outside."""
    cell = np.searchsorted(grid.edges[0], 0.5 * (edges[1:] + edges[:-1])) - 1
    inside = (cell >= 0) & (cell < grid.cells)
    return np.where(inside, density[np.clip(cell, 0, grid.cells - 1)], 0.0)


def on_a_line(edges, density, grid):
    """W2 between a density on a line and what it becomes on a grid, exactly."""
    found, moved = CellwiseDensity(Grid((edges,)), density).on(grid, float(np.diff(edges) @ density))
    merged = np.union1d(edges, grid.edges[0])
    return distance_1d(merged, spread(merged, Grid((edges,)), density), spread(merged, grid, found)), moved


@pytest.mark.parametrize("seed", range(60))
def test_what_a_grid_moves_is_bounded(seed):
    random = np.random.default_rng(seed)
    edges = np.sort(random.uniform(0, 1, random.integers(3, 40)))
    density = np.exp(random.choice([0.1, 1, 5]) * random.standard_normal(len(edges) - 1))
    density *= random.random(len(density)) < random.choice([0.3, 1.0])
    density[0] = 1.0
    count = int(random.integers(2, 60))
    exact, moved = on_a_line(edges, density, Grid((np.linspace(edges[0] - 0.1 * random.random(), edges[-1], count),)))
    assert exact <= moved


def test_what_a_grid_moves_is_of_second_order_where_the_density_is_smooth():
    """W2 <= 2 |rho - g|_{H^-1(g)}: of order h^2, and within a factor 4 of the exact one."""
    edges, figures = np.linspace(0, 1, 4097), []
    density = 1 + 0.5 * np.cos(np.pi * 0.5 * (edges[1:] + edges[:-1]))
    for count in (17, 33, 65):
        figures.append(on_a_line(edges, density, Grid((np.linspace(0, 1, count),))))
    assert all(exact <= moved <= 4 * exact for exact, moved in figures)
    assert np.log2(figures[1][1] / figures[2][1]) == pytest.approx(2, abs=0.1)


def test_meshes_that_are_no_boxes():
    """The same density on a mesh and on its translate is at the distance of the translation."""
    mesh = Voronoi(lower=(0.0, 0.0), upper=(1.0, 1.0), cells=(12, 12), seed=3).build()
    density = 1 + 0.3 * np.cos(np.pi * mesh.centre[:, 0]) * np.cos(np.pi * mesh.centre[:, 1])
    box = Box(lower=(2.0, 1.0), upper=(3.0, 2.0), cells=(64, 64)).build()
    there = transferred(mesh, Box(lower=(0.0, 0.0), upper=(1.0, 1.0), cells=(64, 64)).build(), density)
    found = distance_between(CellwiseDensity(mesh, density), CellwiseDensity(box, there), width=0.01)
    assert found.proved
    assert found.lower - found.moved <= np.hypot(2, 1) <= found.upper + found.moved
    same = distance_between(CellwiseDensity(mesh, density), CellwiseDensity(mesh, density), cells=4096)
    assert same.lower == 0
    assert same.upper <= 2 * same.moved + 1e-6


def test_grids_of_other_spacings_and_extents():
    """Two grids have one on which both are exact."""
    grids = Grid((np.linspace(-5, 5, 101),)), Grid((np.linspace(-1.8, 2, 72) ** 3,))
    densities = []
    for grid, mean in zip(grids, (-0.5, 0.7), strict=True):
        density = np.exp(-((grid.centre[:, 0] - mean) ** 2))
        densities.append(density / (grid.volume @ density))
    found = distance_between(*map(CellwiseDensity, grids, densities))
    merged = np.union1d(*(grid.edges[0] for grid in grids))
    exact = distance_1d(merged, *(spread(merged, *pair) for pair in zip(grids, densities, strict=True)))
    assert found.proved
    assert found.lower <= exact <= found.upper
    assert found.remarks[0].startswith("the meshes lie in different boxes; they are compared on [-5.832, 8]")


@pytest.mark.parametrize("dimension", [1, 2])
def test_samples_and_a_density(dimension):
    """Exactly at the centres of cells the samples are at the distance of the cells' sides."""
    mesh = Box(lower=(0.0,) * dimension, upper=(1.0,) * dimension, cells=(8,) * dimension).build()
    samples, uniform = EmpiricalMeasure(mesh.centre), CellwiseDensity(mesh, np.full(mesh.cells, 3.0))
    found = distance_between(samples, uniform, width=0.9, cells=mesh.cells * 4**dimension)
    exact = np.sqrt(3 * dimension / 12) / 8
    assert found.lower <= exact <= found.upper
    weighted = EmpiricalMeasure(np.array([[0.0], [1.0]]), np.array([1.0, 3.0])), EmpiricalMeasure(np.array([[0.0]]))
    atoms = distance_between(*weighted, width=1e-3)
    assert atoms.lower <= np.sqrt(0.75) <= atoms.upper
    assert atoms.proved


def test_samples_are_wrapped_onto_a_ring():
    """Where they are counts modulo the period, and the way round the seam is the shorter one."""
    ring = Grid((np.linspace(0, 1, 65),), (0,))
    near = CellwiseDensity(ring, 64.0 * (np.arange(64) == 0))
    for place in (0.95, -0.05, 3.95):
        found = distance_between(near, EmpiricalMeasure(np.array([[place]])), width=0.05)
        exact = np.sqrt((0.05 + 1 / 128) ** 2 + 1 / 64**2 / 12)
        assert found.lower <= exact <= found.upper
        assert found.proved


def test_refusals():
    square, line = Box(lower=(0.0, 0.0), upper=(1.0, 1.0), cells=(4, 4)).build(), Grid((np.linspace(0, 1, 5),))
    one, other = CellwiseDensity(line, np.ones(4)), CellwiseDensity(square, np.ones(16))
    with pytest.raises(CaseError, match="1 and 2 dimensions"):
        distance_between(one, other)
    with pytest.raises(CaseError, match="masses 1 and 2 differ"):
        distance_between(one, CellwiseDensity(line, 2 * np.ones(4)))
    with pytest.raises(CaseError, match="not zero everywhere"):
        CellwiseDensity(line, np.zeros(4))
    with pytest.raises(CaseError, match="not all 0"):
        EmpiricalMeasure(np.zeros((2, 1)), np.zeros(2))
    ring = Grid((np.linspace(0, 1, 5),), (0,))
    with pytest.raises(CaseError, match="periodic axes"):
        distance_between(one, CellwiseDensity(ring, np.ones(4)))
    turned = Grid((np.linspace(0.5, 1.5, 5),), (0,))
    with pytest.raises(CaseError, match="begin at other places"):
        distance_between(CellwiseDensity(ring, np.ones(4)), CellwiseDensity(turned, np.ones(4)))
    with pytest.raises(CaseError, match="radius"):
        CellwiseDensity(Radial(dimension=2, outer=1.0, cells=4).build(), np.ones(4))


def test_after_its_time_it_tells_what_it_knows():
    """Seconds of a computer are no test: none are left after the first level, whatever they are worth."""
    mesh = Voronoi(lower=(0.0, 0.0), upper=(1.0, 1.0), cells=(6, 6), seed=3).build()
    x = mesh.centre[:, 0]
    one, other = (CellwiseDensity(mesh, part.astype(float)) for part in (x < 0.4, x > 0.6))
    seen = []
    found = distance_between(
        one,
        CellwiseDensity(mesh, other.density * one.mass / other.mass),
        width=1e-6,
        seconds=1e-9,
        report=lambda *level: seen.append(level),
    )
    assert not found.proved
    assert 0.2 < found.upper < 1.0
    assert seen
    assert all(lower <= upper for _, lower, upper in seen)


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    path = tmp_path_factory.mktemp("distance") / "ou.nc"
    Case.parse(OU).write(path)
    return path


def test_results(result):
    """The frames of a run, by number, by time and as files, and a time between two of them."""
    ds = fvflow.read(result)
    mesh = Box(lower=(-6.0,), upper=(6.0,), cells=(120,)).build()
    exact = bounds(mesh, ds.rho.values[0].astype(float), ds.rho.values[-1].astype(float))
    for pair in ((f"{result}@0", result), ((ds, 0.0), ds), (f"{result}@0", f"{result}@1")):
        found = fvflow.distance(*pair)
        assert found.upper == pytest.approx(exact.upper, rel=1e-6)
        assert found.proved
    points = fvflow.sample(ds, 20_000, 1.0)
    assert fvflow.distance(points, ds, width=0.5, cells=4096).upper < 0.02
    assert fvflow.distance((ds, 0.1), ds).upper < exact.upper


def test_the_command(result, tmp_path, capsys):
    def run_cli(*arguments):
        with pytest.raises(SystemExit) as exit_:
            main([*map(str, arguments)])
        out, err = capsys.readouterr()
        return SimpleNamespace(code=exit_.value.code, out=out, err=err)

    picture = tmp_path / "map.png"
    done = run_cli("distance", f"{result}@0", result, "--json", "-o", picture)
    assert done.code == 0
    found = json.loads(done.out)
    assert found["lower"] <= found["upper"]
    assert found["width"] <= 1e-3
    assert found["proved"]
    assert picture.stat().st_size > 5000
    samples = tmp_path / "samples.csv"
    assert run_cli("sample", result, "-n", 100, "-o", samples).code == 0
    wide = run_cli("distance", result, samples, "--cells", 480)
    assert wide.code == 4
    assert "--accept takes it" in wide.err
    assert run_cli("distance", result, samples, "--cells", 480, "--accept").code == 0
    for operands, sentence in {
        (f"{result}@5", result): "outside the run",
        (f"{result}@soon", result): "'soon' is no time",
        (f"{samples}@1", result): "samples have no times",
        (tmp_path / "none.nc", result): "none.nc",
        (result, result, "--width", "2"): "between 0 and 1",
        (result, result, "--cells", "0"): "from 1 on",
        (result, result, "--seconds", "0"): "a positive time",
        (result, samples, "-o", tmp_path / "map.gif"): "ends in",
    }.items():
        refused = run_cli("distance", *operands)
        assert refused.code in (3, 4, 5)
        assert sentence in refused.err
