"""Samples of results: exact for the density that is constant in each cell, on cells of every shape."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import chi2, kstest

import fvflow
from fvflow.case import Case
from fvflow.cli import main
from fvflow.dataset import read, stored_mesh
from fvflow.errors import CaseError, NumericsError
from fvflow.fields import read_points
from fvflow.lagrangian.sampling import samples
from fvflow.mesh import Box, Graded, cells_of, hilbert_order
from tests import meshes

SHAPES = {
    "line": Graded((-1.0,), (2.0,), (9,), (3.0,)).build,
    "box": Box((-1.0, 0.0), (1.0, 3.0), (8, 5)).build,
    "graded": Graded((-1.0, 0.0, 1.0), (1.0, 2.0, 1.5), (5, 4, 3), (4.0, 1.0, 0.3)).build,
    "periodic": Box((-1.0, 0.0), (1.0, 3.0), (8, 5), ("x",)).build,
    **{name: meshes.SHAPES[name] for name in ("polygons", "mixed", "solids", "node_boxes", "tetrahedra_nodes")},
}


def rough(mesh):
    """Densities between 0 and 4, some of them 0."""
    return np.maximum(np.random.default_rng(5).uniform(-1.0, 4.0, mesh.cells), 0.0)


def chi_square_p(counts, expected):
    """The probability of counts that fit no better than these; bins that expect fewer than 5 are merged."""
    few = expected < 5
    counts = np.append(counts[~few], counts[few].sum())
    expected = np.append(expected[~few], expected[few].sum())
    counts, expected = counts[expected > 0], expected[expected > 0]
    return chi2.sf(((counts - expected) ** 2 / expected).sum(), len(counts) - 1)


@pytest.mark.parametrize("stratified", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_moments_are_those_of_the_density_constant_in_cells(shape, stratified):
    """Means of x_i, x_i x_j and x_i x_j x_k within 4 standard errors of independent samples."""
    mesh, count = SHAPES[shape](), 40_000
    density = rough(mesh)

    def powers(at):
        second = (at[:, :, None] * at[:, None]).reshape(len(at), -1)
        return np.concatenate([at, second, (second[:, :, None] * at[:, None]).reshape(len(at), -1)], axis=1)

    rule = ((weight * density[part]) @ powers(at) for at, weight, part in mesh.quadrature(3))
    mean = sum(rule) / (mesh.volume @ density)
    found = powers(samples(mesh, density, count, 1, stratified=stratified))
    assert (np.abs(found.mean(axis=0) - mean) < 4 * found.std(axis=0) / np.sqrt(count)).all()


@pytest.mark.parametrize("shape", SHAPES)
def test_stratified_samples_fill_each_cell_to_within_one(shape):
    """Every fourth of them, too."""
    mesh = SHAPES[shape]()
    density, count = rough(mesh), 20 * mesh.cells
    share = mesh.volume * density / (mesh.volume @ density)
    cell = cells_of(mesh, samples(mesh, density, count, 2))
    for k in (1, 4):
        counts = np.bincount(cell[::k], minlength=mesh.cells)
        assert np.abs(counts - count / k * share).max() < 1 + 1e-9
        assert (counts[density == 0] == 0).all()


def test_counts_of_independent_samples_are_multinomial():
    """Chi-square of the cells over 40 seeds: its probabilities are uniform."""
    mesh = SHAPES["box"]()
    density, count = rough(mesh), 4000
    expected = count * mesh.volume * density / (mesh.volume @ density)
    found = [
        chi_square_p(np.bincount(cells_of(mesh, samples(mesh, density, count, seed, stratified=False))), expected)
        for seed in range(40)
    ]
    assert kstest(found, "uniform").pvalue > 1e-3


def test_each_stratified_sample_has_the_law_of_the_density():
    """Each of three by turns, over 1500 seeds."""
    mesh = SHAPES["box"]()
    density = rough(mesh)
    first = np.concatenate(
        [samples(mesh, density, 3, seed)[np.random.default_rng(seed).integers(3)][None] for seed in range(2000)]
    )
    expected = 2000 * mesh.volume * density / (mesh.volume @ density)
    assert 1e-3 < chi_square_p(np.bincount(cells_of(mesh, first), minlength=mesh.cells), expected) < 1 - 1e-3


@pytest.mark.parametrize("shape", ["polygons", "node_boxes", "triangles", "tetrahedra", "tetrahedra_nodes"])
def test_uniform_samples_are_uniform_in_the_cells(shape):
    """The density 1 on a unit square or cube, counted in boxes that know nothing of the cells."""
    mesh, count = meshes.SHAPES[shape](), 40_000
    points = samples(mesh, np.ones(mesh.cells), count, 3, stratified=False)
    counts, _ = np.histogramdd(points, bins=7, range=[(0, 1)] * mesh.dimension)
    assert 1e-3 < chi_square_p(counts.ravel(), np.full(counts.size, count / counts.size)) < 1 - 1e-3


def test_independent_samples_do_not_follow_the_cells():
    """Neighbours in the sequence are not neighbours in space, in contrast to stratified ones."""
    mesh = SHAPES["box"]()
    correlation = {}
    for stratified in (True, False):
        x = samples(mesh, np.ones(mesh.cells), 10_000, 4, stratified=stratified)[:, 0]
        correlation[stratified] = np.corrcoef(x[1:], x[:-1])[0, 1]
    assert abs(correlation[False]) < 4 / np.sqrt(10_000)
    assert correlation[True] > 0.9


def test_a_mean_of_stratified_samples_has_less_than_a_tenth_of_the_error():
    """On 64 x 64 cells, of 500 samples: a few times the width of the cells over the root of their number."""
    mesh = Box((0.0, 0.0), (1.0, 1.0), (64, 64)).build()
    density = np.exp(-8 * ((mesh.centre - 0.5) ** 2).sum(axis=1))
    means = {
        stratified: np.array(
            [samples(mesh, density, 500, seed, stratified=stratified).mean(axis=0) for seed in range(60)]
        )
        for stratified in (True, False)
    }
    assert (means[True].std(axis=0) < 0.1 * means[False].std(axis=0)).all()
    assert np.abs(means[True].mean(axis=0) - mesh.centre.T @ density / density.sum()).max() < 1e-3


def test_the_seed_decides_and_blocks_do_not(monkeypatch):
    mesh = SHAPES["mixed"]()
    density = rough(mesh)
    for stratified in (True, False):
        points = samples(mesh, density, 1000, 7, stratified=stratified)
        with monkeypatch.context() as patch:
            patch.setattr("fvflow.lagrangian.sampling._BLOCK", 77)
            np.testing.assert_array_equal(samples(mesh, density, 1000, 7, stratified=stratified), points)
        assert (samples(mesh, density, 1000, 8, stratified=stratified) != points).all(axis=1).any()


@pytest.mark.parametrize(("count", "dimension"), [(64, 1), (16, 2), (8, 3)])
def test_neighbours_on_the_curve_are_neighbours_on_the_grid(count, dimension):
    mesh = Box((0.0,) * dimension, (2.0, 1.0, 3.0)[:dimension], (count,) * dimension).build()
    order = hilbert_order(mesh.centre)
    np.testing.assert_array_equal(np.sort(order), np.arange(mesh.cells))
    step = np.diff(mesh.centre[order], axis=0) / (np.array([2.0, 1.0, 3.0])[:dimension] / count)
    np.testing.assert_allclose(np.abs(step).sum(axis=1), 1.0)


@pytest.mark.parametrize("density", [[1.0, -1e-30], [1.0, np.nan], [1.0, np.inf]])
def test_a_density_that_is_none_is_refused(density):
    with pytest.raises(NumericsError, match="in one of 1 cells where it is negative or not finite"):
        samples(Box((0.0,), (1.0,), (2,)).build(), np.array(density), 3, 0)


def test_a_vacuum_has_no_samples():
    mesh = Box((0.0,), (4.0,), (4,)).build()
    with pytest.raises(NumericsError, match="0 everywhere and has no samples"):
        samples(mesh, np.zeros(4), 3, 0)
    for stratified in (True, False):
        points = samples(mesh, np.array([0.0, 1e-300, 5e-301, 0.0]), 3000, 0, stratified=stratified)
        assert ((points >= 1) & (points < 3)).all()
        assert (points < 2).mean() == pytest.approx(2 / 3, abs=1e-3 if stratified else 0.04)


def test_boxes_with_a_simplex_that_counts_negative_are_refused():
    mesh = meshes.SHAPES["tetrahedra_nodes"]()
    inverted = np.where(np.arange(len(mesh.parts.area)) == mesh.parts.area.argmax(), -1.0, 1.0) * mesh.parts.area
    mesh = replace(mesh, parts=replace(mesh.parts, area=inverted))
    with pytest.raises(CaseError, match=r"1 circumcentres lie beyond their edge or face, .* use control_volumes"):
        samples(mesh, np.ones(mesh.cells), 3, 0)


# results

CASE = """
mesh: {kind: box, lower: [-4, -4], upper: [4, 4], cells: [32, 20]}
flow: {kind: fokker-planck, epsilon: 0.5, potential: 0.5*(x**2 + 2*y**2)}
initial: {kind: gaussian, mean: [1.5, 0], covariance: [[0.3, 0.1], [0.1, 0.2]]}
times: {end: 1, step: 0.1, save: 0.5}
"""


@pytest.fixture(scope="module")
def ds():
    return Case.parse(CASE).run()


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    path = tmp_path_factory.mktemp("result") / "r.nc"
    Case.parse(CASE).write(path)
    return path


@pytest.mark.parametrize(("time", "frame"), [(None, 2), (0.5, 1), (0, 0), (1 + 1e-12, 2)])
def test_moments_are_those_of_the_ledger_and_of_a_cell(ds, time, frame):
    """The covariance is that of the centres plus h^2/12."""
    count = 50_000
    points = fvflow.sample(ds, count, time, seed=1, stratified=False)
    mean, covariance = ds["mean"][frame].values, ds["covariance"][frame].values + np.diag([0.25, 0.4]) ** 2 / 12
    offset = points - mean
    assert (np.abs(offset.mean(axis=0)) < 4 * offset.std(axis=0) / np.sqrt(count)).all()
    products = offset[:, :, None] * offset[:, None]
    assert (np.abs(products.mean(axis=0) - covariance) < 4 * products.std(axis=0) / np.sqrt(count)).all()


def test_between_frames_samples_are_of_the_mixture(ds):
    cell = cells_of(stored_mesh(ds), fvflow.sample(ds, 10_000, 0.1))
    density = 0.8 * ds["rho"][0].values.ravel() + 0.2 * ds["rho"][1].values.ravel()
    assert np.abs(np.bincount(cell, minlength=640) - 1e4 * density / density.sum()).max() < 1 + 1e-9


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((10, -0.1), r"time -0\.1 is outside the run; give one from 0 to 1"),
        ((10, 1.1), r"time 1\.1 is outside the run"),
        ((10, np.nan), "time nan is outside the run"),
        ((0,), "n is 0; give a whole number from 1 on"),
        ((2.5,), r"n is 2\.5; give a whole number"),
        ((10, "a"), r"^time: 'a' is of type str\d+; give real numbers$"),
        ((10, [0.1]), r"^time: is an array \(1,\); give one number$"),
        ((10, 0.5, -1), "seed is -1; give a whole number from 0 on"),
        ((10**15,), "samples take .* GiB, more than half of the memory; draw fewer"),
    ],
)
def test_what_makes_no_sense_is_refused(ds, arguments, message):
    with pytest.raises(CaseError, match=message):
        fvflow.sample(ds, *arguments)


def test_what_is_left_after_absorption_counts_as_one():
    case = Case.parse(CASE).replace({"walls.left": "absorbing", "walls.right": "absorbing", "flow.potential": "-2*x"})
    ds = case.run()
    assert ds["mass"][-1] < 0.8
    assert len(fvflow.sample(ds, 100)) == 100


@pytest.mark.parametrize(
    "shape", ["periodic", "graded", "polygons", "mixed", "solids", "node_boxes", "tetrahedra_nodes"]
)
def test_the_mesh_of_a_result_is_restored(tmp_path, shape):
    mesh = SHAPES[shape]()
    fvflow.save_mesh(mesh, tmp_path / "m.nc")
    with read(tmp_path / "m.nc") as ds:
        found = stored_mesh(ds)
    assert found.periodic == mesh.periodic
    for name in ("centre", "volume", "owner", "neighbour", "transmissibility", "points", "cell_points", "wall_points"):
        np.testing.assert_array_equal(getattr(found, name), getattr(mesh, name))


@pytest.mark.parametrize("ending", ["npz", "csv", "npy", "nc"])
def test_the_command_writes_what_the_function_returns(tmp_path, monkeypatch, capsys, ds, result, ending):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "r.nc").symlink_to(result)
    for arguments, how, said in (
        (["--time", "0.5", "--independent"], {"time": 0.5, "stratified": False}, "300 samples at t = 0.5\n"),
        (["--seed", "3"], {"seed": 3}, "300 samples at t = 1\n"),
        (["--time", "0.6"], {"time": 0.6}, "300 samples at t = 0.6, a mixture of the frames before and after\n"),
    ):
        with pytest.raises(SystemExit) as ended:
            main(["sample", "r.nc", "-n", "300", *arguments, "-o", f"s.{ending}"])
        assert ended.value.code == 0
        assert capsys.readouterr().err == f"wrote s.{ending}; {said}"
        np.testing.assert_array_equal(read_points(f"s.{ending}", 2).points, fvflow.sample(ds, 300, **how))


def test_the_command_refuses_to_replace_the_result(capsys, result):
    with pytest.raises(SystemExit) as ended:
        main(["sample", str(result), "-o", str(result)])
    assert ended.value.code == 5
    assert "r.nc: holds no points and would be overwritten; use another name" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["sample", "-o", "t.csv"], ["info"], ["sides"]])
def test_points_are_no_result(tmp_path, monkeypatch, capsys, result, command):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        main(["sample", str(result), "-n", "3", "-o", "s.nc"])
    with pytest.raises(SystemExit) as ended:
        main([command[0], "s.nc", *command[1:]])
    assert ended.value.code == 5
    assert "s.nc: holds points and no run; give the .nc file of a run" in capsys.readouterr().err
