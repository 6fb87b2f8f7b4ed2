"""How convex an energy is along geodesics of W2."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from fvflow.fields import Kernel
from fvflow.mesh import Array, Mesh

_POINTS = {1: 401, 2: 65, 3: 25}  # displacements along each axis at which a kernel is looked at, by dimension
_LOWERED = 0.1  # of the range of D^2 W: by how much half the spacing may lower its least value


class Convexity(NamedTuple):
    """Moduli of E along a (generalised) geodesic of velocity v of densities of mass M, a lower bound:

    E'' >= potential int |v|^2 drho + interaction (M int |v|^2 drho - |int v drho|^2).
    """

    potential: float = 0.0
    """lambda with D^2 V >= lambda."""
    interaction: float = 0.0
    """lambda with D^2 W >= lambda; where the means agree it counts M times, as far as they differ it does not."""


def least_curvature(values: Array, centres: Sequence[Array], periods: Iterable[float] = ()) -> float:
    """The least eigenvalue of D^2 of a function (..., y, x) at the inner points of a grid, by differences.

    Exact for quadratic functions. `centres` are those along the axes of the array, and `periods` theirs, along which
    all points are inner ones, infinite between walls; nan if an axis has less than three.
    """
    dimension = len(centres)
    if min(map(len, centres)) < 3:
        return np.nan
    centres = list(centres)
    for axis, period in enumerate(periods):
        if np.isfinite(period):
            values = np.concatenate([values.take([-1], axis), values, values.take([0], axis)], axis)
            centre = centres[axis]
            centres[axis] = np.concatenate([centre[-1:] - period, centre, centre[:1] + period])
    inner = (slice(1, -1),) * dimension
    second = np.empty((*(len(centre) - 2 for centre in centres), dimension, dimension))
    for one, centre in enumerate(centres):
        slope = np.diff(values, axis=one) / _along(np.diff(centre), one, dimension)
        curvature = np.diff(slope, axis=one) / _along(0.5 * (centre[2:] - centre[:-2]), one, dimension)
        others = tuple(slice(None) if axis == one else slice(1, -1) for axis in range(dimension))
        second[..., one, one] = curvature[others]
        gradient = np.gradient(values, centre, axis=one)
        for two in range(one):
            mixed = np.gradient(gradient, centres[two], axis=two)[inner]
            second[..., one, two] = second[..., two, one] = mixed
    if not np.isfinite(second).all():
        return np.nan
    return float(np.linalg.eigvalsh(second)[..., 0].min())


def _along(values: Array, axis: int, dimension: int) -> Array:
    return values.reshape(tuple(-1 if place == axis else 1 for place in range(dimension)))


def kernel_modulus(kernel: Kernel, mesh: Mesh) -> float:
    """A lower bound of D^2 W over the displacements between points of a box, by differences; nan if it is not known.

    It is the least eigenvalue, less what half the spacing changes. It is not known where W is not finite, or so little
    smooth that a closer look lowers it, as at a concave kink.
    """
    if mesh.product_edges is None or mesh.periodic:
        return np.nan
    size = [float(np.ptp(edge)) for edge in mesh.product_edges][::-1]

    def least(points: int) -> tuple[float, float]:
        axes = [np.linspace(-length, length, points) for length in size]
        value = np.array(kernel(*reversed(np.meshgrid(*axes, indexing="ij", sparse=True))))
        with np.errstate(invalid="ignore"):
            return least_curvature(value, axes), -least_curvature(-value, axes)

    points = _POINTS[mesh.dimension]
    (coarse, _), (fine, largest) = least(points), least(2 * points - 1)
    known = fine >= coarse - _LOWERED * (max(largest, coarse) - min(coarse, fine) + abs(coarse))
    return fine - abs(coarse - fine) if known else np.nan  # which is off by more than fine is
