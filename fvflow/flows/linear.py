"""The linear equation with its drift, diffusion and flux, common to the flows that solve it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

from annotated_types import Ge, MaxLen, MinLen

from fvflow.errors import CaseError, NumericsError
from fvflow.fields import Drift, Function, Parameters, as_function, files_of
from fvflow.flows.base import BaseFlow
from fvflow.fluxes import FaceResolution, Flux, ScharfetterGummel
from fvflow.mesh import Mesh
from fvflow.problems import FokkerPlanck, State


@dataclass(frozen=True)
class LinearFlow(BaseFlow):
    """d_t rho + div(rho v) = epsilon Lap rho, v = -grad(potential) + velocity + (d_y stream, -d_x stream) + tilt."""

    epsilon: Annotated[float, Ge(0)]
    """Diffusion coefficient eps, length^2/time; 0 gives the continuity equation."""
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

    sharp_stepper: ClassVar[str] = ""
    """The stepper that needs no resolved drift, as "stepper ..."; empty if the flow has none."""
    stores_fluxes: ClassVar[bool] = True
    homogeneous = True

    def __post_init__(self) -> None:
        if self.epsilon == 0 and self.flux.requires_diffusion:
            raise CaseError(f"flux {self.flux.kind} needs epsilon > 0; use flux upwind for the continuity equation")

    @property
    def files(self) -> tuple[str, ...]:
        """Paths of the tables that the drift is made of."""
        return files_of(self.potential, *(self.velocity or ()), self.stream)

    def drift(self, parameters: Parameters) -> Drift:
        """The drift as functions."""
        return Drift(
            None if self.potential is None else as_function(self.potential, "flow", "potential"),
            None
            if self.velocity is None
            else tuple(as_function(part, "flow", "velocity", axis) for axis, part in enumerate(self.velocity)),
            None if self.stream is None else as_function(self.stream, "flow", "stream"),
            parameters,
            self.tilt or (),
        )

    def diffusion(self) -> float:
        """eps."""
        return self.epsilon

    def undescribed(self) -> tuple[str, ...]:
        """Nothing: drift and diffusion are the whole equation."""
        return ()

    def problem(self, mesh: Mesh, parameters: Parameters, start: float = 0.0) -> FokkerPlanck:
        """The problem in arrays; raises CaseError if the drift does not fit the mesh or is not finite."""
        if self.velocity is not None and len(self.velocity) != mesh.dimension:
            raise CaseError(
                f"velocity has {len(self.velocity)} components in {mesh.dimension} dimensions; give one per axis"
            ).at("flow", "velocity")
        if self.tilt is not None and len(self.tilt) != mesh.dimension:
            raise CaseError(f"tilt has {len(self.tilt)} entries in {mesh.dimension} dimensions; give one per axis").at(
                "flow", "tilt"
            )
        if self.stream is not None and mesh.dimension != 2:
            raise CaseError(f"a stream function needs two dimensions, the mesh has {mesh.dimension}; use velocity").at(
                "flow", "stream"
            )
        problem = self.equation(mesh, self.drift(parameters))
        problem = replace(problem, start=start) if start else problem
        try:  # evaluated here so that a drift that does not fit is refused before the run
            problem.energy(start)
            problem.coefficients(start)
        except NumericsError as error:
            raise CaseError(str(error)).at(*error.place) from None
        return problem

    def equation(self, mesh: Mesh, drift: Drift) -> FokkerPlanck:
        """The equation with two-point fluxes."""
        return FokkerPlanck(mesh, drift, self.epsilon, self.flux)

    def unresolved(self, resolution: FaceResolution) -> str:
        """As the flux says."""
        return self.flux.unresolved(resolution, self.sharp_stepper)

    def resolution(self, problem: FokkerPlanck, state: State) -> FaceResolution | None:
        """How well the cells resolve the drift where the mass is; None if eps is 0."""
        if self.epsilon == 0 or not problem.mesh.faces:
            return None
        return problem.resolution(state.time).seen_by(problem.mesh.volume * state.density)
