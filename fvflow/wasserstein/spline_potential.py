"""Quadratic splines on a box, with a continuous gradient, and lower bounds of their curvature: see `spline_dual`."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from fvflow.mesh import Array
from fvflow.wasserstein.lattice import angles, filtered

BEYOND = 48  # cells beyond the ends of a periodic axis at which a potential is looked up


@dataclass(frozen=True)
class SplinePotential:
    """p with coefficients c (cell, ...), one dimension per axis."""

    coefficient: Array
    spacing: tuple[float, ...]
    rings: tuple[int, ...] = ()
    """The axes along which it is periodic."""

    @staticmethod
    def through(values: Array, spacing: Sequence[float], rings: tuple[int, ...] = ()) -> SplinePotential:
        """The spline with these values at the cell centres."""
        symbol = (
            0.75 + 0.25 * np.cos(angles(n, axis in rings)) if n > 1 else np.ones(1)
            for axis, n in enumerate(values.shape)
        )
        product: Array = np.ones(values.shape)
        for factor in np.ix_(*symbol):
            product = product * factor
        c = filtered(values, product, rings)
        return SplinePotential(c - 0.5 * (c.max() + c.min()), tuple(spacing), rings)

    def plus(self, other: SplinePotential, factor: float) -> SplinePotential:
        """p + factor q."""
        return replace(self, coefficient=self.coefficient + factor * other.coefficient)

    @property
    def shape3(self) -> tuple[int, int, int]:
        """The shape with axes of one cell in front, which the kernels want."""
        shape = self.coefficient.shape
        return (1,) * (3 - len(shape)) + shape  # type: ignore[return-value]

    @property
    def spacing3(self) -> Array:
        """The cell widths (3,), 1 for the axes in front."""
        return np.array((1.0,) * (3 - len(self.spacing)) + self.spacing)

    @property
    def beyond(self) -> Array:
        """Cells along three axes (3,) by which `wrapped` and `padded` go beyond both ends: none but along rings."""
        first = 3 - self.coefficient.ndim
        return np.array([BEYOND if axis - first in self.rings else 0 for axis in range(3)])

    @property
    def extent(self) -> Array:
        """Cells along three axes (3,) with those beyond the ends."""
        return np.array(self.shape3) + 2 * self.beyond

    def wrapped(self, field: Array) -> Array:
        """A field (cell, ...) on three axes, continued along rings."""
        field = field.reshape(self.shape3)
        return np.pad(field, [(more, more) for more in self.beyond], mode="wrap") if self.rings else field

    @cached_property
    def padded(self) -> Array:
        """The coefficients (cell, cell, cell), `wrapped`, with one more on either side of an axis, reflected."""
        c = self.wrapped(self.coefficient)
        return np.pad(c, [(1, 1) if n > 1 else (0, 0) for n in self.shape3], mode="symmetric")

    @cached_property
    def means(self) -> Array:
        """The means of p over the cells (cell, ...)."""
        p = self.coefficient
        for axis, n in enumerate(p.shape):
            if n > 1:
                left, right = _neighbours(p, axis, self.rings)
                p = (left + 4.0 * p + right) / 6.0
        return p

    @cached_property
    def hessian(self) -> Array:
        """D^2 p at the cell centres (cell, ..., axis, axis)."""
        c, h = self.coefficient, self.spacing
        result = np.zeros((*c.shape, c.ndim, c.ndim))
        for a in range(c.ndim):
            for b in range(a, c.ndim):
                part = c
                for axis in range(c.ndim):
                    left, right = _neighbours(part, axis, self.rings)
                    if axis == a == b:
                        part = (left - 2.0 * part + right) / h[a] ** 2
                    elif axis in (a, b):
                        part = (right - left) / (2.0 * h[axis])
                    else:
                        part = (left + 6.0 * part + right) / 8.0
                result[..., a, b] = result[..., b, a] = part
        return result

    @cached_property
    def gradient(self) -> Array:
        """grad p at the cell centres (cell, ..., axis)."""
        result = np.zeros((*self.coefficient.shape, self.coefficient.ndim))
        for a, h in enumerate(self.spacing):
            part = self.coefficient
            for axis in range(part.ndim):
                left, right = _neighbours(part, axis, self.rings)
                part = (right - left) / (2.0 * h) if axis == a else (left + 6.0 * part + right) / 8.0
            result[..., a] = part
        return result

    def at(self, place: Array) -> Array:
        """p (point, ...) at places in units of cells (3, point, ...), z first."""
        from scipy.ndimage import map_coordinates

        place = place + (self.beyond - 0.5).reshape(-1, *[1] * (place.ndim - 1))
        coefficient = self.wrapped(self.coefficient)
        return np.asarray(map_coordinates(coefficient, place, order=2, prefilter=False, mode="reflect"))

    @cached_property
    def curvature(self) -> Array:
        """lambda_K with D^2 p >= -lambda_K in the cell (cell, ...)."""
        c, h = self.coefficient, self.spacing
        lowest = np.zeros((*c.shape, c.ndim, c.ndim))
        axes = [axis for axis, n in enumerate(c.shape) if n > 1]
        for a in axes:
            left, right = _neighbours(c, a, self.rings)
            second = (left - 2.0 * c + right) / h[a] ** 2
            for b in axes:
                if b != a:
                    second = np.minimum(second, np.minimum(*_neighbours(second, b, self.rings)))
            lowest[..., a, a] = second
            for b in axes[axes.index(a) + 1 :]:
                mixed = np.abs(_differences(_differences(c, a, self.rings), b, self.rings)) / (h[a] * h[b])
                for axis in (a, b):  # the largest at the two ends of the cell
                    mixed = np.maximum(*(np.moveaxis(mixed, axis, 0)[s] for s in (slice(1, None), slice(None, -1))))
                    mixed = np.moveaxis(mixed, 0, axis)
                for other in axes:
                    if other not in (a, b):
                        mixed = np.maximum(mixed, np.maximum(*_neighbours(mixed, other, self.rings)))
                lowest[..., a, b] = lowest[..., b, a] = -mixed
        largest = np.abs(lowest).sum(axis=(-1, -2))
        result: Array = 1e-14 * largest - _lowest_eigenvalues(lowest)
        return result


def _lowest_eigenvalues(matrices: Array) -> Array:
    """Of symmetric matrices (..., axis, axis), up to a few roundings of their largest entries."""
    if matrices.shape[-1] != 2:
        return np.asarray(np.linalg.eigvalsh(matrices)[..., 0])
    a, b, c = matrices[..., 0, 0], matrices[..., 0, 1], matrices[..., 1, 1]
    return np.asarray(0.5 * (a + c) - np.hypot(0.5 * (a - c), b))


def _neighbours(field: Array, axis: int, rings: Collection[int]) -> tuple[Array, Array]:
    """The values of the two neighbours along an axis, reflected at the walls."""
    lines = np.moveaxis(_continued(field, axis, rings), axis, 0)
    return np.moveaxis(lines[:-2], 0, axis), np.moveaxis(lines[2:], 0, axis)


def _differences(field: Array, axis: int, rings: Collection[int]) -> Array:
    """Differences over the faces along an axis (cell + 1), 0 at the walls."""
    return np.diff(_continued(field, axis, rings), axis=axis)


def _continued(field: Array, axis: int, rings: Collection[int]) -> Array:
    """With one more value on either side along an axis."""
    around = [(1, 1) if a == axis else (0, 0) for a in range(field.ndim)]
    return np.pad(field, around, mode="wrap") if axis in rings else np.pad(field, around, mode="symmetric")
