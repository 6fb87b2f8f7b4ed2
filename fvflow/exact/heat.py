"""The heat equation in a box."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge, Le, MaxLen, MinLen

from fvflow.errors import CaseError
from fvflow.exact.facts import Facts, FromExact
from fvflow.fields import outer
from fvflow.mesh import Array

Modes = Annotated[tuple[Annotated[int, Ge(0)], ...], MinLen(1), MaxLen(3)]


@dataclass(frozen=True)
class HeatBox:
    """rho = (mass/|box|) (1 + a exp(-eps l t) prod_i cos(k_i pi (x_i - lower_i)/L_i)), l = sum_i (k_i pi/L_i)^2.

    A cosine mode of the Laplacian with no-flux walls, in a box of any dimension; cell averages are exact.
    """

    modes: Modes
    amplitude: Annotated[float, Ge(-1), Le(1)] = 0.5
    kind: Literal["heat-box"] = "heat-box"

    def on(self, facts: Facts) -> HeatReference:
        """The solution on the case's mesh; raises CaseError if the case is not heat in a box."""
        mesh = facts.mesh
        if mesh.edges is None:
            raise CaseError("exact heat-box needs a mesh of kind box, graded or fipy")
        if len(self.modes) != mesh.dimension:
            raise CaseError(f"modes has {len(self.modes)} entries, the mesh {mesh.dimension} axes; give one per axis")
        if not isinstance(facts.initial, FromExact):
            raise CaseError(f"exact heat-box needs initial: {{kind: exact}}, got {facts.initial.kind}")
        if not facts.linear or not facts.drift.absent:
            raise CaseError(
                "exact heat-box is for the heat equation; leave out all but epsilon, or all energies but the entropy"
            )
        lengths = [float(edge[-1] - edge[0]) for edge in mesh.edges]
        factors = [_mode(edge, mode) for edge, mode in zip(mesh.edges, self.modes, strict=True)]
        decay = facts.epsilon * sum((math.pi * k / length) ** 2 for k, length in zip(self.modes, lengths, strict=True))
        return HeatReference(facts.mass / math.prod(lengths), self.amplitude * outer(factors), decay)


@dataclass(frozen=True, eq=False)
class HeatReference:
    """A decaying mode on a uniform background."""

    background: float
    mode: Array  # (cell,)
    decay: float

    def average(self, time: float) -> Array:
        """The density of each cell (cell,)."""
        return self.background * (1.0 + math.exp(-self.decay * time) * self.mode)


def _mode(edges: Array, count: int) -> Array:
    """Averages of cos(k pi (x - lower)/L) over the intervals between the edges."""
    if count == 0:
        return np.ones(len(edges) - 1)
    angle = math.pi * count * (edges - edges[0]) / (edges[-1] - edges[0])
    return np.asarray(np.diff(np.sin(angle)) / np.diff(angle))
