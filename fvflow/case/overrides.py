"""Overriding values of a document, and writing values as YAML."""

from __future__ import annotations

import copy
import difflib
import json
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from typing import Any

import yaml

from fvflow.case.document import Document, Path, is_text, parse
from fvflow.errors import CaseError


def apply_overrides(document: Document, overrides: Mapping[str, str]) -> Document:
    """The document with the values at dotted paths replaced by texts in YAML; raises CaseError."""
    values = copy.deepcopy(document.values)
    texts: dict[Path, str] = {}
    for dotted_path, text in overrides.items():
        path: Path = tuple(int(step) if step.isdecimal() else step for step in dotted_path.split("."))
        if "" in path:
            raise CaseError(f"--set {dotted_path}: not a path; write it as in mesh.cells.0")
        _set(values, path, parsed_value(dotted_path, text), dotted_path)
        texts[path] = text
    kept = [fault for fault in document.faults if not any(fault.path[: len(path)] == path for path in texts)]
    return replace(document, values=values, overrides=texts, faults=kept)


def parsed_value(dotted_path: str, text: str) -> Any:
    """The value of a text in YAML that is set at a path; raises CaseError."""
    given = parse(f"value: {text}", f"--set {dotted_path}")
    if given.faults:
        raise CaseError(f"--set {dotted_path}={text}: {given.faults[0].message}")
    return given.values["value"]


def _set(values: dict[str, Any], path: Path, value: Any, dotted_path: str) -> None:
    """Set the value at a path, creating the mappings on the way."""
    parent: Any = values
    for step, following in pairwise(path):
        if isinstance(parent, dict) and isinstance(step, str) and isinstance(following, str):
            parent = parent.setdefault(step, {})
        else:
            parent = _entry(parent, step, dotted_path)
    _entry(parent, path[-1], dotted_path, new=True)
    parent[path[-1]] = value


def as_text(value: Any) -> str:
    """A plain value, numpy's included, as a text in YAML, for `apply_overrides`; raises CaseError."""
    return json.dumps(value, default=_listed)


def _listed(value: Any) -> Any:
    """numpy numbers and arrays for JSON."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise CaseError(f"{value!r} cannot be written in a case file; give numbers, texts, lists and mappings")


class _Dumper(yaml.SafeDumper):
    """Quotes texts that the parser would read as something else."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if is_text(text) else '"')


_Dumper.add_representer(str, _text)


def to_yaml(values: dict[str, Any]) -> str:
    """The values as a text from which `parse` gives them back."""
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


def _entry(parent: Any, step: str | int, dotted_path: str, new: bool = False) -> Any:
    """The value one step down; with `new`, it need not exist yet, if there can be one."""
    if isinstance(parent, dict) and isinstance(step, str) and (new or step in parent):
        return parent.get(step)
    if isinstance(parent, list) and isinstance(step, int) and step < len(parent):
        return parent[step]
    known = [name for name in parent if isinstance(name, str)] if isinstance(parent, dict) else []
    close = difflib.get_close_matches(str(step), known, n=1)
    advice = f'did you mean "{close[0]}"?' if close else "write the path as in mesh.cells.0"
    raise CaseError(f"--set {dotted_path}: nothing there to set at {step}; {advice}")
