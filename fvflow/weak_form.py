"""The equation in weak form: what changes of int phi rho, against what the flux says, for a bank of functions phi.

    int phi rho(t_k) - int phi rho(t_0) = int_{t_0}^{t_k} int J.grad phi dt - what is absorbed

Discretely, sum_K |K| phi_K rho_K changes by -sum_K phi_K (div F)_K in a unit of time, which is sum_s F_s (phi_L -
phi_K) if nothing leaves. No flux through closed walls is natural to this form, so that phi may be any function there.
Notes, equations (16)-(23) and (151), and (8)-(12) with the indicator function of a set of cells.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fvflow.linalg import inner
from fvflow.mesh import Array, Mesh, Openings

_HIGHEST = 3  # wave number of a cosine, and degree of a polynomial of one coordinate
ORDERS = {"flux_mean": 0, "trapezoid": 2, "simpson": 4}
"""The rules by which the flux is integrated in time, with their order in the time between saves; 0 for exact means."""
_ROUND_OFF = 1e-13  # of a residual, relative: an order is not told below
_EQUAL = 1e-9  # relative difference of intervals that counts as none


@dataclass(frozen=True, eq=False)
class Moments:
    """For functions phi at saved times t: int phi rho, and how fast the equation says that it changes."""

    time: Array
    """Saved times (frame,)."""
    content: Array
    """sum_K |K| phi_K rho_K (frame, function)."""
    rate: Array | None = None
    """sum_K |K| phi_K (d_t rho)_K by the discretisation in space (frame, function); None if it is not known."""
    mean: Array | None = None
    """The same by the mean flux since the frame before (frame, function), the first without meaning; or None."""

    @property
    def rules(self) -> tuple[str, ...]:
        """The rules of `ORDERS` for which there is what they need."""
        enough = {"flux_mean": self.mean is not None, "trapezoid": self.rate is not None}
        return tuple(rule for rule in ORDERS if enough.get(rule, self.rate is not None and len(self.time) > 2))

    def by_interval(self, rule: str) -> Array:
        """The residual over each interval of a rule (interval, function); for Simpson's, over two at a time."""
        step = np.diff(self.time)[:, None]
        if rule == "flux_mean":
            assert self.mean is not None
            return np.asarray(np.diff(self.content, axis=0) - step * self.mean[1:])
        assert self.rate is not None
        if rule == "trapezoid":
            return np.asarray(np.diff(self.content, axis=0) - 0.5 * step * (self.rate[1:] + self.rate[:-1]))
        first, second = step[:-1:2], step[1::2]
        before, middle, after = (self.rate[start::2][: len(second)] for start in range(3))
        whole = first + second
        integral = (
            (2.0 - second / first) * before + whole**2 / (first * second) * middle + (2.0 - first / second) * after
        )
        ends = self.content[::2][: len(second) + 1]
        return np.asarray(np.diff(ends, axis=0) - whole / 6.0 * integral)

    def largest(self, rule: str) -> Array:
        """The largest residual from the first frame to any later one (function,); nan if there are too few frames."""
        found = self.by_interval(rule)
        return np.abs(np.cumsum(found, axis=0)).max(axis=0) if len(found) else np.full(self.content.shape[1], np.nan)

    def order(self, rule: str) -> Array:
        """log2 of the residual with every other frame over that with all (function,), nan where it is not known.

        It is known where intervals are equal, enough of them, and both residuals are above round-off.
        """
        step, halves = np.diff(self.time), 4 if rule == "simpson" else 2
        unknown = np.full(self.content.shape[1], np.nan)
        if rule == "flux_mean" or len(step) < halves or np.ptp(step) > _EQUAL * step.max():
            return unknown
        kept = slice(None, len(step) // halves * halves + 1)
        fine, coarse = (self._frames(kept).largest(rule), self._frames(slice(None, kept.stop, 2)).largest(rule))
        told = np.minimum(fine, coarse) > _ROUND_OFF * max(float(np.abs(self.content).max()), 1e-300)
        return np.log2(coarse / fine, out=unknown, where=told)

    def _frames(self, kept: slice) -> Moments:
        return Moments(self.time[kept], self.content[kept], None if self.rate is None else self.rate[kept])


@dataclass(frozen=True, eq=False)
class Bank:
    """Functions phi (cell,) by name, and sets of cells by name, which stand for their indicator functions."""

    values: Mapping[str, Array]
    sets: Mapping[str, Any] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """All names, those of the functions first."""
        return (*self.values, *self.sets)

    @property
    def sizes(self) -> Array:
        """max |phi| (function,)."""
        return np.array([*(float(np.abs(phi).max()) for phi in self.values.values()), *(1.0 for _ in self.sets)])

    def sums(self, amounts: Array) -> Array:
        """sum_K phi_K a_K of amounts (cell,), for each function (function,)."""
        functions = (inner(phi, amounts) for phi in self.values.values())
        return np.array([*functions, *(float(amounts[chosen].sum()) for chosen in self.sets.values())])


def functions_of(mesh: Mesh, openings: Openings | None) -> dict[str, Array]:
    """Test functions (cell,) by name: 1, polynomials, cosines, and bumps that vanish where mass leaves.

    Polynomials are of the coordinates scaled to [-1, 1], without those along periodic axes; along these there are
    cosines and sines of the period.
    """
    lower, upper = mesh.points.min(axis=0), mesh.points.max(axis=0)
    found = {"1": np.ones(mesh.cells)}
    place = (mesh.centre - lower) / (upper - lower)
    names = "xyz"[: mesh.dimension]
    open_axes = [axis for axis in range(mesh.dimension) if axis not in mesh.periodic]
    for axis in open_axes:
        scaled = 2.0 * place[:, axis] - 1.0
        for degree in range(1, _HIGHEST + 1):
            found[names[axis] if degree == 1 else f"{names[axis]}^{degree}"] = scaled**degree
    for one, two in itertools.combinations(open_axes, 2):
        found[f"{names[one]} {names[two]}"] = (2.0 * place[:, one] - 1.0) * (2.0 * place[:, two] - 1.0)
    lowest = np.ones(mesh.cells)
    for axis in range(mesh.dimension):
        waves = dict(_waves(names[axis], place[:, axis], axis in mesh.periodic))
        found |= waves
        lowest = lowest * next(iter(waves.values()))
    if mesh.dimension > 1:
        found["product of the lowest cosines"] = lowest
    return found if openings is None else found | _bumps(mesh, openings)


def _waves(name: str, place: Array, periodic: bool) -> Iterator[tuple[str, Array]]:
    """Cosines with no slope at both ends, or cosines and sines of a period."""
    for number in range(1, _HIGHEST + 1):
        text = "" if number == 1 else f"{number} "
        if not periodic:
            yield f"cos {text}pi {name}", np.cos(number * np.pi * place)
            continue
        yield f"cos {text}2 pi {name}", np.cos(2.0 * number * np.pi * place)
        yield f"sin {text}2 pi {name}", np.sin(2.0 * number * np.pi * place)


def _bumps(mesh: Mesh, openings: Openings) -> dict[str, Array]:
    """exp(1 - 1/(1 - r^2)) about the centre that is furthest from all openings, which it does not reach."""
    from scipy.spatial import cKDTree

    away, _ = cKDTree(openings.position).query(mesh.centre)
    away = np.where(openings.closed < 0, away, 0.0)
    middle = int(np.argmax(away))
    distance = np.linalg.norm(mesh.nearest_image(mesh.centre - mesh.centre[middle]), axis=1)
    found = {}
    for name, part in (("bump", 0.9), ("narrow bump", 0.45)):
        square = (distance / (part * away[middle])) ** 2
        inside = square < 1.0
        found[name] = np.zeros(mesh.cells)
        found[name][inside] = np.exp(1.0 - 1.0 / (1.0 - square[inside]))
    return found


def random_sets(cells: int, count: int, seed: int = 0) -> dict[str, Any]:
    """Sets of cells by name, each of a random share of them."""
    random = np.random.default_rng(seed)
    return {f"random set {number}": random.random(cells) < random.random() for number in range(1, count + 1)}
