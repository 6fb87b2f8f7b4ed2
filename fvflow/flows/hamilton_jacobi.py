"""The Hamilton-Jacobi equation for a potential, and the continuity equation with its velocity."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
from annotated_types import Gt, Le

from fvflow.errors import CaseError, NumericsError, placed
from fvflow.exact import ClosedForm
from fvflow.fields import Expression, HamiltonianFormula, Parameters, SteadyFunction, as_function, files_of
from fvflow.fields.seams import require_joined_potential
from fvflow.flows.base import BaseFlow
from fvflow.flows.motion import Motion, SavedFields, StoredMotion
from fvflow.linalg import Auto, FaceMatrix, Solution, UpwindTriangular, rescale_to_mass, resolve_solver
from fvflow.march import Progress, march
from fvflow.mesh import Array, Extent, Mesh
from fvflow.problems import OutputVariable, State, Transport
from fvflow.steppers import require_finite
from fvflow.times import Times
from fvflow.transport import Hamiltonian, QuadraticHamiltonian

if TYPE_CHECKING:
    from fvflow.transport import BaseHamiltonian


@dataclass(frozen=True, eq=False)
class HamiltonJacobi(Transport):
    """Transport along a potential that follows a Hamilton-Jacobi equation."""

    hamiltonian: BaseHamiltonian = QuadraticHamiltonian()
    """H on the mesh."""


@dataclass(frozen=True)
class HamiltonJacobiFlow(BaseFlow):
    """d_t phi + H(grad phi) = 0 from a given potential, and d_t rho + div(rho grad_p H(grad phi)) = 0.

    phi is computed by Godunov's monotone scheme in as many substeps as stability requires, rho by an implicit upwind
    step with the new phi: first order, positive and conservative. While phi is smooth, rho is a geodesic of W2 for
    H = |p|^2/2 (notes, equations (71)-(72)); where characteristics meet, phi has a kink at which mass concentrates.
    H is |p|^2/2 unless given, and may depend on x and t; that it is convex in p is checked for the slopes of phi.
    """

    potential: SteadyFunction
    """phi at the start, an expression in x, y, z or a table."""
    hamiltonian: HamiltonianFormula | Hamiltonian = QuadraticHamiltonian()
    """H, convex in p: an expression in px, py, pz, x, y, z, t, or a kind."""
    cfl: Annotated[float, Gt(0), Le(1)] = 0.9
    """Courant number of the substeps of phi."""
    kind: Literal["hamilton-jacobi"] = "hamilton-jacobi"
    homogeneous = True

    figures: ClassVar[Mapping[str, str]] = {"hopf_lax": "with the hamiltonian quadratic"}

    @property
    def order_in_space(self) -> float | None:
        """1."""
        return 1.0

    @property
    def order_in_time(self) -> float:
        """1."""
        return 1.0

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
        return self._kind is not None and self._kind.hopf_lax_available

    @property
    def _kind(self) -> Hamiltonian | None:
        """The kind of H; None if it is an expression."""
        return None if isinstance(self.hamiltonian, str | float | int) else self.hamiltonian

    @property
    def _formula(self) -> Expression | None:
        """H as an expression; None if it is a kind."""
        return Expression(self.hamiltonian) if isinstance(self.hamiltonian, str | float | int) else None

    def steady(self, parameters: Parameters) -> bool:
        """Whether H does not depend on t."""
        return self._formula is None or "t" not in self._formula.names

    def problem(self, mesh: Mesh, parameters: Parameters, start: float = 0.0) -> HamiltonJacobi:
        """The problem in arrays; raises CaseError if phi is not finite, H not convex or the mesh not a grid."""
        from fvflow.transport.hamilton_jacobi import longest_step

        if mesh.edges is None:
            raise CaseError("flow hamilton-jacobi needs a mesh of kind box, graded or fipy")
        potential = as_function(self.potential, "flow", "potential")
        with placed("flow", "potential"):
            require_joined_potential(mesh, lambda at: potential.at(at, parameters, 0.0), 0.0, "")
        phi = potential.at(mesh.centre, parameters, 0.0)
        with placed("flow", "hamiltonian"):
            hamiltonian = self._hamiltonian(mesh, parameters, start)
            _SlopeRange(mesh).require_convex(hamiltonian, phi)
            longest_step(mesh, phi, hamiltonian)  # raises unless the scheme is defined
        return HamiltonJacobi(mesh, potential=phi, hamiltonian=hamiltonian)

    def _hamiltonian(self, mesh: Mesh, parameters: Parameters, start: float) -> BaseHamiltonian:
        from fvflow.transport.expression_hamiltonian import ExpressionHamiltonian

        if self._formula is not None:
            return ExpressionHamiltonian.on(mesh, self._formula, parameters, start)
        assert self._kind is not None
        return self._kind

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
        self, problem: HamiltonJacobi, initial: State, times: Times, progress: Progress | None = None
    ) -> Iterator[State]:
        """Every state of the run."""
        from fvflow.transport.hamilton_jacobi import solve

        assert problem.potential is not None
        mesh, start = problem.mesh, problem.potential
        transported, slope_range = _transport(mesh, problem.hamiltonian.climbs), _SlopeRange(mesh)

        def step(state: State, length: float) -> State:
            assert state.potential is not None
            slope_range.require_convex(problem.hamiltonian.at(state.time), state.potential)
            hamiltonian = problem.hamiltonian.at(state.time + length)
            ((_, phi),) = solve(mesh, state.potential, problem.hamiltonian, [length], self.cfl, state.time)
            taken = replace(state, time=state.time + length, step=state.step + 1, potential=phi)
            require_finite("phi", phi, taken, mesh, lambda: "; use a shorter step or a less steep phi")
            speed = _speed(mesh, hamiltonian, phi)
            flow = length * mesh.area * speed
            scaled = transported(
                flow,
                phi,
                state,
                lambda density: require_finite("the density", density, taken, mesh, lambda: self._culprit(speed)),
            )
            fields = self._fields(mesh, phi, speed)
            return replace(taken, density=scaled.density, correction=scaled.correction, fields=fields)

        phi = start if initial.potential is None else initial.potential  # of a run that goes on
        speed = _speed(mesh, problem.hamiltonian.at(initial.time), phi)
        first = replace(initial, potential=phi, fields=self._fields(mesh, phi, speed))
        for state in march(step, first, times, mesh.volume, 1):
            last = state.time == times.end and self.quadratic
            yield replace(state, figures={"hopf_lax": self._error(mesh, start, state, times.span)}) if last else state

    def _error(self, mesh: Mesh, start: Array, state: State, time: float) -> float:
        """Largest deviation of phi from the Hopf-Lax formula, relative to its range."""
        from fvflow.transport.hamilton_jacobi import hopf_lax

        assert state.potential is not None
        exact = hopf_lax(mesh, start, time)
        return float(np.abs(state.potential - exact).max() / max(float(np.ptp(exact)), 1e-300))

    def _culprit(self, speed: Array) -> str:
        """What makes the density not finite, and what helps."""
        what = "finite" if np.isfinite(speed).all() else "not finite"
        return f": the velocity grad_p H(grad phi) is {what}; use a shorter step or a less steep phi"

    def _fields(self, mesh: Mesh, phi: Array, speed: Array) -> dict[str, Array]:
        """phi and the velocity in the cells."""
        from fvflow.transport.geodesic import cell_vectors

        vectors = cell_vectors(mesh, speed)
        return {"phi": phi, **{f"v_{a}": vectors[:, i] for i, a in enumerate("xyz"[: mesh.dimension])}}

    def notes(self, problem: HamiltonJacobi) -> Iterator[str]:
        """Where H jumps because the axis is periodic."""
        yield from problem.hamiltonian.notes()

    def describe(self, extent: Extent) -> str:
        """A phrase that describes the scheme."""
        checked = "convex where it was checked (each cell, the slopes that occur)"
        given = f"H = {self.hamiltonian}, {checked}" if self._kind is None else f"H of kind {self._kind.kind}"
        return f"Godunov's scheme for {given}, implicit upwind transport (order 1)"

    def memory(self, extent: Extent) -> int:
        """Estimated memory of a run, bytes."""
        own = 400 * extent.dimension * extent.cells
        return max(own, Auto().memory(extent)) if self._kind is None else own


def _speed(mesh: Mesh, hamiltonian: BaseHamiltonian, phi: Array) -> Array:
    """grad_p H(grad phi).n of each face (face,)."""
    return hamiltonian.face_speed(mesh, (phi[mesh.neighbour] - phi[mesh.owner]) / mesh.distance)


def _transport(mesh: Mesh, climbs: bool) -> Callable[[Array, Array, State, Callable[[Array], None]], Solution]:
    """The implicit upwind step from dt |s| v.n of each face (face,), phi (cell,) and the state.

    Up phi by one pass over the cells, otherwise by a linear solver. A density is checked before its mass is restored.
    """
    triangular, shape = UpwindTriangular(mesh), mesh.shape if mesh.edges is not None else None
    solver = resolve_solver(Auto(), mesh.extent, steady=False)

    def step(flow: Array, phi: Array, state: State, check: Callable[[Array], None]) -> Solution:
        sides, right = (np.maximum(flow, 0), np.maximum(-flow, 0)), mesh.volume * state.density
        if climbs:
            matrix = FaceMatrix(mesh.volume, mesh.owner, mesh.neighbour, *sides)
            density = triangular.solve(matrix, -phi, right)
            check(density)
            return rescale_to_mass(matrix, density, state.mass)
        check(np.where(np.isfinite(flow).all(), state.density, np.nan))
        matrix = FaceMatrix(mesh.volume, mesh.owner, mesh.neighbour, *sides, shape, periodic=mesh.periodic)
        found = solver.prepare(matrix)(right, state.mass)
        check(found.density)
        return found

    return step


class _SlopeRange:
    """The slopes of phi along each axis for which H has been found convex."""

    def __init__(self, mesh: Mesh) -> None:
        self._mesh = mesh
        self._lower, self._upper = np.full(mesh.dimension, np.inf), np.full(mesh.dimension, -np.inf)

    def require_convex(self, hamiltonian: BaseHamiltonian, phi: Array) -> None:
        """Raise as H does if it is not convex for the slopes of phi (cell,); it is not asked twice for the same ones.

        H that is known to be convex is not asked at all, another one for half as much more first, so that slopes that
        grow need few checks.
        """
        from fvflow.transport.hamilton_jacobi import slopes

        if hamiltonian.known_convex:
            return
        minus, plus = slopes(self._mesh, phi)
        inside = np.where(np.isfinite(minus), minus, plus)
        inside[~np.isfinite(inside)] = 0.0  # an axis of one cell
        lower = np.minimum(inside.min(axis=1), np.where(np.isfinite(plus), plus, inside).min(axis=1))
        upper = np.maximum(inside.max(axis=1), np.where(np.isfinite(plus), plus, inside).max(axis=1))
        if hamiltonian.steady and (lower >= self._lower).all() and (upper <= self._upper).all():
            return
        margin = np.where(upper > lower, 0.25 * (upper - lower), 0.5)
        try:
            hamiltonian.require_convex(lower - margin, upper + margin)
            self._lower, self._upper = lower - margin, upper + margin
        except (CaseError, NumericsError):  # beyond what occurs
            hamiltonian.require_convex(lower, upper)
            self._lower, self._upper = lower, upper
