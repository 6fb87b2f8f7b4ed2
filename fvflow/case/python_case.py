"""Cases made in Python: their parts as plain values, and what is wrong with them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, get_type_hints

from fvflow.case import schema
from fvflow.case.document import Fault, Path
from fvflow.case.messages import dataclasses_in


def plain_values(value: Any) -> Any:
    """Dataclasses, tuples and mappings as plain dicts and lists, without what is None.

    A kind defined by a user that is not a dataclass is written as its name and the class that defines it.
    """
    if dataclasses.is_dataclass(value):
        items = {item.name: getattr(value, item.name) for item in dataclasses.fields(value) if item.init}
        ordered = {"kind": items.pop("kind"), **items} if "kind" in items else items
        return {name: plain_values(part) for name, part in ordered.items() if part is not None}
    if isinstance(value, tuple | list):
        return [plain_values(part) for part in value]
    if isinstance(value, Mapping):
        return {name: plain_values(part) for name, part in value.items()}
    if value is None or isinstance(value, str | int | float):
        return value
    return {"kind": str(getattr(value, "kind", "python")), "class": f"{type(value).__module__}.{type(value).__name__}"}


def python_faults(case: Any) -> list[Fault]:
    """What the schema finds wrong with a case made in Python.

    Kinds defined by a user, derived from the base class of their family, are taken as they are; the rest is checked as
    if it had been read from a file.
    """
    context = schema.names_of(plain_values(case))
    return list(_faults(case, (), context))


def well_formed(part: Any) -> bool:
    """Whether every field that takes a kind holds one of its family, union member or not."""
    for _, hint, value in _children(part):
        for member in value if isinstance(value, tuple) else (value,):
            if not isinstance(member, _bases(hint)) or (dataclasses.is_dataclass(member) and not well_formed(member)):
                return False
    return True


def _faults(part: Any, path: Path, context: dict[str, Any]) -> Iterator[Fault]:
    if not _has_user_kind(part):
        for fault in schema.build(type(part), plain_values(part), context=context)[1]:
            yield dataclasses.replace(fault, path=(*path, *fault.path))
        return
    for name, hint, value in _children(part):
        members = value if isinstance(value, tuple) else (value,)
        for index, member in enumerate(members):
            place = (*path, name, index) if isinstance(value, tuple) else (*path, name)
            if dataclasses.is_dataclass(member) and type(member) in dataclasses_in(hint):
                yield from _faults(member, place, context)
            elif not isinstance(member, _bases(hint)):
                known = ", ".join(sorted(base.__name__ for base in _bases(hint)))
                yield Fault(place, f"expected a kind derived from {known}, got {type(member).__name__}")
            elif not isinstance(getattr(member, "kind", None), str):
                yield Fault(place, f'{type(member).__name__} has no name; write kind = "..." in the class')


def _children(part: Any) -> Iterator[tuple[str, Any, Any]]:
    """The fields of a dataclass that hold kinds: name, type hint and value."""
    hints = get_type_hints(type(part), include_extras=True)
    for field in dataclasses.fields(part):
        value = getattr(part, field.name)
        if field.init and value is not None and _bases(hints[field.name]):
            yield field.name, hints[field.name], value


def _has_user_kind(part: Any) -> bool:
    """Whether a kind that is not in the union of its field stands somewhere in it."""
    for _, hint, value in _children(part):
        for member in value if isinstance(value, tuple) else (value,):
            if type(member) not in dataclasses_in(hint) or _has_user_kind(member):
                return True
    return False


def _bases(hint: Any) -> tuple[type, ...]:
    """The base classes of the families that a type hint names: those of its members that are not dataclasses."""
    found = {base for cls in dataclasses_in(hint) for base in cls.__mro__[1:-1] if not dataclasses.is_dataclass(base)}
    return tuple(found)
