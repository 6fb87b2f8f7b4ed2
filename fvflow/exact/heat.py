"""Closed form: the heat equation in a box."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge, Le, MaxLen, MinLen

from fvflow.exact.base import ClosedForm, Reference
from fvflow.exact.facts import PERIODIC, Facts
from fvflow.fields import tensor_product
from fvflow.mesh import Array

Modes = Annotated[tuple[Annotated[int, Ge(0)], ...], MinLen(1), MaxLen(3)]


@dataclass(frozen=True)
class HeatBox(ClosedForm):
    """rho = (mass/|box|) (1 + a exp(-eps l t) prod_i cos(k_i pi (x_i - lower_i)/L_i)), l = sum_i (k_i pi/L_i)^2.

    A cosine mode of the Laplacian with no-flux walls, in a box of any dimension; cell averages are exact. An even k_i
    gives a mode along a periodic axis too, of k_i/2 whole waves.
    """

    modes: Modes
    """Number k_i of half waves along each axis."""
    amplitude: Annotated[float, Ge(-1), Le(1)] = 0.5
    """Amplitude a of the mode at time 0, relative to the mean density."""
    kind: Literal["heat-box"] = "heat-box"
    derived_for = frozenset({"linear diffusion", PERIODIC})
    divided = True

    def requires(self, facts: Facts) -> Iterator[str]:
        """The heat equation in a box, with this solution as initial density."""
        if facts.mesh.edges is None:
            yield "exact heat-box needs a mesh of kind box, graded or fipy"
        if len(self.modes) != facts.mesh.dimension:
            yield f"modes has {len(self.modes)} entries, the mesh {facts.mesh.dimension} axes; give one per axis"
        for axis in facts.mesh.periodic:
            if len(self.modes) > axis and self.modes[axis] % 2:
                name = "xyz"[axis]
                yield f"modes has {self.modes[axis]} half waves along {name}, which is periodic; give an even number"
        if not facts.initial.is_exact:
            yield f"exact heat-box needs initial: {{kind: exact}}, got {facts.initial.kind}"
        if not facts.linear or not facts.drift.absent:
            yield "exact heat-box is for the heat equation; leave out all but epsilon, or all energies but the entropy"

    def reference(self, facts: Facts) -> HeatReference:
        """The solution on the mesh of the case."""
        mesh = facts.mesh
        edges = mesh.whole.edges or ()
        lengths = [float(edge[-1] - edge[0]) for edge in edges]
        factors = [mesh.held(axis, _mode(edges[axis], mode)) for axis, mode in enumerate(self.modes)]
        decay = facts.epsilon * sum((math.pi * k / length) ** 2 for k, length in zip(self.modes, lengths, strict=True))
        return HeatReference(facts.mass / math.prod(lengths), self.amplitude * tensor_product(factors), decay)


@dataclass(frozen=True, eq=False)
class HeatReference(Reference):
    """background (1 + exp(-decay t) mode): a decaying mode on a uniform background."""

    background: float
    mode: Array  # (cell,)
    decay: float

    def average(self, time: float) -> Array:
        """Density of each cell (cell,)."""
        with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is refused as initial density
            return np.asarray(self.background * (1.0 + np.exp(-self.decay * time) * self.mode))


def _mode(edges: Array, count: int) -> Array:
    """Averages of cos(count pi (x - lower)/L) over the intervals between the edges (edge,)."""
    if count == 0:
        return np.ones(len(edges) - 1)
    angle = math.pi * count * (edges - edges[0]) / (edges[-1] - edges[0])
    return np.asarray(np.diff(np.sin(angle)) / np.diff(angle))
