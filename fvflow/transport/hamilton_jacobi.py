"""The Hamilton-Jacobi equation d_t phi + H(grad phi) = 0 for convex H on box grids, forward in time.

With H = |p|^2/2 it is the equation of the potential of a geodesic (notes, (71); in general (72)). Walls are state
constraints: the solution is given by the Hopf-Lax formula with y restricted to the box,

    phi(t, x) = min over y in the box of phi(0, y) + t L((x - y)/t),   L(v) = max_p p.v - H(p),

so nothing enters through a wall and what arrives there leaves: differences across a wall are left out, as if phi were
+inf beyond it. For H even in each p_a this also solves the equation with data reflected at the walls, d_n phi = 0.
Soner, Optimal control with state-space constraint I, SIAM J. Control Optim. 24 (1986). A periodic axis has no walls:
differences are taken across its seam. Data are values at the centres.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from fvflow.errors import CaseError, NumericsError
from fvflow.jit import kernel
from fvflow.mesh import Array, Mesh
from fvflow.transport.hamiltonians import BaseHamiltonian

_MOST_STEPS = 10**9

_Frames = Iterator[tuple[float, Array]]


def solve(
    mesh: Mesh,
    phi: Array,
    hamiltonian: BaseHamiltonian,
    times: Sequence[float],
    cfl: float = 0.9,
    start: float = 0.0,
) -> _Frames:
    """The pairs (time, phi (cell,)) at ascending times >= 0, from phi at time 0 by the steps of `advance`.

    After every step, the rest of the interval is divided into equal steps of at most `cfl` times the longest monotone
    one. A Hamiltonian that depends on t takes time 0 for `start` and is evaluated at the beginning of each step.
    Order 1 if phi is smooth, 1/2 in the maximum norm if it is Lipschitz (Crandall, Lions, Two approximations of
    solutions of Hamilton-Jacobi equations, Math. Comp. 43, 1984). Iterating raises CaseError if the mesh is not a grid
    or phi, times or cfl are invalid, and NumericsError if phi is so steep that more than 1e9 steps would be needed.
    """
    (field, lines), marks = _on_grid(mesh, phi), np.array([0.0, *times])
    if not (np.isfinite(marks).all() and (marks >= 0).all() and (np.diff(marks[1:]) > 0).all()):
        raise CaseError(
            "times are not finite, >= 0 and strictly ascending; sort them, drop duplicates and negative ones"
        )
    if not 0 < cfl <= 1:
        raise CaseError(f"cfl {cfl:g}; the scheme is monotone for 0 < cfl <= 1")
    for before, mark in pairwise(marks.tolist()):
        left = mark - before
        while left > 0:
            rise, limit = _tendency(field, lines, hamiltonian.at(start + (mark - left)))
            if not left <= _MOST_STEPS * cfl * limit:
                raise NumericsError(f"{left:g} is left in steps of at most {limit:.3g}; use a less steep phi")
            step = left / max(1, math.ceil(left / (cfl * limit)))
            field, left = field - step * rise, left - step
        yield mark, field.flatten()


def advance(mesh: Mesh, phi: Array, hamiltonian: BaseHamiltonian, step: float) -> Array:
    """One explicit step phi - step H(p-, p+) (cell,), which is monotone: it preserves phi <= psi, and |phi - psi|_inf
    does not grow.

    Raises CaseError as `solve` does, and NumericsError if the step is negative or longer than `longest_step`.
    """
    field, lines = _on_grid(mesh, phi)
    rise, limit = _tendency(field, lines, hamiltonian)
    if not 0 <= step <= limit:
        raise NumericsError(f"a step of {step:.6g} is not monotone; use one from 0 to {limit:.6g}, or solve")
    return (field - step * rise).ravel()


def longest_step(mesh: Mesh, phi: Array, hamiltonian: BaseHamiltonian) -> float:
    """The CFL limit, min over cells of 1/sum_a (speed_a/d_a), d_a to the nearer neighbour (inf if all speeds are 0)."""
    return _tendency(*_on_grid(mesh, phi), hamiltonian)[1]


def slopes(mesh: Mesh, phi: Array) -> tuple[Array, Array]:
    """p-, p+ (axis, cell): the slopes of phi (cell,) on both sides of each cell; -inf and +inf across walls.

    Raises CaseError as `solve` does.
    """
    return _slopes(*_on_grid(mesh, phi))


def _tendency(field: Array, lines: list[_Line], hamiltonian: BaseHamiltonian) -> tuple[Array, float]:
    """Godunov's H in the grid's shape, and the longest monotone step."""
    with np.errstate(over="ignore", invalid="ignore"):
        value, speed = hamiltonian.godunov(*_slopes(field, lines))
    rate = np.zeros(field.shape)
    for axis, line in enumerate(lines):
        gap = np.concatenate([[line.seam], np.diff(line.middles), [line.seam]])
        _along(rate, axis)[...] += _along(speed[axis].reshape(field.shape), axis) / np.minimum(gap[1:], gap[:-1])
    fastest = float(rate.max()) if np.isfinite(value).all() else math.inf
    return value.reshape(field.shape), 1.0 / fastest if fastest > 0 else math.inf


def _slopes(field: Array, lines: list[_Line]) -> tuple[Array, Array]:
    """p-, p+ (axis, cell): differences over distances of centres; -inf, +inf across walls."""
    minus = np.full((field.ndim, *field.shape), -np.inf)
    plus = -minus
    for axis, line in enumerate(lines):
        values = _along(field, axis)
        slope = np.diff(values) / np.diff(line.middles)
        _along(minus[axis], axis)[..., 1:] = slope
        _along(plus[axis], axis)[..., :-1] = slope
        if line.seam < np.inf:
            across = (values[..., 0] - values[..., -1]) / line.seam
            _along(minus[axis], axis)[..., 0] = across
            _along(plus[axis], axis)[..., -1] = across
    return minus.reshape(field.ndim, -1), plus.reshape(field.ndim, -1)


def hopf_lax(mesh: Mesh, phi: Array, time: float) -> Array:
    """min over cells y of phi(y) + |x - y|^2/(2 time) at every centre x (cell,): exact for data at the centres.

    Axis by axis, each line in linear time by the lower envelope of its parabolas (Felzenszwalb, Huttenlocher, Distance
    transforms of sampled functions, Theory of Computing 8, 2012). It exceeds the solution for data given everywhere by
    O(h^2/time) where they are smooth and by O(h) at kinks: take one long step, not many short ones. On a periodic axis
    a period is added on both sides, since the nearest image of y is the least. Raises CaseError as `solve` does, and
    for a negative or infinite time.
    """
    field, lines = _on_grid(mesh, phi)
    if not 0 <= time < math.inf:
        raise CaseError(f"time {time:g}; give a finite time >= 0")
    if time == 0:
        return field.flatten()
    for axis, line in enumerate(lines):
        values, count = np.ascontiguousarray(_along(field, axis)), len(line.middles)
        data, at = values.reshape(-1, count), line.middles
        if line.seam < np.inf:
            data = np.tile(data, 3)
            at = np.concatenate([at - line.length, at, at + line.length])
        least = lower_envelope(data, at, time)
        if line.seam < np.inf:
            least = np.ascontiguousarray(least[:, count : 2 * count])
        field = _along(least.reshape(values.shape), axis)
    return field.flatten()


@kernel()
def lower_envelope(value: Any, at: Any, time: float) -> Any:
    """min_j value_ij + (at_k - at_j)^2/(2 time) for each line i (line, cell); `at` is ascending."""
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
    """A view of a field in the grid's shape, with the given space axis (0: x) last; its own inverse."""
    return field.swapaxes(field.ndim - 1 - axis, -1)


class _Line(NamedTuple):
    """The cells along an axis."""

    middles: Array  # their centres
    length: float
    seam: float  # distance of the last centre from the first one across the seam; infinite between walls


def _on_grid(mesh: Mesh, phi: Array) -> tuple[Array, list[_Line]]:
    """phi in the grid's shape; the cells along each axis."""
    if mesh.edges is None:
        raise CaseError("the mesh is not a grid; use kind box, graded or fipy")
    values = np.asarray(phi, float)
    if values.shape != (mesh.cells,) or not np.isfinite(values).all():
        raise CaseError(f"phi {values.shape} is not one finite value for each cell; give it as ({mesh.cells},)")
    lines = []
    for axis, edge in enumerate(mesh.edges):
        width = np.diff(edge)
        seam = float(0.5 * (width[0] + width[-1])) if axis in mesh.periodic else math.inf
        lines.append(_Line(0.5 * (edge[1:] + edge[:-1]), float(edge[-1] - edge[0]), seam))
    return values.reshape(mesh.shape), lines
