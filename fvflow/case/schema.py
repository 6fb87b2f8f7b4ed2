"""From plain values to frozen dataclasses, validated by pydantic."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from functools import cache
from typing import Any, TypeVar

from pydantic import ValidationError

from fvflow.case.document import Fault, Path, dotted
from fvflow.case.formulas import names_of
from fvflow.case.messages import fault, key_of, path_of
from fvflow.case.models import Model, model
from fvflow.case.numbers import only_numbers, resolved
from fvflow.errors import CaseError

T = TypeVar("T")
_NESTED = (Model, tuple, dict)  # values that are made of others
_MAX_EXPLAINED = 100  # later faults keep the message of pydantic: suggestions for each would take too long


class ValidationFaults(CaseError):
    """Several faults of one dataclass, each with its own path; a constructor may raise it instead of CaseError."""

    def __init__(self, faults: list[Fault]) -> None:
        super().__init__(*(f"{dotted(each.path)}: {each.message}" for each in faults))
        self.faults = faults


def build(
    cls: type[T], values: dict[str, Any], folder: str = "", context: dict[str, Any] | None = None
) -> tuple[T | None, list[Fault]]:
    """(the dataclass built from plain values, no faults), or (None, every fault in the values).

    Paths of files are relative to `folder`. `context` holds the names that expressions may use; by default they follow
    from the values (`names_of`).
    """
    faults: list[Fault] = []
    given = values
    if context is None:
        if "parameters" in values:
            parameters, faults = resolved(values["parameters"])
            given = {**values, "parameters": parameters or values["parameters"]}
        context = names_of(given)
        context["numbers"] = only_numbers(context["parameters"])
    context = {**context, "folder": folder}
    known = model(cls, frozenset(_kinds_in(given)))
    try:
        try:
            checked = known.model_validate(given, context=context)
        except ValidationError:  # the models of all kinds say what is wrong
            if known is (complete := model(cls)):
                raise
            checked = complete.model_validate(given, context=context)
    except ValidationError as error:
        details = error.errors(include_url=False)
        explained = [fault(cls, values, detail) for detail in details[:_MAX_EXPLAINED]]
        rest = [Fault(path_of(values, detail), detail["msg"]) for detail in details[_MAX_EXPLAINED:]]
        return None, [*faults, *explained, *rest]
    result = _constructed(checked, (), faults)
    return (None, faults) if faults else (result, [])


def _kinds_in(value: Any) -> Iterator[str]:
    """The kinds of all mappings in plain values."""
    if isinstance(value, dict):
        if isinstance(kind := value.get("kind"), str):
            yield kind
        value = value.values()
    for part in value:
        if isinstance(part, dict | list):
            yield from _kinds_in(part)


def _constructed(value: Any, path: Path, faults: list[Fault]) -> Any:
    """The value with models turned back into dataclasses; refusals of their constructors are added to `faults`."""
    if isinstance(value, Model):
        before = len(faults)
        given = {
            name: _constructed(part, (*path, key), faults) if isinstance(part := getattr(value, key), _NESTED) else part
            for name, key in _fields_of(value.dataclass)
        }
        if len(faults) > before:  # a part was refused, so the whole cannot be constructed
            return None
        try:
            return value.dataclass(**given)
        except ValidationFaults as error:
            faults += [dataclasses.replace(each, path=(*path, *each.path)) for each in error.faults]
        except CaseError as error:
            faults.append(Fault(path, str(error)))
        return None
    if isinstance(value, tuple):
        return tuple(
            _constructed(item, (*path, index), faults) if isinstance(item, _NESTED) else item
            for index, item in enumerate(value)
        )
    if isinstance(value, dict):
        return {name: _constructed(item, (*path, name), faults) for name, item in value.items()}
    return value


@cache
def _fields_of(cls: type) -> tuple[tuple[str, str], ...]:
    """Name and key of each field that a case may give."""
    return tuple((field.name, key_of(field.name)) for field in dataclasses.fields(cls) if field.init)
