"""Distances: exact on lines, proved intervals on grids."""

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from scipy.stats import norm

import fvflow
from fvflow.errors import CaseError
from fvflow.fields import gaussian_density
from fvflow.mesh import Box, Graded, Grid
from fvflow.mesh.revolution import Revolution
from fvflow.wasserstein import bounds, bures, distance_1d, interpolated_1d, transport_matrix
from fvflow.wasserstein.legendre import legendre, legendre_nodes
from fvflow.wasserstein.network_simplex import NetworkSimplex
from tests.scenes import ou

pytestmark = pytest.mark.usefixtures("no_products")


def test_translation_dilation_and_axioms():
    edges = np.concatenate([[-4.0], np.sort(np.random.default_rng(0).uniform(-4, 4, 60)), [4.0]])
    random = np.random.default_rng(1)
    one, other, third = random.random((3, 61)) * (random.random((3, 61)) < 0.5) / np.diff(edges)
    one, other, third = (d / (np.diff(edges) @ d) for d in (one, other, third))
    for power in (1.0, 2.0, 3.5):
        ab, bc, ac = (distance_1d(edges, *pair, power) for pair in ((one, other), (other, third), (one, third)))
        assert distance_1d(edges, one, one, power) == pytest.approx(0, abs=1e-9)
        assert distance_1d(edges, other, one, power) == pytest.approx(ab, rel=1e-12)
        assert ac <= ab + bc
    even = np.arange(11.0)
    bump = np.array([0, 1, 3, 0, 2, 0, 0, 0, 0, 0.0])
    for power in (1.0, 2.0, 4.0):
        assert distance_1d(even, bump, np.roll(bump, 3), power) == pytest.approx(3 * 6 ** (1 / power), rel=1e-13)
    box, wide = np.array([1.0, 1, 0, 0]), np.array([0.5, 0.5, 0.5, 0.5])
    assert distance_1d(np.arange(5.0), box, wide) == pytest.approx((8 / 3) ** 0.5, rel=1e-13)  # T x = 2x


def test_gaussians_and_the_quantile_integral():
    """(m - m')^2 + (s - s')^2, and by brute force over the levels."""
    edges = np.linspace(-9, 9, 4001)

    def density(mean, deviation):
        return np.diff(norm.cdf(edges, mean, deviation)) / np.diff(edges)

    found = distance_1d(edges, density(-0.5, 0.8), density(1.0, 1.3))
    assert found == pytest.approx((1.5**2 + 0.5**2) ** 0.5, rel=1e-5)
    coarse = np.linspace(0, 1, 6)
    a, b = np.array([2.0, 0, 1, 0, 2]), np.array([0, 2.5, 0, 2.5, 0])
    level = (np.arange(400_000) + 0.5) / 400_000

    def quantile(d):
        return np.interp(level, np.concatenate([[0], np.cumsum(d * 0.2)]), coarse)

    for power in (1.0, 2.0, 3.0):
        expected = np.mean(np.abs(quantile(a) - quantile(b)) ** power) ** (1 / power)
        assert distance_1d(coarse, a, b, power) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    ("second", "power", "message"),
    [([1.0, 1.0], 0.5, "p >= 1"), ([3.0, -1.0], 2, "negative"), ([1.0, 1.1], 2, "masses 2 and 2.1 differ")],
)
def test_what_has_no_distance(second, power, message):
    with pytest.raises(CaseError, match=message):
        distance_1d(np.arange(3.0), np.ones(2), np.array(second), power)


def test_interpolation_on_a_line_moves_at_constant_speed():
    edges = np.sort(np.random.default_rng(3).uniform(0, 1, 401))
    centre = 0.5 * (edges[1:] + edges[:-1])
    one = np.exp(-((centre - 0.3) ** 2) / 0.004)
    other = np.exp(-((centre - 0.6) ** 2) / 0.01) + np.exp(-((centre - 0.8) ** 2) / 0.002)
    one, other = (d / (np.diff(edges) @ d) for d in (one, other))
    frames = [interpolated_1d(edges, one, other, part) for part in np.linspace(0, 1, 5)]
    np.testing.assert_allclose(frames[0], one, atol=1e-9)
    np.testing.assert_allclose(frames[4], other, atol=1e-9)
    whole = distance_1d(edges, one, other)
    for i in range(5):
        assert np.diff(edges) @ frames[i] == pytest.approx(1, rel=1e-12)
        for j in range(i):
            assert distance_1d(edges, frames[i], frames[j]) == pytest.approx((i - j) / 4 * whole, abs=2e-3)
    even = np.arange(7.0)
    bump = np.array([1.0, 2, 0, 0, 0, 0])
    np.testing.assert_allclose(interpolated_1d(even, bump, np.roll(bump, 4), 0.5), np.roll(bump, 2), atol=1e-14)


