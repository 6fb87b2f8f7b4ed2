"""The facts of a case that a closed form is checked against and computed from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from fvflow.fields import BaseDrift, DensityKind, Kernel, Parameters
from fvflow.mesh import Mesh, Openings

ISOTHERMAL = "a mobility"
"""The ingredient of diffusion D(x, t) at a temperature: `epsilon` is the temperature, the velocity -(D/T) grad V."""
VARYING = "diffusion that varies"
"""The ingredient of a diffusion D(x, t) that is neither a number nor isothermal with a temperature."""


@dataclass(frozen=True, eq=False)
class Facts:
    """What the parts of a case report about themselves: mesh, right-hand side, mass, end densities, step length."""

    mesh: Mesh
    drift: BaseDrift
    epsilon: float
    """Coefficient of linear diffusion; with a mobility, the temperature."""
    mass: float
    """Total mass of the initial density; 1 if the case leaves it open."""
    initial: DensityKind
    power_laws: tuple[tuple[float, float], ...] = ()
    """Coefficient and exponent of each nonlinear diffusion."""
    step: float | None = None
    """Length of every step; None if they differ or there are none."""
    kernels: tuple[Kernel, ...] = ()
    """Kernels of the interactions."""
    target: DensityKind | None = None
    """Final density of a transport."""
    parameters: Parameters = field(default_factory=dict)
    """The parameters of the case, used by its expressions."""
    undescribed: tuple[str, ...] = ()
    """Parts of the equation that none of the above describes, by name."""
    start: float = 0.0
    """Time at which the run starts."""
    openings: Openings | None = None
    """Where mass leaves for good; None if it does not."""
    end: float = 1.0
    """Time at which the run ends."""

    @property
    def ingredients(self) -> frozenset[str]:
        """The terms of the equation, by name: those of `INGREDIENTS` that are present, and `undescribed`."""
        present = [name for name, is_present in INGREDIENTS.items() if is_present(self)]
        return frozenset(present + list(self.undescribed))

    @property
    def linear(self) -> bool:
        """Whether the equation is a Fokker-Planck equation and nothing else."""
        others = set(self.undescribed) - {ISOTHERMAL}
        return not self.power_laws and not self.kernels and self.target is None and not others


PERIODIC = "a periodic axis"
RADIUS = "a radius as x"
INGREDIENTS: dict[str, Callable[[Facts], bool]] = {
    "linear diffusion": lambda facts: facts.epsilon > 0,
    "a drift": lambda facts: not facts.drift.absent,
    "a drift that is not a gradient": lambda facts: not facts.drift.gradient,
    "a drift that depends on t": lambda facts: not facts.drift.steady,
    "nonlinear diffusion": lambda facts: bool(facts.power_laws),
    "an interaction": lambda facts: bool(facts.kernels),
    "walls or cells that absorb": lambda facts: facts.openings is not None,
    "a target": lambda facts: facts.target is not None,
    PERIODIC: lambda facts: bool(facts.mesh.periodic),
    RADIUS: lambda facts: facts.mesh.revolution is not None,
}
"""Every term of the equation and its domain that `Facts` can describe, with the test for its presence."""
