"""Cases made in Python: their parts as plain values, and what is wrong with them."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Iterator, Mapping
from functools import cache
from typing import Any, NamedTuple, get_args, get_origin, get_type_hints

from fvflow.case import schema
from fvflow.case.document import Fault, Path
from fvflow.case.formulas import names_of
from fvflow.case.messages import dataclasses_in, deferred_kinds, key_of, kind_of


def plain_values(value: Any) -> Any:
    """Dataclasses, tuples and mappings as plain dicts and lists, without what is None.

    A kind defined by a user that is not a dataclass is written as its name and the class that defines it.
    """
    if value is None or isinstance(value, (str, int, float)):  # most are
        return value
    if dataclasses.is_dataclass(value):
        items = {key_of(item.name): getattr(value, item.name) for item in dataclasses.fields(value) if item.init}
        ordered = {"kind": items.pop("kind"), **items} if "kind" in items else items
        return {name: plain_values(part) for name, part in ordered.items() if part is not None}
    if isinstance(value, tuple | list):
        return [plain_values(part) for part in value]
    if isinstance(value, Mapping):
        return {name: plain_values(part) for name, part in value.items()}
    return {"kind": str(getattr(value, "kind", "python")), "class": f"{type(value).__module__}.{type(value).__name__}"}


def python_faults(case: Any) -> list[Fault]:
    """What the schema finds wrong with a case made in Python.

    Kinds defined by a user, derived from the base class of their family, are taken as they are; the rest is checked as
    if it had been read from a file.
    """
    values, own = plain_values(case), dict(_user_kinds(case, ()))
    found = schema.build(type(case), values, context=names_of(values))[1]
    checked = [fault for fault in found if not any(_concerns(fault, place) for place in own)]
    return [*(Fault(place, message) for place, message in own.items() if message), *checked]


def _concerns(fault: Fault, place: Path) -> bool:
    """Whether a fault is in the value at a place, or may be only the consequence of such a fault."""
    depth = min(len(fault.path), len(place))
    return fault.path[:depth] == place[:depth] and (fault.weak or len(fault.path) >= len(place))


def well_formed(part: Any) -> bool:
    """Whether every field that takes a kind holds one of its family, union member or not, or a scalar if it may."""
    for _, field, member in _members(part):
        if not isinstance(member, field.bases) or (dataclasses.is_dataclass(member) and not well_formed(member)):
            return False
    return True


def _user_kinds(part: Any, path: Path) -> Iterator[tuple[Path, str]]:
    """The place of every kind in a part of a case that is not in the union of its field, and what is wrong with it."""
    for place, field, member in _members(part):
        if dataclasses.is_dataclass(member) and type(member) in dataclasses_in(field.hint, {kind_of(type(member))}):
            yield from _user_kinds(member, path + place)
        elif not isinstance(member, field.bases):
            yield path + place, _unexpected(member, field.bases)
        elif not isinstance(getattr(member, "kind", None), str):
            yield path + place, f'{type(member).__name__} has no name; write kind = "..." in the class'
        else:
            yield path + place, ""


def _unexpected(member: Any, bases: tuple[type, ...]) -> str:
    known = ", ".join(sorted(base.__name__ for base in bases))
    derived = "" if all(map(dataclasses.is_dataclass, bases)) else "a kind derived from "
    advice = "; call the class, or give the case as YAML to Case.parse" if isinstance(member, Mapping) else ""
    return f"expected {derived}{known}, got {type(member).__name__}{advice}"


class _ObjectField(NamedTuple):
    """A field of a dataclass that takes other dataclasses, most of them kinds."""

    name: str
    hint: Any
    bases: tuple[type, ...]  # the base classes of their families
    takes_scalars: bool
    takes_names: bool  # or may be a mapping from names to them


@cache
def _object_fields(cls: Hashable) -> list[_ObjectField]:
    """The fields of a dataclass where dataclasses are expected."""
    assert isinstance(cls, type)
    hints = get_type_hints(cls, include_extras=True)
    found = [(field.name, hints[field.name]) for field in dataclasses.fields(cls) if field.init]
    return [
        _ObjectField(name, hint, bases, _takes_scalars(hint), _takes_names(hint))
        for name, hint in found
        if (bases := _bases(hint))
    ]


def _members(part: Any) -> Iterator[tuple[Path, _ObjectField, Any]]:
    """What the fields of a dataclass hold where dataclasses are expected: its path, the field, the value."""
    kind: type = type(part)
    for field in _object_fields(kind):
        value = getattr(part, field.name)
        for place, member in () if value is None else _entries((key_of(field.name),), value, field.takes_names):
            if not (field.takes_scalars and isinstance(member, str | int | float)):
                yield place, field, member


def _entries(path: Path, value: Any, named: bool) -> Iterator[tuple[Path, Any]]:
    """The entries of a tuple, or of a mapping if it is one of names, or the value itself, each with its path."""
    if isinstance(value, tuple):
        for index, entry in enumerate(value):
            yield from _entries((*path, index), entry, named)
    elif named and isinstance(value, Mapping):
        yield from (((*path, key), entry) for key, entry in value.items())
    else:
        yield path, value


def _takes_scalars(hint: Any) -> bool:
    """Whether a field may hold a text or a number in place of a kind."""
    return hint in (str, float, int) or any(_takes_scalars(part) for part in get_args(hint))


def _takes_names(hint: Any) -> bool:
    """Whether a field may hold a mapping from names."""
    return get_origin(hint) in (dict, Mapping) or any(map(_takes_names, get_args(hint)))


def _bases(hint: Any) -> tuple[type, ...]:
    """The base classes of the families that a type hint names: those that are no dataclasses, or else the last one."""
    if deferred_kinds(hint):
        return (get_args(hint)[0],)
    found: set[type] = set()
    for cls in dataclasses_in(hint):
        ancestry = cls.__mro__[:-1]  # without object
        found.update([base for base in ancestry if not dataclasses.is_dataclass(base)] or ancestry[-1:])
    return tuple(found)
