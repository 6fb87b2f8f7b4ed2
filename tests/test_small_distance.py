"""Proved intervals around W2 of positive densities that are close."""

import numpy as np
import ot
import pytest

from fvflow.mesh import Box
from fvflow.wasserstein import bounds, distance_1d
from fvflow.wasserstein.flux_bound import flux_bound, inverse_mean
from fvflow.wasserstein.small_distance import close_bounds
from fvflow.wasserstein.spline_dual import Boxes, images, spline_bound
from fvflow.wasserstein.spline_potential import SplinePotential
from fvflow.wasserstein.tail_flux import tail_flux_bound

pytestmark = pytest.mark.usefixtures("no_products")


def field(random, shape, waves=3):
    """A random sum of cosines, at most 1."""
    total = np.zeros(shape)
    for _ in range(8):
        term = np.full(shape, random.normal())
        for axis, n in enumerate(shape):
            wave = np.cos(np.pi * random.integers(0, waves + 1) * (np.arange(n) + 0.5) / n)
            term = term * wave.reshape([-1 if a == axis else 1 for a in range(len(shape))])
        total += term
    return total / np.abs(total).max()


def close(box, first, second, width=1e-3):
    """The interval for densities of their own mass."""
    found, scale = close_bounds(box, first, second, width), np.sqrt(box.volume @ first)
    return scale * found.lower, scale * found.upper


def pair_at(cells, distance, seed):
    """Positive smooth masses on so many cells, about `distance` cells apart."""
    random, strength = np.random.default_rng(seed), 1e-3
    one, change = (field(random, cells) for _ in range(2))
    for _ in range(6):
        mu, nu = np.exp(one), np.exp(one + strength * change)
        mu, nu = mu / mu.sum(), nu / nu.sum()
        strength *= distance / (flux_bound(mu, nu, (1.0,) * len(cells))[0])
    return mu, nu


def test_the_goals_at_256():
    box = Box((0.0, 0.0), (256.0, 256.0), (256, 256)).build()
    for distance, goal in ((0.02, 1e-3), (0.2, 1e-3), (2.0, 1e-3), (10.0, 1e-3)):
        mu, nu = pair_at((256, 256), distance, 0)
        lower, upper = close(box, mu.ravel(), nu.ravel())
        assert upper - lower <= goal * upper
        assert upper == pytest.approx(distance, rel=2e-2)


@pytest.mark.parametrize("dimension", [1, 2, 3])
def test_products_of_lines_are_inside(dimension):
    """W2^2 of products is the sum of that of the lines, by quantiles; cells are no cubes, the mass is not 1."""
    random, widths = np.random.default_rng(dimension), []
    for trial in range((12, 9, 6)[dimension - 1]):
        cells = random.integers(8, (200, 40, 11)[dimension - 1], dimension)
        lengths, strength = random.uniform(0.1, 3.0, dimension), 10.0 ** random.uniform(-6, 0.3)
        edges = [np.linspace(0.0, length, n + 1) for length, n in zip(lengths, cells, strict=True)]
        one = [np.exp(field(random, (n,))) for n in cells]
        other = [d * np.exp(strength * field(random, (n,))) for d, n in zip(one, cells, strict=True)]
        if trial % 3 == 0:
            other = [d * random.uniform(0.1, 1.0, len(d)) for d in other]  # rough
        one, other = ([d / (np.diff(e) @ d) for d, e in zip(pair, edges, strict=True)] for pair in (one, other))
        exact = sum(distance_1d(e, a, b) ** 2 for e, a, b in zip(edges, one, other, strict=True)) ** 0.5
        first, second = (2.0 * densities(pair) for pair in (one, other))
        box = Box((0.0,) * dimension, tuple(lengths), tuple(int(n) for n in cells)).build()
        lower, upper = close(box, first, second, width=1e-4)
        assert lower <= 2.0**0.5 * exact <= upper
        if trial % 3 and upper < 4 * np.min(lengths / cells):
            widths.append((upper - lower) / upper)
    assert len(widths) > 3
    assert np.median(widths) < 2e-2


def densities(lines):
    """The product density (cell,), x fastest."""
    total = np.ones(1)
    for line in lines:
        total = np.multiply.outer(line, total).ravel()
    return total


