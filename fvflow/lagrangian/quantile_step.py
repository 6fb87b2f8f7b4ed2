"""A JKO step on a line in Lagrangian form: the positions of the quantiles are the unknowns, not the density."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fvflow.errors import NumericsError
from fvflow.mesh import Array

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(3)
_SHARE, _WEIGHT = 0.5 * (1.0 + _NODES), 0.5 * _WEIGHTS  # Gauss points of [0, 1]
_ITERATIONS = 100
_CLOSED = 0.9  # largest part of a distance between nodes that one Newton step takes away
_DECREASE = 1e-4  # least decrease, relative to that of the linear model
_ROUND_OFF = 1e-15  # of the value, relative to the sum of the magnitudes of its parts

Function = Callable[[Array], Array]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class LineEnergy:
    """E(rho) = eps int rho log rho + sum c int rho^m/(m - 1) + int V rho on a line."""

    epsilon: float
    """eps."""
    power_laws: tuple[tuple[float, float], ...] = ()
    """(c, m) of each power law."""
    potential: tuple[Function, Function, Function] | None = None
    """V, V' and V'' of positions of any shape; None if there is no potential."""

    def internal(self, density: Array) -> Array:
        """The energy of unit mass (cell,), eps log rho + sum c rho^(m - 1)/(m - 1), for rho (cell,)."""
        laws = (c * density ** (m - 1) / (m - 1) for c, m in self.power_laws)
        return np.asarray(sum(laws, self.epsilon * np.log(density)))

    def pressure(self, density: Array) -> tuple[Array, Array]:
        """P = eps rho + sum c rho^m, and P', (cell,) for rho (cell,)."""
        pressure, slope = self.epsilon * density, np.full_like(density, self.epsilon)
        for c, m in self.power_laws:
            pressure, slope = pressure + c * density**m, slope + c * m * density ** (m - 1)
        return pressure, slope


@dataclass(frozen=True, eq=False)
class QuantileStep:
    """The minimum of E(rho) + W2^2(rho, rho_0)/(2 tau) over the images of rho_0 under monotone maps linear in cells."""

    nodes: Array
    """Where the ends of the intervals of rho_0 have gone, increasing (node,)."""
    mass: Array
    """The mass between neighbouring ones (node - 1,)."""
    energy: float
    """E of the new density, constant between nodes."""
    cost: float
    """W2^2/(2 tau), exact for these densities."""
    iterations: int
    """Steps of Newton's method."""

    @property
    def density(self) -> Array:
        """The density between neighbouring nodes (node - 1,)."""
        return self.mass / np.diff(self.nodes)

    def cell_means(self, edges: Array) -> Array:
        """Means of the density over the cells between edges (cell,), from a spline of the cumulative mass.

        The mass below each node is exact, so that the spline is of fourth order in the distance of the nodes, where
        densities constant between nodes are of first order.
        """
        from scipy.interpolate import CubicSpline

        below = CubicSpline(self.nodes, np.append(0.0, np.cumsum(self.mass)))
        inside = np.clip(edges, self.nodes[0], self.nodes[-1])
        return np.asarray(np.diff(below(inside)) / np.diff(edges))


class _Parts(NamedTuple):
    """The energy, the transport cost, the gradient (node,), and the Hessian: its diagonal and that beside it."""

    energy: float
    cost: float
    gradient: Array
    diagonal: Array
    beside: Array
    size: float

    @property
    def value(self) -> float:
        return self.energy + self.cost


def quantile_step(edges: Array, mass: Array, length: float, energy: LineEnergy) -> QuantileStep:
    """The Lagrangian JKO step of a length tau from masses > 0 (cell,) between edges (cell + 1,), between no-flux walls.

    With X_0 the positions of the quantiles, X minimises E + int |X - X_0|^2/(2 tau) over monotone maps that are linear
    in each cell and stay between the walls, by Newton's method; V is integrated by three Gauss points in a cell. The
    notes, equation (2); its minimum and density are those of equation (1) up to the order of both. Raises
    NumericsError if a cell is empty, or the step has no unique minimum.
    """
    if not (mass > 0).all():
        raise NumericsError(f"{int((~(mass > 0)).sum())} cells are empty and have no quantiles; use cells with mass")
    nodes, held, iterations = edges.astype(float), np.array([True, True]), 0
    while True:
        with np.errstate(all="ignore"):  # nodes that meet have an infinite energy, and the step is shortened
            nodes, found, spent = _newton(nodes, edges, mass, length, energy, held)
        iterations += spent
        pull = found.gradient[[0, -1]] * (1.0, -1.0)  # below 0: the wall holds back mass that wants to leave it
        leaves = held & (pull < -_ROUND_OFF * found.size)
        if not leaves.any():
            return QuantileStep(nodes, mass, found.energy, found.cost, iterations)
        held = held & ~leaves


