"""The errors of pydantic in the terms of the case file: where, what was got, what is allowed, what to do."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Collection, Mapping
from functools import cache
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from pydantic_core import ErrorDetails

from fvflow.case.document import Fault, Path
from fvflow.deferred import Kinds


def deferred_kinds(hint: Any) -> Kinds[Any] | None:
    """The table of kinds that a hint is, or is annotated with; None if there is none."""
    marks = (hint, *get_args(hint)[1:]) if get_origin(hint) in (None, Annotated) else ()
    return next((mark for mark in marks if isinstance(mark, Kinds)), None)


def dataclasses_in(hint: Any, kinds: Collection[str] | None = None) -> list[type]:
    """All dataclasses in a type hint; of those in a table, these kinds only if some are given."""
    if deferred := deferred_kinds(hint):
        return deferred.members(kinds)
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return [hint]
    return [cls for part in get_args(hint) for cls in dataclasses_in(part, kinds)]


_HYPHENATED = {"error_estimate": "error-estimate"}  # fields whose keys have a hyphen


def key_of(field: str) -> str:
    """The key of a case file for a field of a dataclass: `from_`, since `from` is a word of Python, is the key from."""
    return _HYPHENATED.get(field) or field.removesuffix("_")


@cache
def hints_of(cls: type) -> dict[str, Any]:
    """The type hints of a dataclass by key, evaluated once: a case may have thousands of components."""
    return {key_of(name): hint for name, hint in get_type_hints(cls, include_extras=True).items()}


def fault(cls: type, values: dict[str, Any], detail: ErrorDetails) -> Fault:
    """An error of pydantic as a fault of the case."""
    path = path_of(values, detail)
    message, kind = _message(cls, values, path, detail), detail["type"]
    if kind == "union_tag_invalid" and not _of_shape(detail):
        path = (*path, "kind")
    return Fault(path, message, of_key=kind == "extra_forbidden", weak=kind == "too_short")


def _of_shape(detail: ErrorDetails) -> bool:
    """Whether what was expected is a mapping or a list: the tags of such a union stand for shapes, not for kinds."""
    return str(detail["ctx"]["tag"]).startswith("<")


def path_of(values: Any, detail: ErrorDetails) -> Path:
    """The path of an error: pydantic's location without the tags of unions, which are not in the file."""
    path: list[str | int] = []
    here = values
    steps = detail["loc"]
    for index, step in enumerate(steps):
        missing = detail["type"] == "missing" and index == len(steps) - 1
        if (isinstance(here, dict) and step in here) or (isinstance(here, list) and isinstance(step, int)) or missing:
            path.append(step)
            here = None if missing else here[step]
    return tuple(path)


_EXPECTED = {  # what was expected, by the type of an error: formatted with pydantic's context, `got` appended
    "literal_error": "{expected}",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a number",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "string_type": "a text or an expression",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "tuple_type": "a list like [1, 2]",
    "list_type": "a list like [1, 2]",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "dict_type": "a mapping",
    "greater_than": "a number > {gt:g}",
    "greater_than_equal": "a number >= {ge:g}",
    "less_than": "a number < {lt:g}",
    "less_than_equal": "a number <= {le:g}",
}


_WALLS = (
    "; walls are closed unless `walls: {left: absorbing, outlet: {kind: partial, rate: 2}}` says otherwise, with the "
    "sides of a box (left, right, bottom, top, back, front), the boundaries of a mesh, or rest"
)
_INSTEAD = {  # keys that other programs have, and what fvflow has in their place
    **dict.fromkeys(("boundary", "boundaries", "boundary_conditions", "boundary_condition", "bc", "bcs"), _WALLS),
    **dict.fromkeys(
        ("periodic", "periodicity", "pbc"),
        "; axes are periodic by `mesh: {kind: box, ..., periodic: [x]}`, also of kind graded",
    ),
    **dict.fromkeys(
        ("diffusion", "diffusivity", "D"),
        "; the coefficient of diffusion is the number `epsilon`, of flow fokker-planck or of {kind: entropy, epsilon: "
        "...}; one that varies is `diffusion: {value: 1 + x**2, convention: ito}` of flow fokker-planck; one that "
        "grows with the density is {kind: porous-medium, exponent: ...} of flow gradient-flow",
    ),
    **dict.fromkeys(
        ("source", "sources", "sink", "reaction"),
        "; the mass is conserved, so that there are neither sources nor sinks",
    ),
}
_SYNONYMS = {  # kinds by other names
    **dict.fromkeys(("delta", "dirac", "point", "point-mass"), "spike"),
    **dict.fromkeys(("normal", "gauss"), "gaussian"),
    **dict.fromkeys(("constant", "flat", "patch"), "uniform"),
    **dict.fromkeys(("data", "particles", "empirical"), "samples"),
    **dict.fromkeys(("spherical", "ball", "cylindrical", "polar"), "radial"),
    **dict.fromkeys(("grid", "cartesian", "rectangle", "interval"), "box"),
    **dict.fromkeys(("backward-euler", "euler", "implicit"), "implicit-euler"),
    **dict.fromkeys(("sg", "chang-cooper"), "scharfetter-gummel"),
}