def test_bures_of_commuting_and_other_gaussians():
    s, t = np.diag([0.04, 0.09]), np.diag([0.16, 0.01])
    assert bures(np.zeros(2), s, np.array([3.0, 4.0]), t) == pytest.approx((25 + 0.2**2 + 0.2**2) ** 0.5, rel=1e-14)
    turn = np.array([[np.cos(0.5), -np.sin(0.5)], [np.sin(0.5), np.cos(0.5)]])
    mean, other = np.array([0.35, 0.4]), np.array([0.62, 0.6])
    one, two = 0.05**2 * np.eye(2), turn @ np.diag([0.065**2, 0.04**2]) @ turn.T
    assert bures(mean, one, other, two) == pytest.approx(0.33648923, abs=5e-9)
    a = transport_matrix(s, two)
    np.testing.assert_allclose(a @ s @ a.T, two, atol=1e-15)
    np.testing.assert_allclose(a, a.T, atol=1e-15)


def random_line(random, cells):
    """Noise, sparse noise, a bump or a block."""
    x, kind = (np.arange(cells) + 0.5) / cells, random.integers(4)
    if kind < 2:
        density = random.random(cells) * (random.random(cells) < (0.3 if kind else 1.0))
    elif kind == 2:
        density = np.exp(-0.5 * ((x - random.random()) / (0.02 + 0.1 * random.random())) ** 2)
    else:
        left = 0.7 * random.random()
        density = 1.0 * ((x > left) & (x < left + 0.05 + 0.2 * random.random()))
    return density / density.sum() if density.sum() > 0 else np.full(cells, 1.0 / cells)


def test_the_interval_holds_the_exact_distance_on_200_lines():
    """As strips of one row, so that plan and Legendre pair are asked, not the quantiles."""
    random, widths = np.random.default_rng(1), []
    for _ in range(200):
        cells = int(random.choice([16, 37, 64, 128]))
        strip = Box((0.0, 0.0), (1.0, 1e-3), (cells, 1)).build()
        one, other = random_line(random, cells), random_line(random, cells)
        exact = distance_1d(strip.edges[0], one, other) * 1e-3**0.5
        found = bounds(strip, one, other, width=0.98e-2, cells=4096)
        assert found.lower <= exact <= found.upper
        widths.append((found.upper - found.lower) / max(exact, 1e-300))
    assert max(widths) <= 1e-2


