"""Which cases a sweep consists of: axes of values at dotted paths, and all their combinations."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fvflow.case.overrides import as_text, parsed_value
from fvflow.errors import CaseError
from fvflow.studies.sweeps.distributions import drawn
from fvflow.studies.sweeps.value_lists import MOST_CASES, spaced

TOGETHER, DRAWN = "case", "draw"
"""Dimensions of values that are taken together, and of those that are drawn."""


@dataclass(frozen=True)
class Axis:
    """One dimension of a sweep, along which one path varies or several do together."""

    name: str
    paths: tuple[str, ...]
    points: tuple[tuple[str, ...], ...]
    """The texts in YAML of the values at the paths, one after another."""


@dataclass(frozen=True)
class Plan:
    """The axes of a sweep, the slowest first, and the values that are the same in all of its cases."""

    axes: tuple[Axis, ...]
    fixed: Mapping[str, str]

    @property
    def shape(self) -> tuple[int, ...]:
        """The length of each axis."""
        return tuple(len(axis.points) for axis in self.axes)

    @property
    def count(self) -> int:
        """The number of cases."""
        return math.prod(self.shape)

    @property
    def paths(self) -> tuple[str, ...]:
        """The paths that vary."""
        return tuple(path for axis in self.axes for path in axis.paths)

    def overrides(self) -> Iterator[dict[str, str]]:
        """The texts by path of each case, the last axis fastest."""
        for points in itertools.product(*(axis.points for axis in self.axes)):
            varied = (zip(axis.paths, point, strict=True) for axis, point in zip(self.axes, points, strict=True))
            yield {**self.fixed, **dict(itertools.chain(*varied))}

    def describe(self) -> str:
        """The paths and the numbers of their values."""
        parts = (f"{', '.join(axis.paths)} ({len(axis.points)})" for axis in self.axes)
        return " x ".join(parts)


def make_plan(
    lists: Mapping[str, Sequence[str]],
    fixed: Mapping[str, str],
    draws: Mapping[str, str],
    *,
    together: bool = False,
    random: int | None = None,
    seed: int = 0,
) -> Plan:
    """The plan of lists of values, distributions and fixed values, by dotted path; raises CaseError.

    Values are texts in YAML. Lists make an axis each, in their order, or one of all if they are taken `together`; what
    is drawn makes one more axis, the first.
    """
    if seed < 0:
        raise CaseError(f"the seed {seed} is below 0; give a whole number of at least 0")
    expanded = {path: tuple(itertools.chain(*(spaced(path, text) for text in texts))) for path, texts in lists.items()}
    _require(expanded, fixed, draws, random)
    axes = [] if random is None else [_drawn_axis(draws, random, seed)]
    if together:
        axes += _together(expanded)
    else:
        axes += [Axis(path.replace(".", "_"), (path,), tuple((text,) for text in expanded[path])) for path in expanded]
    plan = Plan(tuple(axes), dict(fixed))
    if plan.count > MOST_CASES:
        raise CaseError(f"the sweep has {plan.count} cases, at most {MOST_CASES} are run; give fewer values")
    names = [path.replace(".", "_") for path in plan.paths]
    if repeated := next((name for name in names if names.count(name) > 1), ""):
        raise CaseError(f"two paths of the sweep would be called {repeated} in the result; leave one out")
    return plan


def _drawn_axis(draws: Mapping[str, str], random: int, seed: int) -> Axis:
    values = [drawn(path, text, random, seed) for path, text in draws.items()]
    return Axis(DRAWN, tuple(draws), tuple(zip(*values, strict=True)))


def _together(lists: Mapping[str, Sequence[str]]) -> list[Axis]:
    lengths = {path: len(texts) for path, texts in lists.items()}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{path} has {length}" for path, length in lengths.items())
        raise CaseError(f"values that are taken together have to be equally many: {told}")
    return [Axis(TOGETHER, tuple(lists), tuple(zip(*lists.values(), strict=True)))] if lists else []


def _require(
    lists: Mapping[str, Sequence[str]], fixed: Mapping[str, str], draws: Mapping[str, str], random: int | None
) -> None:
    """Refuse what makes no sweep: CaseError."""
    for path, texts in lists.items():
        if not texts or any(not text.strip() for text in texts):
            raise CaseError(f"{path}: the list of its values has an empty entry, or none; give values, as in 0.1,0.2")
        values = [plain_key(parsed_value(path, text)) for text in texts]
        if again := next((text for text, value in zip(texts, values, strict=True) if values.count(value) > 1), ""):
            raise CaseError(f"{path}: the value {again} is given twice; keep one")
    if draws and random is None:
        raise CaseError(f"{', '.join(draws)}: drawn values need their number; add --random 100 (in a case random: 100)")
    if random is not None and not 1 <= random <= MOST_CASES:
        raise CaseError(f"{random} draws; give a number from 1 to {MOST_CASES}")
    if random is not None and not draws:
        raise CaseError("nothing is drawn; give what is, as in 'parameters.k=uniform(0.5, 2)'")
    if not lists and not draws:
        raise CaseError("nothing varies; give lists of values, as in --set flow.epsilon=0.01,0.02")
    everywhere = [*lists, *draws, *fixed]
    for path in everywhere:
        if path.split(".")[0] == "sweep":
            raise CaseError(f"{path}: a sweep cannot vary itself")
        if twice := next((other for other in everywhere if _within(other, path)), ""):
            raise CaseError(f"{twice} and {path}: one is within the other, or both are the same; vary one of them")
    if len(set(everywhere)) < len(everywhere):
        raise CaseError(f"{next(p for p in everywhere if everywhere.count(p) > 1)}: is given twice; give it once")


def _within(inner: str, outer: str) -> bool:
    return inner != outer and inner.startswith(outer + ".")


def plain_key(value: Any) -> str:
    """What tells values from each other: 0.1 and 1e-1 are the same, 1 and "1" are not."""
    return as_text(float(value) if isinstance(value, int) and not isinstance(value, bool) else value)


def values_of(texts: Sequence[str]) -> list[Any]:
    """The coordinate of texts in YAML: numbers where all are numbers, otherwise texts such as "[64]".

    >>> values_of(["1", "2.5"]), values_of(["[64]", "[128]"]), values_of(["upwind", "centred"])
    ([1.0, 2.5], ['[64]', '[128]'], ['upwind', 'centred'])
    """
    values = [parsed_value("sweep", text) for text in texts]
    if all(isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**53 for value in values):
        return values
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        return [float(value) for value in values]
    return [value if isinstance(value, str) else text for value, text in zip(values, texts, strict=True)]
