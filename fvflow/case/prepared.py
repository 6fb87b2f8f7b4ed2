"""A case in arrays: what runs, what it stores, and what is said of it before and after."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from fvflow.exact import Reference
from fvflow.flows import WassersteinFlow
from fvflow.ledger import ERRORS, Watch, entry
from fvflow.march import every, tee
from fvflow.mesh import Array, Mesh
from fvflow.problems import State

if TYPE_CHECKING:
    from fvflow.case.core import Case


class Prepared:
    """A case in arrays, ready to run once."""

    def __init__(self, case: Case, mesh: Mesh, problem: Any, initial: State, reference: Reference | None) -> None:
        self.case, self.mesh, self.problem, self.initial, self.reference = case, mesh, problem, initial, reference
        variational = isinstance(case.flow, WassersteinFlow)
        energy = (lambda state: problem.energy(state.time).value(state.density)) if variational else None
        self.watch = Watch(mesh, energy)
        self._last: dict[str, Any] = {}

    def frames(self, watch: Any = None) -> Iterator[dict[str, Any]]:
        """What is stored at each saved time: time, rho and the ledger."""
        watchers = [self.watch] if watch is None else [self.watch, watch]
        states = self.case.flow.states(self.problem, self.initial, self.case.times)
        for state in every(tee(states, *watchers), self.case.times):
            self._last = entry(self.problem, state, self.reference)
            yield {"time": state.time, "rho": state.density, **self._last}

    def layout(self) -> Any:
        """The variables of the result file."""
        from fvflow import dataset

        return dataset.Layout(
            self.mesh, self.reference is not None, self.case.output.precision == "single", self.case.output.compression
        )

    def attributes(self) -> dict[str, Any]:
        """The global attributes that are known before the run."""
        resolved = json.dumps(self.case.values)
        return {"title": self.case.title or "fvflow run", "case": self.case.text, "resolved_case": resolved}

    def positivity(self) -> str:
        """A sentence on whether the method keeps densities non-negative."""
        longest = self.case.flow.positive_step(self.problem)
        step = self.case.times.step
        if longest == np.inf:
            return "unconditional"
        if step <= longest:
            return f"guaranteed: step {step:g} is at most {longest:.3g}"
        return f"not guaranteed: step {step:g} is above {longest:.3g}; look at minimum, or use implicit-euler"

    def report(self) -> dict[str, Any]:
        """What the run would be: mesh, method, cost and whatever deserves a look before it starts."""
        case, mesh, layout = self.case, self.mesh, self.layout()
        widths = [np.diff(edge) for edge in layout.edges]
        report: dict[str, Any] = {
            "mesh": f"{case.mesh.kind}, {' x '.join(map(str, reversed(mesh.shape)))} cells, {mesh.faces} faces",
            "cell size": ", ".join(f"{width.min():.4g} to {width.max():.4g}" for width in widths),
            "walls": self._walls(),
            "steps": f"{case.times.steps} of at most {case.times.step:g}, {case.times.saves + 1} frames",
            "method": case.flow.method(mesh),
            "positivity": self.positivity(),
        }
        peclet = case.flow.peclet(self.problem)
        if peclet is not None:
            report["Peclet number"] = f"at most {peclet:.3g} (|v| d/epsilon over a face)"
        memory = case.flow.memory(mesh)
        report["memory"] = f"about {max(memory >> 20, 1)} MiB beside Python's own 150 MiB"
        size = (case.times.saves + 1) * layout.frame_bytes + 8 * mesh.cells * (2 + 2**mesh.dimension)
        report["result"] = f"about {max(size >> 10, 1)} KiB"
        return report

    def _walls(self) -> str:
        """How hard the drift pushes against the walls at time 0."""
        drift = self.case.flow.drift(dict(self.case.parameters))
        outward = 0.0
        for axis, sign, points, step in _wall_points(self.mesh, self.layout().edges):
            if not drift.absent:
                outward = max(outward, float((sign * drift.velocity_at(points, 0.0, step)[:, axis]).max()))
        if outward <= 1e-9:
            return "no flux; the drift does not point out of the box at t = 0"
        return f"no flux; the drift points out with up to {outward:.3g} at t = 0 and mass will pile up there"

    def closing(self) -> dict[str, Any]:
        """The global attributes that are known after the run."""
        return {**self.watch.summary(), "positivity": self.positivity()}

    def figures(self) -> dict[str, Any]:
        """The figures of the whole run: the worst of every step, and the ledger at the end."""
        last: dict[str, Any] = {name: self._last[name] for name in ("energy", *ERRORS) if name in self._last}
        return {**self.watch.summary(), **last}


def _wall_points(mesh: Mesh, edges: tuple[Array, ...]) -> Iterator[tuple[int, float, Array, float]]:
    """For each wall of a box: axis, outward sign, a point just inside it for each cell there, and a small step."""
    step = 1e-3 * min(float(np.diff(edge).min()) for edge in edges)
    for axis, edge in enumerate(edges):
        for sign, wall, inner in ((-1.0, edge[0], edge[1]), (1.0, edge[-1], edge[-2])):
            layer = np.abs(mesh.centre[:, axis] - 0.5 * (wall + inner)) < 0.25 * abs(wall - inner)
            points = mesh.centre[layer]
            points[:, axis] = wall - sign * 2 * step
            yield axis, sign, points, step
