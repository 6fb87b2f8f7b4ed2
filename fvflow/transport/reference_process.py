"""The Markov chain of a Fokker-Planck equation between the nodes of a time grid, as a bridge needs it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from fvflow.linalg import divergence
from fvflow.mesh import Array
from fvflow.problems import FokkerPlanck

if TYPE_CHECKING:
    from fvflow.linalg.markov.axis_exponentials import AxisExponentials
    from fvflow.linalg.markov.positive_exponential import PositiveExponential

_GAUSS = 10  # nodes of a rule
_BALANCED = 16 * float(np.finfo(float).eps)  # residual of continuity that counts as round-off, and more for more jumps
_FEW_JUMPS = 1.0  # in the part of a step for which ten nodes are exact to round-off
MOST_KEPT = 2**24  # numbers in the exponentials that are kept


@dataclass(frozen=True, eq=False)
class ReferenceProcess:
    """The chain on the cells with the rates of an equation, those at the middle of each step if they depend on t."""

    problem: FokkerPlanck
    """The equation; its rates are >= 0."""
    nodes: Sequence[float]
    """The times t_0 < ... < t_N between which the rates are constant."""
    _exponentials: dict[int, PositiveExponential] = field(default_factory=dict, init=False, repr=False)

    @cached_property
    def _axes(self) -> AxisExponentials | None:
        """The kernel of the whole time by axes; None where it is none."""
        from fvflow.linalg.markov.axis_exponentials import AxisExponentials

        if not self.problem.steady:
            return None
        return AxisExponentials.of(self._exponential(0).matrix, self._length(0, len(self.nodes) - 1))

    def to_end(self, masses: Array) -> Array:
        """The law (cell,) at the last node, of paths with these masses at the first one."""
        axes = self._axes
        return self.forward(masses, 0, len(self.nodes) - 1) if axes is None else axes.forward(masses)

    def to_start(self, values: Array) -> Array:
        """The mean (cell,) of a function at the last node, by the cell of the path at the first one."""
        axes = self._axes
        return self.backward(values, len(self.nodes) - 1, 0) if axes is None else axes.backward(values)

    def forward(self, masses: Array, first: int, last: int) -> Array:
        """The law (cell,) at node `last` of paths with these masses at node `first`."""
        if self.problem.steady:
            return self._exponential(first).forward(masses, self._length(first, last))
        for step in range(first, last):
            masses = self._exponential(step).forward(masses, self._length(step, step + 1))
        return masses

    def backward(self, values: Array, last: int, first: int) -> Array:
        """The mean (cell,) of a function at node `last`, by the cell of the path at node `first`."""
        if self.problem.steady:
            return self._exponential(first).backward(values, self._length(first, last))
        for step in reversed(range(first, last)):
            values = self._exponential(step).backward(values, self._length(step, step + 1))
        return values

    def crossed(self, step: int, forward: Array, backward: Array) -> Array:
        """int F dt of each link (link,) over a step, F_KL = down f_K g_L - up f_L g_K.

        The masses f (cell,) are those at its start, the function g (cell,) that at its end. Rules of ten Gauss nodes
        are applied to halves of halves of the step until the fluxes account for the change of every f g to round-off.
        """
        exponential, length = self._exponential(step), self._length(step, step + 1)
        return _crossed(exponential, forward, backward, length, float(forward @ exponential.backward(backward, length)))

    def _length(self, first: int, last: int) -> float:
        return self.nodes[last] - self.nodes[first]

    def _exponential(self, step: int) -> PositiveExponential:
        from fvflow.linalg.markov.positive_exponential import PositiveExponential

        key = 0 if self.problem.steady else step
        if key not in self._exponentials:
            links = len(self.problem.graph.owner)
            if (len(self._exponentials) + 1) * 12 * (links + self.problem.mesh.cells) > MOST_KEPT:
                self._exponentials.clear()
            time = 0.5 * (self.nodes[step] + self.nodes[step + 1])
            self._exponentials[key] = PositiveExponential(self.problem.matrix(time, 1.0))
        return self._exponentials[key]


def _crossed(exponential: PositiveExponential, forward: Array, backward: Array, length: float, mass: float) -> Array:
    """`ReferenceProcess.crossed` over a length of time."""
    at, weights = np.polynomial.legendre.leggauss(_GAUSS)
    gaps = np.diff(np.concatenate([[0.0], 0.5 * (1.0 + at), [1.0]])) * length
    g = [backward]
    for gap in gaps[::-1]:
        g.append(exponential.backward(g[-1], gap))
    g.reverse()
    matrix, (down, up), f = exponential.matrix, exponential.chances, forward
    owner, neighbour = matrix.owner, matrix.neighbour
    total = np.zeros(len(owner))
    for node, weight in enumerate(0.5 * length * weights, start=1):
        f = exponential.forward(f, gaps[node - 1])
        total += weight * (down * f[owner] * g[node][neighbour] - up * f[neighbour] * g[node][owner])
    f = exponential.forward(f, gaps[-1])
    left = f * backward - forward * g[0] + divergence(matrix, total)
    jumps = exponential.rate * length
    if jumps <= _FEW_JUMPS or float(np.abs(left).sum()) <= _BALANCED * np.sqrt(1.0 + jumps) * mass:
        return total
    half = 0.5 * length
    middle = exponential.forward(forward, half), exponential.backward(backward, half)
    first = _crossed(exponential, forward, middle[1], half, mass)
    return first + _crossed(exponential, middle[0], backward, half, mass)
