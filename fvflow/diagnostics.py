"""What a run reports: at each saved time, and over every step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fvflow.energies import EntropyTerm
from fvflow.evi import EviMonitor
from fvflow.exact import Reference
from fvflow.linalg import inner
from fvflow.mesh import Array, Mesh
from fvflow.problems import OutputVariable, Problem, State, dissipation

DENSITY = OutputVariable(("cell",), "density")
FLUX = OutputVariable(("face",), "what crosses the face per unit time, from the owner to the neighbour")
LEDGER = {
    "mass": OutputVariable((), "total mass"),
    "minimum": OutputVariable((), "smallest density"),
    "maximum": OutputVariable((), "largest density"),
    "entropy": OutputVariable((), "entropy int rho log rho; infinite where a density is negative"),
    "mean": OutputVariable(("axis",), "mean position"),
    "covariance": OutputVariable(("axis", "axis_2"), "covariance of the cell centres weighted by mass"),
    "steps": OutputVariable((), "steps so far"),
    "iterations": OutputVariable((), "solver iterations in the last step"),
}
ENERGY = {
    "energy": OutputVariable((), "energy; infinite where a density is negative"),
    "dissipation": OutputVariable((), "rate of energy loss, the potential held fixed"),
}
STEPS = {  # of a gradient flow
    "length": OutputVariable((), "length of the last step"),
    "cost": OutputVariable((), "energy that the steps so far account for: transport cost, or dissipation"),
    "balance": OutputVariable((), "energy minus that of the start plus cost; at most 0 for ljko, 0 for midpoint"),
    "residual": OutputVariable((), "largest residual of continuity since the last frame, relative to the mass"),
    "optimality": OutputVariable(
        (), "largest |phi + kinetic - E'(rho)| since the last frame, relative to the range of E'"
    ),
    "halvings": OutputVariable((), "steps cut in two so far, since they did not converge"),
    "fallbacks": OutputVariable((), "steps left to ljko so far"),
}
ERRORS = {
    "error_l1": OutputVariable((), "sum |K| |rho_K - exact|"),
    "error_l2": OutputVariable((), "square root of sum |K| |rho_K - exact|^2"),
    "error_linf": OutputVariable((), "largest |rho_K - exact|"),
}


def diagnostics_at(problem: Problem, state: State, reference: Reference | None) -> dict[str, Any]:
    """The diagnostics of one state: LEDGER, ENERGY if the problem has one, ERRORS if there is a reference."""
    mesh, density = problem.mesh, state.density
    mean, covariance = moments(mesh, density)
    values: dict[str, Any] = {
        "mass": inner(mesh.volume, density),
        "minimum": float(density.min()),
        "maximum": float(density.max()),
        "entropy": float(mesh.volume @ EntropyTerm(1.0).value(density)),
        "mean": mean,
        "covariance": covariance,
        "steps": state.step,
        "iterations": state.iterations,
    }
    energy = problem.energy(state.time)
    if energy is not None:
        values["energy"] = energy.value(density)
        values["dissipation"] = dissipation(problem, density, state.time)
    if reference is not None:
        values |= errors(mesh, density, reference.average(state.time))
    return values


def moments(mesh: Mesh, density: Array) -> tuple[Array, Array]:
    """Mean (axis,) and covariance (axis, axis) of the masses at the cell centres."""
    weight = mesh.volume * density
    weight = weight / weight.sum()
    mean = weight @ mesh.centre
    offset = mesh.centre - mean
    return mean, (offset * weight[:, None]).T @ offset


def errors(mesh: Mesh, density: Array, exact: Array) -> dict[str, float]:
    """L1, L2 and L-infinity distance of two densities (cell,)."""
    off = np.abs(density - exact)
    return {
        "error_l1": float(mesh.volume @ off),
        "error_l2": float(np.sqrt(mesh.volume @ off**2)),
        "error_linf": float(off.max()),
    }


@dataclass
class RunStatistics:
    """Figures of one run: the worst of every step, saved or not, and what the flow and the closed form add."""

    mesh: Mesh
    energy: Callable[[State], float] | None = None  # None: not asked for at every step
    mass_drift: float = 0.0  # max |m(t)/m(0) - 1|
    minimum: float = np.inf
    energy_increase: float = -np.inf  # max E^{n+1} - E^n
    correction: float = 0.0
    iterations: int = 0
    energy_defect: float = -np.inf  # max E^{n+1} - E^n + what the step accounts for
    halvings: int = 0
    fallbacks: int = 0
    rejections: int = 0
    steps: int = 0
    time: float = 0.0
    convexity: EviMonitor | None = None
    cost: float = 0.0
    length: float = 0.0
    residual: float = 0.0  # the worst since the last frame, as the next
    optimality: float = 0.0
    _energy: float = field(default=np.inf, repr=False)
    _start: float = field(default=np.nan, repr=False)  # the first energy
    reference: Reference | None = None
    solved: dict[str, float] = field(default_factory=dict)  # figures of the whole run that the flow gives
    last: dict[str, float] = field(default_factory=dict)  # energy and errors of the last frame
    worst: dict[str, float] = field(default_factory=dict)  # errors, the largest of all frames

    @staticmethod
    def of(problem: Problem, initial: State, reference: Reference | None, energy_each_step: bool) -> RunStatistics:
        """Those of a run that is about to start."""
        energy = problem.energy(0.0)
        if not energy_each_step or energy is None:
            return RunStatistics(problem.mesh, reference=reference)

        def value(state: State) -> float:
            current = problem.energy(state.time)
            assert current is not None
            return current.value(state.density)

        monitor = EviMonitor.of(problem.mesh, energy, initial)
        return RunStatistics(problem.mesh, value, convexity=monitor, reference=reference)

    def __call__(self, state: State) -> None:
        """Take a state into account."""
        self.mass_drift = max(self.mass_drift, abs(inner(self.mesh.volume, state.density) / state.mass - 1.0))
        self.minimum = min(self.minimum, float(state.density.min()))
        self.correction = max(self.correction, state.correction)
        self.iterations += state.iterations
        self.halvings += state.halvings
        self.fallbacks += state.fallbacks
        self.rejections += state.rejections
        self.residual = max(self.residual, state.residual)
        self.optimality = max(self.optimality, state.optimality)
        self.cost += state.dissipated
        self.length = state.time - self.time
        self.steps, self.time = state.step, state.time
        if self.convexity is not None:
            self.convexity(state)
        if self.energy is not None:
            energy = self.energy(state)
            if np.isnan(self._start):
                self._start = energy
            if np.isfinite(self._energy):
                self.energy_increase = max(self.energy_increase, energy - self._energy)
                self.energy_defect = max(self.energy_defect, energy - self._energy + state.dissipated)
            self._energy = energy

    def saved(self, state: State, diagnostics: Mapping[str, Any]) -> dict[str, float]:
        """Take a frame into account; the diagnostics of STEPS at its time, if the energy is computed at every step."""
        self.last = {name: diagnostics[name] for name in ("energy", *ERRORS) if name in diagnostics}
        for name in (name for name in ERRORS if name in diagnostics):
            self.worst[name] = max(diagnostics[name], self.worst.get(name, 0.0))
        if state.figures and not self.solved:
            self.solved = dict(state.figures)
            exact = None if self.reference is None else self.reference.distance
            if exact is not None and "w2" in self.solved:
                scale = exact if exact > 0 else 1.0
                self.solved["w2_error"] = abs(self.solved["w2"] - exact) / scale
                self.solved["w2_solver_error"] = abs(self.solved["w2_solver"] - exact) / scale
        return {} if self.energy is None else self.series()

    def figures(self, worst_errors: bool) -> dict[str, Any]:
        """Figures of the whole run, with the errors at the end or the worst ones."""
        return {**self.summary(), **self.solved, **(self.worst if worst_errors else self.last)}

    def series(self) -> dict[str, float]:
        """The figures of STEPS at a saved time; the worst since the last one starts anew."""
        balance = self._energy - self._start + self.cost
        values = (self.length, self.cost, balance, self.residual, self.optimality, self.halvings, self.fallbacks)
        self.residual = self.optimality = 0.0
        return dict(zip(STEPS, values, strict=True))

    def summary(self) -> dict[str, float]:
        """Its figures, for the file and the terminal."""
        figures: dict[str, float] = {
            "steps": self.steps,
            "time": self.time,
            "mass_drift": self.mass_drift,
            "minimum": self.minimum,
            "mass_correction": self.correction,
            "iterations": self.iterations,
        }
        if self.energy is not None:
            figures |= {"energy_increase": self.energy_increase, "energy_defect": self.energy_defect}
            figures |= {"halvings": self.halvings, "fallbacks": self.fallbacks}
        if self.rejections:
            figures["rejections"] = self.rejections
        if self.convexity is not None:
            figures |= self.convexity.figures()
        return figures
