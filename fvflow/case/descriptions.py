"""Descriptions of the keys of a case file, taken from the docstrings below the fields of its dataclasses."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import sys
from functools import cache
from typing import Any, get_type_hints

from fvflow.case.messages import dataclasses_in, key_of, kind_of


def describe_properties(schema: dict[str, Any], root: type) -> None:
    """Add a description to each property of the JSON schema of a dataclass and of all dataclasses that it names."""
    known = {(cls.__name__, kind_of(cls)): cls for cls in _reachable(root)}
    for part in (schema, *schema.get("$defs", {}).values()):
        properties = part.get("properties", {})
        cls = known[part["title"], properties.get("kind", {}).get("const", "")]  # names alone may stand twice
        texts = field_docstrings(cls)
        for key, described in properties.items():
            described["description"] = texts.get(key, "") or (_summary(cls) if key == "kind" else "")


def field_docstrings(cls: type) -> dict[str, str]:
    """The string literals below the fields of a class and its bases, by the key of the field."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        found |= _of_module(base.__module__).get(base.__qualname__, {})
    return found


def _reachable(cls: type) -> list[type]:
    """The dataclass, and all that the hints of its fields name, each once."""
    found = [cls]
    for known in found:  # which grows
        hints = get_type_hints(known, include_extras=True)
        for field in dataclasses.fields(known):
            found += [part for part in dataclasses_in(hints[field.name]) if part not in found]
    return found


@cache
def _of_module(name: str) -> dict[str, dict[str, str]]:
    """Field docstrings of all classes at the top level of a module; empty if it has no source."""
    try:
        tree = ast.parse(inspect.getsource(sys.modules[name]))
    except (KeyError, OSError, TypeError):
        return {}
    return {node.name: _of_class(node) for node in tree.body if isinstance(node, ast.ClassDef)}


def _of_class(node: ast.ClassDef) -> dict[str, str]:
    found = {}
    for field, after in zip(node.body, node.body[1:], strict=False):
        named = isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        if named and isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            found[key_of(field.target.id)] = " ".join(str(after.value.value).split())  # type: ignore[attr-defined]
    return found


def _summary(cls: type) -> str:
    """The first paragraph of a docstring."""
    return " ".join((cls.__doc__ or "").strip().split("\n\n")[0].split())
