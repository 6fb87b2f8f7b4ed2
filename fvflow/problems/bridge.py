"""The Schroedinger bridge in arrays."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Self

import numpy as np

from fvflow.mesh import Array
from fvflow.problems.fokker_planck import FokkerPlanck


@dataclass(frozen=True, eq=False)
class Bridge(FokkerPlanck):
    """The law nearest to that of a reference equation, in relative entropy, among those with given ends.

    rho = f g: f solves the reference equation, g its backward equation. It is the Markov chain whose rates are those of
    the reference times g_L/g_K (Doob's transform), so that F_KL = down f_K g_L - up f_L g_K is its flux.
    """

    target: Array | None = field(default=None, kw_only=True)
    """The density (cell,) at the end."""
    forward: Array | None = field(default=None, kw_only=True)
    """f (cell,) at one time; None where none is meant."""
    backward: Array | None = field(default=None, kw_only=True)
    """g (cell,) at the same time."""

    @classmethod
    def of(cls, reference: FokkerPlanck) -> Self:
        """The bridge of a reference, without its target."""
        return cls(**{item.name: getattr(reference, item.name) for item in fields(reference) if item.init})

    @property
    def reference(self) -> FokkerPlanck:
        """The equation of the reference."""
        return FokkerPlanck(**{item.name: getattr(self, item.name) for item in fields(FokkerPlanck) if item.init})

    def energy(self, time: float) -> None:
        """None: a bridge follows no energy."""

    def gibbs_exponent(self, time: float) -> None:
        """None: a bridge has no equilibrium."""

    def flux(self, density: Array, time: float) -> Array:
        """F of each link (link,) of rho = f g."""
        f, g = self._factors
        owner, neighbour, (down, up) = self.graph.owner, self.graph.neighbour, self.coefficients(time)
        return np.asarray(down * f[owner] * g[neighbour] - up * f[neighbour] * g[owner])

    def face_velocity(self, density: Array, time: float) -> Array:
        """v.n of each face (face,), v = drift + eps grad log(g/f); nan where a factor is not positive."""
        f, g = map(_logarithm, self._factors)
        return self.velocity_along(f - g, time)

    def face_drift(self, time: float) -> Array:
        """The normal component of drift + 2 eps grad log g on each face (face,); nan where g is not positive."""
        return self.velocity_along(-2.0 * _logarithm(self._factors[1]), time)

    def backward_rate(self, time: float) -> Array:
        """d_t g (cell,) by the backward equation."""
        g, (down, up), cells = self._factors[1], self.coefficients(time), self.mesh.cells
        fall = g[self.graph.owner] - g[self.graph.neighbour]
        loss = np.bincount(self.graph.owner, down * fall, cells) - np.bincount(self.graph.neighbour, up * fall, cells)
        return np.asarray(loss / self.graph.volume)

    @property
    def _factors(self) -> tuple[Array, Array]:
        assert self.forward is not None
        assert self.backward is not None
        return self.forward, self.backward


def _logarithm(values: Array) -> Array:
    """log (cell,), nan where there is none."""
    return np.log(values, out=np.full_like(values, np.nan), where=values > 0)
