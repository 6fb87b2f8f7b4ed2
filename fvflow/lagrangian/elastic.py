"""What a wall absorbs of paths that it else reflects, from the ends of a step."""

from __future__ import annotations

import math
from typing import Any

from fvflow.jit import kernel

_SERIES = 25.0  # beyond which erfc is near the smallest numbers
_ROOT_PI = math.sqrt(math.pi)


@kernel()
def intensity(reach: Any, deviation: Any, permeability: Any, length: Any) -> Any:
    """K = 2 sqrt(pi) v erfcx(u + v), u = (d + d')/(s sqrt(2)), v = kappa dt sqrt(2)/s; from 0 to 2, its limit.

    A Brownian path that a wall reflects, of variance s^2 in a step of length dt, between the distances d and d' from a
    wall of permeability kappa, is absorbed with the probability K/(1 + exp(2 d d'/s^2)): the quotient of the transition
    densities of the elastic and of the reflected motion (Carslaw, Jaeger, Conduction of Heat in Solids, 1959, section
    14.2). A free path is behind the wall at its end with the probability 1/(1 + exp(2 d d'/s^2)), given d and |d'|. So
    a step that ends behind the wall is absorbed with the probability min(K, 1), another one with
    max(K - 1, 0) exp(-2 d d'/s^2). `reach` is d + d'.
    """
    if math.isinf(permeability) or deviation == 0.0:
        return 2.0
    v = permeability * length * math.sqrt(2.0) / deviation
    return 2.0 * _ROOT_PI * v * _erfcx(reach / (deviation * math.sqrt(2.0)) + v)


@kernel()
def _erfcx(x: Any) -> Any:
    """exp(x^2) erfc(x) for x >= 0, to 1e-13."""
    if x < _SERIES:
        return math.exp(x * x) * math.erfc(x)
    y = 0.5 / (x * x)
    return (1.0 - y * (1.0 - 3.0 * y * (1.0 - 5.0 * y * (1.0 - 7.0 * y)))) / (_ROOT_PI * x)
