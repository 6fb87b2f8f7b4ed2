"""The Hamilton-Jacobi equation d_t phi + H(grad phi) = 0 for convex H on box grids, forward in time.

With H = |p|^2/2 it is the equation of the potential of a geodesic (notes, (71); in general (72)). Walls are state
constraints: the solution is the Hopf-Lax formula over the box and nothing beyond,

    phi(t, x) = min over y in the box of phi(0, y) + t L((x - y)/t),   L(v) = max_p p.v - H(p),

so nothing enters through a wall and what arrives there leaves: each difference that looks out of the box is left out,
as if phi were +inf there. For H even in each p_a that also solves it for data reflected at the walls, d_n phi = 0.
Soner, Optimal control with state-space constraint I, SIAM J. Control Optim. 24 (1986). Data are values at the centres.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, Protocol

import numpy as np

from fvflow.errors import CaseError, NumericsError
from fvflow.jit import kernel
from fvflow.mesh import Array, Mesh

_MOST_STEPS = 10**9
_PROBE = 1e-4  # over max(1, |p|): how far apart a callable h is evaluated for a bound of its slope
_OUTWARDS = np.array([[1.0], [-1.0]])
_ROUND_OFF = 1e-12

_Part = Callable[[Array], Array]
_Frames = Iterator[tuple[float, Array]]


class Hamiltonian(Protocol):
    """A convex H as monotone schemes see it, through the one-sided slopes p-, p+ of each axis."""

    def godunov(self, minus: Array, plus: Array) -> tuple[Array, Array]:
        """Godunov's H (cell,) and bounds of its derivatives in p-_a and -p+_a (axis, cell), from p-, p+ (axis, cell).

        It is convex, non-decreasing in p- and -p+, and H(p) for p- = p+ = p. p- = -inf, p+ = +inf look out of the box.
        One of your own may depend on the cell; phi at rest sets no step, so ask `solve` for times close together.
        """


def _steepest(minus: Array, plus: Array) -> Array:
    """m_a = max(p-_a, -p+_a, 0): the slope down to the steeper side, 0 in a minimum."""
    return np.maximum(np.maximum(minus, -plus), 0.0)


@dataclass(frozen=True)
class QuadraticHamiltonian:
    """H = |p|^2/2, Godunov's H = sum_a max(max(p-_a, 0)^2, min(p+_a, 0)^2)/2.

    Osher, Sethian, Fronts propagating with curvature-dependent speed, J. Comput. Phys. 79 (1988); Rouy, Tourin, A
    viscosity solutions approach to shape-from-shading, SIAM J. Numer. Anal. 29 (1992).
    """

    kind: Literal["quadratic"] = "quadratic"

    def godunov(self, minus: Array, plus: Array) -> tuple[Array, Array]:
        """|m|^2/2 (cell,) and m (axis, cell), m_a = max(p-_a, -p+_a, 0)."""
        steepest = _steepest(minus, plus)
        return 0.5 * np.square(steepest).sum(axis=0), steepest


@dataclass(frozen=True)
class PowerHamiltonian:
    """H = |p|^q/q with the Euclidean norm and q > 1, Godunov's H = |m|^q/q, m_a = max(p-_a, -p+_a, 0).

    L(v) = |v|^r/r with 1/q + 1/r = 1: the geodesics of W_r. Raises CaseError for other q.
    """

    exponent: float
    kind: Literal["power"] = "power"

    def __post_init__(self) -> None:
        if not 1.0 < self.exponent < math.inf:
            raise CaseError(f"exponent {self.exponent:g}; |p|^q/q needs a finite q > 1")

    def godunov(self, minus: Array, plus: Array) -> tuple[Array, Array]:
        """|m|^q/q (cell,) and |m|^(q-2) m (axis, cell)."""
        steepest = _steepest(minus, plus)
        slope = (norm := np.linalg.norm(steepest, axis=0)) ** (self.exponent - 1.0)
        return slope * norm / self.exponent, slope * (steepest / np.where(norm > 0, norm, 1.0))


@dataclass(frozen=True)
class Convex:
    """H = sum_a h_a(p_a) with convex h_a, Godunov's H = sum_a max(h_a(max(p-_a, c_a)), h_a(min(p+_a, c_a))).

    `parts` are the h_a, one an axis, elementwise on arrays and convex, which is not checked; `minimisers` the c_a where
    they are least, searched for (Brent, to about 1e-8) unless given. Bardi, Osher, The nonconvex multidimensional
    Riemann problem for Hamilton-Jacobi equations, SIAM J. Math. Anal. 22 (1991). Raises CaseError for an h_a not least
    at its c_a or nowhere, and, in use, for parts that are not one an axis.
    """

    parts: tuple[_Part, ...]
    minimisers: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not self.minimisers:
            object.__setattr__(self, "minimisers", tuple(map(_minimiser, self.parts)))
        for part, least in zip(self.parts, self.minimisers, strict=False):
            below, value, above = part(least + _PROBE * max(1.0, abs(least)) * np.array([-1.0, 0.0, 1.0]))
            if not value <= min(below, above) + _ROUND_OFF * abs(value):
                raise CaseError(f"a part of H is not least at p = {least:g}; give its minimiser or one that has any")

    def godunov(self, minus: Array, plus: Array) -> tuple[Array, Array]:
        """H (cell,), and difference quotients (axis, cell), which bound the slopes of a convex h on the outer side."""
        if (count := (len(self.parts), len(self.minimisers))) != (len(minus), len(minus)):
            raise CaseError(f"{count[0]} parts of H, {count[1]} minimisers, {len(minus)} axes; give one an axis")
        value, speed = np.zeros(minus.shape[1]), np.empty(minus.shape)
        for axis, (part, least) in enumerate(zip(self.parts, self.minimisers, strict=True)):
            ends = np.stack([np.maximum(minus[axis], least), np.minimum(plus[axis], least)])
            probe, at_ends = _PROBE * np.maximum(1.0, np.abs(ends)), part(ends)
            value += at_ends.max(axis=0)
            speed[axis] = ((part(ends + _OUTWARDS * probe) - at_ends) / probe).max(axis=0)
        return value, speed


def _minimiser(part: _Part) -> float:
    """Where it is least, by Brent's method; nan if nothing brackets it."""
    from scipy.optimize import minimize_scalar

    try:
        with np.errstate(all="ignore"):
            return float(minimize_scalar(lambda p: part(np.array([p]))[0]).x)
    except RuntimeError:
        return math.nan


