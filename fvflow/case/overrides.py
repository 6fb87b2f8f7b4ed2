"""Changing the values of a document, and writing values out."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from typing import Any

import yaml

from fvflow.case.document import Document, Path, is_text, read
from fvflow.errors import CaseError


def apply_overrides(document: Document, overrides: Mapping[str, str]) -> Document:
    """The document with the values at dotted paths exchanged for texts read as YAML; raises CaseError."""
    values = copy.deepcopy(document.values)
    told: dict[Path, str] = {}
    for dotted_path, text in overrides.items():
        path: Path = tuple(int(step) if step.isdecimal() else step for step in dotted_path.split("."))
        if "" in path:
            raise CaseError(f"--set {dotted_path}: not a path; write it as in mesh.cells.0")
        given = read(f"value: {text}", f"--set {dotted_path}")
        if given.faults:
            raise CaseError(f"--set {dotted_path}={text}: {given.faults[0].message}")
        value = given.values["value"]
        here: Any = values
        for step, following in pairwise(path):
            if isinstance(here, dict) and isinstance(step, str) and isinstance(following, str):
                here = here.setdefault(step, {})
            else:
                here = _entry(here, step, dotted_path)
        _entry(here, path[-1], dotted_path, new=True)
        here[path[-1]] = value
        told[path] = text
    kept = [fault for fault in document.faults if not any(fault.path[: len(path)] == path for path in told)]
    return replace(document, values=values, overrides=told, faults=kept)


class _Dumper(yaml.SafeDumper):
    """Quotes the texts that the reader above would take for something else."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if is_text(text) else '"')


_Dumper.add_representer(str, _text)


def to_yaml(values: dict[str, Any]) -> str:
    """The values as a text that `read` gives back."""
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


def _entry(here: Any, step: str | int, dotted_path: str, new: bool = False) -> Any:
    """The value one step down; with `new`, only the check that there can be one."""
    if isinstance(here, dict) and isinstance(step, str) and (new or step in here):
        return here.get(step)
    if isinstance(here, list) and isinstance(step, int) and step < len(here):
        return here[step]
    raise CaseError(f"--set {dotted_path}: nothing there to set at {step}; write the path as in mesh.cells.0")