def test_shifts_and_products_are_inside():
    """Shifts by whole cells and products of lines, whose W2 is known, in cells that are no squares."""
    random = np.random.default_rng(5)
    for _ in range(8):
        dimension = int(random.integers(2, 4))
        cells = random.integers(8, 16 if dimension == 2 else 9, dimension)
        width = random.uniform(0.02, 0.2, dimension)
        mesh = Box((0.0,) * dimension, tuple(cells * width), tuple(int(n) for n in cells)).build()
        one = np.zeros(mesh.shape)
        one[tuple(slice(1, n // 2) for n in mesh.shape)] = random.random(tuple(n // 2 - 1 for n in mesh.shape))
        shift = [int(random.integers(1, n // 2)) for n in mesh.shape]
        exact = np.sqrt(mesh.volume @ one.ravel() * sum((s * h) ** 2 for s, h in zip(shift, width[::-1], strict=True)))
        found = bounds(mesh, one.ravel(), np.roll(one, shift, tuple(range(dimension))).ravel())
        assert found.lower <= exact * (1 + 1e-14)
        assert found.upper >= exact * (1 - 1e-14)
        assert found.width <= 0.02
    p, q = ([random_line(random, n), random_line(random, n)] for n in (12, 20))
    mesh = Box((0.0, 0.0), (1.0, 0.4), (12, 20)).build()
    squares = [distance_1d(np.linspace(0, a, len(d[0]) + 1), *d) ** 2 * len(d[0]) / a for a, d in ((1, p), (0.4, q))]
    volume = mesh.volume[0]
    found = bounds(mesh, np.outer(q[0], p[0]).ravel() / volume, np.outer(q[1], p[1]).ravel() / volume)
    assert found.lower <= sum(squares) ** 0.5 <= found.upper


def test_rotated_gaussians_to_a_thousandth():
    mesh = Box((0.0, 0.0), (1.0, 1.0), (64, 64)).build()
    turn = np.array([[np.cos(0.5), -np.sin(0.5)], [np.sin(0.5), np.cos(0.5)]])
    one = gaussian_density(mesh, np.array([0.35, 0.4]), 0.05**2 * np.eye(2), "average")
    other = gaussian_density(mesh, np.array([0.62, 0.6]), turn @ np.diag([0.065**2, 0.04**2]) @ turn.T, "average")
    found = bounds(mesh, one, other * (one.sum() / other.sum()))
    assert found.width <= 1e-3
    assert found.lower <= 0.33648923 * (1 + 1e-4)
    assert found.upper == pytest.approx(0.33648923, rel=3e-4)


def test_legendre_is_the_maximum_over_all_nodes():
    random = np.random.default_rng(6)
    source, target = [np.sort(random.random(n)) for n in (5, 7)], [np.sort(random.normal(size=n)) for n in (6, 4)]
    value = random.random((5, 7))
    value[2, 3] = np.inf
    x, y = (np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 2) for axes in (target, source))
    brute = (x @ y.T - value.ravel()).max(axis=1).reshape(6, 4)
    found, (i, j) = legendre_nodes(value, source, target)
    np.testing.assert_allclose(found, brute, rtol=1e-14)
    np.testing.assert_array_equal(legendre(value, source, target), found)
    grid = np.meshgrid(*target, indexing="ij")
    np.testing.assert_allclose(grid[0] * source[0][i] + grid[1] * source[1][j] - value[i, j], brute, rtol=1e-13)


def test_the_network_simplex_reports_what_no_arc_carries():
    network = NetworkSimplex(np.array([3, 2]), np.array([4, 1]), penalty=100.0)
    network.add(np.array([0, 1]), np.array([0, 0]), np.array([1.0, 5.0]))
    flow = network.solve(1e-12)
    assert (flow.mass.sum(), flow.spare_supply.sum(), flow.spare_demand.sum()) == (4, 1, 1)
    network.add(np.array([0, 1]), np.array([1, 1]), np.array([1.0, 1.0]))
    flow = network.solve(1e-12)
    assert flow.spare_supply.sum() == 0
    assert dict(zip(zip(flow.tail, flow.head, strict=True), flow.mass, strict=True)) == {
        (0, 0): 3,
        (1, 0): 1,
        (1, 1): 1,
    }
    with pytest.raises(ValueError, match="same total"):
        NetworkSimplex(np.array([1]), np.array([2]), 1.0)


def test_frames_of_a_result_have_distances():
    ds = ou(2, 24).run()
    same = fvflow.wasserstein.distance(ds, 0, 0)
    assert same.lower <= 1e-7
    far = fvflow.wasserstein.distance(ds, 0, -1)
    exact = bures(np.array([0.8, -0.4]), 0.5 * np.eye(2), *ou(2, 24).prepare().reference.moments(0.4))
    assert far.lower <= exact * 1.05
    assert far.upper >= exact * 0.95
    line = ou(1, 200).run()
    assert fvflow.wasserstein.distance(line, 0, 1).width < 1e-11
    with pytest.raises(CaseError, match="is not an integer"):
        fvflow.wasserstein.distance(line, 0.5, 1)
    with pytest.raises(CaseError, match="width 0; give"):
        fvflow.wasserstein.distance(line, 0, 1, width=0)
    with pytest.raises(CaseError, match="frame 7: the result has 2 frames"):
        fvflow.wasserstein.distance(line, 0, 7)


def fraction_w2(edges, first, second):
    """W2^2 on a line in exact arithmetic, of the densities scaled to the first one's mass."""
    edges = [Fraction(float(x)) for x in edges]
    sums = []
    for density in (first, second):
        levels = [Fraction(0)]
        for a, b, d in zip(edges, edges[1:], density, strict=False):
            levels.append(levels[-1] + (b - a) * Fraction(float(d)))
        sums.append(levels)
    sums[1] = [level * sums[0][-1] / sums[1][-1] for level in sums[1]]
    marks, total = sorted({*sums[0], *sums[1]}), Fraction(0)

    def quantile(levels, u, inside):
        cell = max(i for i in range(len(levels) - 1) if levels[i] <= inside and levels[i + 1] > levels[i])
        return edges[cell] + (edges[cell + 1] - edges[cell]) * (u - levels[cell]) / (levels[cell + 1] - levels[cell])

    for start, end in pairwise(marks):
        near, far = (
            quantile(sums[0], u, (start + end) / 2) - quantile(sums[1], u, (start + end) / 2) for u in (start, end)
        )
        total += (end - start) * (near**2 + near * far + far**2) / 3
    return total


def test_the_interval_on_a_line_holds_exact_arithmetic():
    """Densities that nearly agree, thin tails, and lines far from the origin."""
    random, edges = np.random.default_rng(7), np.linspace(0, 1, 11)
    one = np.zeros(10)
    one[0] = 10.0
    pairs = [(edges, one, one + np.eye(10)[9] * thin) for thin in (1e-16, 1e-12, 1e-6)]
    pairs += [(1e6 + edges, *random.random((2, 10))), (edges, random.random(10), random.random(10) ** 20)]
    for line, first, second in pairs:
        second = second * (np.diff(line) @ first) / (np.diff(line) @ second)
        found = bounds(Grid((line,)), first, second)
        exact = fraction_w2(line, first, second)
        assert Fraction(found.lower) ** 2 <= exact <= Fraction(found.upper) ** 2
    assert found.width <= 1e-9


def test_cells_that_are_only_nearly_equal_are_mapped_affinely():
    widths = 1 - 0.9e-9 * (np.arange(64) / 63 - 0.5)
    edges = np.concatenate([[0.0], np.cumsum(widths)]) / widths.sum()
    mesh = Grid((edges, np.linspace(0, 1e-6, 2)))
    one, other = np.zeros((2, 64))
    one[0], other[32] = 1 / mesh.volume[0], 1 / mesh.volume[32]
    exact = distance_1d(edges, one * mesh.volume[0] / edges[1], other * mesh.volume[0] / edges[1])
    found = bounds(mesh, one, other)
    assert found.lower <= exact <= found.upper
    assert found.upper == pytest.approx(exact, rel=1e-7)


def test_results_in_single_precision_have_distances():
    ds = ou(2, 12).replace({"output": {"precision": "single"}}).run()
    assert 0.1 < fvflow.wasserstein.distance(ds, 0, -1).upper < 1.0


def test_a_guess_that_is_not_finite_is_no_guess():
    mesh, density = Box((0.0, 0.0), (1.0, 1.0), (4, 4)).build(), np.ones(16)
    assert bounds(mesh, density, density, potential=np.full(16, np.nan)).upper <= 1e-6


def test_nonuniformity_is_relative_to_a_cell():
    assert Box((1e3, -2.0), (1e3 + 1, 5.0), (64, 7)).build().nonuniformity <= 1e-10
    assert Grid((np.array([0.0, 1.1, 2.0, 3.0]), np.array([0.0, 1.0]))).nonuniformity == pytest.approx(0.1)


def test_graded_boxes_have_bounds_and_other_meshes_none():
    random = np.random.default_rng(9)
    mesh = Graded((0.0, 0.0), (1.0, 0.4), (24, 17), (6.0, 0.3)).build()
    p, q = ([random.random(len(edge) - 1) / np.diff(edge) for _ in range(2)] for edge in mesh.edges)
    p, q = ([d / (np.diff(edge) @ d) for d in pair] for pair, edge in zip((p, q), mesh.edges, strict=True))
    exact = sum(distance_1d(edge, *pair) ** 2 for pair, edge in zip((p, q), mesh.edges, strict=True)) ** 0.5
    found = bounds(mesh, np.outer(q[0], p[0]).ravel(), np.outer(q[1], p[1]).ravel(), width=1e-2)
    assert found.lower <= exact <= found.upper
    assert found.width <= 1e-2
    ring = Grid((np.linspace(0.5, 1, 5), np.linspace(0, 1, 5)), revolution=Revolution.whole(2))
    with pytest.raises(CaseError, match="need a box"):
        bounds(ring, np.ones(16), np.ones(16))


@pytest.mark.parametrize(
    ("value", "message"),
    [(-1.0, "negative"), (np.nan, "not finite"), (np.inf, "not finite"), (9.0, "the masses 1 and 1.5 differ")],
)
@pytest.mark.parametrize("dimension", [1, 2])
def test_what_is_no_pair_of_densities_is_refused(value, message, dimension):
    mesh = Box((0.0,) * dimension, (1.0,) * dimension, (16,) if dimension == 1 else (4, 4)).build()
    other = np.ones(16)
    other[5] = value
    with pytest.raises(CaseError, match=message):
        bounds(mesh, np.ones(16), other)
    with pytest.raises(CaseError, match="the masses 1 and 0 differ or are 0"):
        bounds(mesh, np.ones(16), np.zeros(16))
