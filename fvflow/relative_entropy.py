"""The relative entropy of a density and the equilibrium that it falls to, and how fast it falls."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np

from fvflow.jit import kernel
from fvflow.mesh import Array
from fvflow.parallel import world
from fvflow.problems import Problem
from fvflow.sums import inner

_ROUND_OFF = 1e-18  # relative entropy below which its logarithm tells the round-off of the density
_NEAR = 0.5  # |log(rho/pi)| below which terms are computed without cancellation
_SERIES = tuple(1.0 / (k * math.factorial(k - 2)) for k in range(16, 1, -1))
"""Of (q exp(q) - exp(q) + 1)/q^2, the highest power first."""


class Equilibrium(NamedTuple):
    """The density pi of mass 1 in detailed balance."""

    density: Array
    """pi (cell,)."""
    logarithm: Array
    """log pi (cell,)."""

    @staticmethod
    def of(logarithm: Array) -> Equilibrium:
        """From log pi (cell,)."""
        return Equilibrium(np.exp(logarithm), logarithm)


_KNOWN: WeakKeyDictionary[Any, Equilibrium | None] = WeakKeyDictionary()  # by problem


def equilibrium_of(problem: Problem, time: float) -> Equilibrium | None:
    """pi; None if there is none, or none that is known.

    It is known for a steady drift that is the gradient of a potential, with a flux that keeps exp(-V/eps), and for
    gradient flows that are linear. Where mass leaves there is none, and on a mesh of several parts that are not
    connected it has other masses in them than rho keeps.
    """
    if problem.steady:
        if problem not in _KNOWN:
            _KNOWN[problem] = _equilibrium(problem, time)
        return _KNOWN[problem]
    return None


def _equilibrium(problem: Problem, time: float) -> Equilibrium | None:
    if problem.openings is not None or not problem.steady or problem.energy(time) is None:
        return None
    if problem.mesh.edges is None and problem.mesh.components.max() > 0:
        return None
    if (exponent := problem.gibbs_exponent(time)) is None:
        return None
    top = world().largest(exponent)
    return Equilibrium.of(np.asarray(exponent - top - math.log(inner(problem.mesh.volume, np.exp(exponent - top)))))


def relative_entropy(
    volume: Array, density: Array, equilibrium: Equilibrium, known: tuple[Array, float] | None = None
) -> float:
    """sum_K |K| rho_K log(rho_K/pi_K) for rho scaled to mass 1, infinite if a density is negative.

    As sum |K| (rho log(rho/pi) - rho + pi), a sum of terms >= 0, it keeps its digits down to round-off squared: it is
    the square of the distance from equilibrium. Notes, equations (40)-(42).
    Of a density > 0 the logarithm (cell,) and the mass may be `known`.
    """
    if known is None:
        if world().smallest(density) < 0:
            return math.inf
        with np.errstate(divide="ignore"):
            known = np.log(density), inner(volume, density)
        positive = False
    else:
        positive = True
    logarithm, mass = known
    if not mass > 0:
        return math.inf
    if _compiled_terms.ready:
        terms = np.empty_like(density)
        _compiled_terms(density, logarithm, mass, math.log(mass), *equilibrium, positive, terms)
    else:
        terms = _terms(density, logarithm, mass, equilibrium, positive)
    return inner(volume, terms)


def _terms(density: Array, logarithm: Array, mass: float, equilibrium: Equilibrium, positive: bool) -> Array:
    """rho log(rho/pi) - rho + pi (cell,), for rho scaled to mass 1; without cancellation where |log(rho/pi)| < 1/2."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        scaled = density / mass
        ratio = logarithm - math.log(mass) - equilibrium.logarithm
        terms = scaled * (ratio - 1.0)
        terms = (terms if positive else np.where(density > 0, terms, 0.0)) + equilibrium.density
    if len(near := np.flatnonzero(np.abs(ratio) < _NEAR)):
        terms[near] = equilibrium.density[near] * _series(ratio[near])
    return terms


@kernel()
def _compiled_terms(
    density: Any, logarithm: Any, mass: Any, log_mass: Any, pi: Any, log_pi: Any, positive: Any, terms: Any
) -> None:
    """The same, compiled."""
    for cell in range(len(density)):  # without branches, so that several cells are computed at a time
        q = logarithm[cell] - log_mass - log_pi[cell]
        value = _SERIES[0]
        for k in range(1, len(_SERIES)):
            value = value * q + _SERIES[k]
        near = pi[cell] * (value * q * q)
        far = density[cell] / mass * (q - 1.0)
        far = (far if positive or density[cell] > 0.0 else 0.0) + pi[cell]
        terms[cell] = near if abs(q) < _NEAR else far


def _series(q: Array) -> Array:
    """q exp(q) - exp(q) + 1 for |q| < 1/2, without cancellation: the sum over k >= 2 of q^k/(k (k-2)!)."""
    value = np.full_like(q, _SERIES[0])
    for coefficient in _SERIES[1:]:
        value *= q
        value += coefficient
    return value * q * q


@dataclass
class Decay:
    """How fast the relative entropy falls: -d/dt log H over the last interval between frames above round-off.

    2 k for the mean of Ornstein-Uhlenbeck in 0.5 k x^2; at least twice the spectral gap where V is convex.
    """

    time: float = math.nan
    """Time of the last frame with a relative entropy above round-off."""
    entropy: float = math.nan
    """The relative entropy there."""
    rate: float = math.nan
    """The rate; nan if it is not known."""

    def saved(self, time: float, entropy: float | None) -> None:
        """Take note of a frame."""
        if entropy is None or not _ROUND_OFF < entropy < math.inf:
            return
        if time > self.time:  # not nan
            self.rate = math.log(self.entropy / entropy) / (time - self.time)
        self.time, self.entropy = time, entropy

    def figures(self) -> dict[str, float]:
        """The rate, if it is known."""
        return {} if math.isnan(self.rate) else {"relative_entropy_rate": self.rate}

    def to_tree(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"time": self.time, "entropy": self.entropy, "rate": self.rate}

    def restore(self, tree: Mapping[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.time, self.entropy, self.rate = tree["time"], tree["entropy"], tree["rate"]
