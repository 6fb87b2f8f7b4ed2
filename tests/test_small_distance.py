"""Proved intervals around W2 of positive densities that are close."""

import numpy as np
import ot
import pytest

from fvflow.errors import CaseError
from fvflow.mesh import Box
from fvflow.wasserstein import bounds, distance_1d
from fvflow.wasserstein.flux_bound import flux_bound, inverse_mean
from fvflow.wasserstein.small_distance import small_distance_bounds
from fvflow.wasserstein.spline_dual import Boxes, SplinePotential, images, spline_bound


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
        lower, upper = small_distance_bounds(box, mu.ravel(), nu.ravel())
        assert upper - lower <= goal * upper
        assert upper == pytest.approx(distance, rel=2e-2)


@pytest.mark.parametrize("dimension", [1, 2, 3])
def test_products_of_lines_are_inside(dimension):
    """W2^2 of products is the sum of that of the lines, by quantiles; cells are no cubes, the mass is not 1."""
    random, widths = np.random.default_rng(dimension), []
    for trial in range((30, 15, 9)[dimension - 1]):
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
        lower, upper = small_distance_bounds(box, first, second, width=1e-4)
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
        lower, upper = small_distance_bounds(box, mu.ravel() * 100, nu.ravel() * 100)
        assert lower <= best * (1 + 1e-9)
        assert upper >= bounds(box, mu.ravel() * 100, nu.ravel() * 100, width=0.5).lower
        assert upper >= best - 2 * (0.05**2 / 6) ** 0.5
        assert upper - lower <= 0.02 * upper


def test_any_potential_bounds_from_below_and_any_flux_from_above():
    """Also where they are bad, and where the potential is at the edge of convexity."""
    random, checked = np.random.default_rng(4), 0
    for _ in range(60):
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
    assert checked == 60


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
        lower, upper = small_distance_bounds(box, one, other)
        assert lower <= 1e-9
        assert 0 < upper < 1e-13
    steep = np.ones(8)
    steep[3] = 1e16
    other = np.roll(steep, 1)
    exact = distance_1d(np.linspace(0.0, 1.0, 9), steep, other)
    lower, upper = small_distance_bounds(box, np.tile(steep, 8), np.tile(other, 8))
    assert lower <= exact <= upper


def test_the_logarithmic_mean_is_exact():
    small = np.array([0.0, 1e-17, 1e-9, 1e-5, 1e-4, 1e-3, 0.3, 1.0, 10.0, 1e8])
    found = inverse_mean(np.ones(10), 1.0 + small)
    exact = np.where(small > 0, np.log1p(small) / np.where(small > 0, small, 1.0), 1.0)
    np.testing.assert_allclose(found, exact, rtol=2e-15)
    assert np.isinf(inverse_mean(np.array([0.0, 1.0]), np.array([1.0, 0.0]))).all()


def test_what_has_no_such_bounds():
    box = Box((0.0, 0.0), (1.0, 1.0), (4, 4)).build()
    empty = np.ones(16)
    empty[3] = 0.0
    assert small_distance_bounds(box, empty, np.roll(empty, 1)) == (0.0, np.inf)
    with pytest.raises(CaseError, match="masses 1 and 2 differ"):
        small_distance_bounds(box, np.ones(16), np.full(16, 2.0))
    with pytest.raises(CaseError, match="equal cells with walls"):
        small_distance_bounds(Box((0.0, 0.0), (1.0, 1.0), (4, 4), periodic=("x",)).build(), np.ones(16), np.ones(16))
