"""The contract of a flow.

A new flow is a frozen dataclass derived from `BaseFlow` with `kind: Literal[...]`, `problem` and `states`, joined to
the union `Flow` in `fvflow/flows/__init__.py`. The defaults promise nothing: closed forms refuse it, nothing is stored
beside the density, and no step length is known to keep it non-negative.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from fvflow.errors import CaseError
from fvflow.exact import ClosedForm
from fvflow.fields import DensityKind, Drift, Kernel, Parameters
from fvflow.march import Progress
from fvflow.mesh import Extent, Mesh
from fvflow.problems import OutputVariable, Problem, State
from fvflow.times import TimeGrid, Times


class BaseFlow:
    """What a case can choose to run: the physics, and an iterator of states."""

    kind: str
    energy_each_step: ClassVar[bool] = False
    """Whether the energy is computed after every step, as it costs little beside the step."""
    work_grows_with_step: bool = False
    """Whether a longer step takes more work."""
    stores_fluxes: ClassVar[bool] = False
    """Whether `problem.flux` gives what crosses each face, for `output: {fluxes: true}`."""
    can_be_timed: ClassVar[bool] = False
    """Whether the time of a run follows from a few of its steps, or from those on a smaller mesh."""
    judged_at_every_time: ClassVar[bool] = False
    """Whether its errors are the worst of all saved times rather than those at the end."""
    figures: ClassVar[Mapping[str, str]] = {}
    """Figures of the whole run that only such flows have and `checks` can bound, each with a remark or ""."""

    @property
    def end_density(self) -> DensityKind | None:
        """The density that it ends at, if that is given."""
        return None

    def has_figure(self, name: str) -> bool:
        """Whether a run gives this figure."""
        return name in self.figures

    def exact_fault(self, exact: ClosedForm) -> str:
        """Why it cannot be compared with a closed form, whatever the case; empty if it can."""
        return ""

    def schedule(self, times: Times | None) -> TimeGrid:
        """The times of the run; raises CaseError if the case has none, or has some and should not."""
        if times is None:
            raise CaseError("is missing")
        return times

    def drift(self, parameters: Parameters) -> Drift:
        """The drift as expressions."""
        return Drift(parameters=parameters)

    def diffusion(self) -> float:
        """eps of linear diffusion."""
        return 0.0

    def power_laws(self) -> tuple[tuple[float, float], ...]:
        """(c, m) of each energy c int rho^m/(m - 1)."""
        return ()

    def kernels(self, parameters: Parameters) -> tuple[Kernel, ...]:
        """W of each interaction."""
        return ()

    def undescribed(self) -> tuple[str, ...]:
        """What of its equation drift, diffusion, power laws, kernels and target do not describe, by name."""
        return (f"flow {self.kind}",)

    def problem(self, mesh: Mesh, parameters: Parameters) -> Problem:
        """The problem in arrays; raises CaseError if it is not defined on the mesh."""
        raise NotImplementedError

    def states(self, problem: Any, initial: State, times: Any, progress: Progress | None = None) -> Iterator[State]:
        """Every state of the run, the initial one first; `progress` is told of the iterations of a solver."""
        raise NotImplementedError

    def fields(self, mesh: Mesh) -> dict[str, OutputVariable]:
        """Cell fields that are stored at each saved time beside rho."""
        return {}

    def face_fields(self) -> dict[str, OutputVariable]:
        """Face fields that are stored at each saved time."""
        return {}

    def positivity(self, problem: Any, times: TimeGrid) -> str:
        """A sentence on whether the method keeps densities non-negative."""
        return "unconditional" if self.positive_step(problem) == math.inf else "not guaranteed; look at minimum"

    def positive_step(self, problem: Any) -> float:
        """The longest step that keeps every density non-negative; 0 if there is none."""
        return 0.0

    def peclet(self, problem: Any) -> float | None:
        """The largest |w|/eps of a face at time 0; None where it does not matter."""
        return None

    def describe(self, extent: Extent) -> str:
        """A sentence on the scheme."""
        return self.kind

    def memory(self, extent: Extent) -> int:
        """Estimated bytes of a run."""
        return 300 * extent.dimension * extent.cells
