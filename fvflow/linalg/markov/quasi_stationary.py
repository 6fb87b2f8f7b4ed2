"""The quasi-stationary state of a Markov chain that ends: its density given that it has not ended for a long time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fvflow.errors import NumericsError
from fvflow.linalg.markov.absorbing import EndingChain
from fvflow.mesh import Array
from fvflow.sums import inner

_ROUNDS = 40  # steps of inverse iteration before, and after, Arnoldi's method is asked
_TOLERANCE = 1e-13  # estimated L1 error of the density at which the iteration ends, or that of its solves if larger
_ACCEPTED = 1e-9  # L1 error above which the result is refused
_ROUND_OFF = 4 * np.finfo(float).eps


@dataclass(frozen=True, eq=False)
class QuasiStationary:
    """A density (cell,) of mass 1 that decays at a rate without changing its shape."""

    density: Array
    rate: float  # of decay, 1/time: of all that is left, the part that leaves per unit time
    iterations: int
    residual: float  # |A x - rate |K| x|_1 over the total outflow


def quasi_stationary(chain: EndingChain) -> QuasiStationary:
    """x > 0 with A x = rate |K| x, the slowest of all modes, by inverse iteration from a uniform density.

    If the chain is factorised, each step is a subtraction-free solve, which keeps x > 0 in every cell, and the rate
    leak.x has no subtraction either, so that one of 1e-100 is as accurate as the rates between cells. A step reduces
    the error by rate over the rate of the next mode. If that is near 1, the iteration goes on from the vector of
    Arnoldi's method for the same inverse. Darroch, Seneta, On quasi-stationary distributions in absorbing
    continuous-time finite Markov chains, J. Appl. Probab. 4 (1967). Raises NumericsError if the iteration does not
    converge.
    """
    volume, tolerance = chain.matrix.volume, max(_TOLERANCE, chain.accuracy)
    x, error, count = _iterated(chain, np.full(len(volume), 1.0 / float(volume.sum())), tolerance)
    if error > tolerance and len(volume) > 2:
        start, solves = _arnoldi(chain, x, 0.0 if tolerance == _TOLERANCE else tolerance)
        x, error, further = _iterated(chain, start, tolerance)
        count += solves + further
    if not error <= max(_ACCEPTED, chain.accuracy):
        raise NumericsError(
            f"the quasi-stationary state is off by about {error:.1e} of the mass after {count} solves: another mode "
            "decays at nearly the same rate, as in wells that exchange too little; let fewer of them be left"
        )
    rate = chain.end_rate(x)
    return QuasiStationary(x, rate, count, _residual(chain, x, rate))


def _iterated(chain: EndingChain, x: Array, tolerance: float) -> tuple[Array, float, int]:
    """The density after at most 40 steps, the estimate of its L1 error by a geometric series, and the steps."""
    volume, before, error, count = chain.matrix.volume, np.inf, np.inf, 0
    while error > tolerance and count < _ROUNDS:
        y = chain.forward(volume * x)
        if not 0.0 < (sojourn := inner(volume, y)) < np.inf:
            raise NumericsError(
                f"the mean time to reach the target is {sojourn:g} in doubles: the barrier before it is too high; use "
                "a larger epsilon, or a target before the barrier"
            )
        y /= sojourn
        change = inner(volume, np.abs(y - x))
        x, count, ratio = y, count + 1, change / before
        if change <= _ROUND_OFF:
            error = change
        elif 0 < ratio < 1:
            error = change * ratio / (1.0 - ratio)
        before = change
    return x, error, count


def _arnoldi(chain: EndingChain, start: Array, tolerance: float) -> tuple[Array, int]:
    """The size of the eigenvector of A^-1 |K| for its largest eigenvalue, a density of mass 1, and the solves.

    The tolerance is relative; 0 stands for round-off.
    """
    from scipy.sparse.linalg import ArpackError, LinearOperator, eigs

    volume, solves = chain.matrix.volume, 0

    def inverse(x: Array) -> Array:
        nonlocal solves
        solves += 1
        return chain.forward(volume * np.ravel(x))

    operator: Any = LinearOperator((len(volume), len(volume)), matvec=inverse, dtype=np.float64)
    try:
        vector = np.abs(eigs(operator, k=1, which="LM", v0=start, tol=tolerance)[1][:, 0])
    except ArpackError as error:
        raise NumericsError(
            f"the quasi-stationary state did not converge ({error}): another mode decays at nearly the same rate"
        ) from None
    return vector / inner(volume, vector), solves


def _residual(chain: EndingChain, x: Array, rate: float) -> float:
    """|A x - rate |K| x|_1 over the total outflow."""
    matrix = chain.matrix
    moved = matrix.apply(x) - matrix.volume * x
    leaving = (matrix.diagonal() - matrix.volume) * x
    return float(np.abs(moved - rate * matrix.volume * x).sum() / leaving.sum())
