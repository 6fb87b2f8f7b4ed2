"""What the commands say of a run and of its result, as rows of a table and sentences."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fvflow.cli.printing import number, plain

if TYPE_CHECKING:
    import xarray

    from fvflow.case import Case, MissedCheck, Simulation

_FIRST = ("mass_drift", "minimum", "energy", "error_l1", "error_l2", "error_linf", "w2", "w2_lower", "w2_upper")
_COUNTS = ("iterations", "halvings", "fallbacks", "switches")  # not told if they are 0
_NOISE = ("Conventions", "references", "comment", "drawn")  # for programs
_LONGEST = 300  # characters of a text that a summary repeats


def run_rows(
    case: Case,
    simulation: Simulation,
    path: Path,
    figures: Mapping[str, Any],
    wall: float,
    missed: Sequence[MissedCheck],
    before: int | None = None,
) -> Iterator[tuple[str, str]]:
    """The file, the steps, and the figures with their bounds, of a run that has just ended.

    `wall` are the seconds that it took, `before` the steps until it was resumed; None if it was not.
    """
    count = simulation.times.saves + 1
    frames = f"{count} frames" if count > 1 else "1 frame"
    yield "result", f"{path} (+ {path.with_suffix('.xmf2').name} for ParaView), {frames}"
    steps = f"{figures['steps']} to t = {figures['time']:g}" if count > 1 else "none"
    since = "" if before is None else f", {figures['steps'] - before} of them since the resume,"
    yield "steps", f"{steps}{since} in {wall:.2f} s"
    yield "positivity", simulation.positivity()
    if note := simulation.untold_error_in_time():
        yield "error in time", note
    bounds = {name: bound for name, bound in vars(case.checks).items() if bound is not None}
    failed = {check.name for check in missed}
    for name, value in _told(figures):
        verdict = "missed" if name in failed else "ok"
        bound = f"  (allowed {bounds[name]:g})  {verdict}" if name in bounds else ""
        yield name.replace("_", " "), f"{value:.6g}{bound}"


def _told(figures: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The figures without steps and time, which stand elsewhere, and without counts of nothing."""
    for name, value in figures.items():
        if name not in ("steps", "time") and not (name in _COUNTS and value == 0):
            yield name, value


class Summary:
    """What `fvflow info` tells of a result: figures, checks and remarks, sizes and times, then the rest."""

    def __init__(self, ds: xarray.Dataset, file: Path) -> None:
        from fvflow.dataset import title_of

        self._file = file
        given = {str(name): plain(value) for name, value in ds.attrs.items() if name not in _NOISE}
        self.title = title_of(ds, file)
        self.texts = {name: value for name, value in given.items() if isinstance(value, str) and name != "title"}
        self.missed = self.texts.pop("checks_missed", None)  # None: the run did not come to its end
        told = self.texts.pop("remarks", "none")
        self.remarks = [] if told == "none" else told.splitlines()
        self.texts = {name: text for name, text in self.texts.items() if len(text) <= _LONGEST and "\n" not in text}
        figures = {name: value for name, value in given.items() if not isinstance(value, str)}
        self.times = [float(time) for time in ds["time"].values]
        self.end = {str(n): plain(ds[n].values[-1]) for n in ds if self.times and ds[n].dims == ("time",)}
        shown = ("time", *ds["rho"].dims, "particle")
        self.sizes = {str(name): size for name, size in ds.sizes.items() if name in shown}
        self.figures = {name: figures[name] for name in (*_FIRST, *figures) if name in figures}

    @property
    def json(self) -> dict[str, Any]:
        """All of it by name."""
        return {
            "file": str(self._file),
            "title": self.title,
            **self.figures,
            "checks_missed": self.missed,
            "remarks": self.remarks,
            "sizes": self.sizes,
            "times": [self.times[0], self.times[-1]] if self.times else [],
            **self.texts,
            "end": self.end,
        }

    def rows(self) -> Iterator[tuple[str, str]]:
        """All of it as rows of a table."""
        yield "file", str(self._file)
        for name, value in _told(self.figures):
            yield name.replace("_", " "), number(value)
        if self.missed is not None:
            yield "checks missed", self.missed
        elif self.times:
            yield "unfinished", f"the run was cut short; its frames go up to t = {self.times[-1]:g}"
        for sentence in self.remarks:
            yield "remark", sentence
        yield "size", ", ".join(f"{size} {name}" for name, size in self.sizes.items())
        if len(self.times) > 1:
            steps = f", {self.figures['steps']} steps" if self.figures.get("steps") else ""
            yield "times", f"{self.times[0]:g} to {self.times[-1]:g}{steps}"
        for name, text in self.texts.items():
            yield name.replace("_", " "), text
        for name, value in _told(self.end):
            if value != self.figures.get(name) and not math.isnan(value):
                yield f"{name.replace('_', ' ')} at the end", number(value)
