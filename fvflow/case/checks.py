"""What a case requires of its result: bounds that are checked, and how it is stored."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args, get_type_hints

from annotated_types import Ge, Le

from fvflow.flows import BaseFlow, Flow

_LOWER_BOUNDS = frozenset({"minimum"})  # all other checks are upper bounds

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
            return f"check {self.name} missed: this run does not know it; leave it out"
        return f"check {self.name} missed: got {self.got:.6g}, allowed {self.relation} {self.bound:g}"


@dataclass(frozen=True)
class Checks:
    """Bounds that a finished run has to satisfy.

    Errors are those at the end of the run, for a geodesic the largest of all saved times; every other figure is the
    worst of the whole run.
    """

    mass_drift: Bound = None
    minimum: float | None = None
    error_l1: Bound = None
    error_l2: Bound = None
    error_linf: Bound = None
    energy_increase: Bound = None
    energy_defect: Bound = None
    mass_correction: Bound = None
    w2_error: Bound = None  # relative, of w2
    w2_solver_error: Bound = None  # relative, of the solver's own value
    fallbacks: Bound = None  # steps left to ljko
    gap: Bound = None  # relative width of the interval around W2
    continuity: Bound = None
    repair: Bound = None  # of a geodesic: the L1 change that made its densities admissible, of the mass
    hamilton_jacobi: Bound = None
    hamilton_jacobi_excess: Bound = None
    residual: Bound = None  # relative: of a geodesic's optimality, a steady state's balance, or its modes
    gap_error: Bound = None  # of flow spectrum, relative: round-off and iteration, not the mesh
    hopf_lax: Bound = None  # of flow hamilton-jacobi with H = |p|^2/2, relative to the range of phi

    def missed(self, figures: Mapping[str, Any]) -> list[MissedCheck]:
        """The bounds that the figures violate, or for which the run has no figure."""
        missed = []
        for name, bound in dataclasses.asdict(self).items():
            if bound is None:
                continue
            got = figures.get(name)
            relation: Relation = ">=" if name in _LOWER_BOUNDS else "<="
            if got is None or not (got >= bound if relation == ">=" else got <= bound):
                missed.append(MissedCheck(name, got, bound, relation))
        return missed


def misplaced(checks: Checks, flow: BaseFlow) -> Iterator[tuple[str, str]]:
    """(name, sentence) of each bound on a figure that this flow does not compute and another one does."""
    for name, bound in dataclasses.asdict(checks).items():
        owners = [kind for kind in get_args(Flow) if name in kind.figures]
        if bound is None or not owners or flow.has_figure(name):
            continue
        *first, last = (get_args(get_type_hints(kind)["kind"])[0] for kind in owners)
        named = f"flows {', '.join(first)} and {last}" if first else f"flow {last}"
        yield name, f"is for {named} {owners[0].figures[name]}".rstrip() + "; remove the check"


@dataclass(frozen=True)
class Output:
    """How fields are stored in the result file."""

    precision: Literal["double", "single"] = "double"
    compression: Annotated[int, Ge(0), Le(9)] = 0  # zlib level
    fluxes: bool = False  # what crosses each face per unit time, in /faces
