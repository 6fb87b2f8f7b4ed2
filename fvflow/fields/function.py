"""Functions of position and time that a drift is made of: what a case gives, and what is evaluated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np

from fvflow.errors import placed
from fvflow.fields.expression import Expression, Parameters
from fvflow.mesh import Array


class ScalarFunction(Protocol):
    """A function f(x, t) of position and time, as a drift evaluates it: an expression, a table or a sum of such."""

    @property
    def text(self) -> str | float:
        """How messages name it."""

    @property
    def names(self) -> frozenset[str]:
        """The variables and parameters that it depends on; without "t" it is steady."""

    @property
    def regions(self) -> frozenset[str]:
        """The regions of the mesh that it depends on."""

    def at(
        self, position: Array, parameters: Parameters, time: float, regions: Mapping[str, Array] | None = None
    ) -> Array:
        """The value (point,) at positions (point, dim); `regions` as in `Expression.at`.

        Raises CaseError if it is not defined there, and as `require_finite` if a value is not finite.
        """

    def along(self, axis: int, step: float) -> ScalarFunction:
        """Its derivative along an axis, in closed form or else by central differences of a step.

        Raises CaseError if it has none.
        """


class FunctionKind:
    """A function that a case gives by a mapping, where it may give an expression.

    A new one is a frozen dataclass derived from this class. One defined by a user in Python needs no union:

        @dataclass(frozen=True)
        class Rippled(FunctionKind):
            kind = "rippled"

            def function(self):
                return Expression("sin(10*x)")
    """

    kind: str

    @property
    def files(self) -> tuple[str, ...]:
        """Paths of the files that it reads."""
        return ()

    def function(self) -> ScalarFunction:
        """The function; files are read when it is first evaluated, so that its `names` cost nothing."""
        raise NotImplementedError


@dataclass(frozen=True)
class SumFunction:
    """The sum of functions, each evaluated and checked on its own."""

    parts: tuple[ScalarFunction, ...]

    @property
    def text(self) -> str:
        """The parts in brackets, with + between them."""
        return " + ".join(f"({part.text})" for part in self.parts)

    @property
    def names(self) -> frozenset[str]:
        """The variables and parameters of all parts."""
        return frozenset[str]().union(*(part.names for part in self.parts))

    @property
    def regions(self) -> frozenset[str]:
        """The regions of all parts."""
        return frozenset[str]().union(*(part.regions for part in self.parts))

    def at(
        self, position: Array, parameters: Parameters, time: float, regions: Mapping[str, Array] | None = None
    ) -> Array:
        """The sum (point,) at positions (point, dim); raises as its parts do."""
        first, *rest = (part.at(position, parameters, time, regions) for part in self.parts)
        return sum(rest, start=first)

    def along(self, axis: int, step: float) -> SumFunction:
        """The sum of the derivatives."""
        return SumFunction(tuple(part.along(axis, step) for part in self.parts))


@dataclass(frozen=True)
class FunctionOfFunction:
    """A function that is made of another one, and uses what that one uses."""

    function: ScalarFunction

    @property
    def names(self) -> frozenset[str]:
        """Those of the function."""
        return self.function.names

    @property
    def regions(self) -> frozenset[str]:
        """Those of the function."""
        return self.function.regions


@dataclass(frozen=True)
class CentralDifference(FunctionOfFunction):
    """(f(x + h e) - f(x - h e))/(2 h), e the unit vector of an axis: the derivative of f to second order in h."""

    axis: int
    step: float

    @property
    def text(self) -> str:
        """The function and the axis."""
        return f"d/d{'xyz'[self.axis]} ({self.function.text})"

    def at(
        self, position: Array, parameters: Parameters, time: float, regions: Mapping[str, Array] | None = None
    ) -> Array:
        """The value (point,) at positions (point, dim); raises as the function does."""
        shift = self.step * np.eye(position.shape[1])[self.axis]
        ahead, behind = (self.function.at(position + side, parameters, time, regions) for side in (shift, -shift))
        return np.asarray((ahead - behind) / (2.0 * self.step))

    def along(self, axis: int, step: float) -> CentralDifference:
        """The central difference of this one."""
        return CentralDifference(self, axis, step)


@dataclass(frozen=True)
class PlacedFunction(FunctionOfFunction):
    """A function whose errors are placed at the keys of the case that give it."""

    keys: tuple[str | int, ...]

    @property
    def text(self) -> str | float:
        """As the function's."""
        return self.function.text

    def at(
        self, position: Array, parameters: Parameters, time: float, regions: Mapping[str, Array] | None = None
    ) -> Array:
        """The value (point,) at positions (point, dim); raises as the function does."""
        with placed(*self.keys):
            return self.function.at(position, parameters, time, regions)

    def along(self, axis: int, step: float) -> PlacedFunction:
        """The derivative of the function, placed at the same keys."""
        with placed(*self.keys):
            return PlacedFunction(self.function.along(axis, step), self.keys)


def as_function(given: str | float | FunctionKind, *keys: str | int) -> ScalarFunction:
    """The function that a value of a case stands for: an expression if it is a text or a number.

    Its errors are placed at the keys.
    """
    function = given.function() if isinstance(given, FunctionKind) else _expression(given)
    return PlacedFunction(function, keys)


@lru_cache(maxsize=256, typed=True)  # a flow makes its drift anew whenever it is asked for it
def _expression(text: str | float) -> Expression:
    return Expression(text)


def sum_of(parts: tuple[ScalarFunction, ...]) -> ScalarFunction | None:
    """The sum of functions; None if there are none."""
    return SumFunction(parts) if len(parts) > 1 else next(iter(parts), None)


def files_of(*given: str | float | FunctionKind | None) -> tuple[str, ...]:
    """Paths of the files that values of a case read."""
    return tuple(file for value in given if isinstance(value, FunctionKind) for file in value.files)
