"""Inequalities that follow from convexity along geodesics, on boxes, where W2 is a proved interval."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fvflow.energies import Convexity, TotalEnergy
from fvflow.errors import CaseError
from fvflow.linalg import inner
from fvflow.mesh import Array, Mesh
from fvflow.problems import State

_EPS = float(np.finfo(float).eps)
_KEPT = ("_before", "_first", "_time")  # in a checkpoint, beside the counts


@dataclass
class SignCount:
    """Proved bounds of a defect in every step, and the steps of which its sign is proved."""

    lower: float = -np.inf
    """Lower bound of the largest defect."""
    upper: float = -np.inf
    """Upper bound of it."""
    violated: int = 0
    """Steps in which the defect is proved to be above 0."""
    satisfied: int = 0
    """Steps in which it is proved to be at most 0."""
    undecided: int = 0
    """Other steps."""

    def add(self, defects: list[tuple[float, float]]) -> None:
        """Count a step with these (lower, upper); without any, which means that nothing is known, it is undecided."""
        lower, upper = ([defect[end] for defect in defects] for end in (0, 1))
        self.lower, self.upper = max([self.lower, *lower]), max([self.upper, *upper])
        if defects and max(lower) > 0:
            self.violated += 1
        elif defects and max(upper) <= 0:
            self.satisfied += 1
        else:
            self.undecided += 1

    def figures(self, name: str) -> dict[str, float]:
        """The counts by name, and the bounds if a step had some."""
        counts = {f"{name}_{sign}": getattr(self, sign) for sign in ("violated", "satisfied", "undecided")}
        bounds = {f"{name}_defect_lower": self.lower, f"{name}_defect_upper": self.upper}
        return counts | (bounds if math.isfinite(self.upper) else {})


@dataclass
class EviBounds:
    """The inequalities of `EviMonitor` with W2 in [lower, upper]: defects are intervals, and their sign may be proved.

    With moduli lambda_V of V and lambda_W of W, mass M, and m the mean of a density, a JKO step from rho to rho' keeps

        (W2^2(rho', sigma) - W2^2(rho, sigma))/(2 tau) + (lambda/2) W2^2(rho', sigma)
            <= E(sigma) - E(rho') + (lambda_W/2) M^2 |m' - m_sigma|^2,      lambda = lambda_V + M lambda_W,

    as long as 1 + lambda tau > 0, since interactions feel no common motion. What is proved is of the densities and the
    energy of the cells; a violation is an error of the discretisation, or of the moduli. Round-off of E is allowed for.
    On a flat torus the same holds without interactions: convex combinations of c-concave potentials are c-concave, so
    that x - grad((1 - t) phi_0 + t phi_1) is a generalised geodesic there, of displacements to the nearest images.
    Carrillo, McCann, Villani, Rev. Mat. Iberoamericana 19 (2003); Ambrosio, Gigli, Savare, Gradient Flows, 2005.
    """

    mesh: Mesh
    energy: TotalEnergy
    """E."""
    moduli: Convexity
    """lambda_V and lambda_W, by differences."""
    references: tuple[Array, ...]
    """The densities sigma (cell,): that at the start, and last the equilibrium, if it is known."""
    has_equilibrium: bool
    """Whether the last reference is the equilibrium."""
    width: float
    """Relative width at which the bounds of W2 stop."""
    evi: SignCount = field(default_factory=SignCount)
    """Of the inequality with every sigma."""
    contraction: SignCount = field(default_factory=SignCount)
    """Of sqrt(1 + lambda tau) W2' - W2 with the equilibrium, relative to the first W2."""
    _before: list[float] = field(default_factory=list, repr=False)  # lower, upper for each sigma
    _first: float = field(default=math.nan, repr=False)
    _time: float = field(default=0.0, repr=False)

    @staticmethod
    def of(mesh: Mesh, energy: TotalEnergy, initial: State, width: float) -> EviBounds:
        """The monitor of a run; raises CaseError on a mesh without bounds of W2, or if no lambda is known."""
        from fvflow.wasserstein import require_bounds

        require_bounds(mesh)
        moduli = energy.convexity(mesh)
        if moduli is None:
            raise CaseError(
                "no modulus of convexity along geodesics is known of this energy: it takes three cells along each axis "
                "and kernels with a lower bound of their second derivatives, not poles or concave kinks, and no kernel "
                "on a torus; leave it out"
            )
        references, epsilon = [initial.density], energy.diffusion
        linear = epsilon is not None and epsilon > 0
        if epsilon is not None and linear:
            potential = energy.potential(initial.density)
            weight = np.exp((potential.min() - potential) / epsilon)
            references.append(initial.mass / inner(mesh.volume, weight) * weight)
        return EviBounds(mesh, energy, moduli, tuple(references), linear, width)

    def __call__(self, state: State) -> None:
        """Count the step that ends in a state."""
        from fvflow.wasserstein import bounds

        found = [bounds(self.mesh, state.density, reference, width=self.width) for reference in self.references]
        now = [(each.lower, each.upper) for each in found]
        tau = state.time - self._time
        if self._before and tau > 0:
            before = list(zip(self._before[::2], self._before[1::2], strict=True))
            growth = 1.0 + (self.moduli.potential + state.mass * self.moduli.interaction) * tau
            defects = zip(before, now, self.references, strict=True)
            self.evi.add([self._defect(*each, state, growth, tau) for each in defects] if growth > 0 else [])
            if self.has_equilibrium and self._first > 0:
                factor, (low, high), (lower, upper) = math.sqrt(max(growth, 0.0)), before[-1], now[-1]
                excess = (factor * lower - high) / self._first, (factor * upper - low) / self._first
                self.contraction.add([excess] if growth > 0 else [])
        elif self.has_equilibrium:
            self._first = now[-1][1]
        self._before, self._time = [end for interval in now for end in interval], state.time

    def _defect(
        self,
        before: tuple[float, float],
        after: tuple[float, float],
        reference: Array,
        state: State,
        growth: float,
        tau: float,
    ) -> tuple[float, float]:
        """(lower, upper) of the left side minus the right side."""
        weight = self.mesh.volume * (state.density - reference)
        apart = float(((weight @ self.mesh.centre) ** 2).sum())  # M^2 |m' - m_sigma|^2
        rest = self.energy.value(state.density) - self.energy.value(reference) - 0.5 * self.moduli.interaction * apart
        error = self.energy.round_off(state.density) + self.energy.round_off(reference)
        error += 8 * _EPS * (growth * after[1] ** 2 + before[1] ** 2) / tau
        lower, upper = (
            (growth * after[end] ** 2 - before[1 - end] ** 2) / (2 * tau) + rest + side * error
            for end, side in ((0, -1.0), (1, 1.0))
        )
        return lower, upper

    def to_tree(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        counts = {name: vars(getattr(self, name)).copy() for name in ("evi", "contraction")}
        return counts | {name: getattr(self, name) for name in _KEPT}

    def restore(self, tree: Mapping[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.evi, self.contraction = SignCount(**tree["evi"]), SignCount(**tree["contraction"])
        for name in _KEPT:
            setattr(self, name, tree[name])

    def figures(self) -> dict[str, float]:
        """The modulus, the bounds of the defects and the counts by name; of contraction only if it is known."""
        found = {"convexity": self.moduli.potential, **self.evi.figures("evi")}
        if self.moduli.interaction:
            found["interaction_convexity"] = self.moduli.interaction
        return found | (self.contraction.figures("contraction") if self.has_equilibrium else {})