def _newton(
    nodes: Array, edges: Array, mass: Array, length: float, energy: LineEnergy, held: Flags
) -> tuple[Array, _Parts, int]:
    """The minimum from given nodes, those at the ends held or not; an end that meets a wall stays there."""
    free = np.ones(len(nodes), bool)
    free[[0, -1]] = ~held
    here = _parts(nodes, edges, mass, length, energy)
    for iteration in range(_ITERATIONS):
        step = np.zeros_like(nodes)
        step[free] = _solved(here, free)
        decrease = -float(here.gradient @ step)
        closing = -np.diff(step) / np.diff(nodes)
        part = min(1.0, _CLOSED / max(float(closing.max()), _CLOSED))
        while True:
            there = np.clip(nodes + part * step, edges[0], edges[-1])
            after = _parts(there, edges, mass, length, energy)
            if after.value <= here.value - _DECREASE * part * decrease + _ROUND_OFF * here.size:
                break
            part *= 0.5
        nodes, here = there, after
        if decrease <= _ROUND_OFF * here.size and part == 1.0:  # the error of the last step is that squared
            return nodes, here, iteration + 1
    raise NumericsError(f"Newton's method did not converge in {_ITERATIONS} iterations; use a shorter step")


def _solved(parts: _Parts, free: Flags) -> Array:
    """-H^-1 g of the free nodes."""
    from scipy.linalg import LinAlgError, solveh_banded

    both = free[1:] & free[:-1]
    band = np.zeros((2, int(free.sum())))
    band[1], band[0, 1:] = parts.diagonal[free], parts.beside[both]
    try:
        return np.asarray(solveh_banded(band, -parts.gradient[free]))
    except LinAlgError:
        raise NumericsError("the step is too long to have a unique minimum; use a shorter one") from None


def _parts(nodes: Array, edges: Array, mass: Array, length: float, energy: LineEnergy) -> _Parts:
    """Value, gradient and Hessian of E + int |X - X_0|^2/(2 tau)."""
    width, moved = np.diff(nodes), nodes - edges
    density = mass / width
    pressure, slope = energy.pressure(density)
    stiffness = slope * density / width
    internal = mass * energy.internal(density)
    lower, upper = moved[:-1], moved[1:]
    cost = mass * (lower**2 + lower * upper + upper**2) / (6.0 * length)
    gradient, diagonal = np.zeros_like(nodes), np.zeros_like(nodes)
    gradient[:-1] += pressure + mass * (2.0 * lower + upper) / (6.0 * length)
    gradient[1:] += -pressure + mass * (lower + 2.0 * upper) / (6.0 * length)
    diagonal[:-1] += stiffness + mass / (3.0 * length)
    diagonal[1:] += stiffness + mass / (3.0 * length)
    beside = -stiffness + mass / (6.0 * length)
    external = np.zeros_like(mass)
    if energy.potential is not None:
        at = nodes[:-1, None] * (1.0 - _SHARE) + nodes[1:, None] * _SHARE
        value, first, second = (function(at) for function in energy.potential)
        external = mass * (value @ _WEIGHT)
        gradient[:-1] += mass * (first @ (_WEIGHT * (1.0 - _SHARE)))
        gradient[1:] += mass * (first @ (_WEIGHT * _SHARE))
        diagonal[:-1] += mass * (second @ (_WEIGHT * (1.0 - _SHARE) ** 2))
        diagonal[1:] += mass * (second @ (_WEIGHT * _SHARE**2))
        beside = beside + mass * (second @ (_WEIGHT * _SHARE * (1.0 - _SHARE)))
    size = float(np.abs(internal).sum() + np.abs(external).sum() + cost.sum())
    return _Parts(float((internal + external).sum()), float(cost.sum()), gradient, diagonal, beside, size)
