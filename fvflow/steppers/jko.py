"""Minimising-movement steps: rho^{n+1} minimises E(rho) + W2^2(rho^n, rho)/(2 tau), with a discrete W2."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated, Literal, NamedTuple

import numpy as np
from annotated_types import Ge, Gt, Le, Lt

from fvflow.errors import NumericsError
from fvflow.fluxes import scharfetter_gummel
from fvflow.linalg import (
    Auto,
    Direct,
    FaceMatrix,
    FactorCache,
    Multigrid,
    SplitSweeps,
    UpwindTriangular,
    rescale_to_mass,
    resolve_solver,
)
from fvflow.mesh import Array, Extent, Mesh
from fvflow.problems import GradientFlow, State
from fvflow.steppers.base import GradientStepperBase, Step
from fvflow.steppers.intervals import Intervals
from fvflow.steppers.newton import CentredIterate, Iterate
from fvflow.steppers.schur import NewtonSolver, Pattern, newton_solver

_MOST_FAILURES = 100  # Newton iterations without success in one step, all its parts together
_LEAST = 1e-6  # of the mean: the least density at which the predictor evaluates the diffusion


@dataclass(frozen=True)
class LJKO(GradientStepperBase):
    """The linearised JKO step with upwind mobility: first order, rho > 0 stays, E falls at any step.

    With phi the potential at the end of the step, D_s = phi_K - phi_L and rho_s the density on the side that the mass
    leaves, the step solves

        |K| (rho_K - rho^n_K) + tau sum_s T_s rho_s D_s = 0                                     (continuity)
        |K| (phi_K - E'(rho)_K) + (tau/2) sum_{s leaving K} T_s D_s^2 = 0                       (Hamilton-Jacobi)

    the optimality conditions of min E(rho) + (tau/2) sum_s T_s rho_s D_s^2, so that E(rho^{n+1}) plus that cost is at
    most E(rho^n). Cances, Gallouet, Todeschi, A variational finite volume scheme for Wasserstein gradient flows, Numer.
    Math. 146 (2020); notes, equations (140)-(146).

    Newton on both, its Schur complement in phi factorised or, on large meshes, solved by multigrid. It starts from one
    linear implicit step with the diffusion rho E''(rho) of the last density and the same potential, whose tails decay
    like those of the solution: on Ornstein-Uhlenbeck 2 to 6 iterations where a start from rho^n took 9 to 30. Where
    E'(0) is infinite, cells that stay below 1e-14 of the mean keep that start. The density is then carried once more
    along phi, an M-matrix, which makes it conservative and non-negative to round-off. If Newton does not converge the
    step is halved.
    """

    tolerance: Annotated[float, Gt(0), Lt(1e-3)] = 1e-10
    iterations: Annotated[int, Ge(1)] = 40
    halvings: Annotated[int, Ge(0), Le(60)] = 24
    solver: NewtonSolver = Auto()
    kind: Literal["ljko"] = "ljko"
    mobility = "upwind"

    def newton_solver(self, extent: Extent) -> Direct | Multigrid:
        """The solver of its Newton systems on a mesh of this extent."""
        return newton_solver(self.solver, extent)

    def start(self, problem: GradientFlow) -> Step:
        """The step as a function."""
        mesh = problem.mesh
        marcher = _Marcher(
            self, problem, Pattern(mesh, self.solver), Predictor(problem, self.solver), UpwindTriangular(mesh)
        )

        def step(state: State, length: float) -> State:
            return marcher.step(state, length, self.halvings, [_MOST_FAILURES])

        return step


@dataclass(frozen=True, eq=False)
class _Marcher:
    """LJKO on one problem."""

    options: LJKO
    problem: GradientFlow
    pattern: Pattern
    predict: Predictor
    downhill: UpwindTriangular

    def step(self, state: State, length: float, halvings: int, failures: list[int]) -> State:
        """The state after a step, in as many parts as it needs; the failures left are counted down."""
        try:
            return self._attempt(state, length)
        except NumericsError as failure:
            failures[0] -= 1
            if halvings == 0 or failures[0] < 0:
                raise NumericsError(
                    f"ljko did not converge at t = {state.time:g} even with a step of {length:.3g} after "
                    f"{self.options.halvings - halvings} halvings ({failure}); use a smaller step, a finer mesh or a "
                    "larger tolerance"
                ) from None
        half = self.step(state, 0.5 * length, halvings - 1, failures)
        end = self.step(half, 0.5 * length, halvings - 1, failures)
        return replace(
            end,
            step=state.step + 1,
            iterations=half.iterations + end.iterations + self.options.iterations,
            correction=max(half.correction, end.correction),
            dissipated=half.dissipated + end.dissipated,
            residual=max(half.residual, end.residual),
            optimality=max(half.optimality, end.optimality),
            halvings=half.halvings + end.halvings + 1,
        )

    def _attempt(self, state: State, length: float) -> State:
        mesh = self.problem.mesh
        content = mesh.volume * state.density
        with np.errstate(all="ignore"):  # a Newton step that overflows shows in its residual, and the step is halved
            phi, found = self._newton(state, self.predict(state, length), length)
        carrier = _carrier(self.problem, phi, length)
        carried = rescale_to_mass(carrier, self.downhill.solve(carrier, phi, content), state.mass)
        return replace(
            state,
            time=state.time + length,
            step=state.step + 1,
            density=carried.density,
            potential=phi,
            iterations=found.iterations,
            residual=found.residual,
            optimality=found.optimality,
            dissipated=_cost(self.problem, phi, carried.density, length),
            correction=carried.correction,
            halvings=0,
        )

    def _newton(self, state: State, start: Array, length: float) -> tuple[Array, Converged]:
        """phi at the end of the step."""
        iterate = Iterate(self.pattern, self.problem, state, start, length)
        found = _converged(iterate, self.options.tolerance, self.options.iterations)
        return iterate.phi, found


class Converged(NamedTuple):
    """The Newton iterations of a step and the residuals that they left: see `Iterate.errors`."""

    iterations: int
    residual: float
    optimality: float


def _converged(iterate: Iterate, tolerance: float, most: int) -> Converged:
    """Advance the iterate until it has converged. Raises NumericsError."""
    for iteration in range(most + 1):
        residuals = iterate.residuals()
        lost, off = iterate.errors(*residuals)
        if lost <= tolerance and off <= 100 * tolerance:
            return Converged(iteration, lost, off)
        if lost == np.inf or iteration == most:
            break
        iterate.advance(*residuals)
    raise NumericsError(f"residuals {lost:.1e} of the mass and {off:.1e} of the potential")


@dataclass(frozen=True)
class JKO(GradientStepperBase):
    """The JKO step itself, centred in space and in the time of the step: min E(rho) + (tau/2) sum_s T_s rho_s D_s^2.

        |K| (rho_K - rho^n_K) + tau sum_s T_s rho_s D_s = 0,   rho_s = (rho_K + rho_L + rho^n_K + rho^n_L)/4
        |K| (phi_K - E'(rho)_K) + (tau/8) sum_s T_s D_s^2 = 0

    the Benamou-Brenier problem of the step with one interval, phi in its middle: second order in space and near the JKO
    recursion to a relative tau^2, so that what remains of its error is the first order in tau of the recursion (notes,
    equations (1) and (140)). With Q `intervals` in time it is nearer by 1/Q^2, for long steps; their one system costs
    more than Q single ones. A step that does not converge, or whose density would be negative, is left to ljko and
    counted as a fallback.
    """

    intervals: Annotated[int, Ge(1), Le(64)] = 1
    tolerance: Annotated[float, Gt(0), Lt(1e-3)] = 1e-12
    iterations: Annotated[int, Ge(1)] = 40
    solver: NewtonSolver = Auto()
    kind: Literal["jko"] = "jko"
    order_in_space = 2

    def newton_solver(self, extent: Extent) -> Direct | Multigrid:
        """The solver of its Newton systems on a mesh of this extent."""
        return newton_solver(self.solver, extent)

    def memory(self, extent: Extent) -> int:
        """Estimated bytes of a run; several intervals have one factorisation of all, 20 kB per unknown."""
        several = 40_000 * self.intervals * extent.cells if self.intervals > 1 else 0
        return super().memory(extent) + several

    def start(self, problem: GradientFlow) -> Step:
        """The step as a function."""
        minimised, robust = self.attempt(problem), LJKO().start(problem)

        def step(state: State, length: float) -> State:
            return minimised(state, length) or replace(robust(state, length), fallbacks=1)

        return step

    def attempt(self, problem: GradientFlow) -> Callable[[State, float], State | None]:
        """The step as a function; None where it does not converge to a density >= 0."""
        mesh, pattern, predict = problem.mesh, Pattern(problem.mesh, self.solver), Predictor(problem, self.solver)
        downhill = UpwindTriangular(mesh)

        def minimised(state: State, length: float) -> State | None:
            try:
                with np.errstate(all="ignore"):  # as in ljko
                    iterate, found = self._newton(pattern, problem, state, predict(state, length), length)
            except NumericsError:
                return None
            density = poured(mesh, downhill, state, iterate.flux(), iterate.phi, self.tolerance)
            if density is None:
                return None
            return replace(
                state,
                time=state.time + length,
                step=state.step + 1,
                density=density,
                potential=iterate.phi,
                iterations=found.iterations,
                residual=found.residual,
                optimality=found.optimality,
                dissipated=iterate.cost(),
                correction=0.0,
                halvings=0,
                fallbacks=0,
            )

        return minimised

    def _newton(
        self, pattern: Pattern, problem: GradientFlow, state: State, start: Array, length: float
    ) -> tuple[CentredIterate, Converged]:
        single = CentredIterate(pattern, problem, state, start, length)
        found = _converged(single, self.tolerance, self.iterations)
        if self.intervals == 1:
            return single, found
        several = Intervals(pattern, problem, state, single, length, self.intervals)
        further = _converged(several, self.tolerance, self.iterations)
        return several, further._replace(iterations=found.iterations + further.iterations)


def poured(
    mesh: Mesh, downhill: UpwindTriangular, state: State, flux: Array, phi: Array, tolerance: float
) -> Array | None:
    """The density after what crosses each face in a step; None where it would be negative by more than round-off.

    In vacuum the fluxes of a converged Newton iteration may take 1e-40 out of an empty cell; it keeps that back.
    """
    content, kept = downhill.limit_outflow(flux, phi, mesh.volume * state.density)
    return content / mesh.volume if kept <= tolerance * state.mass else None


class Predictor:
    """A linear implicit step with the diffusion rho E''(rho) of the density before, and the potential.

    The Newton iteration starts from it. On large grids it is split by axis, thirty times faster at 512^2; in vacuum the
    iteration then takes a fifth more steps.
    """

    def __init__(self, problem: GradientFlow, solver: NewtonSolver) -> None:
        self._problem = problem
        large = isinstance(newton_solver(solver, problem.mesh.extent), Multigrid)
        self._split = problem.mesh.edges is not None and (large or problem.mesh.dimension == 1)
        self._solve = FactorCache(resolve_solver(Auto(), problem.mesh.extent).prepare, keep=2)

    def __call__(self, state: State, tau: float) -> Array:
        mesh, total = self._problem.mesh, self._problem.total
        density = np.maximum(state.density, _LEAST * state.mass / mesh.volume.sum())
        diffusion = density * total.second(density)
        eps = 0.5 * (diffusion[mesh.owner] + diffusion[mesh.neighbour])
        potential = total.potential(state.density)
        drop = potential[mesh.owner] - potential[mesh.neighbour]
        conductance = tau * mesh.transmissibility
        down, up = conductance * scharfetter_gummel(-drop, eps), conductance * scharfetter_gummel(drop, eps)
        matrix = FaceMatrix(mesh.volume, mesh.owner, mesh.neighbour, down, up, mesh.shape if self._split else None)
        if self._split:
            return SplitSweeps(matrix)(state.density)
        return self._solve(1.0, down, up, lambda: matrix)(mesh.volume * state.density, state.mass).density


def _carrier(problem: GradientFlow, phi: Array, tau: float) -> FaceMatrix:
    """The continuity equation with phi given: implicit upwind transport, an M-matrix."""
    mesh = problem.mesh
    drop = tau * mesh.transmissibility * (phi[mesh.owner] - phi[mesh.neighbour])
    return FaceMatrix(mesh.volume, mesh.owner, mesh.neighbour, np.maximum(drop, 0.0), np.maximum(-drop, 0.0))


def _cost(problem: GradientFlow, phi: Array, density: Array, tau: float) -> float:
    """(tau/2) sum_s T_s rho_s D_s^2, the discrete W2^2(rho^n, rho)/(2 tau) of a step."""
    mesh = problem.mesh
    drop = phi[mesh.owner] - phi[mesh.neighbour]
    source = np.where(drop > 0, mesh.owner, mesh.neighbour)
    return 0.5 * tau * float((mesh.transmissibility * density[source]) @ drop**2)
