"""Samples of a density that is constant in each cell."""

from __future__ import annotations

import numpy as np

from fvflow.errors import NumericsError
from fvflow.mesh import Array, Index, Mesh, hilbert_order

_BLOCK = 2**18  # points at a time


def samples(mesh: Mesh, density: Array, count: int, seed: int, *, stratified: bool = True) -> Array:
    """Samples (sample, dim) of the density rho (cell,), constant in each cell and not normalised.

    Independent samples are drawn from rho/mass, one by one. Stratified ones have the same law each, but together they
    fill the cells evenly: with the masses summed up along a Hilbert curve, the i-th lies where the sum first exceeds
    (i + u)/count of the mass, u uniform in [0, 1) and the same for all. So any stretch of the curve has count times its
    share of the mass, to within one, and every k-th sample is a stratified sample again. Within its cell each position
    is uniform. The generator is numpy's Philox. Raises NumericsError if the density is negative
    somewhere, or 0 everywhere.
    """
    pieces = mesh.pieces
    mass = _mass(mesh, density)[pieces.cell] * pieces.share
    random = np.random.Generator(np.random.Philox(seed))
    if stratified:
        chosen = _systematic(mass, _along_curve(mesh, pieces.cell), count, random.random())
    else:
        chosen = np.flatnonzero(mass).astype(np.int32)  # round-off of the last ones must not reach an empty piece
        chosen = np.repeat(chosen, random.multinomial(count, mass[chosen] / mass.sum()))
        random.shuffle(chosen)
    found = np.empty((count, mesh.dimension))
    for first in range(0, count, _BLOCK):
        part = chosen[first : first + _BLOCK]
        found[first : first + _BLOCK] = pieces.positions(part, random.random((len(part), mesh.dimension)))
    return found


def _mass(mesh: Mesh, density: Array) -> Array:
    """Masses |K| rho_K (cell,), of which none is negative and one is positive."""
    right = (density >= 0) & np.isfinite(density)
    if not right.all():
        raise NumericsError(
            f"the density is {density[~right].min():g} in one of {(~right).sum()} cells where it is negative or not "
            "finite, so that it has no samples; run with a stepper and a flux that keep it positive"
        )
    mass = mesh.volume * density
    if not mass.any():
        raise NumericsError("the density is 0 everywhere and has no samples; take an earlier time")
    return mass


def _along_curve(mesh: Mesh, cell: Index) -> Index:
    """The pieces in the order of their cells along a Hilbert curve (piece,)."""
    rank = np.empty(mesh.cells, np.int32)
    rank[hilbert_order(mesh.centre)] = np.arange(mesh.cells)
    return np.argsort(rank[cell], kind="stable").astype(np.int32)


def _systematic(mass: Array, order: Index, count: int, shift: float) -> Index:
    """The pieces (sample,), in the given order, in which (i + shift)/count of the mass is reached, i < count."""
    reached = np.cumsum(mass[order])
    before = np.ceil(reached * (count / reached[-1]) - shift).clip(0, count)
    before[np.searchsorted(reached, reached[-1]) :] = count
    return np.repeat(order, np.diff(before, prepend=0.0).astype(np.int64))