def _message(cls: type, values: dict[str, Any], path: Path, detail: ErrorDetails) -> str:
    context: dict[str, Any] = detail.get("ctx", {})
    error_type, value = detail["type"], _at(values, path)
    if error_type in _EXPECTED:
        hint = ""
        if _EXPECTED[error_type] == "a mapping" and value in _kinds(cls, values, path):
            hint = f"; write {{kind: {value}}}"
        return f"expected {_EXPECTED[error_type].format(**context)}, got {shown(value)}{hint}"
    match error_type:
        case "missing":
            return "is missing"
        case "extra_forbidden":
            known = _known(cls, values, path[:-1])
            name = str(path[-1])
            return f"unknown key{_place_of(cls, values, path) or _INSTEAD.get(name) or _guess(name, known)}"
        case "union_tag_not_found":
            return f"kind is missing; one of {', '.join(_kinds(cls, values, path))}"
        case "union_tag_invalid" if _of_shape(detail):
            return f"expected a mapping or a list of mappings, got {shown(value)}"
        case "union_tag_invalid":
            kinds, kind = _kinds(cls, values, path), str(context["tag"])
            if owner := _owner_of(cls, path, kind):
                return f"kind {kind} is for {owner}; here it is one of {', '.join(kinds)}"
            synonym = _SYNONYMS.get(kind, "")
            close = [synonym] if synonym in kinds else difflib.get_close_matches(kind, kinds, n=1)
            guess = f'; did you mean "{close[0]}"?' if close else ""
            return f"unknown kind {kind}{guess} (one of {', '.join(kinds)})"
        case "too_short":
            return f"expected at least {context['min_length']} entries, got {context['actual_length']}"
        case "too_long":
            return f"expected at most {context['max_length']} entries, got more"
        case "value_error":
            return str(context["error"])
    return detail["msg"]


def _at(values: Any, path: Path) -> Any:
    """The value at a path; None if there is none."""
    for step in path:
        if isinstance(values, dict):
            values = values.get(step)
        elif isinstance(values, list) and isinstance(step, int) and step < len(values):
            values = values[step]
        else:
            return None
    return values


def shown(value: Any) -> str:
    """A value as quoted in a message."""
    if value is None:
        return "nothing"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value[:60]}"' if isinstance(value, str) else repr(value)[:60]


def _guess(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f'; did you mean "{close[0]}"?' if close else (f"; known here: {', '.join(known)}" if known else "")


def _classes(cls: type, values: Any, path: Path) -> list[type]:
    """The dataclasses that are allowed at a path, only that of the kind if one is given."""
    classes, here, named = [cls], values, False
    for step in path:
        here = _at(here, (step,))
        if named:  # the step is a name that the case chose
            named = False
        elif isinstance(step, str):
            hints = [hints_of(owner).get(step) for owner in classes]
            classes = [inner for hint in hints for inner in dataclasses_in(hint)]
            named = any(get_origin(hint) in (dict, Mapping) for hint in hints)
        if isinstance(here, dict):
            classes = [inner for inner in classes if kind_of(inner) == here.get("kind")] or classes
    return classes


def _known(cls: type, values: Any, path: Path) -> list[str]:
    """The keys that are allowed at a path."""
    return sorted({name for owner in _classes(cls, values, path) for name in _keys(owner)})


def _place_of(cls: type, values: Any, path: Path) -> str:
    """Where a key that stands at the top of a case belongs, as a question; empty if nowhere."""
    name = str(path[-1])
    if len(path) == 1 and name in (_at(values, ("parameters",)) or {}):
        return f"; did you mean parameters.{name}?"
    owners = [key for key in values if len(path) == 1 and isinstance(values[key], dict)]
    places = [f"{key}.{name}" for key in owners if name in _known(cls, values, (key,))]
    return f"; did you mean {places[0]}?" if places else ""


def _owner_of(cls: type, path: Path, kind: str) -> str:
    """The kind of the mapping in which this kind may stand, with the lines to write; empty if there is none."""
    if len(path) < 2 or not all(isinstance(step, str) for step in path[-2:]):
        return ""
    *above, place, field = path
    for owner in _classes(cls, {}, (*above, place)):
        hints = hints_of(owner)
        kinds = [kind_of(inner) for inner in dataclasses_in(hints.get(str(field)))]
        if kind in kinds:
            name, needed = kind_of(owner), "".join(f"{key}: ..., " for key in _needed(owner))
            return f"{place} {name}: write {place}: {{kind: {name}, {needed}{field}: {{kind: {kind}}}}}"
    return ""


def _needed(cls: type) -> list[str]:
    """The keys without a default."""
    missing = dataclasses.MISSING
    fields = [field for field in dataclasses.fields(cls) if field.init]
    return [key_of(field.name) for field in fields if field.default is missing and field.default_factory is missing]


def _kinds(cls: type, values: Any, path: Path) -> list[str]:
    """The kinds that are allowed at a path."""
    return [kind_of(owner) for owner in _classes(cls, values, path) if kind_of(owner)]


def kind_of(cls: type) -> str:
    """The kind of a dataclass; empty if it has none."""
    kind = getattr(cls, "kind", "")
    return kind if isinstance(kind, str) else ""


def _keys(cls: type) -> list[str]:
    return [key_of(field.name) for field in dataclasses.fields(cls) if field.init]
