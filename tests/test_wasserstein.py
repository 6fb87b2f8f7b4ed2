"""Exact distances on a line."""

import numpy as np
import pytest
from scipy.stats import norm

from fvflow.errors import CaseError
from fvflow.wasserstein import distance_1d


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
