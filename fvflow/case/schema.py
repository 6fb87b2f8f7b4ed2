"""From plain values to frozen dataclasses, validated by pydantic.

Each dataclass becomes a pydantic model with the same fields, and a union of dataclasses a union discriminated by
`kind`. The packages below `fvflow.case` do not depend on pydantic.
"""

from __future__ import annotations

import dataclasses
import operator
import os
import threading
import types
from collections.abc import Hashable, Mapping
from functools import cache, reduce
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from annotated_types import BaseMetadata
from pydantic import (
    AfterValidator,
    AllowInfNan,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Strict,
    Tag,
    ValidationError,
    ValidationInfo,
    create_model,
)

from fvflow.case.document import Fault, Path, dotted
from fvflow.case.formulas import EVALUATED, names_of
from fvflow.case.messages import dataclasses_in, fault, hints_of, key_of, path_of, shown
from fvflow.case.numbers import only_numbers, require_size, resolved
from fvflow.errors import CaseError
from fvflow.fields import Expression, ExpressionError, FormulaMark
from fvflow.mesh import FileMark

T = TypeVar("T")
_NESTED = (BaseModel, tuple, dict)  # values that are made of others
_MAKING = threading.RLock()
_MAX_EXPLAINED = 100  # later faults keep the message of pydantic: suggestions for each would take too long


def model(cls: type) -> type[BaseModel]:
    """The pydantic model of a dataclass, one and the same for all threads."""
    with _MAKING:
        return _model(cls)


class ValidationFaults(CaseError):
    """Several faults of one dataclass, each with its own path; a constructor may raise it instead of CaseError."""

    def __init__(self, faults: list[Fault]) -> None:
        super().__init__(*(f"{dotted(each.path)}: {each.message}" for each in faults))
        self.faults = faults


@cache
def _model(cls: Hashable) -> type[BaseModel]:
    assert isinstance(cls, type)
    hints = hints_of(cls)
    fields: dict[str, Any] = {}
    for field in dataclasses.fields(cls):
        if field.init:
            default = ... if _required(field) else _default(field)
            key = key_of(field.name)
            fields[key] = (_converted(hints[key]), default)
    config = ConfigDict(extra="forbid", hide_input_in_errors=True, defer_build=True)
    result: type[BaseModel] = create_model(cls.__name__, __config__=config, __doc__=_summary(cls), **fields)
    return result


def _required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _default(field: dataclasses.Field[Any]) -> Any:
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


def _summary(cls: type) -> str:
    """The first paragraph of the docstring."""
    return (cls.__doc__ or "").strip().split("\n\n")[0].replace("\n", " ")


def _converted(hint: Any, parameter: bool = False) -> Any:
    """The type hint for pydantic: models for dataclasses, discriminated unions, strict scalars, checked formulas."""
    if hint in EVALUATED:
        return _number(hint, ranged=not parameter)
    if hint is str:
        return Annotated[str, Strict()]
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return model(hint)
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _annotated(*arguments)
    if origin in (Union, types.UnionType):
        return _union(arguments)
    if origin is tuple:
        return tuple.__class_getitem__((_converted(arguments[0]), ...))
    if origin in (dict, Mapping):
        return dict.__class_getitem__((str, _converted(arguments[1], parameter=True)))
    return hint


def _annotated(inner: Any, *marks: Any) -> Any:
    """A hint with marks: bounds are pydantic's own, a formula is parsed, a file is looked for from the case."""
    for mark in marks:
        if isinstance(mark, FormulaMark):
            return Annotated[str | float, BeforeValidator(_no_truth_value), AfterValidator(_checker(mark))]
        if isinstance(mark, FileMark):
            return Annotated[_converted(inner), AfterValidator(_located)]
    bounds = [mark for mark in marks if isinstance(mark, BaseMetadata)]
    return _number(inner, *bounds) if inner in EVALUATED else Annotated[_converted(inner), *bounds]


def _number(base: Any, *bounds: BaseMetadata, ranged: bool = True) -> Any:
    """A number within bounds, or an expression of the parameters for one; a `ranged` one is of a size to compute with.

    Parameters are not ranged, since what is computed from them is.
    """

    def evaluated(value: Any, info: ValidationInfo) -> Any:
        parameters = (info.context or {}).get("numbers")
        if not isinstance(value, str) or parameters is None:  # None: a case made in Python holds numbers
            return value
        try:
            return EVALUATED[base](value, parameters)
        except ExpressionError as error:
            expected = "a number" if base is float else "a whole number"
            raise ValueError(f"expected {expected}, got {shown(value)}: {error}") from None

    shape = Annotated[base, *bounds] if bounds else base
    strict = Annotated[base, Strict(), *([AllowInfNan(False)] if base is float else []), *bounds]
    before = BeforeValidator(evaluated, json_schema_input_type=shape | str)
    return Annotated[strict, before, AfterValidator(require_size)] if ranged else Annotated[strict, before]


