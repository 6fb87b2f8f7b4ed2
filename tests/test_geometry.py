"""The geometry of densities: the metric on Gaussians, projections, slopes, curves, and the bound of W2 they give."""

import numpy as np
import pytest

from fvflow import CaseError, geometry
from fvflow.fields import gaussian_density
from fvflow.linalg import divergence
from fvflow.mesh import Box, Graded
from fvflow.wasserstein import distance_1d
from tests.meshes import triangles

MEANS = ("logarithmic", "arithmetic")


def plane(cells):
    return Box((-6.0, -6.0), (6.0, 6.0), (cells, cells)).build()


def gaussian(mesh, mean, deviation):
    at = np.zeros(mesh.dimension)
    at[0] = mean
    return gaussian_density(mesh, at, deviation**2 * np.eye(mesh.dimension), "average")


def quotient(mesh, one, other, step):
    rate = (one - other) / step
    return rate - (mesh.volume @ rate) / mesh.volume.sum()


def rates(mesh, small=1e-4):
    """The rates of a translation and of a dilation of N((0.1, 0), I)."""
    moved = quotient(mesh, gaussian(mesh, 0.1 + small, 1), gaussian(mesh, 0.1 - small, 1), 2 * small)
    grown = quotient(mesh, gaussian(mesh, 0.1, 1 + small), gaussian(mesh, 0.1, 1 - small), 2 * small)
    return moved, grown


@pytest.mark.parametrize("mean", MEANS)
def test_the_metric_on_gaussians_is_that_of_mean_and_deviation_at_order_2(mean):
    errors = []
    for cells in (32, 64, 128):
        mesh = plane(cells)
        density, (moved, grown) = gaussian(mesh, 0.1, 1), rates(mesh)
        found = [geometry.tangent(mesh, density, rate, mean) for rate in (moved, grown)]
        assert max(each.residual for each in found) <= 1e-13
        errors.append([abs(found[0].square - 1.0), abs(found[1].square - 2.0)])
        assert geometry.inner(mesh, density, moved, grown, mean) == pytest.approx(0, abs=1e-4)
        assert geometry.inner(mesh, density, moved, moved, mean) == pytest.approx(found[0].square, rel=1e-11)
        assert geometry.norm(mesh, density, grown, mean) == pytest.approx(np.sqrt(found[1].square), rel=1e-14)
    assert (np.log2(np.array(errors[:-1]) / errors[1:]) > 1.85).all()
    if mean == "logarithmic":
        assert max(errors[-1]) < 2e-3


def test_a_rotation_of_an_isotropic_gaussian_moves_nothing():
    least = []
    for cells in (32, 64):
        mesh = plane(cells)
        at, normal = mesh.face_centre, mesh.normal
        found = geometry.project(mesh, gaussian(mesh, 0, 1), at[:, 0] * normal[:, 1] - at[:, 1] * normal[:, 0])
        least.append(found.least)
        assert found.action == pytest.approx(2.0, rel=1e-3)
    assert least[1] < 1e-4
    assert least[1] < least[0] / 3.5


@pytest.mark.parametrize("mesh", [plane(24), triangles(), Graded((0.0,), (1.0,), (40,), (3.0,)).build()])
@pytest.mark.parametrize("mean", MEANS)
def test_a_projection_keeps_the_rate_and_is_orthogonal(mesh, mean):
    random = np.random.default_rng(4)
    density, velocity = random.exponential(size=mesh.cells), random.normal(size=mesh.faces)
    found = geometry.project(mesh, density, velocity, mean)
    mass = mesh.area * geometry.face_density(mesh, density, mean)
    np.testing.assert_allclose(found.gradient + found.rest, velocity, rtol=1e-12, atol=1e-12)
    size = np.abs(divergence(mesh, mass * velocity)).sum()
    assert np.abs(divergence(mesh, mass * found.rest)).max() <= 1e-13 * size
    rest = float((mass * mesh.distance) @ found.rest**2)
    assert found.action == pytest.approx(found.least + rest, rel=1e-12)
    again = geometry.project(mesh, density, found.gradient, mean)
    np.testing.assert_allclose(again.gradient, found.gradient, atol=1e-11 * np.abs(found.gradient).max())


