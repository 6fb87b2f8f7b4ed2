"""Diagnostics of a run: of the state at each saved time, and statistics over all steps."""

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
FLUX = OutputVariable(("face",), "mass through the face per unit time, from owner to neighbour")
DIAGNOSTICS = {  # of every problem
    "mass": OutputVariable((), "total mass"),
    "minimum": OutputVariable((), "smallest density"),
    "maximum": OutputVariable((), "largest density"),
    "entropy": OutputVariable((), "entropy int rho log rho; infinite if a density is negative"),
    "mean": OutputVariable(("axis",), "mean position"),
    "covariance": OutputVariable(("axis", "axis_2"), "covariance of the cell centres weighted by mass"),
    "steps": OutputVariable((), "steps so far"),
    "iterations": OutputVariable((), "solver iterations in the last step"),
}
ENERGY = {  # of a problem with an energy
    "energy": OutputVariable((), "energy; infinite if a density is negative"),
    "dissipation": OutputVariable((), "rate of energy decrease, with the potential held fixed"),
}
STEPS = {  # of a flow whose energy is computed at every step
    "length": OutputVariable((), "length of the last step"),
    "cost": OutputVariable((), "transport cost or dissipation of all steps so far"),
    "balance": OutputVariable((), "energy minus initial energy plus cost; at most 0 for ljko, 0 for midpoint"),
    "residual": OutputVariable((), "largest residual of continuity since the last frame, relative to the mass"),
    "optimality": OutputVariable(
        (), "largest |phi + kinetic - E'(rho)| since the last frame, relative to the range of E'"
    ),
    "step_gap": OutputVariable(
        (),
        "largest proved distance of a step from its minimum since the last frame, relative to range of E' times mass",
    ),
    "largest_cell_share": OutputVariable((), "largest part of the mass in one cell"),
    "halvings": OutputVariable((), "halvings so far of steps that did not converge"),
    "fallbacks": OutputVariable((), "steps taken by a fallback method so far: ljko, for ljko the implicit upwind step"),
    "switches": OutputVariable((), "methods so far that failed before another one solved a step"),
}
ERRORS = {  # of a run with a closed form
    "error_l1": OutputVariable((), "sum |K| |rho_K - exact|"),
    "error_l2": OutputVariable((), "square root of sum |K| |rho_K - exact|^2"),
    "error_linf": OutputVariable((), "largest |rho_K - exact|"),
}
W2_ERRORS = ("w2_error", "w2_solver_error")  # figures of a geodesic against its closed form


def diagnostics_at(problem: Problem, state: State, reference: Reference | None) -> dict[str, Any]:
    """DIAGNOSTICS of one state, ENERGY if the problem has an energy, and ERRORS if there is a reference."""
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
    """Mean (axis,) and covariance (axis, axis) of the cell centres, weighted by mass."""
    weight = mesh.volume * density
    weight = weight / weight.sum()
    mean = weight @ mesh.centre
    offset = mesh.centre - mean
    return mean, (offset * weight[:, None]).T @ offset


def errors(mesh: Mesh, density: Array, exact: Array) -> dict[str, float]:
    """L1, L2 and L-infinity distance of two densities (cell,)."""
    error = np.abs(density - exact)
    return {
        "error_l1": float(mesh.volume @ error),
        "error_l2": float(np.sqrt(mesh.volume @ error**2)),
        "error_linf": float(error.max()),
    }