def test_linear_programs_are_never_violated():
    """Masses at the centres of cells that are split bound W2 of the densities from above, the old engine from below."""
    box, cells = Box((0.0, 0.0), (1.6, 1.6), (16, 16)).build(), 16
    place = (np.stack(np.meshgrid(*[np.arange(32) + 0.5] * 2, indexing="ij"), -1).reshape(-1, 2)) * 0.05
    cost = ot.dist(place, place)
    for seed, strength in enumerate((1e-3, 0.1, 1.0)):
        random = np.random.default_rng(seed)
        mu = np.exp(field(random, (cells, cells)))
        nu = mu * np.exp(strength * field(random, (cells, cells)))
        mu, nu = mu / mu.sum(), nu / nu.sum()
        fine = [np.kron(d, np.full((2, 2), 0.25)).ravel() for d in (mu, nu)]
        best = ot.emd2(*fine, cost, numItermax=10**7) ** 0.5
        lower, upper = close(box, mu.ravel() * 100, nu.ravel() * 100)
        assert lower <= best * (1 + 1e-9)
        assert upper >= bounds(box, mu.ravel() * 100, nu.ravel() * 100, width=0.5).lower
        assert upper >= best - 2 * (0.05**2 / 6) ** 0.5
        assert upper - lower <= 0.02 * upper


def test_any_potential_bounds_from_below_and_any_flux_from_above():
    """Also where they are bad, and where the potential is at the edge of convexity."""
    random, checked = np.random.default_rng(4), 0
    for _ in range(24):
        cells = tuple(int(n) for n in random.integers(5, 14, 2))
        spacing = tuple(random.uniform(0.5, 2.0, 2))
        one, other = ([random.uniform(0.2, 1.0, n) for n in cells] for _ in range(2))
        one, other = ([d / d.sum() for d in pair] for pair in (one, other))
        lines = zip(cells, spacing, one, other, strict=True)
        exact = sum(distance_1d(np.arange(n + 1.0) * h, a / h, b / h) ** 2 for n, h, a, b in lines)
        mu, nu = np.multiply.outer(*one), np.multiply.outer(*other)
        p = SplinePotential.through(field(random, cells), spacing)
        p = SplinePotential(p.coefficient * random.uniform(0.1, 0.999) / max(p.curvature.max(), 1e-3), spacing)
        boxes = images(p)[0]
        checked += spline_bound(p, boxes, mu, nu) > -np.inf
        assert spline_bound(p, boxes, mu, nu) <= exact
        size = np.array((1, *cells))[:, None, None, None]
        shifted = Boxes(np.clip(boxes.low + 0.3, 0.0, size - 0.1), np.clip(boxes.high + 0.3, 0.1, size))
        assert spline_bound(p, shifted, mu, nu) <= spline_bound(p, boxes, mu, nu) + 1e-12
        assert flux_bound(mu, nu, spacing, tolerance=1.0)[0] ** 2 >= exact
    assert checked == 24


def values_at(p, points):
    """p (point, ...) at a product of points, without kernels; and its second derivatives, by differences."""
    result = p.padded.reshape([n + 2 for n in p.coefficient.shape])
    for axis, (x, h) in enumerate(zip(points, p.spacing, strict=True)):
        centre = (np.arange(result.shape[axis]) - 0.5) * h
        apart = np.abs(x[:, None] - centre) / h
        spline = np.where(apart <= 0.5, 0.75 - apart**2, np.where(apart <= 1.5, 0.5 * (1.5 - apart) ** 2, 0.0))
        result = np.moveaxis(np.tensordot(spline, result, (1, axis)), 0, axis)
    return result