def test_a_tangent_in_one_dimension_is_the_integral_of_the_rate():
    mesh = Graded((0.0,), (2.0,), (30,), (5.0,)).build()
    random = np.random.default_rng(5)
    density, rate = random.exponential(size=30), random.normal(size=30)
    rate -= (mesh.volume @ rate) / mesh.volume.sum()
    found = geometry.tangent(mesh, density, rate)
    np.testing.assert_allclose(found.flux, -np.cumsum(mesh.volume * rate)[:-1], atol=1e-13)


def test_rough_densities_leave_a_residual_of_round_off():
    """Over 12 orders of magnitude differences of Psi hold the flux to 5e-10; the sum of its corrections to 1e-14."""
    random, worst = np.random.default_rng(7), 0.0
    for _ in range(60):
        mesh = Graded((0.0,), (1.0,), (int(random.integers(20, 60)),), (3.0,)).build()
        density, rate = random.exponential(size=mesh.cells) ** 4, random.normal(size=mesh.cells)
        rate -= (mesh.volume @ rate) / mesh.volume.sum()
        worst = max(worst, geometry.tangent(mesh, density, rate).residual)
    assert worst <= 1e-14


def test_what_a_rate_lacks_of_its_balance_is_in_the_residual():
    mesh = Box((0.0,), (1.0,), (10,)).build()
    rate = np.where(np.arange(10) < 5, 1.0, -1.0)
    assert geometry.tangent(mesh, np.ones(10), rate).residual <= 1e-15
    assert geometry.tangent(mesh, np.ones(10), rate + 1e-10).residual == pytest.approx(1e-11, rel=1e-3)


def test_the_gradient_of_the_free_energy_is_the_fokker_planck_equation_and_its_slope_the_fisher_information():
    errors = []
    for cells in (100, 200, 400):
        mesh = Box((-7.0,), (7.0,), (cells,)).build()
        density = gaussian(mesh, 0, 0.8)
        variation = np.log(density) + 0.5 * mesh.centre[:, 0] ** 2
        errors.append(abs(geometry.slope(mesh, density, variation) - 0.8 * (1 / 0.64 - 1)))
        rate = -geometry.gradient(mesh, density, variation)
        assert geometry.norm(mesh, density, rate) == pytest.approx(geometry.slope(mesh, density, variation), rel=1e-9)
    np.testing.assert_allclose(np.log2(np.array(errors[:-1]) / errors[1:]), 2, atol=0.1)


def test_a_translation_has_its_distance_as_length_and_is_a_geodesic():
    lengths, defects = [], []
    for cells, steps in ((60, 8), (120, 16)):
        mesh = Box((-6.0,), (7.0,), (cells,)).build()
        times = np.linspace(0, 1, steps + 1)
        path = np.stack([gaussian(mesh, time, 1.0) for time in times])
        path *= 1.0 / (path @ mesh.volume)[:, None]
        found = geometry.curve(mesh, times, path)
        np.testing.assert_allclose(found.speed, geometry.speed(mesh, times, path), rtol=1e-10)
        assert found.residual < 1e-13
        assert found.w2_upper >= distance_1d(mesh.edges[0], path[0], path[-1])
        lengths.append(found.length)
        defects.append(geometry.geodesic_defect(mesh, times, path))
    assert lengths[1] == pytest.approx(1.0, abs=3e-3)
    assert abs(lengths[1] - 1) < 0.3 * abs(lengths[0] - 1)
    assert defects[1] < 0.1
    mesh = Box((-6.0,), (6.0,), (120,)).build()
    heat = np.stack([gaussian(mesh, 0, np.sqrt(0.25 + time)) for time in np.linspace(0, 1, 17)])
    heat /= (heat @ mesh.volume)[:, None]
    assert geometry.geodesic_defect(mesh, np.linspace(0, 1, 17), heat) > 0.5


