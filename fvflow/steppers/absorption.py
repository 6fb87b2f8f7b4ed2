"""What leaves a mesh through its openings in a step, and what remains, to round-off over any number of steps."""

from __future__ import annotations

import math

import numpy as np

from fvflow.linalg import Solution, Solve, inner, rescale_to_mass
from fvflow.mesh import Array, Mesh
from fvflow.problems import FokkerPlanck, State
from fvflow.sums import total

_LEAST = 1e-280  # less than this, also of the mass, has lost digits, and is taken for nothing


class _Volumes:
    """What `rescale_to_mass` needs of sums of solutions, whose round-off adds up along the cells."""

    def __init__(self, mesh: Mesh) -> None:
        self.column_sums, self.max_relative_diagonal = mesh.volume, 16.0 * math.sqrt(mesh.extent.cells)


class Absorption:
    """The absorption of the openings of a mesh; none if it has no openings."""

    def __init__(self, problem: FokkerPlanck) -> None:
        self._problem, self._openings, self._volume = problem, problem.openings, problem.mesh.volume
        self.nothing = np.zeros(0 if self._openings is None else len(self._openings.names))
        """The loss (group,) of no time."""

    def __call__(self, density: Array, time: float, length: float, axis: int | None = None) -> Array:
        """The mass (group,) that a density held for a time of this length loses, along one axis if that is given."""
        if self._openings is None:
            return self.nothing
        rates = self._problem.leaks(time) * density[self._openings.cell]
        return length * self._openings.by_group(rates if axis is None else rates * (self._openings.axis == axis))

    def left(self, state: State, lost: Array, density: Array) -> float:
        """What is left after a loss (group,), to a few ulp; the density after it (cell,) has it up to round-off.

        The difference keeps the balance exact. Where it has lost digits, as most of the mass is lost or densities of
        both signs cancel, it is the mass of the density: off the balance by the round-off of this step, which does not
        add up, since less and less is left.
        """
        gone, before = float(lost.sum()), state.remaining
        after = before - gone
        keeps_digits = abs(gone) <= 0.5 * abs(before) and all(
            2.0 * abs(mass) >= inner(self._volume, np.abs(each))
            for mass, each in ((before, state.density), (after, density))
        )
        return after if keeps_digits else inner(self._volume, density)

    def solve(self, solve: Solve, right: Array, mass: float) -> Solution:
        """The solution for a right-hand side (cell,) of either sign and its total, a mass.

        Where the total nearly cancels, as it can with openings, scaling to it would scale round-off: then the parts of
        each sign are solved for.
        """
        if self._openings is None or 2.0 * abs(mass) >= total(np.abs(right)):
            return solve(right, mass)
        above, below = (solve(part, total(part)) for part in (np.maximum(right, 0.0), np.maximum(-right, 0.0)))
        return Solution(
            above.density - below.density,
            above.iterations + below.iterations,
            max(above.correction, below.correction),
        )

    def rescaled(self, state: State, density: Array, lost: Array) -> Solution:
        """A density (cell,) made of solutions, rescaled to what is left after a loss (group,)."""
        return rescale_to_mass(_Volumes(self._problem.mesh), density, self.left(state, lost, density))

    def after(
        self,
        state: State,
        length: float,
        lost: Array,
        *solutions: Solution,
        crossed: Array | None = None,
    ) -> State:
        """The state after a step of linear solves, the last of which gives the density, and of a loss (group,)."""
        density, absorption = solutions[-1].density, state.absorption
        if absorption is not None:
            left = self.left(state, lost, density)
            if abs(left) < max(_LEAST * state.mass, _LEAST):
                left, density = 0.0, np.zeros_like(density)
            absorption = _settled(absorption, left, lost, state.remaining)
        return state.advanced(
            length,
            density,
            iterations=sum(solution.iterations for solution in solutions),
            correction=max(solution.correction for solution in solutions),
            absorption=absorption,
            crossed=crossed,
        )


def _settled(absorption: Array, left: float, lost: Array, before: float) -> Array:
    """`State.absorption` after a loss (group,) of the mass `before`, of which so much is left.

    What rounding leaves off a sum is kept beside it: Dekker, A floating-point technique for extending the available
    precision, Numer. Math. 18 (1971).
    """
    gone = float(lost.sum())
    value, change = absorption[0], np.append(-gone, lost)
    total = value + change
    part = total - value
    rest = absorption[1] + ((value - (total - part)) + (change - part))
    sums = total + rest
    rest -= sums - total
    if left != before - gone:  # taken from the density
        sums[0], rest[0] = left, 0.0
    return np.stack([sums, rest])
