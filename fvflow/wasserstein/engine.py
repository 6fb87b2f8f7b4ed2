"""Both bounds of W2 on a box, from coarse levels to fine ones, until their interval is narrow enough.

On each level the entropic plan at the scale of a cell is computed on the few pairs of cells near the graph of its own
potentials: the support follows from the potentials of the coarser level, by Legendre transforms, and is built anew as
the scaling goes on. Neither bound relies on convergence: `plan` and `dual` prove them from whatever is there.
Schmitzer, Stabilized sparse scaling algorithms for entropy regularized transport problems, SIAM J. Sci. Comput. 41
(2019), has levels, supports and log domain; the multigrid of `scaling` is what makes smooth densities fast.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, takewhile
from math import prod, sqrt

import numpy as np

from fvflow.mesh import Array
from fvflow.wasserstein.dual import DualBound
from fvflow.wasserstein.legendre import half_square, interpolated
from fvflow.wasserstein.plan import Plan, feasible_plan
from fvflow.wasserstein.pyramid import Level, levels, split_levels, without_smallest
from fvflow.wasserstein.scaling import ScalingMultigrid
from fvflow.wasserstein.support import Potentials, Reach, conjugate, convex_extension, support

_REBUILDS, _CYCLES = 5, 3
_ERROR = 3e-4  # of the row sums, relative, at which the scaling is good enough
_LARGEST_STEP = 8.0  # change of the potentials between two supports, in units of eps


@dataclass(frozen=True)
class Solution:
    """What one level found."""

    level: Level
    plan: Plan
    convex: Array  # v = |y|^2/2 - g, made convex, on all cells of the level (cell, ...)


@dataclass(frozen=True)
class Interval:
    """lower <= W2 <= upper of two densities of mass 1, with the level that proved the upper bound last."""

    lower: float
    upper: float
    solution: Solution
    reason: str


def interval(
    masses: tuple[Array, Array],
    edges: tuple[Array, ...],
    width: float,
    cells: int,
    vertices: int,
    guess: Array | None = None,
) -> Interval:
    """Bounds for two arrays of cell masses (cell, ...) of total 1, up to a relative width.

    `guess` (cell, ...): a potential of the second measure, whose lower bound counts too.
    """
    diameter = sqrt(sum(np.ptp(edge) ** 2 for edge in edges))
    kept, left_out = zip(*(without_smallest(mass) for mass in masses), strict=True)
    dual, pyramid = DualBound(masses, edges), levels(kept, edges)
    lower, upper = (
        0.0,
        diameter * float(np.sqrt(np.abs(masses[0] - masses[1]).sum() / 2 + 1e-15)),
    )  # what is equal stays
    solution, reason = None, ""
    for level in chain(pyramid, _affordable(pyramid[-1], cells)):
        solution = _solve(level, solution, sum(left_out), diameter)
        upper = min(upper, solution.plan.upper)
        halvings = dual.halvings(upper, width, min(vertices, 64 * prod(level.shape) + 4096))
        lower = max(lower, dual.bound(solution.convex, level.centres, halvings))
        if guess is not None:
            mesh = pyramid[-1].centres
            lower = max(lower, dual.bound(half_square(mesh) - guess, mesh, halvings))
        if upper - lower <= width * upper:
            reason = "width"
            break
    else:
        reason = "cells"
    assert solution is not None
    return Interval(lower, upper, solution, reason)


def _affordable(level: Level, cells: int) -> Iterator[Level]:
    """Levels of split cells, while there are at most so many."""
    return takewhile(lambda finer: prod(finer.shape) <= cells, split_levels(level))


def _solve(level: Level, coarser: Solution | None, moved: float, diameter: float) -> Solution:
    """The entropic plan at the scale of the cells of a level, from the potentials of the coarser one."""
    first, second = level.first, level.second
    dimension = max(sum(count > 1 for count in level.shape), 1)
    if coarser is None:
        g, reach = np.zeros(second.count), Reach(max(level.shape), 1e3)
    else:
        v = interpolated(coarser.convex, coarser.level.centres, level.centres)
        g = (half_square(level.centres) - v).ravel()[second.cells]
        reach = Reach(3, 12.0) if dimension < 3 else Reach(2, 6.0)
    f = None
    for kappa in (1.0, 0.5) if dimension < 3 else (0.5,):
        eps = kappa * level.spacing**2
        for _ in range(_REBUILDS):
            to = conjugate(level, second, g, first)
            if f is None:
                f = to.value
                g = conjugate(level, first, f, second).value
                to = conjugate(level, second, g, first)
            back = conjugate(level, first, f, second)
            matrix = support(level, Potentials(f, g), to, back, eps, reach)
            p, q = first.mass.copy(), second.mass / float(second.mass @ second.mass)
            start = p.copy(), q.copy()
            multigrid, error = ScalingMultigrid(matrix, first.mass, second.mass, first.index, second.index), 1.0
            for _ in range(_CYCLES):
                error = multigrid.cycle(p, q)
                if error < _ERROR:
                    break
            f = f + eps * np.clip(np.log(p / start[0]), -_LARGEST_STEP, _LARGEST_STEP)
            g = g + eps * np.clip(np.log(q / start[1]), -_LARGEST_STEP, _LARGEST_STEP)
            if error < _ERROR:
                break
    plan = feasible_plan(level, matrix, p, q, to.node, moved, diameter)
    return Solution(level, plan, convex_extension(level, g))
