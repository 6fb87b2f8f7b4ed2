"""What a run reports: at each saved time, and over every step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fvflow.energies import EntropyTerm
from fvflow.exact import Reference
from fvflow.mesh import Array, Mesh
from fvflow.problems import Problem, State, dissipation


@dataclass(frozen=True)
class Variable:
    """How a quantity is stored: dimensions beside time, a long name, units."""

    dims: tuple[str, ...]
    long_name: str
    units: str = "1"


DENSITY = Variable(("cell",), "density")
LEDGER = {
    "mass": Variable((), "total mass"),
    "minimum": Variable((), "smallest density"),
    "maximum": Variable((), "largest density"),
    "energy": Variable((), "energy; infinite where a density is negative"),
    "entropy": Variable((), "entropy int rho log rho; infinite where a density is negative"),
    "dissipation": Variable((), "rate of energy loss, the potential held fixed"),
    "mean": Variable(("axis",), "mean position"),
    "covariance": Variable(("axis", "axis_2"), "covariance of the cell centres weighted by mass"),
    "steps": Variable((), "steps so far"),
    "iterations": Variable((), "solver iterations in the last step"),
}
ERRORS = {
    "error_l1": Variable((), "sum |K| |rho_K - exact|"),
    "error_l2": Variable((), "square root of sum |K| |rho_K - exact|^2"),
    "error_linf": Variable((), "largest |rho_K - exact|"),
}


def entry(problem: Problem, state: State, reference: Reference | None) -> dict[str, Any]:
    """The ledger of one state, in the order of LEDGER and ERRORS."""
    mesh, density = problem.mesh, state.density
    mean, covariance = moments(mesh, density)
    values: dict[str, Any] = {
        "mass": float(mesh.volume @ density),
        "minimum": float(density.min()),
        "maximum": float(density.max()),
        "energy": problem.energy(state.time).value(density),
        "entropy": float(mesh.volume @ EntropyTerm(1.0).value(density)),
        "dissipation": dissipation(problem, density, state.time),
        "mean": mean,
        "covariance": covariance,
        "steps": state.step,
        "iterations": state.iterations,
    }
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
class Watch:
    """The worst of every step, saved or not."""

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
    steps: int = 0
    time: float = 0.0
    _energy: float = field(default=np.inf, repr=False)

    def __call__(self, state: State) -> None:
        """Take a state into account."""
        self.mass_drift = max(self.mass_drift, abs(float(self.mesh.volume @ state.density) / state.mass - 1.0))
        self.minimum = min(self.minimum, float(state.density.min()))
        self.correction = max(self.correction, state.correction)
        self.iterations += state.iterations
        self.halvings += state.halvings
        self.fallbacks += state.fallbacks
        self.steps, self.time = state.step, state.time
        if self.energy is not None:
            energy = self.energy(state)
            if np.isfinite(self._energy):
                self.energy_increase = max(self.energy_increase, energy - self._energy)
                self.energy_defect = max(self.energy_defect, energy - self._energy + state.dissipated)
            self._energy = energy

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
        return figures
