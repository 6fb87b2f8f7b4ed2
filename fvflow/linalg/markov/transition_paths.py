"""Transition paths of a Markov chain: those between its last visit to one set and its next one to another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fvflow.errors import NumericsError
from fvflow.linalg.markov.absorbing import LEAST_RATE, EndingChain
from fvflow.linalg.markov.stationary import rates_underflow
from fvflow.mesh import Array


@dataclass(frozen=True, eq=False)
class TransitionPaths:
    """Paths from A to B of a steady chain, for the cells in neither of them."""

    to_b: Array  # (cell,) q+: probability to meet B before A from here on
    from_a: Array  # (cell,) q-: probability that A was met later than B before
    from_b: Array  # (cell,) 1 - q-
    flux: Array  # (face,) net number of transition paths through a face per unit time, from owner to neighbour
    rate: float  # number of them per unit time
    rate_defect: float  # relative difference of the rates out of A and into B, and of those from B to A
    residual: float  # of q+, as `EndingChain.residual`


def transition_paths(
    chain: EndingChain,
    steady: Array,
    into: tuple[Array, Array],
    out_of: tuple[Array, Array],
    balanced: bool,
    reason: Callable[[], str] = rates_underflow,
) -> TransitionPaths:
    """Paths from A to B, from the chain of the other cells, which ends there, and their steady density pi (cell,).

    `into` holds the rates (cell,) from each cell into A and B, and `out_of` what comes from A and B into each cell per
    unit time (cell,). With the rates s_ij from j to i, q+ and q- solve

        sum_i s_ij (q+_i - q+_j) = 0,    sum_i s_ji pi_i (q-_i - q-_j) = 0,    q+ = 0, q- = 1 in A, q+ = 1, q- = 0 in B,

    the second one for the chain seen backward in time, which is the chain itself in detailed balance (`balanced`). In
    general pi q- is the density of what came from A last. All equations, those for 1 - q+ and 1 - q- too, are solved
    without subtractions. Metzner, Schuette, Vanden-Eijnden,
    Transition path theory for Markov jump processes, Multiscale Model. Simul. 7 (2009). Raises NumericsError, with
    the `reason`, if nothing passes from one set to the other.
    """
    matrix = chain.matrix
    owner, neighbour = matrix.owner, matrix.neighbour
    to_a, to_b = (chain.backward(rates) for rates in into)
    # what comes from A, at its density pi q-; pi may be below all doubles where the chain is its own reverse
    from_a, from_b = (to_a, to_b) if balanced else (chain.forward(flow) / steady for flow in out_of)
    down, up = matrix.down * steady[owner], matrix.up * steady[neighbour]
    flux = from_a[owner] * down * to_b[neighbour] - from_a[neighbour] * up * to_b[owner]
    there = float((out_of[0] * to_b).sum()), float((from_a * steady * into[1]).sum())
    back = float((out_of[1] * to_a).sum()), float((from_b * steady * into[0]).sum())
    if not min(*there, *back) > LEAST_RATE:
        raise NumericsError(f"there are no transitions from one set to the other, or none back: {reason()}")
    defect = float(np.ptp([*there, *back])) / max(*there, *back)
    return TransitionPaths(to_b, from_a, from_b, flux, there[1], defect, chain.residual(to_b, into[1]))
