"""Wasserstein gradient flows, stepped by minimising movements."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from annotated_types import MinLen

from fvflow.energies import Energy, Entropy, Interaction, PorousMedium, Potential, PowerLaw, Sum
from fvflow.errors import CaseError
from fvflow.fields import Drift, Expression, Kernel, Names
from fvflow.flows.base import BaseFlow
from fvflow.linalg import Direct, Multigrid
from fvflow.march import Progress, Times, march
from fvflow.mesh import Extent, Mesh
from fvflow.problems import GradientFlow, State
from fvflow.steppers import JKO, LJKO, GradientStepper, newton_solver


@dataclass(frozen=True)
class WassersteinFlow(BaseFlow):
    """d_t rho = div(rho grad E'(rho)), E the sum of the energies."""

    energy: Annotated[tuple[Energy, ...], MinLen(1)]
    stepper: GradientStepper = LJKO()
    kind: Literal["gradient-flow"] = "gradient-flow"

    energy_each_step: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not any(isinstance(part, Entropy | PorousMedium | PowerLaw) for part in self.energy):
            raise CaseError(
                "the energy has no strictly convex part, so that a JKO step has no unique minimum: add {kind: entropy, "
                "epsilon: ...} or a porous-medium"
            )

    def drift(self, names: Names) -> Drift:
        """-grad V of the potential energies as expressions."""
        parts = [f"({part.potential})" for part in self.energy if isinstance(part, Potential)]
        return Drift(Expression(" + ".join(parts)) if parts else None, names=names)

    def diffusion(self) -> float:
        """eps of the entropies."""
        return sum(part.epsilon for part in self.energy if isinstance(part, Entropy))

    def power_laws(self) -> tuple[tuple[float, float], ...]:
        """c and m of each energy c int rho^m/(m - 1)."""
        return tuple(part.law for part in self.energy if isinstance(part, PorousMedium | PowerLaw))

    def kernels(self, names: Names) -> tuple[Kernel, ...]:
        """The kernel of each interaction."""
        return tuple(part.function(names) for part in self.energy if isinstance(part, Interaction))

    def problem(self, mesh: Mesh, names: Names) -> GradientFlow:
        """The problem in arrays; raises CaseError where a potential is not finite."""
        return GradientFlow(mesh, Sum(mesh.volume, tuple(part.on(mesh, names) for part in self.energy)))

    def states(
        self, problem: GradientFlow, initial: State, times: Times, progress: Progress | None = None
    ) -> Iterator[State]:
        """Every state of the run."""
        stepper, volume = self.stepper, problem.mesh.volume
        return march(stepper.start(problem), initial, times, volume, stepper.order, stepper.growth)

    def method(self, extent: Extent) -> str:
        """A sentence on the scheme."""
        stepper = self.stepper
        mobility = "upwind mobility (order 1" if isinstance(stepper, LJKO) else "centred mobility (order 2"
        scheme = f"{stepper.kind} (order {stepper.order} in time), {mobility} in space)"
        return f"{scheme}, Newton with solver {self._solver(extent).kind}"

    def _solver(self, extent: Extent) -> Direct | Multigrid:
        stepper = self.stepper
        return newton_solver(stepper.solver, extent) if isinstance(stepper, LJKO | JKO) else Direct()

    def memory(self, extent: Extent) -> int:
        """Bytes that the run will hold at once, roughly: mesh, Newton matrix and its factors."""
        pairs = sum(isinstance(part, Interaction) for part in self.energy)
        if isinstance(self._solver(extent), Multigrid) and extent.dimension == 3:  # which never factorises
            base = 1000 * extent.dimension * extent.cells
        else:
            base = 2 * Direct().memory(extent)
        transforms = 40 * (1 + pairs) * (1 << extent.dimension) * extent.cells if pairs else 0
        if isinstance(self.stepper, JKO) and self.stepper.intervals > 1:  # one factorisation of all: 20 kB an unknown
            base += 40_000 * self.stepper.intervals * extent.cells
        return base + transforms
