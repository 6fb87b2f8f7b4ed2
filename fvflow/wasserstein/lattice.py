"""Neighbours, differences and transforms of arrays (cell, ...) on a box; `rings` are its periodic axes.

Along a ring the last face, of as many as cells, joins the last cell to the first; else faces are those between cells.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from fvflow.mesh import Array


def steps(field: Array, axis: int, rings: Collection[int]) -> Array:
    """The differences over the faces along an axis (face, ...)."""
    return np.roll(field, -1, axis) - field if axis in rings else np.diff(field, axis=axis)


def pairs(field: Array, axis: int, rings: Collection[int]) -> tuple[Array, Array]:
    """The values of the cells below and above each face along an axis, each (face, ...)."""
    if axis in rings:
        return field, np.roll(field, -1, axis)
    lines = np.moveaxis(field, axis, 0)
    return np.moveaxis(lines[:-1], 0, axis), np.moveaxis(lines[1:], 0, axis)


def sides(flux: Array, axis: int, rings: Collection[int]) -> tuple[Array, Array]:
    """The values (cell, ...) at the lower and upper face of each cell, 0 at walls, of a flux (face, ...)."""
    if axis in rings:
        return np.roll(flux, 1, axis), flux
    before, after = ([(0, 0)] * flux.ndim for _ in range(2))
    before[axis], after[axis] = (1, 0), (0, 1)
    return np.pad(flux, before), np.pad(flux, after)


def angles(cells: int, ring: bool) -> Array:
    """The angles (cell,) between neighbours in the cosines, or the waves of a ring."""
    return (2.0 if ring else 1.0) * np.pi * np.arange(cells) / cells


def filtered(values: Array, symbol: Array, rings: Collection[int]) -> Array:
    """Values (cell, ...) divided by a symbol (wave, ...), in cosines, or waves along rings."""
    from scipy.fft import dctn, fftn, idctn, ifftn

    if not rings:
        return np.asarray(idctn(dctn(values) / symbol))
    walled = [axis for axis in range(values.ndim) if axis not in rings]
    waves = fftn(dctn(values, axes=walled) if walled else values, axes=list(rings)) / symbol
    back = ifftn(waves, axes=list(rings)).real
    return np.asarray(idctn(back, axes=walled) if walled else back)