def solve(mesh: Mesh, phi: Array, hamiltonian: Hamiltonian, times: Sequence[float], cfl: float = 0.9) -> _Frames:
    """The pairs (time, phi (cell,)) at ascending times >= 0, from phi at time 0 by the steps of `advance`.

    Each interval is cut into equal steps of at most `cfl` times the longest monotone one, anew after every step. Order
    1 if smooth, 1/2 in the maximum norm if Lipschitz (Crandall, Lions, Two approximations of solutions of Hamilton-
    Jacobi equations, Math. Comp. 43, 1984). Iterating raises CaseError for a mesh that is no grid and for phi, times or
    cfl that do not fit, NumericsError for slopes too steep to follow.
    """
    (field, middles), marks = _on_grid(mesh, phi), np.array([0.0, *times])
    if not (np.isfinite(marks).all() and (marks >= 0).all() and (np.diff(marks[1:]) > 0).all()):
        raise CaseError("times are not finite, >= 0 and ascending; sort them, each once and none before 0")
    if not 0 < cfl <= 1:
        raise CaseError(f"cfl {cfl:g}; the scheme is monotone for 0 < cfl <= 1")
    for before, mark in pairwise(marks.tolist()):
        left = mark - before
        while left > 0:
            rise, limit = _tendency(field, middles, hamiltonian)
            if not left <= _MOST_STEPS * cfl * limit:
                raise NumericsError(f"{left:g} is left in steps of at most {limit:.3g}; use a phi less steep")
            step = left / max(1, math.ceil(left / (cfl * limit)))
            field, left = field - step * rise, left - step
        yield mark, field.flatten()


def advance(mesh: Mesh, phi: Array, hamiltonian: Hamiltonian, step: float) -> Array:
    """One explicit step phi - step H(p-, p+) (cell,), monotone: phi <= psi stays so, and |phi - psi|_inf never grows.

    Raises CaseError as `solve` does, NumericsError for a step that is negative or longer than `longest_step`.
    """
    field, middles = _on_grid(mesh, phi)
    rise, limit = _tendency(field, middles, hamiltonian)
    if not 0 <= step <= limit:
        raise NumericsError(f"a step of {step:.6g} is not monotone; use one from 0 to {limit:.6g}, or solve")
    return (field - step * rise).ravel()


