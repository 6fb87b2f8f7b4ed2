"""Both bounds of W2 on a box, from coarse levels to fine ones, until their interval is narrow enough.

On each level the entropic plan at the scale of a cell is computed on the few pairs of cells near the graph of its own
potentials: the support follows from the potentials of the coarser level, by Legendre transforms, and is built anew as
the scaling goes on. Neither bound relies on convergence: `plan` and `dual` prove them from whatever is there.
Schmitzer, Stabilized sparse scaling algorithms for entropy regularized transport problems, SIAM J. Sci. Comput. 41
(2019), has levels, supports and log domain; the multigrid of `scaling` is what makes smooth densities fast.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import chain, repeat
from math import prod, sqrt
from time import monotonic

import numpy as np

from fvflow.mesh import Array
from fvflow.wasserstein.dual import DualBound
from fvflow.wasserstein.exact_plan import optimal_plan
from fvflow.wasserstein.legendre import Indices, Periods, half_square, interpolated
from fvflow.wasserstein.plan import Plan, feasible_plan
from fvflow.wasserstein.pyramid import Level, levels, split_levels, without_smallest
from fvflow.wasserstein.scaling import ScalingMultigrid, SparseRows
from fvflow.wasserstein.support import Potentials, Reach, conjugate, convex_extension, support

_SETTLED, _FEW_CYCLES = 2e-3, 3
_REBUILDS, _MOST_REBUILDS, _CYCLES = 5, 8, 12  # supports for each eps, also while stuck; cycles on each
_ERROR, _STUCK = 3e-4, 2e-2  # sum |row - a| that is good enough, and from which the support is made wider
_ROUGH, _FINE, _CRUDE = 0.5, 0.25, 1.0  # eps in units of the squared spacing: at first, at last, while stuck
_FINE_ERROR, _PROMISING = 3e-5, 6.0  # error that goes with the last eps; width from which that is tried, of that asked
_FEW_ATOMS = 512  # of both measures on a level that the network simplex solves whatever the scaling says
_RESIDUAL = 1e-3  # error of the scaling beyond which it also solves small levels: of few pairs of atoms, or
_FILLED, _MOST_PAIRS = 0.25, 2**20  # of up to so many if less than this part of the cells have mass
_FINER = 1.0 / 64.0  # part of the width for vertices of an eighth of the spacing
_VERTICES = 80  # of the lower bound, for each cell of a level: up to 4 along each axis of one
_LARGEST_STEP = 8.0  # change of the potentials between two supports, in units of eps
_ENTRY_BYTES, _CELL_BYTES = 32, 500  # measured peak of a level, by entries of its support and cells


@dataclass(frozen=True)
class Solution:
    """What one level found."""

    level: Level
    plan: Plan
    convex: Array  # v = |y|^2/2 - g, made convex, on all cells of the level (cell, ...)
    entries: int  # of the support
    seconds: float = 0.0  # wall time that it took


@dataclass(frozen=True)
class Interval:
    """lower <= W2 <= upper of two densities of mass 1, and why it stopped at a level of that shape."""

    lower: float
    upper: float
    solution: Solution  # of the best plan
    shape: tuple[int, ...]
    reason: str


@dataclass(frozen=True)
class Limits:
    """What may be spent."""

    cells: int  # of a level
    vertices: int  # of the lower bound
    seconds: float = np.inf  # wall time
    memory: float = np.inf  # bytes


def interval(
    masses: tuple[Array, Array],
    edges: tuple[Array, ...],
    width: float,
    limits: Limits,
    periods: Periods = None,
    guess: Array | None = None,
    report: Callable[[tuple[int, ...], float, float], None] | None = None,
) -> Interval:
    """Bounds for two arrays of cell masses (cell, ...) of total 1, up to a relative width or until a limit.

    The origin is in the middle of the box, some axes of which may have `periods`: then W2 is that on the torus.

    `guess` (cell, ...): a potential of the second measure, whose lower bound counts too. `report` is called with the
    shape of each level and the bounds after it.
    """
    begun = monotonic()
    longest = (0.5 * period for period in periods) if periods else repeat(np.inf)
    diameter = sqrt(sum(min(np.ptp(edge), most) ** 2 for edge, most in zip(edges, longest, strict=False)))
    kept, left_out = zip(*(without_smallest(mass) for mass in masses), strict=True)
    dual, pyramid = DualBound(masses, edges, periods), levels(kept, edges, periods)
    unequal = 0.5 * float(np.abs(masses[0] - masses[1]).sum()) + 1e-15
    lower, upper = 0.0, diameter * sqrt(unequal)  # the rest stays
    last: Solution | None = None
    best: Solution | None = None
    for level in chain(pyramid, split_levels(pyramid[-1])):
        spent = monotonic() - begun
        if last is not None and (reason := _exceeded(level, last, limits, pyramid[-1], spent)):
            break
        coarser = last
        for found in _solutions(level, coarser, sum(left_out), diameter, begun + limits.seconds):
            last, narrowed = found, found.plan.upper < upper
            upper = min(upper, last.plan.upper)
            vertices = min(limits.vertices, _VERTICES * prod(level.shape) + 4096)
            halvings = dual.halvings(upper, width, vertices)
            lower = max(lower, dual.bound(last.convex, level.centres, halvings))
            if width * upper < upper - lower <= _PROMISING * width * upper:  # maps that expand need more vertices
                finer = dual.halvings(upper, width * _FINER, vertices)
                lower = max(lower, dual.bound(last.convex, level.centres, finer) if finer > halvings else 0.0)
            best = last if best is None or last.plan.upper <= best.plan.upper else best
            if not (narrowed and width * upper < upper - lower <= _PROMISING * width * upper):
                break
        assert last is not None
        if guess is not None:
            mesh = pyramid[-1].centres
            lower = max(lower, dual.bound(half_square(mesh) - guess, mesh, halvings))
        last = replace(last, seconds=monotonic() - begun - spent)
        if report is not None:
            report(level.shape, lower, upper)
        if upper - lower <= width * upper:
            reason = "width"
            break
    assert last is not None
    assert best is not None
    return Interval(lower, upper, best, last.level.shape, reason)


def _exceeded(level: Level, last: Solution, limits: Limits, mesh: Level, spent: float) -> str:
    """The limit that the next level would exceed, as its predecessor lets one expect; empty if it may be solved."""
    growth = prod(level.shape) / prod(last.level.shape)
    if prod(level.shape) > max(limits.cells, prod(mesh.shape)):
        return "cells"
    if spent + growth * last.seconds > limits.seconds:
        return "time"
    if growth * last.entries * _ENTRY_BYTES + prod(level.shape) * _CELL_BYTES > limits.memory:
        return "memory"
    return ""


def _solutions(
    level: Level, coarser: Solution | None, moved: float, diameter: float, deadline: float
) -> Iterator[Solution]:
    """Entropic plans at the scale of the cells of a level, from the potentials of the coarser one; the second is finer.

    After the deadline of the monotonic clock no support is built anew: the bounds hold at any time.
    """
    first, second = level.first, level.second
    flat = sum(count > 1 for count in level.shape) < 3
    if coarser is None:
        g, reach = np.zeros(second.count), Reach(max(level.shape), 1e3, max(level.shape))
    else:
        v = interpolated(coarser.convex, coarser.level.centres, level.centres, periods=level.periods)
        g = (half_square(level.centres) - v).ravel()[second.cells]
        reach = Reach(3, 12.0, 15) if flat else Reach(2, 6.0, 6)
    to = conjugate(level, second, g, first)
    potentials = Potentials(to.value, conjugate(level, first, to.value, second).value)
    for kappa, goal in ((_ROUGH, _ERROR), (_FINE, _FINE_ERROR)):
        scaled, reach = _converged(level, potentials, kappa, reach, goal, deadline)
        if first.count + second.count <= _FEW_ATOMS or (scaled.error > _RESIDUAL and _is_small(level)):
            matrix, potentials = optimal_plan(level)
            ones, to = (np.ones(first.count), np.ones(second.count)), conjugate(level, second, potentials.second, first)
            scaled = _Scaled(matrix, *ones, to.node, potentials, 0.0)
        potentials = scaled.potentials
        plan = feasible_plan(level, scaled.matrix, scaled.p, scaled.q, scaled.to, moved, diameter)
        entries, error = len(scaled.matrix.column), scaled.error
        del scaled
        yield Solution(level, plan, convex_extension(level, potentials.second), entries)
        if error == 0.0 or error > _STUCK or monotonic() > deadline:  # a smaller eps would gain nothing
            return


def _converged(
    level: Level, potentials: Potentials, kappa: float, reach: Reach, goal: float, deadline: float
) -> tuple[_Scaled, Reach]:
    """Supports built anew until the scaling reaches the goal, wider and at a larger eps while it is stuck."""
    scaled, stuck, settled = None, False, False
    for count in range(_MOST_REBUILDS):
        scaled = None  # the support before this one is given back first
        eps = (max(kappa, _CRUDE) if stuck else kappa) * level.spacing**2
        scaled = _scale(level, potentials, eps, reach, goal, _CYCLES if settled else _FEW_CYCLES)
        crude, stuck = stuck, scaled.error > _STUCK
        potentials = scaled.potentials
        done, settled = scaled.error < goal and settled, scaled.error < _SETTLED
        if (not (stuck or crude) and (done or count + 1 >= _REBUILDS)) or monotonic() > deadline:
            break
        reach = reach.wider() if stuck else reach
    assert scaled is not None
    return scaled, reach


def _is_small(level: Level) -> bool:
    """Whether pairs of atoms are few, the more so if so few cells have mass that windows miss the next atom."""
    atoms, other = level.first.count, level.second.count
    most = _MOST_PAIRS if min(atoms, other) <= _FILLED * prod(level.shape) else _FEW_ATOMS**2 // 4
    return atoms * other <= most


@dataclass(frozen=True)
class _Scaled:
    """A scaled support, and the potentials that go with it."""

    matrix: SparseRows
    p: Array
    q: Array
    to: Indices
    potentials: Potentials
    error: float


def _scale(level: Level, potentials: Potentials, eps: float, reach: Reach, goal: float, cycles: int) -> _Scaled:
    """Build the support of the potentials and scale it; what the scalings say is added to the potentials."""
    first, second = level.first, level.second
    to = conjugate(level, second, potentials.second, first)
    back = conjugate(level, first, potentials.first, second)
    matrix = support(level, potentials, to, back, eps, reach)
    multigrid = ScalingMultigrid(matrix, first.mass, second.mass, first.index, second.index)
    p, q = first.mass.copy(), second.mass / float(second.mass @ second.mass)
    starts = p.copy(), q.copy()
    error = multigrid.scale(p, q, goal, cycles)
    f, g = (
        potential + eps * np.clip(np.log(scaling / start), -_LARGEST_STEP, _LARGEST_STEP)
        for potential, scaling, start in zip((potentials.first, potentials.second), (p, q), starts, strict=True)
    )
    return _Scaled(matrix, p, q, to.node, Potentials(f, g), error)
