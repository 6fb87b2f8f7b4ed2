"""Densities on a box that are products of densities along its axes: they move along each axis by itself."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fvflow.mesh import Array

_DIFFERENCE = 1e-13  # of a density and the product of its marginals, relative to the mass, that counts as round-off
_ROUNDING = 5 * float(np.finfo(float).eps)  # relative, of the product and of the marginals in doubles, in 3D


class Factors(NamedTuple):
    """The marginals of a density that is their product but for round-off."""

    masses: tuple[Array, ...]
    """Mass of each cell along x, y, z, each (cell of the axis,), all of the mass M of the density."""
    off: float
    """A bound of sum_K |m_K - prod_a m_a,K/M^(d-1)|: that much of the mass, halved, is elsewhere."""


def factors(masses: Array) -> Factors | None:
    """The factors of masses of cells, their axes being (z, y,) x; None if they are no product."""
    dimension, total = masses.ndim, masses.sum(dtype=np.longdouble)
    marginals = [
        masses.sum(axis=tuple(other for other in range(dimension) if other != axis), dtype=np.longdouble)
        for axis in range(dimension)
    ]
    product = np.ones((1,) * dimension)
    for axis, marginal in enumerate(marginals):
        share = np.asarray(marginal / total, float)
        product = product * share.reshape([-1 if other == axis else 1 for other in range(dimension)])
    product *= float(total)
    product -= masses
    np.abs(product, out=product)
    off = float(product.sum())
    if not off <= _DIFFERENCE * total:
        return None
    return Factors(
        tuple(np.asarray(marginal, float) for marginal in reversed(marginals)), off + _ROUNDING * float(total)
    )
