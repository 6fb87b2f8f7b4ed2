"""Barycentres of densities in the metric of W2, without time."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal

from annotated_types import Ge, Gt, Le, MaxLen, MinLen

from fvflow.errors import CaseError
from fvflow.exact import ClosedForm
from fvflow.fields import Density, DensityKind, Parameters
from fvflow.flows.base import BaseFlow
from fvflow.flows.densities import CasePath
from fvflow.march import Progress
from fvflow.mesh import Extent, Mesh
from fvflow.problems import State, Transport
from fvflow.times import SingleFrame, TimeGrid, Times


@dataclass(frozen=True)
class BarycentreFlow(BaseFlow):
    """The minimiser rho of sum_k w_k W2^2(rho, mu_k) for the densities mu_k in `of`, which have the same mass.

    On a line its quantile function is the mean of theirs, exactly. On a box each of at most `rounds` rounds moves rho
    by the mean of the optimal maps to the mu_k, until that lowers the functional by less than its proved interval can
    tell. `functional_lower` and `functional_upper` prove an interval for the functional of the result, of the relative
    width `functional_gap`; `residual` is the root mean square of sum_k w_k T_k(x) - x, T_k being the maps from the
    result, relative to the root of the functional: 0 at a barycentre. The result has one frame. Agueh, Carlier,
    Barycenters in the Wasserstein space, SIAM J. Math. Anal. 43 (2011). See fvflow.wasserstein.barycentre.
    """

    of: Annotated[tuple[Density, ...], MinLen(1), MaxLen(64)]
    """The densities, each as for `initial`."""
    weights: Annotated[tuple[Annotated[float, Gt(0)], ...], MinLen(1)] | None = None
    """Weights, one for each density, scaled to the sum 1; equal by default."""
    rounds: Annotated[int, Ge(1), Le(100)] = 8
    """Most rounds on a box."""
    width: Annotated[float, Gt(0), Le(0.5)] = 1e-3
    """Target for the relative width of the proved interval around each W2."""
    kind: Literal["barycentre"] = "barycentre"
    homogeneous = True

    steps_in_time: ClassVar[bool] = False
    uses_initial: ClassVar[bool] = False
    figures: ClassVar[Mapping[str, str]] = {"residual": "", "functional_gap": ""}

    def __post_init__(self) -> None:
        if self.weights is not None and len(self.weights) != len(self.of):
            raise CaseError(f"{len(self.weights)} weights for {len(self.of)} densities; give one for each")

    @property
    def own_start(self) -> tuple[CasePath, DensityKind]:
        """The density of the largest weight, the first of them."""
        heaviest = 0 if self.weights is None else self.weights.index(max(self.weights))
        return ("flow", "of", heaviest), self.of[heaviest]

    @property
    def given_densities(self) -> tuple[tuple[CasePath, DensityKind], ...]:
        """Those in `of`."""
        return tuple((("flow", "of", index), density) for index, density in enumerate(self.of))

    @property
    def files(self) -> tuple[str, ...]:
        """Paths of the files that the densities are read from."""
        return tuple(file for density in self.of for file in density.files)

    def exact_fault(self, exact: ClosedForm) -> str:
        """Why it cannot be compared with a closed form: there is none."""
        return "flow barycentre has no closed form; leave it out"

    def schedule(self, times: Times | None) -> SingleFrame:
        """The single frame of the result; raises CaseError if the case has times."""
        if times is not None:
            raise CaseError("flow barycentre is computed directly, without steps in time; remove times")
        return SingleFrame()

    def undescribed(self) -> tuple[str, ...]:
        """Nothing: the densities determine it."""
        return ()

    def positive_step(self, problem: Transport) -> float:
        """Infinite: mass is moved as a whole."""
        return math.inf

    def error_in_time_note(self, problem: Transport, times: TimeGrid) -> str:
        """Nothing: there is no time."""
        return ""

    def problem(self, mesh: Mesh, parameters: Parameters, start: float = 0.0) -> Transport:
        """The problem in arrays, without densities; raises CaseError unless the mesh is a line, a circle or a box."""
        from fvflow.wasserstein import bounds_available

        if not bounds_available(mesh):
            raise CaseError("flow barycentre needs a line, a circle or a box; use such a mesh")
        return Transport(mesh)

    def states(
        self, problem: Transport, initial: State, times: SingleFrame, progress: Progress | None = None
    ) -> Iterator[State]:
        """The barycentre."""
        from fvflow.wasserstein import barycentre

        report = None if progress is None else progress.iteration
        found = barycentre(problem.mesh, problem.given, self.weights, self.width, self.rounds, report, initial.iterate)
        figures = {
            "functional_lower": found.lower,
            "functional_upper": found.upper,
            "functional_gap": found.gap,
            "residual": found.relative_residual,
        }
        yield replace(initial, density=found.density, iterations=found.rounds, figures=figures, iterate=None)

    def describe(self, extent: Extent) -> str:
        """A phrase that describes the scheme."""
        if extent.dimension == 1:
            return f"mean of the quantile functions; on a circle as many as {self.rounds} rounds of moving by mean maps"
        return f"at most {self.rounds} rounds of moving by the mean of the optimal maps"

    def memory(self, extent: Extent) -> int:
        """Estimated memory of a run, bytes: the distances, one after the other, and their maps."""
        return (4000 + 200 * len(self.of)) * extent.cells