def test_no_curve_is_shorter_than_the_distance_of_its_ends():
    """50 random curves on lines: the closed form of the action bounds W2, which quantiles give."""
    random = np.random.default_rng(6)
    for _ in range(50):
        cells, steps = random.integers(3, 30), random.integers(1, 6)
        mesh = Graded((0.0,), (1.0,), (int(cells),), (float(random.uniform(0.3, 3)),)).build()
        path = random.exponential(size=(steps + 1, cells)) ** random.uniform(0.5, 3)
        path /= (path @ mesh.volume)[:, None]
        times = np.concatenate([[0.0], np.cumsum(random.uniform(0.1, 1, steps))])
        found = geometry.curve(mesh, times, path)
        exact = distance_1d(mesh.edges[0], path[0], path[-1])
        assert found.w2_upper >= exact * (1 - 1e-12)
        assert found.residual <= 1e-12


def test_a_momentum_that_is_not_that_of_the_densities_bounds_nothing():
    mesh = Box((0.0,), (1.0,), (10,)).build()
    path = np.stack([np.ones(10), np.ones(10)])
    still = geometry.curve(mesh, [0, 1], path, np.zeros((1, 9)))
    assert (still.action, still.residual, still.w2_upper) == (0, 0, 0)
    moving = geometry.curve(mesh, [0, 1], path, np.full((1, 9), 0.1))
    assert moving.residual == pytest.approx(0.1)
    assert moving.w2_upper == np.inf


def test_vacuum_splits_the_mesh_into_parts_that_each_keep_their_mass():
    mesh = Box((0.0,), (1.0,), (9,)).build()
    density = np.array([1.0, 2, 1, 0, 0, 3, 1, 1, 0])
    rate = np.array([1.0, -1, 0, 0, 0, 0, 2, -2, 0])
    found = geometry.tangent(mesh, density, rate)
    np.testing.assert_array_equal(np.isnan(found.potential), [0, 0, 0, 1, 1, 0, 0, 0, 1])
    np.testing.assert_allclose(divergence(mesh, found.flux), -mesh.volume * rate, atol=1e-15)
    rate[2], rate[6] = 1.0, 1.0
    with pytest.raises(CaseError, match=r"of the 3 cells about cell [05], which exchange no mass with others"):
        geometry.tangent(mesh, density, rate)


def test_the_duality_map_of_the_notes():
    vectors = np.array([[3.0, 4.0], [0.0, 0.0]])
    np.testing.assert_allclose(geometry.duality_map(vectors, 3.0), [[15, 20], [0, 0]])
    np.testing.assert_allclose(geometry.duality_map(vectors, 2.0), vectors)
    mapped = geometry.duality_map(vectors, 1.5)
    assert np.linalg.norm(mapped[0]) == pytest.approx(5**0.5), "|j_q(v)| = |v|^(q - 1)"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda mesh: geometry.tangent(mesh, np.ones(3), np.zeros(10)), "shape .3,. on a mesh of 10 cells"),
        (lambda mesh: geometry.tangent(mesh, -np.ones(10), np.zeros(10)), "the density is -1 in cell 0"),
        (lambda mesh: geometry.tangent(mesh, np.ones(10), np.ones(10)), "the rate of all cells adds up to 1"),
        (lambda mesh: geometry.tangent(mesh, np.ones(10), np.full(10, np.nan)), "give a finite one per cell"),
        (lambda mesh: geometry.face_density(mesh, np.ones(10), "harmonic"), "give logarithmic or arithmetic"),
        (lambda mesh: geometry.project(mesh, np.ones(10), np.ones(10)), "give v . n of each"),
        (lambda mesh: geometry.speed(mesh, [0.0], np.ones((1, 10))), "give at least two"),
        (lambda mesh: geometry.speed(mesh, [0, 1], np.stack([np.ones(10), np.full(10, 2.0)])), "keeps its mass"),
        (lambda mesh: geometry.curve(mesh, [0, 1], np.ones((2, 10)), np.zeros((2, 9))), "by interval and face"),
        (lambda mesh: geometry.geodesic_defect(mesh, [0, 1], np.ones((2, 10))), "needs at least 3"),
        (lambda mesh: geometry.duality_map(np.ones((1, 2)), 1.0), "give one above 1"),
    ],
)
def test_what_is_no_tangent_is_refused(call, message):
    with pytest.raises(CaseError, match=message):
        call(Box((0.0,), (1.0,), (10,)).build())
