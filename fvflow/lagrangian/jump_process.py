"""The Markov chain on the cells whose law is the discrete density of implicit Euler.

A particle jumps from K to L at the rate down/|K| through a face that K owns, up/|K| through one that it does not own,
and leaves for good at the rate leak/|K|: the law p of its cell solves dp/dt = -L p, with the matrix L of the scheme.
Since (1 + dt L)^-1 = int_0^inf e^-s e^(-s dt L) ds, a particle that is run for the time dt S, S exponential of mean 1,
has the law of one step of implicit Euler, for steps of any length and on any mesh (Gillespie, J. Comput. Phys. 22,
1976, for e^(-t L)).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from fvflow.errors import NumericsError
from fvflow.jit import kernel
from fvflow.lagrangian.philox import JUMP, uniforms
from fvflow.lagrangian.walkers import Walkers
from fvflow.mesh import Array, Index
from fvflow.problems import FokkerPlanck

_AT_ONCE = 2**20  # jumps after which signals are heard
_MOST = 2**31  # jumps of a particle in a step: there are so many random numbers for each, twice over


@dataclass(frozen=True, eq=False)
class JumpRates:
    """The rates of a chain on the cells, by the cell that a jump leaves."""

    first: Index
    """Where the jumps out of each cell begin (cell + 1,)."""
    target: Index
    """The cell that each leads to (jump,); -1 - i for the opening i."""
    reached: Array
    """The sum of the rates of this jump and those before it out of the same cell (jump,)."""

    @staticmethod
    def of(problem: FokkerPlanck, time: float) -> JumpRates:
        """Those of a problem at a time; raises NumericsError if one is negative."""
        graph, (down, up) = problem.graph, problem.coefficients(time)
        source, target, rate = [graph.owner, graph.neighbour], [graph.neighbour, graph.owner], [down, up]
        if problem.openings is not None:
            source.append(problem.openings.cell)
            target.append(-1 - np.arange(len(problem.openings.cell), dtype=np.int32))
            rate.append(problem.leaks(time))
        cell = np.concatenate(source)
        rates = np.concatenate(rate) / graph.volume[cell]
        if not (rates >= 0).all():
            worst = int(np.argmin(rates))
            place = ", ".join(
                f"{axis} = {at:.6g}" for axis, at in zip("xyz", problem.mesh.centre[cell[worst]], strict=False)
            )
            raise NumericsError(
                f"the scheme lets mass move at the rate {rates[worst]:.3g} at {place}, t = {time:g}, which is no rate "
                "of jumps; use flux scharfetter-gummel, or a finer mesh"
            )
        kept = np.flatnonzero(rates > 0)
        order = kept[np.argsort(cell[kept], kind="stable")]
        count = np.bincount(cell[order], minlength=len(graph.volume))
        first = np.concatenate([[0], np.cumsum(count)])
        return JumpRates(first, np.concatenate(target)[order].astype(np.int64), _within(rates[order], first))

    def run(self, walkers: Walkers, length: float, step: int, seed: int, exits: Array, group: Index) -> None:
        """Run each particle for length times an exponential number.

        Those that leave through an opening (opening,) stay at its exit (opening, dim) and get its group. Raises
        NumericsError if a particle jumps more often than there are random numbers for it.
        """
        left, draw = np.zeros(len(walkers.number)), np.zeros(len(walkers.number), np.int64)
        arrays = walkers.number, walkers.position, walkers.cell, walkers.group, left, draw
        chain = self.first, self.target, self.reached, exits, group
        while not _jump(*arrays, *chain, length, step, np.uint64(seed), _AT_ONCE):
            if draw.max() > _MOST:
                raise NumericsError(
                    f"a particle has jumped {_MOST:.2g} times in a step of {length:g}, and there are no more random "
                    "numbers for it; use shorter steps"
                )


def _within(rates: Array, first: Index) -> Array:
    """Sums of rates over those of each cell up to each (jump,), without the error of long sums."""
    reached = rates.copy()
    place = np.arange(len(rates)) - np.repeat(first[:-1], np.diff(first))
    for number in range(1, int(place.max(initial=0)) + 1):
        later = np.flatnonzero(place == number)
        reached[later] += reached[later - 1]
    return reached


@kernel()
def _jump(
    number: Any,
    position: Any,
    cell: Any,
    group: Any,
    left: Any,
    draw: Any,
    first: Any,
    target: Any,
    reached: Any,
    exits: Any,
    exit_group: Any,
    length: Any,
    step: Any,
    seed: Any,
    most: Any,
) -> Any:
    """Run the clocks; a particle whose time is not up jumps. Whether all are up, rather than `most` jumps made.

    `left` (particle,) is the time of each clock, `draw` (particle,) its next draw: 0 before the start, -1 at the end.
    """
    jumps = 0
    for i in range(len(number)):
        if group[i] >= 0 or draw[i] < 0:
            continue
        here = cell[i]
        if draw[i] == 0:
            left[i], draw[i] = -length * math.log(uniforms(number[i], step, 0, JUMP, seed)[0]), 1
        while first[here + 1] > first[here]:
            if jumps == most:
                cell[i] = here
                return False
            end = first[here + 1] - 1
            waiting, choice = uniforms(number[i], step, draw[i], JUMP, seed)
            left[i] += math.log(waiting) / reached[end]
            if left[i] <= 0.0:
                break
            draw[i] += 1
            jumps += 1
            chosen = first[here]
            while chosen < end and reached[chosen] < choice * reached[end]:
                chosen += 1
            if target[chosen] < 0:
                opening = -1 - target[chosen]
                group[i] = exit_group[opening]
                for axis in range(position.shape[1]):
                    position[i, axis] = exits[opening, axis]
                here = -1
                break
            here = target[chosen]
        cell[i], draw[i] = here, -1
    return True
