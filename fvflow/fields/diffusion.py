"""A coefficient of diffusion that varies in space, time or direction, as a case names it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Gt, MaxLen, MinLen

from fvflow.errors import CaseError
from fvflow.fields.expression import LARGEST_VALUE, Expression
from fvflow.fields.function import FunctionKind, ScalarFunction, as_function, files_of
from fvflow.fields.table import Function, SteadyFunction

Convention = Literal["ito", "stratonovich", "isothermal"]
_POWERS = {"ito": 1.0, "stratonovich": 0.5, "isothermal": 0.0}
_CONVENTIONS = (
    "ito (without a drift the equilibrium is 1/D), stratonovich (1/sqrt(D)) or isothermal (uniform: d_t rho = "
    "div(D grad rho))"
)
_Row = Annotated[tuple[Function, ...], MinLen(1), MaxLen(3)]
_SteadyRow = Annotated[tuple[SteadyFunction, ...], MinLen(1), MaxLen(3)]


@dataclass(frozen=True)
class Diffusion:
    """D(x, t) of dX = v dt + sqrt(2 D) dW, read by a convention: d_t rho + div(rho v) = div(D^(1-c) grad(D^c rho)).

    c is 1 for ito, 1/2 for stratonovich and 0 for isothermal (Haenggi-Klimontovich), so that the equilibrium without a
    drift is D^-c. A list is a diagonal tensor, a list of lists a full one.
    """

    value: Function | Annotated[tuple[Function | _Row, ...], MinLen(1), MaxLen(3)]
    """D >= 0, length^2/time: an expression or table, a list of one per axis, or the rows of a symmetric tensor."""
    convention: Convention | None = None
    """The meaning of the stochastic integral: ito, stratonovich or isothermal; needed where D depends on position."""
    temperature: Annotated[float, Gt(0)] | None = None
    """Temperature T: the potential V drifts by -(D/T) grad V, so that exp(-V/T) D^-c is the equilibrium."""

    def __post_init__(self) -> None:
        rows = [part for part in self._listed if isinstance(part, tuple)]
        if rows and (len(rows) < len(self._listed) or any(len(row) != len(rows) for row in rows)):
            raise CaseError(
                "value: a tensor has as many rows as each row has entries; write [[a, b], [b, c]], or [a, c] if it is "
                "diagonal"
            )
        if self.convention is None and not self.uniform:
            raise CaseError(f"convention is missing, and D depends on position: it is one of {_CONVENTIONS}")
        if self.number is not None and not 0.0 <= self.number <= LARGEST_VALUE:
            why = "is negative" if self.number < 0 else f"is above {LARGEST_VALUE:g}, so that products overflow"
            raise CaseError(f"value: {self.number:g} {why}; give one from 0 to {LARGEST_VALUE:g}")

    @property
    def _listed(self) -> tuple[Function | tuple[Function, ...], ...]:
        return self.value if isinstance(self.value, tuple) else ()

    @property
    def _parts(self) -> Iterator[str | float | FunctionKind]:
        for part in self.value if isinstance(self.value, tuple) else (self.value,):
            if isinstance(part, tuple):
                yield from part
            else:
                yield part

    @property
    def bare(self) -> bool:
        """Whether it is the number 0 along an axis."""
        return any(part in (0, "0") for part in self._listed if not isinstance(part, tuple))

    @property
    def files(self) -> tuple[str, ...]:
        """Paths of the tables that it is made of."""
        return files_of(*self._parts)

    @property
    def uniform(self) -> bool:
        """Whether it is the same everywhere, so that the convention does not matter."""
        return not any(isinstance(part, FunctionKind) or _local(Expression(part)) for part in self._parts)

    @property
    def steady(self) -> bool:
        """Whether it does not depend on t."""
        return all("t" not in as_function(part).names for part in self._parts)

    @property
    def power(self) -> float:
        """c of the convention: without a drift the equilibrium is D^-c; 0 if D is the same everywhere."""
        return 0.0 if self.convention is None or self.uniform else _POWERS[self.convention]

    @property
    def components(self) -> tuple[ScalarFunction, ...]:
        """D as functions: one, one per axis, or those of a full tensor row by row."""
        return tuple(as_function(part) for part in self._parts)

    @property
    def number(self) -> float | None:
        """D if it is a plain number, without a temperature; None otherwise."""
        plain = isinstance(self.value, int | float) and self.temperature is None
        return float(self.value) if plain and isinstance(self.value, int | float) else None

    @property
    def scalar(self) -> bool:
        """Whether it is one function for all directions."""
        return not isinstance(self.value, tuple)

    @property
    def full(self) -> bool:
        """Whether it is given by the rows of a tensor."""
        return any(isinstance(part, tuple) for part in self._listed)


def _local(formula: Expression) -> bool:
    """Whether a formula depends on position."""
    return bool(formula.regions or formula.names & set("xyz"))


@dataclass(frozen=True)
class SteadyDiffusion(Diffusion):
    """D(x) of dX = v dt + sqrt(2 D) dW, read by a convention: d_t rho + div(rho v) = div(D^(1-c) grad(D^c rho))."""

    value: SteadyFunction | Annotated[tuple[SteadyFunction | _SteadyRow, ...], MinLen(1), MaxLen(3)]
    """D >= 0, length^2/time: an expression or table, a list of one per axis, or the rows of a symmetric tensor."""
