"""What a case requires of its result: bounds that are checked, and how it is stored."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Annotated, Any, Literal, get_args, get_type_hints

from annotated_types import Ge, Gt, Le, Lt

from fvflow.dataset.groups import SIDES
from fvflow.flows import FLOWS, BaseFlow

_LOWER_BOUNDS = frozenset({"minimum", "chi_square_p"})  # all other checks are upper bounds

_ERRORS = "error_l1", "error_l2", "error_linf", "second_moment_error", "mean_error"
# No flow owns these: a case that bounds them need not import all flows.
_OF_ANY_FLOW = frozenset({"mass_drift", "minimum", "survival", "mass_correction", *_ERRORS})

Bound = Annotated[float, Ge(0)] | None
Relation = Literal["<=", ">="]


@dataclass(frozen=True)
class MissedCheck:
    """A bound that a run violates."""

    name: str
    got: float | None  # None: the run does not compute it
    bound: float
    relation: Relation  # got <= bound or got >= bound is required

    @property
    def sentence(self) -> str:
        """The value of the run and the bound, or that the run does not compute it."""
        if self.got is None:
            return f"check {self.name} missed: this run does not compute it; remove the check"
        return f"check {self.name} missed: got {self.got:.6g}, allowed {self.relation} {self.bound:g}"


@dataclass(frozen=True)
class Checks:
    """Bounds that a finished run has to satisfy.

    Errors are those at the end of the run, for a geodesic the largest of all saved times; every other figure is the
    worst of the whole run.
    """

    mass_drift: Bound = None
    """Largest |m(t)/m(0) - 1| of all steps."""
    minimum: float | None = None
    """Smallest density of all steps; a lower bound."""
    error_l1: Bound = None
    """sum |K| |rho_K - exact| against the closed form."""
    error_l2: Bound = None
    """(sum |K| |rho_K - exact|^2)^(1/2) against the closed form."""
    error_linf: Bound = None
    """max |rho_K - exact| against the closed form."""
    second_moment_error: Bound = None
    """Relative error of the second moment against its law."""
    mean_error: Bound = None
    """Distance of the mean from the exact one, relative to the standard deviation."""
    energy_increase: Bound = None
    """Largest E^{n+1} - E^n of all steps of a gradient flow."""
    energy_defect: Bound = None
    """Largest E^{n+1} - E^n plus the energy that the step accounts for, of all steps of a gradient flow."""
    evi_violated: Bound = None
    """Number of steps in which the evolution variational inequality is proved to be violated."""
    contraction_violated: Bound = None
    """Number of steps in which contraction towards the equilibrium is proved to be violated."""
    survival: Bound = None
    """Largest part of the mass that has not been absorbed by walls or cells at the end."""
    mass_correction: Bound = None
    """Largest relative correction of the mass after a linear solve."""
    w2_error: Bound = None
    """Relative error of `w2` against the closed form of a geodesic."""
    w2_solver_error: Bound = None
    """Relative error of the solver's own value of W2 against the closed form of a geodesic."""
    fallbacks: Bound = None
    """Number of steps taken by a fallback method: `ljko`, for `ljko` itself the implicit upwind step."""
    step_gap: Bound = None
    """Largest proved distance of a `ljko` step from its minimum, relative to the range of E' times the mass."""
    largest_cell_share: Bound = None
    """Largest part of the mass in one cell at the end of a gradient flow."""
    marginal_error: Bound = None
    """L1 distance of the density at the end of a bridge from its target, relative to the mass."""
    kl_error: Bound = None
    """Relative error of `kl` of a bridge against its closed form."""
    gap: Bound = None
    """Relative width of the proved interval around W2."""
    functional_gap: Bound = None
    """Relative width of the proved interval around the functional of a barycentre."""
    continuity: Bound = None
    """Largest residual of the continuity equation in an interval of a geodesic, relative to the mass."""
    repair: Bound = None
    """L1 change that made the densities of a geodesic admissible, relative to the mass."""
    hamilton_jacobi: Bound = None
    """Largest residual of the Hamilton-Jacobi equation of a geodesic where there is mass."""
    hamilton_jacobi_excess: Bound = None
    """Largest positive residual of the Hamilton-Jacobi equation of a geodesic."""
    residual: Bound = None
    """Relative residual of a geodesic's optimality, or of the equations of a flow without time."""
    gap_error: Bound = None
    """Relative error of the spectral gap through round-off and iteration; the discretisation error is not in it."""
    duality: Bound = None
    """Largest change of sum |K| rho phi between a backward and a forward run, relative to sum |K| rho |phi|."""
    mean_deviation: Bound = None
    """Largest deviation of the mean of particles from that of the law at the end, in standard errors."""
    covariance_deviation: Bound = None
    """Largest deviation of an entry of the covariance of particles from that of the law, in standard errors."""
    chi_square_p: Bound = None
    """Probability of numbers of particles in cells that are farther from the law; a lower bound."""
    rate_defect: Bound = None
    """Relative difference of the rates of transitions out of `from`, into `to`, and back."""
    outside: Bound = None
    """Share of the points of a flow map that are outside the mesh at the end."""
    determinant_gap: Bound = None
    """Root mean square difference of log det of a flow map from that of paths beside its points."""
    sides_push_forward: Bound = None
    """Largest distance of means of test functions over carried samples from their integrals, in standard errors."""
    sides_push_forward_gap: Bound = None
    """The same, absolute; the functions are between -1 and 1."""
    sides_moments: Bound = None
    """That of first and second moments, in standard errors."""
    sides_density: Bound = None
    """Root mean square of log rho(t, T) + log det DT - log rho_0 over carried samples."""
    sides_determinant: Bound = None
    """Root mean square difference of log det DT by differences of paths and the integral of div v."""
    sides_action: Bound = None
    """Difference of the actions of carried samples and of the densities, over that of the densities."""
    sides_lagrangian_step: Bound = None
    """Largest distance of a step of a gradient flow on a line from the JKO step of quantiles, L1 over the mass."""
    hopf_lax: Bound = None
    """Largest error of phi against the Hopf-Lax formula for H = |p|^2/2, relative to the range of phi."""

    @property
    def bounds(self) -> dict[str, float]:
        """The bounds that are given, by the names of their figures."""
        named = {item.name: getattr(self, item.name) for item in dataclasses.fields(self)}
        return {name: bound for name, bound in named.items() if bound is not None}

    def missed(self, figures: Mapping[str, Any]) -> list[MissedCheck]:
        """The bounds that the figures violate, or for which the run has no figure."""
        missed = []
        for name, bound in self.bounds.items():
            got = figures.get(name)
            relation: Relation = ">=" if name in _LOWER_BOUNDS else "<="
            if got is None or not (got >= bound if relation == ">=" else got <= bound):
                missed.append(MissedCheck(name, got, bound, relation))
        return missed