@dataclass
class RunStatistics:
    """Statistics of one run: extrema and totals over all steps, saved or not, and scalar results of the flow."""

    mesh: Mesh
    energy: Callable[[State], float] | None = None
    """The energy of a state; None if it is not computed at every step."""
    mass_drift: float = 0.0
    """Largest |m(t)/m(0) - 1|."""
    minimum: float = np.inf
    """Smallest density."""
    energy_increase: float = -np.inf
    """Largest E^{n+1} - E^n."""
    correction: float = 0.0
    """Largest relative correction of the mass after a linear solve."""
    iterations: int = 0
    """Total solver iterations."""
    energy_defect: float = -np.inf
    """Largest E^{n+1} - E^n + (transport cost or dissipation of the step)."""
    halvings: int = 0
    """Total halvings of steps that did not converge."""
    fallbacks: int = 0
    """Total steps taken by a fallback method."""
    switches: int = 0
    """Total methods that failed before another one solved a step."""
    reduced: int = 0
    """Total steps that kept less than the promised order or accuracy."""
    rejections: int = 0
    """Total steps rejected by error control."""
    steps: int = 0
    """Number of steps so far."""
    time: float = 0.0
    """Time of the last state."""
    convexity: EviMonitor | None = None
    """Monitor of the inequalities that follow from convexity along geodesics."""
    cost: float = 0.0
    """Total transport cost or dissipation."""
    length: float = 0.0
    """Length of the last step."""
    residual: float = 0.0
    """Largest residual of continuity since the last frame."""
    optimality: float = 0.0
    """Largest residual of the optimality condition since the last frame."""
    gap: float = np.nan
    """Largest gap of a minimising-movement step since the last frame."""
    step_gap: float = np.nan
    """Largest gap of all steps."""
    largest_cell_share: float = 0.0
    """Largest part of the mass in one cell, after the last step."""
    _energy: float = field(default=np.inf, repr=False)
    _initial_energy: float = field(default=np.nan, repr=False)
    reference: Reference | None = None
    """The closed form that the run is compared with."""
    solved: dict[str, float] = field(default_factory=dict)
    """Scalar results of the whole run, from the flow."""
    last: dict[str, float] = field(default_factory=dict)
    """Energy and errors of the last frame."""
    worst: dict[str, float] = field(default_factory=dict)
    """Largest errors of all frames."""

    @staticmethod
    def of(problem: Problem, initial: State, reference: Reference | None, energy_each_step: bool) -> RunStatistics:
        """The statistics at the start of a run."""
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
        """Update the statistics with a state."""
        self.mass_drift = max(self.mass_drift, abs(inner(self.mesh.volume, state.density) / state.mass - 1.0))
        self.minimum = min(self.minimum, float(state.density.min()))
        self.correction = max(self.correction, state.correction)
        self.iterations += state.iterations
        self.halvings += state.halvings
        self.fallbacks += state.fallbacks
        self.switches += state.switches
        self.reduced += state.reduced
        self.rejections += state.rejections
        self.residual = max(self.residual, state.residual)
        self.optimality = max(self.optimality, state.optimality)
        self.gap, self.step_gap = (float(np.fmax(gap, state.gap)) for gap in (self.gap, self.step_gap))
        self.cost += state.dissipated
        self.length = state.time - self.time
        self.steps, self.time = state.step, state.time
        if self.convexity is not None:
            self.convexity(state)
        if self.energy is not None:
            energy = self.energy(state)
            self.largest_cell_share = float((self.mesh.volume * state.density).max()) / state.mass
            if np.isnan(self._initial_energy):
                self._initial_energy = energy
            if np.isfinite(self._energy):
                self.energy_increase = max(self.energy_increase, energy - self._energy)
                self.energy_defect = max(self.energy_defect, energy - self._energy + state.dissipated)
            self._energy = energy

    def saved(self, state: State, diagnostics: Mapping[str, Any]) -> dict[str, float]:
        """Update the statistics with a frame; returns its STEPS diagnostics if the energy is computed at every step."""
        self.last = {name: diagnostics[name] for name in ("energy", *ERRORS) if name in diagnostics}
        for name in (name for name in ERRORS if name in self.last):
            self.worst[name] = max(self.last[name], self.worst.get(name, 0.0))
        if state.figures and not self.solved:
            self.solved = {**state.figures, **self._distance_errors(state.figures)}
        return {} if self.energy is None else self.step_diagnostics()

    def _distance_errors(self, figures: Mapping[str, float]) -> dict[str, float]:
        """Errors of a computed W2 distance relative to the closed form, absolute if that is 0."""
        exact = None if self.reference is None else self.reference.distance
        if exact is None or "w2" not in figures:
            return {}
        scale = exact if exact > 0 else 1.0
        return {
            "w2_error": abs(figures["w2"] - exact) / scale,
            "w2_solver_error": abs(figures["w2_solver"] - exact) / scale,
        }

    def figures(self, worst_errors: bool) -> dict[str, Any]:
        """Scalar results of the whole run, with the largest errors of all frames or those of the last one."""
        return {**self.summary(), **self.solved, **(self.worst if worst_errors else self.last)}

    def step_diagnostics(self) -> dict[str, float]:
        """The values of STEPS at a saved time; resets the maxima since the last frame."""
        balance = self._energy - self._initial_energy + self.cost
        counts = self.halvings, self.fallbacks, self.switches
        errors = self.residual, self.optimality, self.gap
        values = (self.length, self.cost, balance, *errors, self.largest_cell_share, *counts)
        self.residual = self.optimality = 0.0
        self.gap = np.nan
        return dict(zip(STEPS, values, strict=True))

    def summary(self) -> dict[str, float]:
        """The statistics by name, for the result file and the terminal."""
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
            figures["largest_cell_share"] = self.largest_cell_share
            if not np.isnan(self.step_gap):
                figures["step_gap"] = self.step_gap
            figures |= {"halvings": self.halvings, "fallbacks": self.fallbacks, "switches": self.switches}
        if self.reduced:
            figures["reduced"] = self.reduced
        if self.rejections:
            figures["rejections"] = self.rejections
        if self.convexity is not None:
            figures |= self.convexity.figures()
        return figures