def _union(members: tuple[Any, ...]) -> Any:
    """The union of the converted members; one of several dataclasses is discriminated by `kind`."""
    kinds = tuple(member for member in members if dataclasses.is_dataclass(member))
    if 1 < len(kinds) < len(members) - (type(None) in members):  # kinds beside a scalar or a list
        others = tuple(member for member in members if member not in kinds)
        return _union((*others, reduce(operator.or_, kinds)))
    given = [member for member in members if member is not type(None)]
    rest, is_model = list(map(_converted, given)), list(map(_all_kinds, given))
    shapes = ["<mapping>" if mapping else _shape(part) for part, mapping in zip(rest, is_model, strict=True)]
    if sum(is_model) == 1 and len(rest) == len(set(shapes)) > 1:  # a scalar, a list or a mapping, at most one of each
        known = frozenset(shapes)
        tags = [Annotated[part, Tag(shape)] for part, shape in zip(rest, shapes, strict=True)]
        union: Any = Annotated[reduce(operator.or_, tags), Discriminator(lambda value: _tag(value, known))]
        return union | None if len(rest) < len(members) else union
    union = reduce(operator.or_, rest)
    if len(rest) > 1 and all(dataclasses.is_dataclass(member) for member in members if member is not type(None)):
        union = Annotated[union, Discriminator("kind")]
    return union | None if len(rest) < len(members) else union


def _all_kinds(hint: Any) -> bool:
    """Whether a hint is a dataclass, or a union of dataclasses."""
    return all(dataclasses.is_dataclass(part) for part in get_args(hint) or (hint,))


def _shape(hint: Any) -> str:
    return "<list>" if get_origin(hint) is tuple else "<scalar>"


def _tag(value: Any, known: frozenset[str]) -> str:
    """The member of a union that a value belongs to by its shape; a scalar if there is none."""
    shape = "<mapping>" if isinstance(value, dict | BaseModel) else "<list>" if isinstance(value, list) else "<scalar>"
    return shape if shape in known else "<scalar>"


def _no_truth_value(value: Any) -> Any:
    """Refuse a Boolean, which pydantic would take for a number."""
    if isinstance(value, bool):
        raise ValueError(f"expected a text or an expression, got {shown(value)}")
    return value


def _checker(mark: FormulaMark) -> Any:
    """A validator of expressions: syntax, names and regions."""

    def check(text: Any, info: ValidationInfo) -> Any:
        try:
            context = info.context or {}
            expression = Expression(text)
            axes = context.get("axes", "xyz")
            momenta = {f"p{axis}" for axis in axes} if mark.momenta else set()
            expression.require(frozenset(axes) | momenta | frozenset(context.get("parameters", ())) | mark.names)
            if expression.regions and not mark.regions:
                raise ExpressionError("inside(...) has no meaning here: the value belongs to no cell of the mesh")
        except ExpressionError as error:
            raise ValueError(str(error)) from None
        return text

    return check


def _located(path: str, info: ValidationInfo) -> str:
    """The path of a file named in a case, relative to the folder of the case."""
    return os.path.join((info.context or {}).get("folder", ""), path)


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
    try:
        checked = model(cls).model_validate(given, context={**context, "folder": folder})
    except ValidationError as error:
        details = error.errors(include_url=False)
        explained = [fault(cls, values, detail) for detail in details[:_MAX_EXPLAINED]]
        rest = [Fault(path_of(values, detail), detail["msg"]) for detail in details[_MAX_EXPLAINED:]]
        return None, [*faults, *explained, *rest]
    result = _constructed(cls, checked, (), faults)
    return (None, faults) if faults else (result, [])


def _constructed(hint: Any, value: Any, path: Path, faults: list[Fault]) -> Any:
    """The value with models turned back into dataclasses; refusals of their constructors are added to `faults`."""
    if isinstance(value, BaseModel):
        cls = _class_of(hint, type(value))
        before = len(faults)
        given = {
            name: _constructed(own, part, (*path, key), faults)
            if isinstance(part := getattr(value, key), _NESTED)
            else part
            for name, key, own in _fields_of(cls)
        }
        if len(faults) > before:  # a part was refused, so the whole cannot be constructed
            return None
        try:
            return cls(**given)
        except ValidationFaults as error:
            faults += [dataclasses.replace(each, path=(*path, *each.path)) for each in error.faults]
        except CaseError as error:
            faults.append(Fault(path, str(error)))
        return None
    if isinstance(value, tuple):
        return tuple(
            _constructed(hint, item, (*path, index), faults) if isinstance(item, _NESTED) else item
            for index, item in enumerate(value)
        )
    if isinstance(value, dict):
        return {name: _constructed(hint, item, (*path, name), faults) for name, item in value.items()}
    return value


@cache
def _fields_of(cls: type) -> tuple[tuple[str, str, Any], ...]:
    """Name, key and type hint of each field that a case may give."""
    hints = hints_of(cls)
    return tuple(
        (field.name, key_of(field.name), hints[key_of(field.name)]) for field in dataclasses.fields(cls) if field.init
    )


def _class_of(hint: Any, built_model: type[BaseModel]) -> type:
    """The dataclass of a model, among those that a type hint names."""
    return next(cls for cls in dataclasses_in(hint) if model(cls) is built_model)
