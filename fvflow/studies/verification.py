"""Observed orders of a case against those that its methods declare."""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from fvflow.errors import CaseError, OutputError
from fvflow.studies.levels import Ladder, Level, Refine, Report, require_refinable
from fvflow.studies.orders import WITHIN, Remaining, observed_orders, remaining

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from fvflow.case import Case

_ROUND_OFF = 1e-11  # of errors, relative to the field
_FAR = 0.1  # error relative to the field beyond which it need not fall at its order yet
_NUMBERS = ("energy", "w2_solver", "kl", "rate", "quasi_stationary_rate", "mean_first_passage_time", "spectral_gap")
_OBSERVED = ("mean_", "variance_")


@dataclass(frozen=True)
class NumberStudy:
    """A number, such as the energy at the end, on the levels."""

    values: tuple[float, ...]
    orders: tuple[float, ...]
    """Observed orders of its changes; nan where there are none."""
    remaining: Remaining


@dataclass(frozen=True, eq=False)
class Verification:
    """The levels of a case, the finest last, and what they tell of its error."""

    title: str
    refine: Refine
    field: str
    """The name of the field: rho, phi, ..."""
    levels: tuple[Level, ...]
    declared: float | None
    """The order that the methods declare for this refinement; None if they declare none."""
    error: str
    """The name of the error against the closed form; empty if there is none."""
    by_error: bool
    """Whether that is what is judged, or the differences of successive levels."""
    notes: tuple[str, ...]
    observed: tuple[str, ...] = ()
    """The names of the numbers of the case that are told too."""

    @cached_property
    def sizes(self) -> tuple[float, ...]:
        """Cell size of each level; length of a step if only that is refined."""
        return tuple(level.step if self.refine == "time" else level.size for level in self.levels)

    @cached_property
    def errors(self) -> tuple[float, ...]:
        """Error of each level against the closed form; nan without one."""
        return tuple(level.figures.get(self.error, math.nan) for level in self.levels)

    @cached_property
    def differences(self) -> tuple[float, ...]:
        """L1 difference of each level from the one before; nan for the first."""
        return (math.nan, *(coarser.difference(finer) for coarser, finer in pairwise(self.levels)))

    @property
    def least(self) -> float:
        """The error that counts as round-off."""
        return _ROUND_OFF * self.levels[-1].norm

    @cached_property
    def error_orders(self) -> tuple[float, ...]:
        """Observed orders of the errors."""
        return observed_orders(self.errors, self.sizes, self.least)

    @cached_property
    def difference_orders(self) -> tuple[float, ...]:
        """Observed orders of the differences."""
        return (math.nan, *observed_orders(self.differences[1:], self.sizes[1:], self.least))

    @property
    def order(self) -> float:
        """The observed order that is judged, that of the finest levels; nan if there is none."""
        return (self.error_orders if self.by_error else self.difference_orders)[-1]

    @property
    def exact(self) -> bool:
        """Whether the finest levels agree to round-off, with the closed form or with each other."""
        return (self.errors if self.by_error else self.differences)[-1] <= self.least

    @property
    def missed(self) -> bool:
        """Whether the observed order is more than 0.15 below the declared one."""
        return self.declared is not None and not self.exact and not self.order >= self.declared - WITHIN

    @property
    def verdict(self) -> str:
        """The observed order against the declared one, in words."""
        if self.exact:
            return "exact to round-off"
        if self.declared is None:
            return f"order {self.order:.2f} observed, none is declared"
        return f"order {self.order:.2f} observed, {self.declared:g} declared: {'missed' if self.missed else 'ok'}"

    @cached_property
    def remaining(self) -> Remaining:
        """Richardson's estimate of what remains on the finest level."""
        if len(self.levels) < 2 or math.isnan(self.sizes[-1]):
            return Remaining(math.nan, math.nan, "not estimated: one level has no other to compare with")
        return remaining(self.differences, self.sizes, self.declared, self.least)

    @cached_property
    def numbers(self) -> dict[str, NumberStudy]:
        """The energy, the observables and the figures of the case, by name."""
        found = {}
        for name in self.observed:
            values = tuple(level.figures.get(name, math.nan) for level in self.levels)
            changes = (math.nan, *(abs(b - a) for a, b in pairwise(values)))
            least = _ROUND_OFF * max(map(abs, values))
            orders = (math.nan, *observed_orders(changes[1:], self.sizes[1:], least))
            found[name] = NumberStudy(values, orders, remaining(changes, self.sizes, self.declared, least))
        return found

    @property
    def remarks(self) -> list[str]:
        """What was left out, and, where an order is missed, what may be why."""
        found = list(self.notes)
        if self.missed and self.by_error and self.difference_orders[-1] >= (self.declared or 0.0) - WITHIN:
            found.append(
                f"the differences of levels fall at order {self.difference_orders[-1]:.2f}: what does not fall is the "
                "distance between what the levels approach and the closed form, such as that of another domain"
            )
        if self.missed and self.by_error and (share := self.errors[-1] / self.levels[-1].norm) > _FAR:
            found.append(
                f"the error on the finest level is still {100 * share:.2g} % of the field: orders are those of small "
                "errors, which finer levels have"
            )
        if self.missed:
            found += [remark for remark in self.levels[-1].remarks if remark not in found]
        return found

    def rows(self) -> list[dict[str, Any]]:
        """One row for each level, by column."""
        columns = zip(
            self.levels, self.errors, self.error_orders, self.differences, self.difference_orders, strict=True
        )
        rows = []
        for number, (level, error, order, difference, difference_order) in enumerate(columns):
            row: dict[str, Any] = {
                "resolution": 2.0**level.power,
                "cells": level.mesh.cells,
                "size": level.size,
                "steps": level.steps,
                "step": level.step,
            }
            if self.error:
                row |= {self.error: error, "order": order}
            row |= {"difference": difference, "difference_order": difference_order}
            rows.append(row | {name: study.values[number] for name, study in self.numbers.items()})
        return rows

    @property
    def json(self) -> dict[str, Any]:
        """All of it by name."""
        left = self.remaining
        return {
            "title": self.title,
            "in": self.refine,
            "field": self.field,
            "judged": self.error if self.by_error else "difference",
            "declared": self.declared,
            "order": self.order,
            "missed": self.missed,
            "verdict": self.verdict,
            "remaining": left.estimate,
            "bound": left.estimate * left.factor,
            "confidence": left.sentence,
            "levels": self.rows(),
            "numbers": {
                name: {"order": study.orders[-1], "remaining": study.remaining.estimate}
                for name, study in self.numbers.items()
            },
            "remarks": self.remarks,
        }

    def save_csv(self, path: str | os.PathLike[str]) -> None:
        """Write the rows; raises OutputError."""
        write_csv(path, self.rows())

    def figure(self) -> Figure:
        """Errors and differences over the size of cells or steps, with the slope of the declared order."""
        from fvflow import plot

        curves = {self.error: self.errors} if self.error else {}
        label = "step" if self.refine == "time" else "cell size"
        curves |= {"difference of levels": self.differences}
        return plot.orders(self.sizes, curves, self.declared, label=label, title=self.title)


