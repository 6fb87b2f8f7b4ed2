"""Closed form of a moment: particles that attract or repel each other by a logarithm spread at a constant rate."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from fvflow.errors import NumericsError
from fvflow.exact.base import ClosedForm, Reference
from fvflow.exact.facts import Facts
from fvflow.exact.log_gas import logarithmic_coefficient
from fvflow.mesh import Array, Mesh

_AT_WALLS = 1e-3  # largest part that the walls may have in the rate of the diffusion


@dataclass(frozen=True, eq=False)
class SecondMomentReference(Reference):
    """Mean and second moment of a solution."""

    figures = "second_moment_error", "mean_error"
    mean: Array  # (dim,)
    moment: float  # int |x - m|^2 rho at the start
    spread: float  # its rate of change by diffusion, 2 d eps M
    pull: float  # that by the interaction, with the sign changed, c M^2
    start: float  # time

    @property
    def rate(self) -> float:
        """Rate of change of the second moment."""
        return self.spread - self.pull

    def errors(self, mesh: Mesh, density: Array, time: float) -> dict[str, float]:
        """Relative error of the second moment about the initial mean, and distance of the means over its root.

        Raises NumericsError if mass has reached the walls, where the law ends.
        """
        masses = mesh.volume * density
        offset = mesh.centre - self.mean
        at_walls = _at_walls(mesh, density, offset)
        if not abs(at_walls) <= _AT_WALLS:
            raise NumericsError(
                f"mass has reached the walls at t = {time:g}, where it changes the rate of the second moment by "
                f"{at_walls:.2g} of that of diffusion, allowed is {_AT_WALLS:g}: exact second-moment is a law of the "
                "whole space; use a larger mesh or an earlier end, or leave out exact"
            )
        exact = self.moment + self.rate * (time - self.start)
        moment = float(masses @ (offset**2).sum(axis=1))
        shift = float(np.linalg.norm(masses @ offset)) / float(masses.sum())
        width = (exact / float(masses.sum())) ** 0.5
        return {"second_moment_error": abs(moment / exact - 1.0), "mean_error": shift / width}


@dataclass(frozen=True)
class SecondMoment(ClosedForm):
    """int |x - m|^2 rho = its value at the start + (2 d eps M - c M^2) t, with W = c log r and a constant mean m.

    The virial law of Keller and Segel's model of chemotaxis, c = 1/(2 pi) in the plane (Blanchet, Dolbeault, Perthame,
    Two-dimensional Keller-Segel model, Electron. J. Differ. Equ. 2006). It is a law of the whole space, and so holds
    while next to no mass is at the walls, below the critical mass 2 d eps/c, beyond which solutions blow up. Moments
    are compared and not densities: `second_moment_error`, `mean_error`.
    """

    kind: Literal["second-moment"] = "second-moment"
    derived_for = frozenset({"linear diffusion", "an interaction"})
    figures = SecondMomentReference.figures

    def requires(self, facts: Facts) -> Iterator[str]:
        """Diffusion, logarithmic kernels, mass in several cells, away from the walls, and below the critical mass."""
        if facts.epsilon <= 0 or not facts.kernels or None in _coefficients(facts):
            yield "exact second-moment needs epsilon > 0 and the kernel c*log(r)"
        elif facts.initial.is_exact:
            yield "exact second-moment gives no density to start from; choose another kind of initial density"
        elif not (law := _law(facts)).moment > 0:
            yield "exact second-moment compares with a second moment above 0, got a density in one cell: start wider"
        elif not law.rate > 0:
            yield (
                f"exact second-moment is for less than the critical mass {facts.mass * law.spread / law.pull:.6g}, got "
                f"{facts.mass:.6g}: solutions blow up; lower the mass"
            )

    def reference(self, facts: Facts) -> SecondMomentReference:
        """The law on the mesh of the case."""
        return _law(facts)


def _at_walls(mesh: Mesh, density: Array, offset: Array) -> float:
    """2 eps sum rho (x - m).n |s| over the walls, over 2 d eps M.

    The vectors n |s| of all faces of a cell add up to 0: those of its walls are minus those of its inner faces.
    """
    inner = mesh.area * (density[mesh.neighbour, None] * offset[mesh.neighbour] * mesh.normal).sum(axis=1)
    inner -= mesh.area * (density[mesh.owner, None] * offset[mesh.owner] * mesh.normal).sum(axis=1)
    return float(inner.sum()) / (mesh.dimension * float(mesh.volume @ density))


def _coefficients(facts: Facts) -> list[float | None]:
    return [logarithmic_coefficient(kernel, facts.mesh.dimension) for kernel in facts.kernels]


def _law(facts: Facts) -> SecondMomentReference:
    mesh, mass = facts.mesh, facts.mass
    masses = mesh.volume * np.asarray(facts.initial.on(facts, None, facts.start))
    masses *= mass / masses.sum()
    mean = masses @ mesh.centre / mass
    moment = float(masses @ ((mesh.centre - mean) ** 2).sum(axis=1))
    coefficient = sum(value for value in _coefficients(facts) if value is not None)
    spread = 2.0 * mesh.dimension * facts.epsilon * mass
    return SecondMomentReference(mean, moment, spread, coefficient * mass**2, facts.start)