def asking_for_sides(checks: Checks, output: Output) -> list[tuple[str, str]]:
    """The entries of a case that ask for a comparison with carried samples."""
    named = [name for name in checks.bounds if name.startswith(SIDES)]
    return [("checks", name) for name in named] + [("output", "sides")] * output.sides


def misplaced(checks: Checks, flow: BaseFlow) -> Iterator[tuple[str, str]]:
    """(name, sentence) of each bound on a figure that this flow does not compute and another one does."""
    for name in checks.bounds:
        if name in _OF_ANY_FLOW or name.startswith(SIDES) or flow.has_figure(name):
            continue
        if owners := [kind for kind in FLOWS.members() if name in kind.figures]:
            yield name, f"is for {_named(owners)} {owners[0].figures[name]}".rstrip() + "; remove the check"


def unknown_output(output: Output, flow: BaseFlow) -> Iterator[tuple[str, str]]:
    """(name, sentence) of each key of `output` that asks for what this flow does not know."""
    needs: dict[str, tuple[str, str]] = {
        "fluxes": ("stores_fluxes", flow.flux_fault),
        "velocity": ("stores_fluxes", flow.velocity_fault),
        "rate": ("stores_fluxes", ""),
        **dict.fromkeys(("potential", "map", "distance"), ("descends_in_w2", flow.movement_fault)),
        "evi": ("descends_in_w2", flow.metric_fault),
    }
    for name in (name for name in needs if getattr(output, name)):
        ability, fault = needs[name]
        if not getattr(flow, ability):
            yield name, f"is for {flows_that(attrgetter(ability))}; leave it out"
        elif fault:
            yield name, fault
    if output.score and flow.score_fault:
        yield "score", flow.score_fault
    if output.error_estimate and (fault := flow.refinement_fault or _orderless(flow)):
        yield "error-estimate", f"is not known of flow {flow.kind}: {fault}"