def test_the_bound_is_the_dual_value_and_the_curvature_holds():
    """Against the infimum over a fine grid, and second differences of p on it."""
    random, cells, fine = np.random.default_rng(8), (7, 6), 12
    for strength in (0.3, 0.9):
        p = SplinePotential.through(field(random, cells), (1.0, 0.8))
        p = SplinePotential(p.coefficient * strength / p.curvature.max(), p.spacing)
        points = [(np.arange(n * fine) + 0.5) * h / fine for n, h in zip(cells, p.spacing, strict=True)]
        values = values_at(p, points)
        np.testing.assert_allclose(p.means, values.reshape(7, fine, 6, fine).mean((1, 3)), atol=2e-3)
        square = [0.5 * (x[:, None] - x) ** 2 for x in points]
        least = np.min(values[None] + square[0][:, :, None], axis=1)  # over x of the first axis: (y0, x1)
        least = np.min(least[:, None, :] + square[1][None], axis=2)
        mu, nu = (random.uniform(0.1, 1.0, cells) for _ in range(2))
        mu, nu = mu / mu.sum(), nu / nu.sum()
        conjugates = least.reshape(7, fine, 6, fine).mean((1, 3))
        dual = 2.0 * float((nu * conjugates - mu * p.means).sum())
        found = spline_bound(p, images(p)[0], mu, nu)
        assert dual - 0.1 * strength < found < dual + 5e-3
        for direction in ((1, 0), (0, 1), (1, 1), (1, -1)):
            ahead, back = (
                values_at(p, [x + s * d * 1e-3 for x, d in zip(points, direction, strict=True)]) for s in (1, -1)
            )
            bent = (ahead - 2 * values + back) / 1e-6 / (direction[0] ** 2 + direction[1] ** 2)
            assert (-bent <= np.kron(p.curvature, np.ones((fine, fine))) + 1e-8).all()


def test_curvature_far_away_counts_where_the_gradient_is_large():
    """p is straight about x(y), taken as y, and bent towards a minimum of p + |x - y|^2/2 far from there."""
    bend = np.where(np.arange(40) < 5, -0.9, np.where(np.arange(40) > 12, -0.95, 0.0))
    p = SplinePotential(np.concatenate([[0.0], np.cumsum(np.cumsum(bend))[:-1]]), (1.0,))
    mu, nu = np.full(40, 1 / 40), np.where(np.arange(40) == 8, 1.0, 0.0)
    fine = (np.arange(4000) + 0.5) / 100
    conjugate = np.min(values_at(p, [fine]) + 0.5 * (fine[800:900, None] - fine) ** 2, axis=1).mean()
    dual = 2.0 * (conjugate - float(mu @ p.means))
    still = np.concatenate([np.zeros((2, 1, 1, 40)), np.arange(40.0).reshape(1, 1, 1, 40)])
    assert spline_bound(p, Boxes(still, still + 1.0), mu, nu) <= dual
    assert spline_bound(p, images(p)[0], mu, nu) == pytest.approx(dual, rel=0.1)


def test_what_is_moved_by_rounding_is_inside():
    """Densities that differ in the last digit, and masses 1e16 times as large as others."""
    box = Box((0.0, 0.0), (1.0, 1.0), (8, 8)).build()
    random = np.random.default_rng(3)
    mu = random.uniform(0.5, 1.0, 64)
    nu = mu.copy()
    nu[9], nu[10] = np.nextafter(nu[9], 2), np.nextafter(nu[10], 0)
    for one, other in ((mu, mu), (mu, nu), (nu, mu)):
        lower, upper = close(box, one, other)
        assert lower <= 1e-9
        assert 0 < upper < 1e-13
    steep = np.ones(8)
    steep[3] = 1e16
    other = np.roll(steep, 1)
    exact = distance_1d(np.linspace(0.0, 1.0, 9), steep, other)
    lower, upper = close(box, np.tile(steep, 8), np.tile(other, 8))
    assert lower <= exact <= upper


def test_the_logarithmic_mean_is_exact():
    small = np.array([0.0, 1e-17, 1e-9, 1e-5, 1e-4, 1e-3, 0.3, 1.0, 10.0, 1e8])
    found = inverse_mean(np.ones(10), 1.0 + small)
    exact = np.where(small > 0, np.log1p(small) / np.where(small > 0, small, 1.0), 1.0)
    np.testing.assert_allclose(found, exact, rtol=2e-15)
    assert np.isinf(inverse_mean(np.array([0.0, 1.0]), np.array([1.0, 0.0]))).all()


