"""Wasserstein gradient flows, stepped by minimising movements (JKO) and related methods."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, ClassVar, Literal

import numpy as np
from annotated_types import MaxLen, MinLen

from fvflow.energies import Energy, TotalEnergy
from fvflow.errors import CaseError, NumericsError, placed
from fvflow.exact import ISOTHERMAL
from fvflow.fields import Drift, Kernel, Parameters, SteadyDiffusion, SteadyFunction, as_function, sum_of
from fvflow.flows.base import BaseFlow
from fvflow.flows.motion import Motion, PotentialMotion, SavedFields
from fvflow.linalg import divergence
from fvflow.march import Progress, march
from fvflow.mesh import Array, Extent, Mesh
from fvflow.problems import GradientFlow, State, mobility
from fvflow.reconstruction import SavedValues
from fvflow.steppers import LJKO, GradientStepper, finite_check
from fvflow.time_error import CompanionMonitor, TimeErrorMonitor
from fvflow.times import TimeGrid, Times

_LEAST_DIFFUSION = 1e-16  # smallest epsilon that double precision sees, relative to the range of the potential
_AT_WALL = 0.5  # h |Lap x| of a cell beside a wall, which is 0 inside and 1 at the walls of a grid
_EACH_STEP = "whose energy is known at every step"


@dataclass(frozen=True)
class WassersteinFlow(BaseFlow):
    """d_t rho = div(rho M grad E'(rho)), E the sum of the energies, M = 1 or a mobility; notes, equation (139).

    With a mobility steps minimise E + W_M^2/(2 tau) in the metric in which a velocity v costs int |v|^2 rho/M. The
    equilibrium is that of M = 1; what is known of W2 is not, so that inequalities of W2 are not monitored.
    """

    energy: Annotated[tuple[Energy, ...], MinLen(1)]
    """The energies, whose sum is E; at least one is strictly convex, so that a step has one minimum."""
    stepper: GradientStepper = LJKO()
    """The one-step method."""
    mobility: SteadyFunction | Annotated[tuple[SteadyFunction, ...], MinLen(1), MaxLen(3)] | None = None
    """M(x) > 0 of d_t rho = div(rho M grad E'), an expression or table, or a list of one per axis; 1 by default."""
    kind: Literal["gradient-flow"] = "gradient-flow"

    energy_each_step: ClassVar[bool] = True
    stores_fluxes: ClassVar[bool] = True
    descends_in_w2: ClassVar[bool] = True
    can_be_timed: ClassVar[bool] = True
    tells_crossing: ClassVar[bool] = True
    figures: ClassVar[Mapping[str, str]] = {
        **dict.fromkeys(("energy_increase", "energy_defect", "fallbacks", "largest_cell_share"), _EACH_STEP),
        "step_gap": "with stepper ljko",
        **dict.fromkeys(("evi_violated", "contraction_violated"), "with output: {evi: true}"),
    }

    def has_figure(self, name: str) -> bool:
        """Whether a run computes this figure."""
        return super().has_figure(name) and (name != "step_gap" or self.stepper.certified)

    @property
    def homogeneous(self) -> bool:  # type: ignore[override]
        """Whether there is only diffusion and drift."""
        return not (self.power_laws() or self.kernels({}) or set(self.undescribed()) - {ISOTHERMAL})

    @property
    def order_in_time(self) -> float:
        """That of the stepper."""
        return self.stepper.order

    @property
    def order_in_space(self) -> float | None:
        """That of the stepper."""
        return self.stepper.order_in_space

    @property
    def files(self) -> tuple[str, ...]:
        """Paths of the files that the energies read."""
        own = () if self._mobility is None else self._mobility.files
        return (*(file for part in self.energy for file in part.files), *own)

    @cached_property
    def _mobility(self) -> SteadyDiffusion | None:
        """The mobility as a coefficient; None if there is none."""
        return None if self.mobility is None else SteadyDiffusion(self.mobility, "isothermal")

    @property
    def metric_fault(self) -> str:  # type: ignore[override]
        """That of a mobility field."""
        return "" if self.mobility is None else "is of W2, and with a mobility the metric is another; leave it out"

    @property
    def movement_fault(self) -> str:  # type: ignore[override]
        """That of the mobility, or of the stepper."""
        return self.metric_fault or self.stepper.movement_fault

    def notes(self, problem: GradientFlow) -> Iterator[str]:
        """Where the mobility jumps at the seam of a periodic axis."""
        if problem.mobility is not None:
            yield from problem.mobility.seam_notes(0.0)

    @property
    def flux_fault(self) -> str:
        """That of the stepper."""
        return self.stepper.crossing_fault

    def drift(self, parameters: Parameters) -> Drift:
        """-grad V, V being the sum of the external potentials."""
        parts = [(index, part.external_potential) for index, part in enumerate(self.energy)]
        given = (as_function(part, "flow", "energy", index) for index, part in parts if part is not None)
        return Drift(sum_of(tuple(given)), parameters=parameters)

    def linear_diffusion(self) -> float:
        """Sum of the eps of the entropies."""
        return sum(part.diffusion for part in self.energy)

    def power_laws(self) -> tuple[tuple[float, float], ...]:
        """(c, m) of each energy c int rho^m/(m - 1)."""
        return tuple(law for part in self.energy for law in part.power_laws)

    def kernels(self, parameters: Parameters) -> tuple[Kernel, ...]:
        """W of each interaction."""
        return tuple(kernel for part in self.energy for kernel in part.kernels(parameters))

    def undescribed(self) -> tuple[str, ...]:
        """The energies that diffusion, potential, power laws and kernels do not describe."""
        energies = (f"energy {part.kind}" for part in self.energy if not part.described)
        return (*energies, *(() if self.mobility is None else (ISOTHERMAL,)))

    def problem(self, mesh: Mesh, parameters: Parameters, start: float = 0.0) -> GradientFlow:
        """The problem in arrays; raises CaseError if an energy is not defined on the mesh, or none is strictly convex.

        Without diffusion the mass may gather in a point. The least entropy that keeps it about a cell wide is told.
        """
        self.drift(parameters).require_joined(mesh, 0.0)
        terms = []
        for index, part in enumerate(self.energy):
            with placed("flow", "energy", index):
                terms.append(part.on(mesh, parameters))
        total = TotalEnergy(mesh.volume, tuple(terms))
        if not any(part.strictly_convex for part in self.energy):
            least = _resolved_entropy(mesh, total)
            advice = f" ({least:.2g} keeps a mass of 1 about a cell of this mesh wide)" if least > 0 else ""
            raise CaseError(
                "the energy has no strictly convex part, so that a JKO step has no unique minimum and the mass may "
                f"gather in a point: add {{kind: entropy, epsilon: ...}}{advice} or a porous-medium"
            )
        spread = float(np.ptp(total.potential(np.zeros(mesh.cells))))
        epsilon = self.linear_diffusion()
        if epsilon > 0 and not self.power_laws() and epsilon < _LEAST_DIFFUSION * spread:
            raise CaseError(
                f"the potential differs by {spread:.3g} between cells, beside which epsilon = {epsilon:g} is lost to "
                f"round-off; use epsilon >= {_LEAST_DIFFUSION * spread:.2g} or a smaller potential"
            )
        if self._mobility is None:
            return GradientFlow(mesh, total, scheme=self.stepper.face_density)
        with placed("flow", "mobility"):
            found = mobility(mesh, self._mobility, parameters)
            return GradientFlow(mesh, total, found, self.stepper.face_density)

    def motion(self, problem: GradientFlow, parameters: Parameters, saved: SavedFields) -> Motion:
        """v = -grad E'(rho); in time by the fluxes of the stepper, linear where rho is 0 somewhere."""
        total = problem.total

        def rate(frame: int) -> Array | None:
            density = saved.field("rho", frame)
            if not (density > 0).all():
                return None
            return problem.rate(density, float(saved.times[frame]))

        if problem.mobility is not None:
            fault = "the velocity has a mobility that is known on faces only; store it with output: {velocity: true}"
            return Motion(fault=fault, rates=rate)

        def variation(frame: int) -> SavedValues:
            density = saved.field("rho", frame)
            with np.errstate(divide="ignore", invalid="ignore"):
                values = total.first(density)
            if not np.isfinite(values).all():
                raise NumericsError(
                    f"rho is 0 in {np.count_nonzero(density <= 0)} cells at t = {saved.times[frame]:g}, where E'(rho) "
                    "and the velocity -grad E' are not finite; use a smaller domain or other times"
                )
            if (change := rate(frame)) is None:
                return SavedValues(values)
            with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
                found = total.second(density) * change + total.offdiagonal_hessian_product(change)
            return SavedValues(values, found if np.isfinite(found).all() else None)

        drift = self.drift(parameters)
        return PotentialMotion(saved=saved, values=variation, factor=-1.0, external=drift, rates=rate)

    def states(
        self, problem: GradientFlow, initial: State, times: Times, progress: Progress | None = None
    ) -> Iterator[State]:
        """Every state of the run."""
        stepper, volume = self.stepper, problem.mesh.volume
        step, check = stepper.start(problem), finite_check(problem)
        return march(step, initial, times, volume, stepper.order, stepper.growth, check=check)

    def positive_step(self, problem: GradientFlow) -> float:
        """The longest step that keeps every density non-negative; 0 if there is none."""
        return self.stepper.positive_step(problem)

    def error_in_time(self, problem: GradientFlow, times: TimeGrid) -> TimeErrorMonitor | None:
        """By a companion, if the steps are given."""
        stepper = self.stepper
        if times.adaptive is not None or stepper.error_fault:
            return None
        return CompanionMonitor(problem.mesh.volume, int(stepper.order), lambda: stepper.start(problem))

    @property
    def error_fault(self) -> str:
        """That of the stepper."""
        return self.stepper.error_fault

    def may_ring(self, problem: GradientFlow) -> bool:
        """Whether the stepper is not monotone."""
        return not self.stepper.monotone

    def describe(self, extent: Extent) -> str:
        """A phrase that describes the scheme."""
        return self.stepper.describe(extent)

    def memory(self, extent: Extent) -> int:
        """Estimated memory of a run, bytes: mesh, Newton matrix and its factors, transforms of interactions."""
        return self.stepper.memory(extent) + sum(part.memory(extent) for part in self.energy)


def _resolved_entropy(mesh: Mesh, total: TotalEnergy) -> float:
    """max_K h_K^2 (Lap U)_K/d, h_K = |K|^(1/d), at least 0: eps for which exp(-U/eps) falls over a cell or more.

    U is E' of a mass of 1 in the cell nearest to the middle: the potential into which the mass gathers.
    """
    middle = int(np.argmin(((mesh.centre - mesh.centre.mean(axis=0)) ** 2).sum(axis=1)))
    density = np.zeros(mesh.cells)
    density[middle] = 1.0 / mesh.volume[middle]
    width = mesh.cell_size

    def laplacian(field: Array) -> Array:
        drop = mesh.transmissibility * (field[mesh.neighbour] - field[mesh.owner])
        return divergence(mesh, drop) / mesh.volume

    at_wall = sum(np.abs(width * laplacian(axis)) for axis in mesh.centre.T) > _AT_WALL
    gathered = total.first(density)
    if gathered[middle] > np.median(gathered):  # the mass does not gather
        return 0.0
    widened = width**2 * laplacian(gathered) / mesh.dimension
    return max(float(widened[~at_wall].max(initial=0.0)), 0.0)
