"""Many cases that differ in their start, parameters, diffusion or potential: what they share is made once."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from fvflow.case import schema
from fvflow.case.build import build_simulation
from fvflow.case.document import Document
from fvflow.case.members import (
    FIGURES,
    Built,
    Member,
    Start,
    copied,
    figures_of,
    in_numbers,
    in_range,
    is_number,
    put,
    run_member,
)
from fvflow.case.overrides import apply_overrides, as_text
from fvflow.case.python_case import plain_values
from fvflow.case.simulation import Simulation
from fvflow.case.stages import Stages
from fvflow.errors import CaseError, FvflowError
from fvflow.fields import Expression
from fvflow.mesh import Array, Mesh
from fvflow.times import TimeGrid

_PATHS = ("initial", "parameters", "flow.epsilon", "flow.potential")
_LEFT_OUT = ("draw", "sweep", "exact", "checks")  # of the cases of members
_TRIED = 100  # members of which one has to be a case
_CHUNK = 16  # members that a thread takes at once


@dataclass(frozen=True)
class Members:
    """The densities of some members of a family, and their figures."""

    density: Any
    """rho (member, time, cell)."""
    figures: Mapping[str, Array]
    """The `FIGURES` of each member (member,)."""
    texts: Sequence[str] = ()
    """What was told of each member (member,)."""


class Family:
    """Members of a case, numbered from 0: each has its own values at some paths, `Case.vary`.

    A member runs as `case(number)` does, to the last bit. What they share is made once: the mesh, the layout, the
    times and what has been read. Raises CaseError for a path that is not below `initial` or `parameters`, nor
    `flow.epsilon` or `flow.potential`; other ones are for a sweep.
    """

    def __init__(self, case: Any, changes: Mapping[str, Sequence[Any]]) -> None:
        self.count = len(next(iter(changes.values()), ()))
        for path, column in changes.items():
            if not any(path == allowed or path.startswith(f"{allowed}.") for allowed in _PATHS):
                raise CaseError(
                    f"{path}: members of a family differ in initial, parameters, flow.epsilon or flow.potential; for "
                    "others use fvflow sweep"
                )
            if len(column) != self.count:
                raise CaseError(f"{path} has {len(column)} values, another path {self.count}; give equally many")
        if not self.count:
            raise CaseError("a family needs members; give values at paths, as in {'parameters.k': [1, 2]}")
        written = case.values if case.document is None else case.document.values
        values = {name: value for name, value in written.items() if name not in _LEFT_OUT}
        if case.start_density.is_exact:
            values["exact"] = written["exact"]
        document = Document("", "case", {}) if case.document is None else case.document
        self._document = dataclasses.replace(document, values=values, overrides={})
        self._changes = changes
        self._of = type(case).of
        first = self._first_that_can_be()
        if not first.flow.steps_in_time:
            raise CaseError(f"flow {first.flow.kind} makes no trajectory in time; families need one that steps")
        self._first = first

    def _first_that_can_be(self) -> Any:
        """The case of the first member whose values are allowed, among a hundred; what is wrong is told of each."""
        try:
            return self.case(0)
        except CaseError:
            for number in range(1, min(self.count, _TRIED)):
                with suppress(CaseError):
                    return self.case(number)
            raise

    def case(self, number: int) -> Any:
        """The case of a member, without checks and closed form; raises CaseError if its values are none."""
        texts = {path: as_text(values[number]) for path, values in self._changes.items()}
        return self._of(apply_overrides(self._document, texts))

    def faults(self) -> dict[int, str]:
        """What is wrong with the values of members, by their numbers; nothing is run."""
        found = dict[int, str]()
        for number in self._doubtful():
            try:
                if self._member(number) is None:
                    self.case(number)
            except CaseError as error:
                found[number] = "; ".join(map(str, error.args))
        return found

    def _doubtful(self) -> Sequence[int]:
        """The members whose values have to be looked at one by one."""
        doubtful = set[int]() if self._shared else set(range(self.count))
        for path, values in self._changes.items():
            if getattr(values, "allowed", False):
                continue
            number = path == "flow.epsilon" or path.startswith("parameters.")
            doubtful |= {
                place
                for place, value in enumerate(values if number else range(self.count))
                if not (number and is_number(value) and (path != "flow.epsilon" or (value >= 0 and in_range(value))))
            }
        return sorted(doubtful)

    @cached_property
    def mesh(self) -> Mesh:
        """The mesh of all members."""
        found: Mesh = self._first.mesh.build()
        return found

    @property
    def files(self) -> list[str]:
        """The files that the members read."""
        found: list[str] = self._first.files
        return found

    @property
    def times(self) -> TimeGrid:
        """The times of all members."""
        found: TimeGrid = self._first.schedule
        return found

    @cached_property
    def _shared(self) -> bool:
        """Whether nothing but the parts that vary depends on them."""
        names = {path.removeprefix("parameters.") for path in self._changes if path.startswith("parameters.")}
        used = in_numbers(self._document.values, self._first.values)
        kept = self._first.exact is None and not self._first.files
        return kept and not names & used and not any(path.startswith("flow.potential.") for path in self._changes)

    def simulation(self, number: int) -> Simulation:
        """A member in arrays, ready to run; raises CaseError as `case(number).prepare()` does."""
        return self._prepared(number, self._member(number))

    def values(self, number: int) -> dict[str, Any]:
        """The case of a member as plain values, as `case(number).values`."""
        return self._values(number, self._member(number))

    def _values(self, number: int, member: Member | None) -> dict[str, Any]:
        if member is None:
            found: dict[str, Any] = self.case(number).values
            return found
        values = {**self._plain, "parameters": dict(member.parameters), "initial": plain_values(member.initial)}
        flow: Any = member.flow
        changed = {
            path.split(".")[1]: getattr(flow, path.split(".")[1]) for path in self._changes if path[:5] == "flow."
        }
        values["flow"] = {**self._plain["flow"], **changed}
        return {name: value for name, value in values.items() if value is not None}

    @cached_property
    def _plain(self) -> dict[str, Any]:
        found: dict[str, Any] = self._first.values
        return found

    def _prepared(self, number: int, member: Member | None) -> Simulation:
        if member is not None:
            try:
                return build_simulation(member, Stages(lambda faults: CaseError(faults[0].message)))
            except FvflowError:
                pass  # said with its place below
        found: Simulation = self.case(number).prepare()
        return found

    def _member(self, number: int) -> Member | None:
        """The parts of a member; None if its values need a closer look."""
        if not self._shared:
            return None
        first = self._first
        flow: Any = first.flow
        parameters, start = dict(first.parameters), None
        for path, values in self._changes.items():
            value = values[number]
            if path.startswith("parameters."):
                if not is_number(value):
                    return None
                parameters[path.removeprefix("parameters.")] = float(value)
            elif path == "flow.epsilon":
                if not is_number(value) or value < 0 or not in_range(value):
                    return None
                flow = dataclasses.replace(flow, epsilon=float(value))
            elif path == "flow.potential":
                if not isinstance(value, str):
                    return None
                flow = dataclasses.replace(flow, potential=value)
            else:
                start = start or {"initial": copied(self._document.values.get("initial"))}
                put(start, path.split("."), value)
        if parameters.keys() != first.parameters.keys():
            return None
        context = {"axes": "xyz"[: self.mesh.dimension], "parameters": parameters, "numbers": parameters}
        initial = first.initial
        if start is not None:
            made, _ = schema.build(Start, start, context=context)
            if made is None:
                return None
            initial = made.initial
        if "flow.potential" in self._changes:
            names = {*context["axes"], *parameters, "t"}
            if not Expression(flow.potential).names <= names or not self.mesh.regions.keys() <= set():
                return None
        return Member(first, Built(self.mesh), flow, initial, parameters)

    def run(
        self,
        start: int = 0,
        stop: int | None = None,
        threads: int = 1,
        dtype: Any = np.float64,
        told: Callable[[dict[str, Any]], str] | None = None,
    ) -> Members:
        """The members from `start` to `stop`, by so many threads; raises the error of the first that fails.

        `told` is given the plain values of each; its texts are in `Members.texts`.

        >>> import fvflow
        >>> case = fvflow.Case.parse("mesh: {kind: box, lower: [-6], upper: [6], cells: [60]}\\n"
        ...     "flow: {kind: fokker-planck, epsilon: 1, potential: 0.5*k*x**2}\\n"
        ...     "initial: {kind: gaussian, mean: [1], covariance: [[0.3]]}\\n"
        ...     "times: {end: 0.1, step: 0.05}\\nparameters: {k: 1}")
        >>> case.vary({"parameters.k": [0.5, 1, 2]}).run().density.shape
        (3, 2, 60)
        """
        stop = self.count if stop is None else stop
        density = np.empty((stop - start, self.times.saves + 1, self.mesh.cells), dtype)
        figures, texts = np.empty((stop - start, len(FIGURES))), [""] * (stop - start)

        def work(first: int) -> None:
            for number in range(first, min(first + _CHUNK, stop)):
                member, place = self._member(number), number - start
                try:
                    figures[place] = figures_of(run_member(self._prepared(number, member), density[place]))
                except FvflowError as error:
                    raise type(error)(f"member {number}: {error}") from error
                texts[place] = "" if told is None else told(self._values(number, member))

        with suppress(CaseError):
            self._member(start)  # so that what is made at the first use, such as the schema, is not made by two threads
        chunks = range(start, stop, _CHUNK)
        if threads <= 1 or len(chunks) == 1:
            for first in chunks:
                work(first)
        else:
            with ThreadPoolExecutor(threads, "fvflow-family") as pool:
                for done in [pool.submit(work, first) for first in chunks]:
                    done.result()
        return Members(density, dict(zip(FIGURES, figures.T, strict=True)), texts)
