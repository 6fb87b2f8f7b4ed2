"""How far the numbers of particles in the cells are from a law, in standard errors."""

from __future__ import annotations

import numpy as np

from fvflow.mesh import Array, Mesh

_EXPECTED = 5.0  # particles in a class of the chi-square test, at least


def bands(mesh: Mesh, counts: Array, total: int, expected: Array) -> dict[str, float]:
    """Figures of the numbers of particles (cell,) of `total` against the masses p (cell,), whose sum is at most 1.

    The rest of both have been absorbed. With f = c - m and f = (c - m)(c - m)^T, c the centre of the cell and m its
    mean under p, `mean_deviation` and `covariance_deviation` are the largest of the entries of

        |sum_K (n_K/n - p_K) f_K| / sqrt((sum_K p_K f_K^2 - (sum_K p_K f_K)^2)/n).

    `chi_square_p` is the probability of a larger chi-square, with cells of fewer than five expected particles merged;
    nan if that leaves one class. Nothing is compared if all has been absorbed under the law.
    """
    if not expected.any():
        return {}
    share = counts / total - expected
    offset = mesh.centre - expected @ mesh.centre / expected.sum()
    products = (offset[:, :, None] * offset[:, None, :]).reshape(len(offset), -1)
    return {
        "mean_deviation": _deviation(offset, share, expected, total),
        "covariance_deviation": _deviation(products, share, expected, total),
        "chi_square_p": chi_square_p(counts, total, expected),
    }


def _deviation(values: Array, share: Array, expected: Array, total: int) -> float:
    """The largest deviation of means of functions (cell, function), in standard errors; 0 for those that vanish."""
    variance = (expected @ values**2 - (expected @ values) ** 2) / total
    apart = np.abs(share @ values)
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.where(apart > 0, apart / np.sqrt(np.maximum(variance, 0.0)), 0.0).max())


def chi_square_p(counts: Array, total: int, expected: Array) -> float:
    """The p-value of Pearson's test of numbers of particles (cell,) against masses (cell,), as in `bands`."""
    from scipy.special import chdtrc

    lost = max(1.0 - expected.sum(), 0.0)
    found = np.append(counts, total - counts.sum())
    wanted = total * np.append(expected, lost)
    few = wanted < _EXPECTED
    merged = np.floor(np.cumsum(wanted[few]) / (2 * _EXPECTED)).astype(int)  # every class but the last has enough
    number = np.empty(len(wanted), np.int64)
    number[~few] = np.arange((~few).sum())
    number[few] = (~few).sum() + merged
    wanted, found = np.bincount(number, wanted), np.bincount(number, found)
    if wanted[-1] < _EXPECTED and len(wanted) > 1:
        smallest = int(np.argmin(wanted[:-1]))
        wanted[smallest] += wanted[-1]
        found[smallest] += found[-1]
        wanted, found = wanted[:-1], found[:-1]
    if len(wanted) < 2:
        return float("nan")
    return float(chdtrc(len(wanted) - 1, ((found - wanted) ** 2 / wanted).sum()))
