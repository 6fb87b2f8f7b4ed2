"""Interaction energies: 1/2 int int W(x - y) rho(x) rho(y)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from fvflow.energies.base import EnergyTerm
from fvflow.errors import CaseError
from fvflow.fields import Kernel
from fvflow.mesh import Array, Mesh

LARGEST_DENSE = 2**13  # cells: the matrix takes half a GiB
_BLOCK = 256  # rows of it that are evaluated at once
_EVEN = 1e-9  # of a cell: the unevenness of a grid that counts as none
_SYMMETRIC = 1e-9  # relative difference between W(d) and W(-d) that is taken for round-off
_POLE = 1e-3  # by how much the exponent of a pole has to stay below the dimension
_GAUSS = {1: 8, 2: 4, 3: 2}  # points an axis and quarter of a shell, by dimension
_SHELLS = 24
_AXES = "xyz"


@dataclass(frozen=True, eq=False)
class InteractionTerm(EnergyTerm):
    """rho (W*rho)/2."""

    volume: Array  # (cell,)
    convolved: Callable[[Array], Array]  # masses (cell,) to W*rho (cell,)
    nonlocal_ = True

    def value(self, density: Array) -> Array:
        """rho (W*rho)/2."""
        return 0.5 * density * self.first(density)

    def first(self, density: Array) -> Array:
        """W*rho."""
        return self.convolved(self.volume * density)

    def second(self, density: Array) -> Array:
        """0: what of the Hessian W is not on its diagonal is left to `first`, which is linear."""
        return np.zeros_like(density)

    def secant(self, before: Array, after: Array) -> Array:
        """W*(a + b)/2: summed against b - a it gives the change of the energy exactly, whatever W."""
        return self.first(0.5 * (before + after))


def convolution(kernel: Kernel, mesh: Mesh) -> Callable[[Array], Array]:
    """m -> sum_L W(x_K - x_L) m_L (cell,), x the cell centres; at a pole W(0) is its mean over a cell.

    By fast Fourier transform on even grids, where it takes twice the cells along each axis, else by the matrix. Raises
    CaseError where W is not symmetric, not finite or the matrix too large.
    """
    if mesh.edges is not None and mesh.nonuniformity <= _EVEN:
        return _fourier(kernel, mesh.edges, mesh.shape)
    return _dense(kernel, mesh)


def _fourier(kernel: Kernel, edges: tuple[Array, ...], shape: tuple[int, ...]) -> Callable[[Array], Array]:
    from scipy.fft import irfftn, next_fast_len, rfftn

    sizes = tuple(int(next_fast_len(2 * count - 1, real=True)) for count in shape)
    spacing = [np.ptp(edge) / (len(edge) - 1) for edge in edges]
    axes = [(np.arange(1 - len(edge) + 1, len(edge) - 1)) * h for edge, h in zip(edges, spacing, strict=True)]
    value = np.array(kernel(*reversed(np.meshgrid(*reversed(axes), indexing="ij", sparse=True))))
    middle = tuple(count - 1 for count in shape)
    if not np.isfinite(value[middle]):
        value[middle] = _mean(kernel, [np.array(h) for h in spacing])
    flipped = value[(slice(None, None, -1),) * value.ndim]
    largest = float(np.abs(value).max())
    _require(kernel, value, flipped, largest, lambda index: [axes[-1 - i][k] for i, k in enumerate(index)][::-1])
    wrapped = np.zeros(sizes)
    places = [np.arange(1 - count, count) % size for count, size in zip(shape, sizes, strict=True)]
    wrapped[np.ix_(*places)] = value
    transform = rfftn(wrapped).real.copy()  # of an even function: real
    inner = tuple(slice(count) for count in shape)

    def convolved(masses: Array) -> Array:
        spectrum = rfftn(masses.reshape(shape), sizes)
        spectrum *= transform
        return np.ascontiguousarray(irfftn(spectrum, sizes)[inner]).ravel()

    return convolved


def _dense(kernel: Kernel, mesh: Mesh) -> Callable[[Array], Array]:
    if mesh.cells > LARGEST_DENSE:
        raise CaseError(
            f"an interaction between {mesh.cells} cells needs a matrix of {mesh.cells**2 * 8 / 2**30:.0f} GiB on this "
            f"mesh; use an even box, which needs none, or at most {LARGEST_DENSE} cells"
        )
    matrix = np.empty((mesh.cells, mesh.cells))
    for start in range(0, mesh.cells, _BLOCK):
        rows = slice(start, start + _BLOCK)
        matrix[rows] = kernel(*(mesh.centre[rows, None, axis] - mesh.centre[None, :, axis] for axis in _axes(mesh)))
    if not np.isfinite(matrix.diagonal()).all():
        np.fill_diagonal(matrix, _mean(kernel, _widths(mesh)))
    largest = max(float(matrix.max()), -float(matrix.min()))
    for start in range(0, mesh.cells, _BLOCK):
        rows = slice(start, start + _BLOCK)
        ends = mesh.centre[rows]
        _require(
            kernel, matrix[rows], matrix[:, rows].T, largest, lambda index, e=ends: e[index[0]] - mesh.centre[index[1]]
        )
    return lambda masses: np.asarray(matrix @ masses)


def _axes(mesh: Mesh) -> range:
    return range(mesh.dimension)


def _widths(mesh: Mesh) -> list[Array]:
    """The width of each cell along each axis; that of a cube of its volume where the mesh is no grid."""
    if mesh.edges is None:
        return [mesh.volume ** (1 / mesh.dimension)] * mesh.dimension
    grids = np.meshgrid(*(np.diff(edge) for edge in reversed(mesh.edges)), indexing="ij")
    return [grid.ravel() for grid in reversed(grids)]


def _mean(kernel: Kernel, widths: list[Array]) -> Array:
    """The mean of W over a box about 0, by Gauss points on shells that halve towards the pole.

    The shells shrink in the end like a geometric series, whose rest is added. Raises CaseError where they do not: a
    pole |d|^-a with a >= dimension has no mean.
    """
    dimension = len(widths)
    node, weight = np.polynomial.legendre.leggauss(_GAUSS[dimension])
    parts = [(0.25 * (2 * part - 3 + node), 0.25 * weight, part in (1, 2)) for part in range(4)]  # quarters of [-1, 1]
    total, before, shell = np.zeros_like(widths[0]), np.zeros_like(widths[0]), np.zeros_like(widths[0])
    for level in range(_SHELLS):
        before, shell = shell, np.zeros_like(widths[0])
        for choice in product(parts, repeat=dimension):
            if all(inner for _, _, inner in choice):
                continue
            for points in product(range(len(node)), repeat=dimension):
                picked = zip(widths, choice, points, strict=True)
                place = [0.5 * width * 2.0**-level * part[0][index] for width, part, index in picked]
                share = math.prod(part[1][index] * 0.5 for part, index in zip(choice, points, strict=True))
                shell = shell + kernel(*place) * share * 2.0 ** (-level * dimension)
        total = total + shell
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(shell == 0.0, 0.0, shell / before)
    if not (np.isfinite(total).all() and (np.abs(ratio) < 1.0 - _POLE).all()):
        raise CaseError(
            f"the kernel {kernel.expression.text} has a pole at 0 that is not integrable in {dimension} dimension(s); "
            "use one weaker than r**-dimension"
        )
    return np.asarray(total + shell * ratio / (1.0 - ratio))


def _require(kernel: Kernel, value: Array, mirrored: Array, largest: float, place: Callable[..., Any]) -> None:
    """Refuse a kernel that is not finite or not even."""
    with np.errstate(invalid="ignore"):
        off = np.abs(value - mirrored)
        bad = ~(off <= _SYMMETRIC * largest) | ~np.isfinite(value)
    if not bad.any():
        return
    index = tuple(int(i) for i in np.unravel_index(int(np.argmax(bad)), value.shape))
    where = ", ".join(f"{axis} = {part:.4g}" for axis, part in zip(_AXES, place(index), strict=False))
    text = kernel.expression.text
    if not np.isfinite(value).all():
        raise CaseError(f"the kernel {text} is not finite, as at {where}; only at 0 it may have a pole")
    raise CaseError(
        f"the kernel {text} is {value[index]:g} at {where} and {mirrored[index]:g} at its opposite; only the even part "
        "has an energy: write (W(d) + W(-d))/2, or a function of r"
    )
