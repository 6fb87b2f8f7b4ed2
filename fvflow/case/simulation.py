"""A case in arrays: what runs, what it stores, and what is said of it before and after."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from fvflow.case.mesh_report import about_mesh
from fvflow.case.runtime_estimate import RuntimeEstimate
from fvflow.diagnostics import ENERGY, ERRORS, FLUX, LEDGER, STEPS, RunStatistics, diagnostics_at
from fvflow.evi import EviMonitor
from fvflow.exact import Reference
from fvflow.march import Adaptive, Moment, Watch, Watchers, at_save_times, observed
from fvflow.mesh import Mesh
from fvflow.problems import State, Transport

if TYPE_CHECKING:
    from fvflow.case.core import Case
    from fvflow.dataset import Frame


class Simulation:
    """A case in arrays, ready to run once."""

    def __init__(self, case: Case, mesh: Mesh, problem: Any, initial: State, reference: Reference | None) -> None:
        self.case, self.mesh, self.problem, self.initial, self.reference = case, mesh, problem, initial, reference
        self.times, self.each = case.schedule, case.flow.energy_each_step
        self._begin()

    def _begin(self) -> None:
        """Forget a run."""
        mesh, problem = self.mesh, self.problem
        self.solved: dict[str, float] = {}  # the figures of the whole run that the flow knows
        self.watch = RunStatistics(mesh)
        if self.each:
            self.watch.energy = lambda state: problem.energy(state.time).value(state.density)
            self.watch.convexity = EviMonitor.of(mesh, problem.energy(0.0), self.initial)
        self._last: dict[str, Any] = {}
        self._worst: dict[str, float] = {}  # errors of all saved times

    def frames(self, watch: Watch | None = None) -> Iterator[Frame]:
        """What is stored at each saved time; each call is a run of its own, `watch` being told how far it is."""
        from fvflow.dataset import Frame

        self._begin()
        progress = Watchers(*([] if watch is None else [watch]))
        states = self.case.flow.states(self.problem, self.initial, self.times, progress)
        for state in at_save_times(observed(states, self.watch, progress.step), self.times):
            self._take(state)
            self._last = diagnostics_at(self.problem, state, self.reference) | (
                self.watch.series() if self.each else {}
            )
            for name in (name for name in ERRORS if name in self._last):
                self._worst[name] = max(self._last[name], self._worst.get(name, 0.0))
            on_faces = self.case.flow.face_fields()
            fields = {name: values for name, values in state.fields.items() if name not in on_faces}
            face_fields = {name: state.fields[name] for name in on_faces}
            if self.case.output.fluxes:
                face_fields["flux"] = self.problem.flux(state.density, state.time)
            yield Frame(state.time, state.density, self._last, fields, face_fields)

    def _take(self, state: State) -> None:
        """Keep the figures of the whole run."""
        if state.figures and not self.solved:
            self.solved = dict(state.figures)
            exact = getattr(self.reference, "distance", None)
            if exact is not None and "w2" in self.solved:
                scale = exact if exact > 0 else 1.0
                self.solved["w2_error"] = abs(self.solved["w2"] - exact) / scale
                self.solved["w2_solver_error"] = abs(self.solved["w2_solver"] - exact) / scale

    def layout(self) -> Any:
        """The variables of the result file."""
        from fvflow import dataset

        return dataset.Layout(
            self.mesh,
            LEDGER
            | ({} if isinstance(self.problem, Transport) else ENERGY)
            | (STEPS if self.each else {})
            | (ERRORS if self.reference is not None else {}),
            self.case.output.precision == "single",
            self.case.output.compression,
            self.case.flow.fields(self.mesh),
            self.case.flow.face_fields() | ({"flux": FLUX} if self.case.output.fluxes else {}),
        )

    def attributes(self) -> dict[str, Any]:
        """The global attributes that are known before the run."""
        resolved = json.dumps(self.case.values)
        return {"title": self.case.title or "fvflow run", "case": self.case.text, "resolved_case": resolved}

    def positivity(self) -> str:
        """A sentence on whether the method keeps densities non-negative."""
        longest = self.case.flow.positive_step(self.problem)
        step = self.times.longest
        if longest == np.inf:
            return "unconditional"
        if longest == 0 and self.case.flow.caveat and self.problem.monotone:
            return f"not guaranteed: {self.case.flow.caveat}"
        if longest == 0:
            return "not guaranteed: a centred flux is not monotone where the Peclet number is, or may come, above 2"
        if not self.case.flow.drift(dict(self.case.parameters)).steady:
            return f"not guaranteed: the drift moves; at t = 0 the longest step is {longest:.3g}; look at minimum"
        if step <= longest:
            return f"guaranteed: step {step:g} is at most {longest:.3g}"
        return f"not guaranteed: step {step:g} is above {longest:.3g}; look at minimum, or use implicit-euler"

    def report(self) -> dict[str, Any]:
        """What the run would be: mesh, method, cost and whatever deserves a look before it starts."""
        case, mesh = self.case, self.mesh
        report: dict[str, Any] = {
            "mesh": f"{case.mesh.kind}, {' x '.join(map(str, reversed(mesh.shape)))} cells, {mesh.faces} faces",
            **about_mesh(mesh, self.initial.density),
            "walls": self._walls(),
            "steps": self._steps(),
            "method": case.flow.method(mesh.extent),
            "positivity": self.positivity(),
        }
        peclet = case.flow.peclet(self.problem)
        if peclet is not None:
            report["Peclet number"] = f"at most {peclet:.3g} at t = 0 (|v| d/epsilon over a face)"
        numerical_diffusion = case.flow.numerical_diffusion(self.problem)
        if numerical_diffusion is not None:
            report["numerical diffusion"] = f"up to {numerical_diffusion:.3g} at t = 0 (|v| d/2 of upwinding)"
        unused = case.unused_parameters()
        if unused:
            report["unused"] = f"parameters {', '.join(unused)}: no expression names them"
        report["memory"] = f"about {_sized(case.flow.memory(mesh.extent) + 150 * 2**20)}, Python's own 150 MiB included"
        report["result"] = f"about {_sized(self._file_bytes())}"
        if not isinstance(self.problem, Transport) and not isinstance(self.times, Moment):
            report["time"] = RuntimeEstimate(self).told()
        return report

    def _steps(self) -> str:
        times = self.times
        frames = f"{times.saves + 1} frames"
        if isinstance(times, Moment):
            return "none, 1 frame"
        if isinstance(times.step, Adaptive):
            return f"chosen by their error, the first {times.first:g}, {frames}"
        given = self.case.times
        exact = ", exact in time whatever the tolerance" if given and isinstance(given.step, Adaptive) else ""
        return f"{times.steps} of at most {times.first:g}{exact}, {frames}"

    def _file_bytes(self) -> float:
        """Size of the result: frames, geometry, and what netCDF itself takes."""
        mesh, frames = self.mesh, self.times.saves + 1
        geometry = 24 * len(mesh.points) + 4 * mesh.plot_cells.size + 8 * mesh.cells
        return float(frames * self.layout().frame_bytes + geometry + 80_000)

    def _walls(self) -> str:
        """How hard the drift pushes against the walls at time 0."""
        drift = self.case.flow.drift(dict(self.case.parameters))
        if drift.absent or drift.regional:
            return "no flux"
        centre, outward = self.mesh.walls
        step = 1e-3 * float(self.mesh.volume.min()) ** (1 / self.mesh.dimension)
        near, far = (drift.velocity_at(centre - depth * step * outward, 0.0, step) for depth in (2, 4))
        out = float(((2 * near - far) * outward).sum(axis=1).max())  # from within, where the drift is defined
        if out <= 1e-4 * float(np.abs(near).max()):
            return "no flux; the drift does not point out of the domain at t = 0"
        return f"no flux; the drift points out with up to {out:.3g} at t = 0 and mass will pile up there"

    def closing(self) -> dict[str, Any]:
        """The global attributes that are known after the run."""
        missed = "; ".join(check.sentence for check in self.case.checks.missed(self.figures())) or "none"
        return {**self.watch.summary(), **self.solved, "positivity": self.positivity(), "checks_missed": missed}

    def figures(self) -> dict[str, Any]:
        """The figures of the whole run: the worst of every step, the ledger at the end; of a geodesic, its worst."""
        last: dict[str, Any] = dict(self.solved)
        if isinstance(self.problem, Transport):  # whose ends are given: the worst time tells
            return {**self.watch.summary(), **last, **self._worst}
        last |= {name: self._last[name] for name in ("energy", *ERRORS) if name in self._last}
        return {**self.watch.summary(), **last}


def _sized(size: float) -> str:
    """Bytes as a person reads them."""
    for unit in ("KiB", "MiB", "GiB"):
        size /= 1024
        if size < 1000:
            return f"{size:.3g} {unit}"
    return f"{size / 1024:.3g} TiB"
