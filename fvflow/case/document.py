"""YAML text as plain values with their positions: the core schema of YAML 1.2 over PyYAML's event stream."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from fvflow.errors import CaseError

LARGEST, DEEPEST, MOST_NODES, MOST_FAULTS = 2**20, 32, 200_000, 30
MOST_KEYS, MOST_PARTS = 1_000, 3_000  # of a mapping; mappings in a list
Path = tuple[str | int, ...]

# YAML 1.2.2, section 10.3.2, without its octal, hexadecimal and infinite numbers.
_INTEGER = re.compile(r"[-+]?[0-9]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_WORDS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_NULLS = {"", "~", "null", "Null", "NULL"}
_WORDS_OF_FLOATS = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")


@dataclass(frozen=True)
class Place:
    """A line and a column, both counted from 1."""

    line: int
    column: int


@dataclass(frozen=True)
class Fault:
    """One error in a case."""

    path: Path
    message: str
    place: Place | None = None
    of_key: bool = False  # the key is at fault, not its value
    weak: bool = False  # may be only the consequence of a fault further in


@dataclass(frozen=True)
class Document:
    """The values of a case file, and the position of each key and value."""

    text: str
    name: str
    values: dict[str, Any]
    places: dict[Path, Place] = field(default_factory=dict)  # of values
    keys: dict[Path, Place] = field(default_factory=dict)  # of the keys of the values
    overrides: dict[Path, str] = field(default_factory=dict)  # values set from outside the file, as texts
    faults: list[Fault] = field(default_factory=list)  # non-finite numbers; their values are None

    def place(self, path: Path, of_key: bool = False) -> Place:
        """The position of the value or its key; of the parent if it is missing."""
        table = self.keys if of_key else self.places
        while path not in table and path:
            path, table = path[:-1], self.keys if path[:-1] in self.keys else self.places
        return table.get(path, Place(1, 1))

    def refusal(self, faults: Sequence[Fault]) -> CaseError:
        """One error for all faults: file:line:column: path: message, then the line and a caret."""
        ordered = sorted(_without_consequences(faults), key=self._order)
        lines = [line for fault in ordered[:MOST_FAULTS] for line in self._lines(fault)]
        if len(ordered) > MOST_FAULTS:
            lines.append(f"{self.name}: and {len(ordered) - MOST_FAULTS} more errors")
        return CaseError(*lines)

    def _order(self, fault: Fault) -> tuple[int, int]:
        place = fault.place or self.place(fault.path, fault.of_key)
        return place.line, place.column

    def _lines(self, fault: Fault) -> list[str]:
        """The message for a fault, then the line where it is and a caret, if it is in the file."""
        where = f"{dotted(fault.path)}: " if fault.path else ""
        for path, text in reversed(self.overrides.items()):  # the last override of a value is the one in effect
            if fault.path[: len(path)] == path:
                return [f"--set {dotted(path)}={text:.80}: {'' if path == fault.path else where}{fault.message}"]
        within = ", ".join(
            f"--set {dotted(path)}={text:.80}"
            for path, text in self.overrides.items()
            if path[: len(fault.path)] == fault.path
        )
        if within and fault.path and fault.path not in self.keys | self.places:  # overrides created the value
            return [f"{within}: {where}{fault.message}"]
        place = fault.place or self.place(fault.path, fault.of_key)
        # The cause may be a value further in, from the file or from an override: name them all, blame none.
        note = f" (with {within})" if within else ""
        return [
            f"{self.name}:{place.line}:{place.column}: {where}{fault.message}{note}",
            *self._excerpt(place),
        ]

    def _excerpt(self, place: Place) -> list[str]:
        """The line of a place and a caret below; nothing if the text has no such line."""
        lines = self.text.splitlines()
        if place.line > len(lines):
            return []
        start = max(0, place.column - 60)
        line = lines[place.line - 1][start : start + 100]
        return [f"    {line}", f"    {' ' * (place.column - 1 - start)}^"]


def _without_consequences(faults: Sequence[Fault]) -> list[Fault]:
    """The faults without those that another explains: at the same value, or inside a list that seems too short."""
    unreadable = {fault.path for fault in faults if fault.place is not None}
    with_faults_inside = {fault.path[:depth] for fault in faults for depth in range(len(fault.path))}
    first: dict[Path, Fault] = {}
    for fault in faults:
        first.setdefault(fault.path, fault)

    def explained(fault: Fault) -> bool:
        if fault is not first[fault.path] or (fault.weak and fault.path in with_faults_inside):
            return True
        return fault.place is None and fault.path in unreadable

    return [fault for fault in faults if not explained(fault)]


def dotted(path: Path) -> str:
    """The path as it is written with --set: mesh.cells.0."""
    return ".".join(str(part) for part in path)


def parse(text: str | bytes, name: str) -> Document:
    """The document of a YAML text; raises CaseError with the position of anything but plain YAML 1.2."""
    decoded = _decoded(text, name)
    try:
        return _Builder(decoded, name).document()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Place(mark.line + 1, mark.column + 1) if mark else Place(1, 1)
        tab = "'\\t'" in str(error.problem) or _indented_by_tab(decoded, place.line)
        reason = "a tab; indent by spaces" if tab else f"not YAML: {error.problem}"
        raise Document(decoded, name, {}).refusal([Fault((), reason, place)]) from None
    except yaml.YAMLError as error:
        reason = str(error).splitlines()[0]
        raise CaseError(f"{name}:1:1: not YAML: {reason}") from None


def _indented_by_tab(text: str, line: int) -> bool:
    """Whether the blanks at the start of a line contain a tab."""
    found = text.splitlines()[line - 1 : line]
    return any("\t" in each[: len(each) - len(each.lstrip())] for each in found)


def too_large(name: str, size: int) -> CaseError:
    """The error for a case of more bytes than are read."""
    return CaseError(f"{name}: {size} bytes; a case file has at most {LARGEST}: keep data in files that the case names")


def _decoded(text: str | bytes, name: str) -> str:
    if len(text) > LARGEST:
        raise too_large(name, len(text))
    if isinstance(text, str):
        try:
            text.encode()
        except UnicodeEncodeError:
            raise CaseError(f"{name}: holds characters that are not valid Unicode") from None
        return text
    try:
        return text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = text[: error.start].count(b"\n") + 1
        raise CaseError(f"{name}:{line}:1: not UTF-8 text (byte {error.start}); is this a case file?") from None


class _Builder:
    """Builds the values of one document from its events."""

    def __init__(self, text: str, name: str) -> None:
        self._text, self._name = text, name
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        self._events: Iterator[yaml.Event] = iter(yaml.parse(text, Loader=loader))
        self._places: dict[Path, Place] = {}
        self._keys: dict[Path, Place] = {}
        self._nodes = 0
        self._faults: list[Fault] = []

    def document(self) -> Document:
        event = next(self._events)
        while isinstance(event, yaml.StreamStartEvent | yaml.DocumentStartEvent):
            event = next(self._events)
        if isinstance(event, yaml.StreamEndEvent):
            raise CaseError(f"{self._name}:1:1: the file is empty; `fvflow new` writes a case to start from")
        values = self._value(event, ())
        for rest in self._events:
            if isinstance(rest, yaml.DocumentStartEvent):
                raise self._refusal(rest, (), "a second document starts here; a case file holds one")
        if not isinstance(values, dict):
            raise self._refusal(event, (), f"expected a mapping (mesh: ..., flow: ...), got {_kind(values)}")
        return Document(self._text, self._name, values, self._places, self._keys, faults=self._faults)

    def _value(self, event: yaml.Event, path: Path) -> Any:
        self._nodes += 1
        if self._nodes > MOST_NODES:
            raise self._refusal(event, path, f"more than {MOST_NODES} values")
        if len(path) > DEEPEST:
            raise self._refusal(event, path[:3], f"nested more than {DEEPEST} deep")
        if isinstance(event, yaml.AliasEvent):
            raise self._refusal(event, path, "aliases (*name) are not used in case files; write the value out")
        self._places[path] = _place(event)
        if getattr(event, "anchor", None):
            raise self._refusal(event, path, "anchors (&name) are not used in case files; write the value out")
        tag = getattr(event, "tag", None)
        if tag not in (None, "!"):
            raise self._refusal(event, path, f"tags ({tag}) are not used in case files")
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event, path)
        if isinstance(event, yaml.SequenceStartEvent):
            return self._sequence(path)
        return self._mapping(path)

    def _sequence(self, path: Path) -> list[Any]:
        items: list[Any] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            if len(items) >= MOST_PARTS and isinstance(event, yaml.MappingStartEvent):
                advice = f"a list has at most {MOST_PARTS} mappings; give many points as a file ({{kind: samples}})"
                raise self._refusal(event, path, advice)
            items.append(self._value(event, (*path, len(items))))
        return items

    def _mapping(self, path: Path) -> dict[str, Any]:
        values: dict[str, Any] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            if not isinstance(event, yaml.ScalarEvent):
                raise self._refusal(event, path, "expected a name as key")
            key = event.value
            if event.implicit[0] and not is_text(key):
                raise self._refusal(event, path, f"expected a name as key, got {key or 'nothing'}")
            if key in values:
                first = self._keys[(*path, key)]
                raise self._refusal(event, (*path, key), f"given twice, first in line {first.line}; keep one")
            if len(values) >= MOST_KEYS:
                raise self._refusal(event, path, f"a mapping has at most {MOST_KEYS} keys; remove those after {key}")
            self._keys[(*path, key)] = _place(event)
            values[key] = self._value(next(self._events), (*path, key))
        return values

    def _scalar(self, event: yaml.ScalarEvent, path: Path) -> Any:
        if not event.implicit[0]:
            return event.value
        try:
            return plain(event.value)
        except ValueError as error:
            self._faults.append(Fault(path, str(error), _place(event)))
            return None

    def _refusal(self, event: yaml.Event, path: Path, message: str) -> CaseError:
        document = Document(self._text, self._name, {}, self._places, self._keys)
        return document.refusal([Fault(path, message, _place(event))])


def plain(text: str) -> Any:
    """The value of a plain scalar by the core schema of YAML 1.2; raises ValueError if a number is not finite.

    >>> [plain(word) for word in ("1e-3", "010", "on", "true", "null", "-.5")]
    [0.001, 10, 'on', True, None, -0.5]
    """
    if text in _NULLS:
        return None
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        if len(text) > 300:
            raise ValueError("a number with more than 300 digits")
        return int(text)
    if _FLOAT.fullmatch(text):
        number = float(text)
        if number in (float("inf"), float("-inf")):
            raise ValueError(f"{text} is too large for a double")
        return number
    if _WORDS_OF_FLOATS.fullmatch(text):
        raise ValueError(f"expected a finite number, got {text}")
    return text


def is_text(key: str) -> bool:
    """Whether a plain scalar is a text: not a number, a truth value or null."""
    try:
        return isinstance(plain(key), str)
    except ValueError:
        return False


def _place(event: yaml.Event) -> Place:
    mark = event.start_mark
    return Place(mark.line + 1, mark.column + 1) if mark else Place(1, 1)


def _kind(value: Any) -> str:
    """The name of a value in messages."""
    names: Mapping[type, str] = {dict: "a mapping", list: "a list", bool: "a truth value", type(None): "nothing"}
    return names.get(type(value), repr(value)[:60])