def _orderless(flow: BaseFlow) -> str:
    """Why a coarser run tells no error; empty if it does."""
    return (
        "" if flow.order_in_space is not None else "its method declares no order; compare two meshes, or leave it out"
    )


def flows_that(condition: Callable[[type[BaseFlow]], bool]) -> str:
    """The kinds of flow that fulfil a condition, as "flow a" or "flows a, b and c"."""
    return _named([kind for kind in FLOWS.members() if condition(kind)])


def _named(kinds: Sequence[type[BaseFlow]]) -> str:
    *first, last = (get_args(get_type_hints(kind)["kind"])[0] for kind in kinds)
    return f"flows {', '.join(first)} and {last}" if first else f"flow {last}"


@dataclass(frozen=True)
class CheckpointSteps:
    """A checkpoint every so many steps."""

    steps: Annotated[int, Ge(1)]
    """Number of steps between checkpoints."""


@dataclass(frozen=True)
class Output:
    """How fields are stored in the result file."""

    precision: Literal["double", "single"] = "double"
    """Floating-point format of the fields."""
    compression: Annotated[int, Ge(0), Le(9)] = 0
    """zlib level of the fields; 0 stores them uncompressed."""
    checkpoint: Annotated[float, Gt(0)] | CheckpointSteps = 60.0
    """Seconds of wall time between checkpoints, or `{steps: N}`; `fvflow resume` goes on from the last one."""
    fluxes: bool = False
    """Whether to store what crosses each face per unit time, in the group /faces: at each saved time, and its mean
    since the one before."""
    velocity: bool = False
    """Whether to store v_x, v_y, v_z, the velocity of the mass in each cell: drift - epsilon grad log rho, -grad E'."""
    score: bool = False
    """Whether to store score_x, score_y, score_z, the score grad log rho in each cell."""
    rate: bool = False
    """Whether to store rate, d_t rho in each cell."""
    potential: bool = False
    """Whether to store step_potential and step_optimality of the JKO step that ends at each saved time."""
    map: bool = False
    """Whether to store map_x, map_y, map_z: to where the mass of each cell was before that step."""
    distance: bool = False
    """Whether to bound W2 of that step: step_w2_lower, step_w2_upper, beside step_w2 of the scheme."""
    evi: bool = False
    """Whether to bound, at every step, how far the inequalities hold that convexity along geodesics promises."""
    width: Annotated[float, Gt(0), Lt(1)] = 1e-3
    """Relative width at which the bounds of W2 for distance and evi stop."""
    error_estimate: bool = False
    """Whether to run the case at half the resolution too, and store what that tells of the error at each saved time:
    estimated_error_l1, _l2, _linf of the density, estimated_error_energy, and one for each observable and each figure
    that converges; key error-estimate."""
    sides: bool = False
    """Whether to compare the result with 10000 samples that are carried along it, as `fvflow sides` does, once it is
    complete; checks of sides_push_forward and the like do so too."""

    def checkpoint_due(self, steps: float, seconds: float) -> bool:
        """Whether a checkpoint is due so many steps and seconds after the last one."""
        every = self.checkpoint
        return steps >= every.steps if isinstance(every, CheckpointSteps) else seconds >= every