def longest_step(mesh: Mesh, phi: Array, hamiltonian: Hamiltonian) -> float:
    """The CFL limit, min over cells of 1/sum_a (speed_a/d_a), d_a to the nearer neighbour (inf if nothing moves)."""
    return _tendency(*_on_grid(mesh, phi), hamiltonian)[1]


def _tendency(field: Array, middles: list[Array], hamiltonian: Hamiltonian) -> tuple[Array, float]:
    """Godunov's H in the grid's shape, and the longest monotone step."""
    with np.errstate(over="ignore", invalid="ignore"):
        value, speed = hamiltonian.godunov(*_slopes(field, middles))
    rate = np.zeros(field.shape)
    for axis, middle in enumerate(middles):
        gap = np.concatenate([[np.inf], np.diff(middle), [np.inf]])
        _along(rate, axis)[...] += _along(speed[axis].reshape(field.shape), axis) / np.minimum(gap[1:], gap[:-1])
    fastest = float(rate.max()) if np.isfinite(value).all() else math.inf
    return value.reshape(field.shape), 1.0 / fastest if fastest > 0 else math.inf


def _slopes(field: Array, middles: list[Array]) -> tuple[Array, Array]:
    """p-, p+ (axis, cell): differences over distances of centres; -inf, +inf where they would look out."""
    minus = np.full((field.ndim, *field.shape), -np.inf)
    plus = -minus
    for axis, middle in enumerate(middles):
        slope = np.diff(_along(field, axis)) / np.diff(middle)
        _along(minus[axis], axis)[..., 1:] = slope
        _along(plus[axis], axis)[..., :-1] = slope
    return minus.reshape(field.ndim, -1), plus.reshape(field.ndim, -1)


def hopf_lax(mesh: Mesh, phi: Array, time: float) -> Array:
    """min over cells y of phi(y) + |x - y|^2/(2 time) at every centre x (cell,): exact for data at the centres.

    Axis by axis, each line in linear time by the envelope of its parabolas (Felzenszwalb, Huttenlocher, Distance
    transforms of sampled functions, Theory of Computing 8, 2012). Above the solution from data between the centres by
    O(h^2/time) where they are smooth, O(h) at kinks: take one long step, not many short ones. Raises CaseError as
    `solve` does, and for a time that is not >= 0.
    """
    field, middles = _on_grid(mesh, phi)
    if not 0 <= time < math.inf:
        raise CaseError(f"time {time:g}; give a finite one >= 0")
    if time == 0:
        return field.flatten()
    for axis, middle in enumerate(middles):
        lines = np.ascontiguousarray(_along(field, axis))
        least = lower_envelope(lines.reshape(-1, len(middle)), middle, time)
        field = _along(least.reshape(lines.shape), axis)
    return field.flatten()


@kernel()
def lower_envelope(value: Any, at: Any, time: float) -> Any:
    """min_j value_ij + (at_k - at_j)^2/(2 time) of each line i (line, cell), at ascending."""
    least, vertex, start = np.empty_like(value), np.empty(len(at), np.int64), np.empty(len(at))
    for line in range(len(value)):
        f, last, k = value[line], -1, 0
        for j in range(len(at)):
            cross = -np.inf
            while last >= 0:
                i = vertex[last]
                cross = 0.5 * (at[i] + at[j]) + time * ((f[j] - f[i]) / (at[j] - at[i]))
                if last == 0 or cross > start[last]:
                    break
                last -= 1
            last += 1
            vertex[last], start[last] = j, cross  # parabola j is the lowest from cross on
        for j in range(len(at)):
            while k < last and start[k + 1] <= at[j]:
                k += 1
            least[line, j] = f[vertex[k]] + (at[j] - at[vertex[k]]) ** 2 / (2.0 * time)
    return least


def _along(field: Array, axis: int) -> Array:
    """A field in the grid's shape with a space axis last (x is the last already); its own inverse, and a view."""
    return field.swapaxes(field.ndim - 1 - axis, -1)


def _on_grid(mesh: Mesh, phi: Array) -> tuple[Array, list[Array]]:
    """phi in the grid's shape; the centres along each axis."""
    if mesh.edges is None:
        raise CaseError("this mesh is no grid; use a box, even or graded")
    values = np.asarray(phi, float)
    if values.shape != (mesh.cells,) or not np.isfinite(values).all():
        raise CaseError(f"phi {values.shape} is not a finite value a cell; give it as ({mesh.cells},)")
    return values.reshape(mesh.shape), [0.5 * (edge[1:] + edge[:-1]) for edge in mesh.edges]
