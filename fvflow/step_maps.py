"""The optimal transport of a minimising-movement step: Kantorovich potential, map, optimality and distance."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from fvflow.cell_fields import cell_gradient
from fvflow.mesh import Array, Mesh
from fvflow.problems import GradientFlow, Movement, OutputVariable, State

_AXES = "xyz"
_OCCUPIED = 1e-12  # relative to the mean density: cells above it hold mass
_OF, _START = "of the step that ends here", "nan before the first step"


@dataclass(frozen=True)
class StepMaps:
    """What a case asks of the steps that end at saved times, rho^n to rho; of a step that was halved, of its last part.

    Where rho minimises E + W2^2(rho^n, .)/(2 tau), the Kantorovich potential of W2^2/2 from rho to rho^n is phi_K =
    -tau E'(rho) up to a constant, and T = x - grad phi_K moves rho to rho^n. Here phi_K = -tau phi with the scheme's
    potential phi at the end of the step, and phi_K/tau + E'(rho) - mean tells how far that is from E'. All is nan at
    the start, map and optimality also where there is no mass. Along a periodic axis T may be beyond the ends. A step
    by the fallback of `ljko`, which does not minimise, has its potential and cost all the same. Notes, (1) and (140).
    """

    problem: GradientFlow
    """The problem in arrays."""
    potential: bool = False
    """Whether phi_K and the optimality are wanted."""
    map: bool = False
    """Whether T is wanted."""
    distance: bool = False
    """Whether bounds of W2(rho^n, rho) are wanted, on a mesh where there are any: see `require_bounds`."""
    width: float = 1e-3
    """Relative width at which the bounds stop."""
    _gradients: list[Callable[[Array], Array]] = field(default_factory=list, init=False, repr=False)

    def variables(self) -> dict[str, OutputVariable]:
        """The fields of cells."""
        found = {}
        if self.potential:
            text = f"Kantorovich potential from rho to the density before {_OF}, of mean 0 by mass; {_START}"
            found["step_potential"] = OutputVariable(("cell",), text, signed=True)
            text = f"step_potential/tau + E' minus its mean by mass, {_OF}, nan where there is no mass"
            found["step_optimality"] = OutputVariable(("cell",), text, signed=True)
        for axis in _AXES[: self.problem.mesh.dimension] if self.map else ():
            text = f"{axis} of T = x - grad phi, to where the mass was before {_OF}; nan where there is none"
            found[f"map_{axis}"] = OutputVariable(("cell",), text)
        return found

    def scalars(self) -> dict[str, OutputVariable]:
        """The numbers at each saved time."""
        if not self.distance:
            return {}
        return {
            "step_w2": OutputVariable((), f"W2 of the scheme, sqrt(2 tau cost), {_OF}; {_START}"),
            "step_w2_lower": OutputVariable((), f"proved lower bound of W2 {_OF}; {_START}"),
            "step_w2_upper": OutputVariable((), f"proved upper bound of W2 {_OF}; {_START}"),
        }

    @property
    def memory(self) -> int:
        """Estimated bytes at a saved time; off grids a map needs the weights of its neighbours."""
        mesh: Mesh = self.problem.mesh
        weights = 3000 * mesh.dimension * mesh.cells if self.map and mesh.edges is None else 0
        return 32 * mesh.cells * len(self.variables()) + weights

    def at(self, state: State) -> dict[str, Array]:
        """The fields (cell,) of the step that ends in a state, by name."""
        step = state.movement
        if step is None:
            return {name: np.full(self.problem.mesh.cells, np.nan) for name in self.variables()}
        weight = self.problem.mesh.volume * state.density / state.mass
        occupied = state.density > _OCCUPIED * state.mass / self.problem.mesh.volume.sum()
        found: dict[str, Array] = {}
        if self.potential:
            lack = np.full(len(weight), np.nan)
            lack[occupied] = (self.problem.total.first(state.density) - step.potential)[occupied]
            mean = float(weight[occupied] @ lack[occupied])
            level = float(weight @ step.potential)
            found = {"step_potential": -step.length * (step.potential - level), "step_optimality": lack - mean}
        if self.map:
            to = np.where(occupied[:, None], self._map(step), np.nan)
            found |= {f"map_{axis}": part for axis, part in zip(_AXES, to.T, strict=False)}
        return found

    def _map(self, step: Movement) -> Array:
        """T (cell, dim)."""
        if not self._gradients:  # of the mesh, once
            self._gradients.append(cell_gradient(self.problem.mesh))
        return self.problem.mesh.centre + step.length * self._gradients[0](step.potential)

    def distances(self, state: State) -> dict[str, float]:
        """The `scalars` of the step that ends in a state."""
        from fvflow.wasserstein import bounds

        step = state.movement
        if not self.distance or step is None:
            return dict.fromkeys(self.scalars(), math.nan)
        found = bounds(self.problem.mesh, step.before, state.density, width=self.width)
        w2 = math.sqrt(2.0 * step.length * step.cost)
        return {"step_w2": w2, "step_w2_lower": found.lower, "step_w2_upper": found.upper}
