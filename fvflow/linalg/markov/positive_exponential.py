"""Exponentials of a generator whose every entry is accurate, however small: what a bridge divides by.

The generator is that of `fvflow.linalg.markov.uniformization`: P is the stochastic matrix of one jump, and
exp(-tL) = sum_k Poisson_z(k) P^k with z = lambda t. All terms are >= 0, so that a sum which is cut late enough has a
relative error of round-off in every cell. How late that is depends on the data: a sum cut where its weights are 1e-12
loses all that takes more jumps, which is most of the kernel between distant cells.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from fvflow.errors import NumericsError
from fvflow.linalg.markov.uniformization import RecurrenceStep, jump_rate, jumps, recurrence_step
from fvflow.linalg.matrix import FaceMatrix
from fvflow.mesh import Array

_LONGEST_SUM = 600.0  # jumps of one sum: exp(-z) and all later weights are above the least double
_MAX_Z = 1e8  # jumps of one exponential
_CHECK_INTERVAL = 8  # products between two looks at what is left of a sum
_NEGLIGIBLE = 1e-17  # of a cell's value, what is left of a sum that ends
_BENEATH = 1e-290  # of the largest value, beneath which doubles lose digits: no look at these cells


@dataclass(frozen=True, eq=False)
class PositiveExponential:
    """exp(-tL) on masses and its adjoint exp(-tL*) on functions, both >= 0 with the relative error of round-off.

    L = A |K|^-1 is the generator of the matrix |K| + A, whose down and up are >= 0. A sum of at most 600 jumps ends
    after k products if what is left is at most 1e-17 of each cell's value. That is proved: P >= 0, so that P^k x <= G
    P^(k-1) x in each cell implies the same with k + 1, and the rest is at most w_k P^k x q/(1 - q), q = G z/(k + 1)
    (Collatz, Wielandt). Cells beneath 1e-290 of the largest value are not looked at.
    """

    matrix: FaceMatrix
    """|K| + A."""
    rate: float = field(init=False)
    """lambda, the largest rate of leaving a cell."""
    chances: tuple[Array, Array] = field(init=False)
    """Rates of the jumps down and up each link (link,), per unit time and mass of the cell that is left."""
    _forward: RecurrenceStep | None = field(init=False, repr=False)
    _backward: RecurrenceStep | None = field(init=False, repr=False)

    def __post_init__(self) -> None:
        rate = jump_rate(self.matrix)
        steps = [recurrence_step(self.matrix, rate, adjoint) if rate > 0 else None for adjoint in (False, True)]
        _, down, up = jumps(self.matrix, rate or 1.0)
        made = {"rate": rate, "chances": (rate * down, rate * up), "_forward": steps[0], "_backward": steps[1]}
        for name, value in made.items():
            object.__setattr__(self, name, value)

    def forward(self, masses: Array, time: float) -> Array:
        """exp(-tL) m (cell,): masses m >= 0 after this time."""
        return self._apply(self._forward, masses, time)

    def backward(self, values: Array, time: float) -> Array:
        """exp(-tL*) g (cell,): the mean of a function g >= 0 after this time, by the cell that a path starts in."""
        return self._apply(self._backward, values, time)

    def _apply(self, step: RecurrenceStep | None, values: Array, time: float) -> Array:
        z = self.rate * time
        if step is None or z == 0.0:
            return values
        if z > _MAX_Z:
            raise NumericsError(
                f"{time:.3g} of time are {z:.1e} jumps between cells, {_MAX_Z:.0e} are allowed; use larger cells, a "
                "smaller epsilon or an earlier end"
            )
        parts = math.ceil(z / _LONGEST_SUM)
        for _ in range(parts):
            values = _poisson_sum(step, values, z / parts)
        return values


def _poisson_sum(step: RecurrenceStep, values: Array, z: float) -> Array:
    """sum_k Poisson_z(k) P^k x (cell,), for z <= 600."""
    weights = poisson_weights(z)
    total: Array = weights[0] * values
    x, previous = values.copy(), np.zeros_like(values)
    for k in range(1, len(weights)):
        step(x, previous, 1.0, 0.0, weights[k], total)
        x, previous = previous, x
        if k >= z and k % _CHECK_INTERVAL == 0 and _ends(x, previous, total, k, z, weights[k]):
            break
    return total


def _ends(x: Array, before: Array, total: Array, k: int, z: float, weight: float) -> bool:
    """Whether what is left of a sum after P^k x (cell,) is negligible in every cell."""
    seen = total > _BENEATH * float(total.max())
    reached = x[seen]
    with np.errstate(divide="ignore", over="ignore"):
        growth = float((reached / before[seen]).max(initial=0.0))
    ratio = growth * z / (k + 1)
    if not ratio < 1.0:
        return False
    left = weight * ratio / (1.0 - ratio)
    return bool((left * reached <= _NEGLIGIBLE * total[seen]).all())


@lru_cache(maxsize=64)
def poisson_weights(z: float) -> Array:
    """Poisson_z(k) (term,) for k = 0, 1, ... up to the least double, accurate to round-off; they sum to 1."""
    top = int(z)
    count = top + 1
    while count * (math.log(count / z) - 1.0) + z < 740.0:  # -log of the weight, at most
        count += max(8, count // 16)
    left = np.cumprod(np.arange(top, 0, -1) / z)[::-1]
    right = np.cumprod(z / np.arange(top + 1, count + 1))
    weights = np.concatenate([left, [1.0], right])
    return np.asarray(weights / weights.sum())
