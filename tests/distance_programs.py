"""Bounds of W2 of many pairs against linear programs between atoms; by hand.

python -m tests.distance_programs [--pairs 300] [--seed 7] [--cells 16 32] [--periodic x y]

A plan between the atoms at the cell centres moves whole cells onto cells: their distance is an upper bound of W2, that
of atoms at the centres of half as large cells too. Pushing a density onto the centres of cells of width h moves it by
h/sqrt(6) in two dimensions: W2 is at most twice that below the distance of the atoms. Prints a line for each violation.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from math import sqrt

import numpy as np

from fvflow.mesh import Array, Box
from fvflow.wasserstein import Bounds, bounds
from tests.transport_pairs import FAMILIES, pair


def programs(
    one: Array, other: Array, parts: tuple[int, ...] = (1, 2), periodic: Sequence[str] = ()
) -> tuple[float, float]:
    """A lower and an upper bound of W2 of two densities (cell, cell) on the unit square, their cells cut into parts.

    Along periodic axes, x the last one, distances are those on the circle.
    """
    import ot

    lower, upper, n = 0.0, np.inf, len(one)
    for cut in parts:
        axis = (np.arange(n * cut) + 0.5) / (n * cut)
        place = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
        mu, nu = (np.kron(density, np.ones((cut, cut))).ravel() for density in (one, other))
        mu, nu = mu / mu.sum(), nu / nu.sum()
        a, b = mu > 0, nu > 0
        cost = ot.dist(place[a], place[b])
        for along in ("yx".index(name) for name in periodic):
            away = np.abs(place[a][:, None, along] - place[b][:, along])
            cost += np.minimum(away, 1.0 - away) ** 2 - away**2
        atoms = sqrt(max(float(ot.emd2(mu[a], nu[b], cost, numItermax=10**7)), 0.0))
        lower, upper = max(lower, atoms - 2.0 / (n * cut) / sqrt(6.0)), min(upper, atoms)
    return lower, upper


def violated(found: Bounds, lower: float, upper: float) -> bool:
    """Whether an interval does not meet that of the programs."""
    return found.lower > upper * (1 + 1e-12) + 1e-14 or found.upper < lower - 1e-12


def main() -> None:
    """Half of the pairs on each number of cells."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=300)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--cells", type=int, nargs="+", default=[16, 32])
    parser.add_argument("--periodic", nargs="*", choices=["x", "y"], default=[])
    chosen = parser.parse_args()
    names, bad = list(FAMILIES), 0
    widths: dict[str, list[float]] = {name: [] for name in names}
    for index in range(chosen.pairs):
        n, family = chosen.cells[index % len(chosen.cells)], names[index // len(chosen.cells) % len(names)]
        seed = 1000 * chosen.seed + index
        one, other = pair(family, n, seed)
        mesh = Box((0.0, 0.0), (1.0, 1.0), (n, n), periodic=tuple(chosen.periodic)).build()
        found = bounds(mesh, one.ravel(), other.ravel())
        lower, upper = programs(one, other, (1, 2) if n <= 16 else (1,), chosen.periodic)
        widths[family].append(found.width)
        if violated(found, lower, upper):
            bad += 1
            print(f"{family} {n} {seed}: [{found.lower}, {found.upper}], programs [{lower}, {upper}]", flush=True)
    for family, values in widths.items():
        print(f"{family}: {len(values)} pairs, widest {max(values, default=0.0):.1e}")
    print(f"{bad} of {chosen.pairs} violated")


if __name__ == "__main__":
    main()
