"""Long-time limit of the linear equation: its steady state and its slowest modes, without steps in time."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
from annotated_types import Ge, Gt, Le, MaxLen, MinLen

from fvflow.errors import CaseError, NumericsError
from fvflow.exact import ClosedForm
from fvflow.fields import Parameters, SteadyDiffusion, SteadyFunction
from fvflow.flows.linear import LinearFlow
from fvflow.linalg import LARGEST_DIRECT, LARGEST_ELIMINATION, Direct, FaceMatrix, Krylov
from fvflow.march import Progress
from fvflow.mesh import Array, Extent, Mesh
from fvflow.problems import FokkerPlanck, OutputVariable, State
from fvflow.times import SingleFrame, Times

if TYPE_CHECKING:
    from fvflow.linalg.markov.general_spectrum import GeneralModes
    from fvflow.linalg.markov.spectrum import Eigenmodes

_LOST = 0.01  # relative error of the spectral gap that is told


@dataclass(frozen=True)
class SteadyFlow(LinearFlow):
    """A flow computed from the generator of the linear equation with a steady drift, without steps in time."""

    epsilon: Annotated[float, Gt(0)] | None = None
    """Diffusion coefficient eps > 0, length^2/time. Beside `diffusion`, a factor of it."""
    diffusion: SteadyDiffusion | None = field(default=None, kw_only=True)
    """Diffusion that varies in space or direction, or has a temperature; then epsilon may be left out."""
    potential: SteadyFunction | None = None
    """Potential V of the drift -grad V, an expression in x, y, z or a table."""
    velocity: Annotated[tuple[SteadyFunction, ...], MinLen(1), MaxLen(3)] | None = None
    """Velocity, one expression or table per axis, added to the drift."""
    stream: SteadyFunction | None = None
    """Stream function psi in 2D, an expression or a table; (d_y psi, -d_x psi) is added to the drift."""

    steps_in_time: ClassVar[bool] = False
    needs_initial: ClassVar[bool] = False

    @property
    def _in_balance(self) -> bool:
        """Whether the rates are known to be in detailed balance on every mesh."""
        if not self.flux.keeps_gibbs or any(part is not None for part in (self.velocity, self.stream, self.tilt)):
            return False
        if (varying := self.varying) is None:
            return True
        return (varying.scalar or varying.power == 0) and (self.potential is None or varying.temperature is not None)

    def exact_fault(self, exact: ClosedForm) -> str:
        """Why it cannot be compared with a closed form, unless that is a stationary state."""
        if exact.stationary:
            return ""
        return f"flow {self.kind} can be compared with {{kind: gibbs}} alone; leave it out"

    def schedule(self, times: Times | None) -> SingleFrame:
        """The single frame of the result; raises CaseError if the case has times."""
        if times is not None:
            raise CaseError(f"flow {self.kind} is computed directly, without steps in time; remove times")
        return SingleFrame()

    def positive_step(self, problem: FokkerPlanck) -> float:
        """Infinite: the flux is monotone, so that the steady state is non-negative."""
        return math.inf

    def problem(self, mesh: Mesh, parameters: Parameters, start: float = 0.0) -> FokkerPlanck:
        """The problem in arrays; raises CaseError if the drift does not fit the mesh or the flux is not monotone."""
        problem = super().problem(mesh, parameters, start)
        if not problem.monotone:
            raise CaseError(
                f"flux {self.flux.kind} is not monotone here (a Peclet number is above 2), so that the result need not "
                "be positive; use flux scharfetter-gummel or a finer mesh"
            )
        return problem


@dataclass(frozen=True)
class StationaryFlow(SteadyFlow):
    """The limit as t -> infinity of d_t rho + div(rho v) = epsilon Lap rho, computed directly.

    It solves A rho = 0, A rho being the net outflow of each cell, with rho >= 0 and the mass of the initial density in
    each connected component of the mesh; without `initial`, the mass of a component is its part of the volume. If the
    drift is not a gradient, it need not be a Gibbs state and mass may circulate (`output: {fluxes: true}` stores the
    fluxes). The result has one frame. See fvflow.linalg.markov.stationary.
    """

    kind: Literal["stationary"] = "stationary"
    figures: ClassVar[Mapping[str, str]] = {"residual": ""}
    correlations: ClassVar[Mapping[str, str]] = {
        "autocorrelation_time": "integrated autocorrelation time of {0} in the steady state"
    }

    uncorrelated: ClassVar[str] = "the observable is the same wherever there is mass"

    def correlated(self, problem: FokkerPlanck, state: State, values: Array) -> Mapping[str, float]:
        """int_0^inf C(t)/C(0) dt, C the autocovariance of f in the steady state: a mean of N values at times dt apart
        has the variance of N dt/(2 time) independent ones. Raises NumericsError as `autocorrelation_time`.
        """
        from fvflow.linalg.markov.absorbing import AbsorbingChain
        from fvflow.linalg.markov.autocorrelation import autocorrelation_time
        from fvflow.linalg.markov.iterative_chain import IterativeChain

        mesh = problem.mesh
        chain_of = IterativeChain if mesh.dimension == 3 and mesh.cells > LARGEST_ELIMINATION else AbsorbingChain.of
        matrix, weight = problem.matrix(0.0, 1.0), mesh.volume * state.density
        return {"autocorrelation_time": autocorrelation_time(matrix, weight, values, mesh.components, chain_of)}

    def states(
        self, problem: FokkerPlanck, initial: State, times: SingleFrame, progress: Progress | None = None
    ) -> Iterator[State]:
        """The steady state; raises NumericsError if it is not unique or the solver fails."""
        from fvflow.linalg.markov.stationary import component_masses, stationary_density

        mesh = problem.mesh
        masses = component_masses(mesh.volume, initial.density, mesh.components)
        report = None if progress is None else progress.iteration
        matrix, start, reason = problem.matrix(0.0, 1.0), initial.iterate, problem.without_rates
        steady = stationary_density(matrix, mesh.components, masses, mesh.dimension, report, start, reason)
        figures = {"residual": steady.residual}
        yield replace(initial, density=steady.density, iterations=steady.iterations, figures=figures, iterate=None)

    def describe(self, extent: Extent) -> str:
        """A phrase that describes the scheme."""
        large = extent.dimension == 3 and extent.cells > LARGEST_ELIMINATION
        method = "multigrid and BiCGStab" if large else "subtraction-free elimination"
        return f"null vector by products along paths in detailed balance, else by {method}; {self.flux.kind} flux"

    def memory(self, extent: Extent) -> int:
        """Estimated memory of a run, bytes: mesh, matrix, and 24 per entry of a factor or the levels of multigrid.

        Entries of L per cell, measured: 14 to 28 (1.5 log2 n) on grids from 64^2 to 512^2; in three dimensions half as
        many as in a factorisation.
        """
        base = Krylov().memory(extent)
        if self._in_balance or extent.dimension == 1:
            return base
        if extent.dimension == 3 and extent.cells > LARGEST_ELIMINATION:
            return base + 1200 * extent.cells
        return base + Direct().memory(extent)


@dataclass(frozen=True)
class SpectrumFlow(SteadyFlow):
    """The `count` slowest modes of d_t rho + div(rho v) = epsilon Lap rho, and the steady state rho.

    rho(t) = rho + sum_i c_i mode_i exp(-rate_i t), 0 < rate_1 <= rate_2 <= ...; rate_1 is the spectral gap. A mode is a
    density of mass 0. mode_i/rho is the eigenfunction of the backward equation, scaled to sum |K| mode_i^2/rho = mass
    (Hermite polynomials for a quadratic potential), and c_i = sum |K| mode_i rho_0/rho over the mass. This holds in
    detailed balance, with a potential and the Scharfetter-Gummel flux. Otherwise rates may come in complex pairs,
    rate_i +- frequency_i, of which modes i and i + 1 are the real and the imaginary part, m and n, scaled together:
    exp(-rate_i t) (m cos(frequency_i t) + n sin(frequency_i t)) solves the equation. `gap_error` is the relative
    uncertainty of the gap from round-off; near 1 the gap is meaningless. A mesh of several components has one steady
    state on each, and the modes of all of them. Without `initial` the mass is 1.

    Pavliotis, Stochastic Processes and Applications, 2014. See fvflow.linalg.markov.spectrum and, out of balance,
    fvflow.linalg.markov.general_spectrum.
    """

    count: Annotated[int, Ge(1), Le(100)] = 4
    """Number of modes."""
    kind: Literal["spectrum"] = "spectrum"
    figures: ClassVar[Mapping[str, str]] = {"residual": "", "gap_error": ""}

    @property
    def converging_figures(self) -> tuple[str, ...]:
        """Gap and rates."""
        return ("spectral_gap", *(f"rate_{i}" for i in range(1, self.count + 1)))

    @property
    def drawn(self) -> tuple[str, ...]:
        """The slowest modes, six at most."""
        return tuple(f"mode_{i}" for i in range(1, min(self.count, 6) + 1))

    def problem(self, mesh: Mesh, parameters: Parameters, start: float = 0.0) -> FokkerPlanck:
        """The problem in arrays; raises CaseError if the mesh has too few cells."""
        problem = super().problem(mesh, parameters, start)
        most = mesh.cells - int(mesh.components.max()) - 1
        if self.count > most:
            raise CaseError(f"count {self.count}: a mesh of {mesh.cells} cells has {most} modes that decay; use fewer")
        return problem

    def _root(self, problem: FokkerPlanck) -> Array | None:
        """sqrt(pi) (cell,) of a steady state in detailed balance, scaled to maximum 1 on each component; else None."""
        from fvflow.linalg.markov.detailed_balance import detailed_balance_root
        from fvflow.linalg.markov.stationary import submatrix

        mesh, matrix = problem.mesh, problem.matrix(0.0, 1.0)
        root = np.empty(mesh.cells)
        for part in range(int(mesh.components.max()) + 1):
            cells = np.flatnonzero(mesh.components == part)
            part_root = detailed_balance_root(submatrix(matrix, cells))
            if part_root is None:
                return None
            root[cells] = part_root
        return root

    def fields(self, mesh: Mesh) -> dict[str, OutputVariable]:
        """The modes."""
        name = "part of the density that decays like exp(-rate_{0} t); over rho, the eigenfunction {0}"
        return {f"mode_{i}": OutputVariable(("cell",), name.format(i), signed=True) for i in range(1, self.count + 1)}

    def states(
        self, problem: FokkerPlanck, initial: State, times: SingleFrame, progress: Progress | None = None
    ) -> Iterator[State]:
        """The Gibbs state with the modes as its fields; raises NumericsError if the eigensolver fails."""
        from fvflow.linalg.markov.general_spectrum import slowest_general_modes
        from fvflow.linalg.markov.spectrum import slowest_modes
        from fvflow.linalg.markov.stationary import component_masses

        mesh, matrix, root = problem.mesh, problem.matrix(0.0, 1.0), self._root(problem)
        parts, volume = mesh.components, mesh.volume
        masses = component_masses(volume, initial.density, parts)
        if not masses.all():
            raise CaseError("a component of the mesh has no mass, so that its modes are not densities; give it some")
        found: Eigenmodes | GeneralModes
        figures = {}
        if root is not None:
            scale = (masses / component_masses(volume, root**2, parts))[parts]
            report = None if progress is None else progress.iteration
            found = slowest_modes(matrix, root, parts, self.count, _direct(mesh.extent), report, initial.iterate)
        else:
            root, scale = _root_out_of_balance(problem, matrix, masses), np.ones(mesh.cells)
            found = slowest_general_modes(matrix, root, parts, self.count)
            figures = {f"frequency_{i}": float(part) for i, part in enumerate(found.frequencies, 1)}
        figures |= {"spectral_gap": float(found.rates[0]), "gap_error": found.gap_error, "residual": found.residual}
        figures |= {f"rate_{i}": float(rate) for i, rate in enumerate(found.rates, 1)}
        yield replace(
            initial,
            density=scale * root**2,
            iterations=found.iterations,
            fields=_densities(found, np.sqrt(scale) * root, mesh, initial.mass),
            figures=figures,
            iterate=None,
        )

    def told(self, figures: Mapping[str, float]) -> Iterator[str]:
        """That the gap is beneath round-off."""
        if figures["gap_error"] > _LOST:
            yield f"the spectral gap is beneath round-off: it may be off by {figures['gap_error']:.1e}, relative"

    def describe(self, extent: Extent) -> str:
        """A phrase that describes the scheme."""
        from fvflow.linalg.markov.spectrum import LARGEST_DENSE

        solver = "shift-invert Lanczos with a factorisation" if _direct(extent) else "LOBPCG with multigrid"
        solver = "a dense eigensolver" if extent.cells <= LARGEST_DENSE else solver
        other = "" if self._in_balance else ", out of balance by shift-invert Arnoldi"
        return f"{self.count} modes of the symmetrised generator by {solver}{other}; {self.flux.kind} flux"

    def memory(self, extent: Extent) -> int:
        """Estimated memory of a run, bytes: mesh, matrix, factors, and three blocks of vectors."""
        solver = Direct() if _direct(extent) or not self._in_balance else Krylov()
        return (1 if self._in_balance else 2) * solver.memory(extent) + 8 * extent.cells * (40 + 8 * self.count)


def _direct(extent: Extent) -> bool:
    """Whether to factorise the matrix; otherwise multigrid is used."""
    return extent.dimension < 3 or extent.cells <= LARGEST_DIRECT


def _root_out_of_balance(problem: FokkerPlanck, matrix: FaceMatrix, masses: Array) -> Array:
    """sqrt(rho) (cell,) of the steady state; raises NumericsError if it is 0 somewhere, or has too many cells."""
    from fvflow.linalg.markov.stationary import stationary_density

    parts, dimension = problem.mesh.components, problem.mesh.dimension
    if dimension == 3 and len(parts) > LARGEST_ELIMINATION:
        raise NumericsError(
            f"out of detailed balance, spectrum takes at most {LARGEST_ELIMINATION} cells in three dimensions, the "
            f"mesh has {len(parts)}; use a coarser one, or a drift from a potential alone"
        )
    steady = stationary_density(matrix, parts, masses, dimension, reason=problem.without_rates).density
    if not steady.all():
        raise NumericsError(
            f"the steady density is 0 or below all doubles in {np.sum(steady == 0)} cells, so that modes are not "
            f"known there: {problem.without_rates()}, or a domain without these cells"
        )
    return np.sqrt(steady)


def _densities(modes: Eigenmodes | GeneralModes, root: Array, mesh: Mesh, mass: float) -> dict[str, Array]:
    """Modes as densities (cell,), from sqrt(rho) (cell,)."""
    scale = np.sqrt(mass) * root / np.sqrt(mesh.volume)
    return {f"mode_{i}": scale * vector for i, vector in enumerate(modes.vectors, 1)}
