"""Observables: functions whose mean and variance a run records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np

from fvflow.fields import Expression, Parameters
from fvflow.linalg import inner
from fvflow.mesh import Array, Mesh
from fvflow.problems import OutputVariable, State
from fvflow.sums import total


@dataclass(frozen=True, eq=False)
class Observables:
    """Functions f(x, t) by name; their means and variances are those of f at the cell centres, weighted by mass."""

    mesh: Mesh
    functions: Mapping[str, Expression]
    parameters: Parameters
    _steady: dict[str, Array] = field(default_factory=dict, init=False, repr=False)

    def variables(self, more: Mapping[str, str] = MappingProxyType({})) -> dict[str, OutputVariable]:
        """The mean and the variance of each, and what `more` adds: names to texts with {0} for the function."""
        made = {}
        for name, function in self.functions.items():
            made[f"mean_{name}"] = OutputVariable((), f"mean of {function.text}")
            made[f"variance_{name}"] = OutputVariable((), f"variance of {function.text}")
            for prefix, text in more.items():
                made[f"{prefix}_{name}"] = OutputVariable((), text.format(function.text))
        return made

    def at(self, state: State) -> dict[str, float]:
        """The means and variances in a state; nan if no mass remains."""
        found = dict[str, float]()
        if not self.functions:
            return found
        weight = self.mesh.volume * state.density
        mass = total(weight)
        for name in self.functions:
            values = self.values(name, state.time)
            with np.errstate(invalid="ignore", divide="ignore"):
                mean = float(np.float64(inner(weight, values)) / mass)
                found[f"mean_{name}"] = mean
                found[f"variance_{name}"] = float(np.float64(inner(weight, (values - mean) ** 2)) / mass)
        return found

    def values(self, name: str, time: float) -> Array:
        """f of the cells (cell,); raises as `Expression.at`."""
        function = self.functions[name]
        if name in self._steady:
            return self._steady[name]
        values = function.at(self.mesh.centre, self.parameters, time, self.mesh.regions)
        if "t" not in function.names:
            self._steady[name] = values
        return values
