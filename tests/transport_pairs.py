"""Seeded families of pairs of densities on the unit square or cube, from easy to hard, for distances."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fvflow.mesh import Array

Pair = tuple[Array, Array]


def _points(n: int, dimension: int) -> list[Array]:
    return list(np.meshgrid(*((np.arange(n) + 0.5) / n for _ in range(dimension)), indexing="ij"))


def _random_field(n: int, dimension: int, random: np.random.Generator, decay: float, cut: float = np.inf) -> Array:
    """A periodic Gaussian field of unit variance with the spectrum |k|^-decay up to a wave number."""
    k = np.sqrt(sum(np.ix_(*(np.fft.fftfreq(n, 1 / n) ** 2 for _ in range(dimension))), 0.0))
    amplitude = np.where((k > 0) & (k <= cut), np.maximum(k, 1.0) ** -decay, 0.0)
    # noise of the low modes does not depend on n
    noise = np.zeros((n,) * dimension, complex)
    modes = min(n, 64)
    low = np.fft.fftfreq(modes, 1 / modes).astype(int)
    noise[np.ix_(*(low % n for _ in range(dimension)))] = random.normal(size=(modes,) * dimension) + 1j * random.normal(
        size=(modes,) * dimension
    )
    if n > modes:
        high = noise == 0
        noise[high] = random.normal(size=high.sum()) + 1j * random.normal(size=high.sum())
    field = np.fft.ifftn(noise * amplitude).real
    return field / field.std()


def _bump(x: list[Array], centre: Array, deviation: float) -> Array:
    return np.exp(-0.5 * sum((axis - c) ** 2 for axis, c in zip(x, centre, strict=True)) / deviation**2)


def gaussians(n: int, d: int, random: np.random.Generator) -> Pair:
    """Two Gaussians of other covariances."""
    x, pair = _points(n, d), []
    for low, high in ((0.25, 0.45), (0.55, 0.75)):
        centre, root = random.uniform(low, high, d), np.linalg.qr(random.normal(size=(d, d)))[0]
        axes = [sum(root[i, j] * (x[j] - centre[j]) for j in range(d)) for i in range(d)]
        pair.append(np.exp(-0.5 * sum((a / s) ** 2 for a, s in zip(axes, random.uniform(0.05, 0.12, d), strict=True))))
    return pair[0], pair[1]


def smooth(n: int, d: int, random: np.random.Generator) -> Pair:
    """Mixtures of three broad Gaussians over a floor."""
    x = _points(n, d)
    one, other = (
        0.02
        + sum(random.uniform(0.5, 1) * _bump(x, random.uniform(*r, d), random.uniform(0.08, 0.2)) for _ in range(3))
        for r in ((0.1, 0.6), (0.4, 0.9))
    )
    return np.asarray(one), np.asarray(other)


def log_normal(n: int, d: int, random: np.random.Generator) -> Pair:
    """Exponentials of smooth random fields."""
    one, other = (np.exp(1.5 * _random_field(n, d, random, 3.0, 16.0)) for _ in range(2))
    return one, other


def noise(n: int, d: int, random: np.random.Generator) -> Pair:
    """A bump times white noise to another one."""
    x = _points(n, d)
    one, other = (_bump(x, random.uniform(*r, d), 0.12) * random.random((n,) * d) for r in ((0.2, 0.4), (0.6, 0.8)))
    return one, other


def ring_to_cross(n: int, d: int, random: np.random.Generator) -> Pair:
    """A ring (shell) to a cross, in vacuum."""
    x = _points(n, d)
    centre = 0.5 + random.uniform(-0.05, 0.05, d)
    radius = np.sqrt(sum((a - c) ** 2 for a, c in zip(x, centre, strict=True)))
    ring = 1.0 * (np.abs(radius - 0.33) < 0.06)
    arms = [np.abs(a - 0.5) < 0.05 for a in x]
    inside = np.logical_and.reduce([np.abs(a - 0.5) < 0.4 for a in x])
    cross = 1.0 * (inside & (np.sum(arms, axis=0) >= d - 1))
    return ring, cross


def discs(n: int, d: int, random: np.random.Generator) -> Pair:
    """One disc to two of other sizes."""
    x = _points(n, d)

    def disc(centre: Array, radius: float) -> Array:
        return 1.0 * (sum((a - c) ** 2 for a, c in zip(x, centre, strict=True)) < radius**2)

    shake = random.uniform(-0.04, 0.04, (3, d))
    one = disc(0.5 + shake[0], 0.2)
    other = np.maximum(disc(0.2 + shake[1], 0.12), disc(0.78 + shake[2], 0.15))
    return one, other


def stripes(n: int, d: int, random: np.random.Generator) -> Pair:
    """Stripes along one axis to stripes along another, over a floor."""
    x, phase = _points(n, d), random.random(2)
    one = 0.05 + 1.0 * (np.sin(2 * np.pi * (4 * x[0] + phase[0])) > 0)
    other = 0.05 + 1.0 * (np.sin(2 * np.pi * (5 * x[-1] + phase[1])) > 0)
    return one, other


def rough(n: int, d: int, random: np.random.Generator) -> Pair:
    """Exponentials of rough random fields."""
    one, other = (np.exp(1.0 * _random_field(n, d, random, 0.5 * d)) for _ in range(2))
    return one, other


def dust(n: int, d: int, random: np.random.Generator) -> Pair:
    """Two hundred cells each, of random mass."""
    one, other = np.zeros((2, n**d))
    for density in (one, other):
        density[random.choice(n**d, min(200, n**d), replace=False)] = random.random(min(200, n**d))
    return one.reshape((n,) * d), other.reshape((n,) * d)


def checkers(n: int, d: int, random: np.random.Generator) -> Pair:
    """A checkerboard of single cells to the left half of the other colour."""
    colour = np.indices((n,) * d).sum(axis=0) % 2
    other = 1.0 * (colour == 1)
    other[n // 2 + int(random.integers(0, n // 8)) :] = 0.0
    return 1.0 * (colour == 0), other


def steep(n: int, d: int, random: np.random.Generator) -> Pair:
    """An exponential of decay 20 by 10 to its mirror image."""
    x, rates = _points(n, d), np.array([20.0, 10.0, 10.0])[:d] * random.uniform(0.9, 1.1, d)
    one = np.exp(-sum(r * a for r, a in zip(rates, x, strict=True)))
    return one, one[(slice(None, None, -1),) * d].copy()


def point_to_uniform(n: int, d: int, random: np.random.Generator) -> Pair:
    """One cell to all cells."""
    one = np.zeros((n,) * d)
    one[tuple(random.integers(n // 4, 3 * n // 4, d))] = 1.0
    return one, np.ones((n,) * d)


FAMILIES: dict[str, Callable[[int, int, np.random.Generator], Pair]] = {
    family.__name__: family
    for family in (
        gaussians, smooth, log_normal, noise, ring_to_cross, discs, stripes, rough, dust, checkers, steep,
        point_to_uniform,
    )
}  # fmt: skip


def pair(family: str, n: int, seed: int = 0, dimension: int = 2) -> Pair:
    """Two densities (cell, ...) of mass 1 on n^dimension cells of the unit cube."""
    random = np.random.default_rng([seed, list(FAMILIES).index(family)])
    one, other = FAMILIES[family](n, dimension, random)
    return one * (n**dimension / one.sum()), other * (n**dimension / other.sum())
