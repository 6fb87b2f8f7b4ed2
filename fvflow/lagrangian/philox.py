"""Random numbers by counting: Philox4x32-10 (Salmon, Moraes, Dror, Shaw, Parallel Random Numbers, SC 2011, table 2).

A block of four 32-bit numbers is a function of the counter (particle, step, draw, purpose) and of the seed, and of
nothing else. There is no state of a generator: particles may be taken in any order, by any number of threads, and a run
goes on from any step with the numbers that it would have had.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fvflow.jit import kernel
from fvflow.mesh import Array

NOISE, START, PLACE, JUMP, WALL = range(5)
"""Purposes of random numbers: Brownian increments, the start, places in cells, jumps between cells, walls."""

LARGEST_SEED = 2**63 - 1
_LOW, _HALF = np.uint64(0xFFFFFFFF), np.uint64(32)
_MULTIPLY_0, _MULTIPLY_1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_WEYL_0, _WEYL_1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
_S3, _S5, _S7, _S9, _S11, _S13, _S15 = ((-1.0) ** (k // 2) / math.factorial(k) for k in range(3, 16, 2))
_C2, _C4, _C6, _C8, _C10, _C12, _C14, _C16 = ((-1.0) ** (k // 2) / math.factorial(k) for k in range(2, 17, 2))
_SIX, _UP, _UNIT = np.uint64(6), np.uint64(26), 2.0**-52


@kernel()
def philox(particle: Any, step: Any, draw: Any, purpose: Any, seed: Any) -> Any:
    """The four numbers below 2^32 of a counter, as unsigned integers of 64 bits; the seed has up to 64 bits."""
    c0, c1 = np.uint64(particle) & _LOW, np.uint64(step) & _LOW
    c2, c3 = np.uint64(draw) & _LOW, np.uint64(purpose) & _LOW
    k0, k1 = np.uint64(seed) & _LOW, np.uint64(seed) >> _HALF
    for _ in range(10):
        product_0, product_1 = _MULTIPLY_0 * c0, _MULTIPLY_1 * c2
        c0, c2 = (product_1 >> _HALF) ^ c1 ^ k0, (product_0 >> _HALF) ^ c3 ^ k1
        c1, c3 = product_1 & _LOW, product_0 & _LOW
        k0, k1 = (k0 + _WEYL_0) & _LOW, (k1 + _WEYL_1) & _LOW
    return c0, c1, c2, c3


@kernel()
def uniforms(particle: Any, step: Any, draw: Any, purpose: Any, seed: Any) -> Any:
    """Two independent numbers of the 2^52 that are spread evenly over (0, 1), neither 0 nor 1."""
    a, b, c, d = philox(particle, step, draw, purpose, seed)
    first = (np.float64(((a >> _SIX) << _UP) | (b >> _SIX)) + 0.5) * _UNIT
    return first, (np.float64(((c >> _SIX) << _UP) | (d >> _SIX)) + 0.5) * _UNIT


@kernel()
def normals(particle: Any, step: Any, draw: Any, purpose: Any, seed: Any) -> Any:
    """Two independent standard normal numbers, by the transform of Box and Muller, at most 8.57 in size."""
    u, v = uniforms(particle, step, draw, purpose, seed)
    cosine, sine = _cosine_and_sine(v)
    radius = math.sqrt(-2.0 * math.log(u))
    return radius * cosine, radius * sine


@kernel()
def _cosine_and_sine(turns: Any) -> Any:
    """Both of 2 pi times a number from 0 to 1, to round-off, by their series within an eighth of a turn."""
    quarter = int(4.0 * turns + 0.5)
    x = (4.0 * turns - quarter) * (0.5 * math.pi)
    y = x * x
    sine = x * (1.0 + y * (_S3 + y * (_S5 + y * (_S7 + y * (_S9 + y * (_S11 + y * (_S13 + y * _S15)))))))
    cosine = 1.0 + y * (_C2 + y * (_C4 + y * (_C6 + y * (_C8 + y * (_C10 + y * (_C12 + y * (_C14 + y * _C16)))))))
    if quarter & 1:
        cosine, sine = -sine, cosine
    return (-cosine, -sine) if quarter & 2 else (cosine, sine)


@kernel()
def _fill(values: Any, particles: Any, step: Any, draw: Any, purpose: Any, seed: Any, normal: Any) -> None:
    """Random numbers of the particles, two of each draw along a row."""
    count, width = values.shape
    for row in range(count):
        for column in range(0, width, 2):
            if normal:
                one, two = normals(particles[row], step, draw + column // 2, purpose, seed)
            else:
                one, two = uniforms(particles[row], step, draw + column // 2, purpose, seed)
            values[row, column] = one
            if column + 1 < width:
                values[row, column + 1] = two


def random_numbers(
    particles: Any, width: int, step: int, purpose: int, seed: int, *, draw: int = 0, normal: bool = False
) -> Array:
    """Uniform or standard normal numbers (particle, width) of the particles with the given numbers (particle,).

    A row holds the pairs of the draws draw, draw + 1, ... of its particle.
    """
    values = np.empty((len(particles), width))
    _fill(values, particles, step, draw, purpose, np.uint64(seed), normal)
    return values
