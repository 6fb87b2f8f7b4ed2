"""Statistics of a run over all of its steps, saved or not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

import numpy as np

from fvflow.diagnostics import ERRORS, STEPS
from fvflow.evi import EviMonitor
from fvflow.evi_bounds import EviBounds
from fvflow.exact import Reference
from fvflow.fluxes import FaceResolution
from fvflow.linalg import inner, total_variation
from fvflow.march import evenly_due
from fvflow.mean_flux import MeanFlux
from fvflow.mesh import Mesh, Openings
from fvflow.parallel import world
from fvflow.problems import Problem, State, Stride
from fvflow.relative_entropy import Decay
from fvflow.sums import total
from fvflow.time_error import TimeErrorMonitor

_FIXED = ("mesh", "openings", "energy", "may_ring", "reference", "look_interval")  # known before the run
_MONITORS = ("time_error", "convexity", "evi_bounds", "mean_flux", "decay")
_COUNTS = ("iterations", "halvings", "switches", "reduced", "damped", "rejections")  # of a step, added up
_LOOKS = 100  # at how many times of a run the resolution is looked at


@dataclass
class RunStatistics:
    """Statistics of one run: extrema and totals over all steps, saved or not, and scalar results of the flow."""

    mesh: Mesh
    energy: Callable[[State], float] | None = None
    """The energy of a state; None if it is not computed at every step."""
    mass_drift: float = 0.0
    """Largest |m(t)/m(0) - 1|, what has been absorbed included."""
    survival: float = 1.0
    """Part of the initial mass that has not been absorbed."""
    absorbed: dict[str, float] = field(default_factory=dict)
    """Mass absorbed so far, by the names of the openings."""
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
    fallbacks: Counter[str] = field(default_factory=Counter)
    """Steps taken by a fallback method, by reason."""
    switches: int = 0
    """Total methods that failed before another one solved a step."""
    reduced: int = 0
    """Total steps that kept less than the promised order or accuracy."""
    damped: int = 0
    """Total steps that were damped because the data are rough."""
    rejections: int = 0
    """Total steps rejected by error control."""
    steps: int = 0
    """Number of steps so far."""
    time: float = 0.0
    """Time of the last state."""
    may_ring: bool = False
    """Whether the total variation is watched at every step."""
    variation_growth: float = 0.0
    """Largest growth of the total variation in a step, relative to that after the step."""
    time_error: TimeErrorMonitor | None = None
    """Estimate of the error in time."""
    resolution: FaceResolution | None = None
    """How well the cells resolve the drift where the mass is: each number at the time when it is largest."""
    look_interval: float = 0.0
    """Time between two looks at the resolution."""
    convexity: EviMonitor | None = None
    """Monitor of the inequalities that follow from convexity along geodesics."""
    evi_bounds: EviBounds | None = None
    """The same with proved intervals of W2, if the case asks for it."""
    mean_flux: MeanFlux = field(default_factory=MeanFlux)
    """What has crossed each face since the last frame."""
    decay: Decay = field(default_factory=Decay)
    """How fast the relative entropy falls."""
    cost: float = 0.0
    """Total transport cost or dissipation."""
    length: float = 0.0
    """Length of the last step."""
    mean_density: float = 0.0
    """Mass over volume."""
    longest_step: float = 0.0
    """Length of the longest step."""
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
    _variation: float = field(default=np.inf, repr=False)
    _next_look: float = field(default=-np.inf, repr=False)
    _energy: float = field(default=np.inf, repr=False)
    _initial_energy: float = field(default=np.nan, repr=False)
    reference: Reference | None = None
    """The closed form that the run is compared with."""
    openings: Openings | None = None
    """Where mass leaves for good; None if it does not."""
    solved: dict[str, float] = field(default_factory=dict)
    """Scalar results of the whole run, from the flow."""
    undefined: list[str] = field(default_factory=list)
    """Correlations that are nan at a saved time, by name."""
    last: dict[str, float] = field(default_factory=dict)
    """Energy and errors of the last frame."""
    worst: dict[str, float] = field(default_factory=dict)
    """Largest errors of all frames."""

    @staticmethod
    def of(
        problem: Problem,
        initial: State,
        reference: Reference | None,
        *,
        energy_each_step: bool,
        moves_in_w2: bool = True,
        may_ring: bool = False,
        time_error: TimeErrorMonitor | None = None,
        evi_bounds: EviBounds | None = None,
        span: float = 0.0,
    ) -> RunStatistics:
        """The statistics at the start of a run."""
        made = RunStatistics(
            problem.mesh,
            openings=problem.openings,
            time=initial.time,
            may_ring=may_ring,
            time_error=time_error,
            evi_bounds=evi_bounds,
            reference=reference,
            look_interval=span / _LOOKS,
            mean_flux=MeanFlux.of(problem, initial.time),
        )
        energy = problem.energy(initial.time)
        if not energy_each_step or energy is None:
            return made

        def value(state: State) -> float:
            current = problem.energy(state.time)
            assert current is not None
            return current.value(state.density)

        convexity = EviMonitor.of(problem.mesh, energy, initial) if moves_in_w2 else None
        return replace(made, energy=value, convexity=convexity)

    def __call__(self, state: State) -> None:
        """Update the statistics with a state."""
        absorbed, stride = state.absorbed, state.stride
        if self.openings is not None:
            self.survival = state.remaining / state.mass
            self.absorbed = dict(zip(self.openings.names, map(float, absorbed), strict=True))
        if stride is None:
            mass = inner(self.mesh.volume, state.density) + float(absorbed.sum())
            drift, lowest = abs(mass / state.mass - 1.0), world().smallest(state.density)
        else:
            drift, lowest = stride.drift, stride.lowest
            self._leapt(stride)
        self.mass_drift, self.minimum = max(self.mass_drift, drift), min(self.minimum, lowest)
        self.mean_density = self.mean_density or state.mass / total(self.mesh.volume)  # of the start
        self.correction = max(self.correction, state.correction)
        if state.fallback:
            self.fallbacks[state.fallback] += 1
        for name in (name for name in _COUNTS if getattr(state, name)):
            setattr(self, name, getattr(self, name) + getattr(state, name))
        self.residual, self.optimality = max(self.residual, state.residual), max(self.optimality, state.optimality)
        self.gap, self.step_gap = (float(np.fmax(gap, state.gap)) for gap in (self.gap, self.step_gap))
        self.cost, self.length = self.cost + state.dissipated, state.time - self.time
        self.longest_step, self.steps, self.time = max(self.longest_step, self.length), state.step, state.time
        if self.may_ring:
            before, self._variation = self._variation, total_variation(self.mesh, state.density)
            self._variation += 0.0 if self.openings is None else self.openings.variation(state.density)
            if self._variation > before:
                self.variation_growth = max(self.variation_growth, 1.0 - before / self._variation)
        for monitor in (self.time_error, self.convexity, self.evi_bounds, self.mean_flux):
            if monitor is not None:
                monitor(state)
        if self.energy is not None:
            energy = self.energy(state)
            self.largest_cell_share = world().largest(self.mesh.volume * state.density) / state.mass
            self._initial_energy = energy if np.isnan(self._initial_energy) else self._initial_energy
            if np.isfinite(self._energy):
                self.energy_increase = max(self.energy_increase, energy - self._energy)
                self.energy_defect = max(self.energy_defect, energy - self._energy + state.dissipated)
            self._energy = energy

    def _leapt(self, stride: Stride) -> None:
        """Update the statistics with the steps before the last of several that were taken at once."""
        for end in stride.times[:-1]:
            self.longest_step, self.time = max(self.longest_step, end - self.time), end
        if stride.resolution is not None:
            self.resolved(stride.looked, stride.resolution)

    def due_at(self, times: Sequence[float]) -> list[bool]:
        """At which of these times the resolution has to be looked at: evenly spaced ones, a hundred at most."""
        return evenly_due(times, self._next_look, self.look_interval)

    def resolved(self, time: float, resolution: FaceResolution | None) -> None:
        """Update the statistics with how well the cells resolve the drift where the mass is at a time."""
        self._next_look = time + self.look_interval
        if resolution is not None:
            self.resolution = resolution if self.resolution is None else self.resolution.largest(resolution)

    def saved(self, state: State, diagnostics: Mapping[str, Any]) -> dict[str, float]:
        """Update the statistics with a frame; returns its STEPS diagnostics if the energy is computed at every step."""
        self.decay.saved(state.time, diagnostics.get("relative_entropy"))
        if self.time_error is not None:
            self.time_error.saved()
        self.last = {name: diagnostics[name] for name in ("energy", *ERRORS) if name in diagnostics}
        for name in (name for name in ERRORS if name in self.last):
            self.worst[name] = max(self.last[name], self.worst.get(name, 0.0))
        if state.figures:
            errors = {} if self.reference is None else self.reference.figure_errors(state.figures)
            self.solved = {**state.figures, **errors}
        return {} if self.energy is None else self.step_diagnostics()

    def to_tree(self) -> dict[str, Any]:
        """What a checkpoint keeps: all that is not made anew by `of`."""
        monitors = {name: getattr(self, name) for name in _MONITORS}
        return {
            **{item.name: getattr(self, item.name) for item in fields(self) if item.name not in (*_FIXED, *_MONITORS)},
            **{name: None if monitor is None else monitor.to_tree() for name, monitor in monitors.items()},
            "resolution": None if self.resolution is None else asdict(self.resolution),
        }

    def restore(self, tree: Mapping[str, Any]) -> None:
        """Go on from a checkpoint; raises ValueError if it does not hold what `to_tree` gives."""
        if tree.keys() != (own := self.to_tree()).keys():
            raise ValueError(f"the statistics lack or have {', '.join(sorted(tree.keys() ^ own.keys()))}")
        for name, value in tree.items():
            if name not in _MONITORS:
                setattr(self, name, value)
            elif (monitor := getattr(self, name)) is not None and value is not None:
                monitor.restore(value)
        self.fallbacks = Counter(tree["fallbacks"])
        self.resolution = None if tree["resolution"] is None else FaceResolution(**tree["resolution"])

    def figures(self, worst_errors: bool) -> dict[str, Any]:
        """Scalar results of the whole run, with the largest errors of all frames or those of the last one."""
        return {**self.summary(), **self.solved, **(self.worst if worst_errors else self.last)}

    def reasons(self) -> str:
        """Why steps were taken by a fallback method, the most frequent reason first; empty if none was."""
        return ", ".join(f"{reason} ({count})" for reason, count in self.fallbacks.most_common())

    def step_diagnostics(self) -> dict[str, float]:
        """The values of STEPS at a saved time; resets the maxima since the last frame."""
        balance = self._energy - self._initial_energy + self.cost
        counts = self.halvings, self.fallbacks.total(), self.switches
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
        if self.openings is not None:
            absorbed = {f"absorbed_{name}": mass for name, mass in self.absorbed.items()}
            figures |= {"survival": self.survival, **absorbed}
        if self.energy is not None:
            figures |= {"energy_increase": self.energy_increase, "energy_defect": self.energy_defect}
            figures["largest_cell_share"] = self.largest_cell_share
            if not np.isnan(self.step_gap):
                figures["step_gap"] = self.step_gap
            figures |= {"halvings": self.halvings, "fallbacks": self.fallbacks.total(), "switches": self.switches}
        if self.time_error is not None and not np.isnan(self.time_error.largest):
            figures["time_error"] = self.time_error.largest
        if self.resolution is not None and self.resolution.noticeable:
            figures |= {"peclet": self.resolution.peclet, "peclet_share": self.resolution.share}
            figures["numerical_diffusion"] = max(self.resolution.diffusion, self.resolution.bare)
        if self.may_ring:
            figures["variation_growth"] = self.variation_growth
        figures |= {name: count for name in ("reduced", "damped", "rejections") if (count := getattr(self, name))}
        for monitor in (self.evi_bounds, self.convexity, self.decay):
            figures |= {} if monitor is None else monitor.figures()
        return figures
