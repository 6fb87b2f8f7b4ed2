"""The contract of a density as a case names it."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from fvflow.mesh import Array, Mesh

Sampling = Literal["average", "centre"]


class DensityKind:
    """An initial or target density as a case names it; the defaults are those of one about which nothing is known.

    A new density is a frozen dataclass derived from this class with `kind: Literal[...]` and `sample`, joined to the
    union `Density` in `density.py`. One made in Python needs no union:

        class Bump(DensityKind):
            kind = "bump"
            mass = 1.0

            def sample(self, mesh, parameters):
                return np.exp(-(mesh.centre**2).sum(axis=1))
    """

    kind: str
    mass: float | None
    """Total mass that it is scaled to; None keeps that of `sample`."""
    is_exact: ClassVar[bool] = False
    """Whether it is that of the case's closed form."""
    own_density: ClassVar[bool] = True
    """Whether `sample` gives it, without the rest of the case."""

    @property
    def normalised(self) -> bool:
        """Whether `sample` gives cell averages of a density of mass 1 over the whole space."""
        return False

    @property
    def sampling(self) -> Sampling:
        """How cell values are taken: "average" or "centre"."""
        return "average"

    @property
    def gaussian(self) -> tuple[Array, Array] | None:
        """Mean (dim,) and covariance (dim, dim) if it is a Gaussian."""
        return None

    @property
    def files(self) -> tuple[str, ...]:
        """The files that it reads."""
        return ()

    def sample(self, mesh: Mesh, parameters: Any) -> Array:
        """Cell values (cell,), up to a factor if `mass` is given."""
        raise NotImplementedError

    def total_mass(self, mesh: Mesh, parameters: Any) -> float:
        """The mass that the run has."""
        mass = self.mass
        return float(mesh.volume @ self.sample(mesh, parameters)) if mass is None else mass

    def on(self, facts: Any, reference: Any, time: float) -> Array:
        """Cell values (cell,) in a case; `reference` is the case's closed form and `time` the time it is asked for."""
        return self.sample(facts.mesh, facts.parameters)
