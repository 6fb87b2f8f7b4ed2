"""What a closed form may ask of the case it belongs to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Protocol

from annotated_types import Gt

from fvflow.fields import Drift, Kernel, Names
from fvflow.mesh import Array, Mesh


@dataclass(frozen=True)
class AtEquilibrium:
    """The discrete equilibrium of the case's potential, as an initial density."""

    mass: Annotated[float, Gt(0)] = 1.0
    kind: Literal["gibbs"] = "gibbs"


@dataclass(frozen=True)
class FromExact:
    """The case's exact solution at time 0, as an initial density; of mass 1, or its own, unless given."""

    mass: Annotated[float, Gt(0)] | None = None
    kind: Literal["exact"] = "exact"


@dataclass(frozen=True, eq=False)
class Facts:
    """The mesh, drift, diffusion, mass and initial density of a case."""

    mesh: Mesh
    drift: Drift
    epsilon: float
    mass: float  # of the initial density; 1 where the case leaves it open
    power_laws: tuple[tuple[float, float], ...] = ()  # coefficient and exponent of each nonlinear diffusion
    step: float | None = None  # the length of every step, if they have one
    initial: Any = None  # the initial density as the case describes it
    kernels: tuple[Kernel, ...] = ()  # of the interactions
    target: Any = None  # the target density of a transport, as the case describes it
    names: Names = field(default_factory=dict)  # the case's parameters

    @property
    def linear(self) -> bool:
        """Whether the flow is a Fokker-Planck equation."""
        return not self.power_laws and not self.kernels and self.target is None


class Reference(Protocol):
    """A closed form on one mesh."""

    def average(self, time: float) -> Array:
        """The density of each cell (cell,) at a time."""
