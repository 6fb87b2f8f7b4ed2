"""Autocorrelations of a stationary Markov chain."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from fvflow.errors import NumericsError
from fvflow.linalg.markov.absorbing import AbsorbingChain, EndingChain
from fvflow.linalg.matrix import FaceMatrix
from fvflow.mesh import Array, Index
from fvflow.sums import inner

_ROUND_OFF = 64 * float(np.finfo(float).eps)  # relative deviation from the mean that counts as none


def autocorrelation_time(
    matrix: FaceMatrix,
    weight: Array,
    values: Array,
    parts: Index,
    chain_of: Callable[[FaceMatrix], EndingChain] = AbsorbingChain.of,
) -> float:
    """int_0^inf C(t)/C(0) dt of f (cell,), C(t) being its autocovariance in the steady state of masses w (cell,).

    It is <f - m, u>_w/<f - m, f - m>_w, m the mean of f, with the backward (Poisson) equation L u = -(f - m), solved
    for the positive and the negative part of f - m, without subtraction if the chain is factorised, with u = 0 in the
    cell of most mass. nan if f does not vary. Raises NumericsError if the chain has several parts, which never forget
    where they began.

    Komorowski, Landim, Olla, Fluctuations in Markov Processes, 2012, section 1.
    """
    if parts.any():
        raise NumericsError("the mesh has several parts, between which nothing decays; leave out observe, or join them")
    total = float(weight.sum())
    deviation = values - inner(weight, values) / total
    variance = inner(weight, deviation**2)
    if not variance > (_ROUND_OFF * np.abs(values).max()) ** 2 * total:
        return math.nan
    ground = int(np.argmax(weight))
    chain = chain_of(_ending_in(matrix, ground))
    source = matrix.volume * deviation
    source[ground] = 0.0
    u = chain.backward(np.maximum(source, 0.0)) - chain.backward(np.maximum(-source, 0.0))
    return inner(weight * deviation, u) / variance


def _ending_in(matrix: FaceMatrix, ground: int) -> FaceMatrix:
    """The chain that ends as soon as it enters a cell; from that cell it leaves nowhere but to the end."""
    cells = len(matrix.volume)
    into, back = matrix.neighbour == ground, matrix.owner == ground
    leak = np.zeros(cells)
    leak += np.bincount(matrix.owner[into], matrix.down[into], cells)
    leak += np.bincount(matrix.neighbour[back], matrix.up[back], cells)
    leak[ground] = matrix.volume[ground]
    down, up = (np.where(into | back, 0.0, rate) for rate in (matrix.down, matrix.up))
    return replace(matrix, down=down, up=up, leak=leak, shape=None, periodic=())
