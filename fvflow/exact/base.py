"""The contract of a closed form.

A new closed form is a frozen dataclass derived from `ClosedForm` with `kind: Literal[...]`, `derived_for`, `requires`
and `reference`, joined to the union `Exact` in `fvflow/exact/__init__.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Gt

from fvflow.errors import CaseError
from fvflow.exact.facts import Facts
from fvflow.fields import DensityKind
from fvflow.mesh import Array

FOKKER_PLANCK = frozenset(
    {"linear diffusion", "a drift", "a drift that is not a gradient", "a drift that depends on t"}
)


class Reference:
    """A closed form on one mesh."""

    @property
    def distance(self) -> float | None:
        """W2 between the ends of a geodesic; None for other closed forms."""
        return None

    def average(self, time: float) -> Array:
        """The density of each cell (cell,) at a time."""
        raise NotImplementedError


class ClosedForm:
    """A closed form as a case names it; the defaults refuse every case."""

    kind: str
    derived_for: ClassVar[frozenset[str]] = frozenset()
    """The `Facts.ingredients` of the equation that it solves; a case with any other is refused."""
    stationary: ClassVar[bool] = False
    """Whether it is a stationary state, which flows without time can be compared with."""

    def requires(self, facts: Facts) -> Iterator[str]:
        """A sentence on each thing that it requires of the case and the case does not give."""
        yield from ()

    def reference(self, facts: Facts) -> Reference:
        """The solution on the case's mesh; raises CaseError if the case is not the one that it solves."""
        raise NotImplementedError

    def on(self, facts: Facts) -> Reference:
        """The solution on the case's mesh; raises CaseError if the case is not one that it was derived for."""
        for fault in self.requires(facts):
            raise CaseError(fault)
        reference = self.reference(facts)  # whose own refusals say more
        beyond = sorted(facts.ingredients - self.derived_for)
        if beyond:
            known = ", ".join(sorted(self.derived_for)) or "nothing"
            raise CaseError(
                f"exact {self.kind} was derived for {known}, and this case has {', '.join(beyond)}; leave out exact, "
                "or what it was not derived for"
            )
        return reference


@dataclass(frozen=True)
class FromExact(DensityKind):
    """The density of the case's closed form: at time 0 as initial density, at time 1 as the target of a transport."""

    mass: Annotated[float, Gt(0)] | None = None
    """Total mass; 1, or that of the closed form, by default."""
    kind: Literal["exact"] = "exact"
    is_exact = True
    own_density = False

    def total_mass(self, mesh: Any, parameters: Any) -> float:
        """The mass given, or 1."""
        return 1.0 if self.mass is None else self.mass

    def on(self, facts: Facts, reference: Reference | None, time: float) -> Array:
        """Cell averages (cell,) of the closed form at a time; raises CaseError if the case has none."""
        if reference is None:
            raise CaseError("kind exact needs an exact solution; add exact: {kind: ...}")
        return reference.average(time)
