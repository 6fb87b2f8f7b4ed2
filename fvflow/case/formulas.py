"""The expressions in the plain values of a case, and the names that they may use."""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Union, get_args, get_origin

from fvflow.case.messages import dataclasses_in, deferred_kinds, hints_of, kind_of
from fvflow.case.numbers import number, whole_number
from fvflow.fields import Expression, FormulaMark
from fvflow.mesh import MeshKind

EVALUATED: dict[Any, Callable[[str, Mapping[str, float]], float]] = {float: number, int: whole_number}
"""The types of numbers that may be written as expressions, with what evaluates them."""


def names_of(values: dict[str, Any]) -> dict[str, Any]:
    """The names that expressions may use: the axes of the mesh, by its dimension, and the parameters."""
    mesh, parameters = values.get("mesh"), values.get("parameters")
    dimension = None
    if isinstance(mesh, dict):
        kinds = (kind for kind in get_args(MeshKind) if kind_of(kind) == mesh.get("kind"))
        dimension = next((kind.declared_dimension(mesh) for kind in kinds), None)
    axes = "xyz"[: dimension or 3]
    return {"axes": axes, "parameters": parameters if isinstance(parameters, dict) else {}}


def formulas(values: Any, hint: Any) -> list[Expression]:
    """All expressions in the plain values that belong to a type hint, those for numbers included."""
    origin, arguments = get_origin(hint), get_args(hint)
    if values is None:  # a key that is written without a value
        return []
    if origin is Annotated and not deferred_kinds(hint):
        is_formula = any(isinstance(mark, FormulaMark) for mark in hint.__metadata__)
        return (
            [Expression(values)]
            if is_formula and not isinstance(values, dict | list)
            else formulas(values, arguments[0])
        )
    if hint in EVALUATED:
        return [Expression(values)] if isinstance(values, str) else []
    if isinstance(values, dict):
        mapping = origin in (dict, Mapping)
        parts = [(value, arguments[1]) for value in values.values()] if mapping else _with_hints(values, hint)
    elif isinstance(values, list) and origin is tuple:
        parts = [(item, arguments[0]) for item in values]
    else:
        parts = [(values, member) for member in arguments if origin in (Union, types.UnionType)]
    return [found for value, inner in parts for found in formulas(value, inner)]


def _with_hints(values: dict[str, Any], hint: Any) -> list[tuple[Any, Any]]:
    """Each value of a mapping with the type hint of its field in the dataclass that the mapping stands for."""
    kind = values.get("kind")
    owner = next((cls for cls in dataclasses_in(hint, {str(kind)}) if kind_of(cls) in ("", kind)), None)
    hints = {} if owner is None else hints_of(owner)
    return [(value, hints[name]) for name, value in values.items() if name in hints]
