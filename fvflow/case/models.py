"""Models of pydantic for dataclasses: the same fields, and a union of dataclasses discriminated by `kind`.

The packages below `fvflow.case` do not depend on pydantic.
"""

from __future__ import annotations

import dataclasses
import operator
import os
import threading
import types
from collections.abc import Callable, Mapping
from functools import reduce
from typing import Annotated, Any, ClassVar, Union, get_args, get_origin

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
    ValidationInfo,
    create_model,
)

from fvflow.case.formulas import EVALUATED
from fvflow.case.messages import hints_of, key_of, kind_of, shown
from fvflow.case.numbers import require_size
from fvflow.deferred import Kinds
from fvflow.fields import Expression, ExpressionError, FormulaMark
from fvflow.mesh import FileMark

_MAKING = threading.RLock()
_FEW = 2  # sets of kinds that get models of their own


class Model(BaseModel):
    """The model of a dataclass."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True, defer_build=True)
    dataclass: ClassVar[type]
    """The dataclass that the model stands for."""


def model(cls: type, kinds: frozenset[str] | None = None) -> type[Model]:
    """The pydantic model of a dataclass, in whose unions at least some kinds are known; if None, all are.

    A process that reads one case makes models for its kinds alone, in a third of the time; if it reads others, those of
    all kinds, once. They are the same for all threads.
    """
    with _MAKING:
        if None in _MADE or (kinds not in _MADE and len(_MADE) == _FEW):
            kinds = None
        return _MADE.setdefault(kinds, _Models(kinds)).of(cls)


def _required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _default(field: dataclasses.Field[Any]) -> Any:
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


def _summary(cls: type) -> str:
    """The first paragraph of the docstring."""
    return (cls.__doc__ or "").strip().split("\n\n")[0].replace("\n", " ")


class _Models:
    """Makes the models of dataclasses, each once. A union has the members of some kinds only, unless they are None."""

    def __init__(self, kinds: frozenset[str] | None) -> None:
        self._kinds = kinds
        self._made: dict[type, type[Model]] = {}

    def of(self, cls: type) -> type[Model]:
        """The model of a dataclass."""
        if cls not in self._made:
            hints = hints_of(cls)
            fields: dict[str, Any] = {}
            for field in dataclasses.fields(cls):
                if field.init:
                    default = ... if _required(field) else _default(field)
                    key = key_of(field.name)
                    fields[key] = (self._converted(hints[key]), default)
            made = create_model(cls.__name__, __base__=Model, __doc__=_summary(cls), **fields)
            made.dataclass = cls
            self._made[cls] = made
        return self._made[cls]

    def _converted(self, hint: Any, parameter: bool = False) -> Any:
        """The hint for pydantic: models for dataclasses, discriminated unions, strict scalars, checked formulas."""
        if hint in EVALUATED:
            return _number(hint, ranged=not parameter)
        if hint is str:
            return Annotated[str, Strict()]
        if isinstance(hint, type) and dataclasses.is_dataclass(hint):
            return self.of(hint)
        origin, arguments = get_origin(hint), get_args(hint)
        if origin is Annotated:
            return self._annotated(*arguments)
        if origin in (Union, types.UnionType):
            return self._union(arguments)
        if origin is tuple:
            return tuple.__class_getitem__((self._converted(arguments[0]), ...))
        if origin in (dict, Mapping):
            return dict.__class_getitem__((str, self._converted(arguments[1], parameter=True)))
        return hint

    def _annotated(self, inner: Any, *marks: Any) -> Any:
        """A hint with marks: bounds are pydantic's own, a formula is parsed, a file is looked for from the case."""
        for mark in marks:
            if isinstance(mark, Kinds):
                return self._of_kinds(mark.members(self._kinds))
            if isinstance(mark, FormulaMark):
                return Annotated[str | float, BeforeValidator(_no_truth_value), AfterValidator(_checker(mark))]
            if isinstance(mark, FileMark):
                return Annotated[self._converted(inner), AfterValidator(_located)]
        bounds = [mark for mark in marks if isinstance(mark, BaseMetadata)]
        return _number(inner, *bounds) if inner in EVALUATED else Annotated[self._converted(inner), *bounds]

    def _union(self, members: tuple[Any, ...]) -> Any:
        """The union of the converted members; one of several dataclasses is discriminated by `kind`."""
        given = [member for member in members if member is not type(None)]
        kinds = [member for member in given if dataclasses.is_dataclass(member)]
        if 1 < len(kinds) < len(given):  # kinds beside a scalar or a list
            others = [member for member in members if member not in kinds]
            return self._union((*others, reduce(operator.or_, kinds)))
        if len(given) == len(kinds) > 1:
            union: Any = self._of_kinds(kinds)
        else:
            union = self._of_shapes(given)
        return union | None if len(given) < len(members) else union

    def _of_kinds(self, members: list[Any]) -> Any:
        """A union of dataclasses discriminated by `kind`."""
        if self._kinds is not None:
            members = [cls for cls in members if kind_of(cls) in self._kinds]
        if len(members) < 2:  # pydantic has no unions of one
            kind = kind_of(members[0]) if members else ""
            return Annotated[self.of(members[0]) if members else Any, BeforeValidator(_of_kind(kind))]
        return Annotated[reduce(operator.or_, map(self.of, members)), Discriminator("kind")]

    def _of_shapes(self, members: list[Any]) -> Any:
        """A union of a scalar, a list and a mapping, at most one of each, or of other hints."""
        rest, is_model = list(map(self._converted, members)), list(map(_all_kinds, members))
        shapes = ["<mapping>" if mapping else _shape(part) for part, mapping in zip(rest, is_model, strict=True)]
        if sum(is_model) == 1 and len(rest) == len(set(shapes)) > 1:
            known = frozenset(shapes)
            tags = [Annotated[part, Tag(shape)] for part, shape in zip(rest, shapes, strict=True)]
            return Annotated[reduce(operator.or_, tags), Discriminator(lambda value: _tag(value, known))]
        return reduce(operator.or_, rest)


_MADE: dict[frozenset[str] | None, _Models] = {}


def _of_kind(kind: str) -> Callable[[Any], Any]:
    """A validator that lets mappings of one kind pass."""

    def require(value: Any) -> Any:
        if not isinstance(value, dict) or not kind or value.get("kind") != kind:
            raise ValueError("another kind")
        return value

    return require


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
