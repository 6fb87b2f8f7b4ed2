"""The contract of a density as a case specifies it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from fvflow.mesh import Array, Mesh
from fvflow.sums import inner

Sampling = Literal["average", "centre"]
"""How cell values are taken: averages over the cell, or values at its centre."""


@dataclass(frozen=True)
class Coverage:
    """How a density lies on a mesh."""

    off_mesh: float = 0.0
    """Share of its mass that is outside the mesh."""
    deviation: float = math.inf
    """Its smallest standard deviation in any direction, in cells."""
    fate: str = "cut off"
    """What became of the mass outside the mesh."""
    note: str = ""
    """What else became of it, as a sentence."""
    measure: str = "standard deviation"
    """What `deviation` is of it, in words."""
    instead: str = "{kind: spike, at: [...]} for all mass at a point"
    """What to write if its width does not matter."""


class DensityKind:
    """An initial or target density as a case specifies it; the defaults hold for one about which nothing is known.

    A new density is a frozen dataclass derived from this class with `kind: Literal[...]` and `sample`, joined to the
    union `Density` in `density.py`. One defined by a user in Python needs no union:

        class Bump(DensityKind):
            kind = "bump"
            mass = 1.0

            def sample(self, mesh, parameters):
                return np.exp(-(mesh.centre**2).sum(axis=1))
    """

    kind: str
    mass: float | None
    """Total mass to which the density is scaled; None keeps that of `sample`."""
    is_exact: ClassVar[bool] = False
    """Whether it is the density of the closed form of the case."""
    own_density: ClassVar[bool] = True
    """Whether `sample` gives it, without the rest of the case."""
    any_mesh: ClassVar[bool] = True
    """Whether `sample` is defined on every mesh that covers the domain, not on that of the case only."""

    cellwise: ClassVar[bool] = False
    """Whether `sample` gives each cell a value that does not depend on the other cells: a mesh may then be divided."""

    truncate: float = 1e-3
    """Largest share of the mass that may lie outside the mesh."""

    @property
    def scaled_mass(self) -> float | None:
        """Total mass to which `sample` is scaled; None keeps its own."""
        return self.mass

    @property
    def mass_unspecified(self) -> bool:
        """Whether the density has values of its own, and the case does not say whether they are kept."""
        return False

    @property
    def sampling(self) -> Sampling:
        """How cell values are taken: "average" or "centre"."""
        return "average"

    @property
    def averaged(self) -> bool:
        """Whether cell values are averages over the cells, rather than values at their centres."""
        return self.sampling == "average"

    @property
    def gaussian(self) -> tuple[Array, Array] | None:
        """Mean (dim,) and covariance (dim, dim) if it is a Gaussian."""
        return None

    @property
    def gaussian_parts(self) -> tuple[tuple[float, Array, Array], ...]:
        """Weight, mean (dim,) and covariance (dim, dim) of the Gaussians that it is a sum of; empty for others."""
        return () if self.gaussian is None else ((1.0, *self.gaussian),)

    @property
    def files(self) -> tuple[str, ...]:
        """Paths of the files that it reads."""
        return ()

    def stored_time(self) -> float | None:
        """Time of the frame that it is read from; None if it is from none."""
        return None

    def sample(self, mesh: Mesh, parameters: Any) -> Array:
        """Cell values (cell,), up to a factor if `mass` is given; raises CaseError if it does not fit the mesh."""
        raise NotImplementedError

    def total_mass(self, mesh: Mesh, parameters: Any) -> float:
        """Total mass of the run: `scaled_mass`, or that of `sample`."""
        mass = self.scaled_mass
        return inner(mesh.volume, self.sample(mesh, parameters)) if mass is None else mass

    def coverage(self, facts: Any, reference: Any, integral: float) -> Coverage | None:
        """How it lies on the mesh of a case, `integral` being that of `on`; None if its true total is not known."""
        return None

    def on(self, facts: Any, reference: Any, time: float) -> Array:
        """Cell values (cell,) in a case, from its facts and closed form; `time`: the start, or 1 for a target."""
        return self.sample(facts.mesh, facts.parameters)


class ValuedDensity(DensityKind):
    """A density with values of its own, which may be kept, by `mass: integral`, or scaled to a mass."""

    mass: float | Literal["integral"] | None  # type: ignore[assignment]

    @property
    def scaled_mass(self) -> float | None:
        """The mass, 1 by default; None for `mass: integral`."""
        return None if self.mass == "integral" else self.mass or 1.0

    @property
    def mass_unspecified(self) -> bool:
        """Whether the case leaves it open."""
        return self.mass is None
