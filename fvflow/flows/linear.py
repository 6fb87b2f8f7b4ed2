"""The linear equation with its drift, diffusion and flux, common to the flows that solve it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Annotated, ClassVar

from annotated_types import Ge, MaxLen, MinLen

from fvflow.errors import CaseError, NumericsError
from fvflow.exact import ISOTHERMAL, VARYING
from fvflow.fields import BaseDrift, Diffusion, Drift, Function, Parameters, files_of
from fvflow.flows.base import BaseFlow
from fvflow.flows.drift_keys import drift_of, require_axes
from fvflow.flows.linear_motion import LinearMotion
from fvflow.flows.motion import Motion, SavedFields
from fvflow.fluxes import FaceResolution, Flux, ScharfetterGummel
from fvflow.mesh import Extent, Mesh, Openings
from fvflow.problems import FluxDrift, FokkerPlanck, State, diffusivity


@dataclass(frozen=True)
class LinearFlow(BaseFlow):
    """d_t rho + div(rho v) = epsilon Lap rho, v = -grad(potential) + velocity + (d_y stream, -d_x stream) + tilt."""

    epsilon: Annotated[float, Ge(0)] | None = None
    """Diffusion coefficient eps, length^2/time; 0 gives the continuity equation. Beside `diffusion`, a factor of it."""
    potential: Function | None = None
    """Potential V of the drift -grad V, an expression in x, y, z, t or a table."""
    velocity: Annotated[tuple[Function, ...], MinLen(1), MaxLen(3)] | None = None
    """Velocity, one expression or table per axis, added to the drift."""
    stream: Function | None = None
    """Stream function psi in 2D, an expression or a table; adds (d_y psi, -d_x psi), divergence-free on the mesh."""
    tilt: Annotated[tuple[float, ...], MinLen(1), MaxLen(3)] | None = None
    """Constant force, one number per axis, added to the drift: on a periodic axis it is not that of a potential."""
    flux: Flux = ScharfetterGummel()
    """The two-point flux."""
    diffusion: Diffusion | None = field(default=None, kw_only=True)
    """Diffusion that varies in space, time or direction, or has a temperature; then epsilon may be left out."""

    sharp_stepper: ClassVar[str] = ""
    """The stepper that needs no resolved drift, as "stepper ..."; empty if the flow has none.

    It takes neither full tensors nor openings.
    """
    stores_fluxes: ClassVar[bool] = True
    homogeneous = True

    def __post_init__(self) -> None:
        if self.epsilon is None and self.diffusion is None:
            raise CaseError("epsilon is missing; give it, or diffusion: {value: ..., convention: ...}")
        if self.epsilon == 0 and self.flux.requires_diffusion:
            raise CaseError(f"flux {self.flux.kind} needs epsilon > 0; use flux upwind for the continuity equation")

    @property
    def files(self) -> tuple[str, ...]:
        """Paths of the tables that drift and diffusion are made of."""
        files = files_of(self.potential, *(self.velocity or ()), self.stream)
        return files if self.diffusion is None else (*files, *self.diffusion.files)

    @property
    def full(self) -> bool:
        """Whether the diffusion is a full tensor."""
        return self.diffusion is not None and self.diffusion.full

    def notes(self, problem: FokkerPlanck) -> Iterator[str]:
        """Where the diffusion jumps at the seam of a periodic axis."""
        if problem.diffusivity is not None:
            yield from problem.diffusivity.seam_notes(problem.start)

    @property
    def coarsens(self) -> bool:  # type: ignore[override]
        """Whether it is defined on a coarser mesh: the directions of a full tensor need a number of cells."""
        return not self.full

    @property
    def order_in_space(self) -> float | None:
        """That of the flux; 1, that of upwinding, where an axis has no diffusion."""
        bare = self.factor == 0 or (self.varying is not None and self.varying.bare)
        return 1.0 if bare else float(self.flux.order)

    @property
    def velocity_fault(self) -> str:
        """With a full tensor, mass also moves along diagonals."""
        sentence = "a full tensor of diffusion moves mass along diagonals, which no face carries; leave it out"
        return sentence if self.full else ""

    def graph_extent(self, extent: Extent) -> Extent:
        """The extent of the graph that mass moves along, on a mesh of an extent: no grid with a full tensor."""
        return extent._replace(grid=False) if self.full else extent

    @property
    def factor(self) -> float:
        """eps, or the factor of a diffusion that is not a number."""
        factor = 1.0 if self.epsilon is None else self.epsilon
        number = None if self.diffusion is None else self.diffusion.number
        return factor if number is None else factor * number

    @property
    def varying(self) -> Diffusion | None:
        """The diffusion if it is not a number."""
        return None if self.diffusion is None or self.diffusion.number is not None else self.diffusion

    def drift(self, parameters: Parameters) -> Drift:
        """The drift as functions."""
        return drift_of(self.potential, self.velocity, self.stream, self.tilt, parameters)

    def flux_drift(self, parameters: Parameters) -> BaseDrift:
        """The drift of the flux beside D grad rho."""
        drift, varying = self.drift(parameters), self.varying
        return drift if varying is None else FluxDrift(drift, varying, parameters, self.factor)

    def steady(self, parameters: Parameters) -> bool:
        """Whether neither drift nor diffusion depends on t."""
        return super().steady(parameters) and (self.diffusion is None or self.diffusion.steady)

    def linear_diffusion(self) -> float:
        """eps, or the temperature."""
        temperature = None if self.diffusion is None else self.diffusion.temperature
        return self.factor if temperature is None else temperature

    def undescribed(self) -> tuple[str, ...]:
        """A diffusion that is not a number; otherwise drift and diffusion are the whole equation."""
        if (varying := self.varying) is None:
            return ()
        isothermal = varying.temperature is not None
        others = () if isothermal and varying.power == 0 else (VARYING,)
        return (ISOTHERMAL, *others) if isothermal else others

    def problem(self, mesh: Mesh, parameters: Parameters, start: float = 0.0) -> FokkerPlanck:
        """The problem in arrays; raises CaseError if the drift does not fit the mesh or is not finite."""
        drift = self.drift(parameters)
        require_axes(mesh, drift)
        problem = self.equation(mesh, drift)
        problem = replace(problem, start=start) if start else problem
        if (varying := self.varying) is not None:
            problem = replace(problem, diffusivity=diffusivity(mesh, varying, parameters, self.factor))
        try:  # evaluated here so that a drift that does not fit is refused before the run
            problem.energy(start)
            problem.coefficients(start)
        except NumericsError as error:
            raise CaseError(str(error)).at(*error.place) from None
        return problem

    def equation(self, mesh: Mesh, drift: Drift) -> FokkerPlanck:
        """The equation with two-point fluxes."""
        return FokkerPlanck(mesh, drift, self.factor, self.flux)

    def motion(self, problem: FokkerPlanck, parameters: Parameters, saved: SavedFields) -> Motion:
        """The probability flow; refused where drift or diffusion depend on regions, which end at faces."""
        parts = () if self.varying is None else self.varying.components
        regional = problem.drift.regional or any(part.regions for part in parts)
        fault = "the drift or the diffusion depends on regions of the mesh, so that it is known in cells only; "
        fault += "store it with output: {velocity: true}"
        return LinearMotion(problem, saved, self.varying, parameters, self.factor, fault=fault if regional else "")

    def _sharper(self, openings: Openings | None) -> str:
        """The `sharp_stepper` where it can be used."""
        return "" if self.full or openings is not None else self.sharp_stepper

    def without_diffusion(self, openings: Openings | None) -> str:
        """The stepper that adds none, if there is one, or smaller cells."""
        return " or ".join(filter(None, (self._sharper(openings), "smaller cells")))

    def unresolved(self, resolution: FaceResolution, openings: Openings | None) -> str:
        """As the flux says."""
        return self.flux.unresolved(resolution, self._sharper(openings))

    def resolution(self, problem: FokkerPlanck, state: State) -> FaceResolution | None:
        """How well the cells resolve the drift where the mass is; None if eps is 0 on every face."""
        if self.factor == 0 or not problem.mesh.faces:
            return None
        resolution = problem.resolution(state.time)
        return resolution.seen_by(problem.mesh.volume * state.density) if resolution.faces.any() else None
