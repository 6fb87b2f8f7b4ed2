"""A case in arrays, as an iterator of frames."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from fvflow.case.checks import Output
from fvflow.diagnostics import ENERGY, ERRORS, FLUX, LEDGER, STEPS, RunStatistics, diagnostics_at
from fvflow.exact import Reference
from fvflow.flows import BaseFlow
from fvflow.march import at_save_times, observed
from fvflow.mesh import Mesh
from fvflow.problems import State
from fvflow.times import TimeGrid


@dataclass
class Simulation:
    """One run: the flow, its problem in arrays, its start, its times; `statistics` are those of the last run."""

    flow: BaseFlow
    mesh: Mesh
    problem: Any
    initial: State
    times: TimeGrid
    output: Output = Output()
    reference: Reference | None = None
    statistics: RunStatistics = field(init=False)

    def __post_init__(self) -> None:
        self.statistics = self._fresh_statistics()

    def _fresh_statistics(self) -> RunStatistics:
        return RunStatistics.of(self.problem, self.initial, self.reference, self.flow.energy_each_step)

    def frames(self, watch: Any = None) -> Iterator[dict[str, Any]]:
        """What is stored at each saved time: time, rho, fields and diagnostics; each call is a run of its own."""
        statistics = self.statistics = self._fresh_statistics()
        watchers = [statistics] if watch is None else [statistics, watch]
        states = self.flow.states(self.problem, self.initial, self.times, watch)
        for state in at_save_times(observed(states, *watchers), self.times):
            diagnostics = diagnostics_at(self.problem, state, self.reference)
            diagnostics |= statistics.saved(state, diagnostics)
            fluxes = {"flux": self.problem.flux(state.density, state.time)} if self.output.fluxes else {}
            yield {"time": state.time, "rho": state.density, **fluxes, **state.fields, **diagnostics}

    def figures(self) -> dict[str, Any]:
        """The figures of the last run."""
        return self.statistics.figures(self.flow.judged_at_every_time)

    def positivity(self) -> str:
        """A sentence on whether the method keeps densities non-negative."""
        return self.flow.positivity(self.problem, self.times)

    def layout(self) -> Any:
        """The variables of the result."""
        from fvflow import dataset

        diagnostics = dict(LEDGER)
        if self.problem.energy(0.0) is not None:
            diagnostics |= ENERGY
        if self.flow.energy_each_step:
            diagnostics |= STEPS
        if self.reference is not None:
            diagnostics |= ERRORS
        return dataset.Layout(
            self.mesh,
            diagnostics,
            self.output.precision == "single",
            self.output.compression,
            self.flow.fields(self.mesh),
            self.flow.face_fields() | ({"flux": FLUX} if self.output.fluxes else {}),
        )


def opening_attributes(title: str, text: str, values: dict[str, Any]) -> dict[str, Any]:
    """The global attributes of a result that are known before the run."""
    return {"title": title or "fvflow run", "case": text, "resolved_case": json.dumps(values)}
