"""Numbers of a case that are written as expressions of its parameters."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from fvflow.case.document import Fault
from fvflow.errors import CaseError
from fvflow.fields import Expression, ExpressionError

_DEEPEST = 100  # parameters that need each other in a row
LARGEST = 1e70  # size of a number that is computed with: its fourth power is finite, and that of its inverse is not 0
_WHOLE = 1e-9  # relative distance from a whole number that counts as round-off


def number(text: str, parameters: Mapping[str, float]) -> float:
    """The value of an expression of parameters; raises ExpressionError if it has none or it is not finite.

    >>> number("kT/zeta", {"kT": 4.0, "zeta": 8.0})
    0.5
    """
    expression = Expression(text)
    if expression.regions:
        raise ExpressionError("inside(...) has no meaning here: the value belongs to no cell of the mesh")
    expression.require(frozenset(parameters))
    value = float(expression(**{name: np.float64(parameters[name]) for name in expression.names}))
    if not math.isfinite(value):
        raise ExpressionError(f"it is {value:g}{_given(expression, parameters)}; numbers have to be finite")
    return value


def require_size(value: float) -> float:
    """The value; raises ValueError if products of a few numbers of its size overflow, or underflow to 0."""
    if value == 0 or 1.0 / LARGEST <= abs(value) <= LARGEST:
        return value
    raise ValueError(
        f"expected 0 or a number between {1.0 / LARGEST:g} and {LARGEST:g} in size, got {float(value):g}: products of "
        "a few such numbers are beyond double precision; choose other units"
    )


def whole_number(text: str, parameters: Mapping[str, float]) -> int:
    """As `number`, if that is a whole number up to round-off."""
    value = number(text, parameters)
    if abs(value - round(value)) > _WHOLE * abs(value):
        raise ExpressionError(f"it is {value:.12g}{_given(Expression(text), parameters)}, which is not a whole number")
    return round(value)


def _given(expression: Expression, parameters: Mapping[str, float]) -> str:
    """The values of the parameters that an expression names."""
    named = ", ".join(f"{name} = {parameters[name]:g}" for name in sorted(expression.names))
    return f" with {named}" if named else ""


def resolved(parameters: Any) -> tuple[dict[str, Any], list[Fault]]:
    """The parameters with expressions of each other replaced by their values, in any order, and what is wrong.

    A parameter without a value becomes 1, so that it has no other consequence than its own fault. Values that are
    neither numbers nor texts are left to the schema.
    """
    if not isinstance(parameters, dict):
        return {}, []
    found = {name: float(value) if _is_number(value) else value for name, value in parameters.items()}
    found = {name: value for name, value in found.items() if not isinstance(value, str)}
    faults: list[Fault] = []
    for name in parameters:
        _resolve(name, parameters, found, faults, ())
    return {name: found[name] for name in parameters}, faults


def _resolve(
    name: str, parameters: dict[str, Any], found: dict[str, Any], faults: list[Fault], path: tuple[str, ...]
) -> None:
    """Add the value of a parameter, and first of those that it names; `path` are the parameters that need it."""
    if name in found:
        return
    text = parameters[name]
    try:
        if len(path) > _DEEPEST:
            raise ExpressionError(f"more than {_DEEPEST} parameters need each other in a row; write some as numbers")
        if name in path:
            circle = " -> ".join([*path[path.index(name) :], name])
            raise ExpressionError(f"a circle of parameters: {circle}; give one of them a number")
        for other in sorted(Expression(text).names & parameters.keys()):
            _resolve(other, parameters, found, faults, (*path, name))
        if name not in found:
            found[name] = number(text, only_numbers(found))
    except CaseError as error:
        faults.append(Fault(("parameters", name), f'expected a number, got "{text[:60]}": {error}'))
        found[name] = 1.0


def only_numbers(parameters: Any) -> dict[str, float]:
    """The parameters that are numbers; the schema refuses the others."""
    return {name: value for name, value in parameters.items() if _is_number(value)}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
