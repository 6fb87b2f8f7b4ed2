"""The contract of a closed form.

A new closed form is a frozen dataclass derived from `ClosedForm` with `kind: Literal[...]`, `derived_for`, `requires`
and `reference`, joined to the union `Exact` in `fvflow/exact/__init__.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from annotated_types import Ge, Gt, Lt

from fvflow.errors import CaseError, NumericsError
from fvflow.exact.facts import RADIUS, Facts
from fvflow.fields import Coverage, DensityKind
from fvflow.mesh import Array, Mesh
from fvflow.parallel import world
from fvflow.sums import inner

FOKKER_PLANCK = frozenset(
    {"linear diffusion", "a drift", "a drift that is not a gradient", "a drift that depends on t"}
)
"""The ingredients of a Fokker-Planck equation."""


class Reference:
    """A closed form evaluated on one mesh."""

    figures: ClassVar[tuple[str, ...]] = ("error_l1", "error_l2", "error_linf")
    """The names of its `errors`."""

    @property
    def distance(self) -> float | None:
        """W2 between the end points of a geodesic; None for other closed forms."""
        return None

    @property
    def total(self) -> float | None:
        """Its mass in the whole space; None if it is one of the domain."""
        return None

    def outside(self, mesh: Mesh, time: float) -> float:
        """The share of its mass outside a mesh at a time, where walls make another solution of it; 0 if not known."""
        if self.total is None:
            return 0.0
        return max(1.0 - inner(mesh.volume, self.finite_average(time)) / self.total, 0.0)

    def errors(self, mesh: Mesh, density: Array, time: float) -> dict[str, float]:
        """The `figures` of a density (cell,) at a time; raises NumericsError if they cannot be computed."""
        return density_errors(mesh, density, self.finite_average(time))

    def figure_errors(self, figures: Mapping[str, float]) -> dict[str, float]:
        """Errors of figures of the run, relative to the closed form, absolute if that is 0: here those of W2."""
        if self.distance is None or "w2" not in figures:
            return {}
        scale = self.distance if self.distance > 0 else 1.0
        return {
            "w2_error": abs(figures["w2"] - self.distance) / scale,
            "w2_solver_error": abs(figures["w2_solver"] - self.distance) / scale,
        }

    def average(self, time: float) -> Array:
        """Density of each cell (cell,) at a time: its cell averages, or its values at the centres if so sampled."""
        raise NotImplementedError

    def finite_average(self, time: float) -> Array:
        """`average` (cell,); raises NumericsError if it overflows."""
        with np.errstate(all="ignore"):  # a value that is not finite is reported here
            values = self.average(time)
        finite = np.isfinite(values)
        if not world().every(bool(finite.all())):
            worst = int(np.argmin(finite))
            cell, value = world().at_extreme(worst, float(finite[worst]), values)
            raise NumericsError(
                f"the closed form is {value:g} in cell {cell} at t = {time:g}: it overflows for these "
                "parameters; use less extreme ones, or leave out exact"
            )
        return values


class ClosedForm:
    """A closed form as a case specifies it; by default it is derived for no equation and refuses every case."""

    kind: str
    derived_for: ClassVar[frozenset[str]] = frozenset()
    """The `Facts.ingredients` of the equation that it solves; a case with any other is refused."""
    figures: ClassVar[tuple[str, ...]] = Reference.figures
    """The names of the errors of its `reference`."""
    of_steps: ClassVar[bool] = False
    """Whether it is the solution of steps of the given length rather than of the equation."""
    stationary: ClassVar[bool] = False
    """Whether it is a stationary state, the only closed form that steady flows can be compared with."""
    divided: ClassVar[bool] = False
    """Whether its `reference` can be that of a part of a grid, on several ranks."""

    def requires(self, facts: Facts) -> Iterator[str]:
        """One sentence for each requirement, beyond `derived_for`, that the case does not meet."""
        yield from ()

    def faults(self, facts: Facts) -> Iterator[str]:
        """One sentence for each reason to refuse the case; none if it is the equation that was solved."""
        unsupported = sorted(facts.ingredients - self.derived_for)
        if RADIUS not in unsupported:  # else nothing that it requires has its meaning
            yield from self.requires(facts)  # first, as its sentences are more specific
        if unsupported:
            supported = ", ".join(sorted(self.derived_for)) or "nothing"
            yield (
                f"exact {self.kind} was derived for {supported}, and this case has {', '.join(unsupported)}; leave out "
                "exact, or what it was not derived for"
            )

    def reference(self, facts: Facts) -> Reference:
        """The solution on the mesh of a case without faults."""
        raise NotImplementedError

    def on(self, facts: Facts) -> Reference:
        """The solution on the mesh of the case; raises CaseError with the first of its `faults`."""
        with np.errstate(all="ignore"):  # `finite_average` reports a value that is not finite
            for fault in self.faults(facts):
                raise CaseError(fault)
            return self.reference(facts)


def density_errors(mesh: Mesh, density: Array, exact: Array) -> dict[str, float]:
    """L1, L2 and L-infinity distance of two densities (cell,)."""
    error = np.abs(density - exact)
    return {
        "error_l1": inner(mesh.volume, error),
        "error_l2": math.sqrt(inner(mesh.volume, error**2)),
        "error_linf": world().largest(error),
    }


def refusal(check: Callable[..., Any], *arguments: Any) -> Iterator[str]:
    """The message of the CaseError that `check(*arguments)` raises, if it raises one."""
    try:
        check(*arguments)
    except CaseError as error:
        yield str(error)


@dataclass(frozen=True)
class FromExact(DensityKind):
    """The density of the closed form: at the start as initial density, at the end as the target."""

    mass: Annotated[float, Gt(0)] | None = None
    """Total mass; 1, or that of the closed form, by default."""
    truncate: Annotated[float, Ge(0), Lt(1)] = 1e-3
    """Largest share of the mass that may lie outside the mesh."""
    values: Literal["scaled", "kept"] = "scaled"
    """Whether what it has on the mesh is scaled to the mass, or kept, as where a published table samples at centres."""
    kind: Literal["exact"] = "exact"
    is_exact = True
    own_density = False
    cellwise = True

    def total_mass(self, mesh: Any, parameters: Any) -> float:
        """The given mass, or 1."""
        return 1.0 if self.mass is None else self.mass

    @property
    def scaled_mass(self) -> float | None:
        """The mass, 1 by default; None if the values are kept."""
        return None if self.values == "kept" else super().scaled_mass

    def on(self, facts: Facts, reference: Reference | None, time: float) -> Array:
        """Cell values (cell,) of the closed form at a time; raises CaseError if the case has none."""
        if reference is None:
            raise CaseError("kind exact needs an exact solution; add exact: {kind: ...}")
        return reference.finite_average(time)

    def coverage(self, facts: Facts, reference: Reference | None, integral: float) -> Coverage | None:
        """The mass outside the mesh, if the closed form is that of the whole space."""
        total = None if reference is None else reference.total
        return None if total is None else Coverage(max(1.0 - integral / total, 0.0))
