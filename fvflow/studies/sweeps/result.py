"""The result of a sweep: one netCDF file whose dimensions are the swept paths."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fvflow.dataset.groups import FIGURES
from fvflow.dataset.layout import SOURCE
from fvflow.dataset.netcdf import flushed_rename, output_errors
from fvflow.dataset.sweeps import STUDY
from fvflow.diagnostics import DIAGNOSTICS, ENERGY, ERRORS, RELATIVE_ENTROPY, STEPS
from fvflow.errors import CaseError
from fvflow.studies.sweeps.frames import FrameTables
from fvflow.studies.sweeps.outcome import Outcome
from fvflow.studies.sweeps.plan import Plan, values_of
from fvflow.version import __version__

_TEXTS = {
    "status": "ok, missed (a check of the case) or failed",
    "case_hash": "what the case is recognised by: SHA-256 of all that its outcome depends on",
    "error": "the message of a case that failed, or the checks that it missed",
    "remarks": "what lowered the order, the resolution or the meaning of the result of the case",
}


@dataclass(frozen=True)
class SweepResult:
    """The outcomes of all cases of a plan, in its order, on their way to a file."""

    plan: Plan
    keys: Sequence[str]
    outcome: Callable[[str], Outcome]
    """The outcome of a case by its key."""
    attributes: Mapping[str, str]
    """Global attributes: title, case, ..."""
    _tables: FrameTables = field(default_factory=FrameTables, init=False)

    def write(self, path: Path, temporary: Path) -> None:
        """Put the file in place in one atomic step; raises OutputError, CaseError if two names are the same.

        What is in it depends on the plan and the outcomes alone: not on when and where they were computed.
        """
        import netCDF4

        with output_errors(path):
            with netCDF4.Dataset(temporary, "w", format="NETCDF4") as file:
                self._fill(file)
            flushed_rename(temporary, path)

    def _outcomes(self) -> Iterator[tuple[tuple[int, ...], Outcome]]:
        """The place of each case and its outcome."""
        for place, key in zip(np.ndindex(*self.plan.shape), self.keys, strict=True):
            yield place, self.outcome(key)

    def _fill(self, file: Any) -> None:
        file.setncatts({"Conventions": "CF-1.11", "source": f"{SOURCE} {__version__}", "study": STUDY})
        file.setncatts({**self.attributes, "swept": json.dumps(self.plan.paths)})
        for axis, length in zip(self.plan.axes, self.plan.shape, strict=True):
            file.createDimension(axis.name, length)
        self._fill_coordinates(file)
        texts = {name: np.full(self.plan.shape, "", object) for name in _TEXTS}
        codes, figures = np.zeros(self.plan.shape, "i4"), dict[str, Any]()
        for place, outcome in self._outcomes():
            told = (outcome.status, outcome.key, outcome.error, outcome.remarks)
            for name, text in zip(_TEXTS, told, strict=True):
                texts[name][place] = text
            codes[place] = outcome.exit_code
            for name, value in outcome.figures.items():
                figures.setdefault(name, np.full(self.plan.shape, np.nan))[place] = value
            self._tables.see(outcome)
        self._fill_texts(file, texts, codes)
        self._fill_figures(file, figures)
        self._tables.define(file, self._dims, self.plan.shape)
        for number, (place, outcome) in enumerate(self._outcomes()):
            self._tables.store(file, number, place, outcome)
        self._tables.finish(file)

    @property
    def _dims(self) -> tuple[str, ...]:
        return tuple(axis.name for axis in self.plan.axes)

    def _fill_coordinates(self, file: Any) -> None:
        for axis in self.plan.axes:
            for number, path in enumerate(axis.paths):
                values = values_of([point[number] for point in axis.points])
                dtype = {int: "i8", float: "f8"}.get(type(values[0]), str)
                variable = file.createVariable(path.replace(".", "_"), dtype, (axis.name,))
                variable.setncatts({"long_name": f"value of {path}", "path": path})
                variable[:] = np.array(values, object if dtype is str else dtype)

    def _fill_texts(self, file: Any, texts: Mapping[str, Any], codes: Any) -> None:
        for name, values in texts.items():
            variable = file.createVariable(name, str, self._dims)
            variable.long_name = _TEXTS[name]
            variable[...] = values
        code = file.createVariable("exit_code", "i4", self._dims)
        code.long_name = "exit code of fvflow run on the case"
        code[...] = codes

    def _fill_figures(self, file: Any, figures: Mapping[str, Any]) -> None:
        """A variable for each figure; nan where the case has none."""
        for name, values in figures.items():
            if name in file.variables:
                raise CaseError(f"{name} is a path of the sweep and a figure of its cases; sweep over another path")
            variable = file.createVariable(name, "f8", self._dims, fill_value=np.nan, fletcher32=True)
            variable.setncatts({"long_name": FIGURES.get(name) or _diagnostic(name), "role": "figure"})
            variable[...] = values


def _diagnostic(name: str) -> str:
    known = {**DIAGNOSTICS, **ENERGY, **RELATIVE_ENTROPY, **STEPS, **ERRORS}
    found = known.get(name)
    return name.replace("_", " ") if found is None else found.long_name
