"""What a closed form may know of the case it belongs to."""

from __future__ import annotations

from dataclasses import dataclass, field

from fvflow.fields import DensityKind, Drift, Kernel, Parameters
from fvflow.mesh import Mesh


@dataclass(frozen=True, eq=False)
class Facts:
    """The answers of a case's own parts: mesh, right-hand side, mass, ends, steps."""

    mesh: Mesh
    drift: Drift
    epsilon: float  # of linear diffusion
    mass: float  # of the initial density; 1 where the case leaves it open
    initial: DensityKind
    power_laws: tuple[tuple[float, float], ...] = ()  # coefficient and exponent of each nonlinear diffusion
    step: float | None = None  # the length of every step, if they have one
    kernels: tuple[Kernel, ...] = ()  # of the interactions
    target: DensityKind | None = None  # of a transport
    parameters: Parameters = field(default_factory=dict)  # the case's parameters
    undescribed: tuple[str, ...] = ()  # parts of the equation that all of the above does not describe

    @property
    def ingredients(self) -> frozenset[str]:
        """What the equation is made of; a closed form is refused if there is one that it was not derived for."""
        present = {
            "linear diffusion": self.epsilon > 0,
            "a drift": not self.drift.absent,
            "a drift that is not a gradient": not self.drift.gradient,
            "a drift that depends on t": not self.drift.steady,
            "nonlinear diffusion": bool(self.power_laws),
            "an interaction": bool(self.kernels),
            "a target": self.target is not None,
        }
        return frozenset([name for name, there in present.items() if there] + list(self.undescribed))

    @property
    def linear(self) -> bool:
        """Whether the equation is a Fokker-Planck equation and nothing else."""
        return not self.power_laws and not self.kernels and self.target is None and not self.undescribed