def write_csv(path: str | os.PathLike[str], rows: Sequence[dict[str, Any]]) -> None:
    """Write rows of the same columns as .csv; raises OutputError."""
    try:
        with open(path, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    except OSError as error:
        raise OutputError(f"{os.fspath(path)}: cannot be written ({error.strerror}); give another name") from None


def verify(
    case: Case,
    levels: int = 4,
    refine: Refine = "both",
    *,
    seconds: float = 60.0,
    report: Report = lambda sentence: None,
) -> Verification:
    """Run a case on several levels, each of twice the resolution of the one before, and observe its order.

    `refine` is "space" (the mesh, `refined`), "time" (the steps) or "both". With a closed form the error against it is
    judged where both are refined; otherwise, and in space or time alone, where the other error does not fall, the
    differences of successive levels are, L1 in the cells of the coarser one. Finer levels are run as long as one can
    be expected to take no more than `seconds` of CPU time, then coarser ones. Raises CaseError for a case that cannot
    be refined, and if too few levels could be run.
    """
    require_refinable(case, levels, refine)
    ladder = Ladder(case, levels, refine, seconds, report)
    ladder.climb()
    exact = case.exact
    error = next((name for name in exact.figures if name in ladder.levels[0].figures), "") if exact is not None else ""
    by_error = bool(error) and refine == "both" and not (exact is None or exact.stationary or exact.of_steps)
    needed = 2 if by_error else 3
    if len(ladder.levels) < needed:
        told = "; ".join(ladder.notes)
        raise CaseError(
            f"{len(ladder.levels)} of the levels could be run, an order needs {needed}"
            + (f": {told}" if told else "; give more levels")
        )
    names = tuple(_names(ladder.levels[0], case))
    found = tuple(ladder.levels)
    declared = declared_order(case, refine)
    return Verification(
        case.title, refine, case.flow.drawn[0], found, declared, error, by_error, tuple(ladder.notes), names
    )


def declared_order(case: Case, refine: Refine) -> float | None:
    """The order that the methods of a case declare for a refinement; None if they declare none."""
    space, time = case.flow.order_in_space, case.flow.order_in_time
    if refine == "time":
        return None if space is None or time == math.inf else time
    if space is None:
        return None
    return space if refine == "space" else min(space, time)


def _names(level: Level, case: Case) -> Iterator[str]:
    """The numbers that are told of a case."""
    observed = [prefix + name for prefix in _OBSERVED for name in case.observe]
    for name in (*_NUMBERS, *observed):
        if math.isfinite(level.figures.get(name, math.nan)):
            yield name
