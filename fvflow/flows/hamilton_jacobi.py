"""The Hamilton-Jacobi equation for a potential, and the continuity equation with its velocity."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal

import numpy as np
from annotated_types import Gt, Le

from fvflow.errors import CaseError, placed
from fvflow.exact import ClosedForm
from fvflow.fields import Parameters, SteadyFunction, as_function, files_of
from fvflow.fields.seams import require_joined_potential
from fvflow.flows.base import BaseFlow
from fvflow.flows.motion import Motion, SavedFields, StoredMotion
from fvflow.linalg import FaceMatrix, UpwindTriangular, rescale_to_mass
from fvflow.march import Progress, march
from fvflow.mesh import Array, Extent, Mesh
from fvflow.problems import OutputVariable, State, Transport
from fvflow.steppers import require_finite
from fvflow.times import Times
from fvflow.transport import Hamiltonian, QuadraticHamiltonian, cell_vectors, hopf_lax, solve


@dataclass(frozen=True)
class HamiltonJacobiFlow(BaseFlow):
    """d_t phi + H(grad phi) = 0 from a given potential, and d_t rho + div(rho grad_p H(grad phi)) = 0.

    phi is computed by Godunov's monotone scheme in as many substeps as stability requires, rho by an implicit upwind
    step with the new phi: first order, positive and conservative. While phi is smooth, rho is a geodesic of W2 for
    H = |p|^2/2 (notes, equations (71)-(72)); where characteristics meet, phi has a kink at which mass concentrates.
    """

    potential: SteadyFunction
    """phi at the start, an expression in x, y, z or a table."""
    hamiltonian: Hamiltonian = QuadraticHamiltonian()
    """The convex Hamiltonian H."""
    cfl: Annotated[float, Gt(0), Le(1)] = 0.9
    """Courant number of the substeps of phi."""
    kind: Literal["hamilton-jacobi"] = "hamilton-jacobi"
    homogeneous = True

    figures: ClassVar[Mapping[str, str]] = {"hopf_lax": "with the hamiltonian quadratic"}

    @property
    def drawn(self) -> tuple[str, ...]:
        """phi, which the equation is about."""
        return ("phi",)

    @property
    def files(self) -> tuple[str, ...]:
        """Path of the table of phi."""
        return files_of(self.potential)

    def has_figure(self, name: str) -> bool:
        """Whether a run computes this figure: the error against the Hopf-Lax formula for H = |p|^2/2 only."""
        return super().has_figure(name) and self.quadratic

    def exact_fault(self, exact: ClosedForm) -> str:
        """Why it cannot be compared with a closed form: there is none."""
        return "flow hamilton-jacobi has no closed form; leave out exact and check hopf_lax instead"

    def positive_step(self, problem: Transport) -> float:
        """Infinite: implicit upwind transport keeps rho >= 0."""
        return math.inf

    @property
    def quadratic(self) -> bool:
        """Whether H = |p|^2/2, for which the Hopf-Lax formula is implemented."""
        return self.hamiltonian.hopf_lax_available

    def problem(self, mesh: Mesh, parameters: Parameters, start: float = 0.0) -> Transport:
        """The problem in arrays; raises CaseError if phi is not finite or the mesh is not a grid."""
        if mesh.edges is None:
            raise CaseError("flow hamilton-jacobi needs a mesh of kind box, graded or fipy")
        potential = as_function(self.potential, "flow", "potential")
        with placed("flow", "potential"):
            require_joined_potential(mesh, lambda at: potential.at(at, parameters, 0.0), 0.0, "")
        return Transport(mesh, potential=potential.at(mesh.centre, parameters, 0.0))

    def motion(self, problem: Transport, parameters: Parameters, saved: SavedFields) -> Motion:
        """v = grad_p H(grad phi), linear between the cells: phi has kinks, at which a spline would swing."""
        return StoredMotion(saved=saved, prefix="v", fault="flow hamilton-jacobi has no drift but its velocity")

    def fields(self, mesh: Mesh) -> dict[str, OutputVariable]:
        """phi and grad phi."""
        axes = "xyz"[: mesh.dimension]
        return {
            "phi": OutputVariable(("cell",), "potential"),
            **{f"v_{a}": OutputVariable(("cell",), f"velocity along {a}", signed=True) for a in axes},
        }

    def states(
        self, problem: Transport, initial: State, times: Times, progress: Progress | None = None
    ) -> Iterator[State]:
        """Every state of the run."""
        assert problem.potential is not None
        mesh, solver, start = problem.mesh, UpwindTriangular(problem.mesh), problem.potential

        def step(state: State, length: float) -> State:
            assert state.potential is not None
            ((_, phi),) = solve(mesh, state.potential, self.hamiltonian, [length], self.cfl)
            taken = replace(state, time=state.time + length, step=state.step + 1, potential=phi)
            require_finite("phi", phi, taken, mesh, lambda: "; use a shorter step or a less steep phi")
            speed = self._speed(mesh, phi)
            flow = length * mesh.area * speed
            matrix = FaceMatrix(mesh.volume, mesh.owner, mesh.neighbour, np.maximum(flow, 0), np.maximum(-flow, 0))
            density = solver.solve(matrix, -phi, mesh.volume * state.density)
            require_finite("the density", density, taken, mesh, lambda: self._culprit(speed))
            scaled = rescale_to_mass(matrix, density, state.mass)
            fields = self._fields(mesh, phi, speed)
            return replace(taken, density=scaled.density, correction=scaled.correction, fields=fields)

        phi = start if initial.potential is None else initial.potential  # of a run that goes on
        first = replace(initial, potential=phi, fields=self._fields(mesh, phi, self._speed(mesh, phi)))
        for state in march(step, first, times, mesh.volume, 1):
            last = state.time == times.end and self.quadratic
            yield replace(state, figures={"hopf_lax": self._error(mesh, start, state, times.span)}) if last else state

    def _error(self, mesh: Mesh, start: Array, state: State, time: float) -> float:
        """Largest deviation of phi from the Hopf-Lax formula, relative to its range."""
        assert state.potential is not None
        exact = hopf_lax(mesh, start, time)
        return float(np.abs(state.potential - exact).max() / max(float(np.ptp(exact)), 1e-300))

    def _culprit(self, speed: Array) -> str:
        """What makes the density not finite, and what helps."""
        what = "finite" if np.isfinite(speed).all() else "not finite"
        return f": the velocity grad_p H(grad phi) is {what}; use a shorter step or a less steep phi"

    def _speed(self, mesh: Mesh, phi: Array) -> Array:
        """grad_p H(grad phi).n of each face (face,)."""
        slope = (phi[mesh.neighbour] - phi[mesh.owner]) / mesh.distance
        return self.hamiltonian.face_speed(mesh, slope)

    def _fields(self, mesh: Mesh, phi: Array, speed: Array) -> dict[str, Array]:
        """phi and the velocity in the cells."""
        vectors = cell_vectors(mesh, speed)
        return {"phi": phi, **{f"v_{a}": vectors[:, i] for i, a in enumerate("xyz"[: mesh.dimension])}}

    def describe(self, extent: Extent) -> str:
        """A phrase that describes the scheme."""
        return f"Godunov's scheme for H of kind {self.hamiltonian.kind}, implicit upwind transport (order 1)"

    def memory(self, extent: Extent) -> int:
        """Estimated memory of a run, bytes."""
        return 400 * extent.dimension * extent.cells