def test_what_has_no_such_bounds():
    box, one = Box((0.0, 0.0), (1.0, 1.0), (4, 4)).build(), np.ones(16)
    one[:8] = 0.0
    assert close_bounds(box, one, one[::-1]) is None  # nowhere both
    torus = Box((0.0, 0.0), (1.0, 1.0), (4, 4), periodic=("x",)).build()
    assert close_bounds(torus, one + 1e-9, one[::-1] + 1e-9) is None  # tails on a torus
    assert close_bounds(torus, np.ones(16), np.ones(16)).upper <= 1e-12


def test_tails_that_underflow_are_left_out():
    """A Gaussian and its translation by much less than a cell, which is W2; with 0 and 1e-300 in most cells."""
    box, x = Box((0.0, 0.0), (1.0, 1.0), (64, 64)).build(), (np.arange(64) + 0.5) / 64
    for shift in (1e-6, 1e-3):
        lines = [np.exp(-0.5 * ((x - middle) / 0.025) ** 2) for middle in (0.5, 0.5 + shift, 0.4)]
        one, other = (np.outer(lines[2], lines[k]).ravel() for k in range(2))
        other *= one.sum() / other.sum()
        assert min(one.min(), other.min()) < 1e-150
        found = bounds(box, one, other)
        exact = distance_1d(np.linspace(0.0, 1.0, 65), lines[0] / lines[0].mean(), lines[1] / lines[1].mean())
        assert found.lower <= exact * one.mean() ** 0.5 <= found.upper
        assert found.width <= 3e-2


def test_what_is_empty_in_one_of_both_costs_at_most_the_diameter():
    """The share of the mass there, times diam^2, is inside the upper bound; parts that are not connected have none."""
    random, shape, h = np.random.default_rng(2), (9, 7), (0.5, 0.25)
    one = random.uniform(0.5, 1.0, shape)
    other, gap = one.copy(), one.copy()
    other[3, 4], gap[4] = 0.0, 0.0
    share, diameter = one[3, 4] / one.sum(), np.hypot(9 * 0.5, 7 * 0.25)
    place = np.stack(np.meshgrid(*(np.arange(n) * s for n, s in zip(shape, h, strict=True)), indexing="ij"), -1)
    cost = ot.dist(place.reshape(-1, 2), place.reshape(-1, 2))
    atoms = ot.emd2(one.ravel() / one.sum(), other.ravel() / other.sum(), cost)
    upper = tail_flux_bound(one, other, h)[0]
    assert (
        max(share * diameter**2, atoms - 2 * np.hypot(*h) * atoms**0.5) <= upper**2 <= share * diameter**2 + 4 * atoms
    )
    assert tail_flux_bound(one, other, h, largest=0.9 * share**0.5 * diameter)[0] == np.inf
    assert tail_flux_bound(gap, gap, h)[0] == np.inf
    full = tail_flux_bound(one, one + 0.1 * random.random(shape), h)[0]
    assert full > 0


def test_the_bounds_of_any_pair_take_them_with_their_map():
    """Near pairs by the potential: phi + psi <= |x - y|^2/2, T is a gradient, S its inverse, and T#mu is nu."""
    box = Box((1.0, -2.0), (65.0, 62.0), (64, 64)).build()
    mu, nu = (d.ravel() for d in pair_at((64, 64), 0.5, 0))
    found = bounds(box, mu, nu)
    assert found.width <= 1e-3
    x = box.centre
    cost = 0.5 * ((x[::7, None] - x[::5]) ** 2).sum(axis=2)
    assert (cost - found.potential[::7, None] - found.conjugate[::5]).min() >= -1e-9
    assert np.sqrt(mu @ ((found.map - x) ** 2).sum(axis=1)) == pytest.approx(found.upper, rel=5e-3)
    assert np.sqrt(nu @ ((found.reverse_map - x) ** 2).sum(axis=1)) == pytest.approx(found.upper, rel=5e-3)
    for function in (np.cos, np.square):
        assert mu @ function(found.map / 9) == pytest.approx(nu @ function(x / 9), rel=1e-3, abs=1e-3)
        assert nu @ function(found.reverse_map / 9) == pytest.approx(mu @ function(x / 9), rel=1e-3, abs=1e-3)
