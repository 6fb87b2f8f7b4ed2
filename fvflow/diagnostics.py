"""Diagnostics of a run: what is computed of the state at each saved time."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from fvflow.energies import EntropyTerm
from fvflow.exact import Reference
from fvflow.linalg import dissipated_by_owners, drop_between, inner
from fvflow.mesh import Array, Mesh, Openings
from fvflow.parallel import world
from fvflow.problems import OutputVariable, Problem, State
from fvflow.relative_entropy import equilibrium_of, relative_entropy
from fvflow.sums import mean_and_covariance, total

DENSITY = OutputVariable(("cell",), "density")
FLUX = OutputVariable(("face",), "mass through the face per unit time, from owner to neighbour")
DIAGNOSTICS = {  # of every problem
    "mass": OutputVariable((), "total mass"),
    "minimum": OutputVariable((), "smallest density"),
    "maximum": OutputVariable((), "largest density"),
    "entropy": OutputVariable((), "entropy int rho log rho; infinite if a density is negative"),
    "mean": OutputVariable(("axis",), "mean position; nan if nothing is left"),
    "covariance": OutputVariable(("axis", "axis_2"), "covariance of the cell centres weighted by mass"),
    "steps": OutputVariable((), "steps so far"),
    "iterations": OutputVariable((), "solver iterations in the last step"),
}
ON_RINGS = ("mean", "covariance")  # what depends on where a periodic axis is cut


def of_every_problem(mesh: Mesh) -> dict[str, OutputVariable]:
    """`DIAGNOSTICS`, with what positions mean on a mesh with periodic axes."""
    note = ", in the coordinates of the box, so that it depends on where periodic axes are cut"
    changed = ON_RINGS if mesh.periodic else ()
    return DIAGNOSTICS | {
        name: replace(DIAGNOSTICS[name], long_name=DIAGNOSTICS[name].long_name + note) for name in changed
    }


def crossing_fields(openings: Openings | None) -> dict[str, OutputVariable]:
    """What is stored of the means between saved times: of the flux, and of what leaves through each opening."""
    mean = "mean since the last saved time of the mass through the {} per unit time, nan if it is not known"
    fields = {"flux_mean": OutputVariable(("face",), mean.format("face") + ", from owner to neighbour")}
    if openings is not None:
        fields["outflow_mean"] = OutputVariable(("opening",), mean.format("opening"))
    return fields


ENERGY = {  # of a problem with an energy
    "energy": OutputVariable((), "energy; infinite if a density is negative"),
    "dissipation": OutputVariable((), "rate of energy decrease, with the potential held fixed"),
}
RELATIVE_ENTROPY = {  # of a problem whose equilibrium is known
    "relative_entropy": OutputVariable((), "int rho log(rho/pi) of rho scaled to mass 1 and its equilibrium pi"),
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
ERRORS = {  # of runs with a closed form: its `figures`
    "error_l1": OutputVariable((), "sum |K| |rho_K - exact|"),
    "error_l2": OutputVariable((), "square root of sum |K| |rho_K - exact|^2"),
    "error_linf": OutputVariable((), "largest |rho_K - exact|"),
    "second_moment_error": OutputVariable((), "relative error of int |x - m|^2 rho, m the initial mean"),
    "mean_error": OutputVariable((), "distance of the mean from the exact one, relative to the standard deviation"),
}
FIGURE_ERRORS = ("w2_error", "w2_solver_error", "kl_error")  # figures against those of a closed form


def of_openings(openings: Openings, has_energy: bool) -> dict[str, OutputVariable]:
    """What is stored of a problem with openings, and with an energy or without."""
    variables = {"survival": OutputVariable((), "part of the initial mass that has not been absorbed")}
    if has_energy:
        text = "rate of energy decrease but for that of the mass which leaves"
        variables["dissipation"] = OutputVariable((), text)
    for name in openings.names:
        variables[f"absorbed_{name}"] = OutputVariable((), f"mass absorbed by {name} so far")
        variables[f"outflow_{name}"] = OutputVariable((), f"mass absorbed by {name} per unit time")
    return variables


def diagnostics_at(problem: Problem, state: State, reference: Reference | None) -> dict[str, Any]:
    """DIAGNOSTICS of one state, and what else of this module there is for the problem and the reference."""
    mesh, density = problem.mesh, state.density
    mean, covariance = moments(mesh, density)
    minimum = world().smallest(density)
    logarithm = np.log(density) if minimum > 0 else None
    densities = EntropyTerm(1.0).value(density) if logarithm is None else density * logarithm
    entropy = inner(mesh.volume, densities)
    mass = inner(mesh.volume, density)
    values: dict[str, Any] = {
        "mass": mass,
        "minimum": minimum,
        "maximum": world().largest(density),
        "entropy": entropy,
        "mean": mean,
        "covariance": covariance,
        "steps": state.step,
        "iterations": state.iterations,
    }
    if problem.openings is not None:
        rates = problem.outflow_rates(density, state.time)
        values["survival"] = state.remaining / state.mass
        for name, absorbed, rate in zip(problem.openings.names, state.absorbed, rates, strict=True):
            values |= {f"absorbed_{name}": float(absorbed), f"outflow_{name}": float(rate)}
    energy = problem.energy(state.time)
    if energy is not None:
        epsilon = energy.diffusion
        if logarithm is None or epsilon is None:
            values["energy"] = energy.value(density)
            values["dissipation"] = dissipation(problem, density, state.time)
        else:
            potential = energy.potential(density)
            values["energy"] = epsilon * entropy + inner(mesh.volume, potential * density)
            chemical = epsilon * (logarithm + 1.0) + potential
            values["dissipation"] = _dissipated(problem, problem.flux(density, state.time), chemical)
    if (equilibrium := equilibrium_of(problem, state.time)) is not None:
        known = None if logarithm is None else (logarithm, mass)
        values["relative_entropy"] = relative_entropy(mesh.volume, density, equilibrium, known)
    if reference is not None:
        values |= reference.errors(mesh, density, state.time)
    return values


def moments(mesh: Mesh, density: Array) -> tuple[Array, Array]:
    """Mean (axis,) and covariance (axis, axis) of the cell centres, weighted by mass; nan if there is none."""
    weight = mesh.volume * density
    if not world().some(weight):
        return np.full(mesh.dimension, np.nan), np.full((mesh.dimension, mesh.dimension), np.nan)
    weight /= total(weight)
    return mean_and_covariance(weight, mesh.coordinates)


def dissipation(problem: Problem, density: Array, time: float) -> float:
    """sum_s F_s (mu_K - mu_L), mu = E'(rho): the rate -dE/dt with the potential held fixed.

    Infinite if the energy is, and if mass flows to where mu = -infinity, as in an empty cell under the entropy.
    """
    energy = problem.energy(time)
    assert energy is not None
    if not math.isfinite(energy.value(density)):
        return math.inf
    with np.errstate(invalid="ignore", over="ignore"):
        chemical = energy.first(density)
        flux = problem.flux(density, time)
        if world().every(bool(np.isfinite(chemical).all())):
            return _dissipated(problem, flux, chemical)
        drops = drop_between(problem.graph.owner, problem.graph.neighbour, chemical)
        by_cell = _of_owners(problem, np.where(flux != 0, flux * drops, 0.0))
        return math.inf if world().some(by_cell == np.inf) else total(by_cell)


def _dissipated(problem: Problem, flux: Array, chemical: Array) -> float:
    """sum_s F_s (mu_K - mu_L) for finite mu (cell,), by the owners K, so that it may be divided among ranks."""
    return total(dissipated_by_owners(problem.graph.owner, problem.graph.neighbour, flux, chemical))


def _of_owners(problem: Problem, values: Array) -> Array:
    """The sum of values (face,) over the faces that each cell owns (cell,)."""
    graph = problem.graph
    return np.asarray(np.bincount(graph.owner, values, len(graph.volume)), np.float64)
