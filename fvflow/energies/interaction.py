"""Interaction energies 1/2 int int W(x - y) rho(x) rho(y), by convolution on a mesh."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from fvflow.energies.base import EnergyTerm
from fvflow.energies.convexity import kernel_modulus
from fvflow.errors import CaseError
from fvflow.fields import LARGEST_VALUE, Kernel
from fvflow.mesh import Array, Mesh

LARGEST_DENSE = 2**13  # most cells for which the matrix is stored: it takes half a GiB
_BLOCK = 256  # rows of the matrix that are evaluated at once
_UNIFORM = 1e-9  # deviation from uniform spacing, in cell widths, that is attributed to round-off
_SYMMETRIC = 1e-9  # relative difference between W(d) and W(-d) that is attributed to round-off
_PERIODIC = 1e-9  # difference between W(d) and W(d - L), over the range of W, that is attributed to round-off
_POLE_MARGIN = 1e-3  # by which the ratio of successive shells has to be below 1
_GAUSS = {1: 8, 2: 4, 3: 2}  # Gauss points per axis of a box of a shell, by dimension
_SHELLS = 24
_AXES = "xyz"


@dataclass(frozen=True, eq=False)
class InteractionTerm(EnergyTerm):
    """e_K = rho_K (W*rho)_K/2."""

    volume: Array  # (cell,)
    convolved: Callable[[Array], Array]  # masses of the cells (cell,) to W*rho (cell,)
    label = "the variation of the interaction"
    kernel: Kernel | None = None
    """W; None if it is known by its products only."""
    nonlocal_ = True

    def interaction_modulus(self, mesh: Mesh) -> float:
        """lambda with D^2 W >= lambda; nan if it is not known."""
        return np.nan if self.kernel is None else kernel_modulus(self.kernel, mesh)

    def value(self, density: Array) -> Array:
        """rho (W*rho)/2."""
        return 0.5 * density * self.first(density)

    def first(self, density: Array) -> Array:
        """W*rho."""
        return self.convolved(self.volume * density)

    def second(self, density: Array) -> Array:
        """0: the Hessian is W itself, whose products are `first`, which is linear."""
        return np.zeros_like(density)

    def secant(self, before: Array, after: Array) -> Array:
        """W*(a + b)/2; its sum with the weights |K| (b - a) is E(b) - E(a) exactly, for every even W."""
        return self.first(0.5 * (before + after))


def convolution(kernel: Kernel, mesh: Mesh) -> Callable[[Array], Array]:
    """The map m -> sum_L W(x_K - x_L) m_L (cell,), x being the cell centres; W(0) at a pole is the mean over a cell.

    On uniform grids by fast Fourier transforms with twice the cells along each axis, else by a dense matrix. Along a
    periodic axis W has to have its period, so that it does not matter which way around two cells are compared. Raises
    CaseError if it has not, is not even, has no finite mean at a pole, is not finite elsewhere, or the matrix is too
    large.
    """
    if mesh.revolution is not None:
        raise CaseError("an interaction depends on the distance of points, which a radius does not tell; use a box")
    _require_periodic(kernel, mesh)
    if mesh.edges is not None and mesh.nonuniformity <= _UNIFORM:
        return _fourier(kernel, mesh.edges, mesh.shape)
    return _dense(kernel, mesh)


def _require_periodic(kernel: Kernel, mesh: Mesh) -> None:
    """Raise CaseError unless W(d) = W(d - L) along each periodic axis, for 200 pairs of cells."""
    first, second = np.random.default_rng(22).integers(mesh.cells, size=(2, 200))
    displacement = mesh.centre[first] - mesh.centre[second]
    for axis in mesh.periodic:
        other = displacement.copy()
        other[:, axis] -= np.where(other[:, axis] > 0, 1.0, -1.0) * mesh.periods[axis]
        here, there = kernel(*displacement.T), kernel(*other.T)
        if not np.abs(here - there).max() <= _PERIODIC * np.ptp(here):
            raise CaseError(
                f"the kernel {kernel.expression.text} has not the period {mesh.periods[axis]:g} of axis "
                f"{'xyz'[axis]}, which is periodic; give one that has, such as cos(2*pi*x/{mesh.periods[axis]:g})"
            )


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
    _require_even(kernel, value, flipped, largest, lambda index: [axes[-1 - i][k] for i, k in enumerate(index)][::-1])
    wrapped = np.zeros(sizes)
    places = [np.arange(1 - count, count) % size for count, size in zip(shape, sizes, strict=True)]
    wrapped[np.ix_(*places)] = value
    transform = rfftn(wrapped).real.copy()  # real, since W is even
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
            f"mesh; use a mesh of kind box, which needs none, or at most {LARGEST_DENSE} cells"
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
        row_centres = mesh.centre[rows]
        _require_even(
            kernel,
            matrix[rows],
            matrix[:, rows].T,
            largest,
            lambda index, start=row_centres: start[index[0]] - mesh.centre[index[1]],
        )
    return lambda masses: np.asarray(matrix @ masses)


def _axes(mesh: Mesh) -> range:
    return range(mesh.dimension)


def _widths(mesh: Mesh) -> list[Array]:
    """Width of each cell along each axis; if the mesh is not a grid, that of the cube of equal volume."""
    if mesh.edges is None:
        return [mesh.cell_size] * mesh.dimension
    grids = np.meshgrid(*(np.diff(edge) for edge in reversed(mesh.edges)), indexing="ij")
    return [grid.ravel() for grid in reversed(grids)]


def _mean(kernel: Kernel, widths: list[Array]) -> Array:
    """Mean of W over boxes about 0 (of the shape of the widths), by Gauss points on shells that halve towards the pole.

    The contributions of the shells approach a geometric series, whose remainder is added. Raises CaseError if they do
    not decrease: a pole |d|^-a with a >= dimension has no mean.
    """
    dimension = len(widths)
    rule = _shell_rule(dimension)
    total, before, shell = np.zeros_like(widths[0]), np.zeros_like(widths[0]), np.zeros_like(widths[0])
    for level in range(_SHELLS):
        before, shell = shell, np.zeros_like(widths[0])
        for position, weight in rule:
            displacement = [0.5 * width * 2.0**-level * part for width, part in zip(widths, position, strict=True)]
            shell = shell + kernel(*displacement) * weight * 2.0 ** (-level * dimension)
        total = total + shell
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(shell == 0.0, 0.0, shell / before)
    if not (np.isfinite(total).all() and (np.abs(ratio) < 1.0 - _POLE_MARGIN).all()):
        raise CaseError(
            f"the kernel {kernel.expression.text} has a pole at 0 that is not integrable in {dimension} dimension(s); "
            "use one weaker than r**-dimension"
        )
    return np.asarray(total + shell * ratio / (1.0 - ratio))


def _shell_rule(dimension: int) -> list[tuple[list[float], float]]:
    """Gauss points and weights for the mean over [-1, 1]^dim restricted to the shell outside [-1/2, 1/2]^dim.

    Each axis is cut into four quarters; the boxes of inner quarters alone belong to the next shell.
    """
    node, weight = np.polynomial.legendre.leggauss(_GAUSS[dimension])
    quarters = [(0.25 * (2 * quarter - 3 + node), 0.25 * weight, quarter in (1, 2)) for quarter in range(4)]
    rule = []
    for box in product(quarters, repeat=dimension):
        if all(inner for _, _, inner in box):
            continue
        for points in product(range(len(node)), repeat=dimension):
            position = [nodes[index] for index, (nodes, _, _) in zip(points, box, strict=True)]
            rule.append((position, math.prod(weights[i] * 0.5 for i, (_, weights, _) in zip(points, box, strict=True))))
    return rule


def _require_even(kernel: Kernel, value: Array, mirrored: Array, largest: float, at: Callable[..., Any]) -> None:
    """Raise CaseError if the kernel is not finite or not even; `at` gives the displacement of an index."""
    with np.errstate(invalid="ignore"):
        difference = np.abs(value - mirrored)
        finite = np.abs(value) <= LARGEST_VALUE
        bad = ~(difference <= _SYMMETRIC * largest) | ~finite
    if not bad.any():
        return
    index = tuple(int(i) for i in np.unravel_index(int(np.argmax(bad)), value.shape))
    place = ", ".join(f"{axis} = {part:.4g}" for axis, part in zip(_AXES, at(index), strict=False))
    text = kernel.expression.text
    if not finite.all():
        raise CaseError(
            f"the kernel {text} is not finite at {place}, or above {LARGEST_VALUE:g}: it is {value[index]:g} there; it "
            "may have a pole at 0 only"
        )
    raise CaseError(
        f"the kernel {text} is {value[index]:g} at {place} and {mirrored[index]:g} at the opposite displacement; only "
        "the even part has an energy: write (W(d) + W(-d))/2, or a function of r"
    )
